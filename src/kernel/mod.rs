//! Linux: namespaces, netlink, sysctls, packet sockets. The only module that enters a namespace, opens a netlink socket or
//! starts a process.

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use crate::backend::RuleBackend;
use crate::name::{HostName, Id, NamespaceName};

pub mod apply;
mod aside;
pub mod capture;
pub mod command;
pub mod conntrack;
pub mod decision;
pub mod events;
pub mod extack;
pub mod iptables;
pub mod links;
pub mod neighbours;
pub mod netns;
pub mod nfnetlink;
pub mod nft;
pub mod observe;
pub mod paths;
pub mod print;
pub mod removal;
pub mod request;
pub mod rules;
pub mod sandbox;
pub mod settle;
pub mod sysctl;
#[cfg(test)]
pub(crate) mod testing;
pub mod trace;
pub mod watch;
pub mod wire;

pub use netns::Netns;

/// The clock.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it for others")]
pub fn now() -> Instant {
    Instant::now()
}

/// The time of day, since 1970-01-01: for files that people open, never for a decision.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it for others")]
pub fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// What applying an operation needs to know of the lab around the namespace; [`crate::lab`] answers.
pub trait Surroundings {
    /// A router namespace of a host.
    fn namespace(&self, host: &HostName, name: &NamespaceName) -> Option<Rc<Netns>>;
    /// Enters a namespace that was made.
    fn insert(&self, host: &HostName, name: &NamespaceName, netns: Rc<Netns>);
    /// Forgets one that was removed; the kernel reaps it when the last descriptor goes.
    fn remove(&self, host: &HostName, name: &NamespaceName);
    /// Whether it is about to be removed, by the plan that is being carried out.
    fn is_leaving(&self, host: &HostName, name: &NamespaceName) -> bool;
    /// Where the other end of a device on `network` goes: a bridge of the host, or of the provider segment.
    fn plug(&self, host: &HostName, network: &Id) -> Option<Plug>;
    /// A device index that nobody in the lab has.
    fn new_index(&self) -> u32;
    /// How iptables rules are written and read.
    fn rules(&self) -> RuleBackend;
}

/// A bridge to plug into.
#[derive(Clone)]
pub struct Plug {
    /// The namespace that has the bridge.
    pub netns: Rc<Netns>,
    /// The bridge's device index.
    pub bridge: u32,
    /// The device group that the port on the bridge gets: the host's on a provider segment, by which the watch knows whose a
    /// frame is; else [`NO_GROUP`].
    pub group: u32,
}

/// The device group that every device is born in.
pub const NO_GROUP: u32 = 0;
