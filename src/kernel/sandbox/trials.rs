//! Each thing that labs need, done once, in the network namespace of a sandbox made for it.
//!
//! In: nothing. Out: a [`Check`] a line. Never: a trial that goes on to another way when one fails.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::thread;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour_table::{NeighbourTableAttribute, NeighbourTableMessage, NeighbourTableParameter};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::SocketAddr;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::{LinkBridge, LinkVeth, LinkVxlan};
use socket2::{Domain, Protocol, Socket, Type};

use super::doctor::{Check, Outcome, chain, missing};
use crate::kernel::nft::{self, FrameAction, FrameMatch, NetdevChain, NetdevHook, NetdevRule};
use crate::kernel::watch::listen;
use crate::name::{DeviceName, HostName};
use crate::namespace::{ChainName, Hook, NatTarget, Rule, Table, Target, What, conntrack_state};
use crate::net::{Family, Mac};
use crate::plan::{ChainChange, RuleChanges};
use crate::watch::{self, Class, Says};

/// A thing to try: its name, how, what a lab cannot do without it, and the remedy.
type Trial = (&'static str, fn() -> Tried, &'static str, &'static str);

/// What came of a trial.
type Tried = Result<(), Box<dyn Error>>;

/// Device indexes of the devices that are made while trying.
const BRIDGE: u32 = 101;
const VETH: u32 = 102;
const VXLAN: u32 = 104;

/// In this order: later ones use devices of earlier ones.
const TRIALS: [Trial; 15] = [
    ("network namespace", network_namespace, NO_LAB, "as root: sysctl -w user.max_net_namespaces=100000"),
    ("bridge", bridge, NO_LAB, "load or build the kernel module `bridge` (CONFIG_BRIDGE)"),
    ("veth pair", veth, NO_LAB, "load or build the kernel module `veth` (CONFIG_VETH)"),
    ("VXLAN", vxlan, "no lab of more than one host", "load or build the kernel module `vxlan` (CONFIG_VXLAN)"),
    ("neighbour timing", neighbour_timing, "unreachable addresses take three seconds each", "use a newer kernel"),
    ("sysctl in a namespace", sysctl, NO_LAB, SYSCTL_REMEDY),
    (
        "connection tracking",
        conntrack,
        "no NAT",
        "load or build the kernel module `nf_conntrack` (CONFIG_NF_CONNTRACK)",
    ),
    ("netdev hooks", netdev_hooks, NO_LAB, NF_TABLES_REMEDY),
    ("bridge hooks and log", watch, NO_LAB, WATCH_REMEDY),
    ("NAT rules", nat_rules, NO_LAB, NF_TABLES_REMEDY),
    ("mark rules", mark_rules, "no address scopes, no metadata", NF_TABLES_REMEDY),
    ("no-track rules", notrack_rules, "no floating IPs", NF_TABLES_REMEDY),
    ("IPv6 rules", v6_rules, NO_LAB, NF_TABLES_REMEDY),
    ("bridge netfilter switch", bridge_netfilter, "none where the module `br_netfilter` is not loaded", "none needed"),
    ("packet socket", packet_socket, "no probes", "build the kernel with CONFIG_PACKET"),
];

const NO_LAB: &str = "no lab can run";
const NF_TABLES_REMEDY: &str = "load or build nf_tables with netdev ingress and egress, nft_compat, and the iptables extensions (CONFIG_NFT_COMPAT, CONFIG_NETFILTER_EGRESS, CONFIG_NETFILTER_XT_*)";
const WATCH_REMEDY: &str = "load or build nf_tables for bridges and its log (CONFIG_NF_TABLES_BRIDGE, CONFIG_NFT_LOG, CONFIG_NETFILTER_NETLINK_LOG)";
const SYSCTL_REMEDY: &str = "start the container with a writable /proc/sys";

/// Stage 2's part: tries each thing and writes a check a line.
pub(super) fn inside(record: &mut dyn Write) -> i32 {
    for (what, trial, costs, remedy) in TRIALS {
        let check = match trial() {
            Ok(()) => Check { what: what.to_owned(), outcome: Outcome::Works },
            Err(error) => missing(what, chain(&*error), costs, remedy),
        };
        if serde_json::to_writer(&mut *record, &check).map_err(io::Error::from).and_then(|()| writeln!(record)).is_err()
        {
            return 1;
        }
    }
    0
}

/// On a thread that ends with it, so that the devices of the other trials are not left behind.
#[expect(clippy::disallowed_methods, reason = "trying it is the point")]
fn network_namespace() -> Tried {
    let outcome = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join();
    Ok(outcome.map_err(|_panic| "the thread panicked")??)
}

fn bridge() -> Tried {
    add_link(LinkBridge::new("br").index(BRIDGE).up().build())
}

fn veth() -> Tried {
    add_link(LinkVeth::new("ve0", "ve1").index(VETH).controller(BRIDGE).up().build())
}

fn vxlan() -> Tried {
    let tunnel = LinkVxlan::new("vx", 1).local(Ipv4Addr::LOCALHOST).port(4789).learning(false);
    add_link(tunnel.index(VXLAN).controller(BRIDGE).up().build())
}

fn neighbour_timing() -> Tried {
    let mut message = NeighbourTableMessage::default();
    message.header.family = AddressFamily::Inet;
    message.attributes = vec![
        NeighbourTableAttribute::Name("arp_cache".to_owned()),
        NeighbourTableAttribute::Parms(vec![
            NeighbourTableParameter::Ifindex(VETH),
            NeighbourTableParameter::RetransTime(10),
            NeighbourTableParameter::McastProbes(1),
        ]),
    ];
    ask(RouteNetlinkMessage::SetNeighbourTable(message), 0)
}

fn sysctl() -> Tried {
    Ok(fs::write("/proc/sys/net/ipv4/ip_forward", "1")?)
}

fn conntrack() -> Tried {
    Ok(fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").map(drop)?)
}

/// Without the module there is nothing to switch off.
fn bridge_netfilter() -> Tried {
    match fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => Ok(other?),
    }
}

/// What layer 2 of a distributed router needs: a source MAC replaced on the way out, a frame dropped on the way in.
/// The watch on provider segments: rules in the bridge, and the kernel's log.
fn watch() -> Tried {
    let host = HostName::new("doctor")?;
    let rules = [watch::Rule { mac: None, says: Says::Anything, class: Class::TenantSource }];
    let sender = nft::Sender { group: 1, host: &host, rules: &rules };
    nft::watch(&netfilter()?, 0, &[sender])?;
    Ok(listen(&netfilter()?)?)
}

fn netdev_hooks() -> Tried {
    let device = DeviceName::new("ve0")?;
    let on = |hook, name: &str, action| NetdevChain {
        name: name.to_owned(),
        device: device.clone(),
        hook,
        priority: 0,
        rules: vec![NetdevRule::does([action]).when(FrameMatch::Source(Mac::ZERO))],
    };
    let chains = [
        on(NetdevHook::Egress, "out", FrameAction::SetSource(Mac::BROADCAST)),
        on(NetdevHook::Ingress, "in", FrameAction::Drop),
    ];
    Ok(nft::replace_netdev(&netfilter()?, "dvrlab-doctor", &chains)?)
}

fn nat_rules() -> Tried {
    let address = NatTarget { random_fully: true, ..NatTarget::to(Ipv4Addr::LOCALHOST.into()) };
    let translated = What::ConntrackState(conntrack_state::DNAT);
    rule(Family::V4, Table::Nat, Hook::Postrouting, Rule::to(Target::Snat(address.clone())).unless(translated))?;
    let comment = What::Comment("doctor".to_owned());
    rule(
        Family::V4,
        Table::Nat,
        Hook::Prerouting,
        Rule::to(Target::Dnat(NatTarget::to(address.address))).when(comment),
    )?;
    rule(Family::V4, Table::Nat, Hook::Prerouting, Rule::to(Target::Redirect(9697.into())).when(What::Protocol(6)))
}

fn mark_rules() -> Tried {
    let (save, restore) = (Target::SaveMark(!0, !0), Target::RestoreMark(!0, !0));
    rule(Family::V4, Table::Mangle, Hook::Prerouting, Rule::to(Target::Mark(1, 1)).when(What::Mark(0, 1)))?;
    rule(Family::V4, Table::Mangle, Hook::Prerouting, Rule::to(save).when(What::ConnMark(0, 1)))?;
    rule(Family::V4, Table::Mangle, Hook::Prerouting, Rule::to(restore))
}

fn notrack_rules() -> Tried {
    rule(Family::V4, Table::Raw, Hook::Prerouting, Rule::to(Target::NoTrack))
}

fn v6_rules() -> Tried {
    rule(Family::V6, Table::Filter, Hook::Forward, Rule::to(Target::Drop).when(What::Mark(1, 1)))
}

/// Adds a rule as iptables-nft would.
fn rule(family: Family, table: Table, hook: Hook, rule: Rule) -> Tried {
    let socket = netfilter()?;
    let standing = nft::read(&socket)?;
    let change = ChainChange::Insert(ChainName::Builtin(hook), 0, rule);
    Ok(nft::commit(&socket, &RuleChanges { changes: vec![(family, table, change)] }, &standing)?)
}

fn netfilter() -> io::Result<netlink_sys::Socket> {
    let mut socket = netlink_sys::Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    Ok(socket)
}

fn packet_socket() -> Tried {
    Ok(Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(0x0003_u16.to_be())))).map(drop)?)
}

fn add_link(message: LinkMessage) -> Tried {
    ask(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// One request and its acknowledgement, in the namespace of the thread.
fn ask(message: RouteNetlinkMessage, flags: u16) -> Tried {
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    let (answer, _sender) = socket.recv_from_full()?;
    let answer: NetlinkMessage<RouteNetlinkMessage> = NetlinkMessage::deserialize(&answer).map_err(io::Error::other)?;
    let NetlinkPayload::Error(error) = answer.payload else {
        return Err("the answer is no acknowledgement".into());
    };
    if error.code.is_some() { Err(error.to_io().into()) } else { Ok(()) }
}
