//! Ports of a machine that belong to the probes: its kernel must not see what comes to them, or it would refuse it. Packet
//! sockets see frames before these rules do.
//!
//! In: a node's topology. Out: an nftables chain for each of its devices. Never: a rule on a port that the node closes.

use std::collections::BTreeSet;

use super::node;
use crate::flow::Protocol;
use crate::kernel::nft::{FrameAction, FrameMatch, NetdevChain, NetdevHook, NetdevRule};
use crate::net::{IpNet, PortRange, host_net};
use crate::topology::NodeTopology;

/// Name of the table in each node's namespace.
pub(super) const TABLE: &str = "dvrlab-ports";
/// Source ports of probes, where their answers come to.
pub(super) const PROBES: PortRange = PortRange { first: 20_000, last: 29_999 };
/// Before every other chain of the device.
const PRIORITY: i32 = -500;
/// Protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// One chain a device.
pub(super) fn chains(topology: &NodeTopology) -> Vec<NetdevChain> {
    if !topology.answers {
        return Vec::new();
    }
    let rules = rules(topology);
    let devices = (0..topology.ports.len()).map(node::device);
    let chain = |device: crate::name::DeviceName| NetdevChain {
        name: device.to_string(),
        device,
        hook: NetdevHook::Ingress,
        priority: PRIORITY,
        rules: rules.clone(),
    };
    devices.map(chain).collect()
}

fn rules(topology: &NodeTopology) -> Vec<NetdevRule> {
    let matrix = Protocol::MATRIX.into_iter().filter_map(|protocol| match protocol {
        Protocol::Tcp(port) => Some((TCP, port)),
        Protocol::Udp(port) => Some((UDP, port)),
        Protocol::Icmp | Protocol::Arp => None,
    });
    let listened: BTreeSet<(u8, u16)> = matrix.chain(topology.listen.iter().copied()).collect();
    let open = listened
        .difference(&topology.closed)
        .map(|(protocol, port)| (*protocol, PortRange { first: *port, last: *port }));
    let hide =
        |(protocol, range)| NetdevRule::does([FrameAction::Drop]).when(FrameMatch::DestinationPort(protocol, range));
    let hidden = open.chain([(TCP, PROBES), (UDP, PROBES)]).map(hide);
    if !topology.forwards {
        return hidden.collect();
    }
    // What it forwards is not its to hide.
    let on_ports = topology.ports.iter().flat_map(|port| &port.addresses).map(|net| host_net(net.addr()));
    let own: Vec<IpNet> = on_ports.chain(topology.also.iter().copied()).collect();
    hidden.flat_map(|rule| own.iter().map(move |net| rule.clone().when(FrameMatch::DestinationNet(*net)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Id;
    use crate::net::Mac;
    use crate::topology::{NodeAttach, NodePort};

    #[test]
    fn what_is_forwarded_is_not_hidden() {
        let port = NodePort {
            attach: NodeAttach::Segment(Id::new("any").unwrap()),
            mac: Mac::ZERO,
            mtu: 1500,
            addresses: vec!["10.0.1.11/24".parse().unwrap()],
            up: true,
            on_link: Vec::new(),
        };
        let topology = NodeTopology {
            ports: vec![port],
            forwards: true,
            answers: true,
            routes: Vec::new(),
            also: vec!["192.0.2.0/24".parse().unwrap()],
            closed: BTreeSet::new(),
            listen: BTreeSet::new(),
        };
        let own = ["10.0.1.11/32", "192.0.2.0/24"].map(|net| FrameMatch::DestinationNet(net.parse().unwrap()));
        for pair in rules(&topology).chunks(2) {
            let nets: Vec<_> = pair.iter().filter_map(|rule| rule.matches.get(1).cloned()).collect();
            assert_eq!(nets, own);
        }
        assert!(chains(&NodeTopology { answers: false, ..topology }).is_empty());
    }

    #[test]
    fn closed_ports_stay_the_kernels() {
        let topology = NodeTopology {
            ports: Vec::new(),
            forwards: false,
            answers: true,
            routes: Vec::new(),
            also: Vec::new(),
            closed: BTreeSet::from([(TCP, 80), (TCP, 443)]),
            listen: BTreeSet::from([(TCP, 443), (TCP, 8080)]),
        };
        let hidden: Vec<_> = rules(&topology).into_iter().map(|rule| rule.matches).collect();
        let one = |port| PortRange { first: port, last: port };
        assert_eq!(
            hidden,
            [
                [FrameMatch::DestinationPort(TCP, one(8080))],
                [FrameMatch::DestinationPort(UDP, one(9000))],
                [FrameMatch::DestinationPort(TCP, PROBES)],
                [FrameMatch::DestinationPort(UDP, PROBES)],
            ]
        );
    }
}
