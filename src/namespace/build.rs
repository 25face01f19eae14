//! Putting a namespace's state together: devices, addresses, routes and sysctls as the agent sets them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::set_order::{copy_order, order};
use super::state::{
    Address, Attach, KERNEL, Link, NamespaceState, NextHop, PolicyRule, Route, RouteKind, RouteProtocol,
};
use super::view::{mtu, net_of};
use super::{iptables::Ruleset, sysctl};
use crate::name::DeviceName;
use crate::net::{Family, IpNet, OWN_TRAFFIC_PRIORITY, TABLE_MAIN, family_of, host_net};
use crate::router::{PortConfig, RouteConfig};

/// Two ports whose identifiers are alike up to the length of a device name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken(pub(super) DeviceName);

/// What the namespace sends itself looks up this table where `main` says nothing.
pub(super) fn own_traffic(table: u32) -> PolicyRule {
    let mut rule = PolicyRule::new(Family::V4, OWN_TRAFFIC_PRIORITY, table);
    rule.iif = Some(DeviceName::loopback());
    rule
}

/// An empty namespace with these tables.
pub(super) fn namespace(rules_v4: Ruleset, rules_v6: Ruleset) -> NamespaceState {
    NamespaceState { rules: PolicyRule::base().into(), rules_v4, rules_v6, ..NamespaceState::default() }
}

impl NamespaceState {
    /// Adds a device that is up.
    pub(super) fn add_link(&mut self, device: &DeviceName, link: Link) -> Result<(), Taken> {
        match self.links.insert(device.clone(), link) {
            None => Ok(()),
            Some(_other) => Err(Taken(device.clone())),
        }
    }

    /// Adds a port's device with its addresses.
    pub(super) fn plug(&mut self, device: &DeviceName, port: &PortConfig) -> Result<(), Taken> {
        let attach = Attach::Network(port.network_id.clone());
        self.add_link(device, Link { mac: port.mac_address, mtu: mtu(port), up: true, attach, odd: String::new() })?;
        self.set_addresses(device, port.fixed_ips.iter().map(net_of));
        Ok(())
    }

    /// Adds addresses in the order in which the agent does, which has them in a set. Of IPv4 addresses in one subnet all but
    /// the first are secondary.
    fn set_addresses(&mut self, device: &DeviceName, nets: impl Iterator<Item = IpNet>) {
        let nets: Vec<(String, IpNet)> = nets.map(|net| (net.to_string(), net)).collect();
        let by_text: BTreeMap<&str, IpNet> = nets.iter().map(|(text, net)| (text.as_str(), *net)).collect();
        let mut subnets = BTreeSet::new();
        for net in order(nets.iter().map(|(text, _)| text.as_str())).into_iter().filter_map(|text| by_text.get(text)) {
            let secondary = !subnets.insert(net.trunc()) && family_of(net) == Family::V4;
            self.addresses.insert(Address { secondary, ..Address::new(device.clone(), *net) });
        }
    }

    /// Adds a route in place of the one with the same destination, table and metric.
    pub(super) fn replace_route(&mut self, route: Route) {
        self.routes.retain(|other| other.key() != route.key());
        self.routes.insert(route);
    }

    /// A route to `destination` by `gateway` on a device, with the gateway itself on the link if no subnet has it there.
    pub(super) fn route_by_gateway(&mut self, gateway: IpAddr, device: &DeviceName, subnet: &IpNet, table: u32) {
        let family = Family::of(gateway);
        let on_link = self.addresses.iter().any(|on| &on.device == device && on.net.contains(&gateway));
        if !subnet.contains(&gateway) || !on_link {
            self.replace_route(Route::on_link(host_net(gateway), device.clone(), TABLE_MAIN));
        }
        self.replace_route(Route::via(family.any(), gateway, device.clone(), table));
    }

