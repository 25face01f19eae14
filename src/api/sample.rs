//! Events in one line of words each, for tests: `subnet red4 red 10.0.1.0/24`, `attach r1 red4`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;

use super::{
    AgentMode, Event, FloatingIp, Host, Instance, Intent, Ipv6Mode, Network, Node, NodePlace, Object, ObjectKind, Port,
    Router, Section, Settings, Snat, StaticRoute, Subnet,
};
use crate::name::{HostName, Name};
use crate::net::{IpNet, Mac};

/// Two compute hosts, two network nodes, a router with a gateway and two subnets, an instance on each compute host.
pub(crate) const BASIC: &[&str] = &[
    "host net1 dvr_snat",
    "host cmp1 dvr",
    "host cmp2 dvr",
    "host net2 dvr_snat",
    "network public external",
    "network red",
    "network blue",
    "subnet public4 public 203.0.113.0/24",
    "subnet red4 red 10.0.1.0/24",
    "subnet blue4 blue 10.0.2.0/24",
    "router r1",
    "attach r1 red4",
    "attach r1 blue4",
    "gateway r1 network=public address=203.0.113.10",
    "instance vm1 cmp1 red 10.0.1.11",
    "instance vm2 cmp2 red 10.0.1.12",
    "outside web behind public 198.51.100.2",
    "outside peer on public 203.0.113.200",
];

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn host(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The intent after all lines; panics with the line that is refused.
pub(crate) fn intent(lines: &[&str]) -> Intent {
    lines.iter().fold(Intent::default(), |intent, line| after(&intent, line))
}

/// The intent after one more line.
pub(crate) fn after(intent: &Intent, line: &str) -> Intent {
    attempt(intent, line).unwrap_or_else(|rejected| panic!("{line}: {rejected}"))
}

pub(crate) fn attempt(intent: &Intent, line: &str) -> Result<Intent, super::Rejected> {
    events(intent, line).iter().try_fold(intent.clone(), |intent, event| intent.apply(event))
}

fn addresses(words: &[&str]) -> Vec<IpAddr> {
    words.iter().map(|word| ip(word)).collect()
}

fn created(object: Object) -> Vec<Event> {
    vec![Event::Created(object)]
}

fn optional_host(word: &str) -> Option<HostName> {
    (word != "-").then(|| host(word))
}

fn port(text: &str, network: &str, words: &[&str]) -> Object {
    let mac = Mac::derived("port", text);
    Object::Port(name(text), Port::new(name(network), addresses(words), mac))
}

fn instance(text: &str, on: &str, ports: &[&str]) -> Object {
    let ports = ports.iter().map(|port| name(port)).collect();
    Object::Instance(name(text), Instance::new(optional_host(on), ports))
}

fn subnet(text: &str, network: &str, cidr: &str, rest: &[&str]) -> Object {
    let cidr: IpNet = cidr.parse().unwrap();
    let gateway = match rest.first() {
        None => cidr.hosts().next(),
        Some(&"none") => None,
        Some(word) => Some(ip(word)),
    };
    let mode = rest.iter().find_map(|word| word.strip_prefix("mode=")).unwrap_or("static");
    let (_, ipv6_mode) = Ipv6Mode::ALL.into_iter().find(|(word, _)| *word == mode).unwrap();
    let pools = rest.iter().skip(1).filter(|word| !word.starts_with("mode="));
    let pools = pools.map(|pool| pool.split_once('-').map(|(a, b)| (ip(a), ip(b))).unwrap());
    Object::Subnet(
        name(text),
        Subnet { network: name(network), cidr, gateway, pools: pools.collect(), address_scope: None, ipv6_mode },
    )
}

fn node(text: &str, place: &str, network: &str, words: &[&str]) -> Object {
    let place = match place {
        "on" => NodePlace::On(name(network)),
        "behind" => NodePlace::Behind(name(network)),
        _ => NodePlace::GatewayOf(name(network)),
    };
    let addresses = addresses(words);
    Object::Outside(name(text), Node { place, addresses, routes: vec![], also: vec![], closed: BTreeSet::new() })
}

fn gateway(router: &str, words: &[&str]) -> Event {
    let find = |key: &str| words.iter().find_map(|word| word.strip_prefix(key));
    Event::GatewaySet {
        router: name(router),
        network: find("network=").map(name),
        addresses: find("address=").map(|list| list.split(',').map(ip).collect()).unwrap_or_default(),
        snat: find("snat=").map(|word| if word == "on" { Snat::Enabled } else { Snat::Disabled }),
        host: find("host=").map(host),
    }
}

fn routes(intent: &Intent, router: &str, words: &[&str]) -> Event {
    let before = intent.routers.get(router).cloned().unwrap();
    let routes =
        words.chunks(2).map(|pair| StaticRoute { destination: pair[0].parse().unwrap(), next_hop: ip(pair[1]) });
    Event::RouterUpdated(name(router), Router { routes: routes.collect(), ..before })
}

/// `scope SCOPE SUBNET ...`, `-` for no scope.
fn scoped(intent: &Intent, scope: &str, subnets: &[&str]) -> Event {
    let address_scope = (scope != "-").then(|| name(scope));
    let changed = subnets.iter().filter_map(|subnet| {
        let before = intent.subnets.get(*subnet)?.clone();
        Some((name(subnet), Subnet { address_scope: address_scope.clone(), ..before }))
    });
    Event::SubnetsUpdated(changed.collect())
}

/// `hop SUBNET ADDRESS`: another gateway, `-` for none.
fn hop(intent: &Intent, subnet: &str, gateway: &str) -> Event {
    let changed = intent
        .subnets
        .get(subnet)
        .cloned()
        .map(|before| (name(subnet), Subnet { gateway: (gateway != "-").then(|| ip(gateway)), ..before }));
    Event::SubnetsUpdated(changed.into_iter().collect())
}

fn section(word: &str) -> Section {
    match word {
        "host" => Section::Hosts,
        "network" => Section::Networks,
        "subnet" => Section::Subnets,
        "router" => Section::Routers,
        "port" => Section::Ports,
        "instance" => Section::Instances,
        "scope" => Section::AddressScopes,
        _ => Section::Outside,
    }
}

fn mode(word: &str) -> AgentMode {
    match word {
        "dvr" => AgentMode::Dvr,
        "dvr_snat" => AgentMode::DvrSnat,
        _ => AgentMode::DvrNoExternal,
    }
}

pub(crate) fn events(intent: &Intent, line: &str) -> Vec<Event> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["host", text, word] => created(Object::Host(host(text), Host::new(mode(word)))),
        ["network", text] => created(Object::Network(name(text), Network::new(false))),
        ["network", text, "external"] => created(Object::Network(name(text), Network::new(true))),
        ["subnet", text, network, cidr, rest @ ..] => created(subnet(text, network, cidr, rest)),
        ["router", text] => created(Object::Router(name(text), Router::default())),
        ["port", text, network, rest @ ..] => created(port(text, network, rest)),
        ["instance", text, on, "ports", ports @ ..] => created(instance(text, on, ports)),
        ["instance", text, on, network, rest @ ..] => {
            vec![Event::Created(port(text, network, rest)), Event::Created(instance(text, on, &[text]))]
        }
        ["fip", text] => created(Object::FloatingIp(ip(text), FloatingIp::default())),
        ["outside", text, place, network, rest @ ..] => created(node(text, place, network, rest)),
        ["metadata", word] => created(Object::Settings(Settings { metadata: *word == "on", ..Settings::default() })),
        ["delete", "fip", text] => vec![Event::Deleted(ObjectKind::FloatingIp(ip(text)))],
        ["delete", word, text] => vec![Event::Deleted(ObjectKind::Named(section(word), name(text)))],
        ["attach", router, interface] => vec![Event::InterfaceAttached(name(router), name(interface))],
        ["detach", router, interface] => vec![Event::InterfaceDetached(name(router), name(interface))],
        ["gateway", router, rest @ ..] => vec![gateway(router, rest)],
        ["clear", router] => vec![Event::GatewayCleared(name(router))],
        ["move", router, to] => vec![Event::GatewayMoved(name(router), host(to))],
        ["associate", floating_ip, to, fixed @ ..] => vec![Event::FloatingIpAssociated {
            floating_ip: ip(floating_ip),
            port: name(to),
            fixed_address: fixed.first().map(|word| ip(word)),
        }],
        ["disassociate", floating_ip] => vec![Event::FloatingIpDisassociated(ip(floating_ip))],
        ["boot", text, on] => vec![Event::InstanceBooted(name(text), host(on))],
        ["migrate", text, to] => vec![Event::InstanceMigrated(name(text), host(to))],
        ["prepare", text, to] => vec![Event::MigrationPrepared(name(text), host(to))],
        ["complete", text, to] => vec![Event::MigrationCompleted(name(text), host(to))],
        ["abort", text, to] => vec![Event::MigrationAborted(name(text), host(to))],
        ["restart", text] => vec![Event::AgentRestarted(host(text))],
        ["mode", text, word] => vec![Event::ModeConfigured(host(text), mode(word))],
        ["configure", "metadata", word] => {
            vec![Event::SettingsConfigured(Settings { metadata: *word == "on", ..intent.settings })]
        }
        ["readdress", text, rest @ ..] => {
            let before = intent.ports.get(*text).cloned();
            let after = before.map(|port| Event::PortUpdated(name(text), Port { addresses: addresses(rest), ..port }));
            after.into_iter().collect()
        }
        ["down", "router", text] => {
            let before = intent.routers.get(*text).cloned().unwrap();
            vec![Event::RouterUpdated(name(text), Router { admin_down: true, ..before })]
        }
        ["scope", text] => created(Object::AddressScope(name(text))),
        ["scope", text, subnets @ ..] => vec![scoped(intent, text, subnets)],
        ["hop", subnet, gateway] => vec![hop(intent, subnet, gateway)],
        ["routes", router, rest @ ..] => vec![routes(intent, router, rest)],
        other => panic!("no such line: {other:?}"),
    }
}

