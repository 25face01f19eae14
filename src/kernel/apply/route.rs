//! Routes.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteNextHopFlags,
    RouteProtocol as WireProtocol, RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::Handle;

use super::index;
use crate::kernel::extack::NetlinkError;
use crate::kernel::netns::Netns;
use crate::kernel::request::acknowledged;
use crate::namespace::{NextHop, Route, RouteKind, RouteProtocol};
use crate::net::Family;

/// `RT_TABLE_UNSPEC`: the header's eight bits of a table number that stands in an attribute.
const TABLE_IN_ATTRIBUTE: u8 = 0;

/// Adds a route or replaces the one with the same destination, table and metric. `indexes` has a device index for each
/// next hop.
///
/// # Errors
/// [`NetlinkError`].
pub async fn replace(handle: &Handle, route: &Route, indexes: &[u32]) -> Result<(), NetlinkError> {
    let message = encode(route, indexes, scope(route));
    acknowledged(handle, RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE).await
}

pub(super) async fn replace_in(netns: &Netns, route: &Route) -> Result<(), NetlinkError> {
    replace(netns.handle(), route, &indexes(netns, route).await?).await
}

pub(super) async fn delete(netns: &Netns, route: &Route) -> Result<(), NetlinkError> {
    // A scope of "nowhere" lets the kernel match whatever scope the route has.
    let message = encode(route, &indexes(netns, route).await?, RouteScope::NoWhere);
    acknowledged(netns.handle(), RouteNetlinkMessage::DelRoute(message), 0).await
}

async fn indexes(netns: &Netns, route: &Route) -> Result<Vec<u32>, NetlinkError> {
    let mut indexes = Vec::with_capacity(route.next_hops.len());
    for hop in &route.next_hops {
        indexes.push(index(netns, &hop.device).await?);
    }
    Ok(indexes)
}

fn scope(route: &Route) -> RouteScope {
    if route.scope_link { RouteScope::Link } else { RouteScope::Universe }
}

fn encode(route: &Route, indexes: &[u32], scope: RouteScope) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = match route.family() {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    header.destination_prefix_length = route.destination.prefix_len();
    header.table = u8::try_from(route.table).unwrap_or(TABLE_IN_ATTRIBUTE);
    header.protocol = match route.protocol {
        RouteProtocol::Static => WireProtocol::Static,
        RouteProtocol::Boot => WireProtocol::Boot,
        RouteProtocol::Ra => WireProtocol::Ra,
        RouteProtocol::Other(number) => WireProtocol::from(number),
    };
    header.scope = scope;
    header.tos = route.tos;
    header.kind = match route.kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Prohibit => RouteType::Prohibit,
        RouteKind::Other(number) => RouteType::from(number),
    };
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Table(route.table));
    if route.destination.prefix_len() > 0 {
        attributes.push(RouteAttribute::Destination(address(route.destination.addr())));
    }
    attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(address(source))));
    if route.metric != 0 {
        attributes.push(RouteAttribute::Priority(route.metric));
    }
    let hops = || route.next_hops.iter().zip(indexes.iter().copied());
    if let ([hop], [index]) = (route.next_hops.as_slice(), indexes) {
        header.flags = if hop.onlink { onlink() } else { RouteFlags::empty() };
        attributes.push(RouteAttribute::Oif(*index));
        attributes.extend(gateway(route.family(), hop));
    } else if !route.next_hops.is_empty() {
        attributes
            .push(RouteAttribute::MultiPath(hops().map(|(hop, index)| leg(route.family(), hop, index)).collect()));
    }
    message
}

/// `RTNH_F_ONLINK`, which a route of one next hop carries in its header.
fn onlink() -> RouteFlags {
    RouteFlags::from_bits_retain(u32::from(RouteNextHopFlags::Onlink.bits()))
}

fn leg(family: Family, hop: &NextHop, index: u32) -> RouteNextHop {
    let mut leg = RouteNextHop::default();
    leg.flags = if hop.onlink { RouteNextHopFlags::Onlink } else { RouteNextHopFlags::empty() };
    // The kernel counts weights from 0.
    leg.hops = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
    leg.interface_index = index;
    leg.attributes.extend(gateway(family, hop));
    leg
}

/// The next hop's address; of another family than the route's it needs an attribute of its own.
fn gateway(family: Family, hop: &NextHop) -> Option<RouteAttribute> {
    let via = hop.via?;
    Some(match via {
        IpAddr::V6(v6) if family == Family::V4 => RouteAttribute::Via(RouteVia::Inet6(v6)),
        IpAddr::V4(_) | IpAddr::V6(_) => RouteAttribute::Gateway(address(via)),
    })
}

fn address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    }
}
