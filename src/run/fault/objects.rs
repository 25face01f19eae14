//! Objects that are never made, or never removed or altered.
//!
//! In: what should stand, what stands, and which objects a fault names. Out: what the faulty router wants. What cannot stand
//! without an object that is omitted goes with it, so that the kernel refuses nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Aim;
use crate::name::{DeviceName, NamespaceName};
use crate::namespace::{Attach, ChainName, HostState, Kind, Link, NamespaceState, Route, Rule, Ruleset, sysctl};
use crate::net::{Family, Mac};
use crate::run::damage::{insert, table_of};
use crate::run::lines::{device_text, neighbour_text};
use crate::scenario::Thing;

/// Gives the aim of the fault in a namespace; none where it is not meant.
pub(super) type Aims<'a, 'b> = &'a dyn Fn(&NamespaceName) -> Option<Aim<'b>>;

/// Leaves out of `desired` what the fault names.
pub(super) fn omit(desired: &mut HostState, aims: Aims<'_, '_>) {
    desired
        .namespaces
        .retain(|name, _| !aims(name).is_some_and(|aim| aim.kind == Kind::Namespace && aim.hits(name.as_str())));
    for (name, state) in &mut desired.namespaces {
        if let Some(aim) = aims(name) {
            omit_in(state, &aim);
        }
    }
    unplug_halves(desired);
}

fn omit_in(state: &mut NamespaceState, aim: &Aim<'_>) {
    let owner = |mac: Mac| aim.macs.get(&mac).cloned();
    match aim.kind {
        Kind::Device => {
            let gone = state.links.iter().filter(|(device, link)| aim.hits(&device_text(device, link)));
            for device in gone.map(|(device, _)| device.clone()).collect::<Vec<_>>() {
                unplug(state, &device);
            }
        }
        Kind::Address => {
            state.addresses.retain(|address| !aim.hits(&address.to_string()));
            let stranded: Vec<Route> = state.routes.iter().filter(|route| is_stranded(state, route)).cloned().collect();
            state.routes.retain(|route| !stranded.contains(route));
        }
        Kind::Rule | Kind::Rule6 => {
            state.rules.retain(|rule| rule.family != family(aim.kind) || !aim.hits(&rule.to_string()));
        }
        Kind::Route | Kind::Route6 => {
            state.routes.retain(|route| route.family() != family(aim.kind) || !aim.hits(&route.to_string()));
        }
        Kind::Neighbour => {
            state.neighbours.retain(|(device, address), mac| {
                !aim.hits(&neighbour_text(*address, device, &owner(*mac).unwrap_or_else(|| mac.to_string())))
            });
        }
        Kind::Sysctl => omit_sysctls(state, aim),
        Kind::Raw
        | Kind::Mangle
        | Kind::Nat
        | Kind::Filter
        | Kind::Raw6
        | Kind::Mangle6
        | Kind::Nat6
        | Kind::Filter6 => {
            let Some((family, table)) = table_of(aim.kind) else { return };
            let rules = state.ruleset_mut(family);
            for (name, chain) in rules.tables.entry(table).or_default() {
                chain.rules.retain(|rule| !aim.hits(&format!("-A {name} {rule}")));
            }
            tidy(rules);
        }
        Kind::Namespace | Kind::Conntrack => {}
    }
}

/// Puts an object beside the others.
pub(super) fn add(state: &mut NamespaceState, thing: &Thing) {
    match thing {
        Thing::Address(address) => drop(state.addresses.insert(address.clone())),
        Thing::Rule(rule) => drop(state.rules.insert(rule.clone())),
        Thing::Route(route) => drop(state.routes.insert(route.clone())),
        Thing::Neighbour(device, address, mac) => drop(state.neighbours.insert((device.clone(), *address), *mac)),
        Thing::TableRule { family, table, chain, position, rule } => {
            let chains = state.ruleset_mut(*family).tables.entry(*table).or_default();
            insert(chains.entry(chain.clone()).or_default(), *position, rule.clone());
        }
        Thing::Namespace(_) | Thing::NewDevice { .. } | Thing::Device { .. } | Thing::Sysctl(..) => {}
    }
}

/// IPv4 or IPv6, of kinds that are one of both.
fn family(kind: Kind) -> Family {
    if matches!(kind, Kind::Rule6 | Kind::Route6) { Family::V6 } else { Family::V4 }
}

