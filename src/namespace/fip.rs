//! The `fip-` namespace: one for each external network that a router of this host has its gateway on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::build::{self, Taken, own_traffic};
use super::skeleton;
use super::state::{Address, Attach, Link, NamespaceState, PolicyRule, Route, RouteProtocol};
use super::view::{FipLink, View, device};
use crate::deviation::Deviation;
use crate::name::NamespaceName;
use crate::net::{Family, IpNet, OWN_TRAFFIC_PRIORITY, TABLE_MAIN, host_net};

/// All of them, from the routers that have a link there.
pub(super) fn states(views: &[View<'_>]) -> Result<BTreeMap<NamespaceName, NamespaceState>, (NamespaceName, Taken)> {
    let mut namespaces: BTreeMap<NamespaceName, NamespaceState> = BTreeMap::new();
    for view in views {
        let Some(link) = view.link else { continue };
        let name = &link.fpr.namespace;
        let state = match namespaces.remove(name) {
            Some(state) => Ok(state),
            None => shared(view, link),
        };
        let state = state.and_then(|state| attach(view, link, state)).map_err(|taken| (name.clone(), taken))?;
        namespaces.insert(name.clone(), state);
    }
    for state in namespaces.values_mut() {
        let outside = state.links.iter().filter(|(_, link)| matches!(link.attach, Attach::Network(_)));
        let mut sysctls = vec![("net.ipv4.ip_nonlocal_bind".to_owned(), "1")];
        for (fg, _) in outside {
            sysctls.push((format!("net.ipv4.conf.{fg}.proxy_arp"), "1"));
            sysctls.push((format!("net.ipv4.neigh.{fg}.proxy_delay"), "0"));
        }
        state.set_sysctls(sysctls);
    }
    // All routers of a fip namespace have one way out; the table of any of them will do.
    for view in views.iter().filter(|view| view.config.options.deviations.has(Deviation::IcmpErrors)) {
        let Some(link) = view.link else { continue };
        let Some(state) = namespaces.get_mut(&link.fpr.namespace) else { continue };
        if !state.rules.iter().any(|rule| rule.priority == OWN_TRAFFIC_PRIORITY) {
            state.rules.insert(own_traffic(link.table()));
        }
    }
    Ok(namespaces)
}

/// What the routers share: the way out, and no connection tracking.
fn shared(view: &View<'_>, link: &FipLink<'_>) -> Result<NamespaceState, Taken> {
    let comments = view.config.options.comments;
    let mut state = build::namespace(skeleton::fip(Family::V4, comments), skeleton::fip(Family::V6, comments));
    let fg = device("fg-", link.agent_gateway);
    state.plug(&fg, link.agent_gateway)?;
    for subnet in &link.agent_gateway.extra_subnets {
        state.replace_route(Route::on_link(subnet.cidr.trunc(), fg.clone(), TABLE_MAIN));
    }
    Ok(state)
}

/// What one router adds: its link, the table of what comes from it, and what is led to it.
fn attach(view: &View<'_>, link: &FipLink<'_>, mut state: NamespaceState) -> Result<NamespaceState, Taken> {
    let name = &link.fpr.device;
    let fg = device("fg-", link.agent_gateway);
    let inside = IpAddr::from(link.rfp.address);
    let peer = Attach::Peer { namespace: link.rfp.namespace.clone(), device: link.rfp.device.clone() };
    state.add_link(name, Link { mac: link.fpr.mac, mtu: link.mtu, up: true, attach: peer, odd: String::new() })?;
    let net = IpNet::from(ipnet::Ipv4Net::new_assert(link.fpr.address, 31));
    state.addresses.insert(Address::new(name.clone(), net));
    state.neighbours.insert((name.clone(), inside), link.rfp.mac);
    let mut rule = PolicyRule::new(Family::V4, link.table(), link.table());
    rule.iif = Some(name.clone());
    state.rules.insert(rule);
    for subnet in link.agent_gateway.subnets() {
        if let Some(router) = subnet.gateway_ip {
            state.route_by_gateway(router, &fg, &subnet.cidr, link.table());
        }
    }
    extra_routes(view, link, &mut state);
    for fip in view.answered() {
        let net = host_net(fip.floating_ip_address);
        state.replace_route(Route::via(net, inside, name.clone(), TABLE_MAIN));
    }
    for port in view.interfaces().filter(|port| view.leaves_directly(port)) {
        for subnet in port.subnets() {
            state.replace_route(Route::via(subnet.cidr.trunc(), inside, name.clone(), TABLE_MAIN));
        }
    }
    Ok(state)
}

/// Extra routes whose next hop is on the external network: of several next hops, the one that the agent comes to first.
fn extra_routes(view: &View<'_>, link: &FipLink<'_>, state: &mut NamespaceState) {
    let fg = device("fg-", link.agent_gateway);
    let mut seen = BTreeSet::new();
    for route in build::in_order(&view.router.routes) {
        let first = seen.insert(route.destination.trunc());
        let mut subnets = link.agent_gateway.fixed_ips.iter().map(super::view::net_of);
        if first && subnets.any(|subnet| subnet.contains(&route.nexthop)) {
            let mut route = Route::via(route.destination.trunc(), route.nexthop, fg.clone(), link.table());
            route.protocol = RouteProtocol::Boot;
            state.replace_route(route);
        }
    }
}
