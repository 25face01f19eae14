//! Floating IPs and gateway addresses as a namespace's NAT rules show them: which come, which go, and whose connections
//! have to be forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::fence;
use super::links::Kept;
use super::op::Action;
use super::order::{Phase, Steps};
use crate::deviation::{Deviation, Deviations};
use crate::name::{DeviceName, NamespaceName};
use crate::namespace::{ChainName, DevicePattern, HostState, NamespaceState, PolicyRule, Rule, Table, Target, What};
use crate::net::{FIP_TABLE, Family, IpNet, PortRange, host_net};

/// One direction of a floating IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    Inward,
    Outward,
}

/// A floating IP's translation: direction, floating address, fixed address.
type Pair = (Direction, IpAddr, IpAddr);

/// The translations of a namespace that are not as they are desired.
#[derive(Default)]
pub(super) struct Changes {
    /// Fixed addresses of floating IPs that come, go or change.
    pub(super) fixed: BTreeSet<IpAddr>,
    /// Floating addresses of floating IPs that come, go or change.
    pub(super) floating: BTreeSet<IpAddr>,
    /// Addresses whose connections must not go on.
    withdrawn: BTreeSet<IpAddr>,
    /// Fences around fixed addresses that lose a floating IP without changing their way.
    pub(super) fences: Vec<PolicyRule>,
    /// Ports of floating IPs that are no longer led to where they were: address, protocol number, ports.
    ports: BTreeSet<(IpAddr, u8, PortRange)>,
    /// Subnets whose connections out of the gateway are untranslated ones, and must not be for long.
    pub(super) bare: BTreeSet<IpNet>,
}

/// Whether connections of floating IPs are forgotten in this namespace. Without the deviation only a snat namespace does so,
/// as the real agent does when an address goes.
pub(super) fn forgets(namespace: &NamespaceName, deviations: Deviations) -> bool {
    deviations.has(Deviation::PurgeTranslated) || namespace.as_str().starts_with("snat-")
}

/// Compares each namespace that stays.
pub(super) fn changes<'a>(
    observed: &'a HostState,
    desired: &HostState,
    deviations: Deviations,
) -> BTreeMap<&'a NamespaceName, Changes> {
    let mut all = BTreeMap::new();
    for (name, is) in &observed.namespaces {
        if let Some(wanted) = desired.namespaces.get(name) {
            let mut changes = Changes::default();
            if deviations.has(Deviation::CutUntranslated) {
                changes.bare = bare(is, wanted);
            }
            let steered = |fixed: IpAddr| {
                is.rules.iter().any(|rule| rule.table == FIP_TABLE && rule.from == Some(host_net(fixed)))
            };
            let (led, led_on) = (forwardings(is), forwardings(wanted));
            let lost = led.difference(&led_on).filter(|_| forgets(name, deviations));
            changes.ports = lost.map(|(from, _)| *from).collect();
            let (is, wanted) = (pairs(is), pairs(wanted));
            for (_, floating, fixed) in is.symmetric_difference(&wanted) {
                changes.fixed.insert(*fixed);
                changes.floating.insert(*floating);
            }
            for (_, floating, fixed) in is.difference(&wanted).filter(|_| forgets(name, deviations)) {
                changes.withdrawn.extend([*floating, *fixed]);
                let fence = fence::around(host_net(*fixed));
                if !steered(*fixed) && !fence.iter().any(|rule| changes.fences.contains(rule)) {
                    changes.fences.extend(fence);
                }
            }
            all.insert(name, changes);
        }
    }
    all
}

