//! Where the real agent fails even on an empty machine, this router works: packets say so.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod inside;
#[expect(dead_code, reason = "what the real agent left is compared with elsewhere")]
mod recorded;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use dvrlab::dataplane::Dataplane as _;
use dvrlab::deviation::Deviations;
use dvrlab::flow::{Flow, Protocol, Verdict};
use dvrlab::lab::Lab;
use dvrlab::name::{Id, Name};
use dvrlab::namespace::{HostState, desired};
use dvrlab::net::{IpNet, Mac};
use dvrlab::plan::plan_with;
use dvrlab::replay::{Unsaid, World, parse};
use dvrlab::router::RouterConfig;
use dvrlab::topology::{NodeAttach, NodePort, NodeTopology};
use inside::inside;

fn node(network: &Id, mac: &str, addresses: &[String], routes: Vec<(IpNet, IpAddr)>) -> NodeTopology {
    NodeTopology {
        ports: vec![NodePort {
            attach: NodeAttach::Segment(network.clone()),
            mac: Mac::derived("test", mac),
            mtu: 1450,
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            up: true,
            on_link: Vec::new(),
        }],
        forwards: false,
        answers: true,
        routes,
        also: Vec::new(),
        closed: BTreeSet::new(),
        listen: BTreeSet::new(),
    }
}

/// An instance on the router's network reaches the upstream router, which stands outside its subnet, as the gateway address.
fn reaches_upstream(path: &Path, step: usize) {
    let file = recorded::name(path);
    let recording = parse(&std::fs::read_to_string(path).unwrap(), &Unsaid::default()).unwrap();
    let mut world = World::new(&recording);
    recording.steps.iter().take(step).for_each(|step| world.take(&step.kind));
    let config = world.config();
    let router: &RouterConfig = config.routers.values().next().unwrap();
    let (gateway, interface) = (router.gw_port.as_ref().unwrap(), &router.interfaces[0]);
    let upstream = gateway.subnets()[0].gateway_ip.unwrap();
    assert!(!gateway.subnets()[0].cidr.contains(&upstream), "{file} step {step}: {upstream} is in its subnet");

    let mut topology = world.topology();
    let IpAddr::V4(first) = interface.subnets()[0].cidr.network() else { panic!("an IPv4 subnet") };
    let own = IpAddr::V4((u32::from(first) + 77).into());
    let default = vec![("0.0.0.0/0".parse().unwrap(), interface.fixed_ips[0].ip_address)];
    let length = interface.subnets()[0].cidr.prefix_len();
    topology
        .nodes
        .insert("vm".parse().unwrap(), node(&interface.network_id, "vm", &[format!("{own}/{length}")], default));
    let IpAddr::V4(outside) = gateway.subnets()[0].cidr.broadcast() else { panic!("an IPv4 subnet") };
    let on_link =
        format!("{}/{}", std::net::Ipv4Addr::from(u32::from(outside) - 1), gateway.subnets()[0].cidr.prefix_len());
    let addresses = [format!("{upstream}/32"), on_link];
    topology.nodes.insert("upstream".parse().unwrap(), node(&gateway.network_id, "upstream", &addresses, Vec::new()));

    let lab = Lab::new().unwrap();
    lab.shape(&topology).unwrap();
    let wanted = desired(&config, &HostState::default()).unwrap();
    let plan = plan_with(&HostState::default(), &wanted, Deviations::NONE);
    lab.apply(&config.host, &plan, &mut |_op| {}).unwrap_or_else(|error| panic!("{file} step {step}: {error:?}"));
    assert_eq!(lab.observe(&config.host).unwrap(), wanted);
    let name: Name = "vm".parse().unwrap();
    let to = |protocol| Flow::new(name.clone(), upstream, protocol);
    let reports = lab.send(&[to(Protocol::Icmp), to(Protocol::Udp(9000)), to(Protocol::Tcp(80))]).unwrap();
    for report in reports {
        assert_eq!(report.verdict, Verdict::Delivered, "{file} step {step}: {report:?}");
        assert_eq!(report.seen.unwrap().source, gateway.fixed_ips[0].ip_address);
    }
}

#[test]
fn a_gateway_outside_its_subnet_works() {
    inside(|| {
        let mut many = 0;
        for file in recorded::files() {
            for (n, _) in recorded::steps(&file).iter().enumerate().filter(|(_, step)| step.failed) {
                reaches_upstream(&file, n + 1);
                many += 1;
            }
        }
        assert_eq!(many, 5);
    });
}
