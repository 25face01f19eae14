//! Single frames made to order, for what no probe sends: a segment of a connection that nobody knows, an error about a flow,
//! an answer without a question.
//!
//! In: what is to be said, to the last field. Out: the bytes; and back, a frame in a line of words. Never: a choice.

use std::borrow::Cow;
use std::net::IpAddr;

use pnet::packet::ipv4::{self, Ipv4Flags, MutableIpv4Packet};
use pnet::packet::tcp::TcpFlags;

use super::build::build;
use super::frame::{Body, Datagram, Ends, Packet, Refusal, Segment, parse};
use crate::net::Mac;

const ETHERNET_HEADER: usize = 14;

/// A frame to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crafted {
    /// Source and destination MAC.
    pub macs: (Mac, Mac),
    /// Source and destination address, of one family.
    pub addresses: (IpAddr, IpAddr),
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4: it may not be cut into fragments.
    pub dont_fragment: bool,
    /// What it carries.
    pub content: Content,
}

/// What a crafted frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// UDP: source and destination port, payload.
    Udp((u16, u16), Vec<u8>),
    /// TCP.
    Tcp {
        /// Source and destination port.
        ports: (u16, u16),
        /// Sequence number.
        sequence: u32,
        /// Acknowledgement number.
        acknowledgement: u32,
        /// As in [`pnet::packet::tcp::TcpFlags`].
        flags: u8,
    },
    /// ICMP or ICMPv6 echo: a reply or a request, its id.
    Echo(bool, u16),
    /// ICMP or ICMPv6 error, and the packet it is about.
    Error(ErrorKind, Box<Crafted>),
}

/// What an ICMP error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Net unreachable.
    NetUnreachable,
    /// Host unreachable.
    HostUnreachable,
    /// Port unreachable.
    PortUnreachable,
    /// Administratively prohibited.
    Prohibited,
    /// Fragmentation needed, packet too big, with this MTU in bytes.
    TooBig(u32),
    /// Time exceeded.
    Expired,
}

/// A packet has its addresses out of two families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} and {} are of two families", _0.0, _0.1)]
pub struct TwoFamilies((IpAddr, IpAddr));

impl Crafted {
    /// The bytes, with every length and checksum.
    ///
    /// # Errors
    /// [`TwoFamilies`], of it or of what it quotes.
    pub fn frame(&self) -> Result<Vec<u8>, TwoFamilies> {
        let (source, destination) = self.macs;
        let mut bytes = build(&Packet { source, destination, body: Body::Datagram(self.datagram()?) });
        if let (true, Some(header)) = (self.dont_fragment, bytes.get_mut(ETHERNET_HEADER..))
            && self.addresses.0.is_ipv4()
            && let Some(mut ip) = MutableIpv4Packet::new(header)
        {
            ip.set_flags(Ipv4Flags::DontFragment);
            ip.set_checksum(ipv4::checksum(&ip.to_immutable()));
        }
        Ok(bytes)
    }

    fn datagram(&self) -> Result<Datagram<'_>, TwoFamilies> {
        let (source, destination) = self.addresses;
        let ends = Ends::new(source, destination).ok_or(TwoFamilies(self.addresses))?;
        let segment = match &self.content {
            Content::Udp(ports, payload) => Segment::Udp { ports: *ports, payload: payload.into() },
            Content::Tcp { ports, sequence, acknowledgement, flags } => Segment::Tcp {
                ports: *ports,
                sequence: *sequence,
                acknowledgement: *acknowledgement,
                flags: *flags,
                payload: Cow::default(),
            },
            Content::Echo(reply, id) => Segment::Echo { reply: *reply, id: *id, sequence: 1, payload: Cow::default() },
            Content::Error(kind, quoted) => {
                Segment::Error { refusal: kind.refusal(), quoted: Box::new(quoted.datagram()?) }
            }
        };
        Ok(Datagram { ends, ttl: self.ttl, segment })
    }
}

impl ErrorKind {
    fn refusal(self) -> Refusal {
        match self {
            Self::NetUnreachable => Refusal::NoRoute,
            Self::HostUnreachable => Refusal::HostUnreachable,
            Self::PortUnreachable => Refusal::Refused,
            Self::Prohibited => Refusal::Prohibited,
            Self::TooBig(mtu) => Refusal::TooBig(mtu),
            Self::Expired => Refusal::Expired,
        }
    }
}

/// An IP packet in a line, in the words of `tcpdump`: `udp 10.0.1.11:7000 > 198.51.100.2:9000 ttl 63`. Nothing for any other
/// frame.
pub fn summary(frame: &[u8]) -> Option<String> {
    match parse(frame)?.body {
        Body::Datagram(datagram) => Some(format!("{} ttl {}", words(&datagram), datagram.ttl)),
        Body::Ask(_) | Body::Tell(_) => None,
    }
}

