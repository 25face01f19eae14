//! Numbers out of pools, over histories of configurations: nobody shares one, whoever keeps his claim keeps his number, what
//! is given up can be had again, and running out is told. An agent remembers nothing between two of them, so that each is a
//! restart too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dvrlab::api::AgentMode;
use dvrlab::deviation::Deviations;
use dvrlab::name::DeviceName;
use dvrlab::namespace::{HostState, desired};
use dvrlab::net::{FIP_PRIORITY_FIRST, FIP_TABLE, LINK_LOCAL_POOL, SCOPE_ID_MIN};
use dvrlab::router::HostConfig;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::builder::{self, FloatingIpChoice, GatewayChoice, InterfaceChoice, RouterChoice};
use crate::laws::routers;

/// Mark of no scope.
const NO_SCOPE: u32 = SCOPE_ID_MIN;

/// Who has which number: by namespace and claimant.
type Numbers = BTreeMap<(String, String), u32>;

/// Link-local pairs in fip namespaces, and priorities of floating IPs' rules in qrouter namespaces.
fn pairs_and_priorities(state: &HostState) -> (Numbers, Numbers) {
    let (mut pairs, mut priorities) = (Numbers::new(), Numbers::new());
    for (name, content) in &state.namespaces {
        for address in content.addresses.iter().filter(|address| address.device.as_str().starts_with("fpr-")) {
            let IpAddr::V4(v4) = address.net.addr() else { continue };
            let number = (u32::from(v4) - u32::from(LINK_LOCAL_POOL.0)) / 2;
            pairs.insert((name.to_string(), address.device.to_string()), number);
        }
        for rule in content.rules.iter().filter(|rule| rule.table == FIP_TABLE) {
            let one = rule.from.filter(|from| from.prefix_len() == 32);
            priorities.extend(one.map(|from| ((name.to_string(), from.to_string()), rule.priority)));
        }
    }
    (pairs, priorities)
}

/// The mark of each device of a qrouter namespace.
fn marks(state: &HostState, router: &str) -> BTreeMap<String, u32> {
    let name = format!("qrouter-{router}").parse().unwrap();
    let Some(content) = state.namespaces.get::<dvrlab::name::NamespaceName>(&name) else { return BTreeMap::new() };
    let lines = dvrlab::namespace::table_lines("t", &content.rules_v4);
    let set = lines.iter().filter(|line| line.starts_with("t  mangle -A neutron-l3-agent-scope "));
    set.map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = |word| words[words.iter().position(|other| *other == word).unwrap() + 1];
        let mark = at("--set-xmark").strip_prefix("0x").and_then(|mark| mark.strip_suffix("/0xffff0000")).unwrap();
        (at("-i").to_owned(), u32::from_str_radix(mark, 16).unwrap() >> 16)
    })
    .collect()
}

/// The scope of each internal device and of the link, as configured.
fn scopes(config: &HostConfig, router: &str) -> BTreeMap<String, Option<String>> {
    let id: dvrlab::name::Id = router.parse().unwrap();
    let Some(router) = config.routers.get(&id) else { return BTreeMap::new() };
    let v4 = |port: &dvrlab::router::PortConfig| port.address_scopes.as_ref().and_then(|scopes| scopes.v4.clone());
    let inside = router.interfaces.iter().map(|port| (DeviceName::cut("qr-", port.id.as_str()).to_string(), v4(port)));
    let outside = router.gw_port.iter().map(|port| (DeviceName::cut("rfp-", id.as_str()).to_string(), v4(port)));
    inside.chain(outside).collect()
}

/// Numbers out of a pool of the host are apart in all namespaces, others in each.
fn apart(numbers: &Numbers, of_host: bool) -> Result<(), TestCaseError> {
    let mut seen = BTreeSet::new();
    for ((namespace, claimant), number) in numbers {
        let pool = (!of_host).then_some(namespace);
        prop_assert!(seen.insert((pool, number)), "{namespace}: {claimant} shares {number}");
    }
    Ok(())
}

/// Who was there before has the same number; a new one is the lowest that nobody had who is still there.
fn steady(before: &Numbers, after: &Numbers, first: u32, of_host: bool) -> Result<(), TestCaseError> {
    for (claim, number) in after {
        if let Some(old) = before.get(claim) {
            prop_assert_eq!(old, number, "{:?}", claim);
            continue;
        }
        // A router that comes from another fip namespace brings its number along.
        if before.iter().any(|((_, who), old)| (who, old) == (&claim.1, number)) {
            continue;
        }
        let in_pool = |on: &String| of_host || on == &claim.0;
        let in_use = |number: u32| after.iter().any(|((on, _), other)| in_pool(on) && *other == number);
        prop_assert!((first..*number).all(in_use), "{:?} has {}, though there is a lower one", claim, number);
    }
    Ok(())
}

fn marks_are_apart(config: &HostConfig, state: &HostState, router: &str) -> Result<(), TestCaseError> {
    let (marks, scopes) = (marks(state, router), scopes(config, router));
    let mut of_scope = BTreeMap::new();
    for (device, mark) in &marks {
        let scope = scopes.get(device).cloned().flatten();
        prop_assert_eq!(scope.is_none(), *mark == NO_SCOPE, "{}", device);
        prop_assert_eq!(*of_scope.entry(scope).or_insert(*mark), *mark, "{}", device);
    }
    let different: BTreeSet<u32> = of_scope.values().copied().collect();
    prop_assert_eq!(different.len(), of_scope.len());
    Ok(())
}

