//! What is on a drawing, step by step, before anything has a place.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{Machine, Scene};
use crate::report::timeline::{Timeline, timeline};

/// A box: a router namespace (`snat-r1`), or a machine. The host comes first; machines outside have none.
pub(super) type BoxKey = (Option<String>, String);

/// A device of a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    /// `qg-r1`
    pub(super) name: String,
    /// With prefix lengths.
    pub(super) addresses: Vec<String>,
    /// The network, segment or machine.
    pub(super) into: Option<String>,
    /// The namespace in which the other end is.
    pub(super) peer: Option<String>,
    /// It carries nothing.
    pub(super) down: bool,
}

/// Everything, with the steps it is there in.
#[derive(Debug)]
pub(super) struct Model {
    /// Hosts in order of declaration.
    pub(super) hosts: Vec<String>,
    /// The mode that each host's agent runs in.
    pub(super) modes: Timeline<String, String>,
    /// Segments outside, those of servers behind an upstream router first.
    pub(super) segments: Vec<String>,
    /// Tenant networks and the hosts that have them in any step.
    pub(super) networks: BTreeMap<String, BTreeSet<String>>,
    /// Boxes, by what they are: whether a machine, and whether it routes.
    pub(super) boxes: Timeline<BoxKey, Sort>,
    /// Their devices.
    pub(super) devices: Timeline<(BoxKey, String), Device>,
}

/// What a box stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// A namespace of a router.
    Namespace,
    /// An instance, or a server outside.
    Machine,
    /// A machine that routes.
    Upstream,
}

impl Model {
    pub(super) fn new(scenes: &[(usize, &Scene)]) -> Self {
        let mut hosts: Vec<String> = Vec::new();
        let mut segments = BTreeSet::new();
        let mut networks: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (_, scene) in scenes {
            for host in &scene.hosts {
                if !hosts.contains(&host.name) {
                    hosts.push(host.name.clone());
                }
                for network in &host.networks {
                    networks.entry(network.clone()).or_default().insert(host.name.clone());
                }
            }
            segments.extend(scene.segments.iter().cloned());
        }
        let mut segments: Vec<String> = segments.into_iter().collect();
        segments.sort_by_key(|name| !name.starts_with("lan_"));
        let frames = |of: &dyn Fn(&Scene) -> BTreeMap<String, String>| -> Vec<_> {
            scenes.iter().map(|(step, scene)| (*step, of(scene))).collect()
        };
        let modes = frames(&|scene| scene.hosts.iter().map(|host| (host.name.clone(), host.mode.clone())).collect());
        let boxes: Vec<_> = scenes.iter().map(|(step, scene)| (*step, boxes(scene))).collect();
        let devices: Vec<_> = scenes.iter().map(|(step, scene)| (*step, devices(scene))).collect();
        Self {
            hosts,
            modes: timeline(&modes),
            segments,
            networks,
            boxes: timeline(&boxes),
            devices: timeline(&devices),
        }
    }

    /// Marks namespaces as changed in steps that left their devices as they were, but not what else stands there.
    pub(super) fn mark(&mut self, changed: &BTreeMap<String, Vec<usize>>) {
        for (place, steps) in changed {
            for (_, spans) in self.boxes.get_mut(&parted(place)).into_iter().flatten() {
                let missing: Vec<usize> =
                    steps.iter().filter(|step| spans.on.contains(step) && !spans.new.contains(step)).copied().collect();
                spans.new.extend(missing);
            }
        }
    }

    /// The boxes of a host, or those outside, in order.
    pub(super) fn boxes_of(&self, host: Option<&str>) -> impl Iterator<Item = (&BoxKey, Sort)> {
        let mine = self.boxes.iter().filter(move |((of, _), _)| of.as_deref() == host);
        mine.filter_map(|(key, variants)| Some((key, variants.first()?.0)))
    }

    /// The devices of a box, by name: all that a device is in the course of the steps.
    pub(super) fn devices_of<'a>(
        &'a self,
        key: &'a BoxKey,
    ) -> impl Iterator<Item = (&'a str, &'a [(Device, crate::report::timeline::Spans)])> {
        let mine = self.devices.iter().filter(move |((of, _), _)| of == key);
        mine.map(|((_, device), variants)| (device.as_str(), variants.as_slice()))
    }
}

fn key_of(name: &str, machine: &Machine) -> BoxKey {
    (machine.ports.iter().find_map(|port| port.host.clone()), name.to_owned())
}

fn parted(place: &str) -> BoxKey {
    match place.split_once('/') {
        Some((host, namespace)) => (Some(host.to_owned()), namespace.to_owned()),
        None => (None, place.to_owned()),
    }
}

fn boxes(scene: &Scene) -> BTreeMap<BoxKey, Sort> {
    let namespaces = scene.legs.keys().map(|place| (parted(place), Sort::Namespace));
    let machines = scene
        .machines
        .iter()
        .map(|(name, machine)| (key_of(name, machine), if machine.routes { Sort::Upstream } else { Sort::Machine }));
    namespaces.chain(machines).collect()
}

fn devices(scene: &Scene) -> BTreeMap<(BoxKey, String), Device> {
    let legs = scene.legs.iter().flat_map(|(place, legs)| {
        legs.iter().map(|(name, leg)| {
            let device = Device {
                name: name.clone(),
                addresses: leg.addresses.clone(),
                into: leg.network.clone(),
                peer: leg.peer.clone(),
                down: false,
            };
            ((parted(place), name.clone()), device)
        })
    });
    let ports = scene.machines.iter().flat_map(|(machine, content)| {
        content.ports.iter().enumerate().map(|(number, port)| {
            let name = format!("eth{number}");
            let device = Device {
                name: name.clone(),
                addresses: port.addresses.clone(),
                into: Some(port.into.clone()),
                peer: None,
                down: port.down,
            };
            ((key_of(machine, content), name), device)
        })
    });
    legs.chain(ports).collect()
}
