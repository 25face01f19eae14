//! iptables rules of a namespace, by either back end.
//!
//! In: an open [`Netns`] and which way to go. Out: the typed form. Never: a difference between the two but in how.

use super::Netns;
use super::iptables::{self, IptablesError};
use super::nft::{self, NftError};
use crate::backend::RuleBackend;
use crate::namespace::{NamespaceState, table_lines};
use crate::net::Family;
use crate::plan::RuleChanges;

/// Why rules could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// By netlink.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// By the programs.
    #[error(transparent)]
    Iptables(#[from] IptablesError),
}

/// Reads all tables into a namespace's state. Tables that are not iptables' are always read by netlink: the programs do not
/// show them.
///
/// # Errors
/// [`RulesError`].
pub fn read(netns: &Netns, backend: RuleBackend, state: &mut NamespaceState) -> Result<(), RulesError> {
    let tables = nft::read(netns.nf())?;
    state.foreign_tables = tables.foreign;
    (state.rules_v4, state.rules_v6) = match backend {
        RuleBackend::Nftables => (tables.v4, tables.v6),
        RuleBackend::Iptables => (iptables::read(netns, Family::V4)?, iptables::read(netns, Family::V6)?),
    };
    Ok(())
}

/// All tables as lines, each with `ip4t` or `ip6t` before it; by the programs, these are their own, unparsed.
///
/// # Errors
/// [`RulesError`].
pub fn lines(netns: &Netns, backend: RuleBackend) -> Result<Vec<String>, RulesError> {
    let words = [(Family::V4, "ip4t"), (Family::V6, "ip6t")];
    match backend {
        RuleBackend::Nftables => {
            let tables = nft::read(netns.nf())?;
            Ok(words.into_iter().flat_map(|(family, word)| table_lines(word, tables.of(family))).collect())
        }
        RuleBackend::Iptables => {
            let mut lines = Vec::new();
            for (family, word) in words {
                lines.extend(iptables::saved_lines(netns, family)?.iter().map(|line| format!("{word}  {line}")));
            }
            Ok(lines)
        }
    }
}

/// Makes the changes.
///
/// # Errors
/// [`RulesError`]; by netlink nothing has changed then.
pub fn commit(netns: &Netns, backend: RuleBackend, changes: &RuleChanges) -> Result<(), RulesError> {
    match backend {
        RuleBackend::Nftables => Ok(nft::commit(netns.nf(), changes, &nft::read(netns.nf())?)?),
        RuleBackend::Iptables => Ok(iptables::commit(netns, changes)?),
    }
}
