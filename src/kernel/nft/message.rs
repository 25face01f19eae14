//! Message types and flags of nf_tables, and a transaction whose refusals find back to their causes.

use netlink_bindings::nftables::{PushBatchAttrs, PushChainAttrs, PushObjAttrs, PushRuleAttrs, PushTableAttrs};
use netlink_sys::Socket;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};

use super::error::{Cause, NftError, Refused};
use super::expression::{COUNTER_OBJECT, Expression};
use crate::kernel::nfnetlink::{APPEND, CREATE, Messages, nest, transact};

/// Subsystem 10 (NFNL_SUBSYS_NFTABLES), in the upper byte of a message type.
const SUBSYSTEM: u16 = 10;
const NFTABLES: u16 = SUBSYSTEM << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = NFTABLES;
const DELETE_TABLE: u16 = NFTABLES | 2;
const NEW_CHAIN: u16 = NFTABLES | 3;
const DELETE_CHAIN: u16 = NFTABLES | 5;
const NEW_RULE: u16 = NFTABLES | 6;
const DELETE_RULE: u16 = NFTABLES | 8;
/// NFT_MSG_GETTABLE
pub(super) const GET_TABLE: u16 = NFTABLES | 1;
/// NFT_MSG_GETCHAIN
pub(super) const GET_CHAIN: u16 = NFTABLES | 4;
/// NFT_MSG_GETRULE
pub(super) const GET_RULE: u16 = NFTABLES | 7;
const NEW_OBJECT: u16 = NFTABLES | 0x12;
/// NFT_MSG_GETOBJ
pub(super) const GET_OBJECT: u16 = NFTABLES | 0x13;
/// NFT_MSG_GETGEN
pub(super) const GET_GENERATION: u16 = NFTABLES | 16;

/// NFPROTO_UNSPEC: every family.
pub(super) const EVERY_FAMILY: u8 = 0;
/// NFPROTO_INET
pub(super) const INET: u8 = 1;
/// NFPROTO_NETDEV
pub(super) const NETDEV: u8 = 5;

/// NFPROTO_BRIDGE
pub(super) const BRIDGE: u8 = 7;

/// NF_ACCEPT as a chain's policy.
pub(super) const POLICY_ACCEPT: u32 = 1;
/// Compat flag: the protocol is inverted (NFT_RULE_COMPAT_F_INV).
const COMPAT_INVERTED: u32 = 2;
/// NFTA_RULE_EXPRESSIONS
const RULE_EXPRESSIONS: u16 = 4;
/// What the kernel takes from a send buffer for itself.
const SEND_OVERHEAD: usize = 32;

/// What makes a chain a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base<'a> {
    pub(super) kind: &'a str,
    pub(super) hook: u32,
    pub(super) priority: i32,
    pub(super) device: Option<&'a str>,
}

/// Where in its chain a rule goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind all others.
    End,
    /// In front of all others.
    Start,
    /// In front of the rule with this handle.
    Before(u64),
}

/// A transaction being written.
pub(super) struct Transaction {
    messages: Messages,
    /// Sequence number and cause, in order.
    causes: Vec<(u32, Cause)>,
}

impl Transaction {
    /// Begins one; with a generation it is refused as a whole when the rules are of another.
    pub(super) fn begin(generation: Option<u32>) -> Self {
        let mut messages = Messages::default();
        messages.push((BATCH_BEGIN, 0), (EVERY_FAMILY, SUBSYSTEM), |bytes| {
            if let Some(generation) = generation {
                PushBatchAttrs::new(bytes).push_genid(generation);
            }
        });
        Self { messages, causes: Vec::new() }
    }

    fn push(&mut self, head: (u16, u16), family: u8, cause: &Cause, fill: impl FnOnce(&mut Vec<u8>)) {
        let sequence = self.messages.push(head, (family, 0), fill);
        self.causes.push((sequence, cause.clone()));
    }

    pub(super) fn new_table(&mut self, family: u8, table: &str, cause: &Cause) {
        self.push((NEW_TABLE, CREATE), family, cause, |bytes| {
            PushTableAttrs::new(bytes).push_name_bytes(table.as_bytes());
        });
    }

    pub(super) fn delete_table(&mut self, family: u8, table: &str, cause: &Cause) {
        self.push((DELETE_TABLE, 0), family, cause, |bytes| {
            PushTableAttrs::new(bytes).push_name_bytes(table.as_bytes());
        });
    }

    /// A named counter; an existing one goes on counting.
    pub(super) fn new_counter(&mut self, family: u8, (table, name): (&str, &str), cause: &Cause) {
        self.push((NEW_OBJECT, CREATE), family, cause, |bytes| {
            let to = PushObjAttrs::new(bytes).push_table_bytes(table.as_bytes()).push_name_bytes(name.as_bytes());
            to.push_type(COUNTER_OBJECT).nested_data_counter();
        });
    }

