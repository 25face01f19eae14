//! Routes of a dump.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteNextHop, RouteNextHopFlags, RoutePreference,
    RouteProtocol as WireProtocol, RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Names;
use crate::kernel::paths::is_learned;
use crate::name::DeviceName;
use crate::namespace::{KERNEL, NextHop, Route, RouteKind, RouteProtocol};
use crate::net::{Family, IpNet, TABLE_MAIN};

/// Metric of the route to an IPv6 address's subnet. Linux: `IP6_RT_PRIO_ADDRCONF`.
pub(super) const V6_CONNECTED_METRIC: u32 = 256;

/// The routes that somebody set: all but those that the kernel makes for `own` addresses. One that has the kernel's name on
/// it and is not as the kernel makes it was set by somebody.
pub(super) fn routes(answers: &[RouteNetlinkMessage], names: &Names, own: &[(DeviceName, IpNet)]) -> BTreeSet<Route> {
    let mut routes = BTreeSet::new();
    for answer in answers {
        if let RouteNetlinkMessage::NewRoute(message) = answer
            && !is_learned(message)
        {
            routes.extend(decode(message, names).filter(|route| !is_connected(route, own)));
        }
    }
    routes
}

/// Whether a route is what the kernel makes for the subnet of an address.
fn is_connected(route: &Route, own: &[(DeviceName, IpNet)]) -> bool {
    let [NextHop { via: None, device, .. }] = route.next_hops.as_slice() else { return false };
    let usual = match route.family() {
        Family::V4 => route.scope_link && route.metric == 0,
        Family::V6 => route.metric == V6_CONNECTED_METRIC,
    };
    let of =
        |net: &IpNet| net.trunc() == route.destination && (net.addr().is_ipv6() || route.source == Some(net.addr()));
    usual
        && (route.protocol, route.table, route.tos, route.odd.as_str()) == (KERNEL, TABLE_MAIN, 0, "")
        && own.iter().any(|(on, net)| on == device && of(net))
}

/// One route, unless it is of a kind that the kernel makes for its own addresses.
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
        kind: kind(header.kind),
        next_hops: Vec::new(),
        protocol: protocol(header.protocol),
        scope_link: family == Family::V4 && header.scope == RouteScope::Link,
        source: None,
        metric: 0,
        tos: header.tos,
        odd: String::new(),
    };
    let mut words = Vec::new();
    if family == Family::V4 && ![RouteScope::Universe, RouteScope::Link].contains(&header.scope) {
        words.push(format!("scope {}", u8::from(header.scope)));
    }
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
        } else if let Some(found) = gateway(attribute) {
            via = via.or(Some(found));
        } else {
            words.extend(condition(attribute));
        }
    }
    route.odd = words.join(" ");
    let of_kernel = route.protocol == KERNEL && route.kind != RouteKind::Unicast;
    if of_kernel || is_multicast(&route.destination) {
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

/// What no agent sets.
fn condition(attribute: &RouteAttribute) -> Option<String> {
    if let RouteAttribute::Metrics(metrics) = attribute {
        (!metrics.is_empty()).then(|| format!("metrics {metrics:?}"))
    } else if let RouteAttribute::Realm(realm) = attribute {
        Some(format!("realm {realm:?}"))
    } else if let RouteAttribute::Preference(preference) = attribute {
        (*preference != RoutePreference::Medium).then(|| format!("pref {preference:?}"))
    } else if let RouteAttribute::Encap(_) = attribute {
        Some("encap".to_owned())
    } else {
        None
    }
}

fn kind(kind: RouteType) -> RouteKind {
    if kind == RouteType::Unicast {
        RouteKind::Unicast
    } else if kind == RouteType::Unreachable {
        RouteKind::Unreachable
    } else if kind == RouteType::BlackHole {
        RouteKind::Blackhole
    } else if kind == RouteType::Prohibit {
        RouteKind::Prohibit
    } else {
        RouteKind::Other(kind.into())
    }
}

fn protocol(protocol: WireProtocol) -> RouteProtocol {
    if protocol == WireProtocol::Static {
        RouteProtocol::Static
    } else if protocol == WireProtocol::Boot {
        RouteProtocol::Boot
    } else if protocol == WireProtocol::Ra {
        RouteProtocol::Ra
    } else {
        RouteProtocol::Other(protocol.into())
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
