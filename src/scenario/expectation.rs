//! What must be seen, as values.

use std::net::IpAddr;

use super::announced::AnnouncedExpectation;
use super::hops::HopAnswer;
use super::note::Span;
use super::status::StatusExpectation;
use crate::flow::{Flow, PacketOptions, Place, Protocol};
use crate::name::{HostName, Name, NamespaceName};
use crate::namespace::Kind;
use crate::net::Family;
use crate::topology::Segment;
use crate::watch::Class;

/// One sentence below `expect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// Where it stands in the file.
    pub span: Span,
    /// Its line, from 1.
    pub line: usize,
    /// `SUBJECT: sentence`, with single blanks.
    pub text: String,
    /// What it says.
    pub what: Expected,
}

/// What a sentence is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Packets.
    Flow(FlowExpectation),
    /// Objects in namespaces.
    State(StateExpectation),
    /// What a place has been through.
    Course(CourseExpectation),
    /// Frames that must not be on a provider segment, and are.
    Watch(WatchExpectation),
    /// What the API shows of a floating IP.
    Status(StatusExpectation),
    /// Who announces an address.
    Announced(AnnouncedExpectation),
    /// Frames on a segment.
    Frames(FrameExpectation),
}

/// What becomes of the flows of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowExpectation {
    /// Who sends.
    pub sources: Vec<Source>,
    /// Where to.
    pub targets: Vec<Target>,
    /// `<->`: the other way as well.
    pub both: bool,
    /// None: icmp, tcp/80 and udp/9000, which must all agree.
    pub protocol: Option<Protocol>,
    /// `over ipv4`, `over ipv6`, or what the protocol or an address says. None: IPv4 where both ends have it.
    pub family: Option<Family>,
    /// `from PORT` or `id N`, `ttl N`, `size N`, `bytes N`, `df`.
    pub options: PacketOptions,
    /// `count N`: how many are sent alike.
    pub count: u16,
    /// What must become of them.
    pub outcome: Outcome,
}

/// A node that sends, or a router's namespace, and which of its addresses it uses; the first of the family unless told
/// otherwise, and what its routing says for a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The node or the namespace; a target is a node.
    pub place: Place,
    /// `NODE@ADDRESS`.
    pub address: Option<IpAddr>,
}

/// Where a flow goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A node, by name: that node must answer.
    Node(Source),
    /// An address.
    Address(IpAddr),
    /// Each address from the first to the last.
    Range(IpAddr, IpAddr),
}

/// What must become of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It arrives, and these clauses hold.
    Delivered(Delivery),
    /// It does not.
    Failed(Failure),
}

/// The clauses about a flow that arrives; what is absent is not judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// `as`: the source that the far end saw.
    pub source: Option<SeenAs>,
    /// `reaches`: who answered.
    pub reaches: Vec<Name>,
    /// `via`: hosts of the external legs crossed, in order; without any, the host that routed it.
    pub via: Vec<HostName>,
    /// `through`: the router namespaces that saw it, in order.
    pub through: Vec<Place>,
    /// `hops`: who answers TTL by TTL; the last is the target.
    pub hops: Vec<HopAnswer>,
    /// `ttl`: what was left of it at the far end.
    pub ttl: Option<u8>,
    /// `port`: the source port at the far end.
    pub port: Option<SeenPort>,
    /// `reply via`.
    pub reply_via: Vec<HostName>,
    /// `reply through`.
    pub reply_through: Vec<Place>,
    /// `reply ttl`.
    pub reply_ttl: Option<u8>,
    /// `no answer`: it arrives, and no answer comes back.
    pub no_answer: bool,
}

/// The source that the far end saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenAs {
    /// That address.
    Address(IpAddr),
    /// The sender's own fixed address.
    Itself,
}

/// The source port (icmp: echo id) that the far end saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenPort {
    /// The one that was sent.
    Kept,
    /// Another one.
    Changed,
    /// A different one for each source of the line.
    Distinct,
    /// One from the first to the last.
    Range(u16, u16),
}

