//! The connections that a namespace tracks, by netlink.
//!
//! In: a NETLINK_NETFILTER socket that stands in the namespace. Out: [`Connection`]s, without time-outs and counters.
//! Never: a dump when nothing is tracked, since a dump walks the whole table of the machine (8.7 ms for 262144 buckets,
//! entries or not).

use std::net::IpAddr;

use netlink_bindings::conntrack::{ConntrackAttrs, IterableTupleAttrs, PushConntrackAttrs, PushTupleAttrs};
use netlink_bindings::traits::Pusher;
use netlink_sys::Socket;

use super::nfnetlink::{ACK, DUMP, Message, NfnetlinkError, ask, find};
use crate::memory::{Connection, Detail, ICMPV6, Tuple};
use crate::net::{Family, IpNet, PortRange, family_of};

/// Subsystem 1 (NFNL_SUBSYS_CTNETLINK), in the upper byte of a message type.
const CONNTRACK: u16 = 1 << 8;
/// IPCTNL_MSG_CT_GET
const GET: u16 = CONNTRACK | 1;
/// IPCTNL_MSG_CT_DELETE
const DELETE: u16 = CONNTRACK | 2;
/// IPCTNL_MSG_CT_GET_STATS
const GET_STATS: u16 = CONNTRACK | 5;
/// CTA_STATS_GLOBAL_ENTRIES: of the namespace, whatever its name says.
const STATS_ENTRIES: u16 = 1;
const EVERY_FAMILY: u8 = 0;

/// IPS_SEEN_REPLY
const SEEN_REPLY: u32 = 1 << 1;

/// How many connections the namespace tracks. Takes microseconds.
pub fn count(socket: &Socket) -> Result<u32, NfnetlinkError> {
    let mut entries = None;
    ask(
        socket,
        (GET_STATS, 0),
        EVERY_FAMILY,
        |_| {},
        |message| {
            let value = find(message.attributes, STATS_ENTRIES).and_then(|bytes| bytes.first_chunk());
            entries = value.map(|bytes| u32::from_be_bytes(*bytes));
            Ok(())
        },
    )?;
    entries.ok_or(NfnetlinkError::Malformed("statistics without the number of entries"))
}

/// All connections, sorted.
pub fn dump(socket: &Socket) -> Result<Vec<Connection>, NfnetlinkError> {
    dump_of(socket, EVERY_FAMILY)
}

fn dump_of(socket: &Socket, family: u8) -> Result<Vec<Connection>, NfnetlinkError> {
    let mut entries = Vec::new();
    if count(socket)? == 0 {
        return Ok(entries);
    }
    ask(
        socket,
        (GET, DUMP),
        family,
        |_| {},
        |message| {
            entries.push(entry(message)?);
            Ok(())
        },
    )?;
    entries.sort_unstable();
    Ok(entries)
}

