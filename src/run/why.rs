//! The way of single packets: for `dvrlab why`, and below an expectation that does not hold.
//!
//! In: a scenario, how far to go in it, and flows. Out: an [`Answer`]. Never: a judgement.

use super::{Driver, Options, lines, matrix};
use crate::dataplane::Dataplane;
use crate::flow::{Flow, Protocol};
use crate::memory::{TCP, UDP};
use crate::record::StepRecord;
use crate::scenario::Scenario;
use crate::why::{Answer, Names, short};

/// How many failures of a step are explained: each costs about a tenth of a second, and the first ones tell most.
pub(super) const EXPLAINED: usize = 3;

/// Builds a scenario up to and including its first `steps` steps, without probing, then sends `flows` and tells their ways.
pub fn why(scenario: &Scenario, dataplane: &dyn Dataplane, steps: usize, flows: &[Flow]) -> Answer {
    let mut driver = Driver::new(scenario, Options::default(), dataplane);
    driver.listen.extend(flows.iter().filter_map(|flow| match flow.protocol {
        Protocol::Tcp(port) => Some((TCP, port)),
        Protocol::Udp(port) => Some((UDP, port)),
        Protocol::Icmp | Protocol::Arp => None,
    }));
    let mut answer = Answer::default();
    note(&driver.build(), &mut answer);
    for step in scenario.steps.iter().take(steps) {
        let mut record = super::blank(step.number, step.name.clone(), step.line);
        driver.change(step, &mut record);
        note(&record, &mut answer);
    }
    for flow in flows {
        match dataplane.explain(flow) {
            Ok(explanation) => answer.explanations.push(explanation),
            Err(error) => answer.failures.push(error.to_string()),
        }
    }
    answer.names = driver.names();
    answer
}

fn note(record: &StepRecord, answer: &mut Answer) {
    answer.failures.extend(record.failures.iter().map(|failure| format!("step {}: {}", record.number, failure.text)));
}

impl Driver<'_> {
    /// What numbers are called now.
    fn names(&self) -> Names {
        Names { addresses: matrix::owners(&self.intent), macs: lines::mac_owners(&self.topology, &self.observed) }
    }

    /// Why a flow went as it did, in a few lines.
    pub(super) fn explained(&self, flow: &Flow) -> Vec<String> {
        match self.dataplane.explain(flow) {
            Ok(explanation) => short(&explanation, &self.names()),
            Err(error) => vec![format!("why: {error}")],
        }
    }
}
