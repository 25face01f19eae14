//! The table that chooses packets to trace.
//!
//! In: the bytes by which packets are known. Out: a table with one chain a sign and hook, whose rule switches tracing on for
//! the packet. Never: a verdict.

use netlink_sys::Socket;

use super::error::{Cause, NftError};
use super::expression::{Expression, META_L4PROTO, META_TRACE, TRANSPORT_HEADER};
use super::message::{Base, Place, Transaction};
use super::read::number;
use crate::net::Family;

/// The name of the table.
pub const TRACE_TABLE: &str = "dvrlab-trace";
/// Before the agent's tables and before connection tracking: as early as fragments are whole.
const PRIORITY: i32 = -400;
/// The hooks by which packets enter a namespace's stack: NF_INET_PRE_ROUTING and NF_INET_LOCAL_OUT.
const HOOKS: [(&str, u32); 2] = [("in", 0), ("out", 3)];

/// Bytes by which a packet is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// What the packet is: the chain's name begins so.
    pub name: String,
    /// The transport protocol.
    pub protocol: u8,
    /// Runs of bytes, 16 long at most, each with where it stands behind the beginning of the transport header.
    pub bytes: Vec<(u32, Vec<u8>)>,
}

/// Traces packets of a family that bear one of the signs, and no others.
///
/// # Errors
/// [`NftError`].
pub fn set_trace(socket: &Socket, family: Family, signs: &[Sign]) -> Result<(), NftError> {
    let cause = Cause::Table(TRACE_TABLE.to_owned());
    let family = number(family);
    let mut transaction = Transaction::begin(None);
    transaction.new_table(family, TRACE_TABLE, &cause);
    transaction.delete_table(family, TRACE_TABLE, &cause);
    transaction.new_table(family, TRACE_TABLE, &cause);
    for (at, sign) in signs.iter().enumerate() {
        for (direction, hook) in HOOKS {
            let chain = format!("{}-{direction}-{at}", sign.name);
            let place = (TRACE_TABLE, chain.as_str());
            let base = Base { kind: "filter", hook, priority: PRIORITY, device: None };
            transaction.new_chain(family, place, Some(base), &Cause::Chain(chain.clone()));
            let mut expressions =
                vec![Expression::Meta(META_L4PROTO), Expression::Compare { not: false, value: vec![sign.protocol] }];
            for (offset, bytes) in &sign.bytes {
                let length = u32::try_from(bytes.len()).expect("a sign is a few bytes long");
                expressions.push(Expression::Payload { base: TRANSPORT_HEADER, offset: *offset, length });
                expressions.push(Expression::Compare { not: false, value: bytes.clone() });
            }
            expressions.extend([Expression::Load(vec![1]), Expression::SetMeta(META_TRACE)]);
            let cause = Cause::Rule(chain.clone(), 0);
            transaction.new_rule(family, place, (&expressions, None), Place::End, &cause);
        }
    }
    transaction.commit(socket)
}

/// Ends what [`set_trace`] began.
///
/// # Errors
/// [`NftError`].
pub fn remove_trace(socket: &Socket, family: Family) -> Result<(), NftError> {
    let cause = Cause::Table(TRACE_TABLE.to_owned());
    let mut transaction = Transaction::begin(None);
    transaction.delete_table(number(family), TRACE_TABLE, &cause);
    transaction.commit(socket)
}
