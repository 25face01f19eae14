//! What became of a fault: whether its scenario noticed, and by what.
//!
//! In: the record of a run that went well and that of the same scenario with a fault. Out: a verdict and its text. Never: a
//! failure of the harness or the kernel taken for the scenario's own.

use std::collections::BTreeSet;

use super::reach;
use crate::record::{Failure, FailureKind, FaultRecord, Record};

/// Whether a scenario noticed a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// By what it says, or by the watch: the failures, first to last.
    Noticed(Vec<Failure>),
    /// By its matrix only: who reached whom is not what it was.
    NoticedByMatrix,
    /// The fault touched nothing, so that nothing could be noticed.
    Untouched(Vec<String>),
    /// It did not; what failed besides, which no sentence of it is about.
    Unnoticed(Vec<Failure>),
}

impl Proof {
    /// The scenario shows what it is there to show.
    pub fn holds(&self) -> bool {
        matches!(self, Self::Noticed(_) | Self::NoticedByMatrix)
    }
}

/// Judges the run with the fault.
pub fn proof(without: &Record, with: &Record) -> Proof {
    if let Some(FaultRecord { touched, nearest, .. }) = &with.fault
        && touched.is_empty()
    {
        return Proof::Untouched(nearest.clone());
    }
    let all = || with.failures().map(|(_, failure)| failure);
    let own = |failure: &&Failure| matches!(failure.kind, FailureKind::Expectation | FailureKind::Watch);
    let noticed: Vec<Failure> = all().filter(own).cloned().collect();
    if !noticed.is_empty() {
        return Proof::Noticed(noticed);
    }
    let others: Vec<Failure> = all().cloned().collect();
    if others.is_empty() && reach(without) != reach(with) {
        return Proof::NoticedByMatrix;
    }
    Proof::Unnoticed(others)
}

/// A proof in words: the fault, and below it what was noticed.
pub fn proof_text(with: &Record, proof: &Proof) -> String {
    let fault = with.fault.as_ref();
    let mut text = String::new();
    let place = fault.map_or_else(String::new, |fault| format!("{}:{}: {}", with.path, fault.line, fault.text));
    match proof {
        Proof::Noticed(failures) => {
            line!(text, "noticed      {place}");
            let mut told = BTreeSet::new();
            for failure in failures {
                // A sentence about several protocols or namespaces is told once.
                if failure.line.is_some() && !told.insert(failure.line) {
                    continue;
                }
                let at = failure.line.map_or_else(String::new, |line| format!("line {line}: "));
                line!(text, "             {at}{}", failure.text.lines().next().unwrap_or_default());
            }
        }
        Proof::NoticedByMatrix => {
            line!(text, "noticed      {place}");
            line!(text, "             by the matrix alone: no sentence of the scenario says so");
        }
        Proof::Untouched(nearest) => {
            line!(text, "NO SUCH THING  {place}");
            line!(text, "             nothing of that kind was ever there to be changed");
            for near in nearest {
                line!(text, "             nearest: {near}");
            }
        }
        Proof::Unnoticed(others) => {
            line!(text, "NOT NOTICED  {place}");
            for touched in fault.iter().flat_map(|fault| &fault.touched) {
                line!(text, "             it touched: {touched}");
            }
            for failure in others {
                line!(
                    text,
                    "             no sentence says so, but: {}",
                    failure.text.lines().next().unwrap_or_default()
                );
            }
        }
    }
    text
}
