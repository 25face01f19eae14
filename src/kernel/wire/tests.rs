//! Probes through real kernels: an instance, a router and a server, each a namespace.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;

use netlink_packet_route::route::RouteType;
use rtnetlink::RouteMessageBuilder;
use tokio::runtime::Runtime;

use super::*;
use crate::flow::{Flow, ProbeReport, Protocol, Verdict};
use crate::kernel::links::{self, End};
use crate::kernel::nft::{FrameAction, FrameMatch, NetdevChain, NetdevHook, NetdevRule, replace_netdev};
use crate::kernel::testing::done_in_a_sandbox;
use crate::name::{Id, Name};
use crate::net::{IpNet, Mac, PortRange};
use crate::probe::{Counters, Nodes, Options, ProbeError, Run, run};
use crate::topology::{NodeAttach, NodePort, NodeTopology, Topology};

struct Lab {
    runtime: Runtime,
    wire: LinuxWire,
    nodes: Nodes,
    counters: RefCell<Counters>,
    namespaces: Vec<Rc<Netns>>,
}

/// `vm1 (10.0.1.11) -- cmp1/r (10.0.1.1, 203.0.113.10) -- web (203.0.113.2)`.
fn lab() -> Lab {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let [vm1, router, web] = [(); 3].map(|()| Rc::new(Netns::create(runtime.handle()).unwrap()));
    let wire = LinuxWire::default();
    for (place, netns) in [("vm1", &vm1), ("cmp1/r", &router), ("web", &web)] {
        wire.tap(Place::try_from(place.to_owned()).unwrap(), netns).unwrap();
    }
    for (key, value) in
        [("net.ipv4.ip_forward", "1"), ("net.ipv4.icmp_ratemask", "0"), ("net.ipv6.conf.all.forwarding", "1")]
    {
        router.sysctl_set(key, value).unwrap();
    }
    for netns in [&vm1, &router, &web] {
        netns.sysctl_set("net.ipv6.conf.default.accept_dad", "0").unwrap();
    }
    let mut topology = Topology::default();
    runtime.block_on(async {
        for (name, netns, addresses, gateways, index, device) in [
            ("vm1", &vm1, ["10.0.1.11/24", "fd00:1::11/64"], ["10.0.1.1", "fd00:1::1"], 11, "qr-red"),
            ("web", &web, ["203.0.113.2/24", "fd00:2::2/64"], ["203.0.113.10", "fd00:2::10"], 21, "qg-r"),
        ] {
            let mac = Mac::derived("test", name);
            let near = End { name: "eth0", index, mac, mtu: 1500 };
            let far = End { name: device, index: index + 1, mac: Mac::derived("test", device), mtu: 1500 };
            links::veth(netns, near, true, &router, far).await.unwrap();
            links::set_up(&router, index + 1, true).await.unwrap();
            let addresses = addresses.map(|net| net.parse::<IpNet>().unwrap());
            for (net, gateway) in addresses.iter().zip(gateways.map(|address| address.parse::<IpAddr>().unwrap())) {
                let length = net.prefix_len();
                netns.handle().address().add(index, net.addr(), length).execute().await.unwrap();
                router.handle().address().add(index + 1, gateway, length).execute().await.unwrap();
                let any = if gateway.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
                add_route(netns, any, 0, gateway).await;
            }
            links::neighbour_timing(netns.handle(), index).await.unwrap();
            links::neighbour_timing(router.handle(), index + 1).await.unwrap();
            hide_ports(netns);
            let attach = NodeAttach::Segment(Id::new("any").unwrap());
            let ports =
                vec![NodePort { attach, mac, mtu: 1500, addresses: addresses.to_vec(), up: true, on_link: vec![] }];
            let (routes, also, closed) = (Vec::new(), Vec::new(), [(6, 9), (17, 9)].into());
            let node =
                NodeTopology { ports, forwards: false, answers: true, routes, also, closed, listen: BTreeSet::new() };
            topology.nodes.insert(Name::new(name).unwrap(), node);
        }
    });
    let (nodes, counters) = (Nodes::of(&topology), RefCell::default());
    let lab = Lab { runtime, wire, nodes, counters, namespaces: vec![vm1, router, web] };
    // Links come up, and multicast groups are joined, a little after they were asked for.
    let first = ["203.0.113.2", "fd00:2::2"].map(|to| ("vm1", to, Protocol::Icmp));
    let delivered = |run: Run| run.reports.iter().all(|report| report.verdict == Verdict::Delivered);
    assert!((0..100).any(|_| lab.try_send(&first).is_ok_and(delivered)), "the lab comes up");
    lab
}

