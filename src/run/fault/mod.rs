//! A run with a fault: the router does one thing wrong, so that the scenario shows whether it would notice.
//!
//! In: a fault of the scenario, and what the router wants and plans. Out: what it wants and plans with the fault, and what the
//! fault touched. Never: a fault while everything is taken down; what holds unasked after every step is held against the state
//! that the faulty router wants, so that a run turns red by what its scenario says.

mod objects;
mod order;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::{Driver, is_at, lines};
use crate::api::Intent;
use crate::name::{HostName, NamespaceName};
use crate::namespace::{self, DesiredError, HostState, Kind};
use crate::net::Mac;
use crate::plan::{Action, Plan, plan_with};
use crate::record::FaultRecord;
use crate::router::{self, HostConfig, host_config};
use crate::scenario::{Fault, Hearing, Mutation, StatePlace, Step, Tamper, matches};

/// How many of the objects nearest to what a fault names are told when it touched none.
const NEAREST: usize = 3;

/// The fault of a run, if it has one.
#[derive(Debug, Default)]
pub(super) struct Faults<'a> {
    fault: Option<&'a Fault>,
    touched: RefCell<BTreeSet<String>>,
    passed_by: RefCell<BTreeSet<String>>,
    /// Hosts on which what is made once was seen.
    made: RefCell<BTreeSet<HostName>>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(fault: Option<&'a Fault>) -> Self {
        Self { fault, ..Self::default() }
    }

    /// From now on there is none.
    pub(super) fn end(&mut self) {
        self.fault = None;
    }

    /// What the fault touched, and if nothing, what stood nearest to it.
    pub(super) fn record(&self, fault: Option<&Fault>) -> Option<FaultRecord> {
        let fault = fault?;
        let touched: Vec<String> = self.touched.borrow().iter().cloned().collect();
        let nearest = if touched.is_empty() { self.nearest(fault) } else { Vec::new() };
        Some(FaultRecord { text: fault.text.clone(), line: fault.line, touched, nearest })
    }

    /// Those that share most words with what the fault names.
    fn nearest(&self, fault: &Fault) -> Vec<String> {
        let pattern: &[String] = match &fault.what {
            Mutation::Objects { pattern, .. } => pattern,
            Mutation::Unannounced { .. }
            | Mutation::Unheard(..)
            | Mutation::Forgetful(_)
            | Mutation::Rebuilt(..)
            | Mutation::Besides(..) => &[],
        };
        let shared = |line: &str| pattern.iter().filter(|word| matches(std::slice::from_ref(*word), line)).count();
        let mut all: Vec<String> = self.passed_by.borrow().iter().cloned().collect();
        all.sort_by_key(|line| std::cmp::Reverse(shared(line)));
        all.truncate(NEAREST);
        all
    }

    fn touch(&self, what: String) {
        self.touched.borrow_mut().insert(what);
    }

    fn pass_by(&self, what: String) {
        self.passed_by.borrow_mut().insert(what);
    }
}

/// The objects that a fault names, in one namespace.
struct Aim<'a> {
    faults: &'a Faults<'a>,
    kind: Kind,
    pattern: &'a [String],
    place: String,
    macs: &'a BTreeMap<Mac, String>,
}

impl Aim<'_> {
    /// Whether the fault names the object that is printed so.
    fn names(&self, line: &str) -> bool {
        self.faults.pass_by(format!("{} {line}", self.place));
        matches(self.pattern, line)
    }

    /// The fault did something to it. All that a namespace forgets of an address is one thing.
    fn touch(&self, line: &str) {
        let what = if self.kind == Kind::Conntrack { "conntrack" } else { line };
        self.faults.touch(format!("{} {what}", self.place));
    }

    /// Both: whether the fault names it, and then it is touched.
    fn hits(&self, line: &str) -> bool {
        let named = self.names(line);
        if named {
            self.touch(line);
        }
        named
    }
}

