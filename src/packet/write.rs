//! Bytes from what a frame says; [`super::read()`] reads them back.

use std::net::IpAddr;

use super::{
    ARP, Body, Content, ETHERNET_HEADER, ErrorKind, FRAGMENT, FRAGMENT_HEADER, Fragment, Frame, ICMP, ICMPV6, IPV4,
    IPV6, Neighbour, NeighbourKind, Packet, TCP, TCP_HEADER, UDP, UDP_HEADER, V4_HEADER, V6_HEADER,
};
use crate::net::Mac;

/// What TCP offers as window; any will do.
const WINDOW: u16 = 64_240;
/// RFC 4861: what neighbour discovery carries as hop limit, so that nobody beyond the link can forge it.
const DISCOVERY_HOP_LIMIT: u8 = 255;
/// Lifetime of a router advertisement in seconds; the usual default of routers.
const LIFETIME: u16 = 1800;

/// The frame's bytes, with every length; checksums are right unless the packet says otherwise.
pub fn write(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ETHERNET_HEADER + V6_HEADER + 64);
    bytes.extend(frame.destination.0);
    bytes.extend(frame.source.0);
    match &frame.body {
        Body::Neighbour(neighbour) if neighbour.wanted.is_ipv4() => {
            bytes.extend(ARP.to_be_bytes());
            bytes.extend(arp(neighbour, frame.destination));
        }
        Body::Neighbour(neighbour) => {
            bytes.extend(IPV6.to_be_bytes());
            bytes.extend(discovery(neighbour));
        }
        Body::Ip(packet) => {
            bytes.extend(if packet.source.is_ipv4() { IPV4 } else { IPV6 }.to_be_bytes());
            bytes.extend(self::packet(packet));
        }
    }
    bytes
}

/// How many bytes the packet is written in.
pub(super) fn packet_length(packet: &Packet) -> usize {
    self::packet(packet).len()
}

/// The bytes of an IP packet.
pub(super) fn packet(packet: &Packet) -> Vec<u8> {
    if let Some(fragment) = &packet.fragment {
        return ip(packet, fragment.protocol, &fragment.part);
    }
    let (protocol, content) = content(packet);
    ip(packet, protocol, &content)
}

/// An IP header and what follows it.
pub(super) fn ip(packet: &Packet, protocol: u8, content: &[u8]) -> Vec<u8> {
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let (offset, more) =
                packet.fragment.as_ref().map_or((0, false), |fragment| (fragment.offset, fragment.more));
            let flags = u16::from(packet.dont_fragment) << 14 | u16::from(more) << 13 | length16(offset / 8);
            let [.., high, low] = packet.id.to_be_bytes();
            let mut header = vec![0x45, 0];
            header.extend(length16(V4_HEADER + content.len()).to_be_bytes());
            header.extend([high, low]);
            header.extend(flags.to_be_bytes());
            header.extend([packet.ttl, protocol, 0, 0]);
            header.extend(source.octets());
            header.extend(destination.octets());
            let sum = checksum(&[&header]);
            put(&mut header, 10, sum);
            header.extend(content);
            header
        }
        (source, destination) => {
            let mut inner = Vec::new();
            if let Some(Fragment { offset, more, .. }) = &packet.fragment {
                inner.extend([protocol, 0]);
                inner.extend((length16(*offset) & 0xfff8 | u16::from(*more)).to_be_bytes());
                inner.extend(packet.id.to_be_bytes());
            }
            let next = if packet.fragment.is_some() { FRAGMENT } else { protocol };
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(length16(inner.len() + content.len()).to_be_bytes());
            header.extend([next, packet.ttl]);
            header.extend(octets6(source));
            header.extend(octets6(destination));
            header.extend(inner);
            header.extend(content);
            header
        }
    }
}

/// How many bytes the headers of a fragment of this packet take.
pub(super) fn fragment_headers(packet: &Packet) -> usize {
    if packet.source.is_ipv4() { V4_HEADER } else { V6_HEADER + FRAGMENT_HEADER }
}

