//! Runs over a network in memory: two instances behind a router that translates, and a server outside.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rstest::rstest;

use super::fake::{FakeWire, Machine};
use super::nodes::Nodes;
use super::token::Counters;
use super::wire::{RouteAnswer, Wire as _};
use super::{Options, ProbeError, Run, run};
use crate::flow::{Flow, PacketOptions, Place, ProbeReport, Protocol, Verdict};
use crate::name::{Id, Name};
use crate::net::Mac;
use crate::topology::{NodeAttach, NodePort, NodeTopology, Topology};

const TCP: Protocol = Protocol::Tcp(80);
const UDP: Protocol = Protocol::Udp(9000);

/// The machines, in order of place: router, vm1, vm2, web.
fn machines() -> Vec<Machine> {
    let node = |name: &str| Machine::new(name, None).node(&[(6, 9), (17, 9)]);
    let mut router = Machine::new("qrouter-r1", Some("cmp1"))
        .port("qr-red4", 1, &["10.0.1.1/24", "fd00:1::1/64"])
        .port("qg-r1", 2, &["203.0.113.10/24", "fd00:2::10/64"]);
    router.forwards = true;
    router.floating = vec![("203.0.113.101".parse().unwrap(), "10.0.1.11".parse().unwrap())];
    router.masquerade = Some((std::rc::Rc::clone(&router.ports[1].device), "203.0.113.10".parse().unwrap()));
    router.dropped = BTreeSet::from(["203.0.113.66".parse().unwrap()]);
    router.refusals = vec![
        ("198.51.100.66/32".parse().unwrap(), RouteAnswer::Prohibited),
        ("198.51.100.67/32".parse().unwrap(), RouteAnswer::Blackhole),
    ];
    let inside = |name, v4: &str, v6: &str| {
        node(name).port("eth0", 1, &[v4, v6]).route("0.0.0.0/0", "10.0.1.1").route("::/0", "fd00:1::1")
    };
    vec![
        router,
        inside("vm1", "10.0.1.11/24", "fd00:1::11/64"),
        inside("vm2", "10.0.1.12/24", "fd00:1::12/64"),
        node("web").port("eth0", 2, &["203.0.113.2/24", "fd00:2::2/64"]).route("fd00:1::/64", "fd00:2::10"),
    ]
}

/// What a lab would say of those of them that are nodes.
fn nodes(machines: &[Machine]) -> Nodes {
    let mut topology = Topology::default();
    for machine in machines {
        let Some(closed) = machine.closed.clone() else { continue };
        let attach = NodeAttach::Segment(Id::new("any").unwrap());
        let port = |port: &super::fake::FakePort| NodePort {
            attach: attach.clone(),
            mac: port.mac,
            mtu: 1500,
            addresses: port.nets.clone(),
            up: true,
            on_link: Vec::new(),
        };
        let ports = machine.ports.iter().map(port).collect();
        let node = NodeTopology {
            ports,
            forwards: false,
            answers: true,
            routes: Vec::new(),
            also: Vec::new(),
            closed,
            listen: BTreeSet::new(),
        };
        topology.nodes.insert(Name::new(machine.place.name.clone()).unwrap(), node);
    }
    let mut nodes = Nodes::of(&topology);
    for router in machines.iter().filter(|machine| machine.closed.is_none()) {
        router.ports.iter().for_each(|port| nodes.own(port.mac, router.place.clone()));
    }
    nodes
}

fn flow(from: &str, to: &str, protocol: Protocol) -> Flow {
    let from = Name::new(from).unwrap();
    Flow::new(from, to.parse().unwrap(), protocol)
}

fn try_flows(machines: Vec<Machine>, flows: &[Flow]) -> Result<Run, ProbeError> {
    let nodes = nodes(&machines);
    run(&FakeWire::new(machines), &nodes, flows, &mut Counters::default(), &Options::default())
}

fn probe(machines: Vec<Machine>, flow: Flow) -> ProbeReport {
    try_flows(machines, &[flow]).unwrap().reports.remove(0)
}

