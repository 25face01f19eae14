//! Routes of a dump.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteNextHop, RouteNextHopFlags, RouteProtocol as WireProtocol,
    RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Names;
use crate::namespace::{NextHop, Route, RouteKind, RouteProtocol};
use crate::net::{Family, IpNet, TABLE_LOCAL};

/// The routes that somebody set, of every table but `local`.
pub(super) fn routes(answers: &[RouteNetlinkMessage], names: &Names) -> BTreeSet<Route> {
    let mut routes = BTreeSet::new();
    for answer in answers {
        if let RouteNetlinkMessage::NewRoute(message) = answer {
            routes.extend(decode(message, names));
        }
    }
    routes
}

/// One route, unless it is the kernel's own or of a kind that only the kernel makes.
fn decode(message: &RouteMessage, names: &Names) -> Option<Route> {
    let header = &message.header;
    let family = if header.address_family == AddressFamily::Inet {
        Family::V4
    } else if header.address_family == AddressFamily::Inet6 {
        Family::V6
    } else {
        return None;
    };
    let mut route = Route {
        table: u32::from(header.table),
        destination: family.any(),
        kind: kind(header.kind)?,
        next_hops: Vec::new(),
        protocol: protocol(header.protocol)?,
        scope_link: family == Family::V4 && header.scope == RouteScope::Link,
        source: None,
        metric: 0,
    };
    let mut device = None;
    let mut via = None;
    for attribute in &message.attributes {
        if let RouteAttribute::Table(table) = attribute {
            route.table = *table;
        } else if let RouteAttribute::Destination(destination) = attribute {
            route.destination = IpNet::new(address(destination)?, header.destination_prefix_length).ok()?;
        } else if let RouteAttribute::PrefSource(source) = attribute {
            route.source = address(source);
        } else if let RouteAttribute::Priority(metric) = attribute {
            route.metric = *metric;
        } else if let RouteAttribute::Oif(index) = attribute {
            device = names.get(index);
        } else if let RouteAttribute::MultiPath(legs) = attribute {
            route.next_hops = legs.iter().filter_map(|leg| hop(leg, names)).collect();
        } else {
            via = via.or_else(|| gateway(attribute));
        }
    }
    if route.table == TABLE_LOCAL || is_multicast(&route.destination) {
        return None;
    }
    if route.kind == RouteKind::Unicast
        && let Some(device) = device
    {
        let onlink = header.flags.bits() & u32::from(RouteNextHopFlags::Onlink.bits()) != 0;
        route.next_hops.push(NextHop { via, device: device.clone(), weight: 1, onlink });
    }
    Some(route)
}

fn kind(kind: RouteType) -> Option<RouteKind> {
    if kind == RouteType::Unicast {
        Some(RouteKind::Unicast)
    } else if kind == RouteType::Unreachable {
        Some(RouteKind::Unreachable)
    } else if kind == RouteType::BlackHole {
        Some(RouteKind::Blackhole)
    } else if kind == RouteType::Prohibit {
        Some(RouteKind::Prohibit)
    } else {
        None
    }
}

fn protocol(protocol: WireProtocol) -> Option<RouteProtocol> {
    if protocol == WireProtocol::Kernel {
        None
    } else if protocol == WireProtocol::Static {
        Some(RouteProtocol::Static)
    } else if protocol == WireProtocol::Boot {
        Some(RouteProtocol::Boot)
    } else if protocol == WireProtocol::Ra {
        Some(RouteProtocol::Ra)
    } else {
        Some(RouteProtocol::Other(protocol.into()))
    }
}

fn hop(leg: &RouteNextHop, names: &Names) -> Option<NextHop> {
    Some(NextHop {
        via: leg.attributes.iter().find_map(gateway),
        device: names.get(&leg.interface_index)?.clone(),
        // The kernel counts weights from 0.
        weight: u16::from(leg.hops) + 1,
        onlink: leg.flags.contains(RouteNextHopFlags::Onlink),
    })
}

fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    if let RouteAttribute::Gateway(via) = attribute {
        address(via)
    } else if let RouteAttribute::Via(RouteVia::Inet6(via)) = attribute {
        Some(IpAddr::V6(*via))
    } else {
        None
    }
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(v4) = address {
        Some(IpAddr::V4(*v4))
    } else if let RouteAddress::Inet6(v6) = address {
        Some(IpAddr::V6(*v6))
    } else {
        None
    }
}

/// `ff00::/8`, which every IPv6 device has a route for.
fn is_multicast(destination: &IpNet) -> bool {
    match destination {
        IpNet::V4(_) => false,
        IpNet::V6(net) => net.addr().is_multicast(),
    }
}