/// Calls that a random history is made of. The first of them, in this order, build something.
const LINES: &[&str] = &[
    "network public external",
    "network out external",
    "network red",
    "network blue",
    "subnet public4 public 203.0.113.0/29",
    "subnet out4 out 192.0.2.0/24",
    "subnet red4 red 10.0.1.0/29",
    "subnet blue4 blue 10.0.2.0/24",
    "router r1",
    "router r2",
    "port p1 blue",
    "port p2 red",
    "attach r1 red4",
    "attach r1 blue4",
    "attach r2 p1",
    "attach r2 red4",
    "attach r1 p2",
    "detach r1 red4",
    "detach r1 blue4",
    "detach r2 p1",
    "detach r2 red4",
    "gateway r1 network=public",
    "gateway r2 network=out",
    "gateway r1 network=out address=192.0.2.10",
    "gateway r2 snat=off",
    "clear r1",
    "clear r2",
    "move r1 net2",
    "move r1 net1",
    "instance vm1 cmp1 red",
    "instance vm2 cmp2 blue",
    "instance vm3 - red",
    "instance vm4 cmp3 ports p2",
    "boot vm3 cmp1",
    "migrate vm1 cmp2",
    "migrate vm2 cmp1",
    "migrate vm1 cmp3",
    "associate 203.0.113.6 vm1",
    "associate 192.0.2.6 vm2",
    "associate 192.0.2.7 vm3",
    "associate 203.0.113.6 p2",
    "disassociate 203.0.113.6",
    "delete fip 203.0.113.6",
    "delete instance vm1",
    "delete instance vm2",
    "delete instance vm4",
    "delete port p1",
    "delete port p2",
    "delete router r1",
    "delete router r2",
    "delete subnet red4",
    "delete subnet out4",
    "delete network red",
    "delete network out",
    "outside isp gateway_of out",
    "delete outside isp",
];

/// The hosts of a random history.
const HOSTS: &[&str] =
    &["host net1 dvr_snat", "host cmp1 dvr", "host cmp2 dvr", "host cmp3 dvr_no_external", "host net2 dvr_snat"];

/// Intents that follow each other: the first so many calls of `LINES`, then any of them, refused ones left out.
pub(crate) fn history() -> impl Strategy<Value = Vec<Intent>> {
    (0_usize..44, proptest::collection::vec(0..LINES.len(), 0..60)).prop_map(|(built, picks)| {
        let mut intents = vec![intent(HOSTS)];
        for line in LINES.iter().take(built).chain(picks.iter().map(|pick| &LINES[*pick])) {
            intents.extend(attempt(&intents[intents.len() - 1], line));
        }
        intents
    })
}