/// The route leads by a gateway that is on no link any more.
fn is_stranded(state: &NamespaceState, route: &Route) -> bool {
    let on_link = |device: &DeviceName, via: IpAddr| {
        let addresses = state.addresses.iter().filter(|on| on.device == *device).map(|on| on.net);
        let routes = state.routes.iter().filter(|other| other.next_hops.iter().all(|hop| hop.via.is_none()));
        let link_local = matches!(via, IpAddr::V6(via) if via.is_unicast_link_local());
        link_local || addresses.chain(routes.map(|other| other.destination)).any(|net| net.contains(&via))
    };
    route.next_hops.iter().any(|hop| hop.via.is_some_and(|via| !hop.onlink && !on_link(&hop.device, via)))
}

fn omit_sysctls(state: &mut NamespaceState, aim: &Aim<'_>) {
    let devices: BTreeSet<&str> = state.links.keys().map(DeviceName::as_str).collect();
    let hit = |(key, value): &(&String, &String)| aim.hits(&format!("{key}={value}"));
    let gone: Vec<String> = state.sysctls.iter().filter(hit).map(|(key, _)| key.clone()).collect();
    for key in gone {
        if let Some(value) = sysctl::default_value(&key) {
            sysctl::write(&mut state.sysctls, &devices, &key, value);
        }
    }
}

/// A built-in chain without rules is as none, and a table without chains too.
fn tidy(rules: &mut Ruleset) {
    for chains in rules.tables.values_mut() {
        chains.retain(|name, chain| matches!(name, ChainName::Own(_)) || !chain.rules.is_empty() || chain.policy_drop);
    }
    rules.tables.retain(|_, chains| !chains.is_empty());
}

/// Takes a device out, with all that hangs on it.
fn unplug(state: &mut NamespaceState, device: &DeviceName) {
    state.links.remove(device);
    state.addresses.retain(|address| address.device != *device);
    state.routes.retain(|route| route.next_hops.iter().all(|hop| hop.device != *device));
    state.neighbours.retain(|(on, _), _| on != device);
    state.sysctls.retain(|key, _| sysctl::device_of(key) != Some(device.as_str()));
}

/// Takes out the ends of pairs that have no other end.
pub(super) fn unplug_halves(state: &mut HostState) {
    let has = |namespace: &NamespaceName, device: &DeviceName| {
        state.namespaces.get(namespace).is_some_and(|state| state.links.contains_key(device))
    };
    let is_half = |link: &Link| match &link.attach {
        Attach::Peer { namespace, device } => !has(namespace, device),
        Attach::Network(_) | Attach::Foreign => false,
    };
    let all =
        state.namespaces.iter().flat_map(|(name, state)| state.links.iter().map(move |(on, link)| (name, on, link)));
    let halves: Vec<(NamespaceName, DeviceName)> =
        all.filter(|(_, _, link)| is_half(link)).map(|(name, device, _)| (name.clone(), device.clone())).collect();
    for (name, device) in halves {
        if let Some(state) = state.namespaces.get_mut(&name) {
            unplug(state, &device);
        }
    }
}

/// Adds to `desired` what the fault names of what stands.
pub(super) fn keep(observed: &HostState, desired: &mut HostState, aims: Aims<'_, '_>) {
    for (name, is) in &observed.namespaces {
        let Some(aim) = aims(name) else { continue };
        match desired.namespaces.get_mut(name) {
            Some(wanted) => keep_in(is, wanted, &aim),
            None if aim.kind == Kind::Namespace && aim.hits(name.as_str()) => {
                let mut kept = is.clone();
                kept.lost.clear();
                desired.namespaces.insert(name.clone(), kept);
            }
            None => {}
        }
    }
    unplug_halves(desired);
}

