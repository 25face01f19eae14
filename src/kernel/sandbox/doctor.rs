//! Whether this machine can run labs, found out by doing each thing once in a sandbox.
//!
//! In: the program to start as a sandbox. Out: one [`Check`] a thing. Never: a conclusion from a version number.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Mode, Sandbox};

/// Something that a lab needs, and whether this machine has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was tried: `bridge`.
    pub what: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of trying something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It works.
    Works,
    /// It does not.
    Missing {
        /// The kernel's reason.
        reason: String,
        /// What cannot be done without it.
        costs: String,
        /// What to do about it.
        remedy: String,
    },
}

/// Tries everything. The first check is the sandbox itself; without it there are no others.
pub fn examine(program: &Path) -> Vec<Check> {
    let mut sandbox = match Sandbox::start(program, Mode::Examine, "") {
        Ok(sandbox) => sandbox,
        Err(error) => {
            let remedy = error.remedy().unwrap_or_default();
            return vec![missing("sandbox", chain(&error), "no lab can run", &remedy)];
        }
    };
    let mut checks = vec![Check { what: "sandbox".to_owned(), outcome: Outcome::Works }];
    if !sandbox.writable().is_empty() {
        let reason = format!("these would not be made read-only: {:?}", sandbox.writable());
        checks.push(missing("read-only mounts", reason, "a program run by `exec` could write there", "none needed"));
    }
    while let Ok(Some(line)) = sandbox.read_line() {
        checks.extend(serde_json::from_str::<Check>(&line));
    }
    checks
}

pub(super) fn missing(what: &str, reason: String, costs: &str, remedy: &str) -> Check {
    let outcome = Outcome::Missing { reason, costs: costs.to_owned(), remedy: remedy.to_owned() };
    Check { what: what.to_owned(), outcome }
}

/// An error and its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
