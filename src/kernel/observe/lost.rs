//! What the kernel makes of a namespace's devices and addresses by itself, where somebody has taken it away: the route to
//! the subnet of an address, the link-local address of a device that is up.
//!
//! In: dumps. Out: what is missing; nothing in a namespace that is left alone.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol as WireProtocol};

use super::address::{decode, is_secondary};
use super::link::Device;
use super::route::V6_CONNECTED_METRIC;
use crate::kernel::netns::LOOPBACK_INDEX;
use crate::namespace::{Address, Lost, Route};
use crate::net::{IpNet, Ipv6Net, TABLE_MAIN};

/// Length of a link-local address's prefix.
const LINK_LOCAL_LENGTH: u8 = 64;

/// Everything that is missing. Where somebody has set another route in place of one to an IPv4 subnet, that is the matter.
pub(super) fn lost(
    devices: &[Device],
    addresses: &[RouteNetlinkMessage],
    routes: &[RouteNetlinkMessage],
    others: &BTreeSet<Route>,
) -> BTreeSet<Lost> {
    let connected: BTreeSet<(u32, IpNet)> = routes.iter().filter_map(connected).collect();
    let mut lost = BTreeSet::new();
    for device in devices.iter().filter(|device| device.index != LOOPBACK_INDEX && device.up) {
        let own: Vec<IpNet> = addresses.iter().filter_map(|answer| on(answer, device.index)).collect();
        for net in own.iter().filter(|net| net.prefix_len() < net.max_prefix_len()) {
            if !connected.contains(&(device.index, net.trunc())) {
                lost.extend(taken(device, *net, others));
            }
        }
        let link_local = IpNet::from(Ipv6Net::new_assert(device.mac.link_local(), LINK_LOCAL_LENGTH));
        let makes = device.ipv6.is_some_and(|conf| conf.disable_ipv6 == 0 && conf.addr_gen_mode == 0);
        if makes && !own.contains(&link_local) {
            lost.insert(Lost::Address(Address::new(device.name.clone(), link_local)));
        }
    }
    lost
}

/// What brings back the route of an address: IPv4, the route; IPv6, where devices share such routes' key, the address.
fn taken(device: &Device, net: IpNet, others: &BTreeSet<Route>) -> Option<Lost> {
    let address = Address::new(device.name.clone(), net);
    match net.addr() {
        IpAddr::V4(_) => {
            let route = Route::connected(&address);
            let replaced = others.iter().any(|other| other.key() == route.key());
            (!replaced).then_some(Lost::Route(route))
        }
        IpAddr::V6(_) => Some(Lost::Address(address)),
    }
}

/// The address of a message, if it is on that device.
fn on(answer: &RouteNetlinkMessage, index: u32) -> Option<IpNet> {
    if let RouteNetlinkMessage::NewAddress(message) = answer
        && message.header.index == index
        && !is_secondary(message)
    {
        decode(message)
    } else {
        None
    }
}

/// Device and destination of a route that the kernel made for an address.
fn connected(answer: &RouteNetlinkMessage) -> Option<(u32, IpNet)> {
    if let RouteNetlinkMessage::NewRoute(message) = answer
        && message.header.protocol == WireProtocol::Kernel
    {
        destination(message)
    } else {
        None
    }
}

fn destination(message: &RouteMessage) -> Option<(u32, IpNet)> {
    if u32::from(message.header.table) != TABLE_MAIN {
        return None;
    }
    let mut index = None;
    let mut to: Option<IpAddr> = None;
    let mut usual = true;
    for attribute in &message.attributes {
        if let RouteAttribute::Oif(oif) = attribute {
            index = Some(*oif);
        } else if let RouteAttribute::Priority(metric) = attribute {
            usual = *metric == V6_CONNECTED_METRIC;
        } else if let RouteAttribute::Destination(RouteAddress::Inet(address)) = attribute {
            to = Some((*address).into());
        } else if let RouteAttribute::Destination(RouteAddress::Inet6(address)) = attribute {
            to = Some((*address).into());
        }
    }
    if !usual {
        return None;
    }
    Some((index?, IpNet::new(to?, message.header.destination_prefix_length).ok()?))
}
