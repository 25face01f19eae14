//! The ledger over a step: flows run through its change, and their accounts are held against its sentences.
//!
//! In: the sentences below `during`, and flows that steps open and close. Out: accounts in the record, and failures. Never: a
//! time judged.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::background::Background;
use super::{Driver, dataplane_failure, failure, matrix};
use crate::api::Intent;
use crate::dataplane::DataplaneError;
use crate::flow::Flow;
use crate::ledger::{Account, Course, Moment, Pace, Past, SETTLED, account};
use crate::name::HostName;
use crate::net::Family;
use crate::plan::Op;
use crate::record::{FailureKind, StepRecord};
use crate::scenario::{Deed, During, OpenFlow, Operation, Runs, Step, UnderWays, addresses_of};

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
    /// Pings that run along without a sentence.
    pings: Vec<Course>,
    pub(super) background: Background,
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
    /// No sentence: it runs along.
    Background,
}

impl Ledger {
    fn is_idle(&self) -> bool {
        self.running.is_empty() && self.open.is_empty() && self.pings.is_empty()
    }

    fn courses(&self) -> Vec<Course> {
        let open = self.open.values().map(|open| &open.course);
        self.running.iter().map(|(_, course)| course).chain(open).chain(&self.pings).cloned().collect()
    }

    fn course(&mut self, flow: Flow, pace: Option<Pace>) -> Course {
        self.given += 1;
        Course { number: self.given, flow, quiet: false, pace }
    }
}

impl Whose {
    fn is_of(&self, position: usize, during: &During) -> bool {
        match (self, &during.runs) {
            (Self::Sentence(own), Runs::Flows(..)) => *own == position,
            (Self::Open(name), Runs::Open(named)) => name == named,
            (Self::Sentence(_), Runs::Open(_)) | (Self::Open(_), Runs::Flows(..)) | (Self::Background, _) => false,
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
            let Runs::Flows(flows, pace) = &during.runs else { continue };
            for flow in flows.flows(&self.intent) {
                let course = self.ledger.course(flow, *pace);
                self.ledger.running.push((position, course));
            }
        }
        // A step that flushes is about what comes back by itself, without traffic.
        let flushes = |operation: &Operation| matches!(operation.deed, Some(Deed::Flush(..)));
        if !step.operations.is_empty() && !step.operations.iter().any(flushes) {
            self.background_begin();
            let flows: Vec<Flow> = self.ledger.background.flows().cloned().collect();
            let pings = flows.into_iter().map(|flow| Course { quiet: true, ..self.ledger.course(flow, None) });
            self.ledger.pings = pings.collect();
        }
        self.ledger.tenants = tenants(&self.intent);
        if self.ledger.is_idle() {
            return;
        }
        self.carry(record);
        self.pace(record);
        let sent = self.ledger_send(Moment::Before);
        record.failures.extend(sent.err().map(|error| dataplane_failure(&error)));
    }

    /// A flow runs from here on. `intent` is in force then.
    pub(super) fn ledger_open(&mut self, open: &OpenFlow, intent: &Intent, record: &mut StepRecord) {
        for flow in open.flow.flows(intent) {
            // The sender may not be there yet, but what it sends from is known.
            let source = flow.source.or_else(|| own_address(&flow, intent));
            let course = self.ledger.course(Flow { source, ..flow }, open.pace);
            self.ledger.open.insert(open.name.clone(), Open { course, past: Past::default() });
        }
        self.carry(record);
        self.pace(record);
    }

    /// A flow ends.
    pub(super) fn ledger_close(&mut self, name: &str, record: &mut StepRecord) {
        self.ledger.open.remove(name);
        self.carry(record);
    }

    /// How the open flows stand, by their names.
    pub(super) fn flows_under_way(&self) -> UnderWays {
        if self.ledger.open.is_empty() {
            return UnderWays::new();
        }
        let mut all = self.dataplane.under_way();
        let named = self.ledger.open.iter();
        named.filter_map(|(name, open)| Some((name.clone(), all.remove(&open.course.number)?))).collect()
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

    /// Twins of what has a pace are sent by a clock, too, until the change has settled.
    fn pace(&self, record: &mut StepRecord) {
        let begun = self.dataplane.pace(&self.ledger.courses());
        record.failures.extend(begun.err().map(|error| dataplane_failure(&error)));
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
        let told = sent.and_then(|()| self.dataplane.told());
        // Ended in any case: nothing may hold a namespace any more.
        let (told, paced) = match (told, self.dataplane.paced()) {
            (Ok(told), Ok(paced)) => (told, paced),
            (told, paced) => {
                let errors = [told.err(), paced.err()];
                record.failures.extend(errors.iter().flatten().map(dataplane_failure));
                return;
            }
        };
        let Ledger { running, open, pings, moments, tenants, accounts, .. } = &mut self.ledger;
        let packets = |course: &Course| told.get(&course.number).map(Vec::as_slice).unwrap_or_default();
        let moments = moments.borrow();
        *accounts = running
            .iter()
            .map(|(position, course)| {
                let account = account(course, &Past::default(), packets(course), &moments, tenants);
                (Whose::Sentence(*position), Account { paced: paced.get(&course.number).copied(), ..account })
            })
            .collect();
        for (name, open) in open {
            let packets = packets(&open.course);
            let account = account(&open.course, &open.past, packets, &moments, tenants);
            open.past.extend(packets);
            let paced = paced.get(&open.course.number).copied();
            accounts.push((Whose::Open(name.clone()), Account { name: Some(name.clone()), paced, ..account }));
        }
        accounts.extend(pings.iter().map(|course| {
            let account = account(course, &Past::default(), packets(course), &moments, &BTreeSet::new());
            (Whose::Background, account)
        }));
        drop(moments);
        // Before anybody looks at what routers remember.
        if !pings.is_empty() {
            pings.clear();
            self.carry(record);
        }
    }

    /// Ends what does not run on, and holds the accounts against the sentences.
    pub(super) fn ledger_judge(&mut self, step: &Step, record: &mut StepRecord) {
        let (pings, accounts): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.ledger.accounts).into_iter().partition(|(whose, _)| *whose == Whose::Background);
        let pings: Vec<Account> = pings.into_iter().map(|(_, account)| account).collect();
        self.background_judge(step, &pings, record);
        for (whose, account) in accounts {
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
    addresses_of(intent, &flow.from.node()?).into_iter().find(|address| Family::of(*address) == Family::of(flow.to))
}

/// Addresses of instances.
fn tenants(intent: &Intent) -> BTreeSet<IpAddr> {
    intent.instances.keys().flat_map(|name| addresses_of(intent, name)).collect()
}