fn words(datagram: &Datagram<'_>) -> String {
    let (source, destination) = (datagram.ends.source(), datagram.ends.destination());
    let ends = |(from, to): (u16, u16)| match datagram.ends {
        Ends::V4(..) => format!("{source}:{from} > {destination}:{to}"),
        Ends::V6(..) => format!("[{source}]:{from} > [{destination}]:{to}"),
    };
    match &datagram.segment {
        Segment::Udp { ports, .. } => format!("udp {}", ends(*ports)),
        Segment::Tcp { ports, flags, .. } => format!("tcp {} [{}]", ends(*ports), flag_letters(*flags)),
        Segment::Echo { reply, id, .. } => {
            format!("echo {} {source} > {destination} id {id}", if *reply { "reply" } else { "request" })
        }
        Segment::Error { refusal, quoted } => {
            let what = match refusal {
                Refusal::NoRoute => "net unreachable".to_owned(),
                Refusal::HostUnreachable => "host unreachable".to_owned(),
                Refusal::Refused => "port unreachable".to_owned(),
                Refusal::Prohibited => "prohibited".to_owned(),
                Refusal::TooBig(mtu) => format!("too big {mtu}"),
                Refusal::Expired => "time exceeded".to_owned(),
            };
            format!("{what} {source} > {destination} about {}", words(quoted))
        }
    }
}

/// `S`, `SA`, `R` ... as a scenario writes them.
fn flag_letters(flags: u8) -> String {
    let all = [
        (TcpFlags::FIN, 'F'),
        (TcpFlags::SYN, 'S'),
        (TcpFlags::RST, 'R'),
        (TcpFlags::PSH, 'P'),
        (TcpFlags::ACK, 'A'),
        (TcpFlags::URG, 'U'),
    ];
    all.into_iter().filter(|(flag, _)| flags & flag != 0).map(|(_, letter)| letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crafted(from: &str, to: &str, content: Content) -> Crafted {
        let addresses = (from.parse().unwrap(), to.parse().unwrap());
        Crafted { macs: (Mac::ZERO, Mac::BROADCAST), addresses, ttl: 61, dont_fragment: false, content }
    }

    #[test]
    fn frames_say_what_they_were_made_to_say() {
        let udp = |from: &str, to: &str| crafted(from, to, Content::Udp((7000, 9000), b"data".to_vec()));
        let lines = [
            (udp("10.0.1.11", "198.51.100.2"), "udp 10.0.1.11:7000 > 198.51.100.2:9000 ttl 61"),
            (udp("fd00::1", "fd00::2"), "udp [fd00::1]:7000 > [fd00::2]:9000 ttl 61"),
            (
                crafted(
                    "10.0.1.11",
                    "10.0.1.12",
                    Content::Tcp { ports: (1, 2), sequence: 3, acknowledgement: 4, flags: 0x12 },
                ),
                "tcp 10.0.1.11:1 > 10.0.1.12:2 [SA] ttl 61",
            ),
            (
                crafted("10.0.1.11", "10.0.1.12", Content::Echo(true, 77)),
                "echo reply 10.0.1.11 > 10.0.1.12 id 77 ttl 61",
            ),
            (
                crafted(
                    "10.0.1.1",
                    "10.0.1.11",
                    Content::Error(ErrorKind::TooBig(1300), Box::new(udp("10.0.1.11", "198.51.100.2"))),
                ),
                "too big 1300 10.0.1.1 > 10.0.1.11 about udp 10.0.1.11:7000 > 198.51.100.2:9000 ttl 61",
            ),
        ];
        for (made, line) in lines {
            assert_eq!(summary(&made.frame().unwrap()).as_deref(), Some(line));
        }
        let mixed = udp("10.0.1.11", "fd00::2").frame().unwrap_err();
        assert_eq!(mixed.to_string(), "10.0.1.11 and fd00::2 are of two families");
    }

    #[test]
    fn what_may_not_be_cut_says_so() {
        let mut made = crafted("10.0.1.11", "10.0.1.12", Content::Udp((1, 2), vec![0; 8]));
        made.dont_fragment = true;
        let frame = made.frame().unwrap();
        let ip = ipv4::Ipv4Packet::new(&frame[ETHERNET_HEADER..]).unwrap();
        assert_eq!((ip.get_flags(), ip.get_checksum()), (Ipv4Flags::DontFragment, ipv4::checksum(&ip)));
    }
}
