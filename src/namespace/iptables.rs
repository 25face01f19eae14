//! The iptables tables as values. The printed form of a rule is its `iptables-save` line; that is what the field reads.

use std::collections::BTreeMap;
use std::fmt;

use crate::name::DeviceName;
use crate::net::{IpNet, PortRange};

/// The tables the agent uses, in the order in which `iptables-save` sorts them here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Before connection tracking.
    Raw,
    /// Marks.
    Mangle,
    /// Address translation.
    Nat,
    /// Accept or drop.
    Filter,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Mangle, Self::Nat, Self::Filter];

    /// `raw`, `mangle`, `nat`, `filter`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Mangle => "mangle",
            Self::Nat => "nat",
            Self::Filter => "filter",
        }
    }
}

/// The hooks, which are also the names of the built-in chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// `PREROUTING`.
    Prerouting,
    /// `INPUT`.
    Input,
    /// `FORWARD`.
    Forward,
    /// `OUTPUT`.
    Output,
    /// `POSTROUTING`.
    Postrouting,
}

impl Hook {
    /// In the order of the kernel's hook numbers, 0 to 4.
    pub const ALL: [Self; 5] = [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting];

    /// The built-in chain's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "PREROUTING",
            Self::Input => "INPUT",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
            Self::Postrouting => "POSTROUTING",
        }
    }
}

/// A chain: built-in ones sort before own ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChainName {
    /// Called by the kernel.
    Builtin(Hook),
    /// Jumped to.
    Own(String),
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(hook) => f.write_str(hook.name()),
            Self::Own(name) => f.write_str(name),
        }
    }
}

/// All tables of one family in one namespace. A table without chains is absent; so is a built-in chain without rules whose
/// policy is ACCEPT, whether or not the kernel has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// By table.
    pub tables: BTreeMap<Table, BTreeMap<ChainName, Chain>>,
}

/// A chain and its rules in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// In order.
    pub rules: Vec<Rule>,
    /// A built-in chain whose policy is DROP (somebody's doing; the agent never sets one).
    pub policy_drop: bool,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// In the order in which `iptables-save` prints them: `-s -d -i -o -p`, then the `-m` ones as given.
    pub matches: Vec<Match>,
    /// What is done.
    pub target: Target,
}

/// A condition, with its inversion (`!`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Match {
    /// `!`
    pub not: bool,
    /// The condition.
    pub what: What,
}

/// What a rule can look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// `-s`
    Source(IpNet),
    /// `-d`
    Destination(IpNet),
    /// `-i`
    InDevice(DevicePattern),
    /// `-o`
    OutDevice(DevicePattern),
    /// `-p`
    Protocol(u8),
    /// `-m tcp` or `-m udp` (by the protocol number) `--sport`
    SourcePort(u8, PortRange),
    /// `-m tcp` or `-m udp` `--dport`
    DestinationPort(u8, PortRange),
    /// `-m mark --mark V/M`
    Mark(u32, u32),
    /// `-m connmark --mark V/M`
    ConnMark(u32, u32),
    /// `-m conntrack --ctstate`: bits as in `xt_conntrack` ([`state`])
    ConntrackState(u16),
    /// `-m comment --comment`
    Comment(String),
    /// An expression the decoder does not know, in hex, so that nothing is ever hidden.
    Unknown(String),
}

/// Bits of `--ctstate`, as in `xt_conntrack` (reference: xt-encoding, section 3), in printing order.
pub mod state {
    /// Every state with its name, in the order in which `iptables-save` prints them.
    pub const NAMES: [(u16, &str); 7] = [
        (INVALID, "INVALID"),
        (NEW, "NEW"),
        (RELATED, "RELATED"),
        (ESTABLISHED, "ESTABLISHED"),
        (UNTRACKED, "UNTRACKED"),
        (SNAT, "SNAT"),
        (DNAT, "DNAT"),
    ];
    /// No connection fits.
    pub const INVALID: u16 = 0x01;
    /// Seen in both directions.
    pub const ESTABLISHED: u16 = 0x02;
    /// Belongs to another connection.
    pub const RELATED: u16 = 0x04;
    /// First packet.
    pub const NEW: u16 = 0x08;
    /// Source translated.
    pub const SNAT: u16 = 0x40;
    /// Destination translated.
    pub const DNAT: u16 = 0x80;
    /// Not tracked.
    pub const UNTRACKED: u16 = 0x100;
}

