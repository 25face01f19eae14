//! What each host is told after a change, the lab around the routers, and the order of hosts.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{HostConfig, Notice, host_config, order, topology};
use crate::api::Intent;
use crate::api::sample::{BASIC, after, history, host, intent, name};
use crate::topology::{NodeAttach, NodeTopology, Topology};

fn built(more: &[&str]) -> Intent {
    more.iter().fold(intent(BASIC), |intent, line| after(&intent, line))
}

/// A host's configuration in a few words: each router with what it serves there.
fn summary(config: &HostConfig) -> String {
    let routers = config.routers.iter().map(|(id, router)| {
        let interfaces: Vec<&str> = router.interfaces.iter().map(|port| port.id.as_str()).collect();
        let gateway = router.gw_port_host.as_ref().map_or("-", |found| found.as_str());
        let fg: Vec<String> =
            router.agent_gateways.iter().map(|port| port.fixed_ips[0].ip_address.to_string()).collect();
        let fips: Vec<String> = router
            .floating_ips
            .iter()
            .map(|f| {
                format!(
                    "{}={}{}",
                    f.floating_ip_address,
                    f.host.as_deref().unwrap_or("-"),
                    if f.dvr_snat_bound { " central" } else { "" }
                )
            })
            .collect();
        format!("{id}[{}] gw {gateway} fg[{}] fip[{}]", interfaces.join(" "), fg.join(" "), fips.join(", "))
    });
    routers.collect::<Vec<_>>().join("; ")
}

#[track_caller]
fn check(more: &[&str], expected: &[(&str, &str)]) {
    let intent = built(more);
    for (on, words) in expected {
        assert_eq!(summary(&host_config(&intent, &host(on))), *words, "{on} after {more:?}");
    }
}

#[test]
fn hosts_get_the_routers_they_need() {
    check(
        &[],
        &[
            ("net1", "r1[red4 blue4] gw net1 fg[203.0.113.2] fip[]"),
            ("cmp1", "r1[red4 blue4] gw net1 fg[203.0.113.3] fip[]"),
            ("cmp2", "r1[red4 blue4] gw net1 fg[203.0.113.4] fip[]"),
            ("net2", ""),
            ("nohost", ""),
        ],
    );
    check(&["migrate vm1 cmp2"], &[("cmp1", ""), ("cmp2", "r1[red4 blue4] gw net1 fg[203.0.113.4] fip[]")]);
    check(&["move r1 net2"], &[("net1", ""), ("net2", "r1[red4 blue4] gw net2 fg[203.0.113.5] fip[]")]);
    check(&["clear r1"], &[("net1", ""), ("cmp1", "r1[red4 blue4] gw - fg[] fip[]")]);
    check(&["detach r1 red4"], &[("cmp1", ""), ("net1", "r1[blue4] gw net1 fg[203.0.113.2] fip[]")]);
}

#[test]
fn routers_that_share_a_network_come_along() {
    let transit = ["network green", "subnet green4 green 10.0.3.0/24", "port p2 blue 10.0.2.9", "router r2"];
    let lines: Vec<&str> = transit.into_iter().chain(["attach r2 p2", "attach r2 green4"]).collect();
    check(&lines, &[("cmp1", "r1[red4 blue4] gw net1 fg[203.0.113.3] fip[]; r2[p2 green4] gw - fg[] fip[]")]);
}

