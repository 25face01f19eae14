//! What a record tells of a scenario besides what happened: for drawings, and for whoever reads a report.
//!
//! In: a scenario, what is in force. Out: values of the record. Never: the lab.

use std::collections::BTreeMap;

use crate::api::Intent;
use crate::deviation::Deviation;
use crate::name::{DeviceName, HostName};
use crate::namespace::{self, Attach, DesiredError, HostState, NamespaceState};
use crate::record::{Leg, Scene, Story};
use crate::router;
use crate::scenario::Scenario;
use crate::topology::Topology;

/// What would stand after so many steps, were the lab built from nothing: for a drawing that needs no lab.
///
/// # Errors
/// [`DesiredError`] if a host's configuration cannot be built.
pub fn planned_scene(scenario: &Scenario, steps: usize) -> Result<Scene, DesiredError> {
    let intent = scenario.intent_after(steps);
    let mut states = BTreeMap::new();
    for host in &intent.host_order {
        let state = namespace::desired(&router::host_config(&intent, host), &HostState::default())?;
        states.insert(host.clone(), state);
    }
    Ok(scene(&intent, &router::topology(&intent), &states))
}

/// Hosts, machines and routers' devices, with what they are plugged into.
pub(super) fn scene(intent: &Intent, topology: &Topology, states: &BTreeMap<HostName, HostState>) -> Scene {
    let hosts =
        intent.host_order.iter().filter_map(|name| Some((name.to_string(), intent.hosts.get(name)?.mode.name())));
    let namespaces = states.iter().flat_map(|(host, state)| {
        state.namespaces.iter().map(move |(name, content)| (format!("{host}/{name}"), legs(content)))
    });
    Scene::new(topology, hosts, namespaces.collect())
}

fn legs(content: &NamespaceState) -> BTreeMap<String, Leg> {
    let leg = |device: &DeviceName, attach: &Attach| {
        let addresses = content.addresses.iter().filter(|address| address.device == *device);
        let (network, peer) = match attach {
            Attach::Network(network) => (Some(network.to_string()), None),
            Attach::Peer { namespace, .. } => (None, Some(namespace.to_string())),
            Attach::Foreign => (None, None),
        };
        Leg { addresses: addresses.map(|address| address.net.to_string()).collect(), network, peer }
    };
    content.links.iter().map(|(device, link)| (device.to_string(), leg(device, &link.attach))).collect()
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