/// A device name or a prefix of one (`qr-+`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DevicePattern {
    /// Exactly this.
    Name(DeviceName),
    /// Everything that begins so; printed with `+`.
    Prefix(String),
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// To another chain.
    Jump(String),
    /// Let through.
    Accept,
    /// Discard.
    Drop,
    /// Back to the caller.
    Return,
    /// `MARK --set-xmark V/M`
    Mark(u32, u32),
    /// `CONNMARK --save-mark --nfmask M --ctmask M`
    SaveMark(u32, u32),
    /// `CONNMARK --restore-mark --nfmask M --ctmask M`
    RestoreMark(u32, u32),
    /// `CONNMARK --set-xmark V/M`
    SetConnMark(u32, u32),
    /// `SNAT --to-source A[:PORTS] [--random-fully]`
    Snat(NatTarget),
    /// `DNAT --to-destination A[:PORTS]`
    Dnat(NatTarget),
    /// `REDIRECT --to-ports`
    Redirect(PortRange),
    /// `CT --notrack`
    NoTrack,
    /// A target the decoder does not know, in hex.
    Unknown(String),
    /// No target: the rule only counts.
    None,
}

/// Where SNAT and DNAT translate to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NatTarget {
    /// The address.
    pub address: std::net::IpAddr,
    /// Ports, if translated too.
    pub ports: Option<PortRange>,
    /// The port before translation that the first of `ports` stands for; every other one keeps its distance to it. Without it
    /// any of `ports` will do.
    pub base: Option<u16>,
    /// `--random`
    pub random: bool,
    /// `--random-fully`
    pub random_fully: bool,
    /// `--persistent`
    pub persistent: bool,
}

impl NatTarget {
    /// Just an address.
    pub fn to(address: std::net::IpAddr) -> Self {
        Self { address, ports: None, base: None, random: false, random_fully: false, persistent: false }
    }
}

impl Rule {
    /// A rule without conditions.
    pub fn to(target: Target) -> Self {
        Self { matches: Vec::new(), target }
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, what: What) -> Self {
        self.matches.push(Match { not: false, what });
        self
    }

    /// Adds an inverted condition.
    #[must_use]
    pub fn unless(mut self, what: What) -> Self {
        self.matches.push(Match { not: true, what });
        self
    }
}

fn protocol_name(protocol: u8) -> String {
    match protocol {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "ipv6-icmp".to_owned(),
        other => other.to_string(),
    }
}

/// A comment as `iptables-save` quotes it: bare if made of letters, digits, `_` and `-` alone.
fn comment_text(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        if matches!(c, '"' | '\'' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}:{}", self.first, self.last) }
    }
}

impl fmt::Display for DevicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Prefix(prefix) => write!(f, "{prefix}+"),
        }
    }
}

fn mark_text(value: u32, mask: u32) -> String {
    if mask == u32::MAX { format!("{value:#x}") } else { format!("{value:#x}/{mask:#x}") }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.not { "! " } else { "" };
        match &self.what {
            What::Source(net) => write!(f, "{not}-s {net}"),
            What::Destination(net) => write!(f, "{not}-d {net}"),
            What::InDevice(device) => write!(f, "{not}-i {device}"),
            What::OutDevice(device) => write!(f, "{not}-o {device}"),
            What::Protocol(number) => write!(f, "{not}-p {}", protocol_name(*number)),
            What::SourcePort(number, ports) => write!(f, "-m {} {not}--sport {ports}", protocol_name(*number)),
            What::DestinationPort(number, ports) => write!(f, "-m {} {not}--dport {ports}", protocol_name(*number)),
            What::Mark(value, mask) => write!(f, "-m mark {not}--mark {}", mark_text(*value, *mask)),
            What::ConnMark(value, mask) => write!(f, "-m connmark {not}--mark {}", mark_text(*value, *mask)),
            What::ConntrackState(bits) => {
                let names: Vec<&str> =
                    state::NAMES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
                write!(f, "-m conntrack {not}--ctstate {}", names.join(","))
            }
            What::Comment(text) => write!(f, "-m comment --comment {}", comment_text(text)),
            What::Unknown(hex) => write!(f, "-m unknown {hex}"),
        }
    }
}

