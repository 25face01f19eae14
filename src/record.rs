//! What a run leaves behind, as one value: every report, snapshot and comparison is made of it and of nothing else.
//!
//! In: what happened, step by step. Out: JSON (with [`schema`]). Never: a look back at the lab.

mod read;
mod scene;

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::flow::ProbeReport;
use crate::ledger::Account;
use crate::memory::Connection;
use crate::namespace::Kind;
use crate::watch::Finding;

pub use read::{OLDEST, ReadError, read};
pub use scene::{Leg, Machine, Plug, Scene, SceneHost};

/// Version of the record's format. It changes when a reader of the old one would misread the new one, or would look in vain
/// for what reports are made of; [`read()`] understands this one and the one before. 2: story, tags, deviations, scene.
pub const FORMAT: u32 = 2;

/// A scenario, run once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// The scenario's name: its path below `scenarios/` without `.yaml`.
    pub scenario: String,
    /// The file as given on the command line.
    pub path: String,
    /// First sentence of the scenario's header.
    pub summary: String,
    /// The rest of that header.
    #[serde(default)]
    pub story: Story,
    /// The scenario's tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The deviations from the real agent that were switched off, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deviations_off: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// What was wrong with the router on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultRecord>,
    /// Step by step; number 0 is the building of what exists at the start.
    pub steps: Vec<StepRecord>,
}

/// A fault that the router had on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FaultRecord {
    /// The sentence: `omit nat --to-source 203.0.113.10 at net1/snat-r1`.
    pub text: String,
    /// Its line in the file.
    pub line: usize,
    /// The objects, operations and messages that it changed something about.
    pub touched: Vec<String>,
    /// If there are none: what came nearest to what it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<String>,
}

/// What a scenario's header says below its first sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Story {
    /// What exists at the start.
    pub setup: String,
    /// What the steps do.
    pub change: String,
    /// What must be seen.
    pub seen: String,
    /// Ids of the cases that it mirrors.
    pub mirrors: String,
}

/// How a scenario ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything as expected.
    Passed,
    /// An expectation, an automatic check or an operation failed.
    Failed,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepRecord {
    /// Counted from 1; 0 builds what exists at the start, the last one takes everything down.
    pub number: usize,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its line in the file.
    pub line: usize,
    /// The operations as written, one line each, and what is said of how hosts hear of them; none if the step only checks.
    pub change: Vec<String>,
    /// What the API answered to refused operations.
    pub refused: Vec<String>,
    /// What was done to bring each host there, hosts in the order in which they were told.
    pub hosts: Vec<HostRecord>,
    /// What became of each flow of the matrix and of the expectations, in the order sent.
    pub probes: Vec<ProbeReport>,
    /// Whose addresses those of instances and machines outside are: `10.0.1.11` to `vm1`.
    pub owners: BTreeMap<IpAddr, String>,
    /// What the lab consists of besides routers.
    #[serde(default, skip_serializing_if = "Scene::is_empty")]
    pub scene: Scene,
    /// What stands in each router namespace after the step: `cmp1/qrouter-r1` to lines by kind.
    pub state: BTreeMap<String, Vec<Line>>,
    /// What the watch found that must not be there, expected or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<Finding>,
    /// How many frames were sent to prove that the watch sees, when that was asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub proved: u32,
    /// The connections that a namespace tracked, where a sentence of the step is about them: `cmp1/qrouter-r1` to all of its.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub connections: BTreeMap<String, Vec<Connection>>,
    /// What stood at an instance, at a machine outside or in a host's own namespace, where a sentence of the step is about it,
    /// before its probes: by name, lines by kind. Here a neighbour may be one that a kernel has found out by itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub around: BTreeMap<String, Vec<Line>>,
    /// Hosts that were not told all that is in force, or could not act upon it, and in what they differ from it, a line each:
    /// `- ` stands and should not, `+ ` should stand and does not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stale: BTreeMap<String, Vec<String>>,
    /// Floating IPs and gateway addresses that stand on more than one host, and in which namespaces. The matrix leaves them out:
    /// who answers for them is chance.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claimed: BTreeMap<IpAddr, Vec<String>>,
    /// Packets made to order, and what was looked for after them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchanges: Vec<ExchangeRecord>,
    /// What kind of translator stands before an instance, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileRecord>,
    /// In which order hosts heard of the step's changes, if the run was asked for another than the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryRecord>,
    /// What the flows went through that ran through the step, in the order of its sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<Account>,
    /// What was not as it should be.
    pub failures: Vec<Failure>,
}

