//! The scenario language: a YAML file becomes a typed [`Scenario`], or notes that say what is wrong and where.
//!
//! In: the name and the text of a file. Out: what exists at the start as an [`Intent`], the steps as [`Event`]s of the API,
//! and what must be seen as [`Expectation`]s that judge what was seen. Never: reading files, running anything. All mistakes of a file
//! are reported together, each with its place.

mod announced;
mod ask;
mod build;
mod course;
mod damage;
mod deed;
mod deeds;
mod during;
mod exchange;
mod expect;
mod expectation;
mod failure;
mod fault;
mod frames;
mod header;
mod hops;
mod judge;
mod language;
mod links;
mod lower;
mod machine;
mod note;
mod objects;
mod open;
mod outcome;
mod pace;
mod packet_options;
mod pattern;
mod profile;
mod reference;
mod schema;
mod shape;
mod state;
mod status;
mod steps;
mod subject;
#[cfg(test)]
mod tests;
mod updates;
mod values;
mod watch;
mod words;
mod world;
mod yaml;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

pub use announced::{AnnouncedExpectation, Announcer};
pub use ask::flows;
pub use deed::{AgentDeed, Crash, CrashPoint, Damage, Deed, Hearing, LinkSetting, Thing, Wreck};
pub use during::{During, Runs};
pub use exchange::{Arrivals, Beside, Exchange, Facts, MacsOf, Pattern, ToSend, UnderWays, Unready};
pub use expectation::{
    Course, CourseExpectation, Delivery, Expectation, Expected, Failure, FlowExpectation, FrameExpectation, Mismatch,
    Outcome, Quantity, Reason, SeenAs, SeenPort, Source, Speaker, StateExpectation, StatePlace, Target,
    WatchExpectation,
};
pub use fault::{Fault, Mutation, Tamper};
pub use header::Story;
pub use hops::HopAnswer;
pub use judge::addresses_of;
pub use machine::{Exec, Feature};
pub use note::{Note, Severity, Span, render};
pub use open::OpenFlow;
pub use pattern::matches;
pub use profile::Profile;
pub use reference::reference;
pub use schema::schema;
pub use status::{Status, StatusExpectation};

use crate::api::{Event, Intent, Rejected, RejectedKind};
use crate::flow::Protocol;
use crate::name::HostName;

/// A file that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Its path below `scenarios/`, without `.yaml`.
    pub name: String,
    /// The path as given.
    pub path: String,
    /// The header comment.
    pub story: Story,
    /// Words for `--filter`.
    pub tags: Vec<String>,
    /// What must be there for it to be run.
    pub requires: Vec<Feature>,
    /// What exists at the start, as the calls that make it.
    pub initial: Vec<Event>,
    /// What is in force after `initial`.
    pub intent: Intent,
    /// In order.
    pub steps: Vec<Step>,
    /// What must turn it red, each by itself.
    pub faults: Vec<Fault>,
    /// What is missing for its readers.
    pub warnings: Vec<Note>,
}

impl Scenario {
    /// What is in force after so many steps; what the API refuses changes nothing.
    pub fn intent_after(&self, steps: usize) -> Intent {
        let operations = self.steps.iter().take(steps).flat_map(|step| &step.operations);
        operations.fold(self.intent.clone(), |intent, operation| operation.apply(&intent).unwrap_or(intent))
    }
}

/// A step: at most one change, then checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Counted from 1.
    pub number: usize,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its line in the file, from 1.
    pub line: usize,
    /// The operation, or those of `together`. All calls are made, in order, before any host hears of them.
    pub operations: Vec<Operation>,
    /// How hosts hear of the change, where it is said; else merged.
    pub hearings: BTreeMap<HostName, Hearing>,
    /// What the file says of both, as the author would write it in one line: `notify: { cmp1: lost }`.
    pub modifiers: Vec<String>,
    /// An agent dies inside the change.
    pub crash: Option<Crash>,
    /// How often the whole step is done.
    pub times: u32,
    /// Packets made to order, after the change.
    pub exchanges: Vec<Exchange>,
    /// What kind of translator must stand before an instance.
    pub profile: Option<Profile>,
    /// Flows that run through the change.
    pub during: Vec<During>,
    /// What must be seen afterwards.
    pub expectations: Vec<Expectation>,
    /// How long that may take to become true.
    pub within: Option<Duration>,
}

impl Step {
    /// The name, else the number.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.number.to_string())
    }
}