/// Protocol number and bytes of what a packet carries.
pub(super) fn content(packet: &Packet) -> (u8, Vec<u8>) {
    let v4 = packet.source.is_ipv4();
    let (protocol, mut bytes, place) = match &packet.content {
        Content::Udp { ports, payload } => {
            let mut bytes: Vec<u8> = [ports.0, ports.1].iter().flat_map(|port| port.to_be_bytes()).collect();
            bytes.extend(length16(UDP_HEADER + payload.len()).to_be_bytes());
            bytes.extend([0, 0]);
            bytes.extend(payload);
            (UDP, bytes, 6)
        }
        Content::Tcp { ports, sequence, acknowledgement, flags, payload } => {
            let mut bytes: Vec<u8> = [ports.0, ports.1].iter().flat_map(|port| port.to_be_bytes()).collect();
            bytes.extend([*sequence, *acknowledgement].iter().flat_map(|number| number.to_be_bytes()));
            bytes.extend([0x50, *flags]);
            bytes.extend(WINDOW.to_be_bytes());
            bytes.resize(TCP_HEADER, 0);
            bytes.extend(payload);
            (TCP, bytes, 16)
        }
        Content::Echo { reply, id, payload } => {
            let kind = match (v4, reply) {
                (true, false) => 8,
                (true, true) => 0,
                (false, false) => 128,
                (false, true) => 129,
            };
            let [high, low] = id.to_be_bytes();
            let mut bytes = vec![kind, 0, 0, 0, high, low, 0, 1];
            bytes.extend(payload);
            (icmp(v4), bytes, 2)
        }
        Content::Error(kind, quoted) => (icmp(v4), error(*kind, quoted.as_deref(), v4), 2),
        Content::RouterAdvert => (icmp(v4), router_advert(packet), 2),
        Content::Other(protocol, bytes) => return (*protocol, bytes.clone()),
    };
    let sum = match (transport_sum(packet, protocol, &bytes), protocol) {
        // Zero stands for "no checksum"; RFC 768 sends its complement.
        (0, UDP) => 0xffff,
        (sum, _) => sum,
    };
    put(&mut bytes, place, if packet.good_checksum { sum } else { spoilt(sum) });
    (protocol, bytes)
}

/// A sum that is wrong, and does not stand for "none".
fn spoilt(sum: u16) -> u16 {
    match sum ^ 0x5555 {
        0 => 0x1111,
        wrong => wrong,
    }
}

fn icmp(v4: bool) -> u8 {
    if v4 { ICMP } else { ICMPV6 }
}

/// The checksum over content whose own checksum field is zero; over content with a right one it is zero.
pub(super) fn transport_sum(packet: &Packet, protocol: u8, bytes: &[u8]) -> u16 {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let [.., high, low] = length;
    match (packet.source, packet.destination) {
        (IpAddr::V4(_), _) if protocol == ICMP => checksum(&[bytes]),
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            checksum(&[&source.octets(), &destination.octets(), &[0, protocol, high, low], bytes])
        }
        (source, destination) => {
            checksum(&[&octets6(source), &octets6(destination), &length, &[0, 0, 0, protocol], bytes])
        }
    }
}

/// ICMP types and codes: RFC 792, RFC 1812 section 5.2.7.1, RFC 4443, RFC 4861.
fn error(kind: ErrorKind, quoted: Option<&Packet>, v4: bool) -> Vec<u8> {
    let (four, six) = match kind {
        ErrorKind::NetUnreachable => ([3, 0], [1, 0]),
        ErrorKind::HostUnreachable => ([3, 1], [1, 3]),
        ErrorKind::PortUnreachable => ([3, 3], [1, 4]),
        ErrorKind::Prohibited => ([3, 13], [1, 1]),
        ErrorKind::TooBig(_) => ([3, 4], [2, 0]),
        ErrorKind::Expired => ([11, 0], [3, 0]),
        ErrorKind::Redirect(_) => ([5, 1], [137, 0]),
    };
    let rest = match kind {
        ErrorKind::TooBig(mtu) => mtu.to_be_bytes(),
        ErrorKind::Redirect(IpAddr::V4(gateway)) => gateway.octets(),
        ErrorKind::NetUnreachable
        | ErrorKind::HostUnreachable
        | ErrorKind::PortUnreachable
        | ErrorKind::Prohibited
        | ErrorKind::Expired
        | ErrorKind::Redirect(IpAddr::V6(_)) => [0; 4],
    };
    let mut bytes = if v4 { four } else { six }.to_vec();
    bytes.extend([0, 0]);
    bytes.extend(rest);
    let quoted_bytes = quoted.map(packet).unwrap_or_default();
    if let ErrorKind::Redirect(IpAddr::V6(gateway)) = kind {
        bytes.extend(gateway.octets());
        bytes.extend(quoted.map(|quoted| octets6(quoted.destination)).unwrap_or_default());
        let room = quoted_bytes.len().div_ceil(8) * 8;
        // The option "redirected header", RFC 4861 section 4.6.3.
        bytes.extend([4, u8::try_from(1 + room / 8).unwrap_or(u8::MAX), 0, 0, 0, 0, 0, 0]);
        let end = bytes.len() + room;
        bytes.extend(&quoted_bytes);
        bytes.resize(end, 0);
        return bytes;
    }
    bytes.extend(quoted_bytes);
    bytes
}

