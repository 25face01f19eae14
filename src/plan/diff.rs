//! What has to be done, without regard to order.
//!
//! What a deletion takes with it is not deleted again: a namespace takes everything in it, a device its addresses, routes,
//! neighbours and sysctls.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use similar::{DiffOp, capture_diff_slices};

use super::op::{Action, ChainChange, Op, RuleChanges};
use crate::name::{DeviceName, NamespaceName};
use crate::namespace::{
    Attach, Chain, ChainName, HostState, Link, NamespaceState, Route, Rule, Ruleset, Table, Target, What, sysctl,
};
use crate::net::Family;

/// Every operation that leads from `observed` to `desired`.
pub(super) fn diff(observed: &HostState, desired: &HostState) -> Vec<Op> {
    let mut ops = Vec::new();
    let empty = NamespaceState::default();
    for name in observed.namespaces.keys().filter(|name| !desired.namespaces.contains_key(*name)) {
        ops.push(Op { namespace: name.clone(), action: Action::NamespaceDelete });
    }
    // A device whose other end goes with its namespace goes too.
    for (name, wanted) in &desired.namespaces {
        let is_new = !observed.namespaces.contains_key(name);
        let found = observed.namespaces.get(name).unwrap_or(&empty);
        let mut here = Differ { namespace: name, found, wanted, host: desired, ops: Vec::new() };
        if is_new {
            here.push(Action::NamespaceAdd);
        }
        here.all(is_new);
        ops.append(&mut here.ops);
    }
    ops
}

struct Differ<'a> {
    namespace: &'a NamespaceName,
    found: &'a NamespaceState,
    wanted: &'a NamespaceState,
    host: &'a HostState,
    ops: Vec<Op>,
}

