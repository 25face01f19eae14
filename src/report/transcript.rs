//! What `run` prints of a scenario: step by step what changed, who reaches whom, and what was not as expected.

use super::reach::{claims, exchanged, flow_title, rows, step_title, table, watched};
use crate::record::{Record, StepRecord};

/// How much of a step is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Only failures, at the end.
    Failures,
    /// How each scenario ended.
    Status,
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
        for claim in claims(step) {
            line!(text, "    {claim}");
        }
        for (host, lines) in &step.stale {
            line!(text, "    {host} is stale (- stands there, + is intended)");
            for line in lines {
                line!(text, "      {line}");
            }
        }
    }
    if detail >= Detail::Reach {
        for account in &step.flows {
            line!(text, "    during: {}: {}", flow_title(step, account), account.figures());
        }
        for failure in &step.failures {
            // All of it is repeated at the end.
            let line = failure.line.map_or(String::new(), |line| format!("line {line}: "));
            line!(text, "    FAILED {line}{}", failure.text);
        }
    }
    text
}

/// The operations of a record, step by step, host by host.
pub fn plan(record: &Record) -> String {
    let mut text = String::new();
    for step in &record.steps {
        line!(text, "{}", step_title(step));
        operations(&mut text, step);
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

/// Text whose lines are broken at words to fit that many columns; what goes on is indented further than what began.
pub fn wrapped(text: &str, columns: usize) -> String {
    let mut all = String::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let further = " ".repeat(indent + 4);
        let mut current = String::new();
        for word in line.split_inclusive(' ') {
            let full = current.chars().count() + word.trim_end().chars().count() > columns;
            if full && !current.trim().is_empty() {
                line!(all, "{}", current.trim_end());
                current.clone_from(&further);
            }
            current.push_str(word);
        }
        line!(all, "{}", current.trim_end());
    }
    all
}

/// `snat/basic  2 steps, 96 probes`
pub fn summary_line(record: &Record) -> String {
    let steps = record.steps.iter().filter(|step| step.is_told()).count();
    let probes: usize = record.steps.iter().map(|step| step.probes.len()).sum();
    let plural = if steps == 1 { "" } else { "s" };
    let proved: u32 = record.steps.iter().map(|step| step.proved).sum();
    let proof = if proved > 0 { format!(", watch proved by {proved} frames") } else { String::new() };
    format!("{}  {steps} step{plural}, {probes} probes{proof}", record.scenario)
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn lines_are_broken_at_words_and_go_on_indented() {
        let text =
            "a: one two three four\n  there cmp1/qrouter-r1: default via\nhttp://cannot-be-broken-anywhere/ at all\n";
        let expected = "a: one two three\n    four\n  there\n      cmp1/qrouter-r1:\n      default\n      via\nhttp://cannot-be-broken-anywhere/\n    at all\n";
        assert_eq!(wrapped(text, 16), expected);
        assert_eq!(wrapped("short\n", 16), "short\n");
    }
}