#[test]
fn floating_ips_are_annotated_for_each_host() {
    let bound = "203.0.113.101=cmp1";
    check(
        &["associate 203.0.113.101 vm1"],
        &[
            ("cmp1", &format!("r1[red4 blue4] gw net1 fg[203.0.113.3] fip[{bound}]")),
            ("cmp2", "r1[red4 blue4] gw net1 fg[203.0.113.4] fip[]"),
            ("net1", "r1[red4 blue4] gw net1 fg[203.0.113.2] fip[]"),
        ],
    );
    let central = "203.0.113.109=FLOATING_IP_HOST_NEEDS_BINDING central";
    check(
        &["instance vm9 - red", "associate 203.0.113.109 vm9"],
        &[
            ("cmp1", "r1[red4 blue4] gw net1 fg[203.0.113.3] fip[]"),
            ("net1", &format!("r1[red4 blue4] gw net1 fg[203.0.113.2] fip[{central}]")),
        ],
    );
    check(
        &["host cmp3 dvr_no_external", "instance vm9 cmp3 red", "associate 203.0.113.109 vm9"],
        &[
            ("cmp1", "r1[red4 blue4] gw net1 fg[203.0.113.3] fip[]"),
            ("cmp3", &format!("r1[red4 blue4] gw net1 fg[] fip[{central}]")),
            ("net1", &format!("r1[red4 blue4] gw net1 fg[203.0.113.2] fip[{central}]")),
        ],
    );
}

#[test]
fn the_router_dict_is_the_servers() {
    let lines = ["host net1 dvr_snat", "host cmp1 dvr", "network public external", "network red"];
    let more = ["subnet public4 public 203.0.113.0/24", "subnet red4 red 10.0.1.0/24", "router r1", "attach r1 red4"];
    let last = ["gateway r1 network=public address=203.0.113.10", "instance vm1 cmp1 red 10.0.1.11"];
    let all: Vec<&str> = lines.into_iter().chain(more).chain(last).chain(["associate 203.0.113.101 vm1"]).collect();
    let config = host_config(&intent(&all), &host("cmp1"));
    let json = serde_json::to_value(&config.routers["r1"]).unwrap();
    let lines: Vec<String> = json.as_object().unwrap().iter().map(|(key, value)| format!("{key} {value}")).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    _floatingip_agent_interfaces [{"address_scopes":null,"admin_state_up":true,"extra_subnets":[],"fixed_ips":[{"ip_address":"203.0.113.3","prefixlen":24,"subnet_id":"public4"}],"id":"public","mac_address":"fa:16:3e:2b:b7:6d","mtu":1500,"network_id":"public","subnets":[{"cidr":"203.0.113.0/24","gateway_ip":"203.0.113.1","id":"public4"}]}]
    _floatingips [{"dest_host":null,"dvr_snat_bound":false,"fixed_ip_address":"10.0.1.11","fixed_ip_address_scope":null,"floating_ip_address":"203.0.113.101","host":"cmp1","id":"203.0.113.101"}]
    _interfaces [{"address_scopes":null,"admin_state_up":true,"extra_subnets":[],"fixed_ips":[{"ip_address":"10.0.1.1","prefixlen":24,"subnet_id":"red4"}],"id":"red4","mac_address":"fa:16:3e:41:15:d2","mtu":1500,"network_id":"red","subnets":[{"cidr":"10.0.1.0/24","gateway_ip":"10.0.1.1","id":"red4"}]}]
    _snat_router_interfaces [{"address_scopes":null,"admin_state_up":true,"extra_subnets":[],"fixed_ips":[{"ip_address":"10.0.1.2","prefixlen":24,"subnet_id":"red4"}],"id":"red4","mac_address":"fa:16:3e:7c:f1:c3","mtu":1500,"network_id":"red","subnets":[{"cidr":"10.0.1.0/24","gateway_ip":"10.0.1.1","id":"red4"}]}]
    distributed true
    enable_snat true
    gw_port {"address_scopes":null,"admin_state_up":true,"extra_subnets":[],"fixed_ips":[{"ip_address":"203.0.113.10","prefixlen":24,"subnet_id":"public4"}],"id":"r1","mac_address":"fa:16:3e:16:a3:ab","mtu":1500,"network_id":"public","subnets":[{"cidr":"203.0.113.0/24","gateway_ip":"203.0.113.1","id":"public4"}]}
    gw_port_host "net1"
    id "r1"
    routes []
    "#);
    let read_back: super::RouterConfig = serde_json::from_value(json).unwrap();
    assert_eq!(read_back, config.routers["r1"]);
}

