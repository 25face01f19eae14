//! In which order operations are done, and why.
//!
//! | phase | why there |
//! |---|---|
//! | a floating IP's route out of the fip namespace goes | from then on nobody answers for the address: first on the way out |
//! | policy rules go | traffic is no longer steered to where its translation is about to end |
//! | connection tracking of what is withdrawn is purged | where the translation is, and before its rule goes: a packet between makes at worst a translated entry |
//! | other routes, devices, neighbours and namespaces go | they carry nothing any more; a snat namespace translates until it dies |
//! | namespaces come, with sysctls other than forwarding | they forward nothing yet |
//! | iptables, one transaction a namespace | filters and translations are in before anything can pass |
//! | forwarding is switched on | |
//! | devices, their sysctls, addresses, neighbours, routes | the way is there before anything is steered to it |
//! | policy rules come | the translation they lead to is in (`lookup 16`: the SNAT rule; a redirect: the neighbour and its route) |
//! | a floating IP's route comes | the fip namespace answers for the address only when all behind it stands: last on the way in |
//! | addresses that are given up go, with their connection tracking | after the new one and its translation are in, so that there is never none |
//! | what appeared is announced | |

use super::op::{Action, Op};
use crate::net::{Family, TABLE_MAIN};

/// Earlier is done first; what is equal keeps the order of namespaces and of the diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    AnswerWithdrawn,
    SteeringWithdrawn,
    ConnectionsPurged,
    RoutesWithdrawn,
    NeighboursWithdrawn,
    DevicesWithdrawn,
    NamespacesWithdrawn,
    NamespacesMade,
    SysctlsSet,
    RulesCommitted,
    ForwardingEnabled,
    DevicesMade,
    DevicesSet,
    DeviceSysctlsSet,
    AddressesAdded,
    NeighboursSet,
    RoutesAdded,
    SteeringAdded,
    AnswerAdded,
    AddressesGivenUp,
    AddressesPurged,
    Announced,
}

/// Puts operations in order.
pub(super) fn order(mut ops: Vec<Op>) -> Vec<Op> {
    let given_up: Vec<_> = ops
        .iter()
        .filter_map(|op| match &op.action {
            Action::AddressDelete(address) => Some((op.namespace.clone(), address.net.addr())),
            _ => None,
        })
        .collect();
    ops.sort_by_key(|op| match &op.action {
        Action::ConntrackPurge(address) if given_up.contains(&(op.namespace.clone(), *address)) => {
            Phase::AddressesPurged
        }
        _ => phase(op),
    });
    ops.dedup();
    ops
}

fn phase(op: &Op) -> Phase {
    match &op.action {
        Action::RouteDelete(route) if answers(op, route) => Phase::AnswerWithdrawn,
        Action::RouteReplace(route) if answers(op, route) => Phase::AnswerAdded,
        Action::RuleDelete(_) => Phase::SteeringWithdrawn,
        Action::ConntrackPurge(_) => Phase::ConnectionsPurged,
        Action::RouteDelete(_) => Phase::RoutesWithdrawn,
        Action::NeighbourDelete(..) => Phase::NeighboursWithdrawn,
        Action::LinkDelete(_) => Phase::DevicesWithdrawn,
        Action::NamespaceDelete => Phase::NamespacesWithdrawn,
        Action::NamespaceAdd => Phase::NamespacesMade,
        Action::SysctlSet(key, _) if key.contains(".conf.") || key.contains(".neigh.") => {
            let of_all = key.contains(".conf.all.") || key.contains(".conf.default.") || key.contains(".conf.lo.");
            match (of_all, key.ends_with(".forwarding")) {
                (true, true) => Phase::ForwardingEnabled,
                (true, false) => Phase::SysctlsSet,
                (false, _) => Phase::DeviceSysctlsSet,
            }
        }
        Action::SysctlSet(key, _) if key == "net.ipv4.ip_forward" => Phase::ForwardingEnabled,
        Action::SysctlSet(..) => Phase::SysctlsSet,
        Action::Rules(_) => Phase::RulesCommitted,
        Action::LinkAdd { .. } => Phase::DevicesMade,
        Action::LinkMtu(..) | Action::LinkMac(..) | Action::LinkUp(..) => Phase::DevicesSet,
        Action::AddressAdd(_) => Phase::AddressesAdded,
        Action::NeighbourReplace(..) => Phase::NeighboursSet,
        Action::RouteReplace(_) => Phase::RoutesAdded,
        Action::RuleAdd(_) => Phase::SteeringAdded,
        Action::AddressDelete(_) => Phase::AddressesGivenUp,
        Action::Announce(..) => Phase::Announced,
    }
}

/// A host route in a fip namespace's main table: its presence makes the external device answer ARP for the address.
fn answers(op: &Op, route: &crate::namespace::Route) -> bool {
    op.namespace.as_str().starts_with("fip-")
        && route.family() == Family::V4
        && route.table == TABLE_MAIN
        && route.destination.prefix_len() == 32
}
