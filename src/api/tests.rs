//! Every rule of the API, and what the server makes by itself.

use proptest::prelude::*;

use super::sample::{BASIC, after, attempt, host, intent, ip, name};
use super::{AgentMode, Intent, NodePlace, Owner};

/// What a line gives on top of BASIC and `setup`: `ok`, or the refusal.
fn answer(setup: &[&str], line: &str) -> String {
    let before = setup.iter().fold(intent(BASIC), |intent, line| after(&intent, line));
    match attempt(&before, line) {
        Ok(_) => "ok".to_owned(),
        Err(rejected) => rejected.to_string(),
    }
}

fn check(cases: &[(&[&str], &str, &str)]) {
    let failed: Vec<String> = cases
        .iter()
        .map(|(setup, line, expected)| (line, *expected, answer(setup, line)))
        .filter(|(_, expected, actual)| expected != actual)
        .map(|(line, expected, actual)| format!("{line}\n  expected {expected}\n  actual   {actual}"))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

const FIP: &str = "associate 203.0.113.101 vm1";

#[test]
fn creating() {
    check(&[
        (&[], "network red", "InvalidInput: the name red is taken"),
        (&[], "router vm1", "InvalidInput: the name vm1 is taken"),
        (&[], "instance net1 cmp1 red", "InvalidInput: the name net1 is taken"),
        (&[], "subnet x nowhere 10.9.0.0/24", "InvalidInput: there is no network nowhere"),
        (
            &[],
            "subnet x red 10.0.1.128/25",
            "InvalidInput: the cidr 10.0.1.128/25 of subnet x overlaps with 10.0.1.0/24 of subnet red4",
        ),
        (
            &[],
            "subnet x red 10.9.0.1/24",
            "InvalidInput: the cidr 10.9.0.1/24 of subnet x has host bits: write 10.9.0.0/24",
        ),
        (
            &[],
            "subnet x red 10.9.0.0/24 10.8.0.1",
            "InvalidInput: the gateway 10.8.0.1 of subnet x lies outside its cidr 10.9.0.0/24",
        ),
        (
            &[],
            "subnet x red 10.9.0.0/24 10.9.0.1 10.9.1.1-10.9.1.9",
            "InvalidInput: the allocation pool 10.9.1.1-10.9.1.9 of subnet x lies outside its cidr 10.9.0.0/24",
        ),
        (
            &[],
            "subnet x public 10.0.0.0/8",
            "BadRequest: the cidr 10.0.0.0/8 of subnet x overlaps with 10.0.1.0/24 of subnet red4 on router r1",
        ),
        (&[], "port p red 10.0.1.11", "IpAddressInUse: 10.0.1.11 on network red belongs to instance vm1 already"),
        (
            &[],
            "port p red 10.0.1.1",
            "IpAddressInUse: 10.0.1.1 on network red belongs to interface red4 of router r1 already",
        ),
        (
            &[],
            "port p red 10.0.1.2",
            "IpAddressInUse: 10.0.1.2 on network red belongs to the SNAT port of router r1 on red4 already",
        ),
        (
            &[],
            "port p red 10.0.1.255",
            "InvalidIpForSubnet: 10.0.1.255 is the network or broadcast address of subnet red4 (10.0.1.0/24), not a port's",
        ),
        (&[], "port p red 10.0.2.5", "InvalidIpForNetwork: 10.0.2.5 is in no subnet of network red (10.0.1.0/24)"),
        (&[], "port p red 10.0.1.5 10.0.1.5", "InvalidInput: 10.0.1.5 is asked for twice"),
        (&[], "port p public", "InvalidInput: network public is external: a machine on it is declared in outside"),
        (
            &["network tiny", "subnet tiny4 tiny 10.9.0.0/30", "port p1 tiny"],
            "port p2 tiny",
            "IpAddressGenerationFailure: subnet tiny4 has no free address left for port p2",
        ),
        (&[], "instance x - ports nope", "InvalidInput: there is no port nope"),
        (&[], "instance x - ports vm1", "PortInUse: port vm1 belongs to instance vm1"),
        (&[], "instance x nohost red", "InvalidInput: there is no host nohost"),
        (&[], "fip 192.0.2.1", "InvalidIpForNetwork: floating IP 192.0.2.1 is in no subnet of an external network"),
        (
            &[],
            "fip 203.0.113.10",
            "IpAddressInUse: 203.0.113.10 on network public belongs to the gateway of router r1 already",
        ),
        (
            &[],
            "fip 203.0.113.1",
            "IpAddressInUse: 203.0.113.1 on network public belongs to outside node gw-public already",
        ),
        (
            &[],
            "outside x on red 10.0.1.50",
            "InvalidInput: network red is not external, so outside node x cannot stand there",
        ),
        (&[], "outside x on public", "InvalidInput: outside node x needs an address"),
        (
            &[],
            "outside x on public 203.0.113.10",
            "IpAddressInUse: 203.0.113.10 on network public belongs to the gateway of router r1 already",
        ),
        (
            &[],
            "outside x behind public 198.51.100.2",
            "IpAddressInUse: 198.51.100.2 belongs to outside node web already",
        ),
        (
            &[],
            "outside x behind public 198.51.100.1",
            "InvalidInput: 198.51.100.1 is no server's address: 198.51.100.1 is the upstream router's, the last is 198.51.100.254",
        ),
        (
            &[],
            "outside x behind public 203.0.113.77",
            "InvalidInput: 203.0.113.77 is not behind network public: its prefix 203.0.113.0/24 overlaps with 203.0.113.0/24 of subnet public4",
        ),
        (&[], "outside isp gateway_of public", "ok"),
        (
            &["outside isp gateway_of public"],
            "outside isp2 gateway_of public",
            "InvalidInput: network public has an upstream router already: isp",
        ),
    ]);
}

#[test]
fn deleting() {
    check(&[
        (&[], "delete network red", "NetworkInUse: port vm1 is on network red"),
        (&[], "delete network blue", "NetworkInUse: 10.0.2.1 on subnet blue4 belongs to interface blue4 of router r1"),
        (&[], "delete network public", "NetworkInUse: outside node peer is connected to network public"),
        (
            &[],
            "delete subnet public4",
            "SubnetInUse: 203.0.113.2 on subnet public4 belongs to the floating-IP agent gateway of public on net1",
        ),
        (&[], "delete subnet blue4", "SubnetInUse: 10.0.2.1 on subnet blue4 belongs to interface blue4 of router r1"),
        (&["detach r1 blue4"], "delete subnet blue4", "ok"),
        (&["detach r1 blue4"], "delete network blue", "ok"),
        (&[], "delete router r1", "RouterInUse: router r1 still has interface red4"),
        (&["detach r1 blue4", "detach r1 red4"], "delete router r1", "ok"),
        (&[], "delete port vm1", "PortInUse: port vm1 belongs to instance vm1"),
        (
            &["port p blue 10.0.2.9", "router r2", "attach r2 p"],
            "delete port p",
            "ServicePortInUse: port p is an interface of router r2: detach it",
        ),
        (&[], "delete instance nobody", "InvalidInput: there is no instance nobody"),
        (&[], "delete host cmp1", "BadRequest: instance vm1 runs on host cmp1"),
        (&[], "delete host net1", "BadRequest: the gateway of router r1 is on host net1"),
        (&[], "delete host net2", "ok"),
        (&[], "delete fip 203.0.113.5", "InvalidInput: there is no floating IP 203.0.113.5"),
    ]);
}

#[test]
fn interfaces_and_routes() {
    check(&[
        (&[], "attach r1 nothing", "InvalidInput: there is no subnet or port nothing"),
        (&[], "attach r1 red4", "BadRequest: router r1 already has a port on subnet red4"),
        (&["port p red 10.0.1.9"], "attach r1 p", "BadRequest: router r1 already has a port on subnet red4"),
        (&[], "attach r1 vm1", "PortInUse: port vm1 belongs to instance vm1"),
        (&[], "attach r1 public4", "BadRequest: network public is external: set it as the gateway of router r1"),
        (
            &["router r2"],
            "attach r2 red4",
            "IpAddressInUse: 10.0.1.1 on network red belongs to interface red4 of router r1 already",
        ),
        (
            &["network n", "subnet n4 n 10.9.0.0/24 none"],
            "attach r1 n4",
            "BadRequest: n4 cannot be an interface of router r1: the subnet has no gateway address",
        ),
        (
            &["network n", "port p n"],
            "attach r1 p",
            "BadRequest: p cannot be an interface of router r1: the port has no address",
        ),
        (
            &["network n", "subnet n4 n 10.0.0.0/16"],
            "attach r1 n4",
            "BadRequest: 10.0.0.0/16 of subnet n4 overlaps with 10.0.1.0/24 of subnet red4 on router r1",
        ),
        (
            &["network n", "subnet n4 n 203.0.113.0/25"],
            "attach r1 n4",
            "BadRequest: 203.0.113.0/25 of subnet n4 overlaps with 203.0.113.0/24 of subnet public4 on router r1",
        ),
        (&["detach r1 blue4"], "detach r1 blue4", "InvalidInput: router r1 has no interface blue4"),
        (
            &[FIP],
            "detach r1 red4",
            "RouterInterfaceInUseByFloatingIP: floating IP 203.0.113.101 needs the interface of router r1 on subnet red4",
        ),
        (&[FIP], "detach r1 blue4", "ok"),
        (
            &["routes r1 192.0.2.0/24 10.0.1.12"],
            "detach r1 red4",
            "RouterInterfaceInUseByRoute: the route 192.0.2.0/24 via 10.0.1.12 needs the interface of router r1 on subnet red4",
        ),
        (
            &[],
            "routes r1 192.0.2.0/24 10.0.9.1",
            "InvalidRoutes: the route 192.0.2.0/24 via 10.0.9.1 of router r1 has its next hop on no connected subnet",
        ),
        (
            &[],
            "routes r1 192.0.2.0/24 10.0.1.1",
            "InvalidRoutes: the route 192.0.2.0/24 via 10.0.1.1 of router r1 leads to the router itself",
        ),
        (&[], "routes r1 192.0.2.0/24 203.0.113.1", "ok"),
    ]);
}

#[test]
fn gateways() {
    check(&[
        (&["router r2"], "gateway r2 snat=off", "InvalidInput: router r2 has no gateway: say on which network"),
        (
            &[],
            "gateway r1 network=red",
            "BadRequest: network red is not external: router r1 cannot have its gateway there",
        ),
        (
            &[],
            "gateway r1 address=203.0.113.200",
            "IpAddressInUse: 203.0.113.200 on network public belongs to outside node peer already",
        ),
        (
            &[],
            "gateway r1 address=192.0.2.1",
            "InvalidIpForNetwork: 192.0.2.1 is in no subnet of network public (203.0.113.0/24)",
        ),
        (&[], "gateway r1 address=203.0.113.10", "ok"),
        (&[], "gateway r1 host=net2", "InvalidInput: router r1 has a gateway: move it with move_gateway"),
        (
            &["router r2"],
            "gateway r2 network=public host=cmp1",
            "InvalidInput: host cmp1 is in mode dvr: a gateway needs dvr_snat",
        ),
        (
            &["network out external"],
            "gateway r1 network=out",
            "IpAddressGenerationFailure: network out has no subnet, so no address for the gateway of router r1",
        ),
        (
            &["network out external", "subnet out4 out 10.0.0.0/16"],
            "gateway r1 network=out",
            "BadRequest: 10.0.0.0/16 of subnet out4 overlaps with 10.0.1.0/24 of subnet red4 on router r1",
        ),
        (
            &["network out external", "subnet out4 out 192.0.2.0/24", FIP],
            "gateway r1 network=out",
            "RouterExternalGatewayInUseByFloatingIp: floating IP 203.0.113.101 needs the gateway of router r1",
        ),
        (&[FIP], "gateway r1 address=203.0.113.20", "ok"),
        (
            &[FIP],
            "clear r1",
            "RouterExternalGatewayInUseByFloatingIp: floating IP 203.0.113.101 needs the gateway of router r1",
        ),
        (&[FIP, "disassociate 203.0.113.101"], "clear r1", "ok"),
        (&[], "move r1 cmp1", "InvalidInput: host cmp1 is in mode dvr: a gateway needs dvr_snat"),
        (&[], "move r1 net1", "BadRequest: the gateway of router r1 is on net1 already"),
        (&["clear r1"], "move r1 net2", "BadRequest: router r1 has no gateway to move"),
        (&[], "move r1 net2", "ok"),
        (&[], "restart nohost", "InvalidInput: there is no host nohost"),
    ]);
}

#[test]
fn floating_ips_and_instances() {
    check(&[
        (&[], "associate 203.0.113.101 nobody", "InvalidInput: there is no port nobody"),
        (&[], "associate 203.0.113.101 vm1 10.0.1.12", "BadRequest: port vm1 does not have the address 10.0.1.12"),
        (
            &[FIP],
            "associate 203.0.113.102 vm1",
            "FloatingIPPortAlreadyAssociated: port vm1 with 10.0.1.11 has floating IP 203.0.113.101 already",
        ),
        (&[FIP], "associate 203.0.113.101 vm2", "ok"),
        (&[FIP], FIP, "ok"),
        (
            &["clear r1"],
            FIP,
            "ExternalGatewayForFloatingIPNotFound: no router has both subnet red4 and a gateway on the network of floating IP 203.0.113.101 (public), so port vm1 cannot have it",
        ),
        (&[], "disassociate 203.0.113.101", "InvalidInput: there is no floating IP 203.0.113.101"),
        (
            &[FIP],
            "fip 203.0.113.101",
            "IpAddressInUse: 203.0.113.101 on network public belongs to floating IP 203.0.113.101 already",
        ),
        (&[], "boot vm1 cmp2", "BadRequest: instance vm1 runs on cmp1 already: migrate it"),
        (&[], "migrate vm1 cmp1", "BadRequest: instance vm1 runs on cmp1 already"),
        (&["instance vm9 - red"], "migrate vm9 cmp1", "BadRequest: instance vm9 runs nowhere: boot it"),
        (&["instance vm9 - red"], "boot vm9 cmp1", "ok"),
    ]);
}

#[test]
fn a_refusal_changes_nothing_and_a_repetition_gives_the_same() {
    let before = intent(BASIC);
    assert!(attempt(&before, "delete router r1").is_err());
    assert_eq!(before, intent(BASIC));
    let lines =
        ["detach r1 red4", "detach r1 blue4", "delete router r1", "router r1", "attach r1 red4", "attach r1 blue4"];
    let again = lines.iter().fold(before.clone(), |intent, line| after(&intent, line));
    assert_eq!(after(&again, "gateway r1 network=public address=203.0.113.10"), before);
}

#[test]
fn automatic_addresses_avoid_what_is_named() {
    let mut start = Intent::default();
    start.reserved.extend([ip("203.0.113.2"), ip("203.0.113.4"), ip("10.0.1.2")]);
    let built = BASIC.iter().fold(start, |intent, line| after(&intent, line));
    let fg: Vec<String> = built
        .agent_gateways
        .iter()
        .map(|((network, host), port)| format!("{network} {host} {}", port.addresses[0]))
        .collect();
    assert_eq!(fg, ["public cmp1 203.0.113.5", "public cmp2 203.0.113.6", "public net1 203.0.113.3"]);
    let sg: Vec<String> = built.snat_ports.iter().map(|((_, i), port)| format!("{i} {}", port.addresses[0])).collect();
    assert_eq!(sg, ["blue4 10.0.2.2", "red4 10.0.1.3"]);
}

#[test]
fn agent_gateways_stay_until_the_last_gateway_is_gone() {
    let built = intent(BASIC);
    let emptied = after(&after(&built, "migrate vm1 cmp2"), "router r2");
    assert_eq!(emptied.agent_gateways, built.agent_gateways, "cmp1 keeps its own though it has no router");
    let second = after(&after(&emptied, "gateway r2 network=public address=203.0.113.20"), "clear r1");
    assert_eq!(second.agent_gateways, built.agent_gateways);
    assert!(after(&second, "clear r2").agent_gateways.is_empty());
}

#[test]
fn gateways_wait_for_a_host() {
    let lines = ["host cmp1 dvr", "network public external", "subnet public4 public 203.0.113.0/24", "router r1"];
    let waiting = after(&intent(&lines), "gateway r1 network=public");
    assert_eq!(waiting.routers["r1"].gateway.as_ref().unwrap().host, None);
    let found = after(&waiting, "host net1 dvr_snat");
    assert_eq!(found.routers["r1"].gateway.as_ref().unwrap().host, Some(host("net1")));
}

#[test]
fn upstream_routers_come_and_go_with_their_network() {
    let bare = intent(&["network public external"]);
    assert!(bare.outside.is_empty());
    let one = after(&bare, "subnet public4 public 203.0.113.0/24");
    assert_eq!(one.outside["gw-public"].addresses, [ip("203.0.113.1")]);
    let two = after(&one, "subnet more4 public 192.0.2.0/24");
    assert_eq!(two.outside["gw-public"].addresses, [ip("203.0.113.1"), ip("192.0.2.1")]);
    let named = after(&two, "outside isp gateway_of public");
    assert_eq!(named.outside.keys().collect::<Vec<_>>(), [&name("isp")]);
    assert_eq!(named.outside["isp"].addresses, two.outside["gw-public"].addresses);
    let unnamed = after(&named, "delete outside isp");
    assert_eq!(unnamed.outside, two.outside);
    assert!(after(&after(&unnamed, "delete subnet more4"), "delete subnet public4").outside.is_empty());
    assert!(after(&unnamed, "delete network public").outside.is_empty());
}

#[test]
fn long_network_names_still_give_upstream_routers_names() {
    let lines = ["network provider-a external", "network provider-b external"];
    let built = intent(&lines);
    let built = after(&built, "subnet a4 provider-a 203.0.113.0/24");
    let built = after(&built, "subnet b4 provider-b 192.0.2.0/24");
    let places: Vec<(&str, &NodePlace)> = built.outside.iter().map(|(n, node)| (n.as_str(), &node.place)).collect();
    let of = |network: &str| NodePlace::GatewayOf(name(network));
    assert_eq!(places, [("gw-provide2", &of("provider-b")), ("gw-provider", &of("provider-a"))]);
}

#[test]
fn deleting_an_instance_frees_its_floating_ip_but_not_a_declared_port() {
    let built = after(&intent(BASIC), FIP);
    let gone = after(&built, "delete instance vm1");
    assert!(!gone.ports.contains_key("vm1"));
    assert_eq!(gone.floating_ips[&ip("203.0.113.101")].target, None);

    let own = ["port p red 10.0.1.77", "instance vm7 cmp1 ports p", "associate 203.0.113.107 p"];
    let own = own.iter().fold(built, |intent, line| after(&intent, line));
    assert!(!own.served_centrally(ip("203.0.113.107")));
    let kept = after(&own, "delete instance vm7");
    assert!(kept.floating_ips[&ip("203.0.113.107")].target.is_some());
    assert!(kept.served_centrally(ip("203.0.113.107")));
}

#[test]
fn owners() {
    let built = after(&intent(BASIC), FIP);
    for (address, owner) in [
        ("10.0.1.11", "instance vm1"),
        ("10.0.1.1", "interface red4 of router r1"),
        ("10.0.1.2", "the SNAT port of router r1 on red4"),
        ("203.0.113.10", "the gateway of router r1"),
        ("203.0.113.101", "floating IP 203.0.113.101"),
        ("203.0.113.1", "outside node gw-public"),
        ("203.0.113.200", "outside node peer"),
        ("198.51.100.2", "outside node web"),
        ("203.0.113.2", "the floating-IP agent gateway of public on net1"),
    ] {
        assert_eq!(built.owner_of(ip(address)).map(|o| o.to_string()), Some(owner.to_owned()), "{address}");
    }
    assert_eq!(built.owner_of(ip("192.0.2.99")), None);
}

/// What must hold whatever was asked for.
fn invariants(intent: &Intent) {
    for network in intent.networks.keys() {
        let held = intent.holders(network);
        let ports = intent.ports.values().filter(|port| port.network == *network).flat_map(|port| &port.addresses);
        let named = ports.count()
            + held
                .values()
                .filter(|o| !matches!(o, Owner::Instance(_) | Owner::Port(_) | Owner::Interface(..)))
                .count();
        let by_subnet = intent
            .routers
            .values()
            .flat_map(|r| &r.interfaces)
            .filter(|interface| intent.subnets.get(*interface).is_some_and(|subnet| subnet.network == *network));
        assert_eq!(held.len(), named + by_subnet.count(), "an address of {network} has two owners: {held:?}");
    }
    for (name, router) in &intent.routers {
        for interface in &router.interfaces {
            assert_eq!(intent.snat_port(name, interface).is_some(), router.gateway.is_some(), "{name} {interface}");
        }
    }
    for (router, interface) in intent.snat_ports.keys() {
        assert!(intent.routers[router].interfaces.contains(interface));
    }
    for (host, found) in &intent.hosts {
        for network in intent.routers_on(host).into_iter().filter_map(|r| intent.routers[r].gateway.as_ref()) {
            let has = intent.agent_gateways.contains_key(&(network.network.clone(), host.clone()));
            assert_eq!(has, found.mode != AgentMode::DvrNoExternal, "{host} {}", network.network);
        }
    }
    for (network, _) in intent.agent_gateways.keys() {
        assert!(intent.routers.values().any(|r| r.gateway.as_ref().is_some_and(|g| g.network == *network)));
    }
    for (address, floating_ip) in &intent.floating_ips {
        assert_eq!(floating_ip.target.is_some(), intent.router_of(*address).is_some(), "{address}");
    }
    for (name, network) in intent.networks.iter().filter(|(_, network)| network.external) {
        let gateways = intent.subnets_of(name).filter(|(_, subnet)| subnet.gateway.is_some()).count();
        let upstream = intent.upstream_of(name).map(|(node, _)| node.as_str());
        assert!(upstream == Some("isp") || upstream.is_some() == (gateways > 0), "{name} {network:?}");
    }
}

const LINES: &[&str] = &[
    "network public external",
    "network out external",
    "network red",
    "network blue",
    "subnet public4 public 203.0.113.0/29",
    "subnet out4 out 192.0.2.0/24",
    "subnet red4 red 10.0.1.0/29",
    "subnet blue4 blue 10.0.2.0/24",
    "router r1",
    "router r2",
    "port p1 blue",
    "port p2 red",
    "attach r1 red4",
    "attach r1 blue4",
    "attach r2 p1",
    "attach r2 red4",
    "attach r1 p2",
    "detach r1 red4",
    "detach r1 blue4",
    "detach r2 p1",
    "detach r2 red4",
    "gateway r1 network=public",
    "gateway r2 network=out",
    "gateway r1 network=out address=192.0.2.10",
    "gateway r2 snat=off",
    "clear r1",
    "clear r2",
    "move r1 net2",
    "move r1 net1",
    "instance vm1 cmp1 red",
    "instance vm2 cmp2 blue",
    "instance vm3 - red",
    "instance vm4 cmp3 ports p2",
    "boot vm3 cmp1",
    "migrate vm1 cmp2",
    "migrate vm2 cmp1",
    "migrate vm1 cmp3",
    "associate 203.0.113.6 vm1",
    "associate 192.0.2.6 vm2",
    "associate 192.0.2.7 vm3",
    "associate 203.0.113.6 p2",
    "disassociate 203.0.113.6",
    "delete fip 203.0.113.6",
    "delete instance vm1",
    "delete instance vm2",
    "delete instance vm4",
    "delete port p1",
    "delete port p2",
    "delete router r1",
    "delete router r2",
    "delete subnet red4",
    "delete subnet out4",
    "delete network red",
    "delete network out",
    "outside isp gateway_of out",
    "delete outside isp",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_changes_keep_the_invariants(picks in proptest::collection::vec(0..LINES.len(), 0..60), ordered in 0_usize..44) {
        let hosts = ["host net1 dvr_snat", "host cmp1 dvr", "host cmp2 dvr", "host cmp3 dvr_no_external", "host net2 dvr_snat"];
        // A prefix of the list builds something; random picks then change it.
        let lines = LINES.iter().take(ordered).chain(picks.iter().map(|pick| &LINES[*pick]));
        let mut current = intent(&hosts);
        for line in lines {
            if let Ok(next) = attempt(&current, line) {
                invariants(&next);
                current = next;
            }
        }
    }
}