impl fmt::Display for NatTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.ports) {
            (address, None) => write!(f, "{address}")?,
            (std::net::IpAddr::V6(address), Some(ports)) => write!(f, "[{address}]:{}", nat_ports(ports))?,
            (address @ std::net::IpAddr::V4(_), Some(ports)) => write!(f, "{address}:{}", nat_ports(ports))?,
        }
        if let Some(base) = self.base {
            write!(f, "/{base}")?;
        }
        for (set, flag) in
            [(self.random, " --random"), (self.random_fully, " --random-fully"), (self.persistent, " --persistent")]
        {
            if set {
                f.write_str(flag)?;
            }
        }
        Ok(())
    }
}

fn nat_ports(ports: PortRange) -> String {
    if ports.is_single() { ports.first.to_string() } else { format!("{}-{}", ports.first, ports.last) }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jump(chain) => write!(f, "-j {chain}"),
            Self::Accept => write!(f, "-j ACCEPT"),
            Self::Drop => write!(f, "-j DROP"),
            Self::Return => write!(f, "-j RETURN"),
            Self::Mark(value, mask) => write!(f, "-j MARK --set-xmark {value:#x}/{mask:#x}"),
            Self::SaveMark(nf, ct) => write!(f, "-j CONNMARK --save-mark --nfmask {nf:#x} --ctmask {ct:#x}"),
            Self::RestoreMark(nf, ct) => write!(f, "-j CONNMARK --restore-mark --nfmask {nf:#x} --ctmask {ct:#x}"),
            Self::SetConnMark(value, mask) => write!(f, "-j CONNMARK --set-xmark {value:#x}/{mask:#x}"),
            Self::Snat(to) => write!(f, "-j SNAT --to-source {to}"),
            Self::Dnat(to) => write!(f, "-j DNAT --to-destination {to}"),
            Self::Redirect(ports) => write!(f, "-j REDIRECT --to-ports {}", nat_ports(*ports)),
            Self::NoTrack => write!(f, "-j CT --notrack"),
            Self::Unknown(hex) => write!(f, "-j unknown {hex}"),
            Self::None => Ok(()),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut previous: Option<&What> = None;
        for one in &self.matches {
            if previous.is_some() {
                f.write_str(" ")?;
            }
            match (previous, &one.what) {
                // Both ports belong to one `-m tcp`.
                (Some(What::SourcePort(before, _)), What::DestinationPort(number, ports)) if before == number => {
                    write!(f, "{}--dport {ports}", if one.not { "! " } else { "" })?;
                }
                _other => write!(f, "{one}")?,
            }
            previous = Some(&one.what);
        }
        if previous.is_some() && self.target != Target::None {
            f.write_str(" ")?;
        }
        write!(f, "{}", self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_print_as_iptables_save_prints_them() {
        let device = |name: &str| DevicePattern::Name(DeviceName::new(name).unwrap());
        let snat = NatTarget { random_fully: true, ..NatTarget::to("203.0.113.10".parse().unwrap()) };
        let rule = Rule::to(Target::Snat(snat)).when(What::OutDevice(device("qg-r1")));
        assert_eq!(rule.to_string(), "-o qg-r1 -j SNAT --to-source 203.0.113.10 --random-fully");
        let rule = Rule::to(Target::Accept)
            .unless(What::OutDevice(device("rfp-r1")))
            .unless(What::ConntrackState(state::DNAT));
        assert_eq!(rule.to_string(), "! -o rfp-r1 -m conntrack ! --ctstate DNAT -j ACCEPT");
        let rule = Rule::to(Target::Redirect(9697.into()))
            .when(What::Destination("169.254.169.254/32".parse().unwrap()))
            .when(What::InDevice(DevicePattern::Prefix("qr-".to_owned())))
            .when(What::Protocol(6))
            .when(What::DestinationPort(6, 80.into()));
        assert_eq!(
            rule.to_string(),
            "-d 169.254.169.254/32 -i qr-+ -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9697"
        );
        assert_eq!(comment_text("a.b"), "\"a.b\"");
        assert_eq!(comment_text("a-b_1"), "a-b_1");
    }
}
