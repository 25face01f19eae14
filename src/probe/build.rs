//! Frames from what they are to say; [`super::frame`] reads them back.
//!
//! In: a [`Packet`]. Out: its bytes, with every length and checksum. Never: a choice (addresses, ports and tokens are given).

use std::net::Ipv6Addr;

use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, MutableArpPacket};
use pnet::packet::ethernet::{EtherType, EtherTypes, MutableEthernetPacket};
use pnet::packet::icmp::{self, IcmpPacket, IcmpType, IcmpTypes};
use pnet::packet::icmpv6::ndp::{
    MutableNeighborAdvertPacket, MutableNeighborSolicitPacket, NdpOption, NdpOptionType, NdpOptionTypes,
    NeighborAdvertFlags,
};
use pnet::packet::icmpv6::{self, Icmpv6Packet, Icmpv6Type, Icmpv6Types};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv4::{self, MutableIpv4Packet};
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::packet::tcp::{self, MutableTcpPacket};
use pnet::packet::udp::{self, MutableUdpPacket};
use pnet::util::MacAddr;

use super::frame::{Body, Datagram, Ends, ICMP_HEADER, Neighbour, Packet, Refusal, Segment};
use crate::net::Mac;

const ETHERNET_HEADER: usize = 14;
const ARP_LENGTH: usize = 28;
pub(super) const V4_HEADER: usize = 20;
pub(super) const V6_HEADER: usize = 40;
pub(super) const UDP_HEADER: usize = 8;
pub(super) const TCP_HEADER: usize = 20;
/// A solicitation or advertisement with one link-layer address option.
const DISCOVERY_LENGTH: usize = 32;
/// RFC 4861: what neighbour discovery carries as hop limit, so that nobody beyond the link can forge it.
const DISCOVERY_HOP_LIMIT: u8 = 255;
/// What a probe offers as TCP window; any will do.
const WINDOW: u16 = 64_240;
/// All buffers are made as long as what is put into them.
const FITS: &str = "a buffer is made as long as its headers and payload";

/// The frame's bytes.
pub(super) fn build(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = vec![0; ETHERNET_HEADER + body_length(&packet.body)];
    let (header, content) = bytes.split_at_mut(ETHERNET_HEADER);
    let mut ethernet = MutableEthernetPacket::new(header).expect(FITS);
    ethernet.set_source(mac(packet.source));
    ethernet.set_destination(mac(packet.destination));
    ethernet.set_ethertype(ethertype(&packet.body));
    match &packet.body {
        Body::Ask(neighbour) => fill_neighbour(neighbour, false, content),
        Body::Tell(neighbour) => fill_neighbour(neighbour, true, content),
        Body::Datagram(datagram) => fill_datagram(datagram, content),
    }
    bytes
}

/// Where a question for `wanted` is sent: broadcast, or the solicited-node group (RFC 2464 section 7).
pub(super) fn asked_at(ends: Ends) -> Mac {
    match ends {
        Ends::V4(..) => Mac::BROADCAST,
        Ends::V6(_, wanted) => {
            let [.., x, y, z] = wanted.octets();
            Mac([0x33, 0x33, 0xff, x, y, z])
        }
    }
}

fn mac(address: Mac) -> MacAddr {
    MacAddr::from(address.0)
}

fn ethertype(body: &Body<'_>) -> EtherType {
    match body {
        Body::Ask(Neighbour { ends: Ends::V4(..), .. }) | Body::Tell(Neighbour { ends: Ends::V4(..), .. }) => {
            EtherTypes::Arp
        }
        Body::Datagram(Datagram { ends: Ends::V4(..), .. }) => EtherTypes::Ipv4,
        Body::Ask(_) | Body::Tell(_) | Body::Datagram(_) => EtherTypes::Ipv6,
    }
}

