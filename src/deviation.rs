//! Where this router deliberately does better than the real agent, each with its number, its reason and its evidence.
//!
//! In: nothing. Out: names that a scenario (`deviations: { drop-invalid: false }`), the command line and the functions from
//! a configuration to a plan go by. Never: a deviation without a switch. With all of them off the router leaves what the
//! real agent leaves; with one off, it shows the leak or the black hole that this one prevents.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One improvement over the real agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deviation {
    /// Packets that connection tracking calls invalid do not leave untranslated.
    DropInvalid,
    /// A namespace forwards only once its filters and translations are in.
    GuardedStart,
    /// Connections are forgotten where a floating IP's translation lives.
    PurgeTranslated,
    /// Connections that began untranslated do not go on once source NAT begins.
    CutUntranslated,
    /// ICMP errors about floating IPs get out.
    IcmpErrors,
    /// The IPv6 default route of a router does not hide its way to the SNAT host.
    Ipv6Redirect,
    /// Traffic to the metadata address that nobody serves is dropped.
    StrayMetadata,
    /// Traffic of a centralised floating IP is not led to the fip namespace.
    CentralisedSteering,
    /// The target of a live migration does not answer for the floating IP before the instance is there.
    QuietTarget,
    /// Nobody outside opens connections to subnets that are translated.
    RefuseInbound,
}

/// What is to be known of a deviation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Documentation {
    /// What this router does.
    pub what: &'static str,
    /// What happens without it.
    pub why: &'static str,
    /// Where that was seen.
    pub evidence: &'static str,
}

impl Deviation {
    /// All of them, in order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::DropInvalid,
        Self::GuardedStart,
        Self::PurgeTranslated,
        Self::CutUntranslated,
        Self::IcmpErrors,
        Self::Ipv6Redirect,
        Self::StrayMetadata,
        Self::CentralisedSteering,
        Self::QuietTarget,
        Self::RefuseInbound,
    ];

    /// Its number, which never changes.
    pub const fn number(self) -> u8 {
        match self {
            Self::DropInvalid => 1,
            Self::GuardedStart => 2,
            Self::PurgeTranslated => 3,
            Self::CutUntranslated => 4,
            Self::IcmpErrors => 5,
            Self::Ipv6Redirect => 6,
            Self::StrayMetadata => 7,
            Self::CentralisedSteering => 8,
            Self::QuietTarget => 9,
            Self::RefuseInbound => 10,
        }
    }

    /// Its name, as a scenario and the command line write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DropInvalid => "drop-invalid",
            Self::GuardedStart => "guarded-start",
            Self::PurgeTranslated => "purge-translated",
            Self::CutUntranslated => "cut-untranslated",
            Self::IcmpErrors => "icmp-errors",
            Self::Ipv6Redirect => "ipv6-redirect",
            Self::StrayMetadata => "stray-metadata",
            Self::CentralisedSteering => "centralised-steering",
            Self::QuietTarget => "quiet-target",
            Self::RefuseInbound => "refuse-inbound",
        }
    }

    /// What it does, why, and on what evidence.
    pub const fn documentation(self) -> Documentation {
        match self {
            Self::DropInvalid => DROP_INVALID,
            Self::GuardedStart => GUARDED_START,
            Self::PurgeTranslated => PURGE_TRANSLATED,
            Self::CutUntranslated => CUT_UNTRANSLATED,
            Self::IcmpErrors => ICMP_ERRORS,
            Self::Ipv6Redirect => IPV6_REDIRECT,
            Self::StrayMetadata => STRAY_METADATA,
            Self::CentralisedSteering => CENTRALISED_STEERING,
            Self::QuietTarget => QUIET_TARGET,
            Self::RefuseInbound => REFUSE_INBOUND,
        }
    }

    fn bit(self) -> u16 {
        1 << self.number()
    }
}

const DROP_INVALID: Documentation = Documentation {
    what: "In a snat namespace that translates, packets in state INVALID that leave by `qg-` are dropped, but for \
           those of the external network's own address scope; in a qrouter namespace, those from a fixed address \
           with a floating IP served there that leave by `rfp-`. Nowhere else: a qrouter sees one direction only \
           of traffic between hosts and of source NAT, and what it takes for invalid there is healthy.",
    why: "The nat table never sees an INVALID packet and nothing drops it, so a TCP segment without a connection \
          or an ICMP error about an unknown flow leaves with the tenant's own address.",
    evidence: "neutron-snat-side H-1, H-3, H-4; neutron-local-side H1",
};

