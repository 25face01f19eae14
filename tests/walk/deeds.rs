//! What somebody does to namespaces behind the agent's back.

use std::collections::BTreeMap;

use dvrlab::dataplane::Dataplane as _;
use dvrlab::kernel::Netns;
use dvrlab::name::NamespaceName;
use dvrlab::namespace::sysctl::{IPV4_CONF, IPV6_CONF, WATCHED};
use dvrlab::namespace::{Chain, ChainName, Rule, Table};
use dvrlab::net::Family;
use dvrlab::plan::{Action, ChainChange, Op, Plan, RuleChanges};
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::{RouteMessage, RouteProtocol, RouteType};
use netlink_packet_route::rule::RuleMessage;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::monitor::names;
use crate::random::Random;
use crate::stage::Walk;

/// One to four deeds, told in words.
pub(crate) fn commit(walk: &mut Walk<'_>, random: &mut Random) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..=random.below(4) {
        let namespaces: Vec<(NamespaceName, std::rc::Rc<Netns>)> = walk.namespaces().into_iter().collect();
        if let Some((name, netns)) = random.pick(&namespaces) {
            let deed = one(walk, random, name, netns);
            told.extend(deed.map(|deed| format!("{name}: {deed}")));
        }
    }
    told
}

fn one(walk: &Walk<'_>, random: &mut Random, name: &NamespaceName, netns: &Netns) -> Option<String> {
    match random.below(10) {
        0 => delete(netns, random, &RouteNetlinkMessage::GetAddress(AddressMessage::default())),
        1 => delete(netns, random, &RouteNetlinkMessage::GetRoute(RouteMessage::default())),
        2 => delete(netns, random, &RouteNetlinkMessage::GetRule(RuleMessage::default())),
        3 => delete(netns, random, &RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default())),
        4 => delete(netns, random, &RouteNetlinkMessage::GetLink(LinkMessage::default())),
        5 => alter_link(netns, random),
        6 => sysctl(netns, random),
        7 | 8 => rule(walk, random, name),
        _ => foreign(netns, random),
    }
}

/// Deletes one object of a dump; none that the kernel would not let go.
fn delete(netns: &Netns, random: &mut Random, what: &RouteNetlinkMessage) -> Option<String> {
    let mut all = dump(netns, what);
    all.retain(worth);
    let chosen = random.pick(&all)?.clone();
    let deletion = match chosen {
        RouteNetlinkMessage::NewAddress(message) => RouteNetlinkMessage::DelAddress(message),
        RouteNetlinkMessage::NewRoute(message) => RouteNetlinkMessage::DelRoute(message),
        RouteNetlinkMessage::NewRule(message) => RouteNetlinkMessage::DelRule(message),
        RouteNetlinkMessage::NewNeighbour(message) => RouteNetlinkMessage::DelNeighbour(message),
        RouteNetlinkMessage::NewLink(message) => RouteNetlinkMessage::DelLink(message),
        _ => return None,
    };
    let done = request(netns, &deletion, 0);
    done.then(|| format!("deleted {}", words(&deletion, netns)))
}

fn words(message: &RouteNetlinkMessage, netns: &Netns) -> String {
    dvrlab::kernel::print::message_line(message, &names(netns)).unwrap_or_else(|| format!("{message:?}"))
}

/// Devices and addresses but for those of `lo`, unicast routes, and every rule and neighbour.
fn worth(message: &RouteNetlinkMessage) -> bool {
    match message {
        RouteNetlinkMessage::NewLink(link) => link.header.index != 1,
        RouteNetlinkMessage::NewAddress(address) => address.header.index != 1,
        RouteNetlinkMessage::NewRoute(route) => {
            route.header.kind == RouteType::Unicast && route.header.protocol != RouteProtocol::Unspec
        }
        _ => true,
    }
}

/// Takes a device down, or gives it another MTU or MAC.
fn alter_link(netns: &Netns, random: &mut Random) -> Option<String> {
    let mut all = dump(netns, &RouteNetlinkMessage::GetLink(LinkMessage::default()));
    all.retain(worth);
    let Some(RouteNetlinkMessage::NewLink(link)) = random.pick(&all) else { return None };
    let mut message = LinkMessage::default();
    message.header.index = link.header.index;
    let deed = match random.below(3) {
        0 => {
            message.header.change_mask = LinkFlags::Up;
            "down".to_owned()
        }
        1 => {
            message.attributes.push(LinkAttribute::Mtu(1300));
            "mtu 1300".to_owned()
        }
        _ => {
            message.attributes.push(LinkAttribute::Address(vec![2, 0, 0, 0, 0, 7]));
            "another MAC".to_owned()
        }
    };
    request(netns, &RouteNetlinkMessage::SetLink(message), 0).then(|| format!("{deed} on device {}", link.header.index))
}