async fn add_route(netns: &Netns, to: IpAddr, length: u8, gateway: IpAddr) {
    let builder = RouteMessageBuilder::<IpAddr>::new().destination_prefix(to, length).unwrap();
    netns.handle().route().add(builder.gateway(gateway).unwrap().build()).execute().await.unwrap();
}

/// Adds a route to one address that leads nowhere.
async fn add_dead_end(netns: &Netns, to: IpAddr, kind: RouteType) {
    let builder = RouteMessageBuilder::<IpAddr>::new().destination_prefix(to, 32).unwrap();
    netns.handle().route().add(builder.kind(kind).build()).execute().await.unwrap();
}

/// Keeps every port but 9 from the node's kernel.
fn hide_ports(netns: &Netns) {
    let rule = |protocol, first, last| {
        NetdevRule::does([FrameAction::Drop]).when(FrameMatch::DestinationPort(protocol, PortRange { first, last }))
    };
    let rules = [6, 17].into_iter().flat_map(|protocol| [rule(protocol, 0, 8), rule(protocol, 10, 65_535)]).collect();
    let (name, device) = ("eth0".to_owned(), DeviceName::new("eth0").unwrap());
    let chain = NetdevChain { name, device, hook: NetdevHook::Ingress, priority: 0, rules };
    replace_netdev(netns.nf(), "dvrlab-probe", &[chain]).unwrap();
}

impl Lab {
    fn try_send(&self, flows: &[(&str, &str, Protocol)]) -> Result<Run, ProbeError> {
        let flow = |(from, to, protocol): &(&str, &str, Protocol)| {
            Flow::new(Name::new(*from).unwrap(), to.parse().unwrap(), *protocol)
        };
        let flows: Vec<Flow> = flows.iter().map(flow).collect();
        run(&self.wire, &self.nodes, &flows, &mut self.counters.borrow_mut(), &Options::default())
    }

    fn send(&self, flows: &[(&str, &str, Protocol)]) -> Vec<ProbeReport> {
        self.try_send(flows).unwrap().reports
    }
}

const UDP: Protocol = Protocol::Udp(9000);

#[test]
fn probes_cross_a_real_router() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = lab();
    for (to, source) in [("203.0.113.2", "10.0.1.11"), ("fd00:2::2", "fd00:1::11"), ("203.0.113.2", "10.0.1.11")] {
        for report in lab.send(&Protocol::MATRIX.map(|protocol| ("vm1", to, protocol))) {
            assert_eq!(report.verdict, Verdict::Delivered, "{report:?}");
            let seen = report.seen.unwrap();
            assert_eq!(
                (seen.responder.to_string(), seen.source.to_string(), seen.ttl),
                ("web".to_owned(), source.to_owned(), 63)
            );
            let devices = |hop: &crate::flow::Hop| (hop.entered.clone(), hop.left.clone());
            let device = |name: &str| Some(DeviceName::new(name).unwrap());
            let there: Vec<_> = report.path.iter().map(devices).collect();
            let expected = [(None, device("eth0")), (device("qr-red"), device("qg-r")), (device("eth0"), None)];
            assert_eq!(there, expected);
            assert_eq!((report.reply_path.len(), report.reply_ttl), (3, Some(63)));
        }
    }
}

#[test]
fn each_refusal_has_its_evidence() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = lab();
    lab.runtime.block_on(async {
        let router = &lab.namespaces[1];
        add_dead_end(router, [198, 51, 100, 66].into(), RouteType::Unreachable).await;
        add_route(router, [198, 51, 100, 128].into(), 25, [203, 0, 113, 77].into()).await;
    });
    let expected = [
        (("vm1", "10.0.1.1", Protocol::Icmp), Verdict::Delivered, None, None),
        (("vm1", "10.0.1.1", UDP), Verdict::Refused, Some("10.0.1.1"), Some("cmp1/r")),
        (("vm1", "10.0.1.1", Protocol::Tcp(80)), Verdict::Refused, Some("10.0.1.1"), Some("cmp1/r")),
        (("vm1", "203.0.113.2", Protocol::Tcp(9)), Verdict::Refused, Some("203.0.113.2"), Some("web")),
        (("vm1", "203.0.113.2", Protocol::Udp(9)), Verdict::Refused, Some("203.0.113.2"), Some("web")),
        (("vm1", "198.51.100.1", UDP), Verdict::NoRoute, Some("10.0.1.1"), Some("cmp1/r")),
        (("vm1", "203.0.113.199", UDP), Verdict::NoNeighbour, None, Some("cmp1/r")),
        (("vm1", "198.51.100.200", UDP), Verdict::NoNeighbour, None, Some("cmp1/r")),
        (("vm1", "198.51.100.66", UDP), Verdict::NoRoute, Some("10.0.1.1"), Some("cmp1/r")),
        (("vm1", "fd00:2::99", UDP), Verdict::NoNeighbour, None, Some("cmp1/r")),
        (("vm1", "fd00:2::2", Protocol::Tcp(9)), Verdict::Refused, Some("fd00:2::2"), Some("web")),
        (("vm1", "fd00:9::9", UDP), Verdict::NoRoute, Some("fd00:1::1"), Some("cmp1/r")),
        (("vm1", "fd00:1::77", Protocol::Arp), Verdict::NoNeighbour, None, Some("vm1")),
        (("vm1", "10.0.1.77", Protocol::Icmp), Verdict::NoNeighbour, None, Some("vm1")),
        (("vm1", "10.0.1.1", Protocol::Arp), Verdict::Delivered, None, None),
    ];
    let flows = expected.clone().map(|(flow, ..)| flow);
    let reports = lab.send(&flows);
    for ((flow, verdict, by, at), report) in expected.into_iter().zip(reports) {
        let found = (report.verdict, report.by.map(|by| by.to_string()), report.at.map(|at| at.to_string()));
        assert_eq!(found, (verdict, by.map(str::to_owned), at.map(str::to_owned)), "{flow:?}");
    }
    // Nothing is left behind that the kernel would deliver in the next run.
    lab.send(&flows);
}

