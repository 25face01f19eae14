//! A model of what the kernel does with an operation: strict where the kernel refuses, with all that it does besides.

use std::collections::BTreeSet;
use std::net::IpAddr;

use dvrlab::name::{DeviceName, NamespaceName};
use dvrlab::namespace::{
    Address, Attach, Chain, ChainName, HostState, Link, NamespaceState, PolicyRule, Route, sysctl,
};
use dvrlab::net::{Family, TABLE_MAIN, family_of};
use dvrlab::plan::{Action, ChainChange, Op, RuleChanges};

type Answer = Result<(), String>;

fn must(condition: bool, reason: impl FnOnce() -> String) -> Answer {
    if condition { Ok(()) } else { Err(reason()) }
}

/// Carries an operation out, or says why the kernel would refuse it.
pub(crate) fn apply(host: &mut HostState, op: &Op) -> Answer {
    let name = &op.namespace;
    match &op.action {
        Action::NamespaceAdd => {
            must(!host.namespaces.contains_key(name), || "exists".to_owned())?;
            let born = NamespaceState { rules: PolicyRule::base().into(), ..NamespaceState::default() };
            host.namespaces.insert(name.clone(), born);
            Ok(())
        }
        Action::NamespaceDelete => {
            let state = host.namespaces.remove(name).ok_or("no such namespace")?;
            for link in state.links.values() {
                remove_peer(host, link);
            }
            Ok(())
        }
        Action::LinkAdd { device, link, peer } => add_link(host, name, device, link, *peer),
        Action::LinkDelete(device) => {
            let state = host.namespaces.get_mut(name).ok_or("no such namespace")?;
            let link = state.links.get(device).cloned().ok_or("no such device")?;
            remove_link(state, device);
            remove_peer(host, &link);
            Ok(())
        }
        Action::LinkMtu(..)
        | Action::LinkMac(..)
        | Action::LinkUp(..)
        | Action::AddressAdd(_)
        | Action::AddressDelete(_)
        | Action::RouteReplace(_)
        | Action::RouteDelete(_)
        | Action::RuleAdd(_)
        | Action::RuleDelete(_)
        | Action::NeighbourReplace(..)
        | Action::NeighbourDelete(..)
        | Action::ProxyDelete(..)
        | Action::SysctlSet(..)
        | Action::Rules(_)
        | Action::TableDelete(_)
        | Action::ConntrackPurge(_)
        | Action::ConntrackPurgePort { .. }
        | Action::Announce(..) => within(host.namespaces.get_mut(name).ok_or("no such namespace")?, &op.action),
    }
}

