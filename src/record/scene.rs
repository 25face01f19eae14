//! What a lab consists of, as far as a drawing shows it.
//!
//! In: a [`Topology`], what hosts are, what stands in router namespaces. Out: a value of a record. Never: rules, routes.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::topology::{NodeAttach, NodePort, Topology};

/// The scene of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scene {
    /// Hosts in order of declaration.
    pub hosts: Vec<SceneHost>,
    /// Segments outside: of each external network, and `lan_NETWORK` of the servers behind its upstream router.
    pub segments: Vec<String>,
    /// Instances that run, and machines outside.
    pub machines: BTreeMap<String, Machine>,
    /// The devices of each router namespace, `cmp1/qrouter-r1`.
    pub legs: BTreeMap<String, BTreeMap<String, Leg>>,
}

/// A device of a router namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Leg {
    /// With prefix lengths.
    pub addresses: Vec<String>,
    /// The network or segment that it is plugged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The namespace of the same host in which its other end is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SceneHost {
    /// Its name.
    pub name: String,
    /// The mode that its agent runs in.
    pub mode: String,
    /// The tenant networks that it has.
    pub networks: BTreeSet<String>,
}

/// A machine that is no router of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// It routes: an upstream router.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub routes: bool,
    /// Its devices, `eth0` first.
    pub ports: Vec<Plug>,
}

/// A device of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plug {
    /// The host, if it is plugged into a tenant network there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The network, the segment, or the machine at the other end of a cable.
    pub into: String,
    /// With prefix lengths.
    pub addresses: Vec<String>,
    /// It carries nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub down: bool,
}

impl Scene {
    /// What is to be drawn of a topology; `hosts` are names and agent modes in order of declaration.
    pub fn new(
        topology: &Topology,
        hosts: impl Iterator<Item = (String, &'static str)>,
        legs: BTreeMap<String, BTreeMap<String, Leg>>,
    ) -> Self {
        let networks = |name: &str| {
            let found = topology.hosts.iter().find(|(host, _)| host.as_str() == name);
            found.map(|(_, host)| host.networks.keys().map(ToString::to_string).collect()).unwrap_or_default()
        };
        let machines = topology.nodes.iter().map(|(name, node)| {
            (name.to_string(), Machine { routes: node.forwards, ports: node.ports.iter().map(plug).collect() })
        });
        Self {
            hosts: hosts
                .map(|(name, mode)| SceneHost { networks: networks(&name), name, mode: mode.to_owned() })
                .collect(),
            segments: topology.segments.keys().map(ToString::to_string).collect(),
            machines: machines.collect(),
            legs,
        }
    }

    /// Nothing is known of it: a record of an older format.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }
}

fn plug(port: &NodePort) -> Plug {
    let (host, into) = match &port.attach {
        NodeAttach::Tenant(host, network) => (Some(host.to_string()), network.to_string()),
        NodeAttach::Segment(segment) => (None, segment.to_string()),
        NodeAttach::Node(node, _) => (None, node.to_string()),
    };
    Plug { host, into, addresses: port.addresses.iter().map(ToString::to_string).collect(), down: !port.up }
}