#[test]
fn a_kernel_that_may_not_complain_any_more_is_asked() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = lab();
    // Of each of these errors a kernel sends one sender five at once; the matrix has more.
    for (to, kind, verdict) in [
        ([198, 51, 100, 9], None, Verdict::NoRoute),
        ([198, 51, 100, 66], Some(RouteType::Unreachable), Verdict::NoRoute),
        ([198, 51, 100, 70], Some(RouteType::Prohibit), Verdict::Prohibited),
    ] {
        if let Some(kind) = kind {
            lab.runtime.block_on(add_dead_end(&lab.namespaces[1], to.into(), kind));
        }
        let to = IpAddr::from(to).to_string();
        for report in lab.send(&[("vm1", to.as_str(), UDP); 12]) {
            let found = (report.verdict, report.by.map(|by| by.to_string()), report.at.map(|at| at.to_string()));
            assert_eq!(found, (verdict.clone(), Some("10.0.1.1".to_owned()), Some("cmp1/r".to_owned())), "{to}");
        }
    }
}

#[test]
fn routes_and_devices_are_asked_of_the_namespace() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = lab();
    let lookup = |source: &str, destination: &str| Lookup {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        input: None,
    };
    let device = Rc::new(DeviceName::new("eth0").unwrap());
    let places = lab.wire.places();
    let vm1 = places.iter().position(|place| place.name == "vm1").unwrap();
    let via = |next_hop: &str| RouteAnswer::Via { device: Rc::clone(&device), next_hop: next_hop.parse().unwrap() };
    let ask = |destination| lab.wire.route(vm1, lookup("10.0.1.11", destination)).unwrap();
    assert_eq!(ask("10.0.1.12"), via("10.0.1.12"));
    assert_eq!(ask("198.51.100.9"), via("10.0.1.1"));
    assert_eq!(ask("10.0.1.11"), RouteAnswer::Local);
    let router = places.iter().position(|place| place.name == "r").unwrap();
    assert_eq!(lab.wire.route(router, lookup("10.0.1.1", "198.51.100.9")).unwrap(), RouteAnswer::Unreachable);
    assert!(!lab.wire.neighbours_pending(router).unwrap());
    let error = lab.wire.transmit(vm1, &DeviceName::new("eth7").unwrap(), &[0; 60]).unwrap_err();
    assert!(matches!(error, WireError::NoDevice { .. }), "{error}");
    let down = lab.runtime.block_on(links::set_up(&lab.namespaces[0], 11, false));
    down.unwrap();
    let error = lab.wire.transmit(vm1, &device, &[0; 60]).unwrap_err();
    let WireError::Socket { source, .. } = error else { panic!("{error}") };
    assert_eq!(source.kind(), io::ErrorKind::NetworkDown);
}

#[test]
fn a_tap_that_overflows_says_so() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = lab();
    assert_eq!(lab.wire.missed().unwrap(), []);
    let web = lab.wire.places().iter().position(|place| place.name == "web").unwrap();
    let device = DeviceName::new("eth0").unwrap();
    let frame = [&[0xff_u8; 6][..], &[2, 0, 0, 0, 0, 1], &[0x88, 0xb5], &[0; 1400]].concat();
    for _ in 0..20_000 {
        lab.wire.transmit(web, &device, &frame).unwrap();
    }
    let missed = lab.wire.missed().unwrap();
    assert!(missed.iter().any(|(place, count)| place.name == "r" && *count > 0), "{missed:?}");
    assert_eq!(lab.wire.missed().unwrap(), []);
}
