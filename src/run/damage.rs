//! What somebody does behind an agent's back.
//!
//! In: a host as it stands, and what is done to it. Out: operations, done at once. Never: a word to the agent.

use std::collections::BTreeMap;

use super::{Driver, dataplane_failure, failure, lines};
use crate::dataplane::{DataplaneError, Standing};
use crate::flow::Place;
use crate::name::NamespaceName;
use crate::namespace::{Attach, Chain, ChainName, Kind, Link, NamespaceState, Table};
use crate::net::{Family, Mac};
use crate::plan::{Action, Op, Plan, rule_changes};
use crate::record::{FailureKind, StepRecord};
use crate::scenario::{Damage, Thing, Wreck, matches};

impl Driver<'_> {
    /// Does the damage. What cannot be done, or would do nothing, is a failure.
    pub(super) fn do_damage(&mut self, damage: &Damage, line: usize, record: &mut StepRecord) {
        let done = match self.wreckage(damage) {
            Ok(Some(plan)) => self.dataplane.apply(&damage.host, &plan, &mut |_op| {}),
            Ok(None) => {
                let text = format!("there is nothing on {} that this could be done to", damage.host);
                record.failures.push(failure(FailureKind::OperationFailed, Some(line), text));
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            record.failures.push(dataplane_failure(&error));
        }
        self.agents.disturb(&damage.host);
    }

    /// Does something to a machine or to a host itself. What cannot be done, or would do nothing, is a failure.
    pub(super) fn do_tamper(&self, place: &Place, wreck: &Wreck, line: usize, record: &mut StepRecord) {
        let around = self.dataplane.around();
        let done = around.standing(place).and_then(|standing| {
            let actions = standing.map(|standing| handiwork(&standing, wreck, &self.macs)).unwrap_or_default();
            if actions.is_empty() {
                let text = format!("there is nothing at {place} that this could be done to");
                record.failures.push(failure(FailureKind::OperationFailed, Some(line), text));
            }
            around.tamper(place, &actions)
        });
        if let Err(error) = done {
            record.failures.push(failure(FailureKind::OperationFailed, Some(line), error.to_string()));
        }
    }

    /// The operations that do it; none if there is nothing to do it to.
    fn wreckage(&self, damage: &Damage) -> Result<Option<Plan>, DataplaneError> {
        let observed = self.dataplane.observe(&damage.host)?;
        let op = |namespace: &NamespaceName, action| Op { namespace: namespace.clone(), action };
        let Some(name) = &damage.namespace else {
            let there = || observed.namespaces.keys();
            let doomed = |words: &[String]| -> Vec<Op> {
                let all = there().filter(|name| matches(words, name.as_str()));
                all.map(|name| op(name, Action::NamespaceDelete)).collect()
            };
            let born = |thing: &Thing| {
                let Thing::Namespace(name) = thing else { return None };
                (!observed.namespaces.contains_key(name)).then(|| op(name, Action::NamespaceAdd))
            };
            let ops: Vec<Op> = match &damage.wreck {
                Wreck::Delete(_, words) => doomed(words),
                Wreck::Put(thing) => born(thing).into_iter().collect(),
                Wreck::Replace(_, words, thing) => doomed(words).into_iter().chain(born(thing)).collect(),
            };
            return Ok(some(ops));
        };
        let Some(state) = observed.namespaces.get(name) else { return Ok(None) };
        let actions = match &damage.wreck {
            Wreck::Delete(kind, words) => deleted(state, *kind, words, None, &self.macs),
            Wreck::Put(thing) => put(state, thing),
            Wreck::Replace(kind, words, thing) => replaced(state, *kind, words, thing, &self.macs),
        };
        Ok(some(actions.into_iter().map(|action| op(name, action)).collect()))
    }
}