    /// An existing own chain is kept; an existing base chain gets policy accept.
    pub(super) fn new_chain(
        &mut self,
        family: u8,
        (table, chain): (&str, &str),
        base: Option<Base<'_>>,
        cause: &Cause,
    ) {
        self.push((NEW_CHAIN, CREATE), family, cause, |bytes| {
            let to = PushChainAttrs::new(bytes).push_table_bytes(table.as_bytes()).push_name_bytes(chain.as_bytes());
            let Some(base) = base else { return };
            let hook = to.nested_hook().push_num(base.hook).push_priority(base.priority);
            let to = match base.device {
                Some(device) => hook.push_dev_bytes(device.as_bytes()).end_nested(),
                None => hook.end_nested(),
            };
            to.push_policy(POLICY_ACCEPT).push_type_bytes(base.kind.as_bytes());
        });
    }

    pub(super) fn delete_chain(&mut self, family: u8, (table, chain): (&str, &str), cause: &Cause) {
        self.push((DELETE_CHAIN, 0), family, cause, |bytes| {
            PushChainAttrs::new(bytes).push_table_bytes(table.as_bytes()).push_name_bytes(chain.as_bytes());
        });
    }

    /// Without a handle, every rule of the chain.
    pub(super) fn delete_rule(&mut self, family: u8, (table, chain): (&str, &str), handle: Option<u64>, cause: &Cause) {
        self.push((DELETE_RULE, 0), family, cause, |bytes| {
            let to = PushRuleAttrs::new(bytes).push_table_bytes(table.as_bytes()).push_chain_bytes(chain.as_bytes());
            if let Some(handle) = handle {
                to.push_handle(handle);
            }
        });
    }

    /// `compat` is for the iptables tables: the protocol and whether it is inverted.
    pub(super) fn new_rule(
        &mut self,
        family: u8,
        (table, chain): (&str, &str),
        (expressions, compat): (&[Expression], Option<(u8, bool)>),
        place: Place,
        cause: &Cause,
    ) {
        let append = if place == Place::End { APPEND } else { 0 };
        self.push((NEW_RULE, CREATE | append), family, cause, |bytes| {
            PushRuleAttrs::new(&mut *bytes).push_table_bytes(table.as_bytes()).push_chain_bytes(chain.as_bytes());
            nest(bytes, RULE_EXPRESSIONS, |bytes| expressions.iter().for_each(|one| one.push(bytes)));
            let to = PushRuleAttrs::new(bytes);
            let to = match compat {
                Some((protocol, not)) => {
                    let flags = if not { COMPAT_INVERTED } else { 0 };
                    to.nested_compat().push_proto(protocol.into()).push_flags(flags).end_nested()
                }
                None => to,
            };
            if let Place::Before(handle) = place {
                to.push_position(handle);
            }
        });
    }

    /// Sends it. What fails has changed nothing.
    pub(super) fn commit(mut self, socket: &Socket) -> Result<(), NftError> {
        self.messages.push((BATCH_END, 0), (EVERY_FAMILY, SUBSYSTEM), |_| {});
        reserve(socket, self.messages.len())?;
        let refusals = transact(socket, &self.messages)?;
        if refusals.iter().any(|one| one.error.raw_os_error() == Some(libc::ERESTART)) {
            return Err(NftError::Stale);
        }
        let refused: Vec<Refused> = refusals
            .into_iter()
            .map(|one| {
                let found = self.causes.binary_search_by_key(&one.sequence, |(sequence, _)| *sequence).ok();
                let cause =
                    found.and_then(|at| self.causes.get(at)).map_or(Cause::Transaction, |(_, cause)| cause.clone());
                Refused { cause, error: one.error }
            })
            .collect();
        if refused.is_empty() { Ok(()) } else { Err(NftError::Refused(refused)) }
    }
}

/// A transaction goes out in one piece, which has to fit the send buffer.
fn reserve(socket: &Socket, bytes: usize) -> Result<(), NftError> {
    let needed = bytes + SEND_OVERHEAD;
    let limit = || getsockopt(socket, sockopt::SndBuf).map_err(|error| NftError::Buffer(error.into()));
    if limit()? < needed {
        setsockopt(socket, sockopt::SndBuf, &needed).map_err(|error| NftError::Buffer(error.into()))?;
        if limit()? < needed && setsockopt(socket, sockopt::SndBufForce, &needed).is_err() {
            return Err(NftError::TooLarge { bytes, limit: limit()? });
        }
    }
    Ok(())
}
