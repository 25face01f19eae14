//! Who acts first.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::config::{FloatingIpConfig, HostConfig};
use crate::name::{HostName, Id};

/// The hosts of these changes, each from one configuration to another, in the order in which they act: those that lose
/// something first, so that no address is answered for twice; apart from that in the order given. Before all of them those
/// that an instance has come to for which they stood ready: the address has to follow it, and they have the least to do.
pub fn order(changes: &[(HostConfig, HostConfig)]) -> Vec<HostName> {
    let mut ordered: Vec<&(HostConfig, HostConfig)> = changes.iter().collect();
    ordered.sort_by_key(|(old, new)| (!receives(old, new), !loses(old, new)));
    ordered.into_iter().map(|(_, new)| new.host.clone()).collect()
}

/// Whether the host was the target of a live migration that is complete now.
fn receives(old: &HostConfig, new: &HostConfig) -> bool {
    let on = |place: &Option<String>| place.as_deref() == Some(new.host.as_str());
    let awaited = |fip: &FloatingIpConfig| on(&fip.dest_host) && !on(&fip.host);
    old.routers.iter().any(|(id, router)| {
        let now = new.routers.get(id).into_iter().flat_map(|router| &router.floating_ips);
        let come: BTreeSet<&Id> = now.filter(|fip| on(&fip.host)).map(|fip| &fip.id).collect();
        router.floating_ips.iter().any(|fip| awaited(fip) && come.contains(&fip.id))
    })
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
