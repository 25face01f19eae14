//! What a frame says, as far as probes care.
//!
//! In: the bytes that a tap read. Out: a [`Packet`], or nothing where it is none of ours (another protocol, a later fragment,
//! cut off). Never: a look at checksums, which the kernel leaves unfinished on virtual devices.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::Packet as _;
use pnet::packet::arp::{ArpOperations, ArpPacket};
use pnet::packet::ethernet::{EtherTypes, EthernetPacket};
use pnet::packet::icmp::{IcmpCode, IcmpPacket, IcmpType, IcmpTypes};
use pnet::packet::icmpv6::ndp::{
    NdpOption, NdpOptionType, NdpOptionTypes, NeighborAdvertPacket, NeighborSolicitPacket,
};
use pnet::packet::icmpv6::{Icmpv6Code, Icmpv6Packet, Icmpv6Type, Icmpv6Types};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;
use pnet::packet::tcp::TcpPacket;
use pnet::packet::udp::UdpPacket;
use pnet::util::MacAddr;

use crate::net::Mac;

/// Bytes of an ICMP header before what it quotes or carries.
pub(super) const ICMP_HEADER: usize = 8;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    /// Who put it on the link.
    pub source: Mac,
    /// Whom it is for.
    pub destination: Mac,
    /// What it carries.
    pub body: Body<'a>,
}

/// What a frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// "Who has `wanted`": ARP request, neighbour solicitation.
    Ask(Neighbour),
    /// "`wanted` is at `mac`": ARP reply, neighbour advertisement.
    Tell(Neighbour),
    /// IP.
    Datagram(Datagram<'a>),
}

/// A question for a link-layer address, or the answer to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Neighbour {
    /// From who asks to what is wanted.
    pub ends: Ends,
    /// Of who sends this: the asker's, or the answer.
    pub mac: Mac,
}

impl Neighbour {
    /// Who asks, or is told.
    pub(super) fn asker(&self) -> IpAddr {
        self.ends.source()
    }

    /// The address in question.
    pub(super) fn wanted(&self) -> IpAddr {
        self.ends.destination()
    }
}

/// Two addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// Source and destination.
    V4(Ipv4Addr, Ipv4Addr),
    /// Source and destination.
    V6(Ipv6Addr, Ipv6Addr),
}

impl Ends {
    /// Nothing if the families differ.
    pub(super) fn new(source: IpAddr, destination: IpAddr) -> Option<Self> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Self::V4(source, destination)),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Self::V6(source, destination)),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }

    /// Where from.
    pub(super) fn source(self) -> IpAddr {
        match self {
            Self::V4(source, _) => source.into(),
            Self::V6(source, _) => source.into(),
        }
    }

    /// Where to.
    pub(super) fn destination(self) -> IpAddr {
        match self {
            Self::V4(_, destination) => destination.into(),
            Self::V6(_, destination) => destination.into(),
        }
    }

    /// The way back.
    pub(super) fn reversed(self) -> Self {
        match self {
            Self::V4(source, destination) => Self::V4(destination, source),
            Self::V6(source, destination) => Self::V6(destination, source),
        }
    }
}

/// An IP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    /// Addresses.
    pub ends: Ends,
    /// TTL or hop limit.
    pub ttl: u8,
    /// What it carries.
    pub segment: Segment<'a>,
}

/// What an IP packet carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    /// ICMP or ICMPv6 echo.
    Echo {
        /// A reply, no request.
        reply: bool,
        /// The identifier.
        id: u16,
        /// The sequence number.
        sequence: u16,
        /// What comes back unchanged.
        payload: Cow<'a, [u8]>,
    },
    /// UDP.
    Udp {
        /// Source and destination port.
        ports: (u16, u16),
        /// The payload.
        payload: Cow<'a, [u8]>,
    },
    /// TCP.
    Tcp {
        /// Source and destination port.
        ports: (u16, u16),
        /// Sequence number.
        sequence: u32,
        /// Acknowledgement number.
        acknowledgement: u32,
        /// As in `pnet::packet::tcp::TcpFlags`.
        flags: u8,
        /// The payload.
        payload: Cow<'a, [u8]>,
    },
    /// ICMP or ICMPv6 error.
    Error {
        /// What it says.
        refusal: Refusal,
        /// What it says it of.
        quoted: Box<Datagram<'a>>,
    },
}

