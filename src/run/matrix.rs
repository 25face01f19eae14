//! The full reachability matrix: everybody to everybody's addresses, by every protocol.

use crate::api::Intent;
use crate::flow::{Flow, Protocol};
use crate::name::{HostName, Name};
use crate::namespace::{HostState, NamespaceState};
use crate::net::Family;
use crate::run::{Owners, is_upstream};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Who stands for which address: instances and machines outside.
pub(super) fn owners(intent: &Intent) -> Owners {
    let mut owners = Owners::new();
    for (name, addresses) in inside(intent) {
        owners.extend(addresses.into_iter().map(|address| (address, name.to_string())));
    }
    for (name, node) in &intent.outside {
        owners.extend(node.addresses.iter().map(|address| (*address, name.to_string())));
    }
    owners
}

/// The flows of the matrix: instances and machines outside to each other, to floating IPs and to gateway addresses.
/// An instance on a host that is off sends nothing. What several hosts claim is not probed: see [`claimed`]. Machines outside are not probed among themselves, nor upstream routers at all: no router of ours is between them.
pub(super) fn flows(
    intent: &Intent,
    is_on: &dyn Fn(&HostName) -> bool,
    claimed: &BTreeMap<IpAddr, Vec<String>>,
) -> Vec<Flow> {
    let inside = inside(intent);
    let outside: Vec<(Name, Vec<IpAddr>)> = intent
        .outside
        .iter()
        .filter(|(_, node)| !is_upstream(&node.place))
        .map(|(name, node)| (name.clone(), node.addresses.clone()))
        .collect();
    let shared: Vec<IpAddr> = shared(intent).filter(|address| !claimed.contains_key(address)).collect();
    let mut flows = Vec::new();
    let runs = |name: &Name| intent.host_of(name).is_none_or(is_on);
    for (from, own) in inside.iter().filter(|(name, _)| runs(name)).chain(&outside) {
        let others = inside.iter().chain(if outside.iter().any(|(name, _)| name == from) { &[][..] } else { &outside });
        let targets = others.filter(|(name, _)| name != from).flat_map(|(_, addresses)| addresses.iter().copied());
        for to in targets.chain(shared.iter().copied()) {
            if own.iter().any(|address| Family::of(*address) == Family::of(to)) {
                flows.extend(Protocol::MATRIX.map(|protocol| Flow::new(from.clone(), to, protocol)));
            }
        }
    }
    flows
}

/// Floating IPs and gateway addresses.
fn shared(intent: &Intent) -> impl Iterator<Item = IpAddr> {
    let gateways = intent.routers.values().filter_map(|router| router.gateway.as_ref());
    intent.floating_ips.keys().copied().chain(gateways.flat_map(|gateway| gateway.addresses.clone()))
}

/// Floating IPs and gateway addresses that stand on more than one host, and in which namespaces. All of them answer who asks
/// for the address, with one MAC even where the gateway port is the same: who is heard last, and so reached, is chance.
pub(super) fn claimed(intent: &Intent, hosts: &BTreeMap<HostName, HostState>) -> BTreeMap<IpAddr, Vec<String>> {
    let holders = |address: IpAddr| {
        let mut holders = Vec::new();
        for (host, state) in hosts {
            let holds = |content: &NamespaceState| content.addresses.iter().any(|one| one.net.addr() == address);
            let here = state.namespaces.iter().filter(|(_, content)| holds(content));
            holders.extend(here.map(|(name, _)| (host, format!("{host}/{name}"))));
        }
        let several = holders.iter().map(|(host, _)| host).collect::<BTreeSet<_>>().len() > 1;
        several.then(|| holders.into_iter().map(|(_, place)| place).collect())
    };
    shared(intent).filter_map(|address| Some((address, holders(address)?))).collect()
}

/// Running instances with their fixed addresses.
fn inside(intent: &Intent) -> Vec<(Name, Vec<IpAddr>)> {
    let running = intent.instances.keys().filter(|name| intent.host_of(name).is_some());
    running.map(|name| (name.clone(), intent.fixed_addresses(name))).collect()
}