#[test]
fn neighbours_are_bound_ports_and_snat_ports() {
    let config = host_config(&built(&["instance vm9 - red 10.0.1.19"]), &host("cmp1"));
    let lines: Vec<String> = config
        .ports_by_subnet
        .iter()
        .flat_map(|(subnet, ports)| {
            ports.iter().map(move |port| format!("{subnet} {} {}", port.device_owner, port.fixed_ips[0].ip_address))
        })
        .collect();
    assert_eq!(
        lines,
        [
            "blue4 network:router_centralized_snat 10.0.2.2",
            "red4 compute:nova 10.0.1.11",
            "red4 compute:nova 10.0.1.12",
            "red4 network:router_centralized_snat 10.0.1.2",
        ]
    );
}

#[test]
fn a_port_gets_other_subnets_of_its_network_too() {
    let config = host_config(&built(&["subnet more4 public 192.0.2.0/24"]), &host("net1"));
    let gateway = config.routers["r1"].gw_port.as_ref().unwrap();
    let ids = |subnets: &[super::SubnetConfig]| -> Vec<String> {
        subnets.iter().map(|subnet| subnet.id.as_ref().unwrap().to_string()).collect()
    };
    assert_eq!(
        (ids(gateway.subnets()), ids(&gateway.extra_subnets)),
        (vec!["public4".to_owned()], vec!["more4".to_owned()])
    );
}

fn names<'a>(items: impl Iterator<Item = &'a crate::name::HostName>) -> Vec<String> {
    items.map(ToString::to_string).collect()
}

#[test]
fn hosts_that_lose_act_first() {
    for (setup, change, expected) in [
        (&[][..], "restart cmp1", &[][..]),
        (&[], "associate 203.0.113.101 vm2", &["cmp2"]),
        (&["associate 203.0.113.101 vm2"], "associate 203.0.113.101 vm1", &["cmp2", "cmp1"]),
        (&["associate 203.0.113.101 vm1"], "associate 203.0.113.101 vm2", &["cmp1", "cmp2"]),
        (&[], "move r1 net2", &["net1", "cmp1", "cmp2", "net2"]),
        (&["move r1 net2"], "move r1 net1", &["net2", "net1", "cmp1", "cmp2"]),
        (&["associate 203.0.113.101 vm1"], "migrate vm1 cmp2", &["cmp1", "cmp2"]),
        (&["associate 203.0.113.101 vm2"], "migrate vm2 cmp1", &["cmp2", "cmp1"]),
        (&["associate 203.0.113.101 vm1", "prepare vm1 cmp2"], "complete vm1 cmp2", &["cmp2", "cmp1"]),
        (&[], "clear r1", &["net1", "cmp1", "cmp2"]),
        (&["detach r1 blue4"], "attach r1 blue4", &["net1", "cmp1", "cmp2"]),
        (&[], "boot vm9 cmp2", &["net1", "cmp1", "cmp2"]),
        (&[], "metadata off", &["net1", "cmp1", "cmp2", "net2"]),
    ] {
        let before = after(&built(setup), "instance vm9 - red");
        let next = after(&before, change);
        let configs = next.host_order.iter().map(|host| (host_config(&before, host), host_config(&next, host)));
        let changes: Vec<(HostConfig, HostConfig)> = configs.filter(|(old, new)| old != new).collect();
        assert_eq!(names(order(&changes).iter()), expected, "{change} after {setup:?}");
    }
}

