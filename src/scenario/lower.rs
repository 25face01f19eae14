//! Sections and operations to the events of the API. What is not readable was noted before and gives nothing here.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::yaml::Node;
use super::{updates, values};
use crate::api::{
    AddressPair, AgentMode, Event, FloatingIp, Host, Instance, Intent, Ipv6Mode, Nested, Network, Node as Machine,
    NodePlace, Object, ObjectKind, Port, PortForwarding, Router, Section, Settings, Snat, StaticRoute, Subnet,
};
use crate::deviation::Deviation;
use crate::name::{HostName, Name};
use crate::net::{IpNet, Mac};

fn name(node: &Node) -> Option<Name> {
    Name::new(node.text()?).ok()
}

pub(super) fn named(node: &Node, key: &str) -> Option<Name> {
    name(node.get(key)?)
}

fn host_named(node: &Node, key: &str) -> Option<HostName> {
    named(node, key).map(HostName::from)
}

pub(super) fn many<T>(node: &Node, key: &str, read: impl Fn(&Node) -> Option<T>) -> Vec<T> {
    node.get(key).map(|value| value.items().iter().filter_map(read).collect()).unwrap_or_default()
}

pub(super) fn address(node: &Node) -> Option<IpAddr> {
    values::address(node.text()?).ok()
}

pub(super) fn addresses(node: &Node) -> Vec<IpAddr> {
    many(node, "address", address)
}

pub(super) fn boolean(node: &Node, key: &str, default: bool) -> bool {
    node.get(key).and_then(Node::text).and_then(|text| values::boolean(text).ok()).unwrap_or(default)
}

pub(super) fn routes(node: &Node) -> Vec<StaticRoute> {
    many(node, "routes", |item| values::route(item.text()?).ok())
}

pub(super) fn also(node: &Node) -> Vec<IpNet> {
    many(node, "also", |item| values::address_or_prefix(item.text()?).ok())
}

pub(super) fn closed(node: &Node) -> BTreeSet<(u8, u16)> {
    many(node, "closed", |item| values::closed(item.text()?).ok()).into_iter().collect()
}

pub(super) fn pairs(node: &Node) -> Vec<AddressPair> {
    many(node, "allowed_address_pairs", |item| values::address_pair(item.text()?).ok())
}

/// `settings`.
pub(super) fn settings(node: &Node) -> Event {
    Event::Created(Object::Settings(settings_after(node, Settings::default())))
}

/// The settings that a node says, else as they were.
pub(super) fn settings_after(node: &Node, before: Settings) -> Settings {
    Settings {
        random_ports: boolean(node, "random_ports", before.random_ports),
        metadata: boolean(node, "metadata", before.metadata),
        rules: node.get("rules").and_then(Node::text).and_then(|name| name.parse().ok()).unwrap_or(before.rules),
        ..before
    }
}

/// `deviations`, beside the settings so far.
pub(super) fn deviations(node: &Node, so_far: Settings) -> Event {
    let switched = Deviation::ALL.into_iter().fold(so_far.deviations, |on, deviation| {
        on.with(deviation, boolean(node, deviation.name(), on.has(deviation)))
    });
    Event::Created(Object::Settings(Settings { deviations: switched, ..so_far }))
}

/// The first call that makes an object of a section; `None` if its attributes cannot be read.
pub(super) fn created(section: Section, key: &str, node: &Node, intent: &Intent) -> Option<Vec<Event>> {
    if section == Section::FloatingIps {
        let address = values::address(key).ok()?;
        return Some(vec![Event::Created(Object::FloatingIp(address, FloatingIp::default()))]);
    }
    let named = Name::new(key).ok()?;
    let objects = match section {
        Section::Hosts => vec![Object::Host(HostName::from(named), Host::new(mode(node)?))],
        Section::Networks => vec![Object::Network(named, network(node, intent))],
        Section::Subnets => vec![Object::Subnet(named, subnet(node)?)],
        Section::Routers => {
            let admin_down = !boolean(node, "admin_state_up", true);
            vec![Object::Router(named, Router { admin_down, ..Router::default() })]
        }
        Section::Ports => vec![Object::Port(named.clone(), port(&named, node)?)],
        Section::Instances => instance(named, node)?,
        Section::Outside => vec![Object::Outside(named, machine(node)?)],
        Section::AddressScopes => vec![Object::AddressScope(named)],
        Section::FloatingIps => Vec::new(),
    };
    Some(objects.into_iter().map(Event::Created).collect())
}

pub(super) fn mode(node: &Node) -> Option<AgentMode> {
    match node.get("mode") {
        None => Some(AgentMode::Dvr),
        Some(mode) => [AgentMode::Dvr, AgentMode::DvrSnat, AgentMode::DvrNoExternal]
            .into_iter()
            .find(|known| mode.text() == Some(known.name())),
    }
}