fn within(state: &mut NamespaceState, action: &Action) -> Answer {
    match action {
        Action::LinkMtu(device, mtu) => link(state, device).map(|link| link.mtu = *mtu),
        Action::LinkMac(device, mac) => link(state, device).map(|link| link.mac = *mac),
        Action::LinkUp(device, up) => {
            link(state, device)?.up = *up;
            if !up {
                state.routes.retain(|route| !uses(route, device));
                state.neighbours.retain(|(on, _), _| on != device);
            }
            Ok(())
        }
        Action::AddressAdd(address) => {
            link(state, &address.device)?;
            let same = |on: &Address| (&on.device, on.net) == (&address.device, address.net);
            must(!state.addresses.iter().any(same), || "EEXIST".to_owned())?;
            let secondary = state.addresses.iter().any(|on| in_one_subnet(on, address));
            state.addresses.insert(Address { secondary, ..address.clone() });
            Ok(())
        }
        Action::AddressDelete(address) => delete_address(state, address),
        Action::RouteReplace(route) => replace_route(state, route),
        Action::RouteDelete(route) => must(state.routes.remove(route), || "ESRCH".to_owned()),
        Action::RuleAdd(rule) => must(state.rules.insert(rule.clone()), || "EEXIST".to_owned()),
        Action::RuleDelete(rule) => must(state.rules.remove(rule), || "ENOENT".to_owned()),
        Action::NeighbourReplace(device, address, mac) => {
            must(link(state, device)?.up, || "device is down".to_owned())?;
            state.neighbours.insert((device.clone(), *address), *mac);
            Ok(())
        }
        Action::NeighbourDelete(device, address) => {
            must(state.neighbours.remove(&(device.clone(), *address)).is_some(), || "ENOENT".to_owned())
        }
        Action::ProxyDelete(device, address) => {
            must(state.proxies.remove(&(device.clone(), *address)), || "ENOENT".to_owned())
        }
        Action::SysctlSet(key, value) => {
            let devices: BTreeSet<String> = state.links.keys().map(ToString::to_string).collect();
            let devices: BTreeSet<&str> = devices.iter().map(String::as_str).collect();
            let known =
                sysctl::device_of(key).is_none_or(|on| devices.contains(on) || ["all", "default", "lo"].contains(&on));
            must(known && sysctl::default_value(key).is_some(), || format!("no such key: {key}"))?;
            sysctl::write(&mut state.sysctls, &devices, key, value);
            Ok(())
        }
        Action::Rules(changes) => commit(state, changes),
        Action::TableDelete(table) => must(state.foreign_tables.remove(table), || "ENOENT".to_owned()),
        Action::Announce(device, _) => must(link(state, device)?.up, || "device is down".to_owned()),
        Action::ConntrackPurge(_) | Action::ConntrackPurgePort { .. } => Ok(()),
        Action::NamespaceAdd | Action::NamespaceDelete | Action::LinkAdd { .. } | Action::LinkDelete(_) => {
            unreachable!()
        }
    }
}

fn link<'a>(state: &'a mut NamespaceState, device: &DeviceName) -> Result<&'a mut Link, String> {
    state.links.get_mut(device).ok_or_else(|| format!("no such device: {device}"))
}

fn uses(route: &Route, device: &DeviceName) -> bool {
    route.next_hops.iter().any(|hop| &hop.device == device)
}

fn add_link(
    host: &mut HostState,
    name: &NamespaceName,
    device: &DeviceName,
    link: &Link,
    peer: Option<(dvrlab::net::Mac, u32)>,
) -> Answer {
    let mut ends = vec![(name.clone(), device.clone(), link.clone())];
    if let Attach::Peer { namespace, device: other } = &link.attach {
        let (mac, mtu) = peer.ok_or("a pair without its other end")?;
        let attach = Attach::Peer { namespace: name.clone(), device: device.clone() };
        ends.push((namespace.clone(), other.clone(), Link { mac, mtu, up: link.up, attach, odd: String::new() }));
    }
    for (name, device, link) in ends {
        let state = host.namespaces.get_mut(&name).ok_or("no such namespace")?;
        must(!state.links.contains_key(&device), || format!("{device} exists"))?;
        sysctl::inherit(&mut state.sysctls, device.as_str());
        state.links.insert(device, link);
    }
    Ok(())
}

fn remove_link(state: &mut NamespaceState, device: &DeviceName) {
    state.links.remove(device);
    state.addresses.retain(|address| &address.device != device);
    state.routes.retain(|route| !uses(route, device));
    state.neighbours.retain(|(on, _), _| on != device);
    state.proxies.retain(|(on, _)| on != device);
    state.sysctls.retain(|key, _| sysctl::device_of(key) != Some(device.as_str()));
}

fn remove_peer(host: &mut HostState, link: &Link) {
    if let Attach::Peer { namespace, device } = &link.attach
        && let Some(state) = host.namespaces.get_mut(namespace)
    {
        remove_link(state, device);
    }
}

fn in_one_subnet(one: &Address, other: &Address) -> bool {
    one.device == other.device && one.net.trunc() == other.net.trunc() && family_of(&one.net) == Family::V4
}

