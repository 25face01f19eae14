//! The laws, over pairs of random configurations.

use std::net::IpAddr;

use dvrlab::api::AgentMode;
use dvrlab::namespace::{HostState, Table, desired};
use dvrlab::net::{FAST_PATH_EXIT_PRIORITY, FIP_TABLE};
use dvrlab::plan::{Plan, plan};
use dvrlab::router::{HostConfig, PortConfig};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::builder::{self, FloatingIpChoice, GatewayChoice, InterfaceChoice, Place, RouterChoice};
use crate::flows::{Flows, Way};
use crate::{kernel, sabotage};

fn scope() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![4 => Just(None), 1 => Just(Some("left")), 1 => Just(Some("right"))]
}

fn interface() -> impl Strategy<Value = InterfaceChoice> {
    let fields = (1..3u8, prop_oneof![Just(1), Just(254)], prop_oneof![Just(1450), Just(1400)], scope());
    (fields, prop::bool::weighted(0.3)).prop_map(|((net, last_octet, mtu, scope), dual)| InterfaceChoice {
        net,
        last_octet,
        mtu,
        scope,
        dual,
    })
}

fn gateway() -> impl Strategy<Value = GatewayChoice> {
    let switches = (prop::bool::weighted(0.8), prop::bool::weighted(0.7), prop::bool::weighted(0.3));
    (1..3u8, 10..12u8, switches, scope()).prop_map(|(ext, last_octet, (snat, here, dual), scope)| GatewayChoice {
        ext,
        last_octet,
        snat,
        here,
        scope,
        dual,
    })
}

fn floating_ip() -> impl Strategy<Value = FloatingIpChoice> {
    let place = prop_oneof![6 => Just(Place::Here), 1 => Just(Place::Elsewhere), 1 => Just(Place::Arriving)];
    let fields = (101..104u8, 1..3u8, 11..13u8, prop::bool::weighted(0.3), place);
    fields.prop_map(|(last_octet, net, instance, centralised, place)| FloatingIpChoice {
        last_octet,
        net,
        instance,
        centralised,
        place,
    })
}

fn router(name: &'static str) -> impl Strategy<Value = RouterChoice> {
    let fields = (
        prop::collection::vec(interface(), 0..3),
        prop::option::weighted(0.8, gateway()),
        prop::collection::vec(floating_ip(), 0..4),
        prop::sample::subsequence(
            vec![("192.0.2.0/24", "10.1.1.50"), ("192.0.2.0/24", "10.1.1.51"), ("198.51.100.0/24", "203.0.1.50")],
            0..4,
        ),
        prop::sample::subsequence(vec![2201, 2202], 0..3),
    );
    fields.prop_map(move |(mut interfaces, gateway, mut floating_ips, routes, forwarded)| {
        interfaces.sort_by_key(|interface| interface.net);
        interfaces.dedup_by_key(|interface| interface.net);
        floating_ips.retain(|fip| interfaces.iter().any(|interface| interface.net == fip.net));
        floating_ips.sort_by_key(|fip| (fip.net, fip.instance));
        floating_ips.dedup_by_key(|fip| (fip.net, fip.instance));
        floating_ips.sort_by_key(|fip| fip.last_octet);
        floating_ips.dedup_by_key(|fip| fip.last_octet);
        RouterChoice { name, interfaces, gateway, floating_ips, routes, forwarded }
    })
}

pub(crate) fn routers() -> impl Strategy<Value = Vec<RouterChoice>> {
    let second = prop::option::weighted(0.3, router("r2"));
    (router("r1"), second).prop_map(|(first, second)| {
        let mut routers = vec![first];
        if let Some(mut second) = second {
            // Two routers do not share a floating address or a gateway address.
            second.floating_ips.iter_mut().for_each(|fip| fip.last_octet += 10);
            second.gateway.iter_mut().for_each(|gateway| gateway.last_octet += 10);
            second.routes.clear();
            routers.push(second);
        }
        routers
    })
}

fn mode() -> impl Strategy<Value = AgentMode> {
    prop_oneof![Just(AgentMode::Dvr), Just(AgentMode::DvrSnat), Just(AgentMode::DvrNoExternal)]
}

