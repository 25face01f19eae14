//! What holds after any changes, tried with random ones.

use proptest::prelude::*;

use super::super::sample::history;
use super::super::{AgentMode, Intent, Owner};

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

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_changes_keep_the_invariants(history in history()) {
        for intent in history {
            invariants(&intent);
        }
    }
}