fn body_length(body: &Body<'_>) -> usize {
    match body {
        Body::Ask(neighbour) | Body::Tell(neighbour) => match neighbour.ends {
            Ends::V4(..) => ARP_LENGTH,
            Ends::V6(..) => V6_HEADER + DISCOVERY_LENGTH,
        },
        Body::Datagram(datagram) => datagram_length(datagram),
    }
}

fn datagram_length(datagram: &Datagram<'_>) -> usize {
    let header = match datagram.ends {
        Ends::V4(..) => V4_HEADER,
        Ends::V6(..) => V6_HEADER,
    };
    header + segment_length(&datagram.segment)
}

fn segment_length(segment: &Segment<'_>) -> usize {
    match segment {
        Segment::Echo { payload, .. } => ICMP_HEADER + payload.len(),
        Segment::Udp { payload, .. } => UDP_HEADER + payload.len(),
        Segment::Tcp { payload, .. } => TCP_HEADER + payload.len(),
        Segment::Error { quoted, .. } => ICMP_HEADER + datagram_length(quoted),
    }
}

fn length16(length: usize) -> u16 {
    u16::try_from(length).expect("a probe is shorter than the longest IP packet")
}

fn fill_neighbour(neighbour: &Neighbour, tells: bool, bytes: &mut [u8]) {
    match neighbour.ends {
        Ends::V4(asker, wanted) => {
            let mut arp = MutableArpPacket::new(bytes).expect(FITS);
            let (operation, sender, target) =
                if tells { (ArpOperations::Reply, wanted, asker) } else { (ArpOperations::Request, asker, wanted) };
            arp.set_hardware_type(ArpHardwareTypes::Ethernet);
            arp.set_protocol_type(EtherTypes::Ipv4);
            arp.set_hw_addr_len(6);
            arp.set_proto_addr_len(4);
            arp.set_operation(operation);
            arp.set_sender_hw_addr(mac(neighbour.mac));
            arp.set_sender_proto_addr(sender);
            arp.set_target_proto_addr(target);
        }
        Ends::V6(asker, wanted) => {
            let (header, content) = bytes.split_at_mut(V6_HEADER);
            let (from, to) = if tells { (wanted, asker) } else { (asker, solicited_node(wanted)) };
            if tells {
                fill_advert(wanted, neighbour.mac, content);
            } else {
                fill_solicit(wanted, neighbour.mac, content);
            }
            sum_icmp_v6(content, from, to);
            fill_v6_header(header, from, to, DISCOVERY_HOP_LIMIT, IpNextHeaderProtocols::Icmpv6, DISCOVERY_LENGTH);
        }
    }
}

/// RFC 4291 section 2.7.1.
fn solicited_node(wanted: Ipv6Addr) -> Ipv6Addr {
    let [.., x, y, z] = wanted.octets();
    Ipv6Addr::from([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, x, y, z])
}

fn fill_solicit(wanted: Ipv6Addr, own: Mac, bytes: &mut [u8]) {
    let mut ask = MutableNeighborSolicitPacket::new(bytes).expect(FITS);
    ask.set_icmpv6_type(Icmpv6Types::NeighborSolicit);
    ask.set_target_addr(wanted);
    ask.set_options(&[link_layer(NdpOptionTypes::SourceLLAddr, own)]);
}

fn fill_advert(wanted: Ipv6Addr, own: Mac, bytes: &mut [u8]) {
    let mut tell = MutableNeighborAdvertPacket::new(bytes).expect(FITS);
    tell.set_icmpv6_type(Icmpv6Types::NeighborAdvert);
    tell.set_flags(NeighborAdvertFlags::Solicited | NeighborAdvertFlags::Override);
    tell.set_target_addr(wanted);
    tell.set_options(&[link_layer(NdpOptionTypes::TargetLLAddr, own)]);
}

fn link_layer(option_type: NdpOptionType, own: Mac) -> NdpOption {
    NdpOption { option_type, length: 1, data: own.0.to_vec() }
}