const GUARDED_START: Documentation = Documentation {
    what: "A new namespace gets all its iptables rules in one transaction before it has a device, and its \
           forwarding after them.",
    why: "The agent makes the namespace, plugs and addresses its devices with forwarding on, and writes the first \
          NAT rules last: what passes meanwhile leaves bare, and its connection stays bare for its whole life.",
    evidence: "neutron-snat-side H-5, H-9, H-10, H-11",
};

const PURGE_TRANSLATED: Documentation = Documentation {
    what: "When a floating IP is added, removed or re-pointed, the connections of its fixed and floating address \
           are deleted in the qrouter namespace, where its translation is; packets of the fixed address meet a \
           dead end until that is done.",
    why: "The agent deletes them in the fip namespace, which tracks nothing. Connections of a removed floating IP \
          go on under it, by the SNAT host; those that stood before it was added go on without it, bare.",
    evidence: "recordings, fault 8; neutron-local-side H1, H2, H5",
};

const CUT_UNTRANSLATED: Documentation = Documentation {
    what: "When source NAT begins on a gateway that is up (SNAT enabled, or its rule put back), the namespace \
           stops forwarding, forgets the connections of its subnets and goes on with the rules in.",
    why: "A connection that began untranslated stays so for its whole life, whatever rule appears.",
    evidence: "neutron-snat-side H-5, H-6",
};

const ICMP_ERRORS: Documentation = Documentation {
    what: "A qrouter namespace with floating IPs, and the fip namespace, look up the way of what they send \
           themselves in the tables of the way out (`iif lo`). An error leaves the router only if it belongs to a \
           translated connection, hence as the floating IP, never as the link-local address of the link.",
    why: "Neither has a default route in table main, so an error to a sender outside has no way: `fragmentation \
          needed` is lost, and large packets to a floating IP vanish without a word.",
    evidence: "neutron-local-side H28",
};

const IPV6_REDIRECT: Documentation = Documentation {
    what: "The qrouter namespace has no IPv6 default route towards the fip namespace in table main.",
    why: "It comes before the redirect of each subnet, and the fip namespace has no way for IPv6: on every host \
          with a fip namespace IPv6 to the outside is lost.",
    evidence: "recordings, fault 16; neutron-local-side H7",
};

const STRAY_METADATA: Documentation = Documentation {
    what: "A qrouter namespace drops what it would forward to 169.254.169.254, in a chain that no other pass empties.",
    why: "The agent writes such a rule and flushes it at once with the address scopes' chain; requests that no \
          proxy takes then leave for the outside, translated or by a floating IP.",
    evidence: "recordings, fault 15; neutron-snat-side H-20; neutron-local-side H22",
};

const CENTRALISED_STEERING: Documentation = Documentation {
    what: "On the SNAT host, no rule leads the fixed address of a centralised floating IP to table 16.",
    why: "With it the qrouter sends the instance's traffic to the fip namespace, where nothing translates it. \
          The agent adds the rule or not as its history has it.",
    evidence: "recordings, fault 11; neutron-local-side H9",
};

const QUIET_TARGET: Documentation = Documentation {
    what: "While a live migration is prepared, its target has everything of the floating IP but the route to it in the \
           fip namespace: it neither answers for the address nor announces it. Both come once the instance is there.",
    why: "The agent serves and announces the address on the target at once. Until the migration is complete two hosts \
          answer for it, and what enters by the target is answered by the source host, from another port.",
    evidence: "neutron-local-side 4.7, I-6; bug-catalog LM-07",
};

const REFUSE_INBOUND: Documentation = Documentation {
    what: "In a snat namespace that translates, packets that come in by `qg-` for a subnet behind an `sg-` device are \
           dropped unless they belong to a connection from inside, or a centralised floating IP or a port \
           forwarding leads them. Subnets in the external network's own address scope are reached as before.",
    why: "Whoever outside has a route to a tenant's subnet by the gateway's address opens connections into it \
          unasked, and nothing translates the answers: they leave with the tenant's own address.",
    evidence: "neutron-snat-side H-15; bug-catalog ES-12",
};

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no deviation of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no deviation `{0}`")]
pub struct NoDeviation(pub String);

