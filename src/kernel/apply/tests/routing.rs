//! Routes, rules and neighbours.

use super::*;
use crate::kernel::apply::neighbour::{add_noarp, add_proxy};
use crate::namespace::{NextHop, Route, RouteKind, RouteProtocol};
use crate::net::Family;

fn via(destination: &str, via: &str, name: &str, table: u32) -> Route {
    Route::via(destination.parse().unwrap(), via.parse().unwrap(), device(name), table)
}

fn hop(via: &str, name: &str, weight: u16) -> NextHop {
    NextHop { via: Some(via.parse().unwrap()), device: device(name), weight, onlink: false }
}

#[test]
fn routes_of_every_kind_come_back_as_given() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    lab.router("qrouter-r1");
    let mut routes = vec![
        via("0.0.0.0/0", "10.0.1.2", "qr-red", 167_772_417),
        via("::/0", "fd00:1::2", "qr-red", 254),
        Route::on_link("100.64.1.0/24".parse().unwrap(), device("qr-blue"), 16),
        Route::on_link("2001:db8::/64".parse().unwrap(), device("qr-blue"), 16),
    ];
    routes.push(Route { protocol: RouteProtocol::Boot, ..via("100.64.2.0/24", "10.0.2.9", "qr-blue", 254) });
    routes.push(Route {
        source: Some("10.0.1.1".parse().unwrap()),
        metric: 7,
        ..via("100.64.3.0/24", "10.0.2.9", "qr-blue", 254)
    });
    let mut onlink = via("100.64.4.0/24", "192.0.2.1", "qr-red", 254);
    onlink.next_hops[0].onlink = true;
    routes.push(onlink);
    routes.push(Route {
        next_hops: vec![],
        kind: RouteKind::Blackhole,
        ..via("100.64.5.0/24", "10.0.1.2", "qr-red", 9)
    });
    routes.push(Route { next_hops: vec![], kind: RouteKind::Unreachable, ..via("2001:db8:5::/48", "::", "qr-red", 9) });
    for (destination, first, second) in
        [("100.64.6.0/24", "10.0.1.2", "10.0.2.2"), ("2001:db8:6::/48", "fd00:1::2", "fd00:2::2")]
    {
        let next_hops = vec![hop(first, "qr-red", 1), hop(second, "qr-blue", 3)];
        routes.push(Route { next_hops, ..via(destination, first, "qr-red", 254) });
    }
    for route in &routes {
        lab.apply("qrouter-r1", Action::RouteReplace(route.clone()));
    }
    assert_eq!(lab.state("qrouter-r1").routes, routes.iter().cloned().collect());
    for route in &routes {
        lab.apply("qrouter-r1", Action::RouteDelete(route.clone()));
        lab.apply("qrouter-r1", Action::RouteDelete(route.clone()));
    }
    assert_eq!(lab.state("qrouter-r1").routes, [].into());
}

#[test]
fn a_route_is_replaced_not_joined() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    lab.router("qrouter-r1");
    for (first, second) in [
        (via("0.0.0.0/0", "10.0.1.2", "qr-red", 16), via("0.0.0.0/0", "10.0.2.3", "qr-blue", 16)),
        (via("::/0", "fd00:1::2", "qr-red", 16), via("::/0", "fd00:2::3", "qr-blue", 16)),
    ] {
        lab.apply("qrouter-r1", Action::RouteReplace(first.clone()));
        lab.apply("qrouter-r1", Action::RouteReplace(second.clone()));
        assert_eq!(lab.state("qrouter-r1").routes, [second.clone()].into());
        // What was replaced is gone, and deleting it leaves the other alone.
        lab.apply("qrouter-r1", Action::RouteDelete(first));
        assert_eq!(lab.state("qrouter-r1").routes, [second.clone()].into());
        lab.apply("qrouter-r1", Action::RouteDelete(second));
    }
}

#[test]
fn a_refused_route_says_why() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    lab.router("qrouter-r1");
    let nowhere = Action::RouteReplace(via("0.0.0.0/0", "192.0.2.1", "qr-red", 16));
    assert_eq!(lab.try_apply("qrouter-r1", nowhere).unwrap_err(), "ENETUNREACH: Nexthop has invalid gateway");
    let no_device = Action::RouteReplace(via("0.0.0.0/0", "10.0.1.2", "qr-green", 16));
    assert_eq!(lab.try_apply("qrouter-r1", no_device).unwrap_err(), "ENODEV: No such device");
}

