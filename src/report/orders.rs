//! Whether another order of notifications leads to another end.
//!
//! In: the record of a run as the file says, and that of the same scenario with its notifications in another order. Out: the
//! first step that does not end alike, in what it differs. Never: what is seen on the way, which may depend on the order: flows
//! during the change, what the watch finds.

use std::collections::BTreeSet;

use super::reach::{rows, step_title};
use super::rules::kind_word;
use crate::record::{FailureKind, Record, StepRecord};

/// Ends the line that says that a namespace is there.
const NAMESPACE: &str = ": namespace";

/// A step that ends otherwise in another order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reordered {
    /// `step 3 (moved)`.
    pub step: String,
    /// What the hosts heard, in the order in which it arrived.
    pub order: Vec<String>,
    /// `- ` as the file says, `+ ` in this order: namespaces with their objects, hosts that are stale, flows, failures.
    pub lines: Vec<String>,
}

/// The first step that does not end alike.
pub fn reordered(base: &Record, with: &Record) -> Option<Reordered> {
    let came = with.steps.iter().skip(base.steps.len()).map(|step| (step, vec!["+ the step".to_owned()]));
    let went = base.steps.iter().skip(with.steps.len()).map(|step| (step, vec!["- the step".to_owned()]));
    let pairs = base.steps.iter().zip(&with.steps).map(|(one, other)| (other, unlike(&end(one), &end(other))));
    let (step, lines) = pairs.chain(came).chain(went).find(|(_, lines)| !lines.is_empty())?;
    let order = step.delivery.iter().flat_map(|delivery| delivery.order.clone()).collect();
    Some(Reordered { step: step_title(step), order, lines })
}

/// What is on one side only, in the order of each; of a namespace that is on one side only nothing but that.
fn unlike(one: &[String], other: &[String]) -> Vec<String> {
    let (in_one, in_other): (BTreeSet<&String>, BTreeSet<&String>) = (one.iter().collect(), other.iter().collect());
    let gone = one.iter().filter(|line| !in_other.contains(line)).map(|line| format!("- {line}"));
    let come = other.iter().filter(|line| !in_one.contains(line)).map(|line| format!("+ {line}"));
    let all: Vec<String> = gone.chain(come).collect();
    let whole: Vec<String> =
        all.iter().filter_map(|line| line.strip_suffix(NAMESPACE).map(|place| format!("{place}: "))).collect();
    let told = |line: &String| line.ends_with(NAMESPACE) || !whole.iter().any(|place| line.starts_with(place));
    all.into_iter().filter(told).collect()
}

/// All that must be the same whatever the order: a line each, none twice.
fn end(step: &StepRecord) -> Vec<String> {
    let state = step.state.iter().flat_map(|(place, lines)| {
        let namespace = std::iter::once(format!("{place}{NAMESPACE}"));
        namespace.chain(lines.iter().enumerate().map(move |(at, line)| {
            let before = lines.iter().take(at).filter(|other| *other == line).count();
            let again = if before == 0 { String::new() } else { format!(" (number {})", before + 1) };
            format!("{place}: {} {}{again}", kind_word(line.kind), line.text)
        }))
    });
    let stale =
        step.stale.iter().flat_map(|(host, lines)| lines.iter().map(move |line| format!("{host}: stale: {line}")));
    let flows = rows(step).into_iter().map(|row| {
        let by = if row.path.is_empty() { String::new() } else { format!(" by {}", row.path) };
        format!("{} {}: {}{by}", row.protocols, row.ends, row.outcome)
    });
    let failures =
        step.failures.iter().filter(|failure| is_of_the_end(failure.kind)).map(|failure| failure.text.clone());
    state.chain(stale).chain(flows).chain(failures).collect()
}

/// Whether a failure is about what stands in the end.
fn is_of_the_end(kind: FailureKind) -> bool {
    match kind {
        FailureKind::NotConverged
        | FailureKind::NotStable
        | FailureKind::OperationFailed
        | FailureKind::Api
        | FailureKind::Residue
        | FailureKind::NoEvidence => true,
        FailureKind::Expectation | FailureKind::Watch | FailureKind::Unproved | FailureKind::Disturbed => false,
    }
}
