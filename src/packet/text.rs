//! A frame in a line, in the words of `tcpdump`.

use std::fmt;

use super::{Body, Content, ErrorKind, Frame, Neighbour, NeighbourKind, Packet};

/// Flags of TCP, lowest bit first.
const FLAGS: [char; 6] = ['F', 'S', 'R', 'P', 'A', 'U'];

/// The bits of flags written as `SA`; nothing if a letter is none, or there twice.
pub fn flags_of(text: &str) -> Option<u8> {
    text.chars().try_fold(0, |bits, letter| {
        let bit = 1 << FLAGS.iter().position(|flag| *flag == letter)?;
        (bits & bit == 0).then_some(bits | bit)
    })
}

/// Flags as letters, in the order in which they are usually said: `S`, `SA`, `FA`, `PA`.
pub fn letters(flags: u8) -> String {
    FLAGS.iter().enumerate().filter(|(bit, _)| flags & (1 << bit) != 0).map(|(_, letter)| *letter).collect()
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Ip(packet) => write!(f, "{packet} ttl {}", packet.ttl),
            Body::Neighbour(neighbour) => write!(f, "{neighbour}"),
        }
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.wanted.is_ipv4() { "arp" } else { "nd" };
        match self.kind {
            NeighbourKind::Request => write!(f, "{protocol} request {} from {}", self.wanted, self.other),
            NeighbourKind::Reply => write!(f, "{protocol} reply {} is-at {} to {}", self.wanted, self.mac, self.other),
            NeighbourKind::Announce => write!(f, "{protocol} announce {} is-at {}", self.wanted, self.mac),
        }
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.source.is_ipv4() { "ip" } else { "ip6" };
        let (from, to) = (self.source, self.destination);
        write!(f, "{name} {from} > {to} ")?;
        match &self.content {
            Content::Udp { ports: (from, to), .. } => write!(f, "udp {from} > {to}")?,
            Content::Tcp { ports: (from, to), flags, .. } => write!(f, "tcp {from} > {to} {}", letters(*flags))?,
            Content::Echo { reply, id, .. } => {
                write!(f, "icmp {} id {id}", if *reply { "echo-reply" } else { "echo-request" })?;
            }
            Content::Error(kind, quoted) => {
                write!(f, "icmp {kind}")?;
                if let Some(quoted) = quoted {
                    write!(f, " about {quoted}")?;
                }
            }
            Content::RouterAdvert => write!(f, "icmp router-advert")?,
            Content::Other(protocol, _) => write!(f, "protocol {protocol}")?,
        }
        match &self.fragment {
            Some(fragment) => write!(f, " fragment {}{}", fragment.offset, if fragment.more { "+" } else { "" }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetUnreachable => f.write_str("net-unreachable"),
            Self::HostUnreachable => f.write_str("host-unreachable"),
            Self::PortUnreachable => f.write_str("port-unreachable"),
            Self::Prohibited => f.write_str("prohibited"),
            Self::TooBig(mtu) => write!(f, "too-big mtu {mtu}"),
            Self::Expired => f.write_str("time-exceeded"),
            Self::Redirect(gateway) => write!(f, "redirect {gateway}"),
        }
    }
}
