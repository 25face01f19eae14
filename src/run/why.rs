//! The way of single packets: for `dvrlab why`, and below an expectation that does not hold.
//!
//! In: a scenario, how far to go in it, and flows. Out: an [`Answer`]. Never: a judgement.

use super::{Driver, Options, lines, matrix};
use crate::dataplane::Dataplane;
use crate::flow::{Flow, Protocol};
use crate::memory::{TCP, UDP};
use crate::record::StepRecord;
use crate::router;
use crate::scenario::{Mismatch, Scenario};
use crate::why::{Answer, Names, short};

/// How many failures of a step are explained: each packet of each costs about a tenth of a second, and the first ones tell most.
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

/// Builds a scenario up to and including its first `steps` steps, without probing, and gives what went wrong.
pub fn stand(scenario: &Scenario, dataplane: &dyn Dataplane, steps: usize) -> Vec<String> {
    why(scenario, dataplane, steps, &[]).failures
}

/// What numbers are called in a lab that stands as the scenario has it after its first `steps` steps.
pub fn names(scenario: &Scenario, dataplane: &dyn Dataplane, steps: usize) -> Names {
    let intent = scenario.intent_after(steps);
    // A host that cannot be observed has numbers without names, which does not matter beside that.
    let observed = intent.host_order.iter().filter_map(|host| Some((host.clone(), dataplane.observe(host).ok()?)));
    let macs = lines::mac_owners(&router::topology(&intent), &observed.collect());
    Names { addresses: matrix::owners(&intent), macs }
}

fn note(record: &StepRecord, answer: &mut Answer) {
    answer.failures.extend(record.failures.iter().map(|failure| format!("step {}: {}", record.number, failure.text)));
}

impl Driver<'_> {
    /// What numbers are called now.
    fn names(&self) -> Names {
        Names { addresses: matrix::owners(&self.intent), macs: lines::mac_owners(&self.topology, &self.observed) }
    }

    /// Why flows went as they did, in a few lines.
    pub(super) fn explained(&self, flows: &[Flow]) -> Vec<String> {
        let (mut explanations, mut unexplained) = (Vec::new(), Vec::new());
        for flow in flows {
            match self.dataplane.explain(flow) {
                Ok(explanation) => explanations.push(explanation),
                Err(error) => unexplained.push(format!("why: {error}")),
            }
        }
        let mut lines = short(&explanations, &self.names());
        lines.extend(unexplained);
        lines
    }
}

/// A sentence's mismatches, those of several protocols that say the same as one.
pub(super) struct Folded {
    /// `icmp tcp/80 udp/9000 vm1 -> web: as 203.0.113.10, not as 203.0.113.99`
    pub(super) sentence: String,
    /// The flows that it is of.
    pub(super) flows: Vec<Flow>,
}

/// Brings together what differs in the protocol only.
pub(super) fn folded(mismatches: Vec<Mismatch>) -> Vec<Folded> {
    let mut groups: Vec<(String, String, Vec<Flow>)> = Vec::new();
    for Mismatch { sentence, flow } in mismatches {
        let Some(flow) = flow else {
            groups.push((String::new(), sentence, Vec::new()));
            continue;
        };
        let spoken = flow.spoken();
        let rest = sentence.strip_prefix(&spoken).unwrap_or(&sentence).to_owned();
        let alike = |other: &Flow| Flow { protocol: flow.protocol, ..other.clone() } == flow;
        let same = groups.iter_mut().find(|(_, other, flows)| *other == rest && flows.first().is_some_and(alike));
        match same {
            Some((protocols, _, flows)) => {
                *protocols = format!("{protocols} {spoken}");
                flows.push(flow);
            }
            None => groups.push((spoken, rest, vec![flow])),
        }
    }
    let whole = |(protocols, rest, flows)| Folded { sentence: format!("{protocols}{rest}"), flows };
    groups.into_iter().map(whole).collect()
}
