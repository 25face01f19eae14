//! The background pings: who is reached after a step as before it was reached all the time.
//!
//! In: the echoes that were answered in the last matrix, and what became of the pings that ran along through the step. Out:
//! failures. Never: a verdict on a pair that the step changes, that a sentence below `during` speaks of, or whose way leads over
//! a host whose agent had no say.

use std::collections::BTreeSet;

use super::{Driver, failure, matrix};
use crate::flow::{Flow, Hop, Place, ProbeReport, Protocol, Verdict};
use crate::ledger::{Account, Demand};
use crate::name::HostName;
use crate::record::{FailureKind, StepRecord};
use crate::scenario::Step;

/// How many pairs are told of by name in a step. What disturbs one disturbs many.
const TOLD: usize = 5;

/// What pings are held against.
#[derive(Default)]
pub(super) struct Background {
    /// Echoes that were answered after the last step, as they went.
    answered: Vec<ProbeReport>,
    /// Hosts whose agent was behind before the step.
    behind: BTreeSet<HostName>,
}

impl Background {
    /// What is to run along through the next step.
    pub(super) fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.answered.iter().map(|report| &report.flow)
    }
}

impl Driver<'_> {
    /// A step begins.
    pub(super) fn background_begin(&mut self) {
        self.ledger.background.behind = self.agents.behind(&self.intent);
    }

    /// Holds what became of the pings against the ways before and after.
    pub(super) fn background_judge(&mut self, step: &Step, accounts: &[Account], record: &mut StepRecord) {
        let echo = |report: &&ProbeReport| {
            report.verdict == Verdict::Delivered
                && report.flow.protocol == Protocol::Icmp
                && report.flow.from.host.is_none()
                && report.flow.options.ttl.is_none()
        };
        let now: Vec<ProbeReport> = record.probes.iter().filter(echo).cloned().collect();
        let before = std::mem::replace(&mut self.ledger.background.answered, now);
        let mut behind = self.agents.behind(&self.intent);
        behind.append(&mut self.ledger.background.behind);
        let spoken_of: Vec<Flow> = step
            .during
            .iter()
            .filter_map(|during| during.runs.flow())
            .flat_map(|flows| flows.flows(&self.intent))
            .collect();
        let owners = matrix::owners(&self.intent);
        let nothing_lost = Demand { loss: Some(0), ..Demand::default() };
        let mut told = Vec::new();
        for account in accounts.iter().filter(|account| !account.lost.is_empty()) {
            let flow = &account.flow;
            let of_flow = |report: &&ProbeReport| report.flow == *flow;
            let was = before.iter().find(of_flow);
            let Some((was, is)) = was.zip(self.ledger.background.answered.iter().find(of_flow)) else { continue };
            let excused = hosts(was).any(|host| behind.contains(host));
            let has_own = spoken_of.iter().any(|other| (&other.from, other.to) == (&flow.from, flow.to));
            if excused || has_own || !is_same(was, is) {
                continue;
            }
            let to = owners.get(&flow.to).cloned().unwrap_or_else(|| flow.to.to_string());
            let wrong = nothing_lost.judge(account, None);
            told.extend(wrong.into_iter().map(|wrong| {
                format!(
                    "{} -> {to} is reached as before, but not all the time: a ping that ran along {wrong}",
                    flow.from
                )
            }));
        }
        let more = told.len().saturating_sub(TOLD);
        told.truncate(TOLD);
        if more > 0 {
            told.push(format!("{more} more pairs that are reached as before were not all the time"));
        }
        record.failures.extend(told.into_iter().map(|text| failure(FailureKind::Disturbed, None, text)));
    }
}

/// Hosts that a pair depends on: of its ways, and where it ends.
fn hosts(report: &ProbeReport) -> impl Iterator<Item = &HostName> {
    let ends = report.seen.iter().filter_map(|seen| seen.responder.host.as_ref());
    let ways = report.path.iter().chain(&report.reply_path);
    ways.filter_map(|hop| hop.place.host.as_ref()).chain(ends)
}

/// The same outcome by the same ways.
fn is_same(one: &ProbeReport, other: &ProbeReport) -> bool {
    let way = |report: &ProbeReport| {
        let hops = |path: &[Hop]| path.iter().map(|hop| hop.place.clone()).collect::<Vec<Place>>();
        let seen = report.seen.as_ref().map(|seen| (seen.responder.clone(), seen.source));
        (hops(&report.path), hops(&report.reply_path), seen)
    };
    way(one) == way(other)
}
