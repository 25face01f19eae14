//! Putting a namespace's state together: devices, addresses, routes and sysctls as the agent sets them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::set_order::copy_order;
use super::state::{Address, Attach, Link, NamespaceState, NextHop, PolicyRule, Route, RouteKind, RouteProtocol};
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
        self.add_link(device, Link { mac: port.mac_address, mtu: mtu(port), up: true, attach })?;
        self.addresses
            .extend(port.fixed_ips.iter().map(|fixed| Address { device: device.clone(), net: net_of(fixed) }));
        Ok(())
    }

    /// Adds a route in place of the one with the same destination, table and metric.
    pub(super) fn replace_route(&mut self, route: Route) {
        self.routes.retain(|other| other.key() != route.key());
        self.routes.insert(route);
    }

    /// A route to `destination` by `gateway` on a device, with the gateway itself on the link if no subnet has it there.
    pub(super) fn route_by_gateway(&mut self, gateway: IpAddr, device: &DeviceName, subnet: &IpNet, table: u32) {
        let family = Family::of(gateway);
        let link_local = matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if !subnet.contains(&gateway) && !link_local {
            self.replace_route(Route::on_link(host_net(gateway), device.clone(), TABLE_MAIN));
        }
        self.replace_route(Route::via(family.any(), gateway, device.clone(), table));
    }

    /// Extra routes in table main: each next hop that is on one of the namespace's links, several for a destination as one
    /// route of equal weights. Next hops elsewhere are left out, as the kernel refuses them.
    pub(super) fn extra_routes(&mut self, routes: &[RouteConfig]) {
        let ordered = in_order(routes);
        let destinations: BTreeSet<IpNet> = routes.iter().map(|route| route.destination.trunc()).collect();
        for destination in destinations {
            let of_destination = ordered.iter().filter(|route| route.destination.trunc() == destination);
            let hops: Vec<NextHop> = of_destination.filter_map(|route| self.next_hop(route.nexthop)).collect();
            if hops.is_empty() {
                continue;
            }
            let metric = if family_of(&destination) == Family::V6 { 1024 } else { 0 };
            self.replace_route(Route {
                table: TABLE_MAIN,
                destination,
                kind: RouteKind::Unicast,
                next_hops: hops,
                protocol: RouteProtocol::Static,
                scope_link: false,
                source: None,
                metric,
            });
        }
    }

    /// The link that an address is on: that of the longest prefix.
    fn next_hop(&self, via: IpAddr) -> Option<NextHop> {
        if self.addresses.iter().any(|address| address.net.addr() == via) {
            return None;
        }
        let connected = self.addresses.iter().map(|address| (address.net, &address.device));
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