fn network(node: &Node, intent: &Intent) -> Network {
    let mtu = node.get("mtu").and_then(Node::text).and_then(|text| values::integer(text, 0, u32::MAX).ok());
    let last = intent.networks.values().map(|network| network.vni).max().unwrap_or(0);
    let usual = Network::new(boolean(node, "external", false));
    let admin_down = !boolean(node, "admin_state_up", true);
    Network { mtu: mtu.unwrap_or(usual.mtu), vni: last + 1, admin_down, ..usual }
}

fn subnet(node: &Node) -> Option<Subnet> {
    let cidr = values::prefix(node.get("cidr")?.text()?).ok()?;
    let gateway = match node.get("gateway") {
        None => Some(first_address(&cidr)),
        Some(value) if value.text() == Some("none") => None,
        Some(value) => Some(address(value)?),
    };
    let pools = many(node, "allocation_pools", |item| values::range(item.text()?).ok());
    let address_scope = named(node, "address_scope").filter(|_| !says_none(node, "address_scope"));
    let ipv6_mode = match node.get("ipv6_mode") {
        None => Ipv6Mode::Static,
        Some(value) => Ipv6Mode::ALL.into_iter().find(|(word, _)| value.text() == Some(word)).map(|(_, mode)| mode)?,
    };
    Some(Subnet { network: named(node, "network")?, cidr, gateway, pools, address_scope, ipv6_mode })
}

/// Whether the word `none` stands there.
pub(super) fn says_none(node: &Node, key: &str) -> bool {
    node.get(key).and_then(Node::text) == Some("none")
}

/// The first address that a port may have.
fn first_address(cidr: &IpNet) -> IpAddr {
    match cidr {
        IpNet::V4(net) => net.hosts().next().unwrap_or(net.network()).into(),
        IpNet::V6(net) => net.hosts().nth(1).unwrap_or(net.network()).into(),
    }
}

/// The MAC that is written, else one made of the name.
fn mac(named_as: &Name, node: &Node) -> Option<Mac> {
    match node.get("mac") {
        Some(value) => values::mac(value.text()?).ok(),
        None => Some(Mac::derived("port", named_as.as_str())),
    }
}

fn port(named_as: &Name, node: &Node) -> Option<Port> {
    let port = Port::new(named(node, "network")?, addresses(node), mac(named_as, node)?);
    Some(Port { pairs: pairs(node), admin_down: !boolean(node, "admin_state_up", true), ..port })
}

fn instance(named: Name, node: &Node) -> Option<Vec<Object>> {
    if let Some(behind) = self::named(node, "behind") {
        let addresses = many(node, "address", |item| values::address_with_prefix(item.text()?).ok());
        let link = Nested { instance: behind, addresses, mac: mac(&named, node)? };
        let nested = Instance { behind: Some(link), ..Instance::new(None, Vec::new()) };
        return Some(vec![Object::Instance(named, Instance { also: also(node), closed: closed(node), ..nested })]);
    }
    let mut objects = Vec::new();
    let ports = if node.get("port").is_some() {
        many(node, "port", name)
    } else {
        objects.push(Object::Port(named.clone(), port(&named, node)?));
        vec![named.clone()]
    };
    let host = host_named(node, "host");
    objects.push(Object::Instance(
        named,
        Instance { also: also(node), closed: closed(node), ..Instance::new(host, ports) },
    ));
    Some(objects)
}

fn machine(node: &Node) -> Option<Machine> {
    let place = match (named(node, "on"), named(node, "behind"), named(node, "gateway_of")) {
        (Some(network), None, None) => NodePlace::On(network),
        (None, Some(network), None) => NodePlace::Behind(network),
        (None, None, Some(network)) => NodePlace::GatewayOf(network),
        _ => return None,
    };
    Some(Machine { place, addresses: addresses(node), routes: routes(node), also: also(node), closed: closed(node) })
}

/// A router's interfaces, each with the node that names it.
pub(super) fn interfaces<'a>(router: &Name, node: &'a Node, key: &str) -> Vec<(&'a Node, Name, Name)> {
    let items = node.get(key).map(Node::items).unwrap_or_default();
    items.iter().filter_map(|item| Some((item, router.clone(), name(item)?))).collect()
}

/// A gateway, of a router's own line or of `set_gateway`.
pub(super) fn gateway_set(router: Name, node: &Node) -> Event {
    let snat = node.get("snat").map(|_| if boolean(node, "snat", true) { Snat::Enabled } else { Snat::Disabled });
    let (network, host) = (named(node, "network"), host_named(node, "host"));
    Event::GatewaySet { router, network, addresses: addresses(node), snat, host }
}

/// A router with other extra routes.
pub(super) fn routes_set(router: &Name, node: &Node, intent: &Intent) -> Event {
    let current = intent.routers.get(router).cloned().unwrap_or_default();
    Event::RouterUpdated(router.clone(), Router { routes: routes(node), ..current })
}