/// What somebody does to objects of a machine. A neighbour that its kernel has found out by itself can be deleted, too.
fn handiwork(standing: &Standing, wreck: &Wreck, macs: &BTreeMap<Mac, String>) -> Vec<Action> {
    let state = &standing.state;
    match wreck {
        Wreck::Delete(kind, words) => {
            let owner = |mac: &Mac| macs.get(mac).cloned().unwrap_or_else(|| mac.to_string());
            let found = standing.resolved.iter().filter(|((device, address), mac)| {
                *kind == Kind::Neighbour && matches(words, &lines::resolved_text(*address, device, &owner(mac)))
            });
            let found = found.map(|((device, address), _)| Action::NeighbourDelete(device.clone(), *address));
            deleted(state, *kind, words, None, macs).into_iter().chain(found).collect()
        }
        Wreck::Put(thing) => put(state, thing),
        Wreck::Replace(kind, words, thing) => replaced(state, *kind, words, thing, macs),
    }
}

fn some(ops: Vec<Op>) -> Option<Plan> {
    (!ops.is_empty()).then_some(Plan { ops })
}

/// The table of a kind that is one.
pub(super) fn table_of(kind: Kind) -> Option<(Family, Table)> {
    match kind {
        Kind::Raw => Some((Family::V4, Table::Raw)),
        Kind::Mangle => Some((Family::V4, Table::Mangle)),
        Kind::Nat => Some((Family::V4, Table::Nat)),
        Kind::Filter => Some((Family::V4, Table::Filter)),
        Kind::Raw6 => Some((Family::V6, Table::Raw)),
        Kind::Mangle6 => Some((Family::V6, Table::Mangle)),
        Kind::Nat6 => Some((Family::V6, Table::Nat)),
        Kind::Filter6 => Some((Family::V6, Table::Filter)),
        Kind::Namespace
        | Kind::Device
        | Kind::Address
        | Kind::Rule
        | Kind::Rule6
        | Kind::Route
        | Kind::Route6
        | Kind::Neighbour
        | Kind::Sysctl
        | Kind::Conntrack => None,
    }
}

/// All of a kind go whose printed line has the words; of a table in the same transaction another rule comes.
fn deleted(
    state: &NamespaceState,
    kind: Kind,
    words: &[String],
    by: Option<&Thing>,
    macs: &BTreeMap<Mac, String>,
) -> Vec<Action> {
    if let Some((family, table)) = table_of(kind) {
        return rules_without(state, (family, table), words, by);
    }
    let hit = |text: &str| matches(words, text);
    let rules = |family| state.rules.iter().filter(move |rule| rule.family == family);
    let routes = |family| state.routes.iter().filter(move |route| route.family() == family);
    match kind {
        Kind::Device => {
            let line = |link: &Link| format!("mtu {} state {}", link.mtu, if link.up { "up" } else { "down" });
            let all = state.links.iter().filter(|(device, link)| hit(&format!("{device} {}", line(link))));
            all.map(|(device, _)| Action::LinkDelete(device.clone())).collect()
        }
        Kind::Address => {
            let all = state.addresses.iter().filter(|address| hit(&address.to_string()));
            all.cloned().map(Action::AddressDelete).collect()
        }
        Kind::Rule | Kind::Rule6 => {
            let all = rules(if kind == Kind::Rule { Family::V4 } else { Family::V6 });
            all.filter(|rule| hit(&rule.to_string())).cloned().map(Action::RuleDelete).collect()
        }
        Kind::Route | Kind::Route6 => {
            let all = routes(if kind == Kind::Route { Family::V4 } else { Family::V6 });
            all.filter(|route| hit(&route.to_string())).cloned().map(Action::RouteDelete).collect()
        }
        Kind::Neighbour => {
            let owner = |mac: &Mac| macs.get(mac).cloned().unwrap_or_else(|| mac.to_string());
            let line = |device: &_, address: &_, mac| format!("{address} dev {device} lladdr {} permanent", owner(mac));
            let all = state.neighbours.iter().filter(|((device, address), mac)| hit(&line(device, address, mac)));
            all.map(|((device, address), _)| Action::NeighbourDelete(device.clone(), *address)).collect()
        }
        Kind::Namespace
        | Kind::Sysctl
        | Kind::Conntrack
        | Kind::Raw
        | Kind::Mangle
        | Kind::Nat
        | Kind::Filter
        | Kind::Raw6
        | Kind::Mangle6
        | Kind::Nat6
        | Kind::Filter6 => Vec::new(),
    }
}

