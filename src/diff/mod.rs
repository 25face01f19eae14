//! What behaves differently in two runs of the same scenarios, and what stands differently in the kernel that goes with it.
//!
//! In: two sets of [`Record`]s. Out: a [`Comparison`] and its printed forms ([`text()`], [`markdown()`], JSON by serde), behaviour
//! first: flows, leaks, answers; then the rules and routes on the way of the flows that changed; then the rest. Never: a look
//! at times, or at numbers that nobody chose.

mod compare;
mod fold;
mod markdown;
mod phrase;
mod places;
mod text;

use serde::Serialize;

use crate::record::{Outcome, Record};

pub use markdown::markdown;
pub use text::text;

/// Version of a comparison's JSON.
pub const FORMAT: u32 = 1;

/// Two sets of records, compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// [`FORMAT`].
    pub format: u32,
    /// Whether anything behaves differently.
    pub behaviour_changed: bool,
    /// How many scenarios both have.
    pub compared: usize,
    /// Scenarios that only the first has.
    pub only_base: Vec<String>,
    /// Scenarios that only the second has.
    pub only_head: Vec<String>,
    /// Deviations from the real agent that were off on both sides, if they were not the same, and alike in all scenarios.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviations_off: Option<Off>,
    /// Scenarios in which anything differs.
    pub changed: Vec<ScenarioChange>,
}

/// What differs in one scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScenarioChange {
    /// Its name.
    pub scenario: String,
    /// What it shows, in a sentence.
    pub summary: String,
    /// How it ended, if otherwise than before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<(Outcome, Outcome)>,
    /// Deviations from the real agent that were off on both sides, if they were not the same, and not alike in all scenarios.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviations_off: Option<Off>,
    /// What the watch finds on one side only.
    pub leaks: Vec<Sided>,
    /// Flows that fare differently, those together that have the same steps and the same rules to thank for it.
    pub groups: Vec<Group>,
    /// Failed checks and refusals of the API on one side only.
    pub answers: Vec<Sided>,
    /// Steps, and flows in steps of both, that are on one side only.
    pub unmatched: Vec<Sided>,
    /// What stands differently where no flow that changed came by.
    pub rest: Vec<PlaceChange>,
}

/// Names of deviations that were off, base and head.
pub type Off = (Vec<String>, Vec<String>);

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The first only: it is gone.
    Base,
    /// The second only: it is new.
    Head,
}

/// Something that is on one side only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sided {
    /// On which.
    pub side: Side,
    /// In which steps.
    pub steps: Vec<String>,
    /// What.
    pub text: String,
}

/// Flows that changed, with what changed on their way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// In which steps.
    pub steps: Vec<String>,
    /// The flows, those with a leak first.
    pub flows: Vec<FlowChange>,
    /// Namespaces on their way, before or after, in which something differs.
    pub way: Vec<PlaceChange>,
}

/// Flows from one sender that fare differently, and alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlowChange {
    /// The sender.
    pub from: String,
    /// The targets.
    pub to: Vec<String>,
    /// The protocols; none if they are those of the matrix.
    pub protocols: Vec<String>,
    /// What became of them.
    pub base: String,
    /// What becomes of them.
    pub head: String,
    /// On which side, if on one only, their sender's packets were found where they must not be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leak: Option<Side>,
}

/// What differs in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PlaceChange {
    /// `cmp1/qrouter-r1`.
    pub place: String,
    /// In which steps.
    pub steps: Vec<String>,
    /// The namespace itself is on one side only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole: Option<Side>,
    /// `- rule ...` and `+ rule ...`, a line each.
    pub lines: Vec<String>,
}

impl ScenarioChange {
    /// Whether it behaves differently, or only looks so.
    pub fn behaves_differently(&self) -> bool {
        self.outcome.is_some() || !self.leaks.is_empty() || !self.groups.is_empty() || !self.answers.is_empty()
    }

    /// How many flows changed: each protocol counts.
    pub fn flows(&self) -> usize {
        let all = self.groups.iter().flat_map(|group| &group.flows);
        all.map(|flow| flow.to.len() * if flow.protocols.is_empty() { 3 } else { flow.protocols.len() }).sum()
    }

    /// How many leaks are on one side only.
    pub fn leaks(&self, side: Side) -> usize {
        self.leaks.iter().filter(|leak| leak.side == side).count()
    }
}

/// Compares two sets of records, scenario by scenario.
pub fn compare(base: &[Record], head: &[Record]) -> Comparison {
    let only = |these: &[Record], others: &[Record]| {
        let alone = these.iter().filter(|one| !others.iter().any(|other| other.scenario == one.scenario));
        alone.map(|one| one.scenario.clone()).collect()
    };
    let pairs: Vec<(&Record, &Record)> = head
        .iter()
        .filter_map(|new| base.iter().find(|old| old.scenario == new.scenario).map(|old| (old, new)))
        .collect();
    let mut changed: Vec<ScenarioChange> = pairs.iter().filter_map(|(old, new)| compare::scenario(old, new)).collect();
    let deviations_off = alike_in_all(&mut changed);
    Comparison {
        format: FORMAT,
        behaviour_changed: changed.iter().any(ScenarioChange::behaves_differently),
        compared: pairs.len(),
        only_base: only(base, head),
        only_head: only(head, base),
        deviations_off,
        changed,
    }
}

/// What is said of every scenario is said once, of all.
fn alike_in_all(changed: &mut [ScenarioChange]) -> Option<Off> {
    let first = changed.first()?.deviations_off.clone()?;
    if changed.iter().any(|one| one.deviations_off.as_ref() != Some(&first)) {
        return None;
    }
    for one in changed {
        one.deviations_off = None;
    }
    Some(first)
}
