//! The one seam to the world. [`crate::kernel`] implements it on Linux.

mod around;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

pub use around::{Around, Standing};

use crate::flow::{Flow, Place, ProbeReport};
use crate::ledger::{Course, Paced, Packet};
use crate::memory::{Cache, Connection};
use crate::name::{HostName, Id, NamespaceName};
use crate::namespace::{HostState, Kind};
use crate::packet::{Exchanged, Sighted, UnderWay, Volley};
use crate::plan::{Op, Plan};
use crate::topology::{Segment, Topology};
use crate::watch::{Captured, Classification, Count};
use crate::why::Explanation;

/// Something that holds namespaces and carries packets.
pub trait Dataplane {
    /// Makes everything that is no router look like `topology`: hosts, layer 2, segments, instances, outside.
    ///
    /// # Errors
    /// [`DataplaneError::Topology`].
    fn shape(&self, topology: &Topology) -> Result<(), DataplaneError>;

    /// What stands in the router namespaces of a host.
    ///
    /// # Errors
    /// [`DataplaneError::Observe`].
    fn observe(&self, host: &HostName) -> Result<HostState, DataplaneError>;

    /// Carries a plan out, calling `after` when each operation is done. An operation that fails ends its namespace's part
    /// of the plan; the other namespaces' parts go on, and what failed is returned, all of it.
    ///
    /// # Errors
    /// [`DataplaneError::Apply`] with every failed operation.
    fn apply(&self, host: &HostName, plan: &Plan, after: &mut dyn FnMut(&Op)) -> Result<(), DataplaneError>;

    /// Sends all flows at once and says what became of each, in the same order.
    ///
    /// # Errors
    /// [`DataplaneError::Probe`] if the harness itself failed.
    fn send(&self, flows: &[Flow]) -> Result<Vec<ProbeReport>, DataplaneError>;

    /// Sends packets made to order, and looks until `enough` has been seen and nothing moves any more.
    ///
    /// # Errors
    /// [`DataplaneError::Probe`] if a packet cannot be sent by who is to send it, or the harness itself failed.
    fn exchange(&self, volley: &Volley, enough: &dyn Fn(&[Sighted]) -> bool) -> Result<Exchanged, DataplaneError>;

    /// Counts, on every provider segment that stands, what hosts send by these classes from now on.
    ///
    /// # Errors
    /// [`DataplaneError::Watch`]; then it is counted as before.
    fn watch(&self, classification: &Classification) -> Result<(), DataplaneError>;

    /// Frames that must not be there and were captured since this was last asked. Costs next to nothing while there are none.
    ///
    /// # Errors
    /// [`DataplaneError::Watch`].
    fn caught(&self) -> Result<Vec<Captured>, DataplaneError>;

    /// Sends one frame, as it is, onto a provider segment from a host's end of it, for the watch to see.
    ///
    /// # Errors
    /// [`DataplaneError::Watch`].
    fn inject(&self, network: &Id, host: &HostName, frame: &[u8]) -> Result<(), DataplaneError>;

    /// What was counted since this was last asked.
    ///
    /// # Errors
    /// [`DataplaneError::Watch`].
    fn counted(&self) -> Result<Vec<Count>, DataplaneError>;

    /// Sends one flow, has the kernel trace it, and tells its way. Takes many times longer than [`Dataplane::send`].
    ///
    /// # Errors
    /// [`DataplaneError::Probe`] if the harness itself failed.
    fn explain(&self, flow: &Flow) -> Result<Explanation, DataplaneError>;

    /// The connections that a namespace tracks, sorted, without those of probes; none where there is no such namespace. Ask
    /// only where it matters: reading them takes milliseconds. A host's name stands for its own namespace.
    ///
    /// # Errors
    /// [`DataplaneError::Memory`].
    fn connections(&self, place: &Place) -> Result<Vec<Connection>, DataplaneError>;

    /// What is around the routers.
    fn around(&self) -> &dyn Around;

    /// What happened to objects of router namespaces since this was last asked: deleted, or written anew. Nobody listens
    /// before this is asked for the first time; a namespace that is new since then is not among those told of.
    ///
    /// # Errors
    /// [`DataplaneError::Observe`].
    fn touched(&self) -> Result<BTreeMap<Place, Vec<Touched>>, DataplaneError>;

    /// What was on these segments since this was last asked. Nobody listens before this is asked for the first time, nor on a
    /// segment that it was not last asked of, or that is new since then.
    ///
    /// # Errors
    /// [`DataplaneError::Watch`].
    fn frames(&self, on: &BTreeSet<Segment>) -> Result<Frames, DataplaneError>;

    /// Has a namespace forget what it remembers of packets, or only what has that address.
    ///
    /// # Errors
    /// [`DataplaneError::Memory`], also if there is no such namespace.
    fn flush(&self, place: &Place, cache: Cache, address: Option<IpAddr>) -> Result<(), DataplaneError>;

    /// Runs a line of shell at a place, and waits for it. On a host `ip netns` knows its router namespaces by name.
    ///
    /// # Errors
    /// [`ExecError`], also if there is no such namespace; a program that ran and failed is none.
    fn shell(&self, place: &Place, line: &str) -> Result<Executed, ExecError>;

    /// Has these flows running from now on and no others; those that already do are left alone. What ends is forgotten by
    /// routers, too.
    ///
    /// # Errors
    /// [`DataplaneError::Probe`] if the harness itself failed, [`DataplaneError::Memory`].
    fn carry(&self, courses: &[Course]) -> Result<(), DataplaneError>;

