//! What a frame says, from its bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::write::transport_sum;
use super::{
    ARP, Body, Content, ETHERNET_HEADER, ErrorKind, FRAGMENT, FRAGMENT_HEADER, Fragment, Frame, ICMP, ICMP_HEADER,
    ICMPV6, IPV4, IPV6, Neighbour, NeighbourKind, Packet, TCP, UDP, UDP_HEADER, V6_HEADER,
};
use crate::net::Mac;

/// Reads a frame; nothing if it is neither ARP nor IP, or cut off within its headers.
pub fn read(bytes: &[u8]) -> Option<Frame> {
    let (destination, rest) = bytes.split_first_chunk::<6>()?;
    let (source, rest) = rest.split_first_chunk::<6>()?;
    let (kind, _) = rest.split_first_chunk::<2>()?;
    let body = bytes.get(ETHERNET_HEADER..)?;
    let body = match u16::from_be_bytes(*kind) {
        ARP => Body::Neighbour(arp(body)?),
        IPV4 => Body::Ip(v4(body)?),
        IPV6 => match discovery(body, Mac(*source)) {
            Some(neighbour) => Body::Neighbour(neighbour),
            None => Body::Ip(v6(body)?),
        },
        _ => return None,
    };
    Some(Frame { source: Mac(*source), destination: Mac(*destination), body })
}

fn at<const N: usize>(bytes: &[u8], place: usize) -> Option<[u8; N]> {
    bytes.get(place..)?.first_chunk::<N>().copied()
}

fn number16(bytes: &[u8], place: usize) -> Option<u16> {
    at(bytes, place).map(u16::from_be_bytes)
}

fn number32(bytes: &[u8], place: usize) -> Option<u32> {
    at(bytes, place).map(u32::from_be_bytes)
}

fn address4(bytes: &[u8], place: usize) -> Option<IpAddr> {
    at::<4>(bytes, place).map(|octets| Ipv4Addr::from(octets).into())
}

fn address6(bytes: &[u8], place: usize) -> Option<IpAddr> {
    at::<16>(bytes, place).map(|octets| Ipv6Addr::from(octets).into())
}

fn arp(bytes: &[u8]) -> Option<Neighbour> {
    let (sender, target) = (address4(bytes, 14)?, address4(bytes, 24)?);
    let mac = Mac(at(bytes, 8)?);
    let (kind, other, wanted) = match number16(bytes, 6)? {
        1 | 2 if sender == target => (NeighbourKind::Announce, sender, sender),
        1 => (NeighbourKind::Request, sender, target),
        2 => (NeighbourKind::Reply, target, sender),
        _ => return None,
    };
    Some(Neighbour { kind, other, wanted, mac })
}

/// Neighbour discovery; nothing if it is another IPv6 packet.
fn discovery(bytes: &[u8], from: Mac) -> Option<Neighbour> {
    if bytes.get(6) != Some(&ICMPV6) {
        return None;
    }
    let content = bytes.get(V6_HEADER..)?;
    let wanted = address6(content, 8)?;
    // Source or target link-layer address, if it is the first option, as kernels write it.
    let mac = if matches!(content.get(24), Some(1 | 2)) { Mac(at(content, 26)?) } else { from };
    let (source, destination) = (address6(bytes, 8)?, address6(bytes, 24)?);
    let solicited = content.get(4)? & 0x40 != 0;
    let (kind, other) = match content.first()? {
        135 => (NeighbourKind::Request, source),
        136 if solicited => (NeighbourKind::Reply, destination),
        136 => (NeighbourKind::Announce, wanted),
        _ => return None,
    };
    Some(Neighbour { kind, other, wanted, mac })
}

/// An IPv4 packet, which may be cut off where it is quoted.
fn v4(bytes: &[u8]) -> Option<Packet> {
    let start = usize::from(bytes.first()? & 0x0f) * 4;
    let (length, flags) = (usize::from(number16(bytes, 2)?), number16(bytes, 6)?);
    let end = length.min(bytes.len());
    let offset = usize::from(flags & 0x1fff) * 8;
    let more = flags & 0x2000 != 0;
    let mut packet = Packet {
        source: address4(bytes, 12)?,
        destination: address4(bytes, 16)?,
        ttl: *bytes.get(8)?,
        id: u32::from(number16(bytes, 4)?),
        dont_fragment: flags & 0x4000 != 0,
        fragment: None,
        content: Content::Other(0, Vec::new()),
        good_checksum: true,
        size: length,
    };
    let (protocol, part) = (*bytes.get(9)?, bytes.get(start..end)?);
    if offset > 0 || more {
        packet.fragment = Some(Fragment { offset, more, protocol, part: part.to_vec() });
    }
    fill(&mut packet, protocol, part, end < length);
    Some(packet)
}

