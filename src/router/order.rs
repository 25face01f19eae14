//! Which hosts a change concerns, and who acts first.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::config::HostConfig;
use super::host_config::host_config;
use crate::api::Intent;
use crate::name::{HostName, Id};

/// The hosts whose configuration differs between two intents: those that the server notifies. A host that came or went
/// counts.
pub fn affected(old: &Intent, new: &Intent) -> BTreeSet<HostName> {
    let hosts: BTreeSet<&HostName> = old.hosts.keys().chain(new.hosts.keys()).collect();
    hosts
        .into_iter()
        .filter(|host| {
            old.hosts.contains_key(*host) != new.hosts.contains_key(*host)
                || host_config(old, host) != host_config(new, host)
        })
        .cloned()
        .collect()
}

/// The affected hosts in the order in which they act: those that lose something first, so that no address is answered for
/// twice; apart from that in order of declaration, hosts that went first of all.
pub fn order(old: &Intent, new: &Intent) -> Vec<HostName> {
    let affected = affected(old, new);
    let gone = old.host_order.iter().filter(|host| !new.hosts.contains_key(*host));
    let declared: Vec<&HostName> = gone.chain(&new.host_order).filter(|host| affected.contains(*host)).collect();
    let (first, then): (Vec<&HostName>, Vec<&HostName>) =
        declared.into_iter().partition(|host| loses(&host_config(old, host), &host_config(new, host)));
    first.into_iter().chain(then).cloned().collect()
}

/// Something that a host serves.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Holding<'a> {
    Router(&'a Id),
    Interface(&'a Id, &'a Id),
    Gateway(&'a Id, IpAddr),
    AgentGateway(&'a Id, &'a Id),
    FloatingIp(&'a Id, IpAddr, Option<IpAddr>),
}

fn holdings(config: &HostConfig) -> BTreeSet<Holding<'_>> {
    let mut held = BTreeSet::new();
    for (id, router) in &config.routers {
        held.insert(Holding::Router(id));
        held.extend(router.interfaces.iter().map(|port| Holding::Interface(id, &port.id)));
        held.extend(router.agent_gateways.iter().map(|port| Holding::AgentGateway(id, &port.network_id)));
        held.extend(
            router.floating_ips.iter().map(|f| Holding::FloatingIp(id, f.floating_ip_address, f.fixed_ip_address)),
        );
        if router.gw_port_host.as_ref() == Some(&config.host) {
            let addresses = router.gw_port.iter().flat_map(|port| &port.fixed_ips);
            held.extend(addresses.map(|fixed| Holding::Gateway(id, fixed.ip_address)));
        }
    }
    held
}

fn loses(old: &HostConfig, new: &HostConfig) -> bool {
    !holdings(old).is_subset(&holdings(new))
}
