//! Announcements: telling a network where an address is now.
//!
//! The address need not be on the device, nor on any: the fip namespace announces addresses that it only routes. So the
//! frames are built here and leave through a packet socket, with the device's own MAC.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};
use pnet::packet::Packet as _;
use pnet::packet::arp::{Arp, ArpHardwareTypes, ArpOperation, ArpOperations, MutableArpPacket};
use pnet::packet::ethernet::{EtherType, EtherTypes, Ethernet, MutableEthernetPacket};
use pnet::packet::icmpv6::ndp::{
    Icmpv6Codes, MutableNeighborAdvertPacket, NdpOption, NdpOptionTypes, NeighborAdvert, NeighborAdvertFlags,
};
use pnet::packet::icmpv6::{Icmpv6Packet, Icmpv6Types, checksum};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv6::{Ipv6, MutableIpv6Packet};
use pnet::util::MacAddr;

use super::ApplyFailure;
use crate::kernel::netns::Netns;
use crate::name::DeviceName;

/// All nodes of the link (RFC 4291), and the group MAC made of it (RFC 2464).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: MacAddr = MacAddr(0x33, 0x33, 0, 0, 0, 1);
/// Neighbour discovery is accepted only with this hop limit: no router has touched it (RFC 4861).
const ND_HOP_LIMIT: u8 = 255;
/// Bytes of the headers and of the one option.
const ETHERNET_LENGTH: usize = 14;
const ARP_LENGTH: usize = 28;
const IPV6_LENGTH: usize = 40;
const ADVERTISEMENT_LENGTH: u16 = 24 + 8;

/// Sends what announces `address` on `device`.
///
/// # Errors
/// [`ApplyFailure`] if there is no such device, or the kernel does not send.
pub fn announce(netns: &Netns, device: &DeviceName, address: IpAddr) -> Result<(), ApplyFailure> {
    let device = prepare(netns, device)?;
    let mac = MacAddr::from(device.addr().ok_or(ApplyFailure::Send(Errno::ENODEV))?);
    frames(mac, address).iter().try_for_each(|frame| send(netns, &device, frame))
}

/// A device that frames are sent out of as they are.
#[derive(Clone)]
pub struct Emitter {
    netns: Rc<Netns>,
    device: LinkAddr,
}

impl Emitter {
    /// Looks the device up, which must not be made anew while this is used.
    pub fn new(netns: &Rc<Netns>, device: &DeviceName) -> Result<Self, ApplyFailure> {
        Ok(Self { netns: Rc::clone(netns), device: prepare(netns, device)? })
    }

    /// Sends a frame.
    pub fn emit(&self, frame: &[u8]) -> Result<(), ApplyFailure> {
        send(&self.netns, &self.device, frame)
    }
}

/// Opens the namespace's packet socket if there is none yet, and gives the device's link address.
fn prepare(netns: &Netns, device: &DeviceName) -> Result<LinkAddr, ApplyFailure> {
    let open = netns.announcer().is_none();
    let (socket, device) = netns.run_in(|| look_inside(device, open))?.map_err(ApplyFailure::Send)?;
    if let Some(socket) = socket {
        netns.set_announcer(socket);
    }
    Ok(device)
}

fn send(netns: &Netns, device: &LinkAddr, frame: &[u8]) -> Result<(), ApplyFailure> {
    let socket = netns.announcer().ok_or(ApplyFailure::Send(Errno::EBADF))?;
    sendto(socket.as_raw_fd(), frame, device, MsgFlags::empty()).map(drop).map_err(ApplyFailure::Send)
}

/// In the namespace: a packet socket that receives nothing, if there is none yet, and the device's link address.
fn look_inside(device: &DeviceName, open: bool) -> Result<(Option<OwnedFd>, LinkAddr), Errno> {
    let socket =
        if open { Some(socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?) } else { None };
    let address = getifaddrs()?
        .filter(|interface| interface.interface_name == device.as_str())
        .find_map(|interface| interface.address?.as_link_addr().copied())
        .ok_or(Errno::ENODEV)?;
    Ok((socket, address))
}

/// The frames that announce `address` as being at `mac`: for IPv4 a gratuitous request and reply, since some listen to the
/// one and some to the other; for IPv6 an unsolicited advertisement.
fn frames(mac: MacAddr, address: IpAddr) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(address) => vec![
            arp(mac, address, ArpOperations::Request, MacAddr::zero()),
            arp(mac, address, ArpOperations::Reply, mac),
        ],
        IpAddr::V6(address) => vec![advertisement(mac, address)],
    }
}

fn arp(mac: MacAddr, address: Ipv4Addr, operation: ArpOperation, target: MacAddr) -> Vec<u8> {
    let mut packet = MutableArpPacket::owned(vec![0; ARP_LENGTH]).expect("the buffer has the length of an ARP packet");
    packet.populate(&Arp {
        hardware_type: ArpHardwareTypes::Ethernet,
        protocol_type: EtherTypes::Ipv4,
        hw_addr_len: 6,
        proto_addr_len: 4,
        operation,
        sender_hw_addr: mac,
        sender_proto_addr: address,
        target_hw_addr: target,
        target_proto_addr: address,
        payload: Vec::new(),
    });
    ethernet(MacAddr::broadcast(), mac, EtherTypes::Arp, packet.packet())
}

fn advertisement(mac: MacAddr, address: Ipv6Addr) -> Vec<u8> {
    let length = usize::from(ADVERTISEMENT_LENGTH);
    let mut advert =
        MutableNeighborAdvertPacket::owned(vec![0; length]).expect("the buffer has the length of an advertisement");
    advert.populate(&NeighborAdvert {
        icmpv6_type: Icmpv6Types::NeighborAdvert,
        icmpv6_code: Icmpv6Codes::NoCode,
        checksum: 0,
        flags: NeighborAdvertFlags::Router | NeighborAdvertFlags::Override,
        reserved: 0,
        target_addr: address,
        options: vec![NdpOption {
            option_type: NdpOptionTypes::TargetLLAddr,
            length: 1,
            data: <[u8; 6]>::from(mac).to_vec(),
        }],
        payload: Vec::new(),
    });
    let sum = Icmpv6Packet::new(advert.packet()).map(|icmp| checksum(&icmp, &address, &ALL_NODES));
    advert.set_checksum(sum.expect("an advertisement is longer than the ICMPv6 header"));
    let mut packet = MutableIpv6Packet::owned(vec![0; IPV6_LENGTH + length]).expect("the buffer holds an IPv6 header");
    packet.populate(&Ipv6 {
        version: 6,
        traffic_class: 0,
        flow_label: 0,
        payload_length: ADVERTISEMENT_LENGTH,
        next_header: IpNextHeaderProtocols::Icmpv6,
        hop_limit: ND_HOP_LIMIT,
        source: address,
        destination: ALL_NODES,
        payload: advert.packet().to_vec(),
    });
    ethernet(ALL_NODES_MAC, mac, EtherTypes::Ipv6, packet.packet())
}

fn ethernet(destination: MacAddr, source: MacAddr, ethertype: EtherType, payload: &[u8]) -> Vec<u8> {
    let mut frame = MutableEthernetPacket::owned(vec![0; ETHERNET_LENGTH + payload.len()])
        .expect("the buffer holds an Ethernet header");
    frame.populate(&Ethernet { destination, source, ethertype, payload: payload.to_vec() });
    frame.packet().to_vec()
}