impl FromStr for Deviation {
    type Err = NoDeviation;

    fn from_str(text: &str) -> Result<Self, NoDeviation> {
        Self::ALL.into_iter().find(|deviation| deviation.name() == text).ok_or_else(|| NoDeviation(text.to_owned()))
    }
}

/// Which deviations are on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Deviations(u16);

impl Deviations {
    /// None: what the real agent leaves.
    pub const NONE: Self = Self(0);

    /// All of them.
    pub fn all() -> Self {
        Deviation::ALL.into_iter().fold(Self::NONE, |on, deviation| on.with(deviation, true))
    }

    /// Whether one is on.
    pub fn has(self, deviation: Deviation) -> bool {
        self.0 & deviation.bit() != 0
    }

    /// The same with one of them switched.
    #[must_use]
    pub fn with(self, deviation: Deviation, on: bool) -> Self {
        if on { Self(self.0 | deviation.bit()) } else { Self(self.0 & !deviation.bit()) }
    }
}

impl Default for Deviations {
    /// All of them.
    fn default() -> Self {
        Self::all()
    }
}

impl fmt::Debug for Deviations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Deviation::ALL.into_iter().filter(|deviation| self.has(*deviation))).finish()
    }
}

/// Deviations to switch, as the command line has them: `none,drop-invalid` or `drop-invalid=false`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switches(Vec<(Deviation, bool)>);

impl Switches {
    /// Those that were on, switched.
    pub fn apply(&self, on: Deviations) -> Deviations {
        self.0.iter().fold(on, |on, (deviation, value)| on.with(*deviation, *value))
    }
}

/// What is wrong with a list of switches.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// A name that no deviation has.
    #[error("{0}; there are {names}", names = Deviation::ALL.map(Deviation::name).join(", "))]
    Unknown(#[from] NoDeviation),
    /// Neither `true` nor `false`.
    #[error("`{0}`: write NAME=true or NAME=false")]
    Value(String),
}

impl FromStr for Switches {
    type Err = SwitchError;

    fn from_str(text: &str) -> Result<Self, SwitchError> {
        let mut switches = Vec::new();
        for word in text.split(',').map(str::trim) {
            match word.split_once('=') {
                None if word == "all" => switches.extend(Deviation::ALL.map(|each| (each, true))),
                None if word == "none" => switches.extend(Deviation::ALL.map(|each| (each, false))),
                None => switches.push((word.parse()?, true)),
                Some((name, "true")) => switches.push((name.parse()?, true)),
                Some((name, "false")) => switches.push((name.parse()?, false)),
                Some(_) => return Err(SwitchError::Value(word.to_owned())),
            }
        }
        Ok(Self(switches))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_from_one_and_names_are_read_back() {
        for (at, deviation) in Deviation::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(deviation.number()), at + 1);
            assert_eq!(deviation.name().parse(), Ok(deviation));
            assert_eq!(serde_json::to_string(&deviation).unwrap(), format!("\"{deviation}\""));
        }
        assert_eq!("drop-all".parse::<Deviation>(), Err(NoDeviation("drop-all".to_owned())));
    }

    #[test]
    fn switches_are_a_list_the_last_word_counts() {
        let on = |text: &str| text.parse::<Switches>().map(|switches| switches.apply(Deviations::all()));
        assert_eq!(on("none"), Ok(Deviations::NONE));
        assert_eq!(on("none,icmp-errors"), Ok(Deviations::NONE.with(Deviation::IcmpErrors, true)));
        assert_eq!(on("drop-invalid=false, drop-invalid=true"), Ok(Deviations::all()));
        assert_eq!(on("drop-invalid=no"), Err(SwitchError::Value("drop-invalid=no".to_owned())));
        let unknown = on("drop-all").unwrap_err().to_string();
        assert!(
            unknown.starts_with("there is no deviation `drop-all`; there are drop-invalid, guarded-start"),
            "{unknown}"
        );
    }

    #[test]
    fn each_is_switched_by_itself() {
        for deviation in Deviation::ALL {
            let others = Deviations::default().with(deviation, false);
            assert!(!others.has(deviation) && Deviations::NONE.with(deviation, true).has(deviation));
            assert_eq!(others.with(deviation, true), Deviations::all());
            assert_eq!(Deviation::ALL.into_iter().filter(|other| others.has(*other)).count(), Deviation::ALL.len() - 1);
        }
    }
}
