//! A captured frame in words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// EtherTypes.
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Protocol numbers.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
/// ICMPv6 neighbour advertisement, RFC 4861.
const ADVERTISEMENT: u8 = 136;
/// Length of an Ethernet header.
const ETHERNET: usize = 14;

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The source address; of ARP the sender's, of a neighbour advertisement the target.
    pub source: IpAddr,
    /// The destination; of ARP the target's.
    pub destination: IpAddr,
    /// `udp/9000`, `icmp echo reply`, `arp reply` ...
    pub what: String,
}

/// Reads the beginning of a frame; `None` if it has no such address.
pub fn decode(frame: &[u8]) -> Option<Decoded> {
    let kind = u16::from_be_bytes(*frame.get(12..)?.first_chunk()?);
    let body = frame.get(ETHERNET..)?;
    match kind {
        ARP => arp(body),
        IPV4 => ipv4(body),
        IPV6 => ipv6(body),
        _ => None,
    }
}

fn v4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(Ipv4Addr::from(*bytes.get(at..)?.first_chunk::<4>()?).into())
}

fn v6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(Ipv6Addr::from(*bytes.get(at..)?.first_chunk::<16>()?).into())
}

fn arp(body: &[u8]) -> Option<Decoded> {
    let operation = u16::from_be_bytes(*body.get(6..)?.first_chunk()?);
    let (source, destination) = (v4(body, 14)?, v4(body, 24)?);
    let what = match operation {
        1 if source == destination => "arp announcement".to_owned(),
        1 => "arp request".to_owned(),
        2 => "arp reply".to_owned(),
        other => format!("arp operation {other}"),
    };
    Some(Decoded { source, destination, what })
}

fn ipv4(body: &[u8]) -> Option<Decoded> {
    let header = usize::from(body.first()? & 0x0f) * 4;
    let fragment = u16::from_be_bytes(*body.get(6..)?.first_chunk()?) & 0x1fff;
    let (source, destination) = (v4(body, 12)?, v4(body, 16)?);
    let what = if fragment == 0 { transport(*body.get(9)?, body.get(header..)?) } else { "fragment".to_owned() };
    Some(Decoded { source, destination, what })
}

fn ipv6(body: &[u8]) -> Option<Decoded> {
    let (source, destination) = (v6(body, 8)?, v6(body, 24)?);
    let (protocol, rest) = (*body.get(6)?, body.get(40..)?);
    if protocol == ICMPV6 && rest.first() == Some(&ADVERTISEMENT) {
        return Some(Decoded { source: v6(rest, 8)?, destination, what: "neighbour advertisement".to_owned() });
    }
    Some(Decoded { source, destination, what: transport(protocol, rest) })
}

fn transport(protocol: u8, bytes: &[u8]) -> String {
    let port = || bytes.get(2..)?.first_chunk().map(|port| u16::from_be_bytes(*port));
    match (protocol, port(), bytes.first()) {
        (TCP, Some(port), _) => format!("tcp/{port}"),
        (UDP, Some(port), _) => format!("udp/{port}"),
        (ICMP, _, Some(8)) | (ICMPV6, _, Some(128)) => "icmp echo request".to_owned(),
        (ICMP, _, Some(0)) | (ICMPV6, _, Some(129)) => "icmp echo reply".to_owned(),
        (ICMP, _, Some(kind)) => format!("icmp type {kind}"),
        (ICMPV6, _, Some(kind)) => format!("icmpv6 type {kind}"),
        (other, _, _) => format!("protocol {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u16, body: &[u8]) -> Vec<u8> {
        [&[2; 12][..], &kind.to_be_bytes(), body].concat()
    }

    #[test]
    fn frames_say_who_and_what() {
        let ip = |protocol: u8, fragment: u8, rest: &[u8]| {
            let head = [0x45, 0, 0, 28, 0, 0, 0, fragment, 64, protocol, 0, 0, 10, 0, 1, 11, 198, 51, 100, 2];
            frame(IPV4, &[&head, rest].concat())
        };
        let said = |frame: &[u8]| decode(frame).map(|one| format!("{} > {} {}", one.source, one.destination, one.what));
        let from = "10.0.1.11 > 198.51.100.2";
        assert_eq!(said(&ip(UDP, 0, &[0, 9, 0x23, 0x28])), Some(format!("{from} udp/9000")));
        assert_eq!(said(&ip(TCP, 0, &[0, 9, 0, 80])), Some(format!("{from} tcp/80")));
        assert_eq!(said(&ip(ICMP, 0, &[0, 0, 0, 0])), Some(format!("{from} icmp echo reply")));
        assert_eq!(said(&ip(UDP, 3, &[0, 9, 0, 80])), Some(format!("{from} fragment")));
        assert_eq!(said(&ip(47, 0, &[])), Some(format!("{from} protocol 47")));
        let arp = |operation: u8, to: u8| {
            frame(ARP, &[0, 1, 8, 0, 6, 4, 0, operation, 2, 2, 2, 2, 2, 2, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, to])
        };
        assert_eq!(said(&arp(1, 2)), Some("10.0.0.1 > 10.0.0.2 arp request".to_owned()));
        assert_eq!(said(&arp(1, 1)), Some("10.0.0.1 > 10.0.0.1 arp announcement".to_owned()));
        assert_eq!(said(&arp(2, 2)), Some("10.0.0.1 > 10.0.0.2 arp reply".to_owned()));
        let (own, all) = ("fe80::1".parse::<Ipv6Addr>().unwrap(), "ff02::1".parse::<Ipv6Addr>().unwrap());
        let claimed = "2001:db8::5".parse::<Ipv6Addr>().unwrap();
        let head = [&[0x60, 0, 0, 0, 0, 24, ICMPV6, 255][..], &own.octets(), &all.octets()].concat();
        let claim = [&head[..], &[ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0], &claimed.octets()].concat();
        assert_eq!(said(&frame(IPV6, &claim)), Some("2001:db8::5 > ff02::1 neighbour advertisement".to_owned()));
        assert_eq!(
            said(&frame(IPV6, &[&head[..], &[143, 0]].concat())),
            Some("fe80::1 > ff02::1 icmpv6 type 143".to_owned())
        );
        assert_eq!(said(&frame(0x88cc, &[0; 60])), None);
        assert_eq!(said(&[2; 13]), None);
    }
}
