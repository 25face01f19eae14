//! A packet that is to go somewhere, and what became of it.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::name::{DeviceName, HostName, Name};
use crate::net::Mac;

/// What a probe speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Echo request (ICMP or ICMPv6, as the addresses are).
    Icmp,
    /// Handshake and payload to this port.
    Tcp(u16),
    /// Datagram to this port.
    Udp(u16),
    /// ARP (IPv4) or neighbour discovery (IPv6) for the target.
    Arp,
}

impl Protocol {
    /// What a flow without a protocol stands for.
    pub const MATRIX: [Self; 3] = [Self::Icmp, Self::Tcp(80), Self::Udp(9000)];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Icmp => "icmp".to_owned(),
            Self::Tcp(port) => format!("tcp/{port}"),
            Self::Udp(port) => format!("udp/{port}"),
            Self::Arp => "arp".to_owned(),
        };
        f.pad(&text)
    }
}

/// One packet and its answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Flow {
    /// The sender: a node, or a router namespace of a host.
    pub from: Place,
    /// Which of its addresses; the first of the family unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Where to.
    pub to: IpAddr,
    /// How.
    pub protocol: Protocol,
    /// What else is asked of its packets.
    #[serde(flatten)]
    pub options: PacketOptions,
    /// Which one it is of several that are alike: 0 is the first.
    #[serde(default, skip_serializing_if = "is_first")]
    pub copy: u16,
}

/// What may be asked of the packets of a flow, beyond who sends what to whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PacketOptions {
    /// Source port, or echo id; free unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Initial TTL or hop limit; 64 unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Length of the IP packet in bytes; as short as it gets unless told otherwise. TCP has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u16>,
    /// Bytes to transfer over TCP; as few as it gets unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u32>,
    /// It may not be cut into fragments: IPv4's "don't fragment". IPv6 lets no router do so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub df: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
fn is_first(copy: &u16) -> bool {
    *copy == 0
}

impl PacketOptions {
    /// As the language writes them behind the target: ` from 5555 ttl 3 size 1400 df`.
    pub fn suffix(&self) -> String {
        let port = self.source_port.map(|port| format!(" from {port}"));
        let ttl = self.ttl.map(|ttl| format!(" ttl {ttl}"));
        let size = self.size.map(|size| format!(" size {size}"));
        let bytes = self.bytes.map(|bytes| format!(" bytes {bytes}"));
        let df = self.df.then(|| " df".to_owned());
        [port, ttl, size, bytes, df].into_iter().flatten().collect()
    }
}

impl Flow {
    /// One of which nothing else is asked.
    pub fn new(from: impl Into<Place>, to: IpAddr, protocol: Protocol) -> Self {
        Self { from: from.into(), source: None, to, protocol, options: PacketOptions::default(), copy: 0 }
    }

    /// What it speaks, as the language writes it: `nd` is ARP's part in IPv6.
    pub fn spoken(&self) -> String {
        match self.protocol {
            Protocol::Arp if self.to.is_ipv6() => "nd".to_owned(),
            protocol @ (Protocol::Icmp | Protocol::Tcp(_) | Protocol::Udp(_) | Protocol::Arp) => protocol.to_string(),
        }
    }

    /// What follows a target that is called by its name: nothing for IPv4, and nothing where the protocol says it.
    pub fn over(&self) -> &'static str {
        if self.to.is_ipv6() && self.protocol != Protocol::Arp { " over ipv6" } else { "" }
    }
}

/// Where something was seen: a namespace of a host (`cmp1/qrouter-r1`), or a node (`web`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Place {
    /// The host, if it is one of its namespaces.
    pub host: Option<HostName>,
    /// The namespace or the node.
    pub name: String,
}

impl Place {
    /// Its name, if it is a node.
    pub fn node(&self) -> Option<Name> {
        if self.host.is_some() { None } else { Name::new(self.name.as_str()).ok() }
    }

    /// Whether it is this node.
    pub fn is(&self, node: &Name) -> bool {
        self.host.is_none() && self.name == node.as_str()
    }
}

impl From<Name> for Place {
    fn from(node: Name) -> Self {
        Self { host: None, name: node.to_string() }
    }
}

