//! Own IPv4 addresses that nothing is delivered to, since somebody took their route out of table `local`.
//!
//! In: the devices and routes of a dump, and the addresses made of it. Out: the same addresses, those called odd, so that they
//! are made anew, and the route with them. IPv6 addresses get theirs some time after they are there, so that nothing can be
//! said of them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

use super::link::Device;
use crate::kernel::netns::LOOPBACK_INDEX;
use crate::namespace::Address;

/// What such an address is called.
const DEAF: &str = "without local route";

/// Calls addresses odd that nothing is delivered to. Those of a device that is down have no routes anyway.
pub(super) fn deaf(
    addresses: BTreeSet<Address>,
    devices: &[Device],
    routes: &[RouteNetlinkMessage],
) -> BTreeSet<Address> {
    let delivered: BTreeSet<(u32, Ipv4Addr)> = routes.iter().filter_map(delivery).collect();
    let judged = |address: Address| {
        let device = devices.iter().find(|device| device.name == address.device);
        let device = device.filter(|device| device.up && device.index != LOOPBACK_INDEX);
        match (device, address.net.addr()) {
            (Some(device), IpAddr::V4(own)) if !delivered.contains(&(device.index, own)) => {
                let words = [address.odd.as_str(), DEAF];
                let odd = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
                Address { odd, ..address }
            }
            (Some(_) | None, IpAddr::V4(_) | IpAddr::V6(_)) => address,
        }
    };
    addresses.into_iter().map(judged).collect()
}

/// Device and address that a route delivers to.
fn delivery(answer: &RouteNetlinkMessage) -> Option<(u32, Ipv4Addr)> {
    if let RouteNetlinkMessage::NewRoute(message) = answer
        && message.header.kind == RouteType::Local
    {
        own(message)
    } else {
        None
    }
}

fn own(message: &RouteMessage) -> Option<(u32, Ipv4Addr)> {
    let mut device = None;
    let mut to = None;
    for attribute in &message.attributes {
        if let RouteAttribute::Oif(index) = attribute {
            device = Some(*index);
        } else if let RouteAttribute::Destination(RouteAddress::Inet(address)) = attribute {
            to = Some(*address);
        }
    }
    Some((device?, to?))
}
