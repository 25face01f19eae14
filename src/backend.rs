//! How iptables rules get into the kernel and out of it again.
//!
//! In: nothing. Out: the name of a way. Never: a difference in what stands there afterwards, which is the same kernel objects.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The way iptables rules are written and read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleBackend {
    /// By nf_tables netlink, in this process: no program is needed, and all tables of both families of a namespace change in
    /// one transaction.
    #[default]
    Nftables,
    /// By `iptables-restore --noflush` and `iptables-save`, and their twins for IPv6. Each table changes by itself.
    Iptables,
}

impl RuleBackend {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Nftables, Self::Iptables];

    /// Its name, as a scenario and the command line write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }
}

impl fmt::Display for RuleBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no back end of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}`: write nftables or iptables")]
pub struct NoBackend(pub String);

impl FromStr for RuleBackend {
    type Err = NoBackend;

    fn from_str(text: &str) -> Result<Self, NoBackend> {
        Self::ALL.into_iter().find(|backend| backend.name() == text).ok_or_else(|| NoBackend(text.to_owned()))
    }
}
