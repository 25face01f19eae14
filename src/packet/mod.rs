//! Packets to the last field: what they say, their bytes, and how they are cut into fragments and put together again.
//!
//! In: a [`Frame`] or bytes. Out: bytes or a [`Frame`]. Never: a choice (whoever sends a packet fills in what is free), and no
//! look at the world.

mod fragment;
mod read;
mod text;
mod under_way;
mod write;

pub use fragment::{Assembler, cut};
pub use read::read;
pub use text::{flags_of, letters};
pub use under_way::{Numbers, Tuple, UnderWay};
pub use write::write;

use std::net::IpAddr;

use crate::flow::Place;
use crate::name::{DeviceName, Name};
use crate::net::Mac;

/// Bytes of an Ethernet header.
pub const ETHERNET_HEADER: usize = 14;

/// Ethernet types, RFC 826, RFC 894, RFC 2464.
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// IP protocol numbers, as IANA has them.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
const ICMPV6: u8 = 58;
/// Header lengths in bytes.
const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
const FRAGMENT_HEADER: usize = 8;
const UDP_HEADER: usize = 8;
const TCP_HEADER: usize = 20;
const ICMP_HEADER: usize = 8;

/// What goes over a link in one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Who put it on the link.
    pub source: Mac,
    /// Whom it is for.
    pub destination: Mac,
    /// What it carries.
    pub body: Body,
}

/// What a frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// An IP packet, or a fragment of one.
    Ip(Packet),
    /// ARP or neighbour discovery.
    Neighbour(Neighbour),
}

/// An IP packet, or a fragment of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4's identification; IPv6 has one in fragments only.
    pub id: u32,
    /// IPv4: it may not be cut into fragments.
    pub dont_fragment: bool,
    /// Which fragment it is, if it is one.
    pub fragment: Option<Fragment>,
    /// What it carries.
    pub content: Content,
    /// The checksum of what it carries is right. A fragment has none to look at.
    pub good_checksum: bool,
    /// Bytes of the IP packet.
    pub size: usize,
}

/// Which part of a packet a fragment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Where it begins in the packet's content, in bytes.
    pub offset: usize,
    /// More follow.
    pub more: bool,
    /// Protocol number of the content.
    pub protocol: u8,
    /// Its part of the content, byte by byte: this is what is written, whatever the packet says of its content.
    pub part: Vec<u8>,
}

/// What an IP packet carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// UDP.
    Udp {
        /// Source and destination port.
        ports: (u16, u16),
        /// The payload.
        payload: Vec<u8>,
    },
    /// TCP.
    Tcp {
        /// Source and destination port.
        ports: (u16, u16),
        /// Sequence number.
        sequence: u32,
        /// Acknowledgement number.
        acknowledgement: u32,
        /// The flags' bits, FIN the lowest (RFC 9293, section 3.1).
        flags: u8,
        /// The payload.
        payload: Vec<u8>,
    },
    /// ICMP or ICMPv6 echo.
    Echo {
        /// A reply, no request.
        reply: bool,
        /// The identifier.
        id: u16,
        /// The payload.
        payload: Vec<u8>,
    },
    /// ICMP or ICMPv6 error, and the packet it is about: none if what it quotes cannot be read.
    Error(ErrorKind, Option<Box<Packet>>),
    /// Router advertisement, RFC 1256 or RFC 4861.
    RouterAdvert,
    /// Something else, or the part of it that a fragment has: protocol number and bytes.
    Other(u8, Vec<u8>),
}

/// What an ICMP error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorKind {
    /// Net unreachable; ICMPv6: no route.
    NetUnreachable,
    /// Host unreachable; ICMPv6: address unreachable.
    HostUnreachable,
    /// Port unreachable.
    PortUnreachable,
    /// Administratively prohibited.
    Prohibited,
    /// Fragmentation needed, packet too big, with this MTU in bytes.
    TooBig(u32),
    /// Time exceeded in transit.
    Expired,
    /// A redirect to this gateway.
    Redirect(IpAddr),
}

/// ARP or neighbour discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// What it says.
    pub kind: NeighbourKind,
    /// Who asks or is told; of an announcement the address announced. In IPv6 the packet's own other end.
    pub other: IpAddr,
    /// The address in question.
    pub wanted: IpAddr,
    /// The link-layer address of who sends this.
    pub mac: Mac,
}

/// What a packet about a neighbour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NeighbourKind {
    /// Who has it?
    Request,
    /// I have it.
    Reply,
    /// I have it, and nobody asked: gratuitous ARP, unsolicited neighbour advertisement.
    Announce,
}

