//! The machines that send and answer probes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::flow::Place;
use crate::name::{DeviceName, Name};
use crate::net::{Family, IpNet, Mac};
use crate::topology::{NodeTopology, Topology};

/// The nodes of a lab, and who owns which MAC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodes {
    nodes: BTreeMap<Name, Node>,
    owners: BTreeMap<Mac, BTreeSet<Place>>,
}

/// A machine that probes and answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it is tapped: its name, without a host.
    pub place: Place,
    /// Its devices: `eth0`, `eth1` ...
    pub ports: Vec<Port>,
    /// More addresses and prefixes that are its own.
    pub also: Vec<IpNet>,
    /// The harness answers in its place; else its own kernel answers or refuses what is for itself.
    pub answers: bool,
    /// Protocol number and port that its kernel is to refuse.
    pub closed: BTreeSet<(u8, u16)>,
}

/// A device of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub device: DeviceName,
    /// Its MAC.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// The longest IP packet it sends, in bytes.
    pub mtu: u32,
}

impl Nodes {
    /// The nodes of a topology; device `n` of a node is `ethN`.
    pub fn of(topology: &Topology) -> Self {
        let mut all = Self::default();
        for (name, node) in &topology.nodes {
            let node = Node::of(name, node);
            for port in &node.ports {
                all.own(port.mac, node.place.clone());
            }
            all.nodes.insert(name.clone(), node);
        }
        all
    }

    /// Notes that a device with this MAC is there. Several places may have the same: distributed router ports do.
    pub fn own(&mut self, mac: Mac, place: Place) {
        self.owners.entry(mac).or_default().insert(place);
    }

    /// A node.
    pub fn get(&self, name: &Name) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// The node at a place, unless it is a namespace of a host.
    pub fn at(&self, place: &Place) -> Option<&Node> {
        if place.host.is_some() { None } else { self.nodes.get(place.name.as_str()) }
    }

    /// All nodes, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Node)> {
        self.nodes.iter()
    }

    /// Where a device with this MAC is, the first in order if in several places; nothing if there is none any more.
    pub(super) fn owner(&self, mac: Mac) -> Option<&Place> {
        self.owners.get(&mac)?.first()
    }
}

impl Node {
    fn of(name: &Name, topology: &NodeTopology) -> Self {
        let ports = topology.ports.iter().enumerate();
        let port = |(number, port): (usize, &crate::topology::NodePort)| Port {
            device: DeviceName::cut("eth", &number.to_string()),
            mac: port.mac,
            addresses: port.addresses.clone(),
            mtu: port.mtu,
        };
        Self {
            place: Place { host: None, name: name.to_string() },
            ports: ports.map(port).collect(),
            also: topology.also.clone(),
            answers: topology.answers,
            closed: topology.closed.clone(),
        }
    }

    /// Whether the harness answers in its place at a port, given with its protocol's number.
    pub(super) fn answers(&self, protocol: u8, port: u16) -> bool {
        self.answers && !self.closed.contains(&(protocol, port))
    }

    /// Whether the address is one of its own.
    pub fn owns(&self, address: IpAddr) -> bool {
        let on_port = |port: &Port| port.addresses.iter().any(|net| net.addr() == address);
        self.ports.iter().any(on_port) || self.also.iter().any(|net| net.contains(&address))
    }

    /// The address it sends from unless told otherwise.
    pub fn first_address(&self, family: Family) -> Option<IpAddr> {
        let mut all = self.ports.iter().flat_map(|port| &port.addresses).map(IpNet::addr);
        all.find(|address| Family::of(*address) == family)
    }

    /// A device of its.
    pub(super) fn port(&self, device: &DeviceName) -> Option<&Port> {
        self.ports.iter().find(|port| port.device == *device)
    }

    /// The device by which it asks for an address on the link: the one with its subnet, else the first of the family, and
    /// the address it asks from.
    pub(super) fn link_to(&self, address: IpAddr) -> Option<(&Port, IpAddr)> {
        let nets = || self.ports.iter().flat_map(|port| port.addresses.iter().map(move |net| (port, net)));
        nets()
            .find(|(_, net)| net.contains(&address))
            .or_else(|| nets().find(|(_, net)| Family::of(net.addr()) == Family::of(address)))
            .map(|(port, net)| (port, net.addr()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_asks_where_the_subnet_is_and_answers_what_is_its_own() {
        let port = |device: &str, net: &str| Port {
            device: DeviceName::new(device).unwrap(),
            mac: Mac::ZERO,
            addresses: vec![net.parse().unwrap()],
            mtu: 1500,
        };
        let node = Node {
            place: Place { host: None, name: "gw".to_owned() },
            ports: vec![port("eth0", "203.0.113.1/24"), port("eth1", "198.51.100.1/24")],
            also: vec!["192.0.2.0/24".parse().unwrap()],
            answers: false,
            closed: BTreeSet::new(),
        };
        let instance = Node { answers: true, closed: BTreeSet::from([(6, 9)]), ..node.clone() };
        assert!(instance.answers(17, 9) && !instance.answers(6, 9) && !node.answers(17, 9));
        let asks = |address: &str| {
            node.link_to(address.parse().unwrap()).map(|(port, from)| format!("{} {from}", port.device))
        };
        assert_eq!(asks("198.51.100.7").as_deref(), Some("eth1 198.51.100.1"));
        assert_eq!(asks("10.9.9.9").as_deref(), Some("eth0 203.0.113.1"));
        assert_eq!(asks("2001:db8::1"), None);
        assert!(node.owns("192.0.2.77".parse().unwrap()) && node.owns("198.51.100.1".parse().unwrap()));
        assert!(!node.owns("198.51.100.7".parse().unwrap()));
    }
}
