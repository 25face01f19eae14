//! Devices: veth pairs, bridges and VXLAN ports, each made in place with the index, MAC and MTU that were chosen for it.
//!
//! In: a handle of the namespace and an [`End`]. Out: the kernel's acknowledgement. Never: a device moved after it was made
//! (that waits for an RCU grace period), and never a name looked up.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::neighbour_table::{NeighbourTableAttribute, NeighbourTableMessage, NeighbourTableParameter};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use rtnetlink::{Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan};

use super::extack::NetlinkError;
use super::netns::Netns;
use super::request::{acknowledged, answers, dump};
use crate::name::DeviceName;
use crate::net::Mac;

/// Milliseconds between two requests for a neighbour's MAC. The kernel's floor is HZ/100; its default is 1000.
const NEIGHBOUR_RETRY_MS: u64 = 10;
/// Requests before a neighbour counts as dead: on veth none is lost.
const NEIGHBOUR_PROBES: u32 = 1;
/// An hour: how long a neighbour is believed without being asked again.
const NEIGHBOUR_BELIEVED_MS: u64 = 3_600_000;

/// Room for the largest frame on those ends of pairs that belong to no machine: what limits a frame is the machine's own
/// end, whose MTU may change. The kernel's largest for Ethernet (`ETH_MAX_MTU`).
pub const PORT_MTU: u32 = 65_535;

/// What a device will be.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its index, unique in the lab.
    pub index: u32,
    /// Its MAC.
    pub mac: Mac,
    /// In bytes.
    pub mtu: u32,
}

impl End<'_> {
    fn on<T>(&self, builder: LinkMessageBuilder<T>) -> LinkMessageBuilder<T> {
        builder.name(self.name).index(self.index).address(self.mac.0.to_vec()).mtu(self.mtu)
    }
}

/// A VXLAN port of a bridge.
#[derive(Debug, Clone, Copy)]
pub struct Vxlan<'a> {
    /// The device.
    pub end: End<'a>,
    /// VXLAN network identifier.
    pub vni: u32,
    /// The tunnel's own end.
    pub local: Ipv4Addr,
    /// Index of the device that carries the tunnel.
    pub underlay: u32,
    /// Index of the bridge it is a port of.
    pub bridge: u32,
}

/// UDP port of VXLAN (RFC 7348).
const VXLAN_PORT: u16 = 4789;

/// Makes a veth pair: `near` in `netns`, up if `up`; `far` in `far_netns`, down, since the kernel lets no far end be born up.
///
/// Both are asked for with one queue. Without a word the kernel makes one for each processor, then uses one, and waits for a
/// grace period as it takes the others out of use, twice a pair.
pub async fn veth(netns: &Netns, near: End<'_>, up: bool, far_netns: &Netns, far: End<'_>) -> Result<(), NetlinkError> {
    let index = near.index;
    let fd = far_netns.as_fd().as_raw_fd();
    let peer = one_queue(far.on(LinkMessageBuilder::<LinkUnspec>::new())).setns_by_fd(fd).build();
    let near = one_queue(near.on(LinkVeth::new(near.name, far.name)));
    let builder = near.set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
    add(netns.handle(), if up { builder.up() } else { builder }.build()).await?;
    if up {
        netns.stir(index);
    }
    Ok(())
}

fn one_queue<T>(builder: LinkMessageBuilder<T>) -> LinkMessageBuilder<T> {
    builder.append_extra_attribute(LinkAttribute::NumTxQueues(1)).append_extra_attribute(LinkAttribute::NumRxQueues(1))
}

/// Makes a bridge that learns, floods at once, snoops no multicast, and is up.
pub async fn bridge(handle: &Handle, end: End<'_>) -> Result<(), NetlinkError> {
    let builder = LinkMessageBuilder::<LinkBridge>::new(end.name).forward_delay(0).mcast_snooping(false);
    add(handle, end.on(builder).up().build()).await
}

/// Makes a VXLAN port that learns nothing by itself, on its bridge, up.
pub async fn vxlan(netns: &Netns, vxlan: &Vxlan<'_>) -> Result<(), NetlinkError> {
    let builder = LinkVxlan::new(vxlan.end.name, vxlan.vni)
        .port(VXLAN_PORT)
        .local(vxlan.local)
        .learning(false)
        .dev(vxlan.underlay)
        .controller(vxlan.bridge);
    add(netns.handle(), vxlan.end.on(builder).up().build()).await?;
    netns.stir(vxlan.end.index);
    Ok(())
}

async fn add(handle: &Handle, message: LinkMessage) -> Result<(), NetlinkError> {
    acknowledged(handle, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).await
}

/// Changes a device: `LinkUnspec::new_with_index(..)` and what is to change.
pub async fn set(handle: &Handle, message: LinkMessage) -> Result<(), NetlinkError> {
    acknowledged(handle, RouteNetlinkMessage::SetLink(message), 0).await
}

/// Up or down.
pub async fn set_up(netns: &Netns, index: u32, up: bool) -> Result<(), NetlinkError> {
    let builder = LinkUnspec::new_with_index(index);
    set(netns.handle(), if up { builder.up() } else { builder.down() }.build()).await?;
    if up {
        netns.stir(index);
    }
    Ok(())
}

/// Makes a device a port of a bridge of its namespace, in a device group, and up: the kernel does it in this order.
pub async fn plug(netns: &Netns, index: u32, bridge: u32, group: u32) -> Result<(), NetlinkError> {
    let plugged = LinkUnspec::new_with_index(index).link_group(group).controller(bridge).up().build();
    set(netns.handle(), plugged).await?;
    netns.stir(index);
    Ok(())
}