/// An operation of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The calls that it makes, in order. One with `refused` ends with the call that is refused.
    pub events: Vec<Event>,
    /// As the author would write it in one line: `associate: { floating_ip: 203.0.113.101, instance: vm1 }`.
    pub text: String,
    /// The API must refuse it with this error.
    pub refused: Option<RejectedKind>,
    /// What is done besides, of which the API knows nothing.
    pub deed: Option<Deed>,
}

impl Operation {
    /// What is in force after it.
    ///
    /// # Errors
    /// [`Rejected`] if the API refuses one of its calls; then none of them counts.
    pub fn apply(&self, intent: &Intent) -> Result<Intent, Rejected> {
        self.events.iter().try_fold(intent.clone(), |intent, event| intent.apply(event))
    }
}

/// Reads and checks a file. Everything that is wrong is in the notes, in order of place; with errors there are notes only.
///
/// # Errors
/// The notes, errors first.
pub fn parse(path: &str, text: &str) -> Result<Scenario, Vec<Note>> {
    let mut notes = note::Notes::default();
    let story = header::read(text, &mut notes);
    let Some(root) = yaml::read(text, &mut notes) else {
        return Err(notes.split(text).0);
    };
    shape::check(&root, &language::Type::Map(&language::FILE), &mut notes);
    let mut builder = build::Builder::new(text, notes);
    let initial = builder.initial(&root);
    let intent = builder.world.intent.clone();
    let steps = builder.steps(&root);
    let faults = fault::read(&root, &steps, text, &builder.world, &mut builder.notes);
    let (mut errors, warnings) = builder.notes.split(text);
    if !errors.is_empty() {
        errors.extend(warnings);
        return Err(errors);
    }
    let tags = root.get("tags").map(yaml::Node::items).unwrap_or_default();
    let tags = tags.iter().filter_map(yaml::Node::text).map(str::to_owned).collect();
    let requires = machine::requires(&root);
    let (name, path) = (name_of(path), path.to_owned());
    Ok(Scenario { name, path, story, tags, requires, initial, intent, steps, faults, warnings })
}

/// The path below the last directory called `scenarios`, else the file's own name; without `.yaml`.
fn name_of(path: &str) -> String {
    let stem = path.strip_suffix(".yaml").or_else(|| path.strip_suffix(".yml")).unwrap_or(path);
    let parts: Vec<&str> = stem.split('/').collect();
    let below = parts.iter().rposition(|part| *part == "scenarios").map_or(parts.len().saturating_sub(1), |at| at + 1);
    parts.get(below..).unwrap_or_default().join("/")
}

/// Protocol number and port of every TCP and UDP flow that the file names, where port forwardings lead to, and tcp/80 and udp/9000: what nodes listen on.
pub fn ports_named(scenario: &Scenario) -> BTreeSet<(u8, u16)> {
    let port = |protocol: Protocol| match protocol {
        Protocol::Tcp(port) => Some((values::TCP, port)),
        Protocol::Udp(port) => Some((values::UDP, port)),
        Protocol::Icmp | Protocol::Arp => None,
    };
    let expectations = scenario.steps.iter().flat_map(|step| &step.expectations);
    let named = expectations.filter_map(|expectation| match &expectation.what {
        Expected::Flow(flow) => flow.protocol,
        Expected::State(_)
        | Expected::Course(_)
        | Expected::Watch(_)
        | Expected::Status(_)
        | Expected::Announced(_)
        | Expected::Frames(_) => None,
    });
    let events = scenario.steps.iter().flat_map(|step| step.operations.iter().flat_map(|operation| &operation.events));
    let forwarded = scenario.initial.iter().chain(events).filter_map(|event| {
        let Event::PortForwardingsSet { forwardings, .. } = event else { return None };
        Some(forwardings)
    });
    let inside = forwarded.flatten().map(|forwarding| (forwarding.protocol, forwarding.internal_port));
    let sentences = || scenario.steps.iter().flat_map(|step| &step.during).filter_map(|during| during.runs.flow());
    let deeds =
        || scenario.steps.iter().flat_map(|step| &step.operations).filter_map(|operation| operation.deed.as_ref());
    let running = || sentences().chain(deeds().filter_map(Deed::opened));
    let ports = running().filter_map(|flow| flow.protocol);
    // A sender's kernel must not see what comes back to a port that a sentence chose, either.
    let own = running().filter_map(|flow| match flow.protocol? {
        Protocol::Tcp(_) => Some((values::TCP, flow.options.source_port?)),
        Protocol::Udp(_) => Some((values::UDP, flow.options.source_port?)),
        Protocol::Icmp | Protocol::Arp => None,
    });
    named.chain(Protocol::MATRIX).chain(ports).filter_map(port).chain(inside).chain(own).collect()
}