/// A table without the rules that match. A rule that takes their place stands where the first of them stood in its chain.
fn rules_without(
    state: &NamespaceState,
    (family, table): (Family, Table),
    words: &[String],
    by: Option<&Thing>,
) -> Vec<Action> {
    let mut next = state.clone();
    let mut found = false;
    let mut first: BTreeMap<ChainName, usize> = BTreeMap::new();
    for (name, chain) in next.ruleset_mut(family).tables.entry(table).or_default().iter_mut() {
        let hits: Vec<bool> = chain.rules.iter().map(|rule| matches(words, &format!("-A {name} {rule}"))).collect();
        if let Some(at) = hits.iter().position(|hit| *hit) {
            found = true;
            first.insert(name.clone(), at);
        }
        let mut hit = hits.into_iter();
        chain.rules.retain(|_| !hit.next().unwrap_or_default());
    }
    if !found {
        return Vec::new();
    }
    if let Some(Thing::TableRule { family, table, chain, position, rule }) = by {
        let place = position.or_else(|| first.get(chain).copied());
        let rules = next.ruleset_mut(*family).tables.entry(*table).or_default();
        insert(rules.entry(chain.clone()).or_default(), place, rule.clone());
    }
    vec![Action::Rules(rule_changes(state, &next))]
}

pub(super) fn insert(chain: &mut Chain, position: Option<usize>, rule: crate::namespace::Rule) {
    let end = chain.rules.len();
    chain.rules.insert(position.unwrap_or(end).min(end), rule);
}

/// An object comes, or what is said of it changes.
fn put(state: &NamespaceState, thing: &Thing) -> Vec<Action> {
    match thing {
        Thing::Namespace(_) => Vec::new(),
        Thing::NewDevice { device, network, mtu } => {
            let mac = Mac::derived("sabotage", device.as_str());
            let link = Link { mac, mtu: *mtu, up: true, attach: Attach::Network(network.clone()), odd: String::new() };
            vec![Action::LinkAdd { device: device.clone(), link, peer: None }]
        }
        Thing::Device { device, mtu, up, mac } => {
            let mtu = mtu.map(|mtu| Action::LinkMtu(device.clone(), mtu));
            let mac = mac.map(|mac| Action::LinkMac(device.clone(), mac));
            let up = up.map(|up| Action::LinkUp(device.clone(), up));
            [mtu, mac, up].into_iter().flatten().collect()
        }
        Thing::Address(address) => vec![Action::AddressAdd(address.clone())],
        Thing::Rule(rule) => vec![Action::RuleAdd(rule.clone())],
        Thing::Route(route) => vec![Action::RouteReplace(route.clone())],
        Thing::Neighbour(device, address, mac) => vec![Action::NeighbourReplace(device.clone(), *address, *mac)],
        Thing::Sysctl(key, value) => vec![Action::SysctlSet(key.clone(), value.clone())],
        Thing::TableRule { family, table, chain, position, rule } => {
            let mut next = state.clone();
            let chains = next.ruleset_mut(*family).tables.entry(*table).or_default();
            insert(chains.entry(chain.clone()).or_default(), *position, rule.clone());
            vec![Action::Rules(rule_changes(state, &next))]
        }
    }
}

/// What is there goes, another comes; none if nothing is there.
fn replaced(
    state: &NamespaceState,
    kind: Kind,
    words: &[String],
    thing: &Thing,
    macs: &BTreeMap<Mac, String>,
) -> Vec<Action> {
    let mut actions = deleted(state, kind, words, Some(thing), macs);
    if !actions.is_empty() && table_of(kind).is_none() {
        actions.extend(put(state, thing));
    }
    actions
}
