//! `hops 10.0.1.1 * web`: who answers a flow whose TTL ends on its way, TTL by TTL.
//!
//! In: the hops of a sentence, what became of each flow with a TTL. Out: what does not hold. Never: a flow that a line asked for
//! with a TTL of its own.

use std::fmt;
use std::iter::once;

use super::expectation::{Mismatch, Speaker};
use super::judge::{Pair, addresses_of, described, title};
use super::outcome::Reader;
use super::subject::NODES;
use super::words::Word;
use crate::api::Intent;
use crate::flow::{Flow, PacketOptions, ProbeReport, Verdict};
use crate::name::Name;

/// Who answers at one TTL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HopAnswer {
    /// That one.
    By(Speaker),
    /// Nobody.
    Silence,
}

impl fmt::Display for HopAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By(speaker) => write!(f, "{speaker}"),
            Self::Silence => f.write_str("*"),
        }
    }
}

/// The same flow with each TTL up to the target's.
pub(super) fn traced<'a>(flow: &'a Flow, hops: &[HopAnswer]) -> impl Iterator<Item = Flow> + use<'a> {
    let last = u8::try_from(hops.len()).unwrap_or(u8::MAX);
    (1..=last).map(|ttl| Flow { options: PacketOptions { ttl: Some(ttl), ..flow.options.clone() }, ..flow.clone() })
}

/// What does not hold of one flow; `find` gives what became of it with a TTL.
pub(super) fn judge<'a>(
    pair: &Pair,
    hops: &[HopAnswer],
    find: &dyn Fn(&Flow) -> Option<&'a ProbeReport>,
    intent: &Intent,
) -> Vec<Mismatch> {
    let mut mismatches = Vec::new();
    for (number, (flow, hop)) in (1_usize..).zip(traced(&pair.flow, hops).zip(hops)) {
        let wrong = match find(&flow) {
            None => Some("was not probed".to_owned()),
            Some(report) if number == hops.len() => {
                (report.verdict != Verdict::Delivered).then(|| format!("{}, not the target", described(report)))
            }
            Some(report) => (!answers(hop, report, intent)).then(|| format!("{}, not {hop}", described(report))),
        };
        let told =
            |what| Mismatch { sentence: format!("{}: hop {number}: {what}", title(pair)), flow: Some(flow.clone()) };
        mismatches.extend(wrong.map(told));
    }
    mismatches
}

fn answers(hop: &HopAnswer, report: &ProbeReport, intent: &Intent) -> bool {
    match (hop, &report.verdict) {
        (HopAnswer::Silence, Verdict::Dropped) => true,
        (HopAnswer::By(Speaker::Address(address)), Verdict::Expired) => report.by == Some(*address),
        (HopAnswer::By(Speaker::Node(node)), Verdict::Expired) => {
            report.by.is_some_and(|by| addresses_of(intent, node).contains(&by))
        }
        (HopAnswer::By(Speaker::Namespace(place)), Verdict::Expired) => report.at.as_ref() == Some(place),
        (HopAnswer::Silence | HopAnswer::By(_), _) => false,
    }
}

impl Reader<'_> {
    /// Reads the hops up to the next clause. What is wrong is noted.
    pub(super) fn hops(&mut self, clause: &Word) -> bool {
        let Some(words) = self.arguments(clause, "an address, a node or `*`") else { return false };
        let last = words.last().map(|word| (word.text == "*", word.span.clone()));
        if let Some((true, span)) = last {
            return self.wrong(
                span,
                "the last hop is the target, which answers",
                "write its address or name, or remove `*`",
            );
        }
        for word in words {
            let hop = if word.text == "*" {
                HopAnswer::Silence
            } else if let Ok(address) = word.text.parse() {
                HopAnswer::By(Speaker::Address(address))
            } else if self.resolve(&word, NODES) {
                let Ok(name) = Name::new(word.text) else { return false };
                HopAnswer::By(Speaker::Node(name))
            } else {
                return false;
            };
            self.delivery.hops.push(hop);
        }
        true
    }
}

/// The flow itself and, if its sentence has hops, the same with each TTL.
pub(super) fn with_traced(flow: Flow, hops: &[HopAnswer]) -> Vec<Flow> {
    let traced: Vec<Flow> = traced(&flow, hops).collect();
    once(flow).chain(traced).collect()
}