fn fill_datagram(datagram: &Datagram<'_>, bytes: &mut [u8]) {
    let length = segment_length(&datagram.segment);
    let protocol = protocol(datagram);
    match datagram.ends {
        Ends::V4(source, destination) => {
            let (header, content) = bytes.split_at_mut(V4_HEADER);
            fill_segment(datagram, content);
            let mut ip = MutableIpv4Packet::new(header).expect(FITS);
            ip.set_version(4);
            ip.set_header_length(5);
            ip.set_total_length(length16(V4_HEADER + length));
            ip.set_ttl(datagram.ttl);
            ip.set_next_level_protocol(protocol);
            ip.set_source(source);
            ip.set_destination(destination);
            let sum = ipv4::checksum(&ip.to_immutable());
            ip.set_checksum(sum);
        }
        Ends::V6(source, destination) => {
            let (header, content) = bytes.split_at_mut(V6_HEADER);
            fill_segment(datagram, content);
            fill_v6_header(header, source, destination, datagram.ttl, protocol, length);
        }
    }
}

fn fill_v6_header(
    header: &mut [u8],
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hop_limit: u8,
    next_header: IpNextHeaderProtocol,
    length: usize,
) {
    let mut ip = MutableIpv6Packet::new(header).expect(FITS);
    ip.set_version(6);
    ip.set_payload_length(length16(length));
    ip.set_next_header(next_header);
    ip.set_hop_limit(hop_limit);
    ip.set_source(source);
    ip.set_destination(destination);
}

fn protocol(datagram: &Datagram<'_>) -> IpNextHeaderProtocol {
    match (&datagram.segment, datagram.ends) {
        (Segment::Udp { .. }, _) => IpNextHeaderProtocols::Udp,
        (Segment::Tcp { .. }, _) => IpNextHeaderProtocols::Tcp,
        (Segment::Echo { .. } | Segment::Error { .. }, Ends::V4(..)) => IpNextHeaderProtocols::Icmp,
        (Segment::Echo { .. } | Segment::Error { .. }, Ends::V6(..)) => IpNextHeaderProtocols::Icmpv6,
    }
}

fn fill_segment(datagram: &Datagram<'_>, bytes: &mut [u8]) {
    let ends = datagram.ends;
    match &datagram.segment {
        Segment::Echo { reply, id, sequence, payload } => {
            let kind = echo_type(*reply, ends);
            let rest = id.to_be_bytes().into_iter().chain(sequence.to_be_bytes());
            fill_icmp(ends, kind, rest.chain(payload.iter().copied()), bytes);
        }
        Segment::Error { refusal, quoted } => {
            let (kind, mtu) = error_type(*refusal, ends);
            let mut inner = vec![0; datagram_length(quoted)];
            fill_datagram(quoted, &mut inner);
            fill_icmp(ends, kind, mtu.to_be_bytes().into_iter().chain(inner), bytes);
        }
        Segment::Udp { ports, payload } => {
            let mut udp = MutableUdpPacket::new(bytes).expect(FITS);
            udp.set_source(ports.0);
            udp.set_destination(ports.1);
            udp.set_length(length16(UDP_HEADER + payload.len()));
            udp.set_payload(payload);
            let sum = match ends {
                Ends::V4(source, destination) => udp::ipv4_checksum(&udp.to_immutable(), &source, &destination),
                Ends::V6(source, destination) => udp::ipv6_checksum(&udp.to_immutable(), &source, &destination),
            };
            // Zero stands for "no checksum"; RFC 768 sends its complement.
            udp.set_checksum(if sum == 0 { 0xffff } else { sum });
        }
        Segment::Tcp { ports, sequence, acknowledgement, flags, payload } => {
            let mut tcp = MutableTcpPacket::new(bytes).expect(FITS);
            tcp.set_source(ports.0);
            tcp.set_destination(ports.1);
            tcp.set_sequence(*sequence);
            tcp.set_acknowledgement(*acknowledgement);
            tcp.set_data_offset(5);
            tcp.set_flags(*flags);
            tcp.set_window(WINDOW);
            tcp.set_payload(payload);
            let sum = match ends {
                Ends::V4(source, destination) => tcp::ipv4_checksum(&tcp.to_immutable(), &source, &destination),
                Ends::V6(source, destination) => tcp::ipv6_checksum(&tcp.to_immutable(), &source, &destination),
            };
            tcp.set_checksum(sum);
        }
    }
}