/// What kind of translator stands before an instance, in the words of RFC 4787, RFC 5382 and RFC 5508.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileRecord {
    /// The instance.
    pub of: String,
    /// `mapping`, `filtering`, `ports` ... to its class.
    pub facts: BTreeMap<String, String>,
}

/// An exchange of packets made to order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExchangeRecord {
    /// Its line in the file.
    pub line: usize,
    /// The packets to send, as the author would write them in one line.
    pub sent: String,
    /// What was looked for, and what became of it: `seen at vm1: { icmp: port-unreachable }`.
    pub verdicts: Vec<String>,
}

/// The order in which hosts heard of the changes of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryRecord {
    /// How many orders of the kind asked for there are.
    pub orders: u64,
    /// What each host heard, in order: `cmp1 hears r1 updated`.
    pub order: Vec<String>,
}

/// What one host's agent did in a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostRecord {
    /// The host.
    pub host: String,
    /// Its operations in order: namespace and command.
    pub ops: Vec<OpRecord>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpRecord {
    /// The namespace.
    pub namespace: String,
    /// As `ip`, `sysctl`, `iptables` or `conntrack` would be told.
    pub command: String,
}

/// One object of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// What it is.
    pub kind: Kind,
    /// As the field's own tools print it.
    pub text: String,
    /// Part of what every such namespace has (the agent's chains and the jumps between them, sysctls, the kernel's rules).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub constant: bool,
}

/// Something that was not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// What kind of thing.
    pub kind: FailureKind,
    /// The line of the scenario that says otherwise, if one does.
    pub line: Option<usize>,
    /// In one sentence.
    pub text: String,
    /// More, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A sentence under `expect`.
    Expectation,
    /// Observed differs from desired.
    NotConverged,
    /// Planning again gave something to do.
    NotStable,
    /// The kernel refused an operation.
    OperationFailed,
    /// The API refused, or did not refuse what it should have.
    Api,
    /// Something was left after everything was deleted.
    Residue,
    /// A frame on a provider segment that must not be there, or one that was expected and was not.
    Watch,
    /// A frame that was sent for the watch to see, and was not seen as what it was.
    Unproved,
    /// A pair that is reached after the step as before lost packets during it.
    Disturbed,
    /// A probe for whose fate there is no evidence: a defect of the harness.
    NoEvidence,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The record's JSON schema.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Record).into()
}

impl Failure {
    /// It is about this sentence of the scenario, or says just this.
    pub fn is_of(&self, sentence: &str) -> bool {
        let own = matches!(self.kind, FailureKind::Expectation | FailureKind::Watch);
        let about = || self.text.strip_prefix('`')?.strip_prefix(sentence)?.strip_prefix("`:");
        own && (self.text == sentence || about().is_some())
    }
}

impl StepRecord {
    /// It is a step of the file (its number is not 0, and it is not the taking down, which has no line).
    pub fn is_told(&self) -> bool {
        self.number > 0 && self.line > 0
    }
}

impl Record {
    /// A probe left no evidence: a defect of the harness, so that nothing here says much of the router.
    pub fn is_of_no_use(&self) -> bool {
        self.failures().any(|(_, failure)| failure.kind == FailureKind::NoEvidence)
    }

    /// Every failure with the step it happened in.
    pub fn failures(&self) -> impl Iterator<Item = (&StepRecord, &Failure)> {
        self.steps.iter().flat_map(|step| step.failures.iter().map(move |failure| (step, failure)))
    }
}
