//! What a record tells of a scenario besides what happened: for drawings, and for whoever reads a report.
//!
//! In: a scenario, what is in force. Out: values of the record. Never: the lab.

use crate::api::Intent;
use crate::deviation::Deviation;
use crate::record::{Scene, Story};
use crate::scenario::Scenario;
use crate::topology::Topology;

/// Hosts, machines and what they are plugged into.
pub(super) fn scene(intent: &Intent, topology: &Topology) -> Scene {
    let hosts =
        intent.host_order.iter().filter_map(|name| Some((name.to_string(), intent.hosts.get(name)?.mode.name())));
    Scene::new(topology, hosts)
}

/// The header below its first sentence.
pub(super) fn story(scenario: &Scenario) -> Story {
    let story = scenario.story.clone();
    Story { setup: story.setup, change: story.change, seen: story.seen, mirrors: story.mirrors }
}

/// Deviations from the real agent that are switched off.
pub(super) fn deviations_off(scenario: &Scenario) -> Vec<String> {
    let on = scenario.intent.settings.deviations;
    Deviation::ALL.iter().filter(|each| !on.has(**each)).map(|each| each.name().to_owned()).collect()
}