/// A scope whose devices stay in it keeps its mark.
fn marks_are_steady(
    (old_config, old): (&HostConfig, &HostState),
    (config, new): (&HostConfig, &HostState),
    router: &str,
) -> Result<(), TestCaseError> {
    let (before, after) = (scopes(old_config, router), scopes(config, router));
    if before.iter().any(|(device, scope)| after.get(device).is_some_and(|now| now != scope)) {
        // Which of two scopes a device's mark stood for cannot be seen any more.
        return Ok(());
    }
    let (old, new) = (marks(old, router), marks(new, router));
    for (device, mark) in &old {
        prop_assert!(new.get(device).is_none_or(|now| now == mark), "{device}: {mark:#x}");
    }
    Ok(())
}

fn history(choices: &[Vec<RouterChoice>]) -> Result<(), TestCaseError> {
    let mut state = HostState::default();
    let mut told: Option<HostConfig> = None;
    for choice in choices {
        let mut config = builder::host(AgentMode::DvrSnat, choice);
        config.options.deviations = Deviations::NONE;
        let next = desired(&config, &state).unwrap();
        prop_assert_eq!(&desired(&config, &next).unwrap(), &next);
        let (before, after) = (pairs_and_priorities(&state), pairs_and_priorities(&next));
        apart(&after.0, true)?;
        apart(&after.1, false)?;
        steady(&before.0, &after.0, 0, true)?;
        steady(&before.1, &after.1, FIP_PRIORITY_FIRST, false)?;
        for router in ["r1", "r2"] {
            marks_are_apart(&config, &next, router)?;
            if let Some(told) = &told {
                marks_are_steady((told, &state), (&config, &next), router)?;
            }
        }
        (state, told) = (next, Some(config));
    }
    Ok(())
}

#[test]
fn numbers_are_apart_steady_and_given_back() {
    let config = ProptestConfig { cases: 400, rng_seed: RngSeed::Fixed(5), ..ProptestConfig::default() };
    proptest!(config, |(choices in prop::collection::vec(routers(), 2..8))| history(&choices)?);
}

/// What running out of numbers says, with its cause.
fn refusal(config: &HostConfig) -> String {
    let error = desired(config, &HostState::default()).unwrap_err();
    format!("{error}: {}", std::error::Error::source(&error).unwrap())
}

#[test]
fn more_routers_than_pairs_are_refused() {
    let gateway = Some(builder::gateway(false));
    let one = builder::host(AgentMode::Dvr, &[RouterChoice { name: "r1", gateway, ..RouterChoice::default() }]);
    let mut config = one.clone();
    let router = one.routers.values().next().unwrap();
    for n in 0..8192 {
        let id: dvrlab::name::Id = format!("{n:04}").parse().unwrap();
        config.routers.insert(id.clone(), dvrlab::router::RouterConfig { id, ..router.clone() });
    }
    assert_eq!(refusal(&config), "fip-ext1: not enough numbers: 8193 link-local pairs are needed, there are 8192");
}

#[test]
fn more_floating_ips_than_priorities_are_refused() {
    let fip =
        FloatingIpChoice { last_octet: 101, net: 1, instance: 11, centralised: false, place: builder::Place::Here };
    let interfaces = vec![builder::interface(1)];
    let gateway = Some(builder::gateway(false));
    let choice = RouterChoice { name: "r1", interfaces, gateway, floating_ips: vec![fip], ..RouterChoice::default() };
    let mut config = builder::host(AgentMode::Dvr, &[choice]);
    let router = config.routers.values_mut().next().unwrap();
    let one = router.floating_ips.remove(0);
    for n in 0..40_001u32 {
        let mut fip = one.clone();
        fip.floating_ip_address = IpAddr::V4((0x0b00_0000 + n).into());
        fip.fixed_ip_address = Some(IpAddr::V4((0x0a80_0000 + n).into()));
        router.floating_ips.push(fip);
    }
    assert_eq!(
        refusal(&config),
        "qrouter-r1: not enough numbers: 40001 floating IP rule priorities are needed, there are 40000"
    );
}

#[test]
fn more_scopes_than_marks_are_refused() {
    let gateway = Some(GatewayChoice { scope: Some("outside"), ..builder::gateway(false) });
    let interfaces = vec![InterfaceChoice { scope: Some("inside"), ..builder::interface(1) }];
    let choice = RouterChoice { name: "r1", interfaces, gateway, ..RouterChoice::default() };
    let mut config = builder::host(AgentMode::Dvr, &[choice]);
    let router = config.routers.values_mut().next().unwrap();
    let one = router.interfaces[0].clone();
    for n in 0..1022 {
        let mut port = one.clone();
        port.id = format!("p{n:04}").parse().unwrap();
        port.address_scopes.as_mut().unwrap().v4 = Some(format!("scope{n}"));
        router.interfaces.push(port);
    }
    assert_eq!(refusal(&config), "qrouter-r1: not enough numbers: 1024 address scope marks are needed, there are 1023");
}
