//! The layer-2 half of a distributed router: what a host's tunnel ports do with frames, so that one gateway MAC works on
//! every host.
//!
//! In: a network as one host has it. Out: nftables chains on its VXLAN port. Never: a rule for traffic that stays on the
//! host, which is plain switching. Reference: `neutron-local-side` section 6; E and I number its tables' rows.

use std::net::IpAddr;

use crate::kernel::nft::{FrameAction, FrameMatch, NetdevChain, NetdevHook, NetdevRule};
use crate::name::DeviceName;
use crate::net::Mac;
use crate::topology::NetworkTopology;

/// Name of the table in each host's own namespace.
pub(super) const TABLE: &str = "dvrlab-l2";
/// EtherType of ARP.
const ARP: u16 = 0x0806;
/// EtherType of IPv6.
const IPV6: u16 = 0x86dd;
/// ICMPv6 types. Source: RFC 4861.
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// The two chains of a tunnel port. `own` is this host's DVR MAC, `others` are the other hosts'.
pub(super) fn chains(device: &DeviceName, network: &NetworkTopology, own: Mac, others: &[Mac]) -> [NetdevChain; 2] {
    let chain = |hook, name: &str, rules| NetdevChain {
        name: format!("{device}-{name}"),
        device: device.clone(),
        hook,
        priority: 0,
        rules,
    };
    [
        chain(NetdevHook::Egress, "out", outgoing(network, own)),
        chain(NetdevHook::Ingress, "in", incoming(network, others)),
    ]
}

/// To the tunnel: nothing for or about a gateway leaves the host, and what its router sends on has the host's MAC.
fn outgoing(network: &NetworkTopology, own: Mac) -> Vec<NetdevRule> {
    let drop = || NetdevRule::does([FrameAction::Drop]);
    let mut rules = Vec::new();
    for (gateway, addresses) in &network.router_ports {
        // E1: the local router is the only one to receive.
        rules.push(drop().when(FrameMatch::Destination(*gateway)));
        // E4: who asks for the gateway is answered here, not by every host.
        rules.extend(addresses.iter().map(|address| {
            match address {
                IpAddr::V4(target) => {
                    drop().when(FrameMatch::Group).when(FrameMatch::EtherType(ARP)).when(FrameMatch::ArpTarget(*target))
                }
                IpAddr::V6(target) => drop()
                    .when(FrameMatch::Group)
                    .when(FrameMatch::EtherType(IPV6))
                    .when(FrameMatch::Icmpv6Type(NEIGHBOUR_SOLICITATION))
                    .when(FrameMatch::NeighbourTarget(*target)),
            }
        }));
        // E5, as it is meant: before E2 takes the source MAC away.
        rules.extend([ROUTER_ADVERTISEMENT, NEIGHBOUR_ADVERTISEMENT].map(|kind| {
            drop()
                .when(FrameMatch::Source(*gateway))
                .when(FrameMatch::Group)
                .when(FrameMatch::EtherType(IPV6))
                .when(FrameMatch::Icmpv6Type(kind))
        }));
    }
    // E2: the fabric must not learn a gateway's MAC at many places.
    let rewrite = |gateway: &Mac| NetdevRule::does([FrameAction::SetSource(own)]).when(FrameMatch::Source(*gateway));
    rules.extend(network.router_ports.keys().map(rewrite));
    rules
}

/// From the tunnel: what another host's router sends on comes from the gateway again, and nothing else of it comes in.
fn incoming(network: &NetworkTopology, others: &[Mac]) -> Vec<NetdevRule> {
    let mut rules = Vec::new();
    for other in others {
        // I5: the new source is chosen by the receiver, since a network may have several gateways.
        let served = network.local_ports.iter().filter_map(|(port, gateway)| gateway.map(|gateway| (port, gateway)));
        rules.extend(served.map(|(port, gateway)| {
            NetdevRule::does([FrameAction::SetSource(gateway), FrameAction::Accept])
                .when(FrameMatch::Source(*other))
                .when(FrameMatch::Destination(*port))
        }));
        // I6: its broadcasts above all.
        rules.push(NetdevRule::does([FrameAction::Drop]).when(FrameMatch::Source(*other)));
    }
    rules
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn network() -> NetworkTopology {
        NetworkTopology {
            vni: 7,
            mtu: 1450,
            router_ports: BTreeMap::from([(
                Mac::derived("gw", "1"),
                BTreeSet::from(["10.0.1.1".parse().unwrap(), "fd00::1".parse().unwrap()]),
            )]),
            local_ports: BTreeMap::from([
                (Mac::derived("port", "vm1"), Some(Mac::derived("gw", "1"))),
                (Mac::derived("port", "alone"), None),
            ]),
            remote_ports: BTreeMap::new(),
            peers: BTreeSet::new(),
        }
    }

    #[test]
    fn drops_about_a_gateway_come_before_its_mac_is_replaced() {
        let rules = outgoing(&network(), Mac::dvr("h1"));
        let (last, drops) = rules.split_last().unwrap();
        assert_eq!(last.actions, [FrameAction::SetSource(Mac::dvr("h1"))]);
        assert_eq!(drops.len(), 5, "{drops:?}");
        assert!(drops.iter().all(|rule| rule.actions == [FrameAction::Drop]));
        assert_eq!(drops[0].matches, [FrameMatch::Destination(Mac::derived("gw", "1"))]);
    }

    #[test]
    fn of_another_host_only_frames_to_served_ports_come_in() {
        let rules = incoming(&network(), &[Mac::dvr("h2"), Mac::dvr("h3")]);
        assert_eq!(rules.len(), 4);
        assert_eq!(rules[0].actions, [FrameAction::SetSource(Mac::derived("gw", "1")), FrameAction::Accept]);
        assert_eq!(rules[1], NetdevRule::does([FrameAction::Drop]).when(FrameMatch::Source(Mac::dvr("h2"))));
    }
}
