//! Frames that prove that the watch sees: for each segment, host and class, made from what was asked for and not from the
//! rules that are to be proved.
//!
//! In: an [`Intent`] that every host has converged to. Out: frames with the class that each must be counted as. Never: a frame
//! that anybody would take for his: its destination is a MAC that nobody has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Class;
use super::classify::{Legal, legal};
use crate::api::{Intent, NodePlace};
use crate::name::{HostName, Id, Name};
use crate::net::{IpNet, Mac};

/// A MAC that no device has: not one of Neutron's, locally administered.
const NOBODY: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);
/// The MAC of a port that is none of the routers'.
const STRANGER: Mac = Mac([0x02, 0, 0, 0, 0, 0x02]);
/// IP protocol for experiments (RFC 3692), which has no checksum of its own.
const EXPERIMENTAL: u8 = 253;
const ICMPV6: u8 = 58;
const ADVERTISEMENT: u8 = 136;
/// EtherTypes; the last one is for experiments (IEEE 802).
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const LOCAL_EXPERIMENT: u16 = 0x88b5;

/// A frame that must be counted, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The provider segment.
    pub network: Id,
    /// The host from whose end it is sent.
    pub host: HostName,
    /// What it is.
    pub class: Class,
    /// The frame.
    pub frame: Vec<u8>,
}

/// All of them, a packet and a claim (ARP, neighbour advertisement) each: from every address that the host may send from, by
/// its owner and by another port; from every address of another host and of machines outside; from an address of the
/// network that nobody has, a tenant's, a link-local one, and none.
pub fn proofs(intent: &Intent) -> Vec<Proof> {
    let external = || intent.networks.iter().filter(|(_, network)| network.external).map(|(name, _)| name);
    let pairs = external().flat_map(|network| intent.host_order.iter().map(move |host| (network, host)));
    pairs.flat_map(|(network, host)| of_host(intent, network, host)).collect()
}

fn of_host(intent: &Intent, network: &Name, host: &HostName) -> Vec<Proof> {
    let mut all = vec![(Class::Other, frame(STRANGER, LOCAL_EXPERIMENT, &[0; 46]))];
    for other in &intent.host_order {
        for owned in legal(intent, network, other) {
            all.extend(if other == host { of_owner(&owned) } else { of_other(&owned) });
        }
    }
    let mut both = |class: Class, address: IpAddr| all.extend(said(class, class, STRANGER, address));
    both(Class::Other, Ipv4Addr::UNSPECIFIED.into());
    both(Class::Other, Ipv6Addr::UNSPECIFIED.into());
    both(Class::TenantSource, Ipv4Addr::new(10, 255, 255, 1).into());
    both(Class::TenantSource, Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into());
    both(Class::LinkLocalTransit, Ipv4Addr::new(169, 254, 64, 1).into());
    both(Class::Other, STRANGER.link_local().into());
    for (_, subnet) in intent.subnets_of(network) {
        if let Some(free) = free_address(intent, network, &subnet.cidr) {
            both(Class::WithdrawnAddress, free);
        }
    }
    for address in outside(intent, network) {
        all.extend(said(Class::Other, Class::TwoOwners, STRANGER, address));
    }
    let place = |(class, frame)| Proof { network: Id::from(network), host: host.clone(), class, frame };
    all.into_iter().map(place).collect()
}

/// From an address by its owner, and by another port of the same host.
fn of_owner(owned: &Legal) -> Vec<(Class, Vec<u8>)> {
    let Legal { mac, source, class } = *owned;
    if class == Class::Untranslated {
        return source.hosts().next().map(|address| (class, packet(mac, address))).into_iter().collect();
    }
    let own = said(class, class, mac, source.addr());
    let device = said(Class::Other, Class::Other, mac, mac.link_local().into());
    own.into_iter().chain(said(Class::TwoOwners, Class::TwoOwners, STRANGER, source.addr())).chain(device).collect()
}

