//! Router dicts that contradict themselves.
//!
//! In: a dict that could be read, with the JSON that it was read from. Out: mistakes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::input::{Mistake, join, mistake};
use crate::api::AgentMode;
use crate::net::{Family, family_of};
use crate::router::{PortConfig, RouterConfig};

/// Everything that is wrong with a router.
pub(super) fn router(path: &str, router: &RouterConfig, value: &Value, mode: Option<AgentMode>) -> Vec<Mistake> {
    let mut found = Vec::new();
    let lists = [
        ("_interfaces", &router.interfaces),
        ("_snat_router_interfaces", &router.snat_interfaces),
        ("_floatingip_agent_interfaces", &router.agent_gateways),
    ];
    for (key, ports) in lists {
        let mut seen = BTreeSet::new();
        for (n, one) in ports.iter().enumerate() {
            let place = join(path, &format!("{key}[{n}]"));
            found.extend(port(&place, one));
            if !seen.insert(&one.id) {
                found.push(mistake(join(&place, "id"), format!("another port of `{key}` is {} too", one.id)));
            }
        }
    }
    for (n, one) in router.interfaces.iter().enumerate() {
        for (m, fixed) in one.fixed_ips.iter().enumerate().filter(|(_, fixed)| fixed.prefixlen.is_none()) {
            let place = join(path, &format!("_interfaces[{n}].fixed_ips[{m}].prefixlen"));
            found.push(mistake(place, format!("missing ({} needs it)", fixed.ip_address)));
        }
    }
    if let Some(gateway) = &router.gw_port {
        let place = join(path, "gw_port");
        found.extend(port(&place, gateway));
        let info = value.pointer("/external_gateway_info/network_id").and_then(Value::as_str);
        if let Some(network) = info.filter(|network| *network != gateway.network_id.as_str()) {
            let text = format!("is {}, external_gateway_info says {network}", gateway.network_id);
            found.push(mistake(join(&place, "network_id"), text));
        }
        let id = value.get("gw_port_id").and_then(Value::as_str);
        if let Some(id) = id.filter(|id| *id != gateway.id.as_str()) {
            found.push(mistake(join(&place, "id"), format!("is {}, gw_port_id says {id}", gateway.id)));
        }
    }
    found.extend(addresses(path, router));
    found.extend(unsupported(path, value, mode));
    found
}

/// Routes of one family, floating IPs of IPv4, each address once.
fn addresses(path: &str, router: &RouterConfig) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (n, route) in router.routes.iter().enumerate() {
        if family_of(&route.destination) != Family::of(route.nexthop) {
            let text = format!("{} is no next hop for {}", route.nexthop, route.destination);
            found.push(mistake(join(path, &format!("routes[{n}].nexthop")), text));
        }
    }
    let mut seen = BTreeSet::new();
    for (n, fip) in router.floating_ips.iter().enumerate() {
        let place = join(path, &format!("_floatingips[{n}]"));
        let all = [("floating_ip_address", Some(fip.floating_ip_address)), ("fixed_ip_address", fip.fixed_ip_address)];
        for (key, address) in all {
            if let Some(address) = address.filter(std::net::IpAddr::is_ipv6) {
                found.push(mistake(join(&place, key), format!("{address} is no IPv4 address")));
            }
        }
        if !seen.insert(fip.floating_ip_address) {
            let text = format!("another floating IP is {} too", fip.floating_ip_address);
            found.push(mistake(join(&place, "floating_ip_address"), text));
        }
    }
    found
}

/// What other agents would make of it.
fn unsupported(path: &str, value: &Value, mode: Option<AgentMode>) -> Vec<Mistake> {
    let is = |key: &str| value.get(key).and_then(Value::as_bool);
    let mut found = Vec::new();
    let mut cannot = |key: &str, text: &str| {
        found.push(Mistake { path: join(path, key), text: text.to_owned(), unsupported: true });
    };
    if is("distributed") == Some(false) {
        cannot("distributed", "a centralised router is not built");
    }
    // Elsewhere, and without its port, such a router is an ordinary one. Reference: `neutron-local-side`, 1.1.
    let has_port = value.get("_ha_interface").is_some_and(|port| !port.is_null());
    if is("ha") == Some(true) && has_port && mode == Some(AgentMode::DvrSnat) {
        cannot("ha", "a highly available router is not built");
    }
    found
}

/// Everything that is wrong with a port.
pub(super) fn port(path: &str, port: &PortConfig) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (n, subnet) in port.subnets().iter().enumerate() {
        if let Some(gateway) = subnet.gateway_ip.filter(|gateway| Family::of(*gateway) != family_of(&subnet.cidr)) {
            let text = format!("{gateway} is no gateway of {}", subnet.cidr);
            found.push(mistake(join(path, &format!("subnets[{n}].gateway_ip")), text));
        }
    }
    for (n, fixed) in port.fixed_ips.iter().enumerate() {
        let place = join(path, &format!("fixed_ips[{n}]"));
        let bits = Family::of(fixed.ip_address).bits();
        if let Some(length) = fixed.prefixlen.filter(|length| *length > bits) {
            found.push(mistake(join(&place, "prefixlen"), format!("{length}, at most {bits}")));
        }
        let Some(subnet) = port.subnets().iter().find(|subnet| subnet.id.as_ref() == Some(&fixed.subnet_id)) else {
            if port.subnets().iter().any(|subnet| subnet.id.is_some()) {
                let text = format!("{} is none of the port's subnets", fixed.subnet_id);
                found.push(mistake(join(&place, "subnet_id"), text));
            }
            continue;
        };
        if !subnet.cidr.contains(&fixed.ip_address) {
            let text = format!("{} is not in its subnet {}", fixed.ip_address, subnet.cidr);
            found.push(mistake(join(&place, "ip_address"), text));
        }
    }
    found
}