/// ICMP type and code.
type Kind = (u8, u8);

fn echo_type(reply: bool, ends: Ends) -> Kind {
    let IcmpType(v4) = if reply { IcmpTypes::EchoReply } else { IcmpTypes::EchoRequest };
    let Icmpv6Type(v6) = if reply { Icmpv6Types::EchoReply } else { Icmpv6Types::EchoRequest };
    match ends {
        Ends::V4(..) => (v4, 0),
        Ends::V6(..) => (v6, 0),
    }
}

/// Type and code, and the header's last four bytes.
fn error_type(refusal: Refusal, ends: Ends) -> (Kind, u32) {
    let IcmpType(unreachable_v4) = IcmpTypes::DestinationUnreachable;
    let Icmpv6Type(unreachable_v6) = Icmpv6Types::DestinationUnreachable;
    match (refusal, ends) {
        (Refusal::NoRoute, Ends::V4(..)) => ((unreachable_v4, 0), 0),
        (Refusal::NoRoute, Ends::V6(..)) => ((unreachable_v6, 0), 0),
        (Refusal::HostUnreachable, Ends::V4(..)) => ((unreachable_v4, 1), 0),
        (Refusal::HostUnreachable, Ends::V6(..)) => ((unreachable_v6, 3), 0),
        (Refusal::Refused, Ends::V4(..)) => ((unreachable_v4, 3), 0),
        (Refusal::Refused, Ends::V6(..)) => ((unreachable_v6, 4), 0),
        (Refusal::Prohibited, Ends::V4(..)) => ((unreachable_v4, 13), 0),
        (Refusal::Prohibited, Ends::V6(..)) => ((unreachable_v6, 1), 0),
        (Refusal::TooBig(mtu), Ends::V4(..)) => ((unreachable_v4, 4), mtu),
        (Refusal::TooBig(mtu), Ends::V6(..)) => ((Icmpv6Types::PacketTooBig.0, 0), mtu),
        (Refusal::Expired, Ends::V4(..)) => ((IcmpTypes::TimeExceeded.0, 0), 0),
        (Refusal::Expired, Ends::V6(..)) => ((Icmpv6Types::TimeExceeded.0, 0), 0),
    }
}

fn fill_icmp(ends: Ends, kind: Kind, rest: impl Iterator<Item = u8>, bytes: &mut [u8]) {
    let (header, content) = bytes.split_at_mut(4);
    header.copy_from_slice(&[kind.0, kind.1, 0, 0]);
    for (to, from) in content.iter_mut().zip(rest) {
        *to = from;
    }
    match ends {
        Ends::V4(..) => {
            let sum = icmp::checksum(&IcmpPacket::new(bytes).expect(FITS));
            icmp::MutableIcmpPacket::new(bytes).expect(FITS).set_checksum(sum);
        }
        Ends::V6(source, destination) => sum_icmp_v6(bytes, source, destination),
    }
}

fn sum_icmp_v6(bytes: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) {
    let sum = icmpv6::checksum(&Icmpv6Packet::new(bytes).expect(FITS), &source, &destination);
    icmpv6::MutableIcmpv6Packet::new(bytes).expect(FITS).set_checksum(sum);
}

#[cfg(test)]
mod tests {
    use pnet::packet::ipv4::Ipv4Packet;
    use proptest::prelude::*;

    use super::*;
    use crate::probe::frame::parse;

