//! `route4 [TYPE] DST [via GW] [nexthop via GW dev DEV weight N]... [dev DEV] table T [proto P] [scope S] [src A]
//! [metric N] [pref P] [[FLAGS]]`

use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RoutePreference, RouteProtocol, RouteScope,
    RouteType, RouteVia,
};

use super::Names;
use crate::namespace::table_text;
use crate::net::{IpNet, destination_text};

/// The routing protocols that `ip` knows by name. Source: iproute2, `etc/iproute2/rt_protos`.
const PROTOCOLS: [(RouteProtocol, &str); 17] = [
    (RouteProtocol::IcmpRedirect, "redirect"),
    (RouteProtocol::Kernel, "kernel"),
    (RouteProtocol::Static, "static"),
    (RouteProtocol::Gated, "gated"),
    (RouteProtocol::Ra, "ra"),
    (RouteProtocol::Mrt, "mrt"),
    (RouteProtocol::Zebra, "zebra"),
    (RouteProtocol::Bird, "bird"),
    (RouteProtocol::DnRouted, "dnrouted"),
    (RouteProtocol::Xorp, "xorp"),
    (RouteProtocol::Ntk, "ntk"),
    (RouteProtocol::Dhcp, "dhcp"),
    (RouteProtocol::KeepAlived, "keepalived"),
    (RouteProtocol::Babel, "babel"),
    (RouteProtocol::Bgp, "bgp"),
    (RouteProtocol::Isis, "isis"),
    (RouteProtocol::Ospf, "ospf"),
];

/// What a message says, put together.
#[derive(Default)]
struct Parts {
    destination: Option<IpNet>,
    via: String,
    device: String,
    hops: String,
    table: u32,
    source: String,
    metric: u32,
    preference: String,
}

/// The line, unless it is left out: what the kernel keeps for its own addresses.
pub(super) fn line(message: &RouteMessage, names: &Names) -> Option<String> {
    let header = &message.header;
    let v6 = header.address_family == AddressFamily::Inet6;
    if !v6 && header.address_family != AddressFamily::Inet {
        return None;
    }
    let parts = parts(message, names);
    let destination = parts.destination;
    let is_multicast = v6 && destination.is_some_and(|net| net.addr().is_multicast());
    if is_multicast || (header.protocol == RouteProtocol::Kernel && is_own(header.kind)) {
        return None;
    }
    let mut line = if v6 { "route6 ".to_owned() } else { "route4 ".to_owned() };
    if header.kind != RouteType::Unicast {
        line.push_str(&kind(header.kind));
        line.push(' ');
    }
    line.push_str(&destination.map_or_else(|| "default".to_owned(), |net| destination_text(&net)));
    line.push_str(&parts.via);
    line.push_str(&parts.hops);
    line.push_str(&parts.device);
    line.extend([format!(" table {}", table_text(parts.table))]);
    line.push_str(&protocol(header.protocol));
    line.push_str(scope(header.scope));
    line.push_str(&parts.source);
    if parts.metric != 0 {
        line.extend([format!(" metric {}", parts.metric)]);
    }
    line.push_str(&parts.preference);
    line.push_str(&flags(header.flags));
    Some(line)
}

fn parts(message: &RouteMessage, names: &Names) -> Parts {
    let header = &message.header;
    let mut parts = Parts { table: u32::from(header.table), ..Parts::default() };
    for attribute in &message.attributes {
        if let RouteAttribute::Table(table) = attribute {
            parts.table = *table;
        } else if let RouteAttribute::Destination(RouteAddress::Inet(to)) = attribute {
            parts.destination = IpNet::new((*to).into(), header.destination_prefix_length).ok();
        } else if let RouteAttribute::Destination(RouteAddress::Inet6(to)) = attribute {
            parts.destination = IpNet::new((*to).into(), header.destination_prefix_length).ok();
        } else if let RouteAttribute::PrefSource(source) = attribute {
            parts.source = address(source).map(|source| format!(" src {source}")).unwrap_or_default();
        } else if let RouteAttribute::Priority(metric) = attribute {
            parts.metric = *metric;
        } else if let RouteAttribute::Oif(index) = attribute {
            parts.device = device(*index, names);
        } else if let RouteAttribute::MultiPath(legs) = attribute {
            parts.hops = legs.iter().map(|leg| hop(leg, names)).collect();
        } else if let RouteAttribute::Preference(preference) = attribute {
            parts.preference = format!(" pref {}", preference_word(*preference));
        } else if let Some(via) = gateway(attribute) {
            parts.via = via;
        }
    }
    parts
}

/// Kinds that the kernel makes for each address.
fn is_own(kind: RouteType) -> bool {
    [RouteType::Local, RouteType::Broadcast, RouteType::Multicast, RouteType::Anycast].contains(&kind)
}

fn device(index: u32, names: &Names) -> String {
    names.get(&index).map_or_else(|| format!(" dev if{index}"), |name| format!(" dev {name}"))
}

fn hop(leg: &RouteNextHop, names: &Names) -> String {
    let via = leg.attributes.iter().find_map(gateway).unwrap_or_default();
    // The kernel counts weights from 0.
    format!(" nexthop{via}{} weight {}", device(leg.interface_index, names), u16::from(leg.hops) + 1)
}

fn gateway(attribute: &RouteAttribute) -> Option<String> {
    if let RouteAttribute::Gateway(via) = attribute {
        address(via).map(|via| format!(" via {via}"))
    } else if let RouteAttribute::Via(RouteVia::Inet6(via)) = attribute {
        Some(format!(" via inet6 {via}"))
    } else {
        None
    }
}

fn address(address: &RouteAddress) -> Option<String> {
    if let RouteAddress::Inet(v4) = address {
        Some(v4.to_string())
    } else if let RouteAddress::Inet6(v6) = address {
        Some(v6.to_string())
    } else {
        None
    }
}

fn kind(kind: RouteType) -> String {
    format!("{kind:?}").to_lowercase()
}

/// `boot` is what every route has whose maker said nothing, and is left out.
fn protocol(protocol: RouteProtocol) -> String {
    if protocol == RouteProtocol::Boot {
        return String::new();
    }
    let named = PROTOCOLS.iter().find(|(known, _)| *known == protocol);
    named.map_or_else(|| format!(" proto {}", u8::from(protocol)), |(_, word)| format!(" proto {word}"))
}

fn scope(scope: RouteScope) -> &'static str {
    if scope == RouteScope::Link {
        " scope link"
    } else if scope == RouteScope::Host {
        " scope host"
    } else if scope == RouteScope::Site {
        " scope site"
    } else if scope == RouteScope::NoWhere {
        " scope nowhere"
    } else {
        ""
    }
}

fn preference_word(preference: RoutePreference) -> &'static str {
    if preference == RoutePreference::Low {
        "low"
    } else if preference == RoutePreference::Medium {
        "medium"
    } else if preference == RoutePreference::High {
        "high"
    } else {
        "invalid"
    }
}

fn flags(flags: RouteFlags) -> String {
    let known = [
        (RouteFlags::Dead, "dead"),
        (RouteFlags::Linkdown, "linkdown"),
        (RouteFlags::Onlink, "onlink"),
        (RouteFlags::Pervasive, "pervasive"),
    ];
    let words: Vec<&str> = known.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, word)| *word).collect();
    if words.is_empty() { String::new() } else { format!(" [{}]", words.join(",")) }
}
