//! Which floating IPs a host is told of, and with which annotation. Neutron: `_get_dvr_sync_data`.

use std::net::IpAddr;

use super::config::{FloatingIpConfig, PortForwardingConfig};
use crate::api::{AgentMode, Intent, PortForwarding, Router};
use crate::name::{HostName, Id, Name};
use crate::net::{Family, Mac};

/// The server's marker for a floating IP that the gateway host serves. Neutron: `FLOATING_IP_HOST_NEEDS_BINDING`.
const NEEDS_BINDING: &str = "FLOATING_IP_HOST_NEEDS_BINDING";

/// TCP's protocol number.
const TCP: u8 = 6;

/// The router's floating IPs that are delivered to `host`.
pub(super) fn floating_ips(intent: &Intent, host: &HostName, router: &Name) -> Vec<FloatingIpConfig> {
    intent
        .floating_ips
        .iter()
        .filter(|(address, _)| intent.router_of(**address) == Some(router))
        .filter_map(|(address, floating_ip)| {
            let (port, fixed) = floating_ip.target.as_ref()?;
            annotated(intent, host, *address, port, *fixed)
        })
        .collect()
}

/// The port forwardings that a host serves: those of the router, if it has the router's gateway.
pub(super) fn port_forwardings(
    intent: &Intent,
    host: &HostName,
    name: &Name,
    router: &Router,
) -> Vec<PortForwardingConfig> {
    let serves = router.gateway.as_ref().is_some_and(|gateway| gateway.host.as_ref() == Some(host));
    let carried = intent.floating_ips.iter().filter(|(address, _)| serves && intent.router_of(**address) == Some(name));
    carried
        .flat_map(|(address, floating_ip)| floating_ip.forwardings.iter().map(|forwarding| (*address, forwarding)))
        .map(|(floating_ip_address, forwarding)| PortForwardingConfig {
            id: forwarding_id(floating_ip_address, forwarding),
            floating_ip_address,
            protocol: forwarding.protocol,
            external_ports: forwarding.external_port.into(),
            internal_ip_address: forwarding.address,
            internal_ports: forwarding.internal_port.into(),
        })
        .collect()
}

/// Six digits of its own and the floating IP's, as short as the name of its chain asks for.
fn forwarding_id(address: IpAddr, forwarding: &PortForwarding) -> Id {
    let name = format!("{address}/{}/{}", forwarding.protocol, forwarding.external_port);
    let [.., a, b, c] = Mac::derived("pf", &name).0;
    let kind = if forwarding.protocol == TCP { "t" } else { "u" };
    Id::new(format!("{kind}-{a:02x}{b:02x}{c:02x}")).expect("letters and digits make an identifier")
}

/// One floating IP as `host` sees it, if it does.
fn annotated(
    intent: &Intent,
    host: &HostName,
    address: IpAddr,
    port: &Name,
    fixed: IpAddr,
) -> Option<FloatingIpConfig> {
    let mode = intent.hosts.get(host)?.mode;
    let bound = intent.host_of_port(port);
    let target = intent.migration_of_port(port);
    let bound_mode = bound.and_then(|name| intent.hosts.get(name)).map(|found| found.mode);
    let (here, arrives) = (bound == Some(host), target == Some(host));
    let central = match bound_mode {
        None => (mode != AgentMode::Dvr).then_some(true),
        Some(_) if arrives => Some(false),
        Some(AgentMode::DvrNoExternal) => (here || mode == AgentMode::DvrSnat).then_some(true),
        Some(AgentMode::Dvr | AgentMode::DvrSnat) => here.then_some(false),
    }?;
    let scope = intent.ports.get(port).and_then(|found| intent.address_scope_of(&found.network, Family::of(fixed)));
    Some(FloatingIpConfig {
        id: Id::new(address.to_string()).expect("an address has the characters of an identifier"),
        floating_ip_address: address,
        fixed_ip_address: Some(fixed),
        host: Some(if central { NEEDS_BINDING.to_owned() } else { bound.unwrap_or(host).to_string() }),
        dest_host: target.map(HostName::to_string),
        dvr_snat_bound: central,
        fixed_ip_address_scope: scope.map(Name::to_string),
    })
}