fn configurations() -> impl Strategy<Value = (HostConfig, HostConfig)> {
    (mode(), routers(), routers())
        .prop_map(|(mode, before, after)| (builder::host(mode, &before), builder::host(mode, &after)))
}

/// The plan's effect, or the operation that the kernel refuses.
fn carry_out(host: &HostState, plan: &Plan) -> Result<HostState, TestCaseError> {
    let mut host = host.clone();
    for op in &plan.ops {
        kernel::apply(&mut host, op)
            .map_err(|reason| TestCaseError::fail(format!("{reason}: {}: {op}\nof\n{}", op.namespace, text(plan))))?;
    }
    Ok(host)
}

fn text(plan: &Plan) -> String {
    plan.ops.iter().map(|op| format!("{}: {op}", op.namespace)).collect::<Vec<_>>().join("\n")
}

fn instances() -> Vec<(String, IpAddr)> {
    let mut all = Vec::new();
    for (router, number) in [("r1", 1), ("r2", 2)] {
        for net in 1..3 {
            all.extend([11, 12].map(|last| (router.to_owned(), builder::instance(number, net, last))));
        }
    }
    all
}

/// Source NAT promises for this instance's router in both configurations, its subnet not being in the gateway's scope.
fn promised(config: &HostConfig, source: IpAddr) -> bool {
    let router = config.routers.values().find(|router| {
        let mut subnets = router.interfaces.iter().flat_map(PortConfig::subnets);
        subnets.any(|subnet| subnet.cidr.contains(&source))
    });
    router.is_none_or(|router| {
        let scope = |port: &PortConfig| port.address_scopes.as_ref().and_then(|scopes| scopes.v4.clone());
        let outside = router.gw_port.as_ref().and_then(scope);
        let shared = outside.is_some() && router.interfaces.iter().any(|port| scope(port) == outside);
        router.enable_snat && !shared
    })
}

/// Every rule that leads one address to the fip namespace has its translation; that for the namespace's own packets has its
/// guard.
fn steered_are_translated(host: &HostState) -> Result<(), TestCaseError> {
    for (name, state) in &host.namespaces {
        let steering =
            state.rules.iter().filter(|rule| rule.table == FIP_TABLE && rule.priority != FAST_PATH_EXIT_PRIORITY);
        for rule in steering {
            let (table, wanted) = match (rule.from, &rule.iif) {
                (Some(from), _) => (Table::Nat, format!("-s {from} -j SNAT")),
                (None, Some(own)) if own.as_str() == "lo" => (Table::Filter, "-s 169.254.64.0/18 -o rfp".to_owned()),
                (None, _) => (Table::Nat, "no rule fits this".to_owned()),
            };
            let chains = state.rules_v4.tables.get(&table);
            let mut rules = chains.into_iter().flat_map(|chains| chains.values()).flat_map(|chain| &chain.rules);
            let found = rules.any(|rule| rule.to_string().starts_with(&wanted));
            prop_assert!(found, "{name}: {rule} has no translation or guard");
        }
    }
    Ok(())
}

/// The first part of a plan, or all of it.
fn cut(whole: &Plan, percent: usize) -> Plan {
    let stop = whole.ops.len() * percent / 100;
    Plan { ops: whole.ops.iter().take(stop).cloned().collect() }
}

/// Carries a plan out with a packet of every flow after every operation, none of which may leave bare.
fn walk(
    host: &mut HostState,
    plan: &Plan,
    flows: &mut Flows,
    configs: (&HostConfig, &HostConfig),
) -> Result<(), TestCaseError> {
    for op in &plan.ops {
        let fail = |e: String| TestCaseError::fail(format!("{}: after {op}: {e}\n{}", op.namespace, text(plan)));
        kernel::apply(host, op).map_err(fail)?;
        flows.note(op);
        steered_are_translated(host).map_err(|e| fail(e.to_string()))?;
        for seen in flows.send(host) {
            let bare =
                seen.source == seen.translated && promised(configs.0, seen.source) && promised(configs.1, seen.source);
            if bare {
                return Err(fail(format!("{seen:?} leaves bare")));
            }
        }
    }
    Ok(())
}