/// What an ICMP error or a TCP reset says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Net unreachable and its like.
    NoRoute,
    /// Host unreachable, address unreachable: a route that says so, or a neighbour that did not answer.
    HostUnreachable,
    /// Port or protocol unreachable, or TCP reset.
    Refused,
    /// Administratively prohibited and its like.
    Prohibited,
    /// Fragmentation needed, packet too big: the next hop's MTU.
    TooBig(u32),
    /// Time exceeded.
    Expired,
}

/// Reads a frame.
pub(super) fn parse(bytes: &[u8]) -> Option<Packet<'_>> {
    let ethernet = EthernetPacket::new(bytes)?;
    let content = bytes.get(EthernetPacket::minimum_packet_size()..)?;
    let source = mac(ethernet.get_source());
    let body = match ethernet.get_ethertype() {
        EtherTypes::Arp => arp(content)?,
        EtherTypes::Ipv4 => Body::Datagram(datagram_v4(content)?),
        EtherTypes::Ipv6 => discovery(content, source).or_else(|| datagram_v6(content).map(Body::Datagram))?,
        _ => return None,
    };
    Some(Packet { source, destination: mac(ethernet.get_destination()), body })
}

fn mac(address: MacAddr) -> Mac {
    Mac(address.octets())
}

fn arp(bytes: &[u8]) -> Option<Body<'_>> {
    let arp = ArpPacket::new(bytes)?;
    let (sender, target) = (arp.get_sender_proto_addr(), arp.get_target_proto_addr());
    let mac = mac(arp.get_sender_hw_addr());
    match arp.get_operation() {
        ArpOperations::Request => Some(Body::Ask(Neighbour { ends: Ends::V4(sender, target), mac })),
        ArpOperations::Reply => Some(Body::Tell(Neighbour { ends: Ends::V4(target, sender), mac })),
        _ => None,
    }
}

/// Neighbour discovery; nothing if it is another IPv6 packet.
fn discovery(bytes: &[u8], from: Mac) -> Option<Body<'_>> {
    let ip = Ipv6Packet::new(bytes)?;
    if ip.get_next_header() != IpNextHeaderProtocols::Icmpv6 {
        return None;
    }
    let content = ip.payload();
    match Icmpv6Packet::new(content)?.get_icmpv6_type() {
        Icmpv6Types::NeighborSolicit => {
            let ask = NeighborSolicitPacket::new(content)?;
            let ends = Ends::V6(ip.get_source(), ask.get_target_addr());
            let mac = link_layer(&ask.get_options(), NdpOptionTypes::SourceLLAddr).unwrap_or(from);
            Some(Body::Ask(Neighbour { ends, mac }))
        }
        Icmpv6Types::NeighborAdvert => {
            let tell = NeighborAdvertPacket::new(content)?;
            let ends = Ends::V6(ip.get_destination(), tell.get_target_addr());
            let mac = link_layer(&tell.get_options(), NdpOptionTypes::TargetLLAddr).unwrap_or(from);
            Some(Body::Tell(Neighbour { ends, mac }))
        }
        _ => None,
    }
}

fn link_layer(options: &[NdpOption], wanted: NdpOptionType) -> Option<Mac> {
    let option = options.iter().find(|option| option.option_type == wanted)?;
    option.data.first_chunk::<6>().map(|bytes| Mac(*bytes))
}

fn datagram_v4(bytes: &[u8]) -> Option<Datagram<'_>> {
    let ip = Ipv4Packet::new(bytes)?;
    if ip.get_fragment_offset() != 0 {
        return None;
    }
    let start = usize::from(ip.get_header_length()) * 4;
    // Short frames are padded; a quoted packet may be cut off.
    let end = usize::from(ip.get_total_length()).min(bytes.len());
    Some(Datagram {
        ends: Ends::V4(ip.get_source(), ip.get_destination()),
        ttl: ip.get_ttl(),
        segment: segment(ip.get_next_level_protocol(), bytes.get(start..end)?)?,
    })
}

fn datagram_v6(bytes: &[u8]) -> Option<Datagram<'_>> {
    let ip = Ipv6Packet::new(bytes)?;
    let start = Ipv6Packet::minimum_packet_size();
    let end = (start + usize::from(ip.get_payload_length())).min(bytes.len());
    Some(Datagram {
        ends: Ends::V6(ip.get_source(), ip.get_destination()),
        ttl: ip.get_hop_limit(),
        segment: segment(ip.get_next_header(), bytes.get(start..end)?)?,
    })
}

