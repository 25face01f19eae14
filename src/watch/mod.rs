//! The watch: what each frame is that a host sends onto a provider segment.
//!
//! In: the [`Intent`](crate::api::Intent)s that a host may be acting upon. Out: a [`Classification`], for each segment and host an ordered list of
//! rules of which the first that matches names the frame's [`Class`]; and, of frames that were captured, what they were in
//! words. Never: a packet, a clock, a look at what a router's rules are: a frame is judged by what was asked for alone.
//!
//! During a change a host may send what is legal under the intent before it or under the one after it; once it has
//! converged, only the latter. So an address that went counts as *withdrawn*, and one that moved as *wrong host*, from then
//! on, while a tenant's source and a link-local one, legal under neither, count all the time.

mod classify;
mod decode;
mod finding;
mod proof;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::{HostName, Id};
use crate::net::{IpNet, Mac};

pub use classify::classification;
pub use decode::{Decoded, decode};
pub use finding::{Evidence, Finding, Sighted, findings};
pub use proof::{Proof, proofs};

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// From a router's gateway address, by its gateway port, on the host that it is scheduled to.
    GatewaySnat,
    /// From a floating IP, on the host that serves it.
    FloatingIp,
    /// From a host's floating-IP agent gateway address.
    AgentAddress,
    /// From a tenant's address that may leave as it is: source NAT is off, or there is none (IPv6).
    Untranslated,
    /// Anything that has no address of the routers' sides: other protocols, a device's own link-local address, the
    /// unspecified one, and what a machine outside sent and a router sends back.
    Other,
    /// From an address that is none of the external network's: it got round the source NAT.
    TenantSource,
    /// From an IPv4 link-local address (the links between router and fip namespaces), or from an IPv6 one of no device here.
    LinkLocalTransit,
    /// From an address in force that another host has.
    WrongHost,
    /// From an address of the external network that nobody has (any more).
    WithdrawnAddress,
    /// An address in force, claimed (ARP, neighbour advertisement) or used on its own host by another port than its owner's.
    TwoOwners,
}

impl Class {
    /// All, in order.
    pub const ALL: [Self; 10] = [
        Self::GatewaySnat,
        Self::FloatingIp,
        Self::AgentAddress,
        Self::Untranslated,
        Self::Other,
        Self::TenantSource,
        Self::LinkLocalTransit,
        Self::WrongHost,
        Self::WithdrawnAddress,
        Self::TwoOwners,
    ];

    /// Whether such a frame must not be there.
    pub fn is_violation(self) -> bool {
        match self {
            Self::GatewaySnat | Self::FloatingIp | Self::AgentAddress | Self::Untranslated | Self::Other => false,
            Self::TenantSource
            | Self::LinkLocalTransit
            | Self::WrongHost
            | Self::WithdrawnAddress
            | Self::TwoOwners => true,
        }
    }

    /// As the scenario language has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::GatewaySnat => "gateway SNAT",
            Self::FloatingIp => "floating IP",
            Self::AgentAddress => "agent address",
            Self::Untranslated => "untranslated",
            Self::Other => "other",
            Self::TenantSource => "tenant source",
            Self::LinkLocalTransit => "link-local transit",
            Self::WrongHost => "wrong host",
            Self::WithdrawnAddress => "withdrawn address",
            Self::TwoOwners => "two owners",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is classified as what, for each provider segment and host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Classification {
    /// Rules by segment (the external network's name) and host, in order; the first that matches decides, and the last one matches
    /// everything.
    pub segments: BTreeMap<Id, BTreeMap<HostName, Vec<Rule>>>,
}

/// One line of a classification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Only frames with this source MAC.
    pub mac: Option<Mac>,
    /// What the frame says.
    pub says: Says,
    /// What it is then.
    pub class: Class,
}

/// What a frame says about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// ARP with a sender in this prefix, or a neighbour advertisement with a target in it.
    Claim(IpNet),
    /// An IP packet with a source in this prefix.
    Packet(IpNet),
    /// Anything.
    Anything,
}

/// Frames that a counter has counted since it was last read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Count {
    /// The provider segment.
    pub network: Id,
    /// The host that sent them.
    pub host: HostName,
    /// What they are.
    pub class: Class,
    /// How many.
    pub frames: u64,
}

/// A frame that must not be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The provider segment.
    pub network: Id,
    /// The host that sent it.
    pub host: HostName,
    /// What it is.
    pub class: Class,
    /// Its beginning, from the Ethernet header on.
    pub frame: Vec<u8>,
    /// When it was read, in microseconds since it was first classified anew in this change.
    pub after_us: u64,
}
