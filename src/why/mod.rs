//! Why a packet went where it went: its way, stop by stop, with what decided at each.
//!
//! In: what taps, the kernel's trace, its routing and its tables said of one probe. Out: text (`text`, `short`) and JSON.
//! Never: a guess. What nothing was seen of is not told; of the trace's one gap (chains of type nat are walked by a flow's
//! first packet only) the text says so where it matters.

mod decide;
mod text;

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use decide::{Lookup, policy_rule};
pub use text::{short, text};

use crate::flow::{Place, ProbeReport};
use crate::memory::Connection;
use crate::name::DeviceName;
use crate::net::Mac;

/// One probe and its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// What became of it.
    pub report: ProbeReport,
    /// The way there.
    pub there: Vec<Stop>,
    /// The way back.
    pub back: Vec<Stop>,
    /// The way of the ICMP error about it, if there was one: from where it was made to where it came or ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Stop>,
}

/// A passage through one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stop {
    /// Where.
    pub place: Place,
    /// As it came in; none where it was made.
    pub entered: Option<Sight>,
    /// What its rules did, in order. Plain jumps between the agent's chains are among them.
    pub rules: Vec<RuleHit>,
    /// Where its routing sent it; none at nodes, whose routing decides nothing in question, but for the one whose neighbour
    /// entry is stale.
    pub routing: Option<Routing>,
    /// What was remembered of the flow before.
    pub before: Option<Connection>,
    /// What is remembered of it after.
    pub after: Option<Connection>,
    /// As it left; none where it ended.
    pub left: Option<Sight>,
}

/// A packet on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sight {
    /// The device.
    pub device: DeviceName,
    /// Source and destination MAC.
    #[schemars(with = "(String, String)")]
    pub macs: (Mac, Mac),
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source and destination port; for ICMP the echo id, twice.
    pub ports: (u16, u16),
    /// TTL or hop limit.
    pub ttl: u8,
    /// Source and destination of what an ICMP error quotes; the ports are then those that it quotes, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<(IpAddr, IpAddr)>,
}

/// A rule that matched, or a chain that ended in its policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleHit {
    /// `raw`, `mangle`, `nat`, `filter`, or the name of another table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The rule in the notation of iptables, without its chain; none for the chain's policy.
    pub rule: Option<String>,
    /// What followed of it.
    pub verdict: Ruling,
    /// It matched before routing decided.
    pub before_routing: bool,
}

/// What followed of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// Let through.
    Accept,
    /// Discarded.
    Drop,
    /// The next rule.
    Continue,
    /// Another chain.
    Jump(String),
    /// Back to the caller.
    Return,
    /// Another number of the kernel's.
    Other(u32),
}

/// What a namespace's routing decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Routing {
    /// The `ip rule` that led to the table.
    pub rule: Option<String>,
    /// The route as `ip route` prints it, or why there is none.
    pub route: Result<String, String>,
    /// The packet's mark that was looked up with.
    pub mark: u32,
    /// The neighbour that it is sent to.
    pub neighbour: Option<Neighbour>,
}

/// An entry of a neighbour table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// The device it is behind.
    pub device: DeviceName,
    /// Its MAC, if it is known.
    #[schemars(with = "Option<String>")]
    pub mac: Option<Mac>,
    /// It is configured, not resolved.
    pub permanent: bool,
}

/// What numbers are called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Names {
    /// Whose addresses are whose: `10.0.1.11` is `vm1`.
    pub addresses: BTreeMap<IpAddr, String>,
    /// Which MAC is whose: `vm1`, `cmp2/fip-public/fg-public`.
    #[schemars(with = "BTreeMap<String, String>")]
    pub macs: BTreeMap<Mac, String>,
}

/// What `dvrlab why` has to say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// Each flow that was asked for, in order.
    pub explanations: Vec<Explanation>,
    /// What numbers are called.
    pub names: Names,
    /// What went wrong before the flows were sent.
    pub failures: Vec<String>,
}

/// The JSON schema of an [`Answer`].
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Answer).into()
}

impl RuleHit {
    /// It says nothing: a jump without a condition, a policy that accepts.
    fn is_plumbing(&self) -> bool {
        match (&self.rule, &self.verdict) {
            (None, verdict) => *verdict != Ruling::Drop,
            (Some(rule), Ruling::Jump(_)) => rule.starts_with("-j ") || rule.starts_with("-m comment "),
            (Some(_), Ruling::Accept | Ruling::Drop | Ruling::Continue | Ruling::Return | Ruling::Other(_)) => false,
        }
    }
}

impl Stop {
    /// What took the packet, if a rule did.
    fn dropped_by(&self) -> Option<&RuleHit> {
        self.rules.iter().find(|hit| hit.verdict == Ruling::Drop)
    }
}
