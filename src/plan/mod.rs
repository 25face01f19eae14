//! From two states, observed and desired, to the operations that turn one into the other, in an order that leaks nothing
//! wherever it stops.
//!
//! In: two [`HostState`]s. Out: a [`Plan`]. Never: a choice left to whoever applies it.

mod diff;
mod fence;
mod links;
mod op;
mod order;
mod rules;
mod sysctls;
mod translation;

use std::collections::BTreeSet;

pub use op::{Action, ChainChange, Op, RuleChanges};
pub use rules::changes as rule_changes;

use crate::deviation::{Deviation, Deviations};
use crate::namespace::{HostState, NamespaceState, PolicyRule};
use diff::Diff;
use links::Kept;
use order::{Phase, Steps};

/// Operations in order, for one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// First to last.
    pub ops: Vec<Op>,
}

impl Plan {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// What turns `observed` into `desired`: nothing that both share is touched, and wherever it stops nothing leaks and a new
/// plan goes on from there. The order and its reasons stand in the source, in `plan/order.rs`.
pub fn plan(observed: &HostState, desired: &HostState) -> Plan {
    plan_with(observed, desired, Deviations::all())
}

/// [`plan`] with some [`Deviations`] off: what those prevent then happens on the way.
pub fn plan_with(observed: &HostState, desired: &HostState, deviations: Deviations) -> Plan {
    let mut steps = Steps::default();
    let kept = Kept::new(observed, desired);
    let changes = translation::changes(observed, desired, deviations);
    let floating: BTreeSet<_> = changes.values().flat_map(|change| &change.floating).copied().collect();
    let born = NamespaceState { rules: PolicyRule::base().into(), ..NamespaceState::default() };
    let nothing = BTreeSet::new();

    links::remove(observed, desired, &mut steps);
    links::unplug(observed, desired, &kept, &mut steps);
    for (name, wanted) in &desired.namespaces {
        let is = observed.namespaces.get(name);
        let change = changes.get(name);
        if let (Some((name, is)), Some(change)) = (observed.namespaces.get_key_value(name), change) {
            translation::forget((name, change), (is, wanted), &kept, &mut steps);
            if !change.bare.is_empty() {
                sysctls::halt(name, is, &mut steps);
            }
        }
        if is.is_none() {
            steps.push(Phase::Make, name, Action::NamespaceAdd);
        }
        let observed = is.unwrap_or(&born);
        for table in observed.foreign_tables.difference(&wanted.foreign_tables) {
            steps.push(Phase::Filter, name, Action::TableDelete(table.clone()));
        }
        let tables = rules::changes(observed, wanted);
        if !tables.changes.is_empty() {
            let late = is.is_none() && !deviations.has(Deviation::GuardedStart);
            steps.push(if late { Phase::LateFilter } else { Phase::Filter }, name, Action::Rules(tables));
        }
        let halted = change.is_some_and(|change| !change.bare.is_empty());
        sysctls::set(name, halted, observed, wanted, |device| kept.has(name, device), &mut steps);
        let fixed = change.map_or(&nothing, |change| &change.fixed);
        let fences = change.map_or(&[][..], |change| &change.fences);
        let forgets = translation::forgets(name, deviations);
        let new = is.is_none();
        Diff { name, observed, desired: wanted, new, forgets, kept: &kept, fixed, floating: &floating, fences }
            .plan(&mut steps);
    }
    links::plug(observed, desired, &kept, &mut steps);
    steps.into_plan()
}