#[test]
fn hosts_have_the_networks_of_their_ports() {
    let intent = built(&["network green", "subnet green4 green 10.0.3.0/24", "instance vm5 net2 green"]);
    let lab = topology(&intent);
    let on = |on: &str| -> Vec<String> { lab.hosts[on].networks.keys().map(ToString::to_string).collect() };
    assert_eq!(
        (on("cmp1"), on("net1"), on("net2")),
        (vec!["blue".into(), "red".into()], vec!["blue".into(), "red".into()], vec!["green".into()])
    );

    let red = &lab.hosts["cmp1"].networks["red"];
    let (gateway, vm1, vm2) =
        (intent.router_port(&name("red4")).unwrap().mac, intent.ports["vm1"].mac, intent.ports["vm2"].mac);
    let sg = intent.snat_port(&name("r1"), &name("red4")).unwrap().mac;
    assert_eq!(red.local_ports.iter().collect::<Vec<_>>(), [(&vm1, &Some(gateway))]);
    assert_eq!(red.remote_ports, [(vm2, host("cmp2")), (sg, host("net1"))].into());
    assert_eq!(names(red.peers.iter()), ["cmp2", "net1"]);
    assert_eq!(red.router_ports.keys().collect::<Vec<_>>(), [&gateway]);
    assert_eq!(lab.hosts["net1"].networks["red"].local_ports, [(sg, Some(gateway))].into());
    assert_eq!(lab.hosts["cmp1"].underlay.to_string(), "172.31.0.2");
    assert!(lab.hosts["net2"].networks["green"].peers.is_empty());
    assert_eq!((red.vni, lab.hosts["net2"].networks["green"].vni), (2, 4));
}

/// A node in one line: devices, then routes.
fn node_line(node: &NodeTopology) -> String {
    let ports = node.ports.iter().map(|port| {
        let attach = match &port.attach {
            NodeAttach::Tenant(on, network) => format!("{on}:{network}"),
            NodeAttach::Segment(segment) => segment.to_string(),
            NodeAttach::Node(other, index) => format!("{other}#{index}"),
        };
        let addresses: Vec<String> = port.addresses.iter().map(ToString::to_string).collect();
        format!("{attach} {} mtu {}", addresses.join(" "), port.mtu)
    });
    let routes = node.routes.iter().map(|(destination, hop)| format!("{destination} via {hop}"));
    let forwards = node.forwards.then(|| "forwards".to_owned());
    ports.chain(routes).chain(forwards).collect::<Vec<_>>().join("; ")
}

#[test]
fn nodes_have_devices_addresses_and_routes() {
    let lines = [
        "instance vm9 - red",
        "outside far behind public 198.51.100.3 2001:db8:f::2",
        "port p1 red 10.0.1.21",
        "port p2 blue 10.0.2.21",
    ];
    let lab: Topology = topology(&built(&[&lines[..], &["instance vm3 cmp1 ports p2 p1"]].concat()));
    let nodes: Vec<String> = lab.nodes.iter().map(|(name, node)| format!("{name}: {}", node_line(node))).collect();
    assert_eq!(
        nodes,
        [
            "far: lan_public 198.51.100.3/24 2001:db8:f::2/64 mtu 1500; 0.0.0.0/0 via 198.51.100.1; ::/0 via 2001:db8:f::1",
            "gw-public: public 203.0.113.1/24 mtu 1500; lan_public 198.51.100.1/24 2001:db8:f::1/64 mtu 1500; forwards",
            "peer: public 203.0.113.200/24 mtu 1500; 0.0.0.0/0 via 203.0.113.1",
            "vm1: cmp1:red 10.0.1.11/24 mtu 1500; 0.0.0.0/0 via 10.0.1.1",
            "vm2: cmp2:red 10.0.1.12/24 mtu 1500; 0.0.0.0/0 via 10.0.1.1",
            "vm3: cmp1:blue 10.0.2.21/24 mtu 1500; cmp1:red 10.0.1.21/24 mtu 1500; 0.0.0.0/0 via 10.0.2.1",
            "web: lan_public 198.51.100.2/24 mtu 1500; 0.0.0.0/0 via 198.51.100.1",
        ]
    );
    let segments: Vec<String> = lab.segments.iter().map(|(id, mtu)| format!("{id} {mtu}")).collect();
    assert_eq!(segments, ["lan_public 1500", "public 1500"]);
}