/// From an address of another host.
fn of_other(owned: &Legal) -> Vec<(Class, Vec<u8>)> {
    if owned.class == Class::Untranslated {
        return Vec::new();
    }
    said(Class::WrongHost, Class::TwoOwners, owned.mac, owned.source.addr()).into()
}

/// A packet from an address, and a claim to it.
fn said(packet_is: Class, claim_is: Class, mac: Mac, address: IpAddr) -> [(Class, Vec<u8>); 2] {
    [(packet_is, packet(mac, address)), (claim_is, claim(mac, address))]
}

/// Addresses of machines outside.
fn outside(intent: &Intent, network: &Name) -> Vec<IpAddr> {
    let here = |place: &NodePlace| match place {
        NodePlace::On(on) | NodePlace::Behind(on) | NodePlace::GatewayOf(on) => on == network,
    };
    let nodes = intent.outside.values().filter(|node| here(&node.place));
    nodes.flat_map(|node| node.addresses.iter().copied().chain(node.also.iter().map(IpNet::addr))).collect()
}

/// The last address of a prefix that nobody has.
fn free_address(intent: &Intent, network: &Name, cidr: &IpNet) -> Option<IpAddr> {
    let held = intent.holders(network);
    let candidates: Vec<IpAddr> = match cidr {
        IpNet::V4(net) => {
            let last = u32::from(net.broadcast());
            (1..=256).map(|back| Ipv4Addr::from(last.saturating_sub(back)).into()).collect()
        }
        IpNet::V6(net) => {
            let last = u128::from(net.broadcast());
            (1..=256).map(|back| Ipv6Addr::from(last.saturating_sub(back)).into()).collect()
        }
    };
    candidates.into_iter().find(|address| cidr.contains(address) && !held.contains_key(address))
}

fn frame(source: Mac, kind: u16, body: &[u8]) -> Vec<u8> {
    [&NOBODY.0[..], &source.0, &kind.to_be_bytes(), body].concat()
}

/// An IP packet from an address to an address for documentation (RFC 5737, RFC 3849).
fn packet(mac: Mac, source: IpAddr) -> Vec<u8> {
    match source {
        IpAddr::V4(source) => {
            let head = |sum: [u8; 2]| {
                let fixed = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, EXPERIMENTAL];
                [&fixed[..], &sum, &source.octets(), &Ipv4Addr::new(192, 0, 2, 1).octets()].concat()
            };
            frame(mac, IPV4, &head(checksum(&head([0; 2]))))
        }
        IpAddr::V6(source) => {
            let to = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
            let fixed = [0x60, 0, 0, 0, 0, 0, EXPERIMENTAL, 64];
            frame(mac, IPV6, &[&fixed[..], &source.octets(), &to.octets()].concat())
        }
    }
}

/// An ARP reply, or an unsolicited neighbour advertisement, which comes from the device's link-local address.
fn claim(mac: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => {
            let head = [0, 1, 8, 0, 6, 4, 0, 2];
            let owner = [&mac.0[..], &address.octets()].concat();
            frame(mac, ARP, &[&head[..], &owner, &owner].concat())
        }
        IpAddr::V6(address) => {
            let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets();
            let option = [&[2, 1][..], &mac.0].concat();
            let advertisement =
                |sum: [u8; 2]| [&[ADVERTISEMENT, 0][..], &sum, &[0x20, 0, 0, 0], &address.octets(), &option].concat();
            // Pseudo header: addresses, length, next header. RFC 8200, 8.1.
            let source = mac.link_local().octets();
            let pseudo = [&source[..], &to, &[0, 0, 0, 32, 0, 0, 0, ICMPV6]].concat();
            let sum = checksum(&[pseudo, advertisement([0; 2])].concat());
            let fixed = [0x60, 0, 0, 0, 0, 32, ICMPV6, 255];
            frame(mac, IPV6, &[&fixed[..], &source, &to, &advertisement(sum)].concat())
        }
    }
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks_exact(2).map(|pair| pair.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [_, _, high, low] = (!sum).to_be_bytes();
    [high, low]
}