fn router_advert(packet: &Packet) -> Vec<u8> {
    let [high, low] = LIFETIME.to_be_bytes();
    match packet.source {
        IpAddr::V4(source) => {
            let mut bytes = vec![9, 0, 0, 0, 1, 2, high, low];
            bytes.extend(source.octets());
            bytes.extend([0; 4]);
            bytes
        }
        IpAddr::V6(_) => vec![134, 0, 0, 0, 64, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 0],
    }
}

fn arp(neighbour: &Neighbour, to: Mac) -> Vec<u8> {
    let (operation, sender, target) = match neighbour.kind {
        NeighbourKind::Request => (1, neighbour.other, neighbour.wanted),
        NeighbourKind::Announce => (1, neighbour.wanted, neighbour.wanted),
        NeighbourKind::Reply => (2, neighbour.wanted, neighbour.other),
    };
    let target_mac = if neighbour.kind == NeighbourKind::Reply { to } else { Mac::ZERO };
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, operation];
    bytes.extend(neighbour.mac.0);
    bytes.extend(octets4(sender));
    bytes.extend(target_mac.0);
    bytes.extend(octets4(target));
    bytes
}

fn discovery(neighbour: &Neighbour) -> Vec<u8> {
    // Router no, solicited and override: RFC 4861 section 4.4.
    let (kind, flags, option) = match neighbour.kind {
        NeighbourKind::Request => (135, 0, 1),
        NeighbourKind::Reply => (136, 0x60, 2),
        NeighbourKind::Announce => (136, 0x20, 2),
    };
    let (source, destination) = match neighbour.kind {
        NeighbourKind::Request => (neighbour.other, solicited_node(neighbour.wanted)),
        NeighbourKind::Reply => (neighbour.wanted, neighbour.other),
        NeighbourKind::Announce => (neighbour.wanted, IpAddr::from([0xff02, 0, 0, 0, 0, 0, 0, 1])),
    };
    let mut bytes = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    bytes.extend(octets6(neighbour.wanted));
    bytes.extend([option, 1]);
    bytes.extend(neighbour.mac.0);
    let packet = Packet::new(source, destination, DISCOVERY_HOP_LIMIT, Content::Other(ICMPV6, Vec::new()));
    let sum = transport_sum(&packet, ICMPV6, &bytes);
    put(&mut bytes, 2, sum);
    ip(&packet, ICMPV6, &bytes)
}

/// RFC 4291 section 2.7.1.
pub(super) fn solicited_node(wanted: IpAddr) -> IpAddr {
    let [.., x, y, z] = octets6(wanted);
    IpAddr::from([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, x, y, z])
}

fn octets4(address: IpAddr) -> [u8; 4] {
    match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => [0; 4],
    }
}

fn octets6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn put(bytes: &mut [u8], at: usize, sum: u16) {
    for (to, from) in bytes.iter_mut().skip(at).zip(sum.to_be_bytes()) {
        *to = from;
    }
}

/// The Internet checksum, RFC 1071. Every part but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            let high = pair.first().copied().unwrap_or_default();
            let low = pair.get(1).copied().unwrap_or_default();
            sum += u32::from(u16::from_be_bytes([high, low]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !u16::try_from(sum & 0xffff).unwrap_or_default()
}

fn length16(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}