#[test]
fn rules_keep_their_host_bits() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    lab.router("qrouter-r1");
    let rules = [
        PolicyRule {
            from: Some("10.0.1.1/24".parse().unwrap()),
            ..PolicyRule::new(Family::V4, 167_772_417, 167_772_417)
        },
        PolicyRule { from: Some("fd00:1::1/64".parse().unwrap()), ..PolicyRule::new(Family::V6, 4_000_000, 16) },
        PolicyRule {
            to: Some("198.51.100.0/24".parse().unwrap()),
            iif: Some(device("qr-red")),
            ..PolicyRule::new(Family::V4, 80_000, 254)
        },
        PolicyRule { oif: Some(device("gone")), ..PolicyRule::new(Family::V6, 9, 255) },
        PolicyRule { fwmark: Some((0x400_0000, 0xffff_0000)), ..PolicyRule::new(Family::V4, 7, 16) },
        PolicyRule { fwmark: Some((0x1, u32::MAX)), ..PolicyRule::new(Family::V4, 8, 16) },
        PolicyRule::new(Family::V4, 32_768, 16),
    ];
    for rule in &rules {
        lab.apply("qrouter-r1", Action::RuleAdd(rule.clone()));
    }
    let base = PolicyRule::base();
    assert_eq!(lab.state("qrouter-r1").rules, rules.iter().chain(&base).cloned().collect());
    assert_eq!(lab.try_apply("qrouter-r1", Action::RuleAdd(rules[0].clone())).unwrap_err(), "EEXIST: File exists");
    for rule in rules.iter().chain(&base) {
        lab.apply("qrouter-r1", Action::RuleDelete(rule.clone()));
        lab.apply("qrouter-r1", Action::RuleDelete(rule.clone()));
    }
    assert_eq!(lab.state("qrouter-r1").rules, [].into());
}

#[test]
fn what_somebody_else_has_a_device_answer_for_is_seen_and_taken_away() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    lab.router("qrouter-r1");
    let (red, netns) = (device("qr-red"), lab.netns("qrouter-r1"));
    for address in ["10.0.1.5", "fd00:1::5"].map(|text| text.parse().unwrap()) {
        lab.runtime.block_on(add_proxy(&netns, &red, address)).unwrap();
        assert_eq!(lab.state("qrouter-r1").proxies, [(red.clone(), address)].into());
        lab.apply("qrouter-r1", Action::ProxyDelete(red.clone(), address));
        lab.apply("qrouter-r1", Action::ProxyDelete(red.clone(), address));
        assert_eq!(lab.state("qrouter-r1").proxies, [].into());
    }
}

#[test]
fn a_neighbour_that_is_never_asked_for_is_none_that_is_wanted() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    lab.router("qrouter-r1");
    let (red, netns, mac) = (device("qr-red"), lab.netns("qrouter-r1"), Mac([2, 0, 0, 0, 0, 5]));
    for address in ["10.0.1.5", "fd00:1::5"].map(|text| text.parse().unwrap()) {
        lab.runtime.block_on(add_noarp(&netns, &red, address, mac)).unwrap();
        assert_eq!(lab.state("qrouter-r1").neighbours, [((red.clone(), address), Mac::ZERO)].into());
        lab.apply("qrouter-r1", Action::NeighbourReplace(red.clone(), address, mac));
        assert_eq!(lab.state("qrouter-r1").neighbours, [((red.clone(), address), mac)].into());
        lab.apply("qrouter-r1", Action::NeighbourDelete(red.clone(), address));
    }
}

#[test]
fn permanent_neighbours_come_and_go() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    lab.router("qrouter-r1");
    let (red, macs) = (device("qr-red"), [Mac([2, 0, 0, 0, 0, 5]), Mac([2, 0, 0, 0, 0, 6])]);
    for address in ["10.0.1.5", "fd00:1::5"].map(|text| text.parse().unwrap()) {
        for mac in macs {
            lab.apply("qrouter-r1", Action::NeighbourReplace(red.clone(), address, mac));
            assert_eq!(lab.state("qrouter-r1").neighbours, [((red.clone(), address), mac)].into());
        }
        lab.apply("qrouter-r1", Action::NeighbourDelete(red.clone(), address));
        lab.apply("qrouter-r1", Action::NeighbourDelete(red.clone(), address));
        assert_eq!(lab.state("qrouter-r1").neighbours, [].into());
    }
}
