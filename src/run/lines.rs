//! A namespace's state as the lines that snapshots show and state sentences quote.
//!
//! In: an observed state. Out: lines in the notation of `ip` and `iptables-save`, MACs by their owner's name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::name::{DeviceName, HostName};
use crate::namespace::{ChainName, HostState, Kind, Link, NamespaceState, PolicyRule, Ruleset, Table};
use crate::net::{Family, Mac};
use crate::record::Line;
use crate::topology::Topology;

/// Who owns which MAC: `vm1`, `cmp2/fip-public/fg-public`, a host's on the underlay `cmp2`, or `qr-red4` where several hosts
/// share one.
pub(super) fn mac_owners(topology: &Topology, hosts: &BTreeMap<HostName, HostState>) -> BTreeMap<Mac, String> {
    let mut owners: BTreeMap<Mac, BTreeSet<(String, String)>> = BTreeMap::new();
    for (name, node) in &topology.nodes {
        for port in &node.ports {
            owners.entry(port.mac).or_default().insert((name.to_string(), name.to_string()));
        }
    }
    for (name, host) in &topology.hosts {
        // What other hosts see as the source of what its routers send is the host's, too.
        for mac in [Mac::uplink(name.as_str()), host.dvr_mac] {
            owners.entry(mac).or_default().insert((name.to_string(), name.to_string()));
        }
    }
    for (host, state) in hosts {
        for (namespace, content) in &state.namespaces {
            for (device, link) in &content.links {
                let whole = format!("{host}/{namespace}/{device}");
                owners.entry(link.mac).or_default().insert((whole, device.to_string()));
            }
        }
    }
    owners
        .into_iter()
        .filter_map(|(mac, names)| {
            let shared = names.len() > 1;
            names.into_iter().next().map(|(whole, short)| (mac, if shared { short } else { whole }))
        })
        .collect()
}

/// A device: `qg-r1 mtu 1500 state up`.
pub(super) fn device_text(device: &DeviceName, link: &Link) -> String {
    format!("{device} mtu {} state {}", link.mtu, if link.up { "up" } else { "down" })
}

/// A neighbour: `10.0.1.11 dev qr-red4 lladdr vm1 permanent`.
pub(super) fn neighbour_text(address: IpAddr, device: &DeviceName, owner: &str) -> String {
    format!("{address} dev {device} lladdr {owner} permanent")
}

/// A neighbour that a kernel has found out by itself: `203.0.113.101 dev eth0 lladdr cmp1/fip-public/fg-public`.
pub(super) fn resolved_text(address: IpAddr, device: &DeviceName, owner: &str) -> String {
    format!("{address} dev {device} lladdr {owner}")
}

/// All lines of a namespace in the order of [`Kind`].
pub(super) fn lines(
    state: &NamespaceState,
    macs: &BTreeMap<Mac, String>,
    skeleton: &dyn Fn(Family) -> Ruleset,
) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut push = |kind, text: String, constant| lines.push(Line { kind, text, constant });
    for (device, link) in &state.links {
        push(Kind::Device, device_text(device, link), false);
    }
    for address in &state.addresses {
        push(Kind::Address, address.to_string(), false);
    }
    let base = PolicyRule::base();
    for (family, kind) in [(Family::V4, Kind::Rule), (Family::V6, Kind::Rule6)] {
        for rule in state.rules.iter().filter(|rule| rule.family == family) {
            push(kind, rule.to_string(), base.contains(rule));
        }
    }
    for (family, kind) in [(Family::V4, Kind::Route), (Family::V6, Kind::Route6)] {
        for route in state.routes.iter().filter(|route| route.family() == family) {
            push(kind, route.to_string(), false);
        }
    }
    for ((device, address), mac) in &state.neighbours {
        let owner = macs.get(mac).cloned().unwrap_or_else(|| mac.to_string());
        push(Kind::Neighbour, neighbour_text(*address, device, &owner), false);
    }
    for (device, address) in &state.proxies {
        push(Kind::Neighbour, format!("{address} dev {device} proxy"), false);
    }
    for (key, value) in &state.sysctls {
        push(Kind::Sysctl, format!("{key}={value}"), true);
    }
    for family in Family::BOTH {
        rule_lines(state.ruleset(family), &skeleton(family), family, &mut push);
    }
    for table in &state.foreign_tables {
        push(Kind::Filter, format!("nft {table}"), false);
    }
    lines
}

/// `iptables-save` lines, tables in order: chains that are not empty or not part of the skeleton, then their rules.
fn rule_lines(ruleset: &Ruleset, skeleton: &Ruleset, family: Family, push: &mut dyn FnMut(Kind, String, bool)) {
    for (table, chains) in &ruleset.tables {
        let kind = kind_of(*table, family);
        let usual = skeleton.tables.get(table);
        for (name, chain) in chains {
            let known = usual.and_then(|chains| chains.get(name));
            match name {
                ChainName::Own(own) => push(kind, format!("-N {own}"), known.is_some()),
                ChainName::Builtin(_) if chain.policy_drop => push(kind, format!("-P {name} DROP"), false),
                ChainName::Builtin(_) => {}
            }
            for rule in &chain.rules {
                let constant = known.is_some_and(|chain| chain.rules.contains(rule));
                push(kind, format!("-A {name} {rule}"), constant);
            }
        }
    }
}

fn kind_of(table: Table, family: Family) -> Kind {
    match (table, family) {
        (Table::Raw, Family::V4) => Kind::Raw,
        (Table::Mangle, Family::V4) => Kind::Mangle,
        (Table::Nat, Family::V4) => Kind::Nat,
        (Table::Filter, Family::V4) => Kind::Filter,
        (Table::Raw, Family::V6) => Kind::Raw6,
        (Table::Mangle, Family::V6) => Kind::Mangle6,
        (Table::Nat, Family::V6) => Kind::Nat6,
        (Table::Filter, Family::V6) => Kind::Filter6,
    }
}