/// A way in words: `vm1 eth0 > qr-red4 cmp1/qrouter-r1 qg-r1 > eth0 web`.
fn way(path: &[crate::flow::Hop]) -> String {
    let hops: Vec<String> = path
        .iter()
        .map(|hop| {
            let parts = [
                hop.entered.as_ref().map(ToString::to_string),
                Some(hop.place.to_string()),
                hop.left.as_ref().map(ToString::to_string),
            ];
            parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
        })
        .collect();
    hops.join(" > ")
}

fn place(text: &str) -> Place {
    Place::try_from(text.to_owned()).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[rstest]
#[case::icmp(Protocol::Icmp)]
#[case::tcp(TCP)]
#[case::udp(UDP)]
fn a_translated_flow_is_followed_both_ways(#[case] protocol: Protocol) {
    let report = probe(machines(), flow("vm2", "203.0.113.2", protocol));
    assert_eq!(report.verdict, Verdict::Delivered);
    let seen = report.seen.unwrap();
    assert_eq!((Some(seen.responder), Some(seen.source)), (Some(place("web")), Some(address("203.0.113.10"))));
    assert_eq!((seen.ttl, seen.source_port), (63, Some(21_000)));
    assert_eq!(way(&report.path), "vm2 eth0 > qr-red4 cmp1/qrouter-r1 qg-r1 > eth0 web");
    assert_eq!(way(&report.reply_path), "web eth0 > qg-r1 cmp1/qrouter-r1 qr-red4 > eth0 vm2");
    assert_eq!(report.path[1].source.to_string(), "203.0.113.10");
    assert_eq!(report.reply_path[1].destination.to_string(), "10.0.1.12");
    assert_eq!((report.reply_ttl, report.by, report.at), (Some(63), None, None));
}

#[rstest]
#[case::icmp(Protocol::Icmp)]
#[case::tcp(TCP)]
#[case::udp(UDP)]
fn both_families_work_on_the_link_and_across_the_router(#[case] protocol: Protocol) {
    for (to, responder, source) in [
        ("10.0.1.12", "vm2", "10.0.1.11"),
        ("fd00:1::12", "vm2", "fd00:1::11"),
        ("203.0.113.2", "web", "203.0.113.101"),
        ("203.0.113.101", "vm1", "203.0.113.101"),
    ] {
        let report = probe(machines(), flow("vm1", to, protocol));
        let seen = report.seen.clone().unwrap_or_else(|| panic!("{to}: {report:?}"));
        assert_eq!(report.verdict, Verdict::Delivered, "{to}");
        assert_eq!((Some(seen.responder), Some(seen.source)), (Some(place(responder)), Some(address(source))), "{to}");
    }
}

#[rstest]
#[case::icmp(Protocol::Icmp)]
#[case::tcp(TCP)]
#[case::udp(UDP)]
fn a_node_reaches_itself_by_its_floating_ip(#[case] protocol: Protocol) {
    let report = probe(machines(), flow("vm1", "203.0.113.101", protocol));
    assert_eq!(way(&report.path), "vm1 eth0 > qr-red4 cmp1/qrouter-r1 qr-red4 > eth0 vm1");
    assert_eq!(way(&report.reply_path), "vm1 eth0 > qr-red4 cmp1/qrouter-r1 qr-red4 > eth0 vm1");
}

#[rstest]
#[case::port_closed("vm1", "203.0.113.2", Protocol::Udp(9), Verdict::Refused, "203.0.113.2", "web")]
#[case::reset("vm1", "203.0.113.2", Protocol::Tcp(9), Verdict::Refused, "203.0.113.2", "web")]
#[case::gateway("vm1", "10.0.1.1", UDP, Verdict::Refused, "10.0.1.1", "cmp1/qrouter-r1")]
#[case::no_route("vm1", "198.51.100.9", UDP, Verdict::NoRoute, "10.0.1.1", "cmp1/qrouter-r1")]
#[case::prohibited("vm1", "198.51.100.66", TCP, Verdict::Prohibited, "10.0.1.1", "cmp1/qrouter-r1")]
fn who_says_no_is_named(
    #[case] from: &str,
    #[case] to: &str,
    #[case] protocol: Protocol,
    #[case] verdict: Verdict,
    #[case] by: &str,
    #[case] at: &str,
) {
    let report = probe(machines(), flow(from, to, protocol));
    assert_eq!((&report.verdict, report.by, &report.at), (&verdict, Some(address(by)), &Some(place(at))), "{report:?}");
}

#[test]
fn time_exceeded_is_expired() {
    let options = PacketOptions { ttl: Some(1), ..PacketOptions::default() };
    let report = probe(machines(), Flow { options, ..flow("vm1", "203.0.113.2", Protocol::Icmp) });
    assert_eq!((report.verdict, report.by), (Verdict::Expired, Some(address("10.0.1.1"))));
}

#[rstest]
#[case::sender_asks("vm1", "10.0.1.77", "vm1")]
#[case::router_asks("vm1", "203.0.113.199", "cmp1/qrouter-r1")]
#[case::arp("vm1", "10.0.1.78", "vm1")]
fn nobody_answers_arp(#[case] from: &str, #[case] to: &str, #[case] at: &str) {
    let protocols: &[Protocol] = if at == "vm1" { &[UDP, TCP, Protocol::Icmp, Protocol::Arp] } else { &[UDP, TCP] };
    for protocol in protocols {
        let report = probe(machines(), flow(from, to, *protocol));
        assert_eq!((report.verdict, report.by, report.at), (Verdict::NoNeighbour, None, Some(place(at))), "{protocol}");
    }
}

#[test]
fn a_lost_answer_to_arp_is_asked_for_again() {
    for (late, verdict) in [(1, Verdict::Delivered), (2, Verdict::NoNeighbour)] {
        let mut machines = machines();
        machines[3].late = late;
        assert_eq!(probe(machines, flow("vm2", "203.0.113.2", UDP)).verdict, verdict);
    }
}

#[test]
fn a_question_that_came_too_late_is_asked_again() {
    for (deaf, verdict) in [(1, Verdict::Delivered), (2, Verdict::NoNeighbour)] {
        let mut machines = machines();
        machines[3].deaf = deaf;
        let report = probe(machines, flow("vm2", "203.0.113.2", UDP));
        let at = (verdict == Verdict::NoNeighbour).then(|| place("cmp1/qrouter-r1"));
        assert_eq!((report.verdict, report.at), (verdict, at));
    }
}

#[test]
fn a_question_that_was_asked_before_anybody_looked_is_asked_again() {
    for (to, verdict) in [("203.0.113.2", Verdict::Delivered), ("203.0.113.199", Verdict::NoNeighbour)] {
        let mut machines = machines();
        let router = machines.iter_mut().find(|machine| machine.forwards).unwrap();
        router.gives_up = 1;
        let report = probe(machines, flow("vm1", to, UDP));
        assert_eq!((report.verdict, report.by), (verdict, None), "{to}");
    }
}

#[test]
fn what_waits_for_a_question_asked_before_anybody_looked_is_asked_about_again() {
    for (to, verdict) in [("203.0.113.2", Verdict::Delivered), ("203.0.113.199", Verdict::NoNeighbour)] {
        let mut machines = machines();
        let router = machines.iter_mut().find(|machine| machine.forwards).unwrap();
        router.asked_before = 5;
        assert_eq!(probe(machines, flow("vm1", to, UDP)).verdict, verdict, "{to}");
    }
}

#[test]
fn what_enters_and_does_not_leave_is_dropped_there() {
    for to in ["203.0.113.66", "198.51.100.67"] {
        let report = probe(machines(), flow("vm2", to, TCP));
        assert_eq!((report.verdict, report.at), (Verdict::Dropped, Some(place("cmp1/qrouter-r1"))));
        assert_eq!(way(&report.path), "vm2 eth0 > qr-red4 cmp1/qrouter-r1");
    }
}

/// The entry of a neighbour that has gone names a MAC that nobody has; one that is cut off has its MAC still.
#[test]
fn what_is_sent_by_a_stale_neighbour_entry_has_no_neighbour() {
    let (gone, cut_off) = (Mac::derived("eth0", "gone"), Mac::derived("eth0", "web"));
    for (mac, verdict) in [(gone, Verdict::NoNeighbour), (cut_off, Verdict::Dropped)] {
        for (from, to, at) in [("vm2", "203.0.113.2", "cmp1/qrouter-r1"), ("vm2", "10.0.1.11", "vm2")] {
            let mut machines = machines();
            machines[3].ports[0].segment = 9;
            machines[0].neighbours.insert(address("203.0.113.2"), mac);
            machines[1].ports[0].segment = 9;
            machines[2].pinned.insert(address("10.0.1.11"), mac);
            let report = probe(machines, flow(from, to, UDP));
            assert_eq!((report.verdict, report.by, report.at), (verdict.clone(), None, Some(place(at))), "{mac}");
        }
    }
}

#[test]
fn an_unanswered_request_that_arrived_says_what_was_seen() {
    let mut muted = machines();
    muted[3].mute = true;
    let report = probe(muted, flow("vm2", "203.0.113.2", Protocol::Icmp));
    assert_eq!(report.verdict, Verdict::NoAnswer);
    assert_eq!(report.seen.map(|seen| seen.source), Some(address("203.0.113.10")));
    // The answer leaves the server and does not pass the router.
    for protocol in [Protocol::Icmp, UDP, TCP] {
        let mut one_way = machines();
        one_way[0].dropped.insert("203.0.113.10".parse().unwrap());
        let report = probe(one_way, flow("vm2", "203.0.113.2", protocol));
        assert_eq!(report.verdict, Verdict::NoAnswer, "{protocol}");
        assert_eq!(way(&report.reply_path), "web eth0 > qg-r1 cmp1/qrouter-r1");
        assert_eq!(report.seen.map(|seen| seen.source), Some(address("203.0.113.10")));
    }
}

#[rstest]
#[case::icmp(Protocol::Icmp)]
#[case::tcp(TCP)]
#[case::udp(UDP)]
fn silence_is_tried_twice_and_only_twice(#[case] protocol: Protocol) {
    for (loses, verdict) in [(0, Verdict::Delivered), (1, Verdict::Delivered), (2, Verdict::Dropped)] {
        let mut machines = machines();
        machines[0].loses = loses;
        let run = try_flows(machines, &[flow("vm2", "203.0.113.2", protocol)]).unwrap();
        assert_eq!((&run.reports[0].verdict, run.tuples.len()), (&verdict, if loses == 0 { 1 } else { 2 }));
    }
}

#[test]
fn arp_names_who_told() {
    let machines = machines();
    let mac = machines[0].ports[0].mac;
    let report = probe(machines, flow("vm1", "10.0.1.1", Protocol::Arp));
    let seen = report.seen.unwrap();
    assert_eq!(
        (report.verdict, Some(seen.responder), seen.mac),
        (Verdict::Delivered, Some(place("cmp1/qrouter-r1")), Some(mac))
    );
    let report = probe(self::machines(), flow("web", "203.0.113.101", Protocol::Arp));
    assert_eq!(report.seen.map(|seen| seen.responder), Some(place("cmp1/qrouter-r1")));
    let report = probe(self::machines(), flow("vm2", "fd00:1::11", Protocol::Arp));
    assert_eq!(report.seen.map(|seen| seen.responder), Some(place("vm1")));
}

#[test]
fn all_at_once_each_gets_its_own() {
    let mut flows = Vec::new();
    for from in ["vm1", "vm2", "web"] {
        for to in ["10.0.1.11", "10.0.1.12", "203.0.113.2", "203.0.113.101", "10.0.1.1", "203.0.113.199"] {
            let own = matches!((from, to), ("vm1", "10.0.1.11") | ("vm2", "10.0.1.12") | ("web", "203.0.113.2"));
            flows.extend(Protocol::MATRIX.into_iter().filter(|_| !own).map(|protocol| flow(from, to, protocol)));
        }
    }
    let together = try_flows(machines(), &flows).unwrap();
    assert_eq!(together.reports.len(), flows.len());
    for (flow, report) in flows.iter().zip(&together.reports) {
        let alone = probe(machines(), flow.clone());
        assert_eq!(report.flow, *flow);
        let what = |report: &ProbeReport| {
            let seen = report.seen.clone().map(|seen| (seen.responder, seen.source, seen.ttl));
            (report.verdict.clone(), seen, report.by, report.at.clone(), way(&report.path), way(&report.reply_path))
        };
        assert_eq!(what(report), what(&alone), "{flow:?}");
    }
    let distinct: BTreeSet<_> = together.tuples.iter().collect();
    assert_eq!(distinct.len(), together.tuples.len(), "no tuple twice");
}

#[test]
fn flows_of_one_tuple_are_told_apart() {
    let options = PacketOptions { source_port: Some(20_500), ..PacketOptions::default() };
    let twin = Flow { options, ..flow("vm1", "10.0.1.12", UDP) };
    let run = try_flows(machines(), &[twin.clone(), twin]).unwrap();
    assert!(run.reports.iter().all(|report| report.verdict == Verdict::Delivered));
}

#[test]
fn a_late_packet_of_an_earlier_run_is_an_error() {
    let machines = machines();
    let nodes = nodes(&machines);
    let wire = FakeWire::new(machines);
    let mut counters = Counters::default();
    let late = Counters::default().token().request();
    let flows = [flow("vm1", "10.0.1.12", UDP)];
    run(&wire, &nodes, &flows, &mut counters, &Options::default()).unwrap();
    let ends = super::frame::Ends::new("10.0.1.11".parse().unwrap(), "10.0.1.12".parse().unwrap()).unwrap();
    let segment = super::frame::Segment::Udp { ports: (20_000, 9000), payload: late.into() };
    let body = super::frame::Body::Datagram(super::frame::Datagram { ends, ttl: 64, segment });
    let packet = super::frame::Packet { source: Mac::ZERO, destination: Mac::ZERO, body };
    wire.inject(2, "eth0", false, super::build::build(&packet));
    let error = run(&wire, &nodes, &flows, &mut counters, &Options::default()).unwrap_err();
    assert!(matches!(&error, ProbeError::StrayToken { place, token: 1 } if place.name == "vm2"), "{error}");
}

#[test]
fn a_tap_that_missed_frames_is_an_error() {
    let machines = machines();
    let nodes = nodes(&machines);
    let wire = FakeWire::new(machines);
    wire.miss(&wire.places()[2]);
    let flows = [flow("vm1", "10.0.1.12", UDP)];
    let error = run(&wire, &nodes, &flows, &mut Counters::default(), &Options::default()).unwrap_err();
    assert!(matches!(&error, ProbeError::Missed { count: 3, .. }), "{error}");
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let error = |flow| try_flows(machines(), &[flow]).unwrap_err();
    assert!(matches!(error(flow("vm1", "10.0.1.11", UDP)), ProbeError::ToItself { .. }));
    assert!(matches!(error(flow("nobody", "10.0.1.11", UDP)), ProbeError::NoTap(_)));
    let foreign = Flow { source: Some(address("10.0.1.99")), ..flow("vm1", "10.0.1.12", UDP) };
    assert!(matches!(error(foreign), ProbeError::ForeignSource { .. }));
    let mixed = Flow { source: Some(address("fd00:1::11")), ..flow("vm1", "10.0.1.12", UDP) };
    assert!(matches!(error(mixed), ProbeError::MixedFamilies { .. }));
}
