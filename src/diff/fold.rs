//! Things that are the same in several steps, told once.

use super::{FlowChange, Side, Sided};

/// Things with the steps they were seen in, in order of their first.
#[derive(Debug)]
pub(super) struct Fold<T> {
    seen: Vec<(T, Vec<String>)>,
}

impl<T: PartialEq> Fold<T> {
    pub(super) fn new() -> Self {
        Self { seen: Vec::new() }
    }

    pub(super) fn add(&mut self, thing: T, step: &str) {
        match self.seen.iter_mut().find(|(one, _)| *one == thing) {
            Some((_, steps)) if steps.last().is_some_and(|last| last == step) => {}
            Some((_, steps)) => steps.push(step.to_owned()),
            None => self.seen.push((thing, vec![step.to_owned()])),
        }
    }

    pub(super) fn into_parts(self) -> Vec<(T, Vec<String>)> {
        self.seen
    }
}

impl Fold<(Side, String)> {
    /// Adds what is on one side only.
    pub(super) fn add_unmatched(&mut self, base: &[String], head: &[String], step: &str) {
        for (side, these, others) in [(Side::Base, base, head), (Side::Head, head, base)] {
            for text in these.iter().filter(|text| !others.contains(text)) {
                self.add((side, text.clone()), step);
            }
        }
    }

    pub(super) fn into_sided(self) -> Vec<Sided> {
        self.seen.into_iter().map(|((side, text), steps)| Sided { side, steps, text }).collect()
    }
}

/// The protocols of the matrix, of which a flow without a protocol is made.
const MATRIX: [&str; 3] = ["icmp", "tcp/80", "udp/9000"];

/// Flows that fare alike, told once: first over their protocols, then over their targets; leaks first.
pub(super) fn flows(single: Vec<FlowChange>) -> Vec<FlowChange> {
    let mut folded: Vec<FlowChange> = Vec::new();
    for flow in single {
        let alike = |one: &&mut FlowChange| {
            one.from == flow.from
                && one.to == flow.to
                && (&one.base, &one.head, one.leak) == (&flow.base, &flow.head, flow.leak)
        };
        match folded.iter_mut().find(alike) {
            Some(same) => same.protocols.extend(flow.protocols),
            None => folded.push(flow),
        }
    }
    for flow in &mut folded {
        if flow.protocols == MATRIX {
            flow.protocols.clear();
        }
    }
    let mut all: Vec<FlowChange> = Vec::new();
    for flow in folded {
        let alike = |one: &&mut FlowChange| {
            one.from == flow.from
                && one.protocols == flow.protocols
                && (&one.base, &one.head, one.leak) == (&flow.base, &flow.head, flow.leak)
        };
        match all.iter_mut().find(alike) {
            Some(same) => same.to.extend(flow.to),
            None => all.push(flow),
        }
    }
    all.sort_by_key(|flow| match flow.leak {
        Some(Side::Head) => 0,
        Some(Side::Base) => 1,
        None => 2,
    });
    all
}
