//! Addresses and permanent neighbours of a dump.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};

use super::Names;
use super::link::Device;
use crate::kernel::netns::LOOPBACK_INDEX;
use crate::name::DeviceName;
use crate::namespace::Address;
use crate::net::{IpNet, Mac};

/// The addresses that somebody set: not those that `lo` is born with, nor the link-local one that the kernel makes of a
/// device's MAC.
pub(super) fn addresses(answers: &[RouteNetlinkMessage], devices: &[Device]) -> BTreeSet<Address> {
    let mut addresses = BTreeSet::new();
    for answer in answers {
        if let RouteNetlinkMessage::NewAddress(message) = answer
            && let Some(device) = devices.iter().find(|device| device.index == message.header.index)
            && let Some(net) = decode(message)
            && !is_born_with(device, &net)
        {
            addresses.insert(Address { device: device.name.clone(), net });
        }
    }
    addresses
}

/// The own address; with a point-to-point one, `Address` would be the other end's.
pub(super) fn decode(message: &AddressMessage) -> Option<IpNet> {
    let mut own = None;
    let mut shown = None;
    for attribute in &message.attributes {
        if let AddressAttribute::Local(address) = attribute {
            own = Some(*address);
        } else if let AddressAttribute::Address(address) = attribute {
            shown = Some(*address);
        }
    }
    IpNet::new(own.or(shown)?, message.header.prefix_len).ok()
}

fn is_born_with(device: &Device, net: &IpNet) -> bool {
    match net.addr() {
        IpAddr::V4(address) => {
            device.index == LOOPBACK_INDEX && address == Ipv4Addr::LOCALHOST && net.prefix_len() == 8
        }
        IpAddr::V6(address) if device.index == LOOPBACK_INDEX => {
            address == Ipv6Addr::LOCALHOST && net.prefix_len() == 128
        }
        IpAddr::V6(address) => address == device.mac.link_local() && net.prefix_len() == 64,
    }
}

/// Permanent neighbours.
pub(in crate::kernel) fn neighbours(
    answers: &[RouteNetlinkMessage],
    names: &Names,
) -> BTreeMap<(DeviceName, IpAddr), Mac> {
    let mut neighbours = BTreeMap::new();
    for answer in answers {
        if let RouteNetlinkMessage::NewNeighbour(message) = answer
            && message.header.state == NeighbourState::Permanent
            && let Some(device) = names.get(&message.header.ifindex)
            && let Some((address, mac)) = decode_neighbour(message)
        {
            neighbours.insert((device.clone(), address), mac);
        }
    }
    neighbours
}

fn decode_neighbour(message: &NeighbourMessage) -> Option<(IpAddr, Mac)> {
    let mut destination = None;
    let mut mac = None;
    for attribute in &message.attributes {
        if let NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) = attribute {
            destination = Some(IpAddr::V4(*address));
        } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) = attribute {
            destination = Some(IpAddr::V6(*address));
        } else if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
        }
    }
    Some((destination?, mac?))
}