fn keep_in(is: &NamespaceState, wanted: &mut NamespaceState, aim: &Aim<'_>) {
    match aim.kind {
        Kind::Device => keep_devices(is, wanted, aim),
        Kind::Address => {
            for address in is.addresses.iter().filter(|address| wanted.links.contains_key(&address.device)) {
                if aim.names(&address.to_string()) && wanted.addresses.insert(address.clone()) {
                    aim.touch(&address.to_string());
                }
            }
        }
        Kind::Rule | Kind::Rule6 => {
            for rule in is.rules.iter().filter(|rule| rule.family == family(aim.kind)) {
                if aim.names(&rule.to_string()) && wanted.rules.insert(rule.clone()) {
                    aim.touch(&rule.to_string());
                }
            }
        }
        Kind::Route | Kind::Route6 => {
            let stays = |route: &&Route| route.next_hops.iter().all(|hop| wanted.links.contains_key(&hop.device));
            let all = is.routes.iter().filter(stays).filter(|route| route.family() == family(aim.kind));
            for route in all.cloned().collect::<Vec<_>>() {
                if aim.names(&route.to_string()) && !wanted.routes.contains(&route) {
                    aim.touch(&route.to_string());
                    wanted.routes.retain(|other| other.key() != route.key());
                    wanted.routes.insert(route);
                }
            }
        }
        Kind::Neighbour => {
            for ((device, address), mac) in is.neighbours.iter().filter(|((on, _), _)| wanted.links.contains_key(on)) {
                let owner = aim.macs.get(mac).cloned().unwrap_or_else(|| mac.to_string());
                let line = neighbour_text(*address, device, &owner);
                let other =
                    aim.names(&line) && wanted.neighbours.insert((device.clone(), *address), *mac) != Some(*mac);
                if other {
                    aim.touch(&line);
                }
            }
        }
        Kind::Sysctl => keep_sysctls(is, wanted, aim),
        Kind::Raw
        | Kind::Mangle
        | Kind::Nat
        | Kind::Filter
        | Kind::Raw6
        | Kind::Mangle6
        | Kind::Nat6
        | Kind::Filter6 => add_rules(is, wanted, aim),
        Kind::Namespace | Kind::Conntrack => {}
    }
}

fn keep_devices(is: &NamespaceState, wanted: &mut NamespaceState, aim: &Aim<'_>) {
    for (device, link) in &is.links {
        let line = device_text(device, link);
        if !aim.names(&line) || wanted.links.get(device) == Some(link) {
            continue;
        }
        aim.touch(&line);
        if wanted.links.insert(device.clone(), link.clone()).is_none() {
            let of_device = is.sysctls.iter().filter(|(key, _)| sysctl::device_of(key) == Some(device.as_str()));
            wanted.sysctls.extend(of_device.map(|(key, value)| (key.clone(), value.clone())));
        }
    }
}

fn keep_sysctls(is: &NamespaceState, wanted: &mut NamespaceState, aim: &Aim<'_>) {
    let devices: BTreeSet<&str> = wanted.links.keys().map(DeviceName::as_str).collect();
    let stands = |key: &str| {
        sysctl::device_of(key).is_none_or(|on| ["all", "default", "lo"].contains(&on) || devices.contains(on))
    };
    for (key, value) in is.sysctls.iter().filter(|(key, _)| stands(key)) {
        let line = format!("{key}={value}");
        if aim.names(&line) && wanted.sysctls.get(key) != Some(value) {
            aim.touch(&line);
            sysctl::write(&mut wanted.sysctls, &devices, key, value);
        }
    }
}

/// Adds the rules of a table that the fault names and `to` does not have, where they stand in `from`.
pub(super) fn add_rules(from: &NamespaceState, to: &mut NamespaceState, aim: &Aim<'_>) {
    let Some((family, table)) = table_of(aim.kind) else { return };
    let Some(chains) = from.ruleset(family).tables.get(&table) else { return };
    for (name, chain) in chains {
        for (at, rule) in chain.rules.iter().enumerate() {
            let line = format!("-A {name} {rule}");
            let there = to.ruleset_mut(family).tables.entry(table).or_default().entry(name.clone()).or_default();
            if aim.names(&line) && !there.rules.contains(rule) {
                aim.touch(&line);
                there.rules.insert(at.min(there.rules.len()), rule.clone());
            }
        }
    }
    tidy(to.ruleset_mut(family));
}

/// Takes away the rules of a table that the fault names and `other` does not have.
pub(super) fn remove_rules(state: &mut NamespaceState, other: &NamespaceState, aim: &Aim<'_>) {
    let Some((family, table)) = table_of(aim.kind) else { return };
    let theirs = other.ruleset(family).tables.get(&table);
    let rules = state.ruleset_mut(family);
    for (name, chain) in rules.tables.entry(table).or_default() {
        let stands =
            |rule: &Rule| theirs.and_then(|chains| chains.get(name)).is_some_and(|chain| chain.rules.contains(rule));
        chain.rules.retain(|rule| stands(rule) || !aim.hits(&format!("-A {name} {rule}")));
    }
    tidy(rules);
}