impl Differ<'_> {
    fn push(&mut self, action: Action) {
        self.ops.push(Op { namespace: self.namespace.clone(), action });
    }

    fn all(&mut self, is_new: bool) {
        let remade = self.links();
        self.addresses(&remade);
        self.policy_rules(is_new);
        self.routes(&remade);
        self.neighbours(&remade);
        self.sysctls(&remade, is_new);
        self.iptables(is_new);
    }

    /// Devices; gives the names of those that go, or go and come again.
    fn links(&mut self) -> BTreeSet<DeviceName> {
        let mut remade = BTreeSet::new();
        for (device, link) in &self.found.links {
            let same = |wanted: &Link| wanted.attach == link.attach;
            if !self.wanted.links.get(device).is_some_and(same) {
                remade.insert(device.clone());
                self.push(Action::LinkDelete(device.clone()));
            }
        }
        for (device, link) in &self.wanted.links {
            match self.found.links.get(device).filter(|_| !remade.contains(device)) {
                None => self.link_add(device, link),
                Some(found) => self.link_set(device, found, link),
            }
        }
        remade
    }

    /// Of a pair, the end whose namespace is named after a router makes both (`rfp-` before `fpr-`).
    fn link_add(&mut self, device: &DeviceName, link: &Link) {
        let peer = match &link.attach {
            Attach::Peer { device: other, .. }
                if device.as_str().starts_with("fpr-") && other.as_str().starts_with("rfp-") =>
            {
                return;
            }
            Attach::Peer { namespace, device } => self
                .host
                .namespaces
                .get(namespace)
                .and_then(|there| there.links.get(device))
                .map(|peer| (peer.mac, peer.mtu)),
            Attach::Network(_) | Attach::Foreign => None,
        };
        self.push(Action::LinkAdd { device: device.clone(), link: link.clone(), peer });
    }

    fn link_set(&mut self, device: &DeviceName, found: &Link, wanted: &Link) {
        if found.mac != wanted.mac {
            self.push(Action::LinkMac(device.clone(), wanted.mac));
        }
        if found.mtu != wanted.mtu {
            self.push(Action::LinkMtu(device.clone(), wanted.mtu));
        }
        if found.up != wanted.up {
            self.push(Action::LinkUp(device.clone(), wanted.up));
        }
    }

    fn addresses(&mut self, remade: &BTreeSet<DeviceName>) {
        for address in &self.found.addresses {
            if !self.wanted.addresses.contains(address) && !remade.contains(&address.device) {
                self.push(Action::AddressDelete(address.clone()));
                self.push(Action::ConntrackPurge(address.net.addr()));
            }
        }
        for address in &self.wanted.addresses {
            if !self.found.addresses.contains(address) || remade.contains(&address.device) {
                self.push(Action::AddressAdd(address.clone()));
                self.push(Action::Announce(address.device.clone(), address.net.addr()));
            }
        }
    }

    fn policy_rules(&mut self, is_new: bool) {
        let base = crate::namespace::PolicyRule::base();
        for rule in &self.found.rules {
            if !self.wanted.rules.contains(rule) {
                self.push(Action::RuleDelete(rule.clone()));
            }
        }
        for rule in &self.wanted.rules {
            if !self.found.rules.contains(rule) && !(is_new && base.contains(rule)) {
                self.push(Action::RuleAdd(rule.clone()));
            }
        }
    }

    fn routes(&mut self, remade: &BTreeSet<DeviceName>) {
        let lost = |route: &Route| route.next_hops.iter().any(|hop| remade.contains(&hop.device));
        let replaced = |old: &Route, new: &Route| {
            (old.table, old.destination, old.metric) == (new.table, new.destination, new.metric)
        };
        for route in &self.found.routes {
            let comes_anew = self.wanted.routes.iter().any(|new| replaced(route, new));
            if !self.wanted.routes.contains(route) && !lost(route) && !comes_anew {
                self.push(Action::RouteDelete(route.clone()));
            }
        }
        for route in &self.wanted.routes {
            if !self.found.routes.contains(route) || lost(route) {
                self.push(Action::RouteReplace(route.clone()));
            }
        }
    }

    fn neighbours(&mut self, remade: &BTreeSet<DeviceName>) {
        for (device, address) in self.found.neighbours.keys() {
            if !self.wanted.neighbours.contains_key(&(device.clone(), *address)) && !remade.contains(device) {
                self.push(Action::NeighbourDelete(device.clone(), *address));
            }
        }
        for ((device, address), mac) in &self.wanted.neighbours {
            if self.found.neighbours.get(&(device.clone(), *address)) != Some(mac) || remade.contains(device) {
                self.push(Action::NeighbourReplace(device.clone(), *address, *mac));
            }
        }
    }

    fn sysctls(&mut self, remade: &BTreeSet<DeviceName>, is_new: bool) {
        let of_remade = |key: &str| remade.iter().any(|device| key.split('.').any(|part| part == device.as_str()));
        for key in self.found.sysctls.keys() {
            if !self.wanted.sysctls.contains_key(key) && !of_remade(key) {
                self.push(Action::SysctlSet(key.clone(), sysctl::default(key).to_owned()));
            }
        }
        for (key, value) in &self.wanted.sysctls {
            if (self.found.sysctls.get(key) != Some(value) || of_remade(key)) && !self.follows(key, is_new) {
                self.push(Action::SysctlSet(key.clone(), value.clone()));
            }
        }
    }

    /// What the kernel does by itself: switching forwarding on sets it for every device, and a new device has it from then on.
    fn follows(&self, key: &str, is_new: bool) -> bool {
        let Some((family, rest)) = key.strip_prefix("net.").and_then(|key| key.split_once(".conf.")) else {
            return false;
        };
        let Some((device, last)) = rest.rsplit_once('.') else { return false };
        let forwarding = last == "forwarding" && !(family == "ipv6" && device == "all");
        let redirects = last == "accept_redirects" && device == "all";
        let new_device = !self.found.links.keys().any(|found| found.as_str() == device);
        let of_device = !matches!(device, "all" | "default" | "lo");
        (is_new && (forwarding || redirects)) || (forwarding && of_device && new_device)
    }

    fn iptables(&mut self, is_new: bool) {
        let mut changes = RuleChanges::default();
        for family in Family::BOTH {
            ruleset(self.found.ruleset(family), self.wanted.ruleset(family), family, &mut changes);
        }
        if !changes.changes.is_empty() {
            let withdrawn = withdrawn(&changes);
            self.push(Action::Rules(changes));
            // Nothing stands on translations that were not there.
            for address in withdrawn.into_iter().filter(|_| !is_new) {
                self.push(Action::ConntrackPurge(address));
            }
        }
    }
}

