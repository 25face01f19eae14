//! What an event is about, as the beginning of the line that the object has in a state.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute};

use super::{Names, address, link, route, rule};
use crate::namespace::{KERNEL, Kind};
use crate::net::Family;

/// The object that was deleted, or written anew; none if the event is about nothing that a state has. What is told of a
/// device or an address that stays (its carrier, the end of duplicate address detection) is no writing.
pub(in crate::kernel) fn subject(message: &RouteNetlinkMessage, names: &Names) -> Option<(Kind, String)> {
    let as_new = |message| [message];
    if let RouteNetlinkMessage::DelLink(gone) = message {
        let device = link::devices(vec![RouteNetlinkMessage::NewLink(gone.clone())]).ok()?.pop()?;
        Some((Kind::Device, format!("{} ", device.name)))
    } else if let RouteNetlinkMessage::DelAddress(gone) = message {
        let device = names.get(&gone.header.index)?;
        Some((Kind::Address, format!("{} dev {device}", address::decode(gone)?)))
    } else if let RouteNetlinkMessage::NewRule(one) | RouteNetlinkMessage::DelRule(one) = message {
        let found = rule::rules(&as_new(RouteNetlinkMessage::NewRule(one.clone()))).pop_first()?;
        Some((if found.family == Family::V4 { Kind::Rule } else { Kind::Rule6 }, found.to_string()))
    } else if let RouteNetlinkMessage::NewRoute(one) | RouteNetlinkMessage::DelRoute(one) = message {
        // Those that the kernel makes for an address come and go with it.
        let found = route::routes(&as_new(RouteNetlinkMessage::NewRoute(one.clone())), names, &[])
            .pop_first()
            .filter(|route| route.protocol != KERNEL)?;
        Some((if found.family() == Family::V4 { Kind::Route } else { Kind::Route6 }, found.to_string()))
    } else if let RouteNetlinkMessage::NewNeighbour(one) | RouteNetlinkMessage::DelNeighbour(one) = message {
        let device = names.get(&one.header.ifindex)?;
        let of = one.attributes.iter().find_map(|attribute| {
            if let NeighbourAttribute::Destination(NeighbourAddress::Inet(four)) = attribute {
                Some(four.to_string())
            } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(six)) = attribute {
                Some(six.to_string())
            } else {
                None
            }
        })?;
        Some((Kind::Neighbour, format!("{of} dev {device} ")))
    } else {
        None
    }
}