fn v6(bytes: &[u8]) -> Option<Packet> {
    let length = V6_HEADER + usize::from(number16(bytes, 4)?);
    let end = length.min(bytes.len());
    let (mut protocol, mut start) = (*bytes.get(6)?, V6_HEADER);
    let mut packet = Packet {
        source: address6(bytes, 8)?,
        destination: address6(bytes, 24)?,
        ttl: *bytes.get(7)?,
        id: 0,
        dont_fragment: false,
        fragment: None,
        content: Content::Other(0, Vec::new()),
        good_checksum: true,
        size: length,
    };
    if protocol == FRAGMENT {
        let place = number16(bytes, V6_HEADER + 2)?;
        packet.id = number32(bytes, V6_HEADER + 4)?;
        protocol = *bytes.get(V6_HEADER)?;
        start += FRAGMENT_HEADER;
        let (offset, more) = (usize::from(place & 0xfff8), place & 1 != 0);
        packet.fragment = Some(Fragment { offset, more, protocol, part: bytes.get(start..end)?.to_vec() });
    }
    fill(&mut packet, protocol, bytes.get(start..end)?, end < length);
    Some(packet)
}

/// Puts content and checksum into a packet whose header is read.
pub(super) fn fill(packet: &mut Packet, protocol: u8, bytes: &[u8], is_cut_off: bool) {
    let first = packet.fragment.as_ref().is_none_or(|fragment| fragment.offset == 0);
    let read = if first { content(packet, protocol, bytes) } else { None };
    let none = protocol == UDP && packet.source.is_ipv4() && number16(bytes, 6) == Some(0);
    let sums = !is_cut_off && packet.fragment.is_none() && !none && read.is_some();
    // Over content with its own right checksum the sum is zero.
    packet.good_checksum = !sums || transport_sum(packet, protocol, bytes) == 0;
    packet.content = read.unwrap_or_else(|| Content::Other(protocol, bytes.to_vec()));
}

fn content(packet: &Packet, protocol: u8, bytes: &[u8]) -> Option<Content> {
    let ports = || Some((number16(bytes, 0)?, number16(bytes, 2)?));
    match protocol {
        UDP => Some(Content::Udp { ports: ports()?, payload: bytes.get(UDP_HEADER..)?.to_vec() }),
        TCP => {
            let header = usize::from(bytes.get(12).copied().unwrap_or(0x50) >> 4) * 4;
            Some(Content::Tcp {
                ports: ports()?,
                sequence: number32(bytes, 4)?,
                // An error need not quote more than eight bytes.
                acknowledgement: number32(bytes, 8).unwrap_or_default(),
                flags: bytes.get(13).copied().unwrap_or_default(),
                payload: bytes.get(header..).unwrap_or_default().to_vec(),
            })
        }
        ICMP if packet.source.is_ipv4() => icmp(bytes),
        ICMPV6 if packet.source.is_ipv6() => icmp6(bytes),
        _ => None,
    }
}

fn echo(reply: bool, bytes: &[u8]) -> Option<Content> {
    Some(Content::Echo { reply, id: number16(bytes, 4)?, payload: bytes.get(ICMP_HEADER..)?.to_vec() })
}

/// RFC 792, RFC 1122 section 3.2.2.1, RFC 1191 section 4, RFC 1256, RFC 1812 section 5.2.7.1.
fn icmp(bytes: &[u8]) -> Option<Content> {
    let kind = match (*bytes.first()?, *bytes.get(1)?) {
        (8, _) => return echo(false, bytes),
        (0, _) => return echo(true, bytes),
        (9, _) => return Some(Content::RouterAdvert),
        (3, 4) => ErrorKind::TooBig(u32::from(number16(bytes, 6)?)),
        (3, 0 | 5 | 6 | 8 | 11) => ErrorKind::NetUnreachable,
        (3, 1 | 7 | 12) => ErrorKind::HostUnreachable,
        (3, 2 | 3) => ErrorKind::PortUnreachable,
        (3, 9 | 10 | 13..=15) => ErrorKind::Prohibited,
        (5, _) => ErrorKind::Redirect(address4(bytes, 4)?),
        (11, _) => ErrorKind::Expired,
        _ => return None,
    };
    Some(Content::Error(kind, v4(bytes.get(ICMP_HEADER..)?).map(Box::new)))
}

/// RFC 4443 sections 3.1 to 3.3, RFC 4861 sections 4.2 and 4.5.
fn icmp6(bytes: &[u8]) -> Option<Content> {
    let kind = match (*bytes.first()?, *bytes.get(1)?) {
        (128, _) => return echo(false, bytes),
        (129, _) => return echo(true, bytes),
        (134, _) => return Some(Content::RouterAdvert),
        (137, _) => {
            let quoted = bytes.get(48..).and_then(v6).map(Box::new);
            return Some(Content::Error(ErrorKind::Redirect(address6(bytes, 8)?), quoted));
        }
        (1, 0 | 2) => ErrorKind::NetUnreachable,
        (1, 3) => ErrorKind::HostUnreachable,
        (1, 4) => ErrorKind::PortUnreachable,
        (1, 1 | 5 | 6) => ErrorKind::Prohibited,
        (2, _) => ErrorKind::TooBig(number32(bytes, 4)?),
        (3, _) => ErrorKind::Expired,
        _ => return None,
    };
    Some(Content::Error(kind, v6(bytes.get(ICMP_HEADER..)?).map(Box::new)))
}
