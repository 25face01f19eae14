//! What the server makes by itself, and what it tells of it.

use super::super::sample::{BASIC, after, attempt, host, intent, ip, name};
use super::super::{AgentMode, Intent, NodePlace};
use crate::net::Mac;

const FIP: &str = "associate 203.0.113.101 vm1";

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

#[test]
fn an_agent_runs_as_it_was_started() {
    let configured = after(&after(&intent(BASIC), "mode cmp1 dvr_no_external"), "configure metadata off");
    assert_eq!(configured.hosts["cmp1"].mode, AgentMode::Dvr);
    assert!(configured.settings_of(&host("cmp1")).metadata);
    let restarted = after(&configured, "restart cmp1");
    assert_eq!(restarted.hosts["cmp1"].mode, AgentMode::DvrNoExternal);
    assert!(!restarted.settings_of(&host("cmp1")).metadata);
    assert!(restarted.settings_of(&host("cmp2")).metadata);
    let undone = after(&after(&configured, "mode cmp1 dvr"), "restart cmp1");
    assert_eq!(undone.hosts["cmp1"].mode, AgentMode::Dvr);
}

#[test]
fn automatic_addresses_are_of_each_family_the_network_has() {
    let lines = [
        "host net1 dvr_snat",
        "network public external",
        "network red",
        "subnet public4 public 203.0.113.0/24",
        "subnet public6 public 2001:db8:f::/64 2001:db8:f::1",
        "subnet red4 red 10.0.1.0/24",
        "subnet red6 red 2001:db8:1::/64 2001:db8:1::1 mode=slaac",
        "subnet red7 red 2001:db8:2::/64 2001:db8:2::1 mode=dhcpv6-stateful",
        "router r1",
        "attach r1 red4",
        "attach r1 red6",
        "gateway r1 network=public",
        "instance vm1 net1 red",
    ];
    let built = intent(&lines);
    let made = Mac::derived("port", "vm1").eui64("2001:db8:1::".parse().unwrap());
    assert_eq!(built.ports[&name("vm1")].addresses, [ip("10.0.1.3"), ip("2001:db8:2::2"), made.into()]);
    let gateway = built.routers[&name("r1")].gateway.as_ref().unwrap();
    assert_eq!(gateway.addresses, [ip("203.0.113.2"), ip("2001:db8:f::2")]);
    let fg = &built.agent_gateways[&(name("public"), host("net1"))];
    assert_eq!(fg.addresses, [ip("203.0.113.3"), ip("2001:db8:f::3")]);
    let sg = &built.snat_ports[&(name("r1"), name("red6"))];
    assert_eq!(sg.addresses, [ip("2001:db8:1::2")], "a router's port is not made of its MAC");
}