    /// Sends one packet each way of every running flow.
    ///
    /// # Errors
    /// [`DataplaneError::Probe`] if the harness itself failed.
    fn beat(&self) -> Result<(), DataplaneError>;

    /// What became of the packets of running flows since this was last asked, in order, by the flow's number.
    ///
    /// # Errors
    /// [`DataplaneError::Probe`] if the harness itself failed.
    fn told(&self) -> Result<BTreeMap<u32, Vec<Packet>>, DataplaneError>;

    /// Has twins of those of these flows that have a pace sent by a clock from now on, beside everything else; those that
    /// already are go on.
    ///
    /// # Errors
    /// [`DataplaneError::Probe`] if the harness itself failed.
    fn pace(&self, courses: &[Course]) -> Result<(), DataplaneError>;

    /// Lets the twins run on for as long as each is to, and ends them. What became of each, by the flow's number.
    ///
    /// # Errors
    /// [`DataplaneError::Probe`] if the harness itself failed, [`DataplaneError::Memory`].
    fn paced(&self) -> Result<BTreeMap<u32, Paced>, DataplaneError>;

    /// How running flows stand, by the flow's number: for packets that are made beside them.
    fn under_way(&self) -> BTreeMap<u32, UnderWay>;

    /// Does nothing for so long, while the lab goes on by itself.
    fn let_be(&self, time: Duration);
}

/// An object that was deleted or written anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touched {
    /// Its kind.
    pub kind: Kind,
    /// The beginning of the line that it has in a state.
    pub line: String,
}

/// What a replay needs besides: the kernel's own words, programs, and a clock.
pub trait Bench: Dataplane {
    /// Every object of every router namespace of a host as a line, read from the kernel: also what the kernel makes by
    /// itself, which [`Dataplane::observe`] leaves out.
    ///
    /// # Errors
    /// [`DataplaneError::Observe`].
    fn dump(&self, host: &HostName) -> Result<BTreeMap<NamespaceName, Vec<String>>, DataplaneError>;

    /// Runs a program on a host, where `ip netns` knows the router namespaces by name, and waits for it.
    ///
    /// # Errors
    /// [`ExecError`]; a program that ran and failed is none.
    fn exec(&self, host: &HostName, command: &[String]) -> Result<Executed, ExecError>;

    /// Time since some moment before.
    fn clock(&self) -> Duration;
}

/// What became of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Its exit status; none where a signal ended it.
    pub exit: Option<i32>,
    /// Whether it succeeded, and else how it ended: `exit status: 2`.
    pub failed: Option<String>,
    /// What it wrote to standard output and standard error.
    pub output: String,
}

/// Why a program could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// This machine does not have it.
    #[error("there is no program {0} on this machine")]
    Missing(String),
    /// It could not be started or waited for.
    #[error("failed to run {program}: {reason}")]
    Run {
        /// The program.
        program: String,
        /// The reason.
        reason: String,
    },
}

/// An operation that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedOp {
    /// The operation.
    pub op: Op,
    /// The kernel's reason: errno name and text, with the kernel's own words where it gives some.
    pub reason: String,
}

/// What can go wrong between the harness and the world.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// The lab could not be given its shape.
    #[error("failed to {doing}: {reason}")]
    Topology {
        /// What was being done, with names: `plug vm1 into network red on cmp1`.
        doing: String,
        /// The kernel's reason.
        reason: String,
    },
    /// A namespace could not be read.
    #[error("{host}/{namespace}: failed to read {what}: {reason}")]
    Observe {
        /// The host.
        host: HostName,
        /// The namespace.
        namespace: NamespaceName,
        /// `routes`, `rules` ...
        what: &'static str,
        /// The kernel's reason.
        reason: String,
    },
    /// Operations failed.
    #[error("{host}: {} operation(s) failed", failed.len())]
    Apply {
        /// The host.
        host: HostName,
        /// Each with its reason.
        failed: Vec<FailedOp>,
    },
    /// The watch could not be set up or read.
    #[error("failed to {doing}: {reason}")]
    Watch {
        /// What was being done.
        doing: &'static str,
        /// The kernel's reason.
        reason: String,
    },
    /// What a namespace remembers of packets could not be read or forgotten.
    #[error("{place}: failed to {doing}: {reason}")]
    Memory {
        /// Where.
        place: Place,
        /// `read connections`, `forget neighbours`.
        doing: &'static str,
        /// The kernel's reason.
        reason: String,
    },
    /// What stands at a place that is no router could not be read.
    #[error("{place}: failed to {doing}: {reason}")]
    Place {
        /// Where.
        place: Place,
        /// `read routes`.
        doing: String,
        /// The kernel's reason.
        reason: String,
    },
    /// The harness could not send or read.
    #[error("failed to probe: {0}")]
    Probe(String),
}

/// Frames on segments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frames {
    /// In the order they came, but for what is on several segments, or comes in at several hosts.
    pub frames: Vec<SegmentFrame>,
    /// How many there was no room for.
    pub missed: u32,
}

/// A frame on a segment, told once however many ports it passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFrame {
    /// On which.
    pub on: Segment,
    /// On the underlay: whose tunnel it is in.
    pub tunnelled: Option<Tunnelled>,
    /// Its beginning, from the Ethernet header on; in a tunnel the inner one's.
    pub bytes: Vec<u8>,
}

/// A tunnel between two hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnelled {
    /// Who sends.
    pub from: HostName,
    /// To whom.
    pub to: HostName,
    /// The network inside.
    pub network: Id,
}