    /// Extra routes in table main, several next hops of a destination as one route of equal weights. The agent sets the route
    /// anew with each next hop that it comes to; from the first that is on none of the namespace's links the kernel refuses
    /// the route, and what was set before stays. It refuses IPv4 destinations with host bits, too.
    pub(super) fn extra_routes(&mut self, routes: &[RouteConfig]) {
        let mut told: BTreeMap<IpNet, Vec<IpAddr>> = BTreeMap::new();
        for route in in_order(routes) {
            let hops = told.entry(route.destination).or_default();
            hops.push(route.nexthop);
            let hops: Option<Vec<NextHop>> = hops.iter().map(|hop| self.next_hop(*hop)).collect();
            let destination = route.destination.trunc();
            let refused = family_of(&destination) == Family::V4 && destination != route.destination;
            let Some(next_hops) = hops.filter(|_| !refused) else { continue };
            self.replace_route(Route {
                table: TABLE_MAIN,
                destination,
                kind: RouteKind::Unicast,
                next_hops,
                protocol: RouteProtocol::Static,
                scope_link: false,
                source: None,
                metric: if family_of(&destination) == Family::V6 { 1024 } else { 0 },
                tos: 0,
                odd: String::new(),
            });
        }
    }

    /// What routers on a device's network have advertised: default routes, prefixes, and the addresses made of those.
    pub(super) fn keep_advertised(&mut self, observed: &Self, device: &DeviceName) {
        let leased = |on: &&Address| &on.device == device && on.net.addr().is_ipv6() && on.odd.contains("dynamic");
        let addresses: Vec<&Address> = observed.addresses.iter().filter(leased).collect();
        let advertised = |route: &&Route| {
            let prefix = addresses.iter().any(|on| on.net.trunc() == route.destination);
            route.family() == Family::V6
                && route.next_hops.iter().all(|hop| &hop.device == device)
                && (route.protocol == RouteProtocol::Ra || (route.protocol == KERNEL && prefix))
        };
        self.routes.extend(observed.routes.iter().filter(advertised).cloned());
        self.addresses.extend(addresses.into_iter().cloned());
    }

    /// The link that an address is on: that of the longest prefix. An own address will do for IPv4. A subnet whose route is
    /// taken by another is on no link any more.
    fn next_hop(&self, via: IpAddr) -> Option<NextHop> {
        if via.is_ipv6() && self.addresses.iter().any(|address| address.net.addr() == via) {
            return None;
        }
        let taken = |address: &Address| {
            let key = Route::connected(address).key();
            address.net.addr().is_ipv4() && self.routes.iter().any(|route| route.key() == key)
        };
        let connected = self.addresses.iter().filter(|address| !taken(address));
        let connected = connected.map(|address| (address.net, &address.device));
        let on_link = self.routes.iter().filter(|route| route.table == TABLE_MAIN).filter_map(|route| {
            let [hop] = route.next_hops.as_slice() else { return None };
            hop.via.is_none().then_some((route.destination, &hop.device))
        });
        let holds = connected.chain(on_link).filter(|(net, _)| net.contains(&via));
        let (_, device) = holds.max_by_key(|(net, _)| net.prefix_len())?;
        Some(NextHop { via: Some(via), device: device.clone(), weight: 1, onlink: false })
    }

    /// The sysctls of every namespace of the agent, then `more`. To be called when all devices are there.
    pub(super) fn set_sysctls<K: AsRef<str>>(&mut self, more: impl IntoIterator<Item = (K, &'static str)>) {
        let devices: BTreeSet<&str> = self.links.keys().map(DeviceName::as_str).collect();
        let every = [
            ("net.ipv4.conf.all.promote_secondaries", "1"),
            ("net.netfilter.nf_conntrack_tcp_be_liberal", "1"),
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv4.conf.all.arp_ignore", "1"),
            ("net.ipv4.conf.all.arp_announce", "2"),
            ("net.ipv6.conf.all.forwarding", "1"),
        ];
        for (key, value) in every {
            sysctl::write(&mut self.sysctls, &devices, key, value);
        }
        for (key, value) in more {
            sysctl::write(&mut self.sysctls, &devices, key.as_ref(), value);
        }
    }
}

/// Extra routes in the order in which the agent adds them, which decides the order of next hops.
pub(super) fn in_order(routes: &[RouteConfig]) -> Vec<&RouteConfig> {
    let text = |route: &RouteConfig| format!("destination={},nexthop={}", route.destination, route.nexthop);
    let texts: Vec<String> = routes.iter().map(text).collect();
    let by_text: BTreeMap<&str, &RouteConfig> = texts.iter().map(String::as_str).zip(routes).collect();
    copy_order(texts.iter().map(String::as_str)).into_iter().filter_map(|text| by_text.get(text).copied()).collect()
}