/// Deletes one connection by its original tuple (the kernel takes the reply's as well) and says whether it was there.
pub fn delete(socket: &Socket, zone: u16, tuple: &Tuple) -> Result<bool, NfnetlinkError> {
    let fill = |bytes: &mut Vec<u8>| {
        let to = push_tuple(PushConntrackAttrs::new(bytes).nested_tuple_orig(), tuple).end_nested();
        // Without a zone the kernel looks in zone 0 only.
        to.push_zone(zone);
    };
    match ask(socket, (DELETE, ACK), number(Family::of(tuple.source)), fill, |_| Ok(())) {
        Ok(_) => Ok(true),
        Err(NfnetlinkError::Refused(error)) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Deletes every connection that has an address of `net` in either tuple and returns how many.
pub fn purge(socket: &Socket, net: &IpNet) -> Result<usize, NfnetlinkError> {
    let mut purged = 0;
    for entry in dump_of(socket, number(family_of(net)))? {
        if entry.has(net) && delete(socket, entry.zone, &entry.original)? {
            purged += 1;
        }
    }
    Ok(purged)
}

/// Deletes every connection that was begun to a port of an address and returns how many.
pub fn purge_port(socket: &Socket, address: IpAddr, protocol: u8, ports: PortRange) -> Result<usize, NfnetlinkError> {
    let mut purged = 0;
    for entry in dump_of(socket, number(Family::of(address)))? {
        let begun_to = &entry.original;
        let fits = begun_to.destination == address && begun_to.protocol == protocol;
        let there = matches!(begun_to.detail, Detail::Ports(_source, destination) if ports.contains(destination));
        if fits && there && delete(socket, entry.zone, begun_to)? {
            purged += 1;
        }
    }
    Ok(purged)
}

/// Deletes every connection.
pub fn flush(socket: &Socket) -> Result<(), NfnetlinkError> {
    ask(socket, (DELETE, ACK), EVERY_FAMILY, |_| {}, |_| Ok(())).map(|_one_state| ())
}

/// The kernel's number of a family.
fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

fn push_tuple<P: Pusher>(to: PushTupleAttrs<P>, tuple: &Tuple) -> PushTupleAttrs<P> {
    let to = match (tuple.source, tuple.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            to.nested_tuple_ip().push_ip_v4_src(source).push_ip_v4_dst(destination).end_nested()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            to.nested_tuple_ip().push_ip_v6_src(source).push_ip_v6_dst(destination).end_nested()
        }
        // The kernel refuses a tuple without addresses.
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => to,
    };
    let to = to.nested_tuple_proto().push_proto_num(tuple.protocol);
    let to = match tuple.detail {
        Detail::Ports(source, destination) => to.push_proto_src_port(source).push_proto_dst_port(destination),
        Detail::Icmp { kind, code, id } if tuple.protocol == ICMPV6 => {
            to.push_proto_icmpv6_id(id).push_proto_icmpv6_type(kind).push_proto_icmpv6_code(code)
        }
        Detail::Icmp { kind, code, id } => {
            to.push_proto_icmp_id(id).push_proto_icmp_type(kind).push_proto_icmp_code(code)
        }
        Detail::None => to,
    };
    to.end_nested()
}

fn entry(message: &Message<'_>) -> Result<Connection, NfnetlinkError> {
    let attributes = ConntrackAttrs::new(message.attributes);
    let (Ok(original), Ok(reply)) = (attributes.get_tuple_orig(), attributes.get_tuple_reply()) else {
        return Err(NfnetlinkError::Malformed("a connection without its tuples"));
    };
    Ok(Connection {
        // Zone 0 is not sent, nor is the mark by a kernel built without marks.
        zone: attributes.get_zone().unwrap_or(0),
        original: tuple(&original)?,
        reply: tuple(&reply)?,
        answered: attributes.get_status().unwrap_or(0) & SEEN_REPLY != 0,
        mark: attributes.get_mark().unwrap_or(0),
    })
}

fn tuple(from: &IterableTupleAttrs<'_>) -> Result<Tuple, NfnetlinkError> {
    read_tuple(from).ok_or(NfnetlinkError::Malformed("a connection's tuple without addresses or protocol"))
}

fn read_tuple(from: &IterableTupleAttrs<'_>) -> Option<Tuple> {
    let (addresses, proto) = (from.get_tuple_ip().ok()?, from.get_tuple_proto().ok()?);
    let source = addresses.get_ip_v4_src().map(IpAddr::from).or_else(|_v6| addresses.get_ip_v6_src().map(IpAddr::from));
    let destination =
        addresses.get_ip_v4_dst().map(IpAddr::from).or_else(|_v6| addresses.get_ip_v6_dst().map(IpAddr::from));
    let detail = if let (Ok(source), Ok(destination)) = (proto.get_proto_src_port(), proto.get_proto_dst_port()) {
        Detail::Ports(source, destination)
    } else if let (Ok(id), Ok(kind), Ok(code)) =
        (proto.get_proto_icmp_id(), proto.get_proto_icmp_type(), proto.get_proto_icmp_code())
    {
        Detail::Icmp { kind, code, id }
    } else if let (Ok(id), Ok(kind), Ok(code)) =
        (proto.get_proto_icmpv6_id(), proto.get_proto_icmpv6_type(), proto.get_proto_icmpv6_code())
    {
        Detail::Icmp { kind, code, id }
    } else {
        Detail::None
    };
    Some(Tuple { protocol: proto.get_proto_num().ok()?, source: source.ok()?, destination: destination.ok()?, detail })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::kernel::nft::testing::{desired, loopback_up, make, socket, succeed};
    use crate::kernel::testing::{done_in_a_sandbox, in_netns};
    use crate::memory::UDP;

    /// A namespace that tracks and translates: what is sent to `ADDRESS` port 53 goes to port 5300 of the other end.
    fn tracking(family: Family) -> (Socket, UdpSocket, UdpSocket) {
        loopback_up();
        let (rules, host) = match family {
            Family::V4 => {
                ("ip4 nat -A OUTPUT -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.2:5300", "127.0.0.1")
            }
            Family::V6 => ("ip6 nat -A OUTPUT -p udp -m udp --dport 53 -j DNAT --to-destination [::1]:5300", "::1"),
        };
        let socket = socket();
        make(&socket, &desired(rules)).unwrap();
        let host: IpAddr = host.parse().unwrap();
        let server = if host.is_ipv4() { "127.0.0.2".parse().unwrap() } else { host };
        (socket, UdpSocket::bind((host, 4000)).unwrap(), UdpSocket::bind((server, 5300)).unwrap())
    }

    fn texts(socket: &Socket) -> Vec<String> {
        dump(socket).unwrap().iter().map(Connection::to_string).collect()
    }

    #[test]
    fn translated_connections_are_shown_and_purged() {
        if done_in_a_sandbox() {
            return;
        }
        in_netns(|| {
            let (socket, client, server) = tracking(Family::V4);
            assert_eq!(count(&socket).unwrap(), 0);
            assert_eq!(texts(&socket), [""; 0]);
            client.send_to(b"?", "127.0.0.1:53").unwrap();
            let asked = "udp src=127.0.0.1 dst=127.0.0.1 sport=4000 dport=53 [UNREPLIED] reply src=127.0.0.2 dst=127.0.0.1 sport=5300 dport=4000";
            assert_eq!(texts(&socket), [asked]);
            let (_, from) = server.recv_from(&mut [0; 8]).unwrap();
            server.send_to(b"!", from).unwrap();
            assert_eq!(texts(&socket), [asked.replace(" [UNREPLIED]", "")]);
            client.send_to(b"?", "127.0.0.1:9").unwrap();
            assert!(count(&socket).unwrap() >= 2);
            assert_eq!(purge(&socket, &"127.0.0.9/32".parse().unwrap()).unwrap(), 0);
            assert_eq!(purge(&socket, &"127.0.0.2/32".parse().unwrap()).unwrap(), 1);
            assert!(texts(&socket).iter().all(|text| !text.contains("127.0.0.2")));
            flush(&socket).unwrap();
            assert_eq!(count(&socket).unwrap(), 0);
        });
    }

    #[test]
    fn a_known_connection_is_deleted_by_its_tuple_and_zone() {
        if done_in_a_sandbox() {
            return;
        }
        in_netns(|| {
            let (socket, client, _server) = tracking(Family::V6);
            client.send_to(b"?", "[::1]:53").unwrap();
            let tuple = Tuple {
                protocol: UDP,
                source: "::1".parse().unwrap(),
                destination: "::1".parse().unwrap(),
                detail: Detail::Ports(4000, 53),
            };
            let entries = dump(&socket).unwrap();
            assert!(entries.iter().any(|entry| entry.original == tuple && entry.zone == 0), "{entries:?}");
            assert!(!delete(&socket, 7, &tuple).unwrap(), "another zone");
            assert!(delete(&socket, 0, &tuple).unwrap());
            assert!(!delete(&socket, 0, &tuple).unwrap(), "it is gone");
            assert_eq!(count(&socket).unwrap(), 0);
        });
    }

    #[test]
    fn zones_keep_connections_apart() {
        if done_in_a_sandbox() {
            return;
        }
        in_netns(|| {
            let (socket, client, _server) = tracking(Family::V4);
            let zone = "-t raw -A OUTPUT -p udp -m udp --dport 9 -j CT --zone 7";
            if succeed("iptables", zone, "").is_none() {
                return;
            }
            client.send_to(b"?", "127.0.0.4:9").unwrap();
            let entries = dump(&socket).unwrap();
            let zoned = entries.iter().find(|entry| entry.zone == 7).unwrap();
            assert!(zoned.to_string().ends_with(" zone=7"), "{zoned}");
            assert!(!delete(&socket, 0, &zoned.original).unwrap());
            assert!(delete(&socket, 7, &zoned.original).unwrap());
        });
    }

    #[test]
    fn echo_requests_have_types_and_an_identifier() {
        use socket2::{Domain, Protocol, Socket as Raw, Type};
        if done_in_a_sandbox() {
            return;
        }
        for (family, domain, protocol, request, text) in [
            (Family::V4, Domain::IPV4, Protocol::ICMPV4, 8, "icmp src=127.0.0.1 dst=127.0.0.3 type=8 code=0 id=77 "),
            (Family::V6, Domain::IPV6, Protocol::ICMPV6, 128, "icmpv6 src=::1 dst=::1 type=128 code=0 id=77 "),
        ] {
            in_netns(|| {
                let (socket, _client, _server) = tracking(family);
                let echo = [request, 0, 0, 0, 0, 77, 0, 1];
                // RFC 1071; the kernel fills in the one of ICMPv6.
                let sum = !(u16::from(request) * 256 + 77 + 1);
                let [high, low] = sum.to_be_bytes();
                let echo = [&echo[..2], &[high, low], &echo[4..]].concat();
                let to: IpAddr = if family == Family::V4 { "127.0.0.3" } else { "::1" }.parse().unwrap();
                let raw = Raw::new(domain, Type::RAW, Some(protocol)).unwrap();
                raw.send_to(&echo, &std::net::SocketAddr::new(to, 0).into()).unwrap();
                let entries = dump(&socket).unwrap();
                let found = entries.iter().find(|entry| entry.to_string().starts_with(text));
                let found = found.unwrap_or_else(|| panic!("{:?}", texts(&socket)));
                assert!(delete(&socket, found.zone, &found.original).unwrap());
                assert!(!dump(&socket).unwrap().contains(found));
            });
        }
    }
}
