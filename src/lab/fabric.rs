//! What has been made so far: namespaces and device indexes of everything that is no router, each with the part of the
//! topology that it was made for.
//!
//! In: what the making functions return. Out: look-ups. Never: a request to the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::rc::Rc;

use crate::kernel::nft::NetdevChain;
use crate::kernel::watch::WatchPost;
use crate::kernel::{NO_GROUP, Netns, Plug};
use crate::name::{HostName, Id, Name};
use crate::net::Mac;
use crate::topology::{NodeAttach, NodeTopology};

/// Everything that is no router.
#[derive(Default)]
pub(super) struct Fabric {
    /// The bridge that joins the hosts.
    pub(super) underlay: Option<Plug>,
    /// The rules that cut the underlay, as they stand.
    pub(super) cuts: Vec<NetdevChain>,
    /// Hosts.
    pub(super) hosts: BTreeMap<HostName, Host>,
    /// Provider segments.
    pub(super) segments: BTreeMap<Id, Segment>,
    /// Instances and machines outside.
    pub(super) nodes: BTreeMap<Name, Node>,
}

/// A host's own namespace.
pub(super) struct Host {
    pub(super) netns: Rc<Netns>,
    /// Its address on the underlay.
    pub(super) address: Ipv4Addr,
    /// Index of `eth0`.
    pub(super) eth0: u32,
    /// MTU of `eth0`.
    pub(super) mtu: u32,
    /// Index of the other end of `eth0`, on the underlay.
    pub(super) port: u32,
    /// Tenant networks that have a bridge here.
    pub(super) networks: BTreeMap<Id, Network>,
    /// Those that nothing is plugged into any more. They are kept as long as the host: the kernel waits long when it removes a
    /// bridge (`rcu_barrier` in `br_multicast_dev_del`) or the last tunnel (`synchronize_rcu` in `udp_tunnel_sock_release`).
    pub(super) idle: BTreeMap<Id, Network>,
    /// The layer-2 rules as they stand.
    pub(super) rules: Vec<NetdevChain>,
}

/// A tenant network on a host.
pub(super) struct Network {
    pub(super) vni: u32,
    pub(super) mtu: u32,
    pub(super) bridge: u32,
    pub(super) tunnel: Option<Tunnel>,
}

impl Network {
    /// Indexes of its devices on the host.
    pub(super) fn devices(&self) -> impl Iterator<Item = u32> + use<> {
        self.tunnel.as_ref().map(|tunnel| tunnel.index).into_iter().chain([self.bridge])
    }
}

/// A VXLAN port and its forwarding entries as they stand.
pub(super) struct Tunnel {
    pub(super) index: u32,
    /// MACs behind other hosts.
    pub(super) remote: BTreeMap<Mac, Ipv4Addr>,
    /// Where broadcasts go.
    pub(super) flood: BTreeSet<Ipv4Addr>,
}

/// A provider segment.
pub(super) struct Segment {
    pub(super) plug: Plug,
    pub(super) mtu: u32,
    /// What counts and captures the frames of hosts on it.
    pub(super) watch: WatchPost,
}

/// A machine.
pub(super) struct Node {
    pub(super) netns: Rc<Netns>,
    pub(super) topology: NodeTopology,
    /// By their place in `topology.ports`.
    pub(super) ports: BTreeMap<usize, Port>,
    /// The rules that hide ports, as they stand.
    pub(super) rules: Vec<NetdevChain>,
}

/// A device of a machine.
#[derive(Clone)]
pub(super) struct Port {
    pub(super) index: u32,
    /// Where its other end is.
    pub(super) far: Rc<Netns>,
    /// The other end's index there.
    pub(super) far_index: u32,
}

impl Fabric {
    /// What a node's device is plugged into, but for cables.
    pub(super) fn bridge(&self, attach: &NodeAttach) -> Option<Plug> {
        match attach {
            NodeAttach::Tenant(host, network) => self.hosts.get(host)?.plug(network),
            NodeAttach::Segment(segment) => Some(self.segments.get(segment)?.plug.clone()),
            NodeAttach::Node(_, _) => None,
        }
    }

    /// Every namespace, by the name that messages give it.
    pub(super) fn namespaces(&self) -> Vec<(String, Rc<Netns>)> {
        let underlay = self.underlay.iter().map(|plug| ("underlay".to_owned(), Rc::clone(&plug.netns)));
        let hosts = self.hosts.iter().map(|(name, host)| (name.to_string(), Rc::clone(&host.netns)));
        let nodes = self.nodes.iter().map(|(name, node)| (name.to_string(), Rc::clone(&node.netns)));
        underlay.chain(hosts).chain(self.segments()).chain(nodes).collect()
    }

    /// Those of the provider segments.
    pub(super) fn segments(&self) -> impl Iterator<Item = (String, Rc<Netns>)> {
        self.segments.iter().map(|(id, segment)| (format!("seg-{id}"), Rc::clone(&segment.plug.netns)))
    }

    /// What a router's device on `network` is plugged into: the host's bridge, else the provider segment.
    pub(super) fn plug(&self, host: &HostName, network: &Id) -> Option<Plug> {
        let tenant = self.hosts.get(host).and_then(|host| host.plug(network));
        tenant.or_else(|| {
            let plug = self.segments.get(network)?.plug.clone();
            let group = self.hosts.get(host).map_or(NO_GROUP, Host::group);
            Some(Plug { group, ..plug })
        })
    }
}

impl Host {
    /// The device group of its ports on provider segments: a number that no other host has.
    pub(super) fn group(&self) -> u32 {
        self.eth0
    }

    fn plug(&self, network: &Id) -> Option<Plug> {
        let bridge = self.networks.get(network)?.bridge;
        Some(Plug { netns: Rc::clone(&self.netns), bridge, group: NO_GROUP })
    }
}

impl Node {
    /// Whether it has an IPv6 address.
    pub(super) fn speaks_v6(&self) -> bool {
        self.topology.ports.iter().flat_map(|port| &port.addresses).any(|net| net.addr().is_ipv6())
    }
}