/// A packet to send, with what is free left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The node or router namespace that sends it.
    pub from: Place,
    /// Source MAC; the sending device's own unless told otherwise.
    pub mac: Option<Hardware>,
    /// Destination MAC; the next hop's unless told otherwise.
    pub to_mac: Option<Hardware>,
    /// Source address; the sender's own unless told otherwise.
    pub source: Option<IpAddr>,
    /// Destination address; of ARP and neighbour discovery the address in question.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Identification.
    pub id: Option<u32>,
    /// It may not be cut into fragments.
    pub dont_fragment: bool,
    /// What it carries.
    pub load: Load,
    /// What the payload is; a probe's token unless told otherwise.
    pub payload: Option<String>,
    /// Bytes of the IP packet; the payload is padded to it.
    pub size: Option<usize>,
    /// Bytes of content in each fragment, if it is to be cut.
    pub fragment: Option<usize>,
    /// Whether the checksum of the content is right.
    pub good_checksum: bool,
}

/// A link-layer address, or whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hardware {
    /// The address.
    Mac(Mac),
    /// That of a node's first device.
    Of(Name),
}

/// What a packet to send carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Load {
    /// UDP: source port, destination port.
    Udp(Option<u16>, u16),
    /// TCP.
    Tcp {
        /// Source port.
        source_port: Option<u16>,
        /// Destination port.
        port: u16,
        /// Sequence number.
        sequence: Option<u32>,
        /// Acknowledgement number.
        acknowledgement: u32,
        /// As in [`Content::Tcp`].
        flags: u8,
    },
    /// Echo: a reply, no request; its id.
    Echo(bool, Option<u16>),
    /// An error, and what it quotes. Of a redirect the gateway is the sender itself.
    Error(ErrorKind, Box<Packet>),
    /// Router advertisement.
    RouterAdvert,
    /// ARP or neighbour discovery.
    Neighbour(NeighbourKind),
}

/// Packets that are sent one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Volley {
    /// The packets.
    pub packets: Vec<Template>,
    /// What goes out in which order: position of a packet, and the number of its fragment from 1; none for all of it. Empty:
    /// everything as it stands.
    pub order: Vec<(usize, Option<usize>)>,
}

/// What went out, and what was seen of anything until nothing moved any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exchanged {
    /// The packets of the volley as they were sent, before they were cut.
    pub sent: Vec<Frame>,
    /// What was seen, in the order of looking.
    pub seen: Vec<Sighted>,
}

/// Something that was seen: at a node what came in, put together; in a router namespace each frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighted {
    /// Where.
    pub place: Place,
    /// By which device.
    pub device: DeviceName,
    /// It came in.
    pub incoming: bool,
    /// What.
    pub frame: Frame,
}

impl Packet {
    /// A whole packet with a right checksum and nothing special, as it is written.
    pub fn new(source: IpAddr, destination: IpAddr, ttl: u8, content: Content) -> Self {
        let mut packet = Self {
            source,
            destination,
            ttl,
            id: 0,
            dont_fragment: false,
            fragment: None,
            content,
            good_checksum: true,
            size: 0,
        };
        packet.size = write::packet_length(&packet);
        packet
    }

    /// Source and destination port; of echo the id, twice. Nothing of anything else.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match &self.content {
            Content::Udp { ports, .. } | Content::Tcp { ports, .. } => Some(*ports),
            Content::Echo { id, .. } => Some((*id, *id)),
            Content::Error(..) | Content::RouterAdvert | Content::Other(..) => None,
        }
    }

    /// The number that acknowledges a TCP segment; zero of anything else.
    pub fn acknowledged_by(&self) -> u32 {
        let Content::Tcp { sequence, flags, payload, .. } = &self.content else { return 0 };
        let counted = u32::from(letters(*flags).contains(['S', 'F']));
        sequence.wrapping_add(counted).wrapping_add(u32::try_from(payload.len()).unwrap_or_default())
    }

    /// What tells the packet from others wherever it is seen: protocol and payload, of TCP without one the sequence number.
    /// Nothing of an error or a fragment.
    pub fn identity(&self) -> Option<(u8, Vec<u8>)> {
        match &self.content {
            Content::Udp { payload, .. } => Some((UDP, payload.clone())),
            Content::Tcp { sequence, flags, payload, .. } => {
                let bytes = sequence.to_be_bytes().into_iter().chain([*flags]).chain(payload.iter().copied());
                Some((TCP, bytes.collect()))
            }
            Content::Echo { reply, payload, .. } => {
                Some((ICMP, std::iter::once(u8::from(*reply)).chain(payload.iter().copied()).collect()))
            }
            Content::Error(..) | Content::RouterAdvert | Content::Other(..) => None,
        }
    }
}

#[cfg(test)]
mod tests;
