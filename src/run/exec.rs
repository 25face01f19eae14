//! Programs that a scenario runs: started when the operation's turn comes, over before the next thing happens.
//!
//! In: an operation `exec`. Out: a failure where the program did not end, or did not write, as the file says; with its output.

use super::{Driver, failure};
use crate::record::{FailureKind, StepRecord};
use crate::scenario::Exec;

impl Driver<'_> {
    /// Runs a line of shell and judges it.
    pub(super) fn do_exec(&self, exec: &Exec, line: usize, record: &mut StepRecord) {
        let done = match self.dataplane.shell(&exec.at, &exec.run) {
            Ok(done) => done,
            Err(error) => {
                record.failures.push(failure(
                    FailureKind::OperationFailed,
                    Some(line),
                    format!("{}: {error}", exec.at),
                ));
                return;
            }
        };
        let wrong = if done.exit != Some(exec.exit) {
            let ended = done.failed.as_deref().unwrap_or("exit status: 0");
            format!("it ended with {ended}, not with exit status: {}", exec.exit)
        } else if let Some(text) = exec.prints.as_ref().filter(|text| !done.output.contains(text.as_str())) {
            format!("it did not print `{text}`")
        } else {
            return;
        };
        let mut found = failure(FailureKind::Expectation, Some(line), format!("{}: `{}`: {wrong}", exec.at, exec.run));
        found.details = done.output.lines().map(str::to_owned).collect();
        record.failures.push(found);
    }
}
