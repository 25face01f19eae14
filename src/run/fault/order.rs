//! Operations that are done too late, too early, or not at all.
//!
//! In: a plan, both states it leads between, and which objects a fault names. Out: the plan with the operations on those
//! objects elsewhere, or gone.

use super::Aim;
use super::objects::{Aims, add_rules, remove_rules};
use crate::name::{DeviceName, NamespaceName};
use crate::namespace::{HostState, Kind, NamespaceState};
use crate::plan::{Action, Op, Plan, rule_changes};
use crate::run::damage::table_of;
use crate::run::lines::{device_text, neighbour_text};
use crate::scenario::Tamper;

/// Before and after a plan.
type States<'a> = (&'a HostState, &'a HostState);

/// Moves the operations on what the fault names to the end or the start of the plan; leaves them out if it keeps things.
pub(super) fn tamper(how: Tamper, plan: Plan, states: States<'_>, aims: Aims<'_, '_>) -> Plan {
    let mut stay = Vec::new();
    let mut moved = Vec::new();
    for op in plan.ops {
        let Some(aim) = aims(&op.namespace) else {
            stay.push(op);
            continue;
        };
        if let (Action::Rules(_), Some(_)) = (&op.action, table_of(aim.kind)) {
            let (first, second) = halves(&op.namespace, how, states, &aim);
            let (here, there) = if how == Tamper::Late { (first, second) } else { (second, first) };
            stay.extend(here);
            moved.extend(there);
        } else if touches(&op, states, &aim) {
            moved.push(op);
        } else {
            stay.push(op);
        }
    }
    let ops = match how {
        Tamper::Omit | Tamper::Keep | Tamper::Once => stay,
        Tamper::Late => [stay, moved].concat(),
        Tamper::Early => first(moved, stay),
    };
    Plan { ops }
}

/// Puts operations before all others, but not before their namespace is made.
fn first(moved: Vec<Op>, mut stay: Vec<Op>) -> Vec<Op> {
    let mut front = Vec::new();
    for op in moved {
        let made = |other: &Op| other.namespace == op.namespace && other.action == Action::NamespaceAdd;
        if op.action != Action::NamespaceAdd
            && let Some(at) = stay.iter().position(made)
        {
            stay.insert(at + 1, op);
        } else {
            front.push(op);
        }
    }
    [front, stay].concat()
}

/// A change of rules in two: what is done first, and then the rest; of what the fault names all is in one of both.
fn halves(
    namespace: &NamespaceName,
    how: Tamper,
    (before, after): States<'_>,
    aim: &Aim<'_>,
) -> (Option<Op>, Option<Op>) {
    let born = NamespaceState::default();
    let is = before.namespaces.get(namespace).unwrap_or(&born);
    let Some(wanted) = after.namespaces.get(namespace) else { return (None, None) };
    let (mut between, other) = if how == Tamper::Late { (wanted.clone(), is) } else { (is.clone(), wanted) };
    remove_rules(&mut between, other, aim);
    add_rules(other, &mut between, aim);
    let op = |from: &NamespaceState, to: &NamespaceState| {
        let changes = rule_changes(from, to);
        (!changes.changes.is_empty()).then(|| Op { namespace: namespace.clone(), action: Action::Rules(changes) })
    };
    (op(is, &between), op(&between, wanted))
}

/// Whether the operation is on an object that the fault names.
fn touches(op: &Op, states: States<'_>, aim: &Aim<'_>) -> bool {
    object(op, states, aim).is_some_and(|(kind, line)| kind == aim.kind && aim.hits(&line))
}

/// What an operation is on, as it is printed; a purge as itself.
fn object(op: &Op, states: States<'_>, aim: &Aim<'_>) -> Option<(Kind, String)> {
    let by_family = |v4: bool, four: Kind, six: Kind| if v4 { four } else { six };
    let device = |device: &DeviceName| Some((Kind::Device, device_line(&op.namespace, device, states)));
    match &op.action {
        Action::NamespaceAdd | Action::NamespaceDelete => Some((Kind::Namespace, op.namespace.to_string())),
        Action::LinkAdd { device: name, .. }
        | Action::LinkDelete(name)
        | Action::LinkMtu(name, _)
        | Action::LinkMac(name, _)
        | Action::LinkUp(name, _) => device(name),
        Action::AddressAdd(address) | Action::AddressDelete(address) => Some((Kind::Address, address.to_string())),
        Action::RouteReplace(route) | Action::RouteDelete(route) => {
            let v4 = route.destination.addr().is_ipv4();
            Some((by_family(v4, Kind::Route, Kind::Route6), route.to_string()))
        }
        Action::RuleAdd(rule) | Action::RuleDelete(rule) => {
            let v4 = rule.family == crate::net::Family::V4;
            Some((by_family(v4, Kind::Rule, Kind::Rule6), rule.to_string()))
        }
        Action::NeighbourReplace(device, address, mac) => {
            let owner = aim.macs.get(mac).cloned().unwrap_or_else(|| mac.to_string());
            Some((Kind::Neighbour, neighbour_text(*address, device, &owner)))
        }
        Action::NeighbourDelete(device, address) => {
            let of = |state: &HostState| {
                state.namespaces.get(&op.namespace)?.neighbours.get(&(device.clone(), *address)).copied()
            };
            let mac = of(states.0)?;
            let owner = aim.macs.get(&mac).cloned().unwrap_or_else(|| mac.to_string());
            Some((Kind::Neighbour, neighbour_text(*address, device, &owner)))
        }
        Action::ProxyDelete(device, address) => Some((Kind::Neighbour, format!("{address} dev {device} proxy"))),
        Action::SysctlSet(key, value) => Some((Kind::Sysctl, format!("{key}={value}"))),
        Action::ConntrackPurge(_) | Action::ConntrackPurgePort { .. } => Some((Kind::Conntrack, op.to_string())),
        Action::Rules(_) | Action::TableDelete(_) | Action::Announce(..) => None,
    }
}

fn device_line(namespace: &NamespaceName, device: &DeviceName, (before, after): States<'_>) -> String {
    let link = |state: &HostState| state.namespaces.get(namespace)?.links.get(device).cloned();
    link(after).or_else(|| link(before)).map_or_else(|| device.to_string(), |link| device_text(device, &link))
}