/// How a flow fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure.
    pub reason: Reason,
    /// Who said so.
    pub by: Option<Speaker>,
    /// Where it was last seen.
    pub at: Option<Place>,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Any of the others.
    Unreachable,
    /// TCP reset or ICMP port unreachable.
    Refused,
    /// ICMP net or host unreachable, or no route.
    NoRoute,
    /// Nobody answered ARP.
    NoNeighbour,
    /// ICMP administratively prohibited.
    Prohibited,
    /// Fragmentation needed, with that MTU.
    TooBig(u32),
    /// ICMP time exceeded.
    Expired,
    /// Discarded by a rule or the kernel.
    Dropped,
}

/// Who said that a flow fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speaker {
    /// That address.
    Address(IpAddr),
    /// A node, by any of its addresses.
    Node(Name),
    /// A namespace of a host: the packet came no further, and it said so.
    Namespace(Place),
}

/// What must stand, or not stand, at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateExpectation {
    /// Where.
    pub place: StatePlace,
    /// How many.
    pub quantity: Quantity,
    /// Of which kind.
    pub kind: Kind,
    /// Words that occur in the printed line, in this order, gaps allowed; may be empty.
    pub pattern: Vec<String>,
}

/// What must be seen, or not be seen, on a segment in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameExpectation {
    /// Where.
    pub on: Segment,
    /// How many.
    pub quantity: Quantity,
    /// Words that occur in the printed frame, in this order, gaps allowed; may be empty.
    pub pattern: Vec<String>,
}

/// What a place must have been through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CourseExpectation {
    /// Where.
    pub place: StatePlace,
    /// What.
    pub what: Course,
}

/// What can be said of the course of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Course {
    /// What stands on the host is not what is intended.
    Stale,
    /// It is.
    InSync,
    /// Nothing of the place was deleted, added or written anew in this step; with a step, all is as it was after that.
    Unchanged(Option<usize>),
    /// What matches is what matched before this step, or after that one, and was not touched since.
    Keeps {
        /// Of which kind.
        kind: Kind,
        /// Words that occur in the printed line, in this order.
        pattern: Vec<String>,
        /// After which step.
        since: Option<usize>,
    },
}

impl std::fmt::Display for Course {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stale => "stale",
            Self::InSync => "in sync",
            Self::Unchanged(_) => "unchanged",
            Self::Keeps { .. } => "keeps",
        })
    }
}

/// What the watch must see; what is absent is not judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchExpectation {
    /// The violation; none for `silent`.
    pub class: Option<Class>,
    /// `from`: the node whose address is the source.
    pub from: Option<Name>,
    /// `via`: the host that sends it.
    pub via: Option<HostName>,
    /// `on`: the external network.
    pub on: Option<Name>,
}

/// Where objects are looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatePlace {
    /// Every host, with all its namespaces.
    All,
    /// A host with all its router namespaces.
    Host(HostName),
    /// One namespace of a host.
    Namespace(HostName, NamespaceName),
    /// An instance or a machine outside.
    Node(Name),
}

impl std::fmt::Display for StatePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Host(host) => write!(f, "{host}"),
            Self::Namespace(host, namespace) => write!(f, "{host}/{namespace}"),
            Self::Node(node) => write!(f, "{node}"),
        }
    }
}

/// How many objects there must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// `has`: one or more.
    Some,
    /// `has N`: exactly that many.
    Exactly(usize),
    /// `no`: none.
    None,
}

/// A sentence that does not hold, in words.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Mismatch {
    /// What was seen instead: `icmp vm1 -> 198.51.100.2: as 10.0.1.11, not as 203.0.113.10`.
    pub sentence: String,
    /// The flow that it is about, if it is about one.
    #[serde(skip)]
    pub flow: Option<Flow>,
}