/// Forgets the connections of what is withdrawn.
pub(super) fn forget<'a>(
    (name, changes): (&'a NamespaceName, &Changes),
    (is, wanted): (&'a NamespaceState, &NamespaceState),
    kept: &Kept<'a>,
    steps: &mut Steps,
) {
    for net in &changes.bare {
        steps.push(Phase::Forget, name, Action::ConntrackPurge(*net));
    }
    for (address, protocol, ports) in &changes.ports {
        let forget = Action::ConntrackPurgePort { address: *address, protocol: *protocol, ports: *ports };
        // Nothing keeps a connection from beginning before the rule is gone, so they are forgotten once more after it.
        steps.push(Phase::Forget, name, forget.clone());
        steps.push(Phase::ForgetReplaced, name, forget);
    }
    let mut purge = |phase, address: &IpAddr| steps.push(phase, name, Action::ConntrackPurge(host_net(*address)));
    for address in &changes.withdrawn {
        purge(Phase::Forget, address);
    }
    let gateways = gateway_devices(is);
    let mut replaced: BTreeMap<IpAddr, Phase> = BTreeMap::new();
    for address in gateway_addresses(is) {
        replaced.insert(address, Phase::ForgetUnplugged);
    }
    // A plan that stopped may have taken the rule away already (source NAT switched off with a change of address); then only
    // the device tells that connections may stand on its address.
    let translated = |device: &DeviceName| gateways.contains(device) || device.as_str().starts_with("qg-");
    for address in is.addresses.iter().filter(|address| translated(&address.device)) {
        let stays = kept.has(name, &address.device);
        replaced.insert(address.net.addr(), if stays { Phase::ForgetReplaced } else { Phase::ForgetUnplugged });
    }
    for (address, phase) in replaced {
        let still = wanted.addresses.iter().any(|on| on.net.addr() == address);
        if !still && !changes.withdrawn.contains(&address) {
            purge(phase, &address);
        }
    }
}

/// The subnets behind a gateway device that is up and is to translate, but does not yet.
fn bare(is: &NamespaceState, wanted: &NamespaceState) -> BTreeSet<IpNet> {
    let translating = gateway_devices(is);
    let open = gateway_devices(wanted);
    let open: BTreeSet<&DeviceName> =
        open.into_iter().filter(|device| !translating.contains(device) && is.links.contains_key(*device)).collect();
    let inside = is.addresses.iter().filter(|address| !open.is_empty() && !open.contains(&address.device));
    inside.map(|address| address.net.trunc()).collect()
}

fn nat_rules(state: &NamespaceState) -> impl Iterator<Item = &Rule> {
    Family::BOTH
        .into_iter()
        .filter_map(|family| state.ruleset(family).tables.get(&Table::Nat))
        .flat_map(BTreeMap::iter)
        .filter(|(name, _)| matches!(name, ChainName::Own(_)))
        .flat_map(|(_, chain)| &chain.rules)
}

fn pairs(state: &NamespaceState) -> BTreeSet<Pair> {
    nat_rules(state)
        .filter_map(|rule| match &rule.target {
            Target::Snat(to) => Some((Direction::Outward, to.address, address_in(rule, Direction::Outward)?)),
            // A port forwarding is not all of its address.
            Target::Dnat(to) if to.ports.is_some() => None,
            Target::Dnat(to) => Some((Direction::Inward, address_in(rule, Direction::Inward)?, to.address)),
            Target::Jump(_)
            | Target::Accept
            | Target::Drop
            | Target::Return
            | Target::Mark(..)
            | Target::SaveMark(..)
            | Target::RestoreMark(..)
            | Target::SetConnMark(..)
            | Target::Redirect(_)
            | Target::NoTrack
            | Target::Unknown(_)
            | Target::None => None,
        })
        .collect()
}

/// A port forwarding: address, protocol number and ports, and where they are led to.
type Forwarding = ((IpAddr, u8, PortRange), (IpAddr, PortRange));

fn forwardings(state: &NamespaceState) -> BTreeSet<Forwarding> {
    nat_rules(state)
        .filter_map(|rule| {
            let Target::Dnat(to) = &rule.target else { return None };
            let (protocol, ports) = rule.matches.iter().find_map(|condition| {
                let What::DestinationPort(protocol, ports) = &condition.what else { return None };
                Some((*protocol, *ports))
            })?;
            let from = (address_in(rule, Direction::Inward)?, protocol, ports);
            Some((from, (to.address, to.ports?)))
        })
        .collect()
}

/// The one address that a rule is for: its source on the way out, its destination on the way in.
fn address_in(rule: &Rule, direction: Direction) -> Option<IpAddr> {
    rule.matches.iter().filter(|condition| !condition.not).find_map(|condition| match (&condition.what, direction) {
        (What::Source(net), Direction::Outward) | (What::Destination(net), Direction::Inward) => {
            (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
        }
        _other => None,
    })
}

/// Rules that translate whatever leaves by a device: the device and the address.
fn gateway_rules(state: &NamespaceState) -> impl Iterator<Item = (&DeviceName, IpAddr)> {
    nat_rules(state).filter_map(|rule| {
        let Target::Snat(to) = &rule.target else { return None };
        let [condition] = rule.matches.as_slice() else { return None };
        let What::OutDevice(DevicePattern::Name(device)) = &condition.what else { return None };
        (!condition.not).then_some((device, to.address))
    })
}

fn gateway_devices(state: &NamespaceState) -> BTreeSet<&DeviceName> {
    gateway_rules(state).map(|(device, _)| device).collect()
}

fn gateway_addresses(state: &NamespaceState) -> BTreeSet<IpAddr> {
    gateway_rules(state).map(|(_, address)| address).collect()
}