/// Writes a watched sysctl.
fn sysctl(netns: &Netns, random: &mut Random) -> Option<String> {
    let mut scopes: Vec<String> = names(netns).into_values().map(|device| device.to_string()).collect();
    scopes.extend(["all".to_owned(), "default".to_owned()]);
    let scope = random.pick(&scopes)?;
    let key = match random.below(3) {
        0 => (*random.pick(&WATCHED)?).to_owned(),
        1 => format!("net.ipv4.conf.{scope}.{}", random.pick(&IPV4_CONF)?),
        _ => format!("net.ipv6.conf.{scope}.{}", random.pick(&IPV6_CONF)?),
    };
    let value = random.below(2).to_string();
    netns.sysctl_set(&key, &value).ok()?;
    Some(format!("{key} = {value}"))
}

/// Deletes a rule of a table, or doubles one.
fn rule(walk: &Walk<'_>, random: &mut Random, name: &NamespaceName) -> Option<String> {
    let state = walk.lab.observe(walk.host()).unwrap();
    let family = *random.pick(&Family::BOTH)?;
    let tables: &BTreeMap<Table, BTreeMap<ChainName, Chain>> = &state.namespaces.get(name)?.ruleset(family).tables;
    let mut all: Vec<(Table, ChainName, usize, Rule)> = Vec::new();
    for (table, chains) in tables {
        for (chain, content) in chains {
            all.extend(content.rules.iter().enumerate().map(|(at, rule)| (*table, chain.clone(), at, rule.clone())));
        }
    }
    let (table, chain, at, rule) = random.pick(&all)?.clone();
    let deed = format!("{} {chain} {at} {rule}", table.name());
    let (word, change) = if random.below(2) == 0 {
        ("deleted", ChainChange::Delete(chain, at, rule))
    } else {
        ("doubled", ChainChange::Insert(chain, at, rule))
    };
    let action = Action::Rules(RuleChanges { changes: vec![(family, table, change)] });
    let plan = Plan { ops: vec![Op { namespace: name.clone(), action }] };
    walk.lab.apply(walk.host(), &plan, &mut |_op| {}).unwrap();
    Some(format!("{word} {deed}"))
}

/// Adds a rule, an address, a route or a device of one's own.
fn foreign(netns: &Netns, random: &mut Random) -> Option<String> {
    use netlink_packet_route::AddressFamily;
    use netlink_packet_route::address::AddressAttribute;
    use netlink_packet_route::link::{InfoKind, LinkInfo};
    use netlink_packet_route::rule::{RuleAction, RuleAttribute};
    let devices = dump(netns, &RouteNetlinkMessage::GetLink(LinkMessage::default()));
    let Some(RouteNetlinkMessage::NewLink(device)) = random.pick(&devices) else { return None };
    let ours = std::net::Ipv4Addr::new(192, 0, 2, 7);
    let (what, message) = match random.below(3) {
        0 => {
            let mut message = AddressMessage::default();
            message.header.family = AddressFamily::Inet;
            message.header.index = device.header.index;
            message.header.prefix_len = 24;
            message.attributes.push(AddressAttribute::Local(ours.into()));
            ("an address of its own", RouteNetlinkMessage::NewAddress(message))
        }
        1 => {
            let mut message = RuleMessage::default();
            message.header.family = AddressFamily::Inet;
            message.header.action = RuleAction::ToTable;
            message.header.src_len = 32;
            message.attributes = vec![
                RuleAttribute::Source(ours.into()),
                RuleAttribute::Table(77),
                RuleAttribute::Priority(u32::try_from(random.below(100_000)).unwrap()),
            ];
            ("a rule of its own", RouteNetlinkMessage::NewRule(message))
        }
        _ => {
            let mut message = LinkMessage::default();
            message.attributes.push(LinkAttribute::IfName("foreign0".to_owned()));
            message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
            ("a device of its own", RouteNetlinkMessage::NewLink(message))
        }
    };
    request(netns, &message, NLM_F_CREATE).then(|| what.to_owned())
}

fn send(socket: &Socket, message: &RouteNetlinkMessage, flags: u16) {
    let mut request = NetlinkMessage::from(message.clone());
    request.header.flags = NLM_F_REQUEST | flags;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0).unwrap();
}

/// Whether the kernel did it.
fn request(netns: &Netns, message: &RouteNetlinkMessage, flags: u16) -> bool {
    netns
        .run_in(|| {
            let socket = Socket::new(NETLINK_ROUTE).unwrap();
            send(&socket, message, NLM_F_ACK | flags);
            let (answer, _) = socket.recv_from_full().unwrap();
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).unwrap();
            matches!(answer.payload, NetlinkPayload::Error(error) if error.code.is_none())
        })
        .unwrap()
}

fn dump(netns: &Netns, message: &RouteNetlinkMessage) -> Vec<RouteNetlinkMessage> {
    let read = || {
        let socket = Socket::new(NETLINK_ROUTE).unwrap();
        send(&socket, message, NLM_F_DUMP);
        let mut all = Vec::new();
        loop {
            let (bytes, _) = socket.recv_from_full().unwrap();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).unwrap();
                let length = usize::try_from(answer.header.length).unwrap().next_multiple_of(4);
                match answer.payload {
                    NetlinkPayload::InnerMessage(object) => all.push(object),
                    _ => return all,
                }
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    };
    netns.run_in(read).unwrap()
}
