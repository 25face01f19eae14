//! What a step expects, looked at once, or again until it is true or its time is over (`within`).
//!
//! In: a step, and the record of its change. Out: what was seen at the last look. Never: what an earlier look found.

use core::time::Duration;

use super::{Driver, blank};
use crate::record::{FailureKind, StepRecord};
use crate::scenario::Step;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

impl Driver<'_> {
    /// Looks at all that `expect` is about: once, unless the step gives it time.
    pub(super) fn look_until_true(&mut self, step: &Step, record: &mut StepRecord) {
        let before = step.within.map(|limit| (limit, record.clone()));
        self.look(step, record);
        let Some((limit, before)) = before else { return };
        let mut left = limit;
        while unmet(record, before.failures.len()) {
            if left.is_zero() {
                for failure in record.failures.iter_mut().skip(before.failures.len()) {
                    failure.text = format!("{}; not within {limit:?}", failure.text);
                }
                return;
            }
            let pause = PAUSE.min(left);
            left -= pause;
            *record = before.clone();
            self.dataplane.let_be(pause);
            self.read_again(step, record);
            self.look(step, record);
        }
    }

    fn look(&self, step: &Step, record: &mut StepRecord) {
        self.probe(step, record);
        self.judge_state(step, record);
        self.judge_course(step, record);
        self.judge_status(step, record);
    }

    /// What stands by now.
    fn read_again(&mut self, step: &Step, record: &mut StepRecord) {
        let mut now = blank(step.number, None, step.line);
        self.check(&mut now);
        for failure in now.failures {
            if !record.failures.contains(&failure) {
                record.failures.push(failure);
            }
        }
        (record.state, record.stale, record.claimed) = (now.state, now.stale, now.claimed);
        (record.owners, record.scene) = (now.owners, now.scene);
        self.read_connections(step, record);
        self.read_around(step, record);
    }
}

/// Whether something that is expected is not so.
fn unmet(record: &StepRecord, known: usize) -> bool {
    record.failures.iter().skip(known).any(|failure| failure.kind == FailureKind::Expectation)
}
