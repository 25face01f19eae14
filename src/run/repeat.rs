//! A step that is done several times.
//!
//! In: a step. Out: one record of it. Never: a difference between the times that is not said.

use std::collections::BTreeMap;

use super::{Driver, failure};
use crate::flow::{Flow, Place, ProbeReport, Verdict};
use crate::record::{FailureKind, StepRecord};
use crate::scenario::Step;

impl Driver<'_> {
    /// A step as often as it says; it is recorded once, and what is not as it was the first time fails it.
    pub(super) fn repeated(&mut self, step: &Step) -> StepRecord {
        let mut record = self.step(step);
        for time in 2..=step.times {
            let again = self.step(step);
            let lines = unlike(&record, &again);
            if !lines.is_empty() {
                let text = format!("time {time} of {}: not what it was the first time", step.times);
                let mut found = failure(FailureKind::Expectation, Some(step.line), text);
                found.details = lines;
                record.failures.push(found);
            }
            record.watch.extend(again.watch);
            record.failures.extend(again.failures);
        }
        record
    }
}

/// In what two times of a step differ, a line each: `- ` the first time, `+ ` this time. Which ports a translator chose, and
/// which way packets went through it, is its own affair.
fn unlike(first: &StepRecord, again: &StepRecord) -> Vec<String> {
    let mut lines = Vec::new();
    let mut one_sided = |one: &[String], other: &[String]| {
        lines.extend(one.iter().filter(|line| !other.contains(line)).map(|line| format!("- {line}")));
        lines.extend(other.iter().filter(|line| !one.contains(line)).map(|line| format!("+ {line}")));
    };
    one_sided(&standing(first), &standing(again));
    one_sided(&stale(first), &stale(again));
    one_sided(&facts(first), &facts(again));
    for (flow, is) in fared(again) {
        let was = fared(first).get(&flow).cloned();
        if was.as_ref() != Some(&is) {
            let text = |fared: &Fared| format!("{:?}", fared.0).to_lowercase();
            let was = was.map_or_else(|| "not sent".to_owned(), |was| text(&was));
            lines.push(format!("{flow}: {was} the first time, {} now", text(&is)));
        }
    }
    lines
}

/// What became of a flow: the verdict, who answered under which source, who refused, and where it ended.
type Fared = (Verdict, Option<(Place, std::net::IpAddr)>, Option<std::net::IpAddr>, Option<Place>);

fn fared(step: &StepRecord) -> BTreeMap<String, Fared> {
    let name = |flow: &Flow| {
        let copy = if flow.copy == 0 { String::new() } else { format!(", number {}", flow.copy + 1) };
        format!("{} {} -> {}{}{copy}", flow.spoken(), flow.from, flow.to, flow.options.suffix())
    };
    let one = |report: &ProbeReport| {
        let seen = report.seen.as_ref().map(|seen| (seen.responder.clone(), seen.source));
        (name(&report.flow), (report.verdict.clone(), seen, report.by, report.at.clone()))
    };
    step.probes.iter().map(one).collect()
}

fn standing(step: &StepRecord) -> Vec<String> {
    let all = step.state.iter();
    all.flat_map(|(place, lines)| lines.iter().map(move |line| format!("{place}: {}", line.text))).collect()
}

fn stale(step: &StepRecord) -> Vec<String> {
    let all = step.stale.iter();
    all.flat_map(|(host, lines)| lines.iter().map(move |line| format!("{host}: stale: {line}"))).collect()
}

fn facts(step: &StepRecord) -> Vec<String> {
    let all = step.profile.iter().flat_map(|profile| &profile.facts);
    all.map(|(key, class)| format!("{key}: {class}")).collect()
}
