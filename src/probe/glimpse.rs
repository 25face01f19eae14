//! Single frames of a probe, for who wants to see more of its way than a report tells.
//!
//! In: a frame, or the lab's counters. Out: whose the frame is and what its headers say; by which bytes the next probe's
//! packets can be told from all others. Never: a later packet of a TCP conversation than the one that opens it.

use std::net::IpAddr;

use pnet::packet::tcp::TcpFlags;

use super::frame::{Body, ICMP_HEADER, Segment, parse};
use super::token::{Counters, Part, Token, mark};
use crate::flow::Protocol;
use crate::net::{Family, Mac};

/// How often a flow is tried: each attempt has a token of its own.
const ATTEMPTS: usize = 2;
/// Bytes of a UDP header.
const UDP_HEADER: u32 = 8;
/// Where the sequence number stands in a TCP header.
const TCP_SEQUENCE: u32 = 4;

/// A probe's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glimpse {
    /// The attempt it belongs to.
    pub attempt: u32,
    /// What it is.
    pub part: Packet,
    /// Source and destination MAC.
    pub macs: (Mac, Mac),
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source and destination port; for ICMP the echo id, twice.
    pub ports: (u16, u16),
    /// TTL or hop limit.
    pub ttl: u8,
    /// Source and destination of what an ICMP error quotes.
    pub about: Option<(IpAddr, IpAddr)>,
}

/// Reads a frame; nothing if it is no probe's, or a TCP segment that opens and refuses no connection.
pub fn glimpse(bytes: &[u8]) -> Option<Glimpse> {
    let packet = parse(bytes)?;
    let Body::Datagram(datagram) = packet.body else { return None };
    let (segment, about) = match &datagram.segment {
        Segment::Error { quoted, .. } => (&quoted.segment, Some((quoted.ends.source(), quoted.ends.destination()))),
        segment @ (Segment::Echo { .. } | Segment::Udp { .. } | Segment::Tcp { .. }) => (segment, None),
    };
    let ports = match segment {
        Segment::Echo { id, .. } => (*id, *id),
        Segment::Udp { ports, .. } => *ports,
        // What an error quotes may end before the flags.
        Segment::Tcp { ports, flags, .. } if about.is_some() || flags & (TcpFlags::SYN | TcpFlags::RST) != 0 => *ports,
        Segment::Tcp { .. } | Segment::Error { .. } => return None,
    };
    let mark = mark(segment)?;
    Some(Glimpse {
        attempt: mark.token.number(),
        part: part(mark.part, about.is_some()),
        macs: (packet.source, packet.destination),
        source: datagram.ends.source(),
        destination: datagram.ends.destination(),
        ports,
        ttl: datagram.ttl,
        about,
    })
}

fn part(way: Part, quoted: bool) -> Packet {
    match way {
        _ if quoted => Packet::Error,
        Part::Request => Packet::Request,
        Part::Answer => Packet::Answer,
    }
}

/// The number of the attempt that a frame belongs to, and what it is of it; nothing if it is no probe's. Of TCP segments
/// without payload only sequence numbers tell, where a stranger's may look the same.
pub fn whose(bytes: &[u8]) -> Option<(u32, Packet)> {
    let Body::Datagram(datagram) = parse(bytes)?.body else { return None };
    let (segment, quoted) = match &datagram.segment {
        Segment::Error { quoted, .. } => (&quoted.segment, true),
        segment @ (Segment::Echo { .. } | Segment::Udp { .. } | Segment::Tcp { .. }) => (segment, false),
    };
    mark(segment).map(|mark| (mark.token.number(), part(mark.part, quoted)))
}

/// Bytes that stand in a packet of a probe, behind the beginning of its transport header, and in no other packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trait {
    /// The attempt that the packet belongs to.
    pub attempt: u32,
    /// What the packet is.
    pub part: Packet,
    /// The transport protocol.
    pub protocol: u8,
    /// The bytes, each run with where it stands.
    pub bytes: Vec<(u32, Vec<u8>)>,
}

/// A packet of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Packet {
    /// It goes to the target.
    Request,
    /// It comes back.
    Answer,
    /// It says in ICMP that the request gets no further.
    Error,
}

/// By what the packets of a flow are known that is sent next, alone. Nothing for ARP, which is no packet.
pub fn traits(counters: &Counters, protocol: Protocol, family: Family) -> Vec<Trait> {
    let first = counters.upcoming();
    let tokens = (0..ATTEMPTS).filter_map(|later| first.later(later));
    tokens.flat_map(|token| of_token(token, protocol, family)).collect()
}

fn of_token(token: Token, protocol: Protocol, family: Family) -> Vec<Trait> {
    // Echo request and reply, and the length of the IP header that an error quotes.
    let (icmp, request, reply, header) = match family {
        Family::V4 => (1, 8, 0, 20),
        Family::V6 => (58, 128, 129, 40),
    };
    let echo = u32::try_from(ICMP_HEADER).expect("a header is short");
    let quoted = |offset, bytes| Trait {
        attempt: token.number(),
        part: Packet::Error,
        protocol: icmp,
        bytes: vec![(echo + header + offset, bytes)],
    };
    let of = |part, protocol, bytes: &[(u32, Vec<u8>)]| Trait {
        attempt: token.number(),
        part,
        protocol,
        bytes: bytes.to_vec(),
    };
    match protocol {
        Protocol::Icmp => {
            let payload = (echo, token.request());
            vec![
                of(Packet::Request, icmp, &[(0, vec![request]), payload.clone()]),
                of(Packet::Answer, icmp, &[(0, vec![reply]), payload]),
                quoted(echo, token.request()),
            ]
        }
        Protocol::Udp(_) => vec![
            of(Packet::Request, 17, &[(UDP_HEADER, token.request())]),
            of(Packet::Answer, 17, &[(UDP_HEADER, token.answer_start())]),
            quoted(UDP_HEADER, token.request()),
        ],
        Protocol::Tcp(_) => {
            let sequence = |number: u32| number.to_be_bytes().to_vec();
            // A kernel that refuses a SYN has no number of its own: it sends 0 and acknowledges ours.
            let refusal = [[0; 4], (token.client_number() + 1).to_be_bytes()].concat();
            vec![
                of(Packet::Request, 6, &[(TCP_SEQUENCE, sequence(token.client_number()))]),
                of(Packet::Answer, 6, &[(TCP_SEQUENCE, sequence(token.server_number()))]),
                of(Packet::Answer, 6, &[(TCP_SEQUENCE, refusal)]),
                quoted(TCP_SEQUENCE, sequence(token.client_number())),
            ]
        }
        Protocol::Arp => Vec::new(),
    }
}