/// Addresses whose translation changes: connections that stand on the old one are not to outlive it, and connections of a
/// fixed address that gets a translation are not to go on without it.
fn withdrawn(changes: &RuleChanges) -> BTreeSet<IpAddr> {
    let mut addresses = BTreeSet::new();
    for (_, table, change) in &changes.changes {
        let (ChainChange::Delete(_, _, rule) | ChainChange::Insert(_, _, rule)) = change else { continue };
        if *table != Table::Nat {
            continue;
        }
        let gone = matches!(change, ChainChange::Delete(..));
        match &rule.target {
            Target::Snat(to) if gone => {
                addresses.insert(to.address);
                addresses.extend(source_of(rule));
            }
            Target::Snat(_) => addresses.extend(source_of(rule)),
            Target::Dnat(to) if gone => {
                addresses.insert(to.address);
            }
            Target::Dnat(_)
            | Target::Jump(_)
            | Target::Accept
            | Target::Drop
            | Target::Return
            | Target::Mark(..)
            | Target::SaveMark(..)
            | Target::RestoreMark(..)
            | Target::SetConnMark(..)
            | Target::Redirect(_)
            | Target::NoTrack
            | Target::Unknown(_)
            | Target::None => {}
        }
    }
    addresses
}

fn source_of(rule: &Rule) -> Option<IpAddr> {
    rule.matches.iter().find_map(|one| match &one.what {
        What::Source(net) if !one.not && net.prefix_len() == net.max_prefix_len() => Some(net.addr()),
        _ => None,
    })
}

/// Chains to make, then rules chain by chain, then chains to remove.
fn ruleset(found: &Ruleset, wanted: &Ruleset, family: Family, out: &mut RuleChanges) {
    let none = BTreeMap::new();
    let mut removed = Vec::new();
    for table in Table::ALL {
        let old = found.tables.get(&table).unwrap_or(&none);
        let new = wanted.tables.get(&table).unwrap_or(&none);
        for name in new.keys().filter(|name| matches!(name, ChainName::Own(_)) && !old.contains_key(*name)) {
            out.changes.push((family, table, ChainChange::Create(name.clone())));
        }
        let empty = Chain::default();
        let names: BTreeSet<&ChainName> = old.keys().chain(new.keys()).collect();
        for name in names {
            let (from, to) = (old.get(name).unwrap_or(&empty), new.get(name).unwrap_or(&empty));
            if from.policy_drop && !to.policy_drop {
                out.changes.push((family, table, ChainChange::PolicyAccept(name.clone())));
            }
            out.changes.extend(chain(name, &from.rules, &to.rules).into_iter().map(|change| (family, table, change)));
            if matches!(name, ChainName::Own(_)) && !new.contains_key(name) {
                removed.push((family, table, ChainChange::Remove(name.clone())));
            }
        }
    }
    out.changes.append(&mut removed);
}

/// The fewest deletions and insertions, so that a rule both states have is not touched and keeps its counters.
fn chain(name: &ChainName, old: &[Rule], new: &[Rule]) -> Vec<ChainChange> {
    let mut deletions = Vec::new();
    let mut insertions = Vec::new();
    for op in capture_diff_slices(similar::Algorithm::Myers, old, new) {
        if matches!(op, DiffOp::Equal { .. }) {
            continue;
        }
        for index in op.old_range() {
            deletions.extend(old.get(index).map(|rule| ChainChange::Delete(name.clone(), index, rule.clone())));
        }
        for index in op.new_range() {
            insertions.extend(new.get(index).map(|rule| ChainChange::Insert(name.clone(), index, rule.clone())));
        }
    }
    deletions.extend(insertions);
    deletions
}