/// When all is done, flows that began before go out as new ones would.
fn settled(host: &HostState, flows: &mut Flows, after: &HostConfig) -> Result<(), TestCaseError> {
    let floating_ips = || after.routers.values().flat_map(|router| &router.floating_ips);
    for seen in flows.send(host) {
        prop_assert!(seen.source != seen.translated || !promised(after, seen.source), "{seen:?} goes on bare");
        let mut of_source =
            floating_ips().filter(|fip| fip.fixed_ip_address == Some(seen.source) && !fip.dvr_snat_bound);
        if let Some(fip) = of_source.next().filter(|_| seen.way == Way::FipNamespace) {
            prop_assert_eq!(seen.translated, fip.floating_ip_address);
        }
    }
    // A subnet that is attached no more has no way to where its old translations stand.
    let attached = |source: &IpAddr| {
        let ports = after.routers.values().flat_map(|router| &router.interfaces);
        ports.flat_map(PortConfig::subnets).any(|subnet| subnet.cidr.contains(source))
    };
    for (source, seen_as) in flows.translations().filter(|(source, _)| attached(source)) {
        let gateways = after.routers.values().flat_map(|router| &router.gw_port).flat_map(|port| &port.fixed_ips);
        let mut floating = floating_ips().filter(|fip| fip.fixed_ip_address == Some(source));
        let held = gateways.map(|fixed| fixed.ip_address).any(|address| address == seen_as)
            || floating.any(|fip| fip.floating_ip_address == seen_as);
        prop_assert!(held, "{source} goes on as {seen_as}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        // The same cases in every run: what fails must fail for everybody. `PROPTEST_RNG_SEED` looks elsewhere.
        rng_seed: std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok()).map_or(RngSeed::Fixed(2026), RngSeed::Fixed),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_plan_turns_what_is_into_what_is_desired((before, after) in configurations()) {
        let is = carry_out(&HostState::default(), &plan(&HostState::default(), &desired(&before, &HostState::default()).unwrap()))?;
        let wanted = desired(&after, &is).unwrap();
        let plan_there = plan(&is, &wanted);
        let reached = carry_out(&is, &plan_there)?;
        for (name, state) in &wanted.namespaces {
            prop_assert_eq!(reached.namespaces.get(name), Some(state), "{}", name);
        }
        prop_assert_eq!(&reached, &wanted);
        prop_assert_eq!(&desired(&after, &reached).unwrap(), &wanted, "allocations stay");
        prop_assert_eq!(plan(&wanted, &wanted), Plan::default());
        let nothing = carry_out(&wanted, &plan(&wanted, &HostState::default()))?;
        prop_assert_eq!(nothing, HostState::default());
    }

    #[test]
    fn a_plan_may_stop_anywhere_and_be_made_anew((before, after) in configurations(), percent in 0..100usize) {
        let is = desired(&before, &HostState::default()).unwrap();
        let whole = plan(&is, &desired(&after, &is).unwrap());
        let halfway = carry_out(&is, &cut(&whole, percent))?;
        let wanted = desired(&after, &halfway).unwrap();
        prop_assert_eq!(carry_out(&halfway, &plan(&halfway, &wanted))?, wanted);
    }

    #[test]
    fn a_plan_repairs_what_was_sabotaged((before, after) in configurations(), deeds in sabotage::deeds()) {
        let mut is = desired(&before, &HostState::default()).unwrap();
        for deed in deeds {
            sabotage::commit(&mut is, deed);
        }
        let wanted = desired(&after, &is).unwrap();
        let reached = carry_out(&is, &plan(&is, &wanted))?;
        for (name, state) in &wanted.namespaces {
            prop_assert_eq!(reached.namespaces.get(name), Some(state), "{}", name);
        }
        prop_assert_eq!(reached, wanted);
    }

    #[test]
    fn no_packet_leaves_bare_at_any_point((before, after) in configurations(), percent in 0..200usize) {
        let mut host = desired(&before, &HostState::default()).unwrap();
        let mut flows = Flows::new(instances());
        flows.send(&host);
        let whole = plan(&host, &desired(&after, &host).unwrap());
        let some = cut(&whole, percent);
        walk(&mut host, &some, &mut flows, (&before, &after))?;
        let rest = plan(&host, &desired(&after, &host).unwrap());
        walk(&mut host, &rest, &mut flows, (&before, &after))?;
        settled(&host, &mut flows, &after).map_err(|e| TestCaseError::fail(format!("{e}\n{}then\n{}", text(&some), text(&rest))))?;
    }
}