#[test]
fn every_mac_of_a_lab_is_its_own() {
    let lab = topology(&built(&[]));
    let mut macs: Vec<_> = lab.nodes.values().flat_map(|node| &node.ports).map(|port| port.mac).collect();
    macs.extend(lab.hosts.values().map(|found| found.dvr_mac));
    macs.extend(
        lab.hosts["net1"]
            .networks
            .values()
            .flat_map(|network| network.router_ports.keys().chain(network.local_ports.keys())),
    );
    let unique: BTreeSet<_> = macs.iter().collect();
    assert_eq!(unique.len(), macs.len());
}

/// What must hold for all hosts together, whatever was asked for.
fn invariants(intent: &Intent) {
    let configs: Vec<HostConfig> = intent.host_order.iter().map(|on| host_config(intent, on)).collect();
    for (address, floating_ip) in &intent.floating_ips {
        let told = configs.iter().flat_map(|config| config.routers.values().map(move |router| (config, router)));
        let serving: Vec<_> = told
            .filter(|(config, router)| {
                let mut here = router.floating_ips.iter();
                here.any(|f| f.floating_ip_address == *address && f.host.as_deref() == Some(config.host.as_str()))
            })
            .collect();
        let expected = floating_ip.target.is_some() && !intent.served_centrally(*address);
        assert_eq!(serving.len(), usize::from(expected), "{address}");
        assert!(serving.iter().all(|(_, router)| !router.agent_gateways.is_empty()), "{address}");
    }
    for config in &configs {
        let scheduled = config.routers.values().filter(|router| router.gw_port_host.as_ref() == Some(&config.host));
        assert!(scheduled.clone().all(|router| router.snat_interfaces.len() == router.interfaces.len()));
        assert_eq!(
            scheduled.count(),
            intent
                .routers
                .values()
                .filter(|r| r.gateway.as_ref().is_some_and(|g| g.host.as_ref() == Some(&config.host)))
                .count()
        );
    }
    layer2_invariants(&topology(intent));
}

