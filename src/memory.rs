//! What a namespace remembers of packets, beside its configuration: tracked connections, resolved neighbours.
//!
//! In: what the kernel holds. Out: lines like those of `conntrack -L`, without what changes by itself (time-outs, counters)
//! and without numbers that nobody chose. Never: a comparison with what is desired, for nobody desires these.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::net::IpNet;

/// Transport protocol numbers (IANA).
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMPv6.
pub const ICMPV6: u8 = 58;

/// Ports and echo ids that nobody chose: those of probes, and the ones that Linux gives by itself
/// (`net.ipv4.ip_local_port_range`).
const FREE: [std::ops::RangeInclusive<u16>; 2] = [20_000..=29_999, 32_768..=60_999];

/// Something that a namespace remembers and may be made to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cache {
    /// Tracked connections.
    Conntrack,
    /// Neighbours that were resolved; permanent ones are configuration and stay.
    Neighbours,
    /// What was learned of paths: their MTU, and shorter ways.
    Paths,
}

/// Addresses and what tells connections between them apart, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Tuple {
    /// The transport protocol.
    pub protocol: u8,
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// Ports or the like.
    pub detail: Detail,
}

/// The part of a tuple that depends on the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// TCP, UDP and others with ports: source, destination.
    Ports(u16, u16),
    /// ICMP of either family.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Identifier.
        id: u16,
    },
    /// Nothing but the addresses.
    None,
}

/// A tracked connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Connection {
    /// The conntrack zone.
    pub zone: u16,
    /// As the first packet had it.
    pub original: Tuple,
    /// As answers have it: differs from the original's reverse by what is translated.
    pub reply: Tuple,
    /// An answer has come.
    pub answered: bool,
    /// The connection's mark.
    pub mark: u32,
}

impl Connection {
    /// Whether an address of `net` is in either tuple.
    pub fn has(&self, net: &IpNet) -> bool {
        [self.original, self.reply].iter().any(|tuple| net.contains(&tuple.source) || net.contains(&tuple.destination))
    }
}

/// A port or echo id by its number if somebody chose it, else `free`; one that translation has changed is `other`, since the
/// kernel picks it by chance.
pub fn number_text(sent: u16, now: u16) -> String {
    if sent != now {
        "other".to_owned()
    } else if FREE.iter().any(|range| range.contains(&sent)) {
        "free".to_owned()
    } else {
        sent.to_string()
    }
}

/// A transport protocol in conntrack's words.
fn protocol_text(protocol: u8) -> String {
    match protocol {
        ICMP => "icmp".to_owned(),
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMPV6 => "icmpv6".to_owned(),
        other => other.to_string(),
    }
}

impl fmt::Display for Connection {
    /// `udp src=10.0.1.11 dst=198.51.100.2 sport=free dport=53 [UNREPLIED] reply src=198.51.100.2 dst=203.0.113.10 sport=53 dport=other`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (original, reply) = (&self.original, &self.reply);
        write!(f, "{} src={} dst={}", protocol_text(original.protocol), original.source, original.destination)?;
        match original.detail {
            Detail::Ports(source, destination) => {
                write!(f, " sport={} dport={destination}", number_text(source, source))?;
            }
            Detail::Icmp { kind, code, id } => write!(f, " type={kind} code={code} id={}", number_text(id, id))?,
            Detail::None => {}
        }
        if !self.answered {
            f.write_str(" [UNREPLIED]")?;
        }
        write!(f, " reply src={} dst={}", reply.source, reply.destination)?;
        match (original.detail, reply.detail) {
            (Detail::Ports(sent, _), Detail::Ports(source, destination)) => {
                write!(f, " sport={source} dport={}", number_text(sent, destination))?;
            }
            (Detail::Icmp { id: sent, .. }, Detail::Icmp { kind, code, id }) => {
                write!(f, " type={kind} code={code} id={}", number_text(sent, id))?;
            }
            (Detail::Ports(..) | Detail::Icmp { .. } | Detail::None, _) => {}
        }
        if self.mark != 0 {
            write!(f, " mark={:#x}", self.mark)?;
        }
        if self.zone != 0 {
            write!(f, " zone={}", self.zone)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(sent: u16, left: u16) -> Connection {
        let tuple = |source: &str, destination: &str, ports: (u16, u16)| Tuple {
            protocol: TCP,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            detail: Detail::Ports(ports.0, ports.1),
        };
        Connection {
            zone: 0,
            original: tuple("10.0.1.11", "198.51.100.2", (sent, 80)),
            reply: tuple("198.51.100.2", "203.0.113.10", (80, left)),
            answered: true,
            mark: 0,
        }
    }

    #[test]
    fn numbers_that_nobody_chose_are_named() {
        let text = |sent, left| connection(sent, left).to_string();
        let start = "tcp src=10.0.1.11 dst=198.51.100.2";
        let reply = "reply src=198.51.100.2 dst=203.0.113.10 sport=80";
        assert_eq!(text(20_007, 20_007), format!("{start} sport=free dport=80 {reply} dport=free"));
        assert_eq!(text(40_000, 1999), format!("{start} sport=free dport=80 {reply} dport=other"));
        assert_eq!(text(5555, 5555), format!("{start} sport=5555 dport=80 {reply} dport=5555"));
        let marked = Connection { answered: false, mark: 0x400_0000, zone: 7, ..connection(5555, 5555) };
        let end = format!("dport=80 [UNREPLIED] {reply} dport=5555 mark=0x4000000 zone=7");
        assert!(marked.to_string().ends_with(&end), "{marked}");
    }

    #[test]
    fn an_address_is_found_in_both_directions() {
        let has = |net: &str| connection(1, 1).has(&net.parse().unwrap());
        assert!(has("10.0.1.0/24") && has("203.0.113.10/32") && !has("203.0.113.11/32"));
    }
}
