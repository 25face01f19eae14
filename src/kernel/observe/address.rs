//! Addresses and permanent neighbours of a dump.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Names;
use super::link::Device;
use crate::kernel::netns::LOOPBACK_INDEX;
use crate::name::DeviceName;
use crate::namespace::{Address, broadcast_of};
use crate::net::{IpNet, Mac};

/// The addresses that somebody set: not those that `lo` is born with, nor the link-local one that the kernel makes of a
/// device's MAC.
pub(super) fn addresses(answers: &[RouteNetlinkMessage], devices: &[Device]) -> BTreeSet<Address> {
    let mut addresses = BTreeSet::new();
    for answer in answers {
        if let RouteNetlinkMessage::NewAddress(message) = answer
            && let Some(device) = devices.iter().find(|device| device.index == message.header.index)
            && let Some(net) = decode(message)
        {
            let (secondary, odd) = (is_secondary(message), odd(message, &net, device.name.as_str()));
            let own = is_born_with(device, &net) && (odd.is_empty() || device.index == LOOPBACK_INDEX);
            if !own {
                addresses.insert(Address { device: device.name.clone(), net, secondary, odd });
            }
        }
    }
    addresses
}

/// Every address that has a subnet's route, with its device.
pub(super) fn all(answers: &[RouteNetlinkMessage], names: &Names) -> Vec<(DeviceName, IpNet)> {
    let mut all = Vec::new();
    for answer in answers {
        if let RouteNetlinkMessage::NewAddress(message) = answer
            && let (Some(device), Some(net)) = (names.get(&message.header.index), decode(message))
            && !is_secondary(message)
        {
            all.push((device.clone(), net));
        }
    }
    all
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

/// All flags of an address.
fn flags(message: &AddressMessage) -> AddressFlags {
    let all = message
        .attributes
        .iter()
        .find_map(|attribute| if let AddressAttribute::Flags(flags) = attribute { Some(*flags) } else { None });
    all.unwrap_or_else(|| AddressFlags::from_bits_retain(u32::from(message.header.flags.bits())))
}

/// Whether an elder address is in the same subnet. IPv6 uses the flag for something else.
pub(super) fn is_secondary(message: &AddressMessage) -> bool {
    message.header.family == AddressFamily::Inet && flags(message).contains(AddressFlags::Secondary)
}

/// What no agent sets. Whether an address is tentative depends on the device, and is not told.
pub(super) fn odd(message: &AddressMessage, net: &IpNet, device: &str) -> String {
    const FLAGS: [(AddressFlags, &str); 7] = [
        (AddressFlags::Nodad, "nodad"),
        (AddressFlags::Dadfailed, "dadfailed"),
        (AddressFlags::Deprecated, "deprecated"),
        (AddressFlags::Managetempaddr, "mngtmpaddr"),
        (AddressFlags::Noprefixroute, "noprefixroute"),
        (AddressFlags::StablePrivacy, "stable-privacy"),
        (AddressFlags::Mcautojoin, "autojoin"),
    ];
    let flags = flags(message);
    let mut words = Vec::new();
    let usual = match net {
        IpNet::V6(v6) if v6.addr().is_unicast_link_local() => AddressScope::Link,
        IpNet::V4(_) | IpNet::V6(_) => AddressScope::Universe,
    };
    if message.header.scope != usual {
        words.push(format!("scope {}", u8::from(message.header.scope)));
    }
    let mut broadcast = None;
    for attribute in &message.attributes {
        if let AddressAttribute::Broadcast(address) = attribute {
            broadcast = Some(*address);
        } else if let AddressAttribute::Address(address) = attribute {
            words.extend((*address != net.addr()).then(|| format!("peer {address}")));
        } else if let AddressAttribute::Label(label) = attribute {
            words.extend((label != device).then(|| format!("label {label}")));
        }
    }
    if broadcast != broadcast_of(net) {
        words.push(broadcast.map_or_else(|| "no broadcast".to_owned(), |address| format!("broadcast {address}")));
    }
    words.extend(FLAGS.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, word)| (*word).to_owned()));
    if net.addr().is_ipv6() && flags.contains(AddressFlags::Secondary) {
        words.push("temporary".to_owned());
    }
    if !flags.contains(AddressFlags::Permanent) {
        words.push("dynamic".to_owned());
    }
    words.join(" ")
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

/// Neighbours that somebody has the kernel never ask for (`nud noarp`): it may forget them, so they are none that are wanted,
/// whatever their MAC, and are told with none. Groups and broadcasts, and all on `lo`, have it from the kernel itself.
pub(super) fn unasked(answers: &[RouteNetlinkMessage], names: &Names) -> BTreeMap<(DeviceName, IpAddr), Mac> {
    let mut unasked = BTreeMap::new();
    for answer in answers {
        if let RouteNetlinkMessage::NewNeighbour(message) = answer
            && message.header.state == NeighbourState::Noarp
            && message.header.ifindex != LOOPBACK_INDEX
            && let Some(device) = names.get(&message.header.ifindex)
            && let Some((address, Mac([first, ..]))) = decode_neighbour(message)
            && first & 1 == 0
            && !address.is_multicast()
        {
            unasked.insert((device.clone(), address), Mac::ZERO);
        }
    }
    unasked
}

/// Addresses that devices answer for besides their own.
pub(super) fn proxies(answers: &[RouteNetlinkMessage], names: &Names) -> BTreeSet<(DeviceName, IpAddr)> {
    let mut proxies = BTreeSet::new();
    for answer in answers {
        if let RouteNetlinkMessage::NewNeighbour(message) = answer
            && message.header.flags.contains(NeighbourFlags::Proxy)
            && let Some(device) = names.get(&message.header.ifindex)
            && let Some(address) = neighbour_address(message)
        {
            proxies.insert((device.clone(), address));
        }
    }
    proxies
}

/// Neighbours that the kernel has found out and believes in: it sends to them without asking first.
pub(in crate::kernel) fn resolved(
    answers: &[RouteNetlinkMessage],
    names: &Names,
) -> BTreeMap<(DeviceName, IpAddr), Mac> {
    let believed = [NeighbourState::Reachable, NeighbourState::Stale, NeighbourState::Delay, NeighbourState::Probe];
    let mut resolved = BTreeMap::new();
    for answer in answers {
        if let RouteNetlinkMessage::NewNeighbour(message) = answer
            && believed.contains(&message.header.state)
            && let Some(device) = names.get(&message.header.ifindex)
            && let Some((address, mac)) = decode_neighbour(message)
        {
            resolved.insert((device.clone(), address), mac);
        }
    }
    resolved
}

fn decode_neighbour(message: &NeighbourMessage) -> Option<(IpAddr, Mac)> {
    let mac = message.attributes.iter().find_map(|attribute| {
        let NeighbourAttribute::LinkLayerAddress(bytes) = attribute else { return None };
        <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac)
    });
    Some((neighbour_address(message)?, mac?))
}

fn neighbour_address(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| {
        if let NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) = attribute {
            Some(IpAddr::V4(*address))
        } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) = attribute {
            Some(IpAddr::V6(*address))
        } else {
            None
        }
    })
}
