//! Whether this machine can run labs, found out by doing each thing once in a sandbox.
//!
//! In: the program to start as a sandbox. Out: one [`Check`] a thing. Never: a conclusion from a version number.

use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour_table::{NeighbourTableAttribute, NeighbourTableMessage, NeighbourTableParameter};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{SocketAddr, protocols::NETLINK_ROUTE};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::{LinkBridge, LinkVeth, LinkVxlan};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Mode, Sandbox};

/// Something that a lab needs, and whether this machine has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was tried: `bridge`.
    pub what: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of trying something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It works.
    Works,
    /// It does not.
    Missing {
        /// The kernel's reason.
        reason: String,
        /// What cannot be done without it.
        costs: String,
        /// What to do about it.
        remedy: String,
    },
}

/// Tries everything. The first check is the sandbox itself; without it there are no others.
pub fn examine(program: &Path) -> Vec<Check> {
    let mut sandbox = match Sandbox::start(program, Mode::Examine, "") {
        Ok(sandbox) => sandbox,
        Err(error) => {
            let remedy = error.remedy().unwrap_or_default();
            return vec![missing("sandbox", chain(&error), "no lab can run", &remedy)];
        }
    };
    let mut checks = vec![Check { what: "sandbox".to_owned(), outcome: Outcome::Works }];
    if !sandbox.writable().is_empty() {
        let reason = format!("these would not be made read-only: {:?}", sandbox.writable());
        checks.push(missing("read-only mounts", reason, "a program run by `exec` could write there", "none needed"));
    }
    while let Ok(Some(line)) = sandbox.read_line() {
        checks.extend(serde_json::from_str::<Check>(&line));
    }
    checks
}

fn missing(what: &str, reason: String, costs: &str, remedy: &str) -> Check {
    let outcome = Outcome::Missing { reason, costs: costs.to_owned(), remedy: remedy.to_owned() };
    Check { what: what.to_owned(), outcome }
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// A thing to try: its name, how, what a lab cannot do without it, and the remedy.
type Trial = (&'static str, fn() -> io::Result<()>, &'static str, &'static str);

/// Device indexes of the devices that are made while trying.
const BRIDGE: u32 = 101;
const VETH: u32 = 102;
const VXLAN: u32 = 104;

/// In this order: later ones use devices of earlier ones.
const TRIALS: [Trial; 9] = [
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
    ("bridge netfilter switch", bridge_netfilter, "none where the module `br_netfilter` is not loaded", "none needed"),
    ("packet socket", packet_socket, "no probes", "build the kernel with CONFIG_PACKET"),
];

const NO_LAB: &str = "no lab can run";
const SYSCTL_REMEDY: &str = "start the container with a writable /proc/sys";

/// Stage 2's part: tries each thing and writes a check a line.
pub(super) fn inside(record: &mut dyn Write) -> i32 {
    for (what, trial, costs, remedy) in TRIALS {
        let check = match trial() {
            Ok(()) => Check { what: what.to_owned(), outcome: Outcome::Works },
            Err(error) => missing(what, chain(&error), costs, remedy),
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
fn network_namespace() -> io::Result<()> {
    let outcome = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join();
    outcome.map_err(|_panic| io::Error::other("the thread panicked"))?.map_err(io::Error::from)
}

fn bridge() -> io::Result<()> {
    add_link(LinkBridge::new("br").index(BRIDGE).up().build())
}

fn veth() -> io::Result<()> {
    add_link(LinkVeth::new("ve0", "ve1").index(VETH).controller(BRIDGE).up().build())
}

fn vxlan() -> io::Result<()> {
    let tunnel = LinkVxlan::new("vx", 1).local(Ipv4Addr::LOCALHOST).port(4789).learning(false);
    add_link(tunnel.index(VXLAN).controller(BRIDGE).up().build())
}

fn neighbour_timing() -> io::Result<()> {
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

fn sysctl() -> io::Result<()> {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")
}

fn conntrack() -> io::Result<()> {
    fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").map(drop)
}

fn bridge_netfilter() -> io::Result<()> {
    fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0")
}

fn packet_socket() -> io::Result<()> {
    Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(0x0003_u16.to_be())))).map(drop)
}

fn add_link(message: LinkMessage) -> io::Result<()> {
    ask(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// One request and its acknowledgement, in the namespace of the thread.
fn ask(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
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
        return Err(io::Error::other("the answer is no acknowledgement"));
    };
    if error.code.is_some() { Err(error.to_io()) } else { Ok(()) }
}