impl From<&Name> for Place {
    fn from(node: &Name) -> Self {
        Self { host: None, name: node.to_string() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => f.pad(&format!("{host}/{}", self.name)),
            None => f.pad(&self.name),
        }
    }
}
impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}
impl TryFrom<String> for Place {
    type Error = crate::name::NameError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.split_once('/') {
            Some((host, name)) => Ok(Self { host: Some(HostName::new(host)?), name: name.to_owned() }),
            None => Ok(Self { host: None, name: text }),
        }
    }
}
impl schemars::JsonSchema for Place {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Place".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

/// The closed list of what can become of a probe. `scenarios/README.md` has an example of each; `tests/outcomes.rs` keeps the
/// two in step and provokes each on the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It arrived, and its answer came back.
    Delivered,
    /// It arrived, but no answer came back.
    NoAnswer,
    /// TCP reset or port unreachable.
    Refused,
    /// Net or host unreachable, or the routing lookup failed.
    NoRoute,
    /// Nobody answered ARP or ND, or it was sent to a MAC that nobody has.
    NoNeighbour,
    /// Administratively prohibited.
    Prohibited,
    /// Fragmentation needed or packet too big, with that MTU.
    TooBig(u32),
    /// Time exceeded.
    Expired,
    /// Seen to enter a place and not to leave it, or to leave it by a device behind which nobody took it.
    Dropped,
    /// No evidence at all: a defect of the harness.
    Lost,
}

/// What the far end saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Seen {
    /// Who answered (or, for `arp`, owns the MAC that answered): a node, or a namespace of a host.
    pub responder: Place,
    /// The source address it saw.
    pub source: IpAddr,
    /// The source port or echo id it saw.
    pub source_port: Option<u16>,
    /// TTL or hop limit left.
    pub ttl: u8,
    /// For `arp`: the MAC that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub mac: Option<Mac>,
}

/// A packet's passage through one place, as a tap saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Hop {
    /// Where.
    pub place: Place,
    /// The device it came in by; none where it was made.
    pub entered: Option<DeviceName>,
    /// The device it left by; none where it ended.
    pub left: Option<DeviceName>,
    /// Source as it left (or entered, where it ended).
    pub source: IpAddr,
    /// Destination as it left (or entered, where it ended).
    pub destination: IpAddr,
    /// TTL or hop limit as it left (or entered).
    pub ttl: u8,
}

/// What became of one flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ProbeReport {
    /// The flow.
    pub flow: Flow,
    /// The outcome.
    pub verdict: Verdict,
    /// At the far end, if it got there.
    pub seen: Option<Seen>,
    /// Who said no: the address that the refusal came from, or would have come from had the kernel not reached the limit of
    /// what it says to one sender.
    pub by: Option<IpAddr>,
    /// Where the request was last seen, if it did not arrive.
    pub at: Option<Place>,
    /// The way there, router namespaces and nodes in order.
    pub path: Vec<Hop>,
    /// The way back.
    pub reply_path: Vec<Hop>,
    /// TTL of the answer where it arrived.
    pub reply_ttl: Option<u8>,
}

/// The hosts whose external legs (`qg-`, `fg-`) a way crossed, in order; without any, the hosts that routed it.
pub fn via(path: &[Hop]) -> Vec<&HostName> {
    let external = |device: &Option<DeviceName>| {
        device.as_ref().is_some_and(|d| d.as_str().starts_with("qg-") || d.as_str().starts_with("fg-"))
    };
    let mut hosts: Vec<&HostName> = path
        .iter()
        .filter(|hop| external(&hop.entered) || external(&hop.left))
        .filter_map(|hop| hop.place.host.as_ref())
        .collect();
    if hosts.is_empty() {
        hosts = path.iter().filter_map(|hop| hop.place.host.as_ref()).collect();
    }
    hosts.dedup();
    hosts
}

/// The router namespaces of a way, in order.
pub fn through(path: &[Hop]) -> Vec<&Place> {
    path.iter().filter(|hop| hop.place.host.is_some()).map(|hop| &hop.place).collect()
}
