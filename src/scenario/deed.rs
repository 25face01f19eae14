//! What is done to the lab itself, of which the API knows nothing, and how hosts hear of what it does know.

use std::net::IpAddr;

use super::expectation::FlowExpectation;
use super::machine::Exec;
use super::open::OpenFlow;
use crate::flow::Place;
use crate::memory::Cache;
use crate::name::{DeviceName, HostName, Id, Name, NamespaceName};
use crate::namespace::{Address, ChainName, Kind, PolicyRule, Route, Rule, Table};
use crate::net::{Family, Mac};

/// Something that is done to the lab itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// A namespace forgets what it remembers of packets, or only what has the address. A host's name stands for its own namespace.
    Flush(Place, Cache, Option<IpAddr>),
    /// A program runs.
    Exec(Exec),
    /// Something happens to the agents of these hosts.
    Agents(AgentDeed, Vec<HostName>),
    /// Hosts are switched on, or off.
    Hosts(bool, Vec<HostName>),
    /// A link of a machine, or a host's to the underlay.
    Link {
        /// The machine or the host.
        node: Name,
        /// The network; none where there is but one link, and for the underlay.
        to: Option<Id>,
        /// What it becomes.
        setting: LinkSetting,
    },
    /// The underlay between these groups is cut.
    Partition(Vec<Vec<HostName>>),
    /// All partitions end.
    Heal,
    /// Somebody does something behind an agent's back.
    Sabotage(Damage),
    /// Somebody does something to a machine, or to a host itself, which no agent looks after.
    Tamper(Place, Wreck),
    /// These hosts hear what was held back for them.
    Deliver {
        /// The hosts.
        hosts: Vec<HostName>,
        /// The last notice first.
        reversed: bool,
    },
    /// A flow runs from here on.
    OpenFlow(OpenFlow),
    /// The flow of that name ends.
    CloseFlow(String),
}

impl Deed {
    /// The flow that it opens.
    pub fn opened(&self) -> Option<&FlowExpectation> {
        match self {
            Self::OpenFlow(open) => Some(&open.flow),
            Self::CloseFlow(_)
            | Self::Flush(..)
            | Self::Exec(_)
            | Self::Agents(..)
            | Self::Hosts(..)
            | Self::Link { .. }
            | Self::Partition(_)
            | Self::Heal
            | Self::Sabotage(_)
            | Self::Tamper(..)
            | Self::Deliver { .. } => None,
        }
    }
}

/// What of a link is to be another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkSetting {
    /// It carries packets.
    pub up: Option<bool>,
    /// In bytes.
    pub mtu: Option<u32>,
}

/// Something that somebody does on a host behind its agent's back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The host.
    pub host: HostName,
    /// The namespace; none where namespaces themselves come or go.
    pub namespace: Option<NamespaceName>,
    /// What is done.
    pub wreck: Wreck,
}

/// What is done to objects of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wreck {
    /// All of a kind go whose printed line has these words.
    Delete(Kind, Vec<String>),
    /// An object comes, or takes the place of the one of the same name.
    Put(Thing),
    /// All of a kind go whose printed line has these words, and another comes.
    Replace(Kind, Vec<String>, Thing),
}

/// An object of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A router namespace.
    Namespace(NamespaceName),
    /// A new device, plugged into a network.
    NewDevice {
        /// Its name.
        device: DeviceName,
        /// The network.
        network: Id,
        /// In bytes.
        mtu: u32,
    },
    /// What of a device is to be another.
    Device {
        /// Its name.
        device: DeviceName,
        /// In bytes.
        mtu: Option<u32>,
        /// Administratively up.
        up: Option<bool>,
        /// Its MAC.
        mac: Option<Mac>,
    },
    /// An address.
    Address(Address),
    /// A policy rule.
    Rule(PolicyRule),
    /// A route.
    Route(Route),
    /// A permanent neighbour.
    Neighbour(DeviceName, IpAddr, Mac),
    /// A sysctl: key, value.
    Sysctl(String, String),
    /// A rule of the iptables tables.
    TableRule {
        /// The family.
        family: Family,
        /// The table.
        table: Table,
        /// The chain.
        chain: ChainName,
        /// Its place in the chain, from 0; at the end if none.
        position: Option<usize>,
        /// The rule.
        rule: Rule,
    },
}

/// What happens to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AgentDeed {
    /// It ends between two updates; what it built stays.
    Stop,
    /// It starts and synchronises.
    Start,
    /// It ends, starts and synchronises.
    Restart,
    /// It synchronises.
    Resync,
}

/// How a host hears of a step's change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hearing {
    /// One notice for the step.
    #[default]
    Merged,
    /// One an operation, back to back.
    Split,
    /// One an operation, the last first.
    Reversed,
    /// The step's notice comes twice.
    Twice,
    /// No notice arrives.
    Lost,
    /// No notice arrives until `deliver`.
    Held,
}

impl Hearing {
    /// Every way with its word and its meaning, in the order of the reference.
    pub const ALL: [(&str, Self, &str); 6] = [
        ("merged", Self::Merged, "one notice for the step"),
        ("split", Self::Split, "one an operation, back to back"),
        ("reversed", Self::Reversed, "one an operation, the last first"),
        ("twice", Self::Twice, "the step's notice comes twice"),
        ("lost", Self::Lost, "no notice arrives"),
        ("held", Self::Held, "no notice arrives until `deliver`"),
    ];
}

/// An agent dies inside a step's plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// Whose agent.
    pub host: HostName,
    /// After which operation.
    pub at: CrashPoint,
    /// The line of the file, from 1.
    pub line: usize,
}

/// After which operation of a plan an agent dies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrashPoint {
    /// After so many.
    After(usize),
    /// After the first whose printed form contains this text.
    Containing(String),
}

impl CrashPoint {
    /// How many of these operations are still done, of which `before` others were done in the step; none if it is not reached.
    pub fn reached<'a>(&self, before: usize, commands: impl Iterator<Item = &'a str>) -> Option<usize> {
        for (number, command) in commands.enumerate() {
            let done = number + 1;
            let here = match self {
                Self::After(count) => before + done >= *count,
                Self::Containing(text) => command.contains(text.as_str()),
            };
            if here {
                return Some(done);
            }
        }
        None
    }
}

impl std::fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::After(count) => write!(f, "operation {count}"),
            Self::Containing(text) => write!(f, "an operation with `{text}`"),
        }
    }
}