/// The first port of `instance`, or `port`.
fn target_port(node: &Node, intent: &Intent) -> Option<Name> {
    match (named(node, "instance"), named(node, "port")) {
        (Some(instance), None) => {
            let first = intent.instances.get(&instance).and_then(|found| found.ports.first().cloned());
            Some(first.unwrap_or(instance))
        }
        (None, Some(port)) => Some(port),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// Who gets a floating IP; the first port of an instance.
pub(super) fn associated(floating_ip: IpAddr, node: &Node, intent: &Intent) -> Option<Event> {
    let port = target_port(node, intent)?;
    let fixed_address = node.get("fixed_address").and_then(address);
    Some(Event::FloatingIpAssociated { floating_ip, port, fixed_address })
}

/// The port forwardings of a floating IP, if the node says them.
pub(super) fn port_forwardings(floating_ip: IpAddr, node: &Node, intent: &Intent) -> Option<Event> {
    let list = node.get("port_forwardings")?;
    let forwardings = list.items().iter().filter_map(|item| port_forwarding(item, intent)).collect();
    Some(Event::PortForwardingsSet { floating_ip, router: named(node, "router"), forwardings })
}

fn port_forwarding(item: &Node, intent: &Intent) -> Option<PortForwarding> {
    let number = |key: &str| values::port(item.get(key)?.text()?).ok();
    let port = target_port(item, intent)?;
    let address = *intent.ports.get(&port)?.addresses.iter().find(|address| address.is_ipv4())?;
    let protocol = if item.get("protocol")?.text()? == "tcp" { values::TCP } else { values::UDP };
    let (external_port, internal_port) = (number("external_port")?, number("internal_port")?);
    Some(PortForwarding { protocol, external_port, port, address, internal_port })
}

/// Order in which `delete` makes its calls: what depends on others first.
const DELETE_ORDER: [(&str, Section); 9] = [
    ("floating_ips", Section::FloatingIps),
    ("instances", Section::Instances),
    ("ports", Section::Ports),
    ("routers", Section::Routers),
    ("outside", Section::Outside),
    ("subnets", Section::Subnets),
    ("networks", Section::Networks),
    ("address_scopes", Section::AddressScopes),
    ("hosts", Section::Hosts),
];

fn deleted(node: &Node) -> Vec<Event> {
    let one = |section: Section, item: &Node| match section {
        Section::FloatingIps => address(item).map(ObjectKind::FloatingIp),
        Section::Hosts
        | Section::Networks
        | Section::Subnets
        | Section::Routers
        | Section::Ports
        | Section::Instances
        | Section::Outside
        | Section::AddressScopes => name(item).map(|name| ObjectKind::Named(section, name)),
    };
    let lists = DELETE_ORDER.iter().filter_map(|(key, section)| Some((node.get(key)?, *section)));
    lists
        .flat_map(|(list, section)| list.items().iter().filter_map(move |item| one(section, item)))
        .map(Event::Deleted)
        .collect()
}

fn migrated(node: &Node, instance: Name, to: HostName) -> Vec<Event> {
    let prepared = || Event::MigrationPrepared(instance.clone(), to.clone());
    let completed = || Event::MigrationCompleted(instance.clone(), to.clone());
    match (boolean(node, "live", false), node.get("stage").and_then(Node::text)) {
        (_, Some("prepare")) => vec![prepared()],
        (_, Some("complete")) => vec![completed()],
        (_, Some("abort")) => vec![Event::MigrationAborted(instance, to)],
        (true, Some(_) | None) => vec![prepared(), completed()],
        (false, Some(_) | None) => vec![Event::InstanceMigrated(instance, to)],
    }
}

/// The events of an operation but for `create`, whose objects are made one by one. `None` if something is missing.
pub(super) fn operation(verb: &str, node: &Node, intent: &Intent) -> Option<Vec<Event>> {
    Some(match verb {
        "update" => updates::events(node, intent),
        "delete" => deleted(node),
        "boot" => vec![Event::InstanceBooted(named(node, "instance")?, host_named(node, "host")?)],
        "migrate" => migrated(node, named(node, "instance")?, host_named(node, "to")?),
        "attach" => {
            let pairs = interfaces(&named(node, "router")?, node, "interface");
            pairs.into_iter().map(|(_, router, interface)| Event::InterfaceAttached(router, interface)).collect()
        }
        "detach" => {
            let pairs = interfaces(&named(node, "router")?, node, "interface");
            pairs.into_iter().map(|(_, router, interface)| Event::InterfaceDetached(router, interface)).collect()
        }
        "set_gateway" => vec![gateway_set(named(node, "router")?, node)],
        "clear_gateway" => vec![Event::GatewayCleared(named(node, "router")?)],
        "move_gateway" => vec![Event::GatewayMoved(named(node, "router")?, host_named(node, "to")?)],
        "associate" => vec![associated(address(node.get("floating_ip")?)?, node, intent)?],
        "disassociate" => many(node, "floating_ip", address).into_iter().map(Event::FloatingIpDisassociated).collect(),
        "stop_agent" | "resync_agent" | "deliver" | "sabotage" | "stop_host" | "set_link" | "partition" | "heal" => {
            Vec::new()
        }
        "start_agent" | "restart_agent" | "start_host" => {
            many(node, "host", name).into_iter().map(|host| Event::AgentRestarted(host.into())).collect()
        }
        _ => return None,
    })
}
