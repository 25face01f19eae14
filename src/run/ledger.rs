//! The ledger over a step: flows run through its change, and their accounts are held against its sentences.
//!
//! In: the sentences below `during`. Out: accounts in the record, and failures. Never: a time judged.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Driver, dataplane_failure, failure, matrix};
use crate::api::Intent;
use crate::dataplane::DataplaneError;
use crate::ledger::{Account, Course, Moment, SETTLED, account};
use crate::name::HostName;
use crate::net::Family;
use crate::plan::Op;
use crate::record::{FailureKind, StepRecord};
use crate::scenario::{Step, addresses_of};

/// What runs.
#[derive(Default)]
pub(super) struct Ledger {
    /// Numbers given so far.
    given: u32,
    /// What runs, with the position of its sentence.
    running: Vec<(usize, Course)>,
    /// When packets were sent.
    moments: RefCell<Vec<Moment>>,
    /// Addresses that must not leave.
    tenants: BTreeSet<IpAddr>,
    accounts: Vec<(usize, Account)>,
}

impl Driver<'_> {
    /// Begins the flows of a step, with the packets before its first operation.
    pub(super) fn ledger_begin(&mut self, step: &Step, record: &mut StepRecord) {
        self.ledger.moments.borrow_mut().clear();
        self.ledger.accounts.clear();
        self.ledger.running.clear();
        for (position, during) in step.during.iter().enumerate() {
            for flow in during.flow.flows(&self.intent) {
                self.ledger.given += 1;
                let course = Course { number: self.ledger.given, flow, quiet: false };
                self.ledger.running.push((position, course));
            }
        }
        self.ledger.tenants = tenants(&self.intent);
        if self.ledger.running.is_empty() {
            return;
        }
        let courses: Vec<Course> = self.ledger.running.iter().map(|(_, course)| course.clone()).collect();
        let begun = self.dataplane.carry(&courses).and_then(|()| self.ledger_send(Moment::Before));
        record.failures.extend(begun.err().map(|error| dataplane_failure(&error)));
    }

    /// Sends a packet each way of everything that runs.
    fn ledger_send(&self, moment: Moment) -> Result<(), DataplaneError> {
        if self.ledger.running.is_empty() {
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
        if self.ledger.running.is_empty() {
            return Ok(());
        }
        self.ledger_send(Moment::After { host: host.clone(), namespace: op.namespace.to_string(), op: op.to_string() })
    }

    /// The change is done: the packets after it, and the accounts.
    pub(super) fn ledger_settle(&mut self, record: &mut StepRecord) {
        if self.ledger.running.is_empty() {
            return;
        }
        self.ledger.tenants.extend(tenants(&self.intent));
        let sent = (1..=SETTLED).try_for_each(|number| self.ledger_send(Moment::Settled(number)));
        match sent.and_then(|()| self.dataplane.told()) {
            Ok(told) => {
                let moments = self.ledger.moments.borrow();
                self.ledger.accounts = self
                    .ledger
                    .running
                    .iter()
                    .map(|(position, course)| {
                        let packets = told.get(&course.number).map(Vec::as_slice).unwrap_or_default();
                        (*position, account(course, packets, &moments, &self.ledger.tenants))
                    })
                    .collect();
            }
            Err(error) => record.failures.push(dataplane_failure(&error)),
        }
    }

    /// Ends what runs, and holds the accounts against the sentences.
    pub(super) fn ledger_judge(&mut self, step: &Step, record: &mut StepRecord) {
        if self.ledger.running.is_empty() {
            return;
        }
        for (position, account) in std::mem::take(&mut self.ledger.accounts) {
            if let Some(during) = step.during.get(position) {
                let flow = &account.flow;
                let of_family = |address: &IpAddr| Family::of(*address) == Family::of(flow.to);
                let own = flow.source.or_else(|| addresses_of(&self.intent, &flow.from).into_iter().find(of_family));
                let owners = matrix::owners(&self.intent);
                let to = owners.get(&flow.to).cloned().unwrap_or_else(|| flow.to.to_string());
                for wrong in during.demand.judge(&account, own) {
                    let text = format!("`{}`: {} {} -> {to}: {wrong}", during.text, flow.spoken(), flow.from);
                    record.failures.push(failure(FailureKind::Expectation, Some(during.line), text));
                }
            }
            record.flows.push(account);
        }
        self.ledger.running.clear();
        let ended = self.dataplane.carry(&[]);
        record.failures.extend(ended.err().map(|error| dataplane_failure(&error)));
    }
}

/// Addresses of instances.
fn tenants(intent: &Intent) -> BTreeSet<IpAddr> {
    intent.instances.keys().flat_map(|name| addresses_of(intent, name)).collect()
}
