//! Which floating IPs a host is told of, and with which annotation. Neutron: `_get_dvr_sync_data`.

use std::net::IpAddr;

use super::config::FloatingIpConfig;
use crate::api::{AgentMode, Intent};
use crate::name::{HostName, Id, Name};
use crate::net::Family;

/// The server's marker for a floating IP that the gateway host serves. Neutron: `FLOATING_IP_HOST_NEEDS_BINDING`.
const NEEDS_BINDING: &str = "FLOATING_IP_HOST_NEEDS_BINDING";

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
