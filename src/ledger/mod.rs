//! The ledger: what flows that run through a change tell of it.
//!
//! In: what became of each packet of a flow, and at which moment of the change it was sent. Out: an [`Account`] of the flow, and
//! what of a [`Demand`] does not hold of it, in words. Never: a packet sent, a clock read, or a time judged: a moment is the
//! place of an operation in the order of operations.

mod account;
mod judge;
mod paced;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use account::{Account, Fate, Gap, Past, Settled, Spell, account};
pub use judge::{Demand, Sight};
pub use paced::{AFTER, Pace, Paced};

use crate::flow::{Flow, Hop, Seen, Verdict};
use crate::name::HostName;

/// Packets each way after the last operation of the last host.
pub const SETTLED: u32 = 10;

/// A flow that runs until it is ended: TCP is one connection with data both ways, UDP and ICMP are one tuple.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// What it is known by. No number comes twice in a lab.
    pub number: u32,
    /// What is sent, and where to.
    pub flow: Flow,
    /// Nobody asks for the ways of its packets, and the far end only answers.
    pub quiet: bool,
    /// A twin of it is paced by a clock.
    pub pace: Option<Pace>,
}

/// When a packet was sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Before the first operation.
    Before,
    /// When machines and links had been changed, still before the first operation of a host.
    Shaped,
    /// After an operation of a host.
    After {
        /// The host.
        host: HostName,
        /// The namespace.
        namespace: String,
        /// The operation, as printed.
        op: String,
    },
    /// The change was done; counted from 1.
    Settled(u32),
}

impl Moment {
    /// Whether something was still being done.
    pub fn is_of_change(&self) -> bool {
        match self {
            Self::Shaped | Self::After { .. } => true,
            Self::Before | Self::Settled(_) => false,
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before => f.write_str("before the first op"),
            Self::Shaped => f.write_str("after machines and links changed"),
            Self::After { host, namespace, op } => {
                let op = op.lines().next().unwrap_or_default();
                write!(f, "after \"{op}\" in {host}/{namespace}")
            }
            Self::Settled(number) => write!(f, "{number} after settling"),
        }
    }
}

/// What became of one packet each way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each can be so without the others")]
pub struct Packet {
    /// It was not sent: a ping that runs along rests once it was refused, so that what says no has its say left for the matrix.
    pub rested: bool,
    /// The answer came back.
    pub answered: bool,
    /// It came back, but only after the next packet was sent.
    pub late: bool,
    /// When the round of this packet was over, a kernel held it until a neighbour would answer. Whether it is let go at last depends
    /// on how long the next operations take: the kernel gives up after some milliseconds.
    pub held: bool,
    /// What the far end saw of it.
    pub seen: Option<Seen>,
    /// The destination that the far end saw.
    pub reached_at: Option<IpAddr>,
    /// What the far end sent by itself came back, since there was nothing to answer.
    pub returned: bool,
    /// A refusal that came to the sender, and who sent it.
    pub refused: Option<(Verdict, IpAddr)>,
    /// Its way, unless nobody asks for it.
    pub path: Vec<Hop>,
    /// The way of what came back.
    pub reply_path: Vec<Hop>,
}

/// A host's external leg.
fn is_external(device: Option<&crate::name::DeviceName>) -> bool {
    device.is_some_and(|device| ["qg-", "fg-"].iter().any(|prefix| device.as_str().starts_with(prefix)))
}

impl Packet {
    /// Whether it was answered without having been held by a kernel.
    pub fn is_served(&self) -> bool {
        self.answered && !self.held
    }

    /// Whether it, or what came back, left by an external leg with a source that is one of these.
    pub fn is_bare(&self, tenants: &std::collections::BTreeSet<IpAddr>) -> bool {
        let hops = self.path.iter().chain(&self.reply_path);
        hops.into_iter().any(|hop| is_external(hop.left.as_ref()) && tenants.contains(&hop.source))
    }
}
