//! Rules and states at random.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};

use super::super::read::base_of;
use super::*;
use crate::name::DeviceName;
use crate::namespace::{Chain, DevicePattern, Match, Ruleset, conntrack_state};
use crate::net::IpNet;

fn address(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::V4 => any::<Ipv4Addr>().prop_map(IpAddr::V4).boxed(),
        Family::V6 => any::<Ipv6Addr>().prop_map(IpAddr::V6).boxed(),
    }
}

fn net(family: Family) -> BoxedStrategy<IpNet> {
    (address(family), 1..=family.bits())
        .prop_map(|(address, prefix)| IpNet::new(address, prefix).unwrap().trunc())
        .boxed()
}

fn device() -> BoxedStrategy<DevicePattern> {
    prop_oneof![
        "[a-z][a-z0-9.-]{0,14}".prop_map(|name| DevicePattern::Name(DeviceName::new(name).unwrap())),
        "[a-z][a-z0-9.-]{0,13}".prop_map(DevicePattern::Prefix),
    ]
    .boxed()
}

fn ports() -> BoxedStrategy<PortRange> {
    let range = (1..u16::MAX, 1..u16::MAX).prop_map(|(a, b)| PortRange { first: a.min(b), last: a.max(b) });
    prop_oneof![(1..=u16::MAX).prop_map(PortRange::from), range].boxed()
}

fn maybe(what: impl Strategy<Value = What> + 'static) -> BoxedStrategy<Option<Match>> {
    option::weighted(0.3, (any::<bool>(), what).prop_map(|(not, what)| Match { not, what })).boxed()
}

fn plain(what: impl Strategy<Value = What> + 'static) -> BoxedStrategy<Option<Match>> {
    option::weighted(0.2, what.prop_map(|what| Match { not: false, what })).boxed()
}

/// TCP and UDP plain, so that ports are possible; or something else, even inverted.
fn protocols() -> BoxedStrategy<Vec<Match>> {
    let one = |not, number| Match { not, what: What::Protocol(number) };
    let with_ports = prop_oneof![Just(6_u8), Just(17_u8)].prop_flat_map(move |number| {
        let source = maybe(ports().prop_map(move |ports| What::SourcePort(number, ports)));
        let destination = maybe(ports().prop_map(move |ports| What::DestinationPort(number, ports)));
        (source, destination).prop_map(move |(source, destination)| {
            let ports = [source, destination].into_iter().flatten();
            std::iter::once(one(false, number)).chain(ports).collect()
        })
    });
    let other = (any::<bool>(), prop_oneof![Just(1_u8), Just(6_u8), Just(58_u8)])
        .prop_map(move |(not, number)| vec![one(not, number)]);
    prop_oneof![2 => Just(Vec::new()), 3 => with_ports, 1 => other].boxed()
}

fn modules() -> BoxedStrategy<Vec<Match>> {
    let mask = || prop_oneof![Just(u32::MAX), Just(0xffff_0000), any::<u32>()];
    let all: u16 = conntrack_state::NAMES.iter().map(|(bit, _)| bit).sum();
    (
        maybe((any::<u32>(), mask()).prop_map(|(value, mask)| What::Mark(value, mask))),
        maybe((any::<u32>(), mask()).prop_map(|(value, mask)| What::ConnMark(value, mask))),
        maybe((1..=all).prop_filter("a state", move |bits| bits & !all == 0).prop_map(What::ConntrackState)),
        plain("[ -~]{1,60}".prop_map(What::Comment)),
    )
        .prop_map(|(a, b, c, d)| [a, b, c, d].into_iter().flatten().collect())
        .boxed()
}

fn nat(family: Family, random_fully: bool) -> BoxedStrategy<NatTarget> {
    (address(family), option::of(ports()), any::<(bool, bool, bool)>(), option::of(1..=u16::MAX))
        .prop_map(move |(address, ports, (random, fully, persistent), base)| NatTarget {
            address,
            ports,
            // Only DNAT has one, which is not fully random.
            base: base.filter(|_| !random_fully && ports.is_some_and(|ports| !ports.is_single())),
            random,
            random_fully: fully && random_fully,
            persistent,
        })
        .boxed()
}

fn target(family: Family, table: Table) -> BoxedStrategy<Target> {
    let common = prop_oneof![
        Just(Target::Accept),
        Just(Target::Return),
        Just(Target::None),
        Just(Target::Jump("z".to_owned())),
        Just(Target::Jump("neutron-l3-agent-float-snat".to_owned())),
    ];
    let mask = any::<(u32, u32)>();
    let own = match table {
        Table::Raw => Just(Target::NoTrack).boxed(),
        Table::Mangle => prop_oneof![
            mask.prop_map(|(a, b)| Target::Mark(a, b)),
            mask.prop_map(|(a, b)| Target::SaveMark(a, b)),
            mask.prop_map(|(a, b)| Target::RestoreMark(a, b)),
            mask.prop_map(|(a, b)| Target::SetConnMark(a, b)),
        ]
        .boxed(),
        Table::Nat => prop_oneof![
            nat(family, true).prop_map(Target::Snat),
            nat(family, false).prop_map(Target::Dnat),
            ports().prop_map(Target::Redirect),
        ]
        .boxed(),
        Table::Filter => Just(Target::Drop).boxed(),
    };
    prop_oneof![common, own].boxed()
}

