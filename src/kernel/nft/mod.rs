//! nf_tables by netlink: the iptables tables of both families, and own tables of family netdev.
//!
//! In: typed rules ([`crate::namespace::Rule`], [`NetdevRule`]) and a NETLINK_NETFILTER socket that stands in the
//! namespace and stays open (closing one right after a commit waits for the kernel's clean-up).
//! Out: one transaction, or the typed rules that the kernel holds. Never: an external program, an asynchronous call.

mod commit;
mod decode;
mod encode;
mod error;
mod expression;
mod message;
mod netdev;
mod read;
mod trace;
mod watch;
mod xt;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use commit::commit;
pub use encode::EncodeError;
pub use error::{Cause, Misfit, NftError, Refused};
pub use netdev::{
    FrameAction, FrameMatch, NetdevChain, NetdevHook, NetdevRule, delete_table, drop_input, remove_input,
    replace_netdev,
};
pub use read::{OWN_PREFIX, Tables, read};
pub use trace::{Sign, TRACE_TABLE, remove_trace, set_trace};
pub use watch::{EVIDENCE_BYTES, EVIDENCE_GROUP, Sender, class_of, counters, watch};
