//! Each key of a pattern decides: with the right value it is seen, with another it is not.

use super::*;
use crate::name::{DeviceName, Name};
use crate::net::Mac;
use crate::packet::{Fragment, Load, Neighbour, Numbers, Tuple, UnderWay};
use crate::scenario::parse;

const HEAD: &str = "
hosts:
  net1: { mode: dvr_snat }
networks:
  red: {}
subnets:
  red4: { network: red, cidr: 10.0.1.0/24 }
instances:
  vm1: { host: net1, network: red, address: 10.0.1.11 }
  vm2: { host: net1, network: red, address: 10.0.1.12 }
steps:
";

fn exchange(keys: &str) -> Exchange {
    let text =
        format!("{HEAD}  - probe:\n      - send: [{{ from: vm2, to: vm1 }}]\n        seen: [{{ at: vm1, {keys} }}]\n");
    let mut scenario = parse("x.yaml", &text).unwrap_or_else(|notes| panic!("{notes:#?}"));
    scenario.steps.remove(0).exchanges.remove(0)
}

fn mac_of(name: &Name) -> Mac {
    if name.as_str() == "vm2" { Mac([2, 0, 0, 0, 0, 2]) } else { Mac([2, 0, 0, 0, 0, 1]) }
}

fn sighted(body: Body) -> Sighted {
    let frame = Frame { source: Mac([2, 0, 0, 0, 0, 2]), destination: Mac([2, 0, 0, 0, 0, 1]), body };
    let place = Place { host: None, name: "vm1".to_owned() };
    Sighted { place, device: DeviceName::new("eth0").unwrap(), incoming: true, frame }
}

fn ip(content: Content) -> Packet {
    let mut packet = Packet::new("10.0.1.12".parse().unwrap(), "10.0.1.11".parse().unwrap(), 61, content);
    packet.id = 7;
    packet
}

/// The pattern holds of what was seen, and each of the others does not.
fn tell(body: &Body, right: &str, wrong: &[&str]) {
    let seen = [sighted(body.clone())];
    let macs = |name: &Name| vec![mac_of(name)];
    let judged = |keys: &str| exchange(keys).judge(&seen, &macs);
    assert_eq!(judged(right), Vec::<String>::new(), "{right}");
    for keys in wrong {
        let said = judged(keys);
        assert_eq!(said.len(), 1, "{keys} is not seen");
        assert!(said[0].starts_with("not seen at vm1: ") && said[0].contains("10.0.1."), "{said:?}");
    }
}

#[test]
fn keys_of_udp_decide() {
    let udp = ip(Content::Udp { ports: (7000, 9000), payload: b"hello".to_vec() });
    let right = "proto: udp, source: vm2, to: vm1, source_port: 7000, port: 9000, ttl: 61, ip_id: 7, df: false, \
                 size: 33, payload: hello, checksum: good, mac: vm2, to_mac: vm1";
    tell(
        &Body::Ip(udp),
        right,
        &[
            "proto: tcp",
            "source: vm1",
            "to: 10.0.1.13",
            "source_port: 7001",
            "port: 9001",
            "ttl: 62",
            "ip_id: 8",
            "df: true",
            "size: 34",
            "payload: help",
            "checksum: bad",
            "mac: vm1",
            "to_mac: ff:ff:ff:ff:ff:ff",
            "icmp: echo-request",
            "flags: S",
            "arp: request",
            "fragment: 0",
        ],
    );
}

#[test]
fn keys_of_tcp_decide() {
    let tcp = ip(Content::Tcp { ports: (7000, 80), sequence: 5, acknowledgement: 6, flags: 0x12, payload: Vec::new() });
    tell(&Body::Ip(tcp), "flags: SA, seq: 5, ack: 6", &["flags: S", "seq: 6", "ack: 5", "proto: udp"]);
}

#[test]
fn keys_of_icmp_decide() {
    let echo = ip(Content::Echo { reply: true, id: 77, payload: Vec::new() });
    tell(&Body::Ip(echo), "icmp: echo-reply, icmp_id: 77", &["icmp: echo-request", "icmp_id: 78", "icmp: prohibited"]);
    let about = Box::new(ip(Content::Udp { ports: (7000, 9000), payload: Vec::new() }));
    let error = Body::Ip(ip(Content::Error(ErrorKind::TooBig(1300), Some(about))));
    tell(
        &error,
        "icmp: frag-needed, mtu: 1300, quoting: { source: vm2, to: vm1, source_port: 7000, port: 9000, proto: udp }",
        &[
            "icmp: too-big, mtu: 1400",
            "icmp: prohibited",
            "icmp: too-big, quoting: { source: vm1 }",
            "icmp: too-big, quoting: { source_port: 7001 }",
        ],
    );
}

#[test]
fn keys_of_neighbours_and_fragments_decide() {
    let wanted = "10.0.1.12".parse().unwrap();
    let neighbour = Neighbour { kind: NeighbourKind::Announce, other: wanted, wanted, mac: Mac::ZERO };
    let body = Body::Neighbour(neighbour);
    tell(&body, "arp: announce, to: vm2", &["arp: request", "arp: announce, to: vm1", "nd: announce", "proto: udp"]);
    let mut piece = ip(Content::Other(17, vec![0; 8]));
    piece.fragment = Some(Fragment { offset: 256, more: false, protocol: 17, part: vec![0; 8] });
    tell(&Body::Ip(piece), "fragment: 256", &["fragment: 0"]);
}

