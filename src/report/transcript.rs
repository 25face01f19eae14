//! What `run` prints of a scenario: step by step what changed, who reaches whom, and what was not as expected.

use super::reach::{exchanged, rows, step_title, table, watched};
use crate::record::{Outcome, Record, StepRecord};

/// How much of a step is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Only failures.
    Failures,
    /// The change and the reachability that changed with it.
    Reach,
    /// The operations of every host too.
    Operations,
}

/// A step as text; `before` is the step before it, so that only what changed is listed.
pub fn step(step: &StepRecord, before: Option<&StepRecord>, detail: Detail) -> String {
    let mut text = String::new();
    if detail >= Detail::Reach {
        if step.is_told() {
            line!(text, "  {}", step_title(step));
        } else if detail >= Detail::Operations {
            let what = if step.number == 0 { "building what exists at the start" } else { "taking everything down" };
            line!(text, "  {what}");
        }
        for change in &step.change {
            line!(text, "    * {change}");
        }
        for answer in &step.refused {
            line!(text, "      refused: {answer}");
        }
    }
    if detail >= Detail::Operations {
        operations(&mut text, step);
    }
    if detail >= Detail::Reach && !step.probes.is_empty() {
        reachability(&mut text, step, before);
    }
    if detail >= Detail::Reach {
        for found in exchanged(step).chain(watched(step)) {
            line!(text, "    {found}");
        }
        for (host, lines) in &step.stale {
            line!(text, "    {host} is stale (- stands there, + is intended)");
            for line in lines {
                line!(text, "      {line}");
            }
        }
    }
    for failure in &step.failures {
        text.push_str(&failure_text(failure));
    }
    text
}

fn operations(text: &mut String, step: &StepRecord) {
    for host in &step.hosts {
        for op in &host.ops {
            for (n, line) in op.command.lines().enumerate() {
                let place = if n == 0 { format!("{}/{}", host.host, op.namespace) } else { String::new() };
                line!(text, "      {place:<24} {line}");
            }
        }
    }
}

fn reachability(text: &mut String, step: &StepRecord, before: Option<&StepRecord>) {
    let old = before.filter(|before| before.is_told()).map(rows).unwrap_or_default();
    let new = rows(step);
    let changed: Vec<_> = new.into_iter().filter(|row| !old.contains(row)).collect();
    if changed.is_empty() {
        text.push_str("    reachability as before\n");
        return;
    }
    let mut lines = String::new();
    table(&mut lines, &changed);
    for line in lines.lines() {
        line!(text, "  {line}");
    }
}

fn failure_text(failure: &crate::record::Failure) -> String {
    let mut text = String::new();
    let line = failure.line.map_or(String::new(), |line| format!("line {line}: "));
    line!(text, "    FAILED {line}{}", failure.text);
    for detail in &failure.details {
        line!(text, "           {detail}");
    }
    text
}

/// All failures of a record, each with file, line and step.
pub fn failures(record: &Record) -> String {
    let mut text = String::new();
    for (step, failure) in record.failures() {
        let line = failure.line.unwrap_or(step.line);
        line!(text, "{}:{line}: {}: {}", record.path, step_title(step), failure.text);
        for detail in &failure.details {
            line!(text, "    {detail}");
        }
    }
    text
}

/// `passed  snat-basic  2 steps, 96 probes`
pub fn summary_line(record: &Record) -> String {
    let word = match record.outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "FAILED",
    };
    let steps = record.steps.iter().filter(|step| step.is_told()).count();
    let probes: usize = record.steps.iter().map(|step| step.probes.len()).sum();
    let plural = if steps == 1 { "" } else { "s" };
    let proved: u32 = record.steps.iter().map(|step| step.proved).sum();
    let proof = if proved > 0 { format!(", watch proved by {proved} frames") } else { String::new() };
    format!("{word}  {}  {steps} step{plural}, {probes} probes{proof}", record.scenario)
}
