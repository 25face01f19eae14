//! What of the lab is switched off: hosts, links, the underlay between hosts.
//!
//! In: operations. Out: the topology without what is off. Never: a word to anybody; the API knows nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::Intent;
use crate::name::{HostName, Id, Name};
use crate::scenario::LinkSetting;
use crate::topology::{NodeAttach, Topology};

/// All that is off or not as the API has it.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Hosts without power.
    off: BTreeSet<HostName>,
    /// Hosts that are not on the underlay.
    unplugged: BTreeSet<HostName>,
    /// MTUs of hosts' devices on the underlay that were set.
    uplinks: BTreeMap<HostName, u32>,
    /// Pairs of hosts between which the underlay is cut, the lesser first.
    cuts: BTreeSet<(HostName, HostName)>,
    /// Devices of machines, by machine and network; without a network the only one.
    devices: BTreeMap<(Name, Option<Id>), LinkSetting>,
}

impl Links {
    /// Switches a host on or off.
    pub(super) fn power(&mut self, host: &HostName, on: bool) {
        if on {
            self.off.remove(host);
        } else {
            self.off.insert(host.clone());
        }
    }

    /// Whether a host is off.
    pub(super) fn is_off(&self, host: &HostName) -> bool {
        self.off.contains(host)
    }

    /// Of hosts that are gone nothing is off any more.
    pub(super) fn retain(&mut self, intent: &Intent) {
        let there = |host: &HostName| intent.hosts.contains_key(host);
        self.off.retain(there);
        self.unplugged.retain(there);
        self.uplinks.retain(|host, _| there(host));
        self.cuts.retain(|(one, other)| there(one) && there(other));
    }

    /// Plugs a host into the underlay or out of it, or sets the MTU of its device there; what is not said stays.
    pub(super) fn uplink(&mut self, host: &HostName, setting: LinkSetting) {
        match setting.up {
            Some(true) => drop(self.unplugged.remove(host)),
            Some(false) => drop(self.unplugged.insert(host.clone())),
            None => {}
        }
        self.uplinks.extend(setting.mtu.map(|mtu| (host.clone(), mtu)));
    }

    /// Sets a device of a machine; what is not said stays.
    pub(super) fn set(&mut self, node: &Name, to: Option<&Id>, setting: LinkSetting) {
        let entry = self.devices.entry((node.clone(), to.cloned())).or_default();
        entry.up = setting.up.or(entry.up);
        entry.mtu = setting.mtu.or(entry.mtu);
    }

    /// Cuts the underlay between groups of hosts.
    pub(super) fn partition(&mut self, groups: &[Vec<HostName>]) {
        for (number, group) in groups.iter().enumerate() {
            for other in groups.iter().skip(number + 1).flatten() {
                self.cuts.extend(group.iter().map(|host| pair(host, other)));
            }
        }
    }

    /// Ends all partitions.
    pub(super) fn heal(&mut self) {
        self.cuts.clear();
    }

    /// Takes what is off out of a topology.
    pub(super) fn adjust(&self, topology: &mut Topology) {
        topology.hosts.retain(|host, _| !self.off.contains(host));
        topology.nodes.retain(|_, node| {
            !node
                .ports
                .iter()
                .any(|port| matches!(&port.attach, NodeAttach::Tenant(host, _) if self.off.contains(host)))
        });
        let there: BTreeSet<Name> = topology.nodes.keys().cloned().collect();
        topology.nodes.retain(|_, node| {
            !node.ports.iter().any(|port| matches!(&port.attach, NodeAttach::Node(far, _) if !there.contains(far)))
        });
        for (name, host) in &mut topology.hosts {
            host.mtu = self.uplinks.get(name).copied().unwrap_or(host.mtu);
        }
        for network in topology.hosts.values_mut().flat_map(|host| host.networks.values_mut()) {
            network.peers.retain(|peer| !self.off.contains(peer));
            network.remote_ports.retain(|_, host| !self.off.contains(host));
        }
        for ((name, network), setting) in &self.devices {
            let ports = topology.nodes.get_mut(name).into_iter().flat_map(|node| &mut node.ports);
            let meant = ports.filter(|port| match (&port.attach, network) {
                (_, None) => true,
                (NodeAttach::Tenant(_, on) | NodeAttach::Segment(on), Some(network)) => on == network,
                (NodeAttach::Node(..), Some(_)) => false,
            });
            for port in meant {
                port.up = port.up && setting.up.unwrap_or(true);
                port.mtu = setting.mtu.unwrap_or(port.mtu);
            }
        }
        self.narrow(topology);
        topology.cuts.clone_from(&self.cuts);
        let hosts: Vec<&HostName> = topology.hosts.keys().collect();
        for host in &self.unplugged {
            topology.cuts.extend(hosts.iter().filter(|other| **other != host).map(|other| pair(host, other)));
        }
    }

    /// Where a machine behind a router, or behind an instance, has a narrow link, the other end is as narrow: it has to tell who
    /// sends.
    fn narrow(&self, topology: &mut Topology) {
        let behind = self.devices.iter().filter(|((_, network), _)| network.is_none());
        for ((name, _), setting) in behind {
            let Some(mtu) = setting.mtu else { continue };
            let lans: Vec<NodeAttach> = topology
                .nodes
                .get(name)
                .into_iter()
                .flat_map(|node| &node.ports)
                .map(|port| port.attach.clone())
                .collect();
            let far_end = |attach: &NodeAttach| matches!(attach, NodeAttach::Node(far, _) if far == name);
            let routers = topology.nodes.values_mut().filter(|node| node.forwards);
            let ends = routers.flat_map(|node| &mut node.ports);
            for port in ends.filter(|port| lans.contains(&port.attach) || far_end(&port.attach)) {
                port.mtu = port.mtu.min(mtu);
            }
        }
    }
}

fn pair(one: &HostName, other: &HostName) -> (HostName, HostName) {
    if one < other { (one.clone(), other.clone()) } else { (other.clone(), one.clone()) }
}
