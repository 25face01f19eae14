//! What one agent knows: the routers in force and what it was told of neighbours.
//!
//! In: steps. Out: the host's configuration, and the networks that its devices are plugged into.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::input::{Recording, StepKind};
use crate::api::AgentMode;
use crate::name::Id;
use crate::net::Mac;
use crate::router::{AgentOptions, FixedIp, HostConfig, NeighbourPort, PortConfig, RouterConfig};
use crate::topology::{HostTopology, Topology, UNDERLAY_MTU};

/// MTU of every network's bridge: what limits a frame is the device.
const MTU: u32 = 65_535;
/// An owner whose ports are neighbours.
const INSTANCE: &str = "compute:";

/// An agent's knowledge.
#[derive(Debug, Clone)]
pub struct World<'a> {
    recording: &'a Recording,
    routers: BTreeMap<Id, RouterConfig>,
    /// What notifications said, by router, subnet and address; the last one counts.
    told: BTreeMap<(Id, Id, IpAddr), Option<Mac>>,
    /// Networks that something was plugged into once.
    networks: BTreeSet<Id>,
}

impl<'a> World<'a> {
    /// Of an agent that knows nothing yet.
    pub fn new(recording: &'a Recording) -> Self {
        Self { recording, routers: BTreeMap::new(), told: BTreeMap::new(), networks: BTreeSet::new() }
    }

    /// Takes note of what happens.
    pub fn take(&mut self, kind: &StepKind) {
        match kind {
            StepKind::Router(router) => {
                let router = self.completed(router);
                let lists = [&router.interfaces, &router.snat_interfaces, &router.agent_gateways];
                let ports = lists.into_iter().flatten().chain(&router.gw_port);
                self.networks.extend(ports.map(|port| port.network_id.clone()));
                self.routers.insert(router.id.clone(), router);
            }
            StepKind::Delete(id) => {
                self.routers.remove(id);
                self.told.retain(|(router, _, _), _| router != id);
            }
            StepKind::Arp { router, subnet, address, mac } => {
                // An agent that does not have the router takes no note.
                if self.routers.contains_key(router) {
                    self.told.insert((router.clone(), subnet.clone(), *address), *mac);
                }
            }
            StepKind::Perturb(_) | StepKind::Nothing => {}
        }
    }

    /// With the host's own port on the external network, for which the agent asks if the dict does not have it.
    fn completed(&self, router: &RouterConfig) -> RouterConfig {
        let mut router = router.clone();
        if self.recording.mode != AgentMode::DvrNoExternal
            && let Some(gateway) = &router.gw_port
            && !router.agent_gateways.iter().any(|port| port.network_id == gateway.network_id)
        {
            let asked: Option<&PortConfig> = self.recording.agent_gateway_ports.get(&gateway.network_id);
            router.agent_gateways.extend(asked.cloned());
        }
        router
    }

    /// The agent's options.
    pub fn options(&self) -> AgentOptions {
        self.recording.options
    }

    /// The routers that the agent handles: without a gateway only if it is told to.
    fn handled(&self) -> BTreeMap<Id, RouterConfig> {
        let mut routers = self.routers.clone();
        routers.retain(|_, router| self.recording.options.internal_only || router.gw_port.is_some());
        routers
    }

    /// What the agent has to build.
    pub fn config(&self) -> HostConfig {
        let mut ports_by_subnet = self.recording.ports_by_subnet.clone();
        for ((_, subnet, address), mac) in &self.told {
            let ports = ports_by_subnet.entry(subnet.clone()).or_default();
            for port in ports.iter_mut() {
                port.fixed_ips.retain(|fixed| (&fixed.subnet_id, fixed.ip_address) != (subnet, *address));
            }
            ports.extend(mac.map(|mac| NeighbourPort {
                device_owner: INSTANCE.to_owned(),
                mac,
                fixed_ips: vec![FixedIp { subnet_id: subnet.clone(), ip_address: *address, prefixlen: None }],
            }));
        }
        HostConfig {
            host: self.recording.host.clone(),
            mode: self.recording.mode,
            options: self.recording.options,
            routers: self.handled(),
            ports_by_subnet,
        }
    }

    /// One host, and a segment for each network: nobody else is there.
    pub fn topology(&self) -> Topology {
        let host = HostTopology {
            underlay: Ipv4Addr::new(192, 0, 2, 1),
            mtu: UNDERLAY_MTU,
            dvr_mac: Mac::ZERO,
            networks: BTreeMap::new(),
        };
        Topology {
            hosts: BTreeMap::from([(self.recording.host.clone(), host)]),
            segments: self.networks.iter().map(|network| (network.clone(), MTU)).collect(),
            nodes: BTreeMap::new(),
            ..Topology::default()
        }
    }
}