/// A rule that iptables would take, too: ports are translated only of protocols that have them.
fn rule(family: Family, table: Table) -> BoxedStrategy<Rule> {
    let addresses = (maybe(net(family).prop_map(What::Source)), maybe(net(family).prop_map(What::Destination)));
    let devices = (maybe(device().prop_map(What::InDevice)), maybe(device().prop_map(What::OutDevice)));
    (addresses, devices, protocols(), modules(), target(family, table))
        .prop_map(|((source, destination), (from, to), protocols, modules, mut target)| {
            let with_ports = matches!(protocols.first(), Some(Match { not: false, what: What::Protocol(6 | 17) }));
            if let (Target::Snat(to) | Target::Dnat(to), false) = (&mut target, with_ports) {
                (to.ports, to.base) = (None, None);
            }
            if matches!(target, Target::Redirect(_)) && !with_ports {
                target = Target::Accept;
            }
            let basic = [source, destination, from, to].into_iter().flatten();
            Rule { matches: basic.chain(protocols).chain(modules).collect(), target }
        })
        .boxed()
}

/// Some rules in each of some own chains; all jumps go to two chains that have none.
fn chains(family: Family, table: Table) -> BoxedStrategy<Ruleset> {
    // Few different rules, so that two states have some in common.
    let pool = vec(rule(family, table), 1..8);
    (pool, vec(vec(any::<proptest::sample::Index>(), 0..10), 0..4))
        .prop_map(move |(pool, orders)| {
            let mut ruleset = Ruleset::default();
            let chains = ruleset.tables.entry(table).or_default();
            for name in ["z", "neutron-l3-agent-float-snat"] {
                chains.insert(ChainName::Own(name.to_owned()), Chain::default());
            }
            for (order, name) in orders.iter().zip(["a", "b", "c"]) {
                let rules = order.iter().map(|index| index.get(&pool).clone()).collect();
                chains.insert(chain_name(name), Chain { rules, policy_drop: false });
            }
            for hook in Hook::ALL.into_iter().filter(|hook| base_of(table, *hook).is_some()) {
                let plain = |rule: &&Rule| matches!(rule.target, Target::Accept | Target::Jump(_));
                let rules = pool.iter().filter(plain).cloned().collect();
                chains.insert(ChainName::Builtin(hook), Chain { rules, policy_drop: false });
            }
            ruleset
        })
        .boxed()
}

fn state() -> BoxedStrategy<Desired> {
    let some = |family| {
        let tables = Table::ALL.map(|table| option::of(chains(family, table)));
        tables.prop_map(|all| {
            let mut merged = Ruleset::default();
            all.into_iter().flatten().for_each(|one| merged.tables.extend(one.tables));
            merged
        })
    };
    (some(Family::V4), some(Family::V6))
        .prop_map(|(v4, v6)| Desired::from([(Family::V4, v4), (Family::V6, v6)]))
        .boxed()
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

/// Such a rule means something else in iptables 1.8.9, see [`super::super::encode`].
fn two_inverted_ports(rule: &Rule) -> bool {
    let inverted = |one: &&Match| one.not && matches!(one.what, What::SourcePort(..) | What::DestinationPort(..));
    rule.matches.iter().filter(inverted).count() == 2
}

/// So many rules of every table, in one chain each.
pub(super) fn sample(count: usize) -> Desired {
    let mut runner = runner(1);
    let mut all = Desired::new();
    for family in Family::BOTH {
        for table in Table::ALL {
            let one =
                rule(family, table).prop_filter("iptables inverts two ports as one", |rule| !two_inverted_ports(rule));
            let rules = vec(one, count / 8).new_tree(&mut runner).unwrap().current();
            let chains = all.entry(family).or_default().tables.entry(table).or_default();
            for name in ["z", "neutron-l3-agent-float-snat"] {
                chains.insert(ChainName::Own(name.to_owned()), Chain::default());
            }
            chains.insert(ChainName::Own("a".to_owned()), Chain { rules, policy_drop: false });
        }
    }
    all
}

#[test]
fn any_state_turns_into_any_other() {
    if done_in_a_sandbox() {
        return;
    }
    in_netns(|| {
        let socket = socket();
        let same = |case: Desired| {
            let tables = make(&socket, &case).map_err(|error| TestCaseError::fail(error.to_string()))?;
            assert_is(&tables, &case);
            assert!(changes(&tables, &case).changes.is_empty(), "a second application does nothing");
            Ok(())
        };
        runner(48).run(&state(), same).unwrap();
    });
}

#[test]
fn iptables_save_prints_generated_rules_as_we_do() {
    if done_in_a_sandbox() {
        return;
    }
    let wanted = sample(400);
    in_netns(|| assert_saved(&make(&socket(), &wanted).unwrap()));
}
