//! A run of several scenarios for machines and for pages: JUnit XML, and Markdown.
//!
//! In: what came of each scenario. Out: text. Never: a duration where none was measured.

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::reach::step_title;
use super::transcript::failures;
use crate::record::{Failure, FailureKind, Outcome, Record, StepRecord};

/// What came of one scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its file, as given.
    pub path: String,
    /// Its record, if it came to one.
    pub record: Option<Record>,
    /// What was wrong besides: snapshots, or that there is no record.
    pub troubles: Vec<Trouble>,
    /// Why this machine cannot run it, if that is so.
    pub unsupported: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How long its steps took, in the record's order.
    pub steps_ms: Vec<u64>,
}

/// Something wrong that is no failure of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// In one sentence.
    pub text: String,
    /// More, a line each.
    pub details: Vec<String>,
    /// It is no failure of the scenario: the run itself did not come to its end.
    pub broken: bool,
}

impl Entry {
    /// All is as expected.
    pub fn passed(&self) -> bool {
        let well = self.record.as_ref().is_some_and(|record| record.outcome == Outcome::Passed);
        well && self.troubles.is_empty()
    }
}

/// Everything that was wrong with a scenario, each with the reason in one sentence before any detail.
pub fn wrong(entry: &Entry) -> String {
    let mut text = entry.record.as_ref().map(failures).unwrap_or_default();
    for trouble in &entry.troubles {
        line!(text, "{}: {}", entry.path, trouble.text);
        for detail in &trouble.details {
            line!(text, "    {detail}");
        }
    }
    text
}

/// One case a scenario and step, and one more for what was wrong besides.
///
/// # Errors
/// A text that XML cannot have.
pub fn junit(entries: &[Entry]) -> Result<String, SerializeError> {
    let mut report = Report::new("dvrlab");
    for entry in entries {
        let mut suite = TestSuite::new(entry.name.clone());
        suite.set_time(milliseconds(entry.took_ms));
        suite.add_property(("file", entry.path.as_str()));
        for (number, step) in entry.record.iter().flat_map(|record| &record.steps).enumerate() {
            let mut case = TestCase::new(case_name(step), status(&step.failures));
            case.set_classname(entry.name.clone());
            if let Some(took) = entry.steps_ms.get(number) {
                case.set_time(milliseconds(*took));
            }
            suite.add_test_case(case);
        }
        for trouble in &entry.troubles {
            let kind = if trouble.broken { NonSuccessKind::Error } else { NonSuccessKind::Failure };
            let mut status = TestCaseStatus::non_success(kind);
            status.set_message(trouble.text.clone());
            status.set_description(trouble.details.join("\n"));
            let mut case = TestCase::new(if trouble.broken { "lab" } else { "snapshots" }, status);
            case.set_classname(entry.name.clone());
            suite.add_test_case(case);
        }
        if let Some(reason) = &entry.unsupported {
            let mut status = TestCaseStatus::skipped();
            status.set_message(reason.clone());
            let mut case = TestCase::new("lab", status);
            case.set_classname(entry.name.clone());
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    report.to_string()
}

fn milliseconds(number: u64) -> core::time::Duration {
    core::time::Duration::from_millis(number)
}

fn case_name(step: &StepRecord) -> String {
    if step.is_told() {
        step_title(step)
    } else if step.number == 0 {
        "building what exists at the start".to_owned()
    } else {
        "taking everything down".to_owned()
    }
}

fn status(failures: &[Failure]) -> TestCaseStatus {
    let Some(first) = failures.first() else { return TestCaseStatus::success() };
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_message(first_line(&first.text)).set_type(kind_name(first.kind));
    let mut text = String::new();
    for failure in failures {
        let line = failure.line.map_or(String::new(), |line| format!("line {line}: "));
        line!(text, "{line}{}", failure.text);
        for detail in &failure.details {
            line!(text, "    {detail}");
        }
    }
    status.set_description(text);
    status
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn kind_name(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Expectation => "expectation",
        FailureKind::NotConverged => "not-converged",
        FailureKind::NotStable => "not-stable",
        FailureKind::OperationFailed => "operation-failed",
        FailureKind::Api => "api",
        FailureKind::Residue => "residue",
        FailureKind::Disturbed => "disturbed",
        FailureKind::Watch => "watch",
        FailureKind::Unproved => "unproved",
        FailureKind::NoEvidence => "no-evidence",
    }
}

/// What a CI job's page shows: the count, then each scenario that failed with the reason in one sentence before any detail.
pub fn markdown(entries: &[Entry]) -> String {
    let (passed, failed): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().filter(|entry| entry.unsupported.is_none()).partition(|entry| entry.passed());
    let unsupported: Vec<&Entry> = entries.iter().filter(|entry| entry.unsupported.is_some()).collect();
    let rest = if unsupported.is_empty() { String::new() } else { format!(", {} unsupported", unsupported.len()) };
    let mut text = String::new();
    line!(text, "## dvrlab: {} passed, {} failed{rest}", passed.len(), failed.len());
    for entry in failed {
        line!(text, "\n### {}\n", entry.name);
        if let Some(record) = &entry.record {
            line!(text, "{}\n", record.summary);
            for (step, failure) in record.failures() {
                let line = failure.line.unwrap_or(step.line);
                told(&mut text, &format!("**{}**, line {line}: {}", case_name(step), failure.text), &failure.details);
            }
        }
        for trouble in &entry.troubles {
            told(&mut text, &trouble.text, &trouble.details);
        }
    }
    for (title, list) in [("passed", passed), ("unsupported", unsupported)] {
        if !list.is_empty() {
            line!(text, "\n<details><summary>{} {title}</summary>\n", list.len());
            for entry in list {
                let why = entry.unsupported.as_ref().map_or_else(String::new, |why| format!(": {why}"));
                line!(text, "- {}{why}", entry.name);
            }
            line!(text, "\n</details>");
        }
    }
    text
}

/// A sentence with its details folded below it.
fn told(text: &mut String, sentence: &str, details: &[String]) {
    let mut lines = sentence.lines();
    line!(text, "- {}", lines.next().unwrap_or_default());
    let details: Vec<&str> = lines.chain(details.iter().map(String::as_str)).collect();
    if !details.is_empty() {
        // The fence is longer than any that the details may have.
        line!(text, "  <details><summary>why</summary>\n\n  ~~~~text");
        for detail in details {
            line!(text, "  {detail}");
        }
        line!(text, "  ~~~~\n  </details>");
    }
}
