//! What can go wrong with a transaction.

use std::fmt;
use std::io;

use super::encode::EncodeError;
use nix::errno::Errno;

use crate::kernel::nfnetlink::NfnetlinkError;
use crate::namespace::Table;
use crate::net::Family;
use crate::plan::{ChainChange, RuleChanges};

/// Why rules could not be read or changed. Whatever it is, a transaction that failed has changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The exchange itself failed.
    #[error(transparent)]
    Exchange(#[from] NfnetlinkError),
    /// Somebody kept changing the rules while they were read.
    #[error("read the rules in one piece: they changed during each of {0} attempts")]
    Restless(usize),
    /// The rules are not those that the changes were computed for; nothing was done.
    #[error("change the rules: they changed since they were read")]
    Stale,
    /// A change that does not fit what was read.
    #[error("do `{cause}`: {reason}")]
    Misfit {
        /// The change.
        cause: Box<Cause>,
        /// What does not fit.
        reason: Misfit,
    },
    /// A rule that has no encoding.
    #[error("do `{cause}`")]
    Encode {
        /// The change.
        cause: Box<Cause>,
        /// Why not.
        #[source]
        source: EncodeError,
    },
    /// The kernel refused some changes, so none was made.
    #[error("{}", refused_text(.0))]
    Refused(Vec<Refused>),
    /// The transaction is larger than a process may send at once here (sysctl `net.core.wmem_max`).
    #[error("send a transaction of {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// What the kernel grants.
        limit: usize,
    },
    /// The send buffer could not be asked for or set.
    #[error("size the socket's send buffer")]
    Buffer(#[source] io::Error),
}

/// How a change does not fit what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Another rule, or none, stands at the position.
    #[error("that rule is not at that position")]
    NoSuchRule,
    /// The position is beyond the chain's end, or two rules have the same.
    #[error("the chain will have no such position")]
    Position,
    /// iptables has no such built-in chain.
    #[error("the table has no such built-in chain")]
    NoSuchChain,
    /// A built-in chain where an own one is needed, or the other way round.
    #[error("the chain is of the wrong kind for that")]
    WrongKind,
}

/// What a refused message was to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// One of the changes.
    Change(Family, Table, ChainChange),
    /// A table of family netdev.
    Table(String),
    /// A chain of such a table.
    Chain(String),
    /// A rule of such a chain, by its position (from 0).
    Rule(String, usize),
    /// The transaction as a whole.
    Transaction,
}

/// One refused change.
#[derive(Debug)]
pub struct Refused {
    /// Which.
    pub cause: Cause,
    /// The kernel's reason.
    pub error: io::Error,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change(family, table, change) => {
                RuleChanges { changes: vec![(*family, *table, change.clone())] }.fmt(f)
            }
            Self::Table(name) => write!(f, "add table netdev {name}"),
            Self::Chain(name) => write!(f, "add chain {name}"),
            Self::Rule(chain, position) => write!(f, "add rule {position} of chain {chain}"),
            Self::Transaction => f.write_str("commit"),
        }
    }
}

fn refused_text(all: &[Refused]) -> String {
    let Some((first, rest)) = all.split_first() else { return "commit".to_owned() };
    let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
    format!("do `{}`: {}{more}", first.cause, reason_text(&first.error))
}

/// The errno's name and text, as every other operation gives them.
fn reason_text(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |code| Errno::from_raw(code).to_string())
}