fn delete_address(state: &mut NamespaceState, address: &Address) -> Answer {
    let same = |on: &&Address| (&on.device, on.net) == (&address.device, address.net);
    let is = state.addresses.iter().find(same).cloned().ok_or("EADDRNOTAVAIL")?;
    state.addresses.remove(&is);
    let next = state.addresses.iter().rfind(|on| in_one_subnet(on, &is)).cloned();
    if let Some(next) = next.filter(|_| !is.secondary) {
        // One becomes the eldest, or all go with it.
        if sysctl::read(&state.sysctls, "net.ipv4.conf.all.promote_secondaries") == Some("1") {
            state.addresses.remove(&next);
            state.addresses.insert(Address { secondary: false, ..next });
        } else {
            state.addresses.retain(|on| !in_one_subnet(on, &is));
        }
    }
    state.routes.retain(|route| route.source != Some(address.net.addr()));
    let v4 = |on: &Address| on.device == address.device && family_of(&on.net) == Family::V4;
    if v4(address) && !state.addresses.iter().any(v4) {
        let device = &address.device;
        state.routes.retain(|route| route.family() == Family::V6 || !uses(route, device));
        state.neighbours.retain(|(on, of), _| on != device || of.is_ipv6());
    }
    Ok(())
}

fn replace_route(state: &mut NamespaceState, route: &Route) -> Answer {
    for hop in &route.next_hops {
        must(link(state, &hop.device)?.up, || format!("{} is down", hop.device))?;
        if let Some(via) = hop.via {
            must(on_link(state, &hop.device, via), || format!("ENETUNREACH: {via} is not on {}", hop.device))?;
        }
    }
    state.routes.retain(|other| other.key() != route.key());
    state.routes.insert(route.clone());
    Ok(())
}

fn on_link(state: &NamespaceState, device: &DeviceName, via: IpAddr) -> bool {
    let link_local = matches!(via, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let connected = state.addresses.iter().any(|on| &on.device == device && on.net.contains(&via));
    let routed = state.routes.iter().any(|route| {
        let direct = route.next_hops.iter().all(|hop| hop.via.is_none());
        route.table == TABLE_MAIN && direct && uses(route, device) && route.destination.contains(&via)
    });
    link_local || connected || routed
}

fn commit(state: &mut NamespaceState, changes: &RuleChanges) -> Answer {
    let mut removed = Vec::new();
    for (n, (family, table, change)) in changes.changes.iter().enumerate() {
        let chains = state.ruleset_mut(*family).tables.entry(*table).or_default();
        match change {
            ChainChange::Create(name) => {
                must(chains.insert(name.clone(), Chain::default()).is_none(), || format!("{name} exists"))?;
            }
            ChainChange::Remove(name) => {
                must(chains.remove(name).is_some_and(|chain| chain.rules.is_empty()), || {
                    format!("{name} is not empty")
                })?;
            }
            ChainChange::PolicyAccept(name) => chains.entry(name.clone()).or_default().policy_drop = false,
            ChainChange::Delete(name, position, rule) => {
                // Positions are those before the transaction: count the ones of this chain already gone.
                let key = (*family, *table, name.clone());
                let before = removed.iter().filter(|(other, at)| *other == key && at < position).count();
                let chain = chains.get_mut(name).ok_or_else(|| format!("no chain {name}"))?;
                must(chain.rules.get(position - before) == Some(rule), || format!("{name} {position} is not {rule}"))?;
                chain.rules.remove(position - before);
                removed.push((key, *position));
            }
            ChainChange::Insert(name, position, rule) => {
                must(matches!(name, ChainName::Builtin(_)) || chains.contains_key(name), || {
                    format!("no chain {name}")
                })?;
                let chain = chains.entry(name.clone()).or_default();
                must(*position <= chain.rules.len(), || format!("change {n}: {name} has no position {position}"))?;
                chain.rules.insert(*position, rule.clone());
            }
        }
    }
    for family in Family::BOTH {
        let tables = &mut state.ruleset_mut(family).tables;
        for chains in tables.values_mut() {
            chains.retain(|name, chain| {
                matches!(name, ChainName::Own(_)) || !chain.rules.is_empty() || chain.policy_drop
            });
        }
        tables.retain(|_, chains| !chains.is_empty());
    }
    Ok(())
}
