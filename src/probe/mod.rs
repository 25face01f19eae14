//! Packets that really go: built, sent, answered, followed by what the taps saw, and judged.
//!
//! In: flows, what the nodes are, and a [`Wire`] to their namespaces. Out: one [`ProbeReport`](crate::flow::ProbeReport) a
//! flow, and the tuples used. Never: a look at the Intent (next hops are what the sender's own routing says, their MACs what
//! ARP or neighbour discovery answers), a wait for time where there is something to wait for, or a verdict without evidence.
//!
//! How a probe is known again: by a token in its payload, and in TCP's sequence numbers. NAT leaves both alone, so the
//! frames of one probe are found in every tap, whatever their addresses have become. The order of its passages is that of
//! their TTLs, which no clock can upset: every place that forwards takes one off.

mod begin;
mod build;
pub mod craft;
mod drive;
mod engine;
mod exchange;
#[cfg(test)]
mod fake;
mod frame;
mod glimpse;
mod judge;
mod nodes;
mod pieces;
mod receive;
mod resolve;
mod respond;
#[cfg(test)]
mod tests;
mod token;
mod track;
mod transfer;
mod wire;

pub use drive::{ALONG, CLOCK, Drive, OwnedFrame, PACED};
pub use engine::{Options, ProbeError, Run, run};
pub use exchange::{Routers, exchange};
pub use glimpse::{Glimpse, Packet, Trait, glimpse, traits, whose};
pub use nodes::{Node, Nodes, Port};
pub use token::Counters;
pub use wire::{Frame, Lookup, RouteAnswer, Wire, WireError};
