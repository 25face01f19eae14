//! Port forwardings of a router dict. The server tells the agent which floating IPs have some, with the router; what they
//! are the real agent asks for apart, and what it would be told stands with those floating IPs.
//!
//! In: a router dict as JSON. Out: its port forwardings, or mistakes. Reference: `neutron-local-side`, 4.9.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::input::{Mistake, join, mistake};
use crate::name::Id;
use crate::net::PortRange;
use crate::router::PortForwardingConfig;

/// Protocols that ports can be forwarded of, with their numbers.
const PROTOCOLS: [(&str, u8); 2] = [("tcp", 6), ("udp", 17)];

#[derive(Deserialize)]
struct RawFloatingIp {
    id: Id,
    floating_ip_address: IpAddr,
    #[serde(default)]
    port_forwardings: Vec<RawForwarding>,
}

#[derive(Deserialize)]
struct RawForwarding {
    id: Id,
    protocol: String,
    internal_ip_address: IpAddr,
    internal_port: Option<u16>,
    external_port: Option<u16>,
    internal_port_range: Option<String>,
    external_port_range: Option<String>,
}

/// Those of the floating IPs that are told to have some; where nothing is told of that, of all that are listed.
pub(super) fn read(path: &str, router: &Value) -> Result<Vec<PortForwardingConfig>, Vec<Mistake>> {
    let list = router.get("_pf_floatingips").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let managed = router.get("fip_managed_by_port_forwardings").and_then(Value::as_array);
    let managed: Option<BTreeSet<&str>> = managed.map(|ids| ids.iter().filter_map(Value::as_str).collect());
    let (mut read, mut mistakes) = (Vec::new(), Vec::new());
    for (n, value) in list.iter().enumerate() {
        let place = join(path, &format!("_pf_floatingips[{n}]"));
        let floating_ip: RawFloatingIp = match serde_path_to_error::deserialize(value) {
            Ok(floating_ip) => floating_ip,
            Err(error) => {
                mistakes.push(mistake(join(&place, &error.path().to_string()), error.inner().to_string()));
                continue;
            }
        };
        if managed.as_ref().is_some_and(|managed| !managed.contains(floating_ip.id.as_str())) {
            continue;
        }
        for (m, raw) in floating_ip.port_forwardings.into_iter().enumerate() {
            let place = join(&place, &format!("port_forwardings[{m}]"));
            match forwarding(floating_ip.floating_ip_address, raw) {
                Ok(forwarding) => read.push(forwarding),
                Err((key, text)) => mistakes.push(mistake(join(&place, key), text)),
            }
        }
    }
    if mistakes.is_empty() { Ok(read) } else { Err(mistakes) }
}

fn forwarding(floating: IpAddr, raw: RawForwarding) -> Result<PortForwardingConfig, (&'static str, String)> {
    let known = PROTOCOLS.iter().find(|(name, _)| *name == raw.protocol);
    let (_, protocol) = known.ok_or_else(|| ("protocol", format!("`{}` is neither tcp nor udp", raw.protocol)))?;
    if raw.internal_ip_address.is_ipv6() {
        return Err(("internal_ip_address", format!("{} is no IPv4 address", raw.internal_ip_address)));
    }
    let outside = ports(raw.external_port, raw.external_port_range, ("external_port", "external_port_range"))?;
    let inside = ports(raw.internal_port, raw.internal_port_range, ("internal_port", "internal_port_range"))?;
    let count = |ports: PortRange| u32::from(ports.last - ports.first) + 1;
    if !inside.is_single() && count(inside) != count(outside) {
        let text = format!("{} ports inside for {} outside: as many, or one", count(inside), count(outside));
        return Err(("internal_port_range", text));
    }
    Ok(PortForwardingConfig {
        id: raw.id,
        floating_ip_address: floating,
        protocol: *protocol,
        external_ports: outside,
        internal_ip_address: raw.internal_ip_address,
        internal_ports: inside,
    })
}

/// A port, or a range of them as `8000:8010`; where both are told, the range, of which the port is the first.
fn ports(
    port: Option<u16>,
    range: Option<String>,
    keys: (&'static str, &'static str),
) -> Result<PortRange, (&'static str, String)> {
    let Some(text) = range else {
        return port.map(PortRange::from).ok_or_else(|| (keys.0, format!("neither this nor `{}`", keys.1)));
    };
    PortRange::read(&text, ':')
        .filter(|read| 0 < read.first && read.first <= read.last)
        .ok_or_else(|| (keys.1, format!("`{text}` is no range of ports: write `8000:8010`")))
}