/// Hosts agree on who has a network and where each of its ports is.
fn layer2_invariants(lab: &Topology) {
    for (on, found) in &lab.hosts {
        for (id, network) in &found.networks {
            let others = || lab.hosts.iter().filter(|(other, there)| *other != on && there.networks.contains_key(id));
            assert_eq!(network.peers, others().map(|(other, _)| other.clone()).collect::<BTreeSet<_>>(), "{on} {id}");
            let remote: BTreeMap<_, _> = others()
                .flat_map(|(other, there)| there.networks[id].local_ports.keys().map(move |mac| (*mac, other.clone())))
                .collect();
            assert_eq!(network.remote_ports, remote, "{on} {id}");
            assert!(network.local_ports.values().flatten().all(|gateway| network.router_ports.contains_key(gateway)));
        }
    }
    for node in lab.nodes.values() {
        for port in &node.ports {
            match &port.attach {
                NodeAttach::Tenant(on, network) => {
                    assert!(lab.hosts[on].networks[network].local_ports.contains_key(&port.mac));
                }
                NodeAttach::Segment(segment) => assert!(lab.segments.contains_key(segment)),
                NodeAttach::Node(other, index) => assert!(lab.nodes[other].ports.len() > *index),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hosts_agree_after_random_changes(history in history()) {
        for intent in history {
            invariants(&intent);
        }
    }
}

#[test]
fn a_router_that_is_down_is_nowhere() {
    let up = intent(BASIC);
    assert!(!host_config(&up, &host("cmp1")).routers.is_empty());
    let down = after(&up, "down router r1");
    for name in &down.host_order {
        assert!(host_config(&down, name).routers.is_empty(), "{name}");
    }
}

#[test]
fn the_target_of_a_live_migration_is_told_of_the_floating_ip() {
    let prepared = built(&["host cmp4 dvr", "associate 203.0.113.101 vm1", "prepare vm1 cmp4"]);
    let served = |name: &str| {
        let config = host_config(&prepared, &host(name));
        let fips = config.routers.values().flat_map(|router| router.floating_ips.clone());
        fips.map(|fip| (fip.host, fip.dest_host)).collect::<Vec<_>>()
    };
    let both = (Some("cmp1".to_owned()), Some("cmp4".to_owned()));
    assert_eq!(served("cmp1"), std::slice::from_ref(&both));
    assert_eq!(served("cmp4"), [both]);
    assert_eq!(served("cmp2"), []);
}

/// Changes that host `cmp1` hears of, each from the intent before it.
fn stages(lines: &[&str]) -> Vec<Intent> {
    let mut all = vec![built(&["instance vm9 - red"])];
    for line in lines {
        all.push(after(all.last().unwrap(), line));
    }
    all
}

/// What a host knows after the notices of the changes, in this order, all of which are in force by then.
fn known(stages: &[Intent], on: &str, order: &[usize]) -> HostConfig {
    let configs: Vec<HostConfig> = stages.iter().map(|intent| host_config(intent, &host(on))).collect();
    let in_force = configs.last().unwrap();
    order.iter().fold(configs[0].clone(), |known, number| {
        known.hearing(&Notice::of(&configs[*number], &configs[number + 1]), in_force)
    })
}

#[test]
fn a_notice_is_a_hint_but_for_what_is_gone() {
    let moves = stages(&["associate 203.0.113.101 vm1", "associate 203.0.113.101 vm2", "boot vm9 cmp1"]);
    let intended = |on: &str, stages: &[Intent]| host_config(stages.last().unwrap(), &host(on));
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        assert_eq!(known(&moves, "cmp1", &order), intended("cmp1", &moves), "{order:?}");
    }
    // The router leaves cmp1 and comes back.
    let back = stages(&["migrate vm1 cmp2", "migrate vm1 cmp1"]);
    assert_eq!(known(&back, "cmp1", &[0, 1]), intended("cmp1", &back));
    assert!(known(&back, "cmp1", &[1, 0]).routers.is_empty());
    // A neighbour comes and goes.
    let neighbour = stages(&["boot vm9 cmp2", "delete instance vm9"]);
    assert_eq!(known(&neighbour, "cmp1", &[0, 1]), intended("cmp1", &neighbour));
    assert_ne!(known(&neighbour, "cmp1", &[1, 0]), intended("cmp1", &neighbour));
}

#[test]
fn a_notice_about_one_router_says_nothing_of_another() {
    let two = [
        "network green",
        "subnet green4 green 10.0.3.0/24",
        "router r2",
        "attach r2 green4",
        "gateway r2 network=public",
    ];
    let more: Vec<&str> = two.into_iter().chain(["instance vm8 cmp1 green 10.0.3.11"]).collect();
    let first = built(&more);
    let missed = after(&first, "associate 203.0.113.101 vm1");
    let heard = after(&missed, "associate 203.0.113.102 vm8");
    let config = |intent: &Intent| host_config(intent, &host("cmp1"));
    let notice = Notice::of(&config(&missed), &config(&heard));
    let known = config(&first).hearing(&notice, &config(&heard));
    assert_eq!(known.routers["r1"], config(&first).routers["r1"]);
    assert_eq!(known.routers["r2"], config(&heard).routers["r2"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn who_hears_everything_in_order_knows_what_is_in_force(history in history()) {
        for pair in history.windows(2) {
            for on in pair[1].hosts.keys().filter(|on| pair[0].hosts.contains_key(*on)) {
                let (before, now) = (host_config(&pair[0], on), host_config(&pair[1], on));
                if (before.mode, before.options) == (now.mode, now.options) {
                    prop_assert_eq!(before.hearing(&Notice::of(&before, &now), &now), now);
                }
            }
        }
    }
}
