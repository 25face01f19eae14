//! Checked names. A name that exists is a legal one, so nothing downstream looks again.
//!
//! Kernel names (namespaces, devices) are made of scenario names and need no translation when printed. The replay of a
//! recorded router dict uses the agent's own identifiers instead; those are [`Id`]s too.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name a scenario may give, so that `prefix-NAME` fits a device name (Neutron cuts at 14 characters, the kernel at 15).
pub const NAME_MAX: usize = 11;

/// Longest device name that the real agent makes. Neutron: `LINUX_DEV_LEN`.
pub const DEVICE_NAME_CUT: usize = 14;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("a name cannot be empty")]
    Empty,
    /// Longer than the kind of name allows.
    #[error("`{text}` has {length} characters, a name has at most {max}")]
    TooLong {
        /// The text as given.
        text: String,
        /// Its length in characters.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// A character that the kind of name does not allow.
    #[error("`{text}` is not a name: write a-z, then a-z, 0-9 and `-`")]
    Character {
        /// The text as given.
        text: String,
    },
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $max:expr, $legal:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text`.
            ///
            /// # Errors
            /// [`NameError`] says what is wrong with it.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text: String = text.into();
                if text.is_empty() {
                    return Err(NameError::Empty);
                }
                let length = text.chars().count();
                if length > $max {
                    return Err(NameError::TooLong { text, length, max: $max });
                }
                let legal: fn(&str) -> bool = $legal;
                if legal(&text) { Ok(Self(text)) } else { Err(NameError::Character { text }) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

fn scenario_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn kernel_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_graphic() && c != '/') && text != "." && text != ".."
}

name_type!(
    /// A name given in a scenario: `a-z`, then `a-z 0-9 -`, at most [`NAME_MAX`] characters.
    Name,
    NAME_MAX,
    scenario_word
);
name_type!(
    /// An identifier of an API object: a scenario name, or the UUID of a recorded router dict.
    Id,
    64,
    kernel_word
);
name_type!(
    /// A host of the lab (Neutron: the agent's `host`).
    HostName,
    63,
    kernel_word
);
name_type!(
    /// A network namespace as `ip netns` shows it: `qrouter-r1`.
    NamespaceName,
    64,
    kernel_word
);
name_type!(
    /// A network device: at most 15 bytes, the kernel's limit.
    DeviceName,
    15,
    kernel_word
);

impl DeviceName {
    /// `lo`
    pub fn loopback() -> Self {
        Self("lo".to_owned())
    }

    /// Prefix and identifier, cut as the real agent cuts them (to [`DEVICE_NAME_CUT`] characters).
    pub fn cut(prefix: &str, id: &str) -> Self {
        Self(prefix.chars().chain(id.chars()).take(DEVICE_NAME_CUT).collect())
    }
}

impl NamespaceName {
    /// `PREFIX-ID`, the agent's naming of namespaces.
    pub fn of(prefix: &str, id: &Id) -> Self {
        Self(format!("{prefix}{id}"))
    }
}

impl From<Name> for Id {
    fn from(name: Name) -> Self {
        Self(name.0)
    }
}
impl From<&Name> for Id {
    fn from(name: &Name) -> Self {
        Self(name.0.clone())
    }
}
impl From<Name> for HostName {
    fn from(name: Name) -> Self {
        Self(name.0)
    }
}
impl From<&Name> for HostName {
    fn from(name: &Name) -> Self {
        Self(name.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenario_names() {
        for good in ["a", "vm1", "net-1", "abcdefghijk"] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "Vm", "vm_1", "abcdefghijkl", "-a"] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn devices_are_cut_as_the_agent_cuts() {
        assert_eq!(DeviceName::cut("qr-", "0a000001-0000-4000").as_str(), "qr-0a000001-00");
        assert_eq!(DeviceName::cut("rfp-", "b0000001-0000").as_str(), "rfp-b0000001-0");
        assert_eq!(DeviceName::cut("qr-", "red4").as_str(), "qr-red4");
    }
}