fn segment(protocol: IpNextHeaderProtocol, bytes: &[u8]) -> Option<Segment<'_>> {
    match protocol {
        IpNextHeaderProtocols::Icmp => icmp(bytes),
        IpNextHeaderProtocols::Icmpv6 => icmp_v6(bytes),
        IpNextHeaderProtocols::Udp => {
            let udp = UdpPacket::new(bytes)?;
            let payload = bytes.get(UdpPacket::minimum_packet_size()..)?.into();
            Some(Segment::Udp { ports: (udp.get_source(), udp.get_destination()), payload })
        }
        IpNextHeaderProtocols::Tcp => {
            let tcp = TcpPacket::new(bytes)?;
            Some(Segment::Tcp {
                ports: (tcp.get_source(), tcp.get_destination()),
                sequence: tcp.get_sequence(),
                acknowledgement: tcp.get_acknowledgement(),
                flags: tcp.get_flags(),
                payload: bytes.get(usize::from(tcp.get_data_offset()) * 4..)?.into(),
            })
        }
        _ => None,
    }
}

fn icmp(bytes: &[u8]) -> Option<Segment<'_>> {
    let icmp = IcmpPacket::new(bytes)?;
    let kind = icmp.get_icmp_type();
    match kind {
        IcmpTypes::EchoRequest | IcmpTypes::EchoReply => echo(kind == IcmpTypes::EchoReply, bytes),
        IcmpTypes::DestinationUnreachable | IcmpTypes::TimeExceeded => Some(Segment::Error {
            refusal: refusal_v4(kind, icmp.get_icmp_code(), bytes)?,
            quoted: Box::new(datagram_v4(bytes.get(ICMP_HEADER..)?)?),
        }),
        _ => None,
    }
}

fn icmp_v6(bytes: &[u8]) -> Option<Segment<'_>> {
    let icmp = Icmpv6Packet::new(bytes)?;
    let kind = icmp.get_icmpv6_type();
    match kind {
        Icmpv6Types::EchoRequest | Icmpv6Types::EchoReply => echo(kind == Icmpv6Types::EchoReply, bytes),
        Icmpv6Types::DestinationUnreachable | Icmpv6Types::PacketTooBig | Icmpv6Types::TimeExceeded => {
            Some(Segment::Error {
                refusal: refusal_v6(kind, icmp.get_icmpv6_code(), bytes)?,
                quoted: Box::new(datagram_v6(bytes.get(ICMP_HEADER..)?)?),
            })
        }
        _ => None,
    }
}

fn echo(reply: bool, bytes: &[u8]) -> Option<Segment<'_>> {
    let (&[_, _, _, _, i, d, s, q], payload) = bytes.split_first_chunk::<ICMP_HEADER>()?;
    let (id, sequence) = (u16::from_be_bytes([i, d]), u16::from_be_bytes([s, q]));
    Some(Segment::Echo { reply, id, sequence, payload: payload.into() })
}

/// RFC 792, RFC 1122 section 3.2.2.1, RFC 1191 section 4, RFC 1812 section 5.2.7.1.
fn refusal_v4(kind: IcmpType, code: IcmpCode, bytes: &[u8]) -> Option<Refusal> {
    if kind == IcmpTypes::TimeExceeded {
        return Some(Refusal::Expired);
    }
    let &[.., high, low] = bytes.first_chunk::<ICMP_HEADER>()?;
    match code.0 {
        0 | 5 | 6 | 8 | 11 => Some(Refusal::NoRoute),
        1 | 7 | 12 => Some(Refusal::HostUnreachable),
        2 | 3 => Some(Refusal::Refused),
        4 => Some(Refusal::TooBig(u32::from(u16::from_be_bytes([high, low])))),
        9 | 10 | 13..=15 => Some(Refusal::Prohibited),
        _ => None,
    }
}

/// RFC 4443 sections 3.1 to 3.3.
fn refusal_v6(kind: Icmpv6Type, code: Icmpv6Code, bytes: &[u8]) -> Option<Refusal> {
    let &[.., a, b, c, d] = bytes.first_chunk::<ICMP_HEADER>()?;
    match (kind, code.0) {
        (Icmpv6Types::TimeExceeded, _) => Some(Refusal::Expired),
        (Icmpv6Types::PacketTooBig, _) => Some(Refusal::TooBig(u32::from_be_bytes([a, b, c, d]))),
        (_, 0 | 2) => Some(Refusal::NoRoute),
        (_, 1 | 5 | 6) => Some(Refusal::Prohibited),
        (_, 3) => Some(Refusal::HostUnreachable),
        (_, 4) => Some(Refusal::Refused),
        _ => None,
    }
}
