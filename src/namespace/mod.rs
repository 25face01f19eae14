//! The kernel's vocabulary as values, and the function from a host's configuration to what must stand in its namespaces.
//!
//! In: a [`crate::router::HostConfig`]. Out: a [`HostState`]. Never: a look at the kernel.

mod allocation;
mod desired;
mod fip;
mod iptables;
mod iptables_parse;
mod parts;
mod qrouter;
mod skeleton;
mod snat;
mod state;
pub mod sysctl;

pub use desired::desired;
pub use iptables::{
    Chain, ChainName, DevicePattern, Hook, Match, NatTarget, PortRange, Rule, Ruleset, Table, Target, What,
    state as conntrack_state,
};
pub use iptables_parse::RuleTextError;
pub use skeleton::{NamespaceKind, skeleton};
pub use state::{
    Address, Attach, HostState, Kind, Link, NamespaceState, NextHop, PolicyRule, Route, RouteKind, RouteProtocol,
    table_text,
};