    fn ends() -> impl Strategy<Value = Ends> {
        prop_oneof![
            (any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(|(a, b)| Ends::V4(a.into(), b.into())),
            (any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(|(a, b)| Ends::V6(a.into(), b.into())),
        ]
    }

    fn segment() -> impl Strategy<Value = Segment<'static>> {
        let payload = || prop::collection::vec(any::<u8>(), 0..100).prop_map(Into::into);
        prop_oneof![
            (any::<bool>(), any::<u16>(), any::<u16>(), payload())
                .prop_map(|(reply, id, sequence, payload)| Segment::Echo { reply, id, sequence, payload }),
            (any::<(u16, u16)>(), payload()).prop_map(|(ports, payload)| Segment::Udp { ports, payload }),
            (any::<(u16, u16)>(), any::<u32>(), any::<u32>(), any::<u8>(), payload()).prop_map(
                |(ports, sequence, acknowledgement, flags, payload)| Segment::Tcp {
                    ports,
                    sequence,
                    acknowledgement,
                    flags,
                    payload,
                }
            ),
        ]
    }

    fn datagram() -> impl Strategy<Value = Datagram<'static>> {
        let plain = (ends(), any::<u8>(), segment()).prop_map(|(ends, ttl, segment)| Datagram { ends, ttl, segment });
        let refusal = prop_oneof![
            Just(Refusal::NoRoute),
            Just(Refusal::HostUnreachable),
            Just(Refusal::Refused),
            Just(Refusal::Prohibited),
            any::<u16>().prop_map(|mtu| Refusal::TooBig(mtu.into())),
            Just(Refusal::Expired),
        ];
        (plain, any::<bool>(), refusal).prop_map(|(datagram, error, refusal)| {
            if !error {
                return datagram;
            }
            let ends = datagram.ends.reversed();
            Datagram { ends, ttl: 64, segment: Segment::Error { refusal, quoted: Box::new(datagram) } }
        })
    }

    fn packet() -> impl Strategy<Value = Packet<'static>> {
        let mac = || any::<[u8; 6]>().prop_map(Mac);
        let neighbour = || (ends(), mac()).prop_map(|(ends, mac)| Neighbour { ends, mac });
        let body = prop_oneof![
            neighbour().prop_map(Body::Ask),
            neighbour().prop_map(Body::Tell),
            datagram().prop_map(Body::Datagram),
        ];
        (mac(), mac(), body).prop_map(|(source, destination, body)| Packet { source, destination, body })
    }

    proptest! {
        #[test]
        fn what_is_built_reads_back(packet in packet()) {
            let bytes = build(&packet);
            prop_assert_eq!(parse(&bytes), Some(packet.clone()));
            // Short frames are padded on real links.
            let padded: Vec<u8> = bytes.iter().copied().chain([0; 24]).collect();
            prop_assert_eq!(parse(&padded), Some(packet));
        }

        #[test]
        fn no_bytes_upset_the_reader(mut bytes in prop::collection::vec(any::<u8>(), 0..120), kind in 0..3_usize) {
            if let Some(place) = bytes.get_mut(12..14) {
                place.copy_from_slice(&[[0x08, 0x00], [0x08, 0x06], [0x86, 0xdd]][kind]);
            }
            drop(parse(&bytes));
        }
    }

    #[test]
    fn headers_are_as_the_standards_have_them() {
        let ends = Ends::V4([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let segment = Segment::Udp { ports: (20_000, 9000), payload: b"x".as_slice().into() };
        let body = Body::Datagram(Datagram { ends, ttl: 64, segment });
        let bytes = build(&Packet { source: Mac::ZERO, destination: Mac::BROADCAST, body });
        assert_eq!(bytes[..14], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 8, 0]);
        assert_eq!(bytes[14..24], [0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17]);
        let ip = Ipv4Packet::new(&bytes[14..]).unwrap();
        assert_eq!(ip.get_checksum(), ipv4::checksum(&ip));
        assert_eq!(
            asked_at(Ends::V6(Ipv6Addr::LOCALHOST, "fe80::1:2:345".parse().unwrap())).0,
            [51, 51, 255, 2, 3, 69]
        );
    }
}
