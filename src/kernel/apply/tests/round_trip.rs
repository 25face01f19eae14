//! Whatever is set is what is observed, and taking it away leaves nothing.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::namespace::Route;
use crate::net::{Family, IpNet};

const DEVICES: [&str; 2] = ["qr-red", "qr-blue"];

fn some_device() -> impl Strategy<Value = (u8, DeviceName)> {
    (1..=2_u8).prop_map(|n| (n, device(DEVICES[usize::from(n) - 1])))
}

/// As the kernel marks them when they are added in order: an IPv4 address in the subnet of an elder one is secondary.
fn marked(addresses: BTreeSet<Address>) -> BTreeSet<Address> {
    let mut subnets = BTreeSet::new();
    let mark = |mut address: Address| {
        let first = subnets.insert((address.device.clone(), address.net.trunc()));
        address.secondary = address.net.addr().is_ipv4() && !first;
        address
    };
    addresses.into_iter().map(mark).collect()
}

/// Addresses that no two of which are equal but for the prefix, which IPv6 would refuse.
fn addresses() -> impl Strategy<Value = BTreeSet<Address>> {
    let one = (any::<bool>(), 8..=30_u8);
    btree_map((1..=2_u8, 10..40_u8), one, 0..6).prop_map(|all| {
        let all = all
            .into_iter()
            .map(|((n, host), (v6, length))| {
                let text = if v6 {
                    format!("fd00:9:{n}::{host:x}/{}", length * 4)
                } else {
                    // Of none of them another is the broadcast address: the kernel makes no connected route for such a one.
                    format!("172.16.{n}.{host}/{}", length.min(24))
                };
                Address::new(device(DEVICES[usize::from(n) - 1]), text.parse().unwrap())
            })
            .collect();
        marked(all)
    })
}

fn routes() -> impl Strategy<Value = BTreeSet<Route>> {
    let table = prop::sample::select(vec![16, 254, 167_772_417]);
    btree_map((any::<bool>(), 0..50_u8, table), (some_device(), prop::option::of(2..250_u8)), 0..8).prop_map(|all| {
        all.into_iter()
            .map(|((v6, subnet, table), ((n, device), hop))| {
                let text = if v6 { format!("2001:db8:{subnet:x}::/48") } else { format!("100.64.{subnet}.0/24") };
                let destination: IpNet = text.parse().unwrap();
                let Some(hop) = hop else { return Route::on_link(destination, device, table) };
                let via = if v6 { format!("fd00:{n}::{hop:x}") } else { format!("10.0.{n}.{hop}") };
                Route::via(destination, via.parse().unwrap(), device, table)
            })
            .collect()
    })
}

fn rules() -> impl Strategy<Value = BTreeSet<PolicyRule>> {
    let selectors = (prop::option::of((any::<[u8; 4]>(), 1..=32_u8)), prop::option::of(some_device()), 1..400_u32);
    btree_map(1..70_000_u32, selectors, 0..6).prop_map(|all| {
        all.into_iter()
            .map(|(priority, (from, iif, table))| PolicyRule {
                from: from.map(|(bytes, length)| IpNet::new(IpAddr::V4(Ipv4Addr::from(bytes)), length).unwrap()),
                iif: iif.map(|(_, device)| device),
                ..PolicyRule::new(Family::V4, priority, table)
            })
            .collect()
    })
}

fn neighbours() -> impl Strategy<Value = BTreeMap<(DeviceName, IpAddr), Mac>> {
    btree_set((some_device(), any::<bool>(), 2..250_u8), 0..6).prop_map(|all| {
        all.into_iter()
            .map(|((n, device), v6, host)| {
                let text = if v6 { format!("fd00:{n}::{host:x}") } else { format!("10.0.{n}.{host}") };
                ((device, text.parse().unwrap()), Mac([2, 0, 0, 0, n, host]))
            })
            .collect()
    })
}

#[test]
fn what_is_set_is_observed() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    lab.router("qrouter-r1");
    let before = lab.state("qrouter-r1");
    let any_state = (addresses(), routes(), rules(), neighbours());
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&any_state, |(addresses, routes, rules, neighbours)| {
        let mut expected = before.clone();
        expected.addresses.extend(addresses.iter().cloned());
        expected.routes.extend(routes.iter().cloned());
        expected.rules.extend(rules.iter().cloned());
        expected.neighbours.extend(neighbours.clone());
        let apply = |action| lab.apply("qrouter-r1", action);
        addresses.iter().cloned().map(Action::AddressAdd).for_each(apply);
        routes.iter().cloned().map(Action::RouteReplace).for_each(apply);
        rules.iter().cloned().map(Action::RuleAdd).for_each(apply);
        for ((device, address), mac) in &neighbours {
            apply(Action::NeighbourReplace(device.clone(), *address, *mac));
        }
        prop_assert_eq!(lab.state("qrouter-r1"), expected);
        addresses.into_iter().map(Action::AddressDelete).for_each(apply);
        routes.into_iter().map(Action::RouteDelete).for_each(apply);
        rules.into_iter().map(Action::RuleDelete).for_each(apply);
        for ((device, address), _) in neighbours {
            apply(Action::NeighbourDelete(device, address));
        }
        prop_assert_eq!(lab.state("qrouter-r1"), before.clone());
        Ok(())
    });
    outcome.unwrap();
}
