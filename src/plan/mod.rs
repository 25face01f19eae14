//! From two states, observed and desired, to the operations that turn one into the other, in an order that leaks nothing
//! wherever it stops.
//!
//! In: two [`HostState`](crate::namespace::HostState)s. Out: a [`Plan`]. Never: a choice left to whoever applies it.

mod diff;
mod op;
mod order;

pub use op::{Action, ChainChange, Op, RuleChanges};

use crate::namespace::HostState;

/// The operations that lead from `observed` to `desired`, in order; none if they are equal.
pub fn plan(observed: &HostState, desired: &HostState) -> Plan {
    Plan { ops: order::order(diff::diff(observed, desired)) }
}

/// Operations in order, for one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// First to last.
    pub ops: Vec<Op>,
}

impl Plan {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}
