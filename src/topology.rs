//! What the lab consists of besides routers: hosts with their layer 2, provider segments, instances and the outside.
//!
//! A value derived from the Intent; [`crate::lab`] makes the kernel look like it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use crate::name::{HostName, Id, Name};
use crate::net::{IpNet, Mac};

/// MTU of the underlay in bytes: an Ethernet frame of 1500 bytes and a VXLAN header fit.
pub const UNDERLAY_MTU: u32 = 1600;

/// The whole lab.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// Hosts on the underlay.
    pub hosts: BTreeMap<HostName, HostTopology>,
    /// Segments outside with their MTU: the provider segment of each external network, and `lan_NETWORK` for the servers
    /// behind its upstream router, where there are any.
    pub segments: BTreeMap<Id, u32>,
    /// Instances and machines outside, each a namespace with a kernel stack.
    pub nodes: BTreeMap<Name, NodeTopology>,
    /// Pairs of hosts between which the underlay carries nothing, the lesser first.
    pub cuts: BTreeSet<(HostName, HostName)>,
}

/// A host's layer 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTopology {
    /// Its address on the underlay, where its VXLAN tunnels end.
    pub underlay: Ipv4Addr,
    /// MTU of its device on the underlay, in bytes.
    pub mtu: u32,
    /// The source MAC that other hosts see instead of a router port's.
    pub dvr_mac: Mac,
    /// Tenant networks with a port on this host.
    pub networks: BTreeMap<Id, NetworkTopology>,
}

/// A tenant network on one host: a bridge, and a VXLAN port if other hosts have it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkTopology {
    /// VXLAN network identifier.
    pub vni: u32,
    /// In bytes.
    pub mtu: u32,
    /// The distributed router ports on it: MAC and addresses. The same on every host.
    pub router_ports: BTreeMap<Mac, BTreeSet<IpAddr>>,
    /// Ports of this host, instances' and SNAT ports', with the MAC of the router port that is their gateway: frames
    /// from another host's DVR MAC to them get that source.
    pub local_ports: BTreeMap<Mac, Option<Mac>>,
    /// Ports on other hosts (layer-2 population): MAC to the host.
    pub remote_ports: BTreeMap<Mac, HostName>,
    /// Other hosts that have the network: where broadcasts go.
    pub peers: BTreeSet<HostName>,
}

/// A machine that is no router of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTopology {
    /// Its devices, `eth0` first.
    pub ports: Vec<NodePort>,
    /// It routes (an upstream router, an instance with others behind it).
    pub forwards: bool,
    /// The harness answers probes in its place; else its own kernel answers or refuses what is for itself.
    pub answers: bool,
    /// Default gateway and further routes: destination and next hop.
    pub routes: Vec<(IpNet, IpAddr)>,
    /// More addresses and prefixes that its kernel owns.
    pub also: Vec<IpNet>,
    /// Probes to these ports (protocol number and port) its kernel refuses.
    pub closed: BTreeSet<(u8, u16)>,
    /// Ports besides the matrix's at which probes will come (protocol number and port): hidden from its kernel, which
    /// would refuse them.
    pub listen: BTreeSet<(u8, u16)>,
}

/// A device of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePort {
    /// What it is plugged into.
    pub attach: NodeAttach,
    /// MAC.
    pub mac: Mac,
    /// In bytes.
    pub mtu: u32,
    /// Addresses with prefix length.
    pub addresses: Vec<IpNet>,
    /// It carries packets; else it is there, but nothing comes or goes.
    pub up: bool,
    /// Prefixes on this link that none of the addresses lies in.
    pub on_link: Vec<IpNet>,
}

/// What a node's device is plugged into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeAttach {
    /// A tenant network on a host.
    Tenant(HostName, Id),
    /// A provider segment.
    Segment(Id),
    /// A cable to another node: that node and the index of its device.
    Node(Name, usize),
}

impl Topology {
    /// This topology with what of `before` must stay until routers have left it: networks and segments they are plugged into.
    #[must_use]
    pub fn while_leaving(&self, before: &Self) -> Self {
        self.keeping(before, &before.hosts.keys().cloned().collect())
    }

    /// This topology with what of `before` these hosts' routers may be plugged into.
    #[must_use]
    pub fn keeping(&self, before: &Self, hosts: &BTreeSet<HostName>) -> Self {
        let mut both = self.clone();
        let segments = before.segments.iter().filter(|_| !hosts.is_empty());
        for (segment, mtu) in segments {
            both.segments.entry(segment.clone()).or_insert(*mtu);
        }
        for (host, old) in before.hosts.iter().filter(|(host, _)| hosts.contains(*host)) {
            let Some(new) = both.hosts.get_mut(host) else { continue };
            for (network, content) in &old.networks {
                new.networks.entry(network.clone()).or_insert_with(|| content.clone());
            }
        }
        both
    }
}

/// A segment as a whole, to look at the frames on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// A network: its provider segment, or its bridges on all hosts.
    Network(Id),
    /// What joins the hosts: frames of tenant networks in their tunnels.
    Underlay,
}