#[test]
fn numbers_and_absence_decide() {
    let seen = [sighted(Body::Ip(ip(Content::RouterAdvert))), sighted(Body::Ip(ip(Content::RouterAdvert)))];
    let macs = |name: &Name| vec![mac_of(name)];
    let said = |keys: &str| exchange(keys).judge(&seen, &macs);
    assert_eq!(said("icmp: router-advert, count: 2"), Vec::<String>::new());
    assert!(said("icmp: router-advert, count: 1")[0].starts_with("seen 2 times, not 1 at vm1"));
    assert!(said("icmp: router-advert, count: 3")[0].starts_with("seen 2 times, not 3 at vm1"));
    let mut one = exchange("icmp: router-advert");
    assert!(one.is_complete(&seen, &macs) && !one.is_complete(&[], &macs));
    one.not_seen = one.seen.clone();
    assert!(one.judge(&seen, &macs)[0].starts_with("seen at vm1: { icmp: router-advert }"));
}

#[test]
fn an_answer_turns_round_what_arrived() {
    let exchange = exchange("proto: udp");
    let mut answer = exchange.send[0].clone();
    answer.answers = Some("syn".to_owned());
    assert_eq!(answer.template(&Arrivals::new()), Err(Unready::NotArrived("syn".to_owned())));
    let syn = ip(Content::Tcp { ports: (7000, 80), sequence: 5, acknowledgement: 0, flags: 0x02, payload: vec![1] });
    answer.template.load = Load::Tcp { source_port: None, port: 9000, sequence: None, acknowledgement: 0, flags: 0x12 };
    let made = answer.template(&BTreeMap::from([("syn".to_owned(), syn.clone())])).unwrap();
    assert_eq!((made.source, made.destination), (Some(syn.destination), syn.source));
    let load = Load::Tcp { source_port: Some(80), port: 7000, sequence: None, acknowledgement: 7, flags: 0x12 };
    assert_eq!(made.load, load);
}

/// A TCP connection from vm2 to vm1 that is translated on its way: by the name `data`.
fn under_way() -> UnderWays {
    let (own, outer) = ("10.0.1.12".parse().unwrap(), "203.0.113.10".parse().unwrap());
    let tuple =
        |source, source_port| Tuple { source, source_port, destination: "10.0.1.11".parse().unwrap(), port: 80 };
    let numbers = |sequence, acknowledgement| Numbers { sequence, acknowledgement };
    let segment = Content::Tcp { ports: (7000, 80), sequence: 1, acknowledgement: 2, flags: 0x10, payload: Vec::new() };
    let flow = UnderWay {
        near: Some(tuple(own, 7000)),
        far: Some(tuple(outer, 7001)),
        sender: Some(numbers(100, 500)),
        receiver: Some(numbers(500, 100)),
        came: vec![(Place { host: None, name: "vm1".to_owned() }, ip(segment))],
    };
    UnderWays::from([("data".to_owned(), flow)])
}

fn beside(packet: &str) -> Result<Load, Unready> {
    let text = format!(
        "{HEAD}  - open_flow: {{ name: data, flow: vm2 -> vm1 tcp/80 }}\n    probe:\n      - send: [{{ {packet} }}]\n        seen: [{{ at: vm1 }}]\n"
    );
    let mut scenario = parse("x.yaml", &text).unwrap_or_else(|notes| panic!("{notes:#?}"));
    let exchange = scenario.steps.remove(0).exchanges.remove(0);
    exchange.beside(&under_way()).map(|mut exchange| exchange.send.remove(0).template.load)
}

#[test]
fn numbers_and_ports_follow_from_the_flow_of_the_tuple() {
    let tcp = |source_port, port, sequence, acknowledgement, flags| Load::Tcp {
        source_port: Some(source_port),
        port,
        sequence: Some(sequence),
        acknowledgement,
        flags,
    };
    // From the sender, whose port need not be known; it acknowledges what the flow would.
    assert_eq!(beside("from: vm2, to: vm1, port: 80, flags: A, seq: +5"), Ok(tcp(7000, 80, 105, 500, 0x10)));
    assert_eq!(
        beside("from: vm2, to: vm1, port: 80, flags: A, seq: -101, ack: +1"),
        Ok(tcp(7000, 80, u32::MAX, 501, 0x10))
    );
    // From the far end, to the address and port that it sees.
    let back = "from: vm1, to: 203.0.113.10, source_port: 80, port: flow data, flags: R, seq: +0";
    assert_eq!(beside(back), Ok(tcp(80, 7001, 500, 0, 0x04)));
    assert_eq!(beside("from: vm2, to: vm1, port: 81, flags: A, seq: +5"), Err(Unready::NoConnection));
}

#[test]
fn an_error_quotes_what_came_to_who_tells_it() {
    let Ok(Load::Error(_, quoted)) = beside("from: vm1, to: vm2, icmp: prohibited, quoting_flow: data") else {
        panic!("an error is sent");
    };
    assert_eq!((quoted.ports(), quoted.source), (Some((7000, 80)), "10.0.1.12".parse().unwrap()));
    let nowhere = beside("from: vm2, to: vm1, icmp: prohibited, quoting_flow: data");
    assert!(matches!(nowhere, Err(Unready::NothingToQuote { flow, .. }) if flow == "data"));
}