impl Driver<'_> {
    /// What the router of a host wants: what it should, but for the fault.
    pub(super) fn wanted(&self, config: &HostConfig, observed: &HostState) -> Result<HostState, DesiredError> {
        let mut desired = namespace::desired(config, observed)?;
        match self.mutation() {
            Some(Mutation::Objects { how, kind, pattern, place }) => {
                let macs = self.owners_of_macs();
                self.tampered(*how, (*kind, pattern, place), (config, observed), &mut desired, &macs);
            }
            Some(Mutation::Besides(host, name, thing)) if *host == config.host => {
                if let Some(state) = desired.namespaces.get_mut(name) {
                    self.faults.touch(format!("{host}/{name}"));
                    objects::add(state, thing);
                }
            }
            None
            | Some(
                Mutation::Unannounced { .. }
                | Mutation::Unheard(..)
                | Mutation::Forgetful(_)
                | Mutation::Rebuilt(..)
                | Mutation::Besides(..),
            ) => {}
        }
        Ok(desired)
    }

    /// Leaves objects out of what should stand, or has them stay.
    fn tampered(
        &self,
        how: Tamper,
        (kind, pattern, place): (Kind, &[String], &StatePlace),
        (config, observed): (&HostConfig, &HostState),
        desired: &mut HostState,
        macs: &BTreeMap<Mac, String>,
    ) {
        let aimed = |faults: &Faults<'_>, state: &mut HostState, keep: bool| {
            let aim = |name: &NamespaceName| {
                let place_of = format!("{}/{name}", config.host);
                let aim = Aim { faults, kind, pattern, place: place_of, macs };
                is_at(&aim.place, place).then_some(aim)
            };
            if keep { objects::keep(observed, state, &aim) } else { objects::omit(state, &aim) }
        };
        match how {
            Tamper::Omit => aimed(&self.faults, desired, false),
            Tamper::Keep => aimed(&self.faults, desired, true),
            Tamper::Once => {
                let mut without = observed.clone();
                aimed(&Faults::default(), &mut without, false);
                if without != *observed {
                    self.faults.made.borrow_mut().insert(config.host.clone());
                } else if self.faults.made.borrow().contains(&config.host) {
                    aimed(&self.faults, desired, false);
                }
            }
            Tamper::Late | Tamper::Early => {}
        }
    }

    /// As [`Driver::wanted`], of an agent that acts: it may have forgotten who holds which number.
    pub(super) fn wanted_now(&self, config: &HostConfig, observed: &HostState) -> Result<HostState, DesiredError> {
        let Some(Mutation::Forgetful(host)) = self.mutation() else { return self.wanted(config, observed) };
        let known = namespace::desired(config, observed)?;
        if *host != config.host || !self.agents.is_synchronising(host) {
            return Ok(known);
        }
        let anew = namespace::desired(config, &HostState::default())?;
        if anew != known {
            self.faults.touch(format!("{host} numbers"));
        }
        Ok(anew)
    }

    /// What the router of a host does, with the fault.
    pub(super) fn plan(&self, config: &HostConfig, observed: &HostState, desired: &HostState) -> Plan {
        let planned =
            |observed: &HostState, desired: &HostState| plan_with(observed, desired, config.options.deviations);
        let plan = planned(observed, desired);
        let at = |namespace: &NamespaceName, place: &StatePlace| is_at(&format!("{}/{namespace}", config.host), place);
        match self.mutation() {
            None
            | Some(
                Mutation::Objects { how: Tamper::Omit | Tamper::Once, .. }
                | Mutation::Unheard(..)
                | Mutation::Forgetful(_)
                | Mutation::Besides(..),
            ) => plan,
            Some(Mutation::Objects { how: Tamper::Keep, kind, .. }) if *kind != Kind::Conntrack => plan,
            Some(Mutation::Objects { how, kind, pattern, place }) => {
                let macs = self.owners_of_macs();
                let aim = |name: &NamespaceName| {
                    let place_of = format!("{}/{name}", config.host);
                    let aim = Aim { faults: &self.faults, kind: *kind, pattern, place: place_of, macs: &macs };
                    is_at(&aim.place, place).then_some(aim)
                };
                order::tamper(*how, plan, (observed, desired), &aim)
            }
            Some(Mutation::Unannounced { address, place }) => {
                let mut plan = plan;
                plan.ops.retain(|op| {
                    let Action::Announce(device, announced) = &op.action else { return true };
                    let text = format!("{}/{}/{device} {announced}", config.host, op.namespace);
                    self.faults.pass_by(text.clone());
                    let lost = announced == address && at(&op.namespace, place);
                    if lost {
                        self.faults.touch(text);
                    }
                    !lost
                });
                plan
            }
            Some(Mutation::Rebuilt(host, namespace)) => {
                let both = observed.namespaces.contains_key(namespace) && desired.namespaces.contains_key(namespace);
                if *host != config.host || !both {
                    return plan;
                }
                self.faults.touch(format!("{host}/{namespace}"));
                let mut without = desired.clone();
                without.namespaces.remove(namespace);
                objects::unplug_halves(&mut without);
                let (away, anew) = (planned(observed, &without), planned(&without, desired));
                Plan { ops: [away.ops, anew.ops].concat() }
            }
        }
    }

    /// How hosts hear of a step, with the fault. `stages` are the intents before it and after each of its operations.
    pub(super) fn heard(&self, step: &Step, stages: &[Intent]) -> BTreeMap<HostName, Hearing> {
        let mut hearings = step.hearings.clone();
        if let Some(Mutation::Unheard(host, number)) = self.mutation()
            && *number == step.number
        {
            hearings.insert(host.clone(), Hearing::Lost);
            let told = |intent: &Intent| host_config(intent, host);
            if stages.first().map(told) != stages.last().map(told) {
                self.faults.touch(format!("{host} notification"));
            }
        }
        hearings
    }

    /// Also of what the change that is being made brings.
    fn owners_of_macs(&self) -> BTreeMap<Mac, String> {
        lines::mac_owners(&router::topology(&self.intent), &self.observed)
    }

    fn mutation(&self) -> Option<&Mutation> {
        self.faults.fault.map(|fault| &fault.what)
    }
}