/// Sets whether a bridge port learns source MACs, answers neighbour requests from the fdb, and is kept from other isolated
/// ports.
pub async fn port_flags(
    handle: &Handle,
    index: u32,
    learning: bool,
    neigh_suppress: bool,
    isolated: bool,
) -> Result<(), NetlinkError> {
    let port = LinkBridgePort::new(index).learning(learning).neigh_suppress(neigh_suppress).isolated(isolated);
    Ok(handle.link().set_port(port.build()).execute().await?)
}

/// A request for devices without their counters, which are most of the answer's bytes.
pub fn without_statistics() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    message
}

/// All devices.
pub async fn all(handle: &Handle) -> Result<Vec<LinkMessage>, NetlinkError> {
    let answers = dump(handle, RouteNetlinkMessage::GetLink(without_statistics())).await?;
    let links = answers
        .into_iter()
        .filter_map(|answer| if let RouteNetlinkMessage::NewLink(link) = answer { Some(link) } else { None });
    Ok(links.collect())
}

/// The device of that name.
pub async fn named(handle: &Handle, device: &DeviceName) -> Result<LinkMessage, NetlinkError> {
    let mut message = without_statistics();
    message.attributes.push(LinkAttribute::IfName(device.as_str().to_owned()));
    for answer in answers(handle, RouteNetlinkMessage::GetLink(message), 0).await? {
        if let RouteNetlinkMessage::NewLink(link) = answer {
            return Ok(link);
        }
    }
    Err(NetlinkError::of(Errno::ENODEV))
}

/// A device's name, and the bridge that it is a port of.
pub fn name_and_bridge(link: &LinkMessage) -> (Option<DeviceName>, Option<u32>) {
    let name = link.attributes.iter().find_map(|attribute| {
        if let LinkAttribute::IfName(name) = attribute { DeviceName::new(name.as_str()).ok() } else { None }
    });
    let bridge = link
        .attributes
        .iter()
        .find_map(|attribute| if let LinkAttribute::Controller(bridge) = attribute { Some(*bridge) } else { None });
    (name, bridge)
}

/// The MAC in an attribute, if that is what it holds.
pub fn mac_of(attribute: &LinkAttribute) -> Option<Mac> {
    if let LinkAttribute::Address(bytes) = attribute {
        <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac)
    } else {
        None
    }
}

/// Makes a device give up on a dead neighbour after one request of 10 ms, for ARP and neighbour discovery, and believe a known
/// one for as long as a lab lives. A device is born with three requests of a second, and with doubts after some random time
/// and five seconds: whether an address that somebody lost is still believed in would depend on how busy the machine is.
/// Its namespace has no default to change.
pub async fn neighbour_timing(handle: &Handle, index: u32) -> Result<(), NetlinkError> {
    for (family, table) in [(AddressFamily::Inet, "arp_cache"), (AddressFamily::Inet6, "ndisc_cache")] {
        let mut message = NeighbourTableMessage::default();
        message.header.family = family;
        message.attributes = vec![
            NeighbourTableAttribute::Name(table.to_owned()),
            NeighbourTableAttribute::Parms(vec![
                NeighbourTableParameter::Ifindex(index),
                NeighbourTableParameter::RetransTime(NEIGHBOUR_RETRY_MS),
                NeighbourTableParameter::McastProbes(NEIGHBOUR_PROBES),
                NeighbourTableParameter::BaseReachableTime(NEIGHBOUR_BELIEVED_MS),
                NeighbourTableParameter::DelayProbeTime(NEIGHBOUR_BELIEVED_MS),
            ]),
        ];
        acknowledged(handle, RouteNetlinkMessage::SetNeighbourTable(message), 0).await?;
    }
    Ok(())
}

/// Lets a VXLAN port send frames for `mac` to the tunnel end `remote`; of [`Mac::ZERO`], where everything unknown goes,
/// there may be several.
pub async fn fdb_remote(handle: &Handle, vxlan: u32, mac: Mac, remote: Ipv4Addr) -> Result<(), NetlinkError> {
    let mut message = fdb_entry(vxlan, mac, NeighbourFlags::Own, NeighbourState::Permanent);
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(remote)));
    acknowledged(handle, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_APPEND).await
}

/// Removes such an entry.
pub async fn fdb_remote_delete(handle: &Handle, vxlan: u32, mac: Mac, remote: Ipv4Addr) -> Result<(), NetlinkError> {
    let mut message = fdb_entry(vxlan, mac, NeighbourFlags::Own, NeighbourState::Permanent);
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(remote)));
    acknowledged(handle, RouteNetlinkMessage::DelNeighbour(message), 0).await
}

/// Pins `mac` to a port in its bridge's table. The state is NOARP, "static": PERMANENT would mean the bridge's own.
pub async fn fdb_port(handle: &Handle, port: u32, mac: Mac) -> Result<(), NetlinkError> {
    let flags = NeighbourFlags::Controller | NeighbourFlags::Sticky;
    let message = fdb_entry(port, mac, flags, NeighbourState::Noarp);
    acknowledged(handle, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE).await
}

/// Removes such an entry.
pub async fn fdb_port_delete(handle: &Handle, port: u32, mac: Mac) -> Result<(), NetlinkError> {
    let message = fdb_entry(port, mac, NeighbourFlags::Controller, NeighbourState::Noarp);
    acknowledged(handle, RouteNetlinkMessage::DelNeighbour(message), 0).await
}

fn fdb_entry(index: u32, mac: Mac, flags: NeighbourFlags, state: NeighbourState) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.flags = flags;
    message.header.state = state;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    message
}
