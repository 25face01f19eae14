//! The ledger over a step: flows run through its change, and their accounts are held against its sentences.
//!
//! In: the sentences below `during`, and flows that steps open and close. Out: accounts in the record, and failures. Never: a
//! time judged.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Driver, dataplane_failure, failure, matrix};
use crate::api::Intent;
use crate::dataplane::DataplaneError;
use crate::flow::Flow;
use crate::ledger::{Account, Course, Moment, Past, SETTLED, account};
use crate::name::HostName;
use crate::net::Family;
use crate::plan::Op;
use crate::record::{FailureKind, StepRecord};
use crate::scenario::{During, OpenFlow, Runs, Step, addresses_of};

/// What runs.
#[derive(Default)]
pub(super) struct Ledger {
    /// Numbers given so far.
    given: u32,
    /// What runs through the step, with the position of its sentence.
    running: Vec<(usize, Course)>,
    /// What runs over several steps, by its name.
    open: BTreeMap<String, Open>,
    /// When packets were sent.
    moments: RefCell<Vec<Moment>>,
    /// Addresses that must not leave.
    tenants: BTreeSet<IpAddr>,
    accounts: Vec<(Whose, Account)>,
}

/// A flow that runs over several steps.
struct Open {
    course: Course,
    past: Past,
}

/// What an account is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Whose {
    /// The sentence at that position.
    Sentence(usize),
    /// The open flow of that name.
    Open(String),
}

impl Ledger {
    fn is_idle(&self) -> bool {
        self.running.is_empty() && self.open.is_empty()
    }

    fn courses(&self) -> Vec<Course> {
        let open = self.open.values().map(|open| &open.course);
        self.running.iter().map(|(_, course)| course).chain(open).cloned().collect()
    }

    fn course(&mut self, flow: Flow) -> Course {
        self.given += 1;
        Course { number: self.given, flow, quiet: false }
    }
}

impl Whose {
    fn is_of(&self, position: usize, during: &During) -> bool {
        match (self, &during.runs) {
            (Self::Sentence(own), Runs::Flows(_)) => *own == position,
            (Self::Open(name), Runs::Open(named)) => name == named,
            (Self::Sentence(_), Runs::Open(_)) | (Self::Open(_), Runs::Flows(_)) => false,
        }
    }
}

