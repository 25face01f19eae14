//! `update` to the events of the API: each object as it is to be, made of what it is and of the attributes that are named.

use super::lower::{
    address, addresses, also, boolean, closed, mode, named, pairs, port_forwardings, routes, says_none, settings_after,
};
use super::values;
use super::yaml::Node;
use crate::api::{Event, Instance, Intent, Network, Node as Machine, Port, Router};
use crate::name::{HostName, Name};

/// The calls of an `update`, sections in the order in which objects are made.
pub(super) fn events(node: &Node, intent: &Intent) -> Vec<Event> {
    let settings = node.get("settings").map(|new| Event::SettingsConfigured(settings_after(new, intent.settings)));
    let mut events: Vec<Event> = settings.into_iter().collect();
    events.extend(each(node, "hosts", |name, new| {
        new.get("mode")?;
        Some(vec![Event::ModeConfigured(HostName::from(name), mode(new)?)])
    }));
    events.extend(each(node, "networks", |name, new| {
        let network = network(new, intent.networks.get(&name)?);
        Some(vec![Event::NetworkUpdated(name, network)])
    }));
    events.extend(subnets(node, intent));
    events.extend(each(node, "routers", |name, new| Some(vec![router(name, new, intent)])));
    events.extend(each(node, "ports", |name, new| {
        let port = port(new, intent.ports.get(&name)?.clone());
        Some(vec![Event::PortUpdated(name, port)])
    }));
    events.extend(each(node, "instances", |name, new| instance(name, new, intent)));
    for entry in node.get("floating_ips").map(Node::entries).unwrap_or_default() {
        if let Ok(address) = values::address(&entry.key) {
            events.extend(port_forwardings(address, &entry.value, intent));
        }
    }
    events.extend(each(node, "outside", |name, new| {
        let machine = machine(new, intent.outside.get(&name)?.clone());
        Some(vec![Event::NodeUpdated(name, machine)])
    }));
    events
}

/// The calls for each entry of a section.
fn each(node: &Node, section: &str, calls: impl Fn(Name, &Node) -> Option<Vec<Event>>) -> Vec<Event> {
    let entries = node.get(section).map(Node::entries).unwrap_or_default();
    let calls = entries.iter().filter_map(|entry| calls(Name::new(entry.key.as_str()).ok()?, &entry.value));
    calls.flatten().collect()
}

fn network(new: &Node, before: &Network) -> Network {
    let mtu = new.get("mtu").and_then(Node::text).and_then(|text| values::integer(text, 0, u32::MAX).ok());
    let admin_down = !boolean(new, "admin_state_up", !before.admin_down);
    Network { mtu: mtu.unwrap_or(before.mtu), admin_down, ..before.clone() }
}

/// All in one call, as subnets of one pool change.
fn subnets(node: &Node, intent: &Intent) -> Option<Event> {
    let changed = node.get("subnets")?.entries().iter().filter_map(|entry| {
        let (name, before) = intent.subnets.get_key_value(entry.key.as_str())?;
        let (new, mut subnet) = (&entry.value, before.clone());
        if let Some(gateway) = new.get("gateway") {
            subnet.gateway = address(gateway);
        }
        if new.get("address_scope").is_some() {
            subnet.address_scope = named(new, "address_scope").filter(|_| !says_none(new, "address_scope"));
        }
        Some((name.clone(), subnet))
    });
    Some(Event::SubnetsUpdated(changed.collect()))
}

fn router(name: Name, new: &Node, intent: &Intent) -> Event {
    let before = intent.routers.get(&name).cloned().unwrap_or_default();
    let routes = if new.get("routes").is_some() { routes(new) } else { before.routes.clone() };
    let admin_down = !boolean(new, "admin_state_up", !before.admin_down);
    Event::RouterUpdated(name, Router { routes, admin_down, ..before })
}

fn port(new: &Node, before: Port) -> Port {
    let has = |key: &str| new.get(key).is_some();
    Port {
        addresses: if has("address") { addresses(new) } else { before.addresses },
        pairs: if has("allowed_address_pairs") { pairs(new) } else { before.pairs },
        admin_down: !boolean(new, "admin_state_up", !before.admin_down),
        ..before
    }
}

/// An instance, and its port where that is its own.
fn instance(name: Name, new: &Node, intent: &Intent) -> Option<Vec<Event>> {
    let has = |key: &str| new.get(key).is_some();
    let before = intent.instances.get(&name)?.clone();
    let changed = Instance {
        also: if has("also") { also(new) } else { before.also.clone() },
        closed: if has("closed") { closed(new) } else { before.closed.clone() },
        ..before.clone()
    };
    let own = intent.ports.get(&name).map(|before| Event::PortUpdated(name.clone(), port(new, before.clone())));
    Some(own.into_iter().chain(std::iter::once(Event::InstanceUpdated(name, changed))).collect())
}

fn machine(new: &Node, before: Machine) -> Machine {
    let has = |key: &str| new.get(key).is_some();
    Machine {
        place: before.place,
        addresses: if has("address") { addresses(new) } else { before.addresses },
        routes: if has("routes") { routes(new) } else { before.routes },
        also: if has("also") { also(new) } else { before.also },
        closed: if has("closed") { closed(new) } else { before.closed },
    }
}
