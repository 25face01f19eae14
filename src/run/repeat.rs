//! A step that is done several times.
//!
//! In: a step. Out: one record of it. Never: a difference between the times that is not said.

use super::{Driver, failure};
use crate::flow::{Flow, Verdict};
use crate::record::{FailureKind, StepRecord};
use crate::scenario::Step;

impl Driver<'_> {
    /// A step as often as it says; it is recorded once, and what is not as it was the first time fails it.
    pub(super) fn repeated(&mut self, step: &Step) -> StepRecord {
        let mut record = self.step(step);
        for time in 2..=step.times {
            let again = self.step(step);
            let verdicts = |record: &StepRecord| -> Vec<(Flow, Verdict)> {
                record.probes.iter().map(|report| (report.flow.clone(), report.verdict.clone())).collect()
            };
            if again.profile != record.profile || verdicts(&again) != verdicts(&record) {
                let text = format!("time {time} of {}: not what it was the first time", step.times);
                record.failures.push(failure(FailureKind::Expectation, Some(step.line), text));
            }
            record.watch.extend(again.watch);
            record.failures.extend(again.failures);
        }
        record
    }
}