impl Driver<'_> {
    /// Begins the flows of a step, with the packets before its first operation.
    pub(super) fn ledger_begin(&mut self, step: &Step, record: &mut StepRecord) {
        self.ledger.moments.borrow_mut().clear();
        self.ledger.accounts.clear();
        self.ledger.running.clear();
        for (position, during) in step.during.iter().enumerate() {
            for flow in during.runs.flow().map(|flow| flow.flows(&self.intent)).unwrap_or_default() {
                let course = self.ledger.course(flow);
                self.ledger.running.push((position, course));
            }
        }
        self.ledger.tenants = tenants(&self.intent);
        if self.ledger.is_idle() {
            return;
        }
        self.carry(record);
        let sent = self.ledger_send(Moment::Before);
        record.failures.extend(sent.err().map(|error| dataplane_failure(&error)));
    }

    /// A flow runs from here on. `intent` is in force then.
    pub(super) fn ledger_open(&mut self, open: &OpenFlow, intent: &Intent, record: &mut StepRecord) {
        for flow in open.flow.flows(intent) {
            // The sender may not be there yet, but what it sends from is known.
            let source = flow.source.or_else(|| own_address(&flow, intent));
            let course = self.ledger.course(Flow { source, ..flow });
            self.ledger.open.insert(open.name.clone(), Open { course, past: Past::default() });
        }
        self.carry(record);
    }

    /// A flow ends.
    pub(super) fn ledger_close(&mut self, name: &str, record: &mut StepRecord) {
        self.ledger.open.remove(name);
        self.carry(record);
    }

    /// Everything ends.
    pub(super) fn ledger_end(&mut self, record: &mut StepRecord) {
        self.ledger = Ledger { given: self.ledger.given, ..Ledger::default() };
        self.carry(record);
    }

    fn carry(&self, record: &mut StepRecord) {
        let carried = self.dataplane.carry(&self.ledger.courses());
        record.failures.extend(carried.err().map(|error| dataplane_failure(&error)));
    }

    /// Sends a packet each way of everything that runs.
    fn ledger_send(&self, moment: Moment) -> Result<(), DataplaneError> {
        if self.ledger.is_idle() {
            return Ok(());
        }
        self.ledger.moments.borrow_mut().push(moment);
        self.dataplane.beat()
    }

    /// Machines and links are as the change needs them.
    pub(super) fn ledger_shaped(&self, record: &mut StepRecord) {
        let sent = self.ledger_send(Moment::Shaped);
        record.failures.extend(sent.err().map(|error| dataplane_failure(&error)));
    }

    /// An operation is done.
    pub(super) fn ledger_op(&self, host: &HostName, op: &Op) -> Result<(), DataplaneError> {
        if self.ledger.is_idle() {
            return Ok(());
        }
        self.ledger_send(Moment::After { host: host.clone(), namespace: op.namespace.to_string(), op: op.to_string() })
    }

    /// The change is done: the packets after it, and the accounts.
    pub(super) fn ledger_settle(&mut self, record: &mut StepRecord) {
        if self.ledger.is_idle() {
            return;
        }
        self.ledger.tenants.extend(tenants(&self.intent));
        let sent = (1..=SETTLED).try_for_each(|number| self.ledger_send(Moment::Settled(number)));
        let told = match sent.and_then(|()| self.dataplane.told()) {
            Ok(told) => told,
            Err(error) => {
                record.failures.push(dataplane_failure(&error));
                return;
            }
        };
        let Ledger { running, open, moments, tenants, accounts, .. } = &mut self.ledger;
        let packets = |course: &Course| told.get(&course.number).map(Vec::as_slice).unwrap_or_default();
        let moments = moments.borrow();
        *accounts = running
            .iter()
            .map(|(position, course)| {
                let account = account(course, &Past::default(), packets(course), &moments, tenants);
                (Whose::Sentence(*position), account)
            })
            .collect();
        for (name, open) in open {
            let packets = packets(&open.course);
            let account = account(&open.course, &open.past, packets, &moments, tenants);
            open.past.extend(packets);
            accounts.push((Whose::Open(name.clone()), Account { name: Some(name.clone()), ..account }));
        }
    }

    /// Ends what does not run on, and holds the accounts against the sentences.
    pub(super) fn ledger_judge(&mut self, step: &Step, record: &mut StepRecord) {
        if self.ledger.is_idle() {
            return;
        }
        for (whose, account) in std::mem::take(&mut self.ledger.accounts) {
            let flow = &account.flow;
            let own = flow.source.or_else(|| own_address(flow, &self.intent));
            let owners = matrix::owners(&self.intent);
            let to = owners.get(&flow.to).cloned().unwrap_or_else(|| flow.to.to_string());
            let about = step.during.iter().enumerate().filter(|(position, during)| whose.is_of(*position, during));
            for (_, during) in about {
                for wrong in during.demand.judge(&account, own) {
                    let text = format!("`{}`: {} {} -> {to}: {wrong}", during.text, flow.spoken(), flow.from);
                    record.failures.push(failure(FailureKind::Expectation, Some(during.line), text));
                }
            }
            record.flows.push(account);
        }
        if !self.ledger.running.is_empty() {
            self.ledger.running.clear();
            self.carry(record);
        }
    }
}

/// The address that a flow's sender uses unless told otherwise.
fn own_address(flow: &Flow, intent: &Intent) -> Option<IpAddr> {
    addresses_of(intent, &flow.from).into_iter().find(|address| Family::of(*address) == Family::of(flow.to))
}

/// Addresses of instances.
fn tenants(intent: &Intent) -> BTreeSet<IpAddr> {
    intent.instances.keys().flat_map(|name| addresses_of(intent, name)).collect()
}
