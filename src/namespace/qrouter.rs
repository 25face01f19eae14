//! `qrouter-`: the router itself, on every host that has it.

use std::net::IpAddr;

use super::allocation::Allocations;
use super::iptables::{DevicePattern, NatTarget, Rule, Table, Target, What, state as conntrack_state};
use super::parts::{ScopeMarks, addresses, device_towards, has_family, scope_rules};
use super::skeleton::{jump, metadata_request, skeleton};
use super::state::{Address, Attach, Link, NamespaceState, NextHop, PolicyRule, Route};
use crate::api::AgentMode;
use crate::name::{DeviceName, NamespaceName};
use crate::net::{FIP_TABLE, Family, IpNet, METADATA_MARK, Mac, ROUTER_MARK_MASK, TABLE_MAIN, family_of, host_net};
use crate::router::{FloatingIpConfig, HostConfig, PortConfig, RouterConfig};

/// Owners of ports that get no neighbour entry. Neutron: `dvr_local_router.DvrLocalRouter._set_subnet_arp_info`.
const NO_NEIGHBOUR: [&str; 3] =
    ["network:router_interface", "network:ha_router_replicated_interface", "network:router_interface_distributed"];

/// A floating IP that this host itself serves.
pub(super) fn is_here(config: &HostConfig, floating_ip: &FloatingIpConfig) -> bool {
    let host = Some(config.host.as_str());
    config.mode != AgentMode::DvrNoExternal
        && !floating_ip.dvr_snat_bound
        && (floating_ip.host.as_deref() == host || floating_ip.dest_host.as_deref() == host)
}

/// The router's end of the pair to the fip namespace.
pub(super) fn rfp(router: &RouterConfig) -> DeviceName {
    DeviceName::cut("rfp-", router.id.as_str())
}

/// The fip namespace's end.
pub(super) fn fpr(router: &RouterConfig) -> DeviceName {
    DeviceName::cut("fpr-", router.id.as_str())
}

/// A device of an internal port.
fn qr(port: &PortConfig) -> DeviceName {
    DeviceName::cut("qr-", port.id.as_str())
}

/// MAC of one end of a pair; the two hosts of a router have different ones.
pub(super) fn pair_mac(config: &HostConfig, router: &RouterConfig, prefix: &str) -> Mac {
    Mac::derived(prefix, &format!("{}/{}", config.host, router.id))
}

/// The way to the outside that this host has itself: none without a gateway, and none in a host without external network.
pub(super) fn link_port<'a>(config: &HostConfig, router: &'a RouterConfig) -> Option<&'a PortConfig> {
    router.gw_port.as_ref().filter(|_| config.mode != AgentMode::DvrNoExternal)
}

/// All of it.
pub(super) fn qrouter(config: &HostConfig, router: &RouterConfig, allocations: &Allocations) -> NamespaceState {
    let name = NamespaceName::of("qrouter-", &router.id);
    let mut state = NamespaceState::born();
    for family in Family::BOTH {
        *state.ruleset_mut(family) = skeleton(&name, family);
    }
    let interfaces: Vec<&PortConfig> = router.interfaces.iter().filter(|port| port.admin_state_up).collect();
    for port in &interfaces {
        state.port(&qr(port), port);
        neighbours(&mut state, config, router, port);
    }
    if router.gw_port.is_some() {
        state.sysctl("net.ipv4.conf.all.send_redirects", "0");
        for port in &interfaces {
            redirect(&mut state, router, port);
        }
    }
    if let Some(gateway) = link_port(config, router) {
        link(&mut state, config, router, gateway, allocations);
        floating_ips(&mut state, config, router, allocations);
    }
    scopes(&mut state, config, router, &interfaces);
    metadata(&mut state, config);
    routes(&mut state, router);
    state
}

/// Everybody on the subnets of a port is known: who asks by ARP would be answered by another host's copy of the router.
fn neighbours(state: &mut NamespaceState, config: &HostConfig, router: &RouterConfig, port: &PortConfig) {
    let device = qr(port);
    for subnet in &port.fixed_ips {
        let known = config.ports_by_subnet.get(&subnet.subnet_id).into_iter().flatten();
        for neighbour in known.filter(|one| !NO_NEIGHBOUR.contains(&one.device_owner.as_str())) {
            for fixed in neighbour.fixed_ips.iter().filter(|fixed| fixed.subnet_id == subnet.subnet_id) {
                state.neighbours.insert((device.clone(), fixed.ip_address), neighbour.mac);
            }
        }
        for snat in &router.snat_interfaces {
            for fixed in snat.fixed_ips.iter().filter(|fixed| fixed.subnet_id == subnet.subnet_id) {
                state.neighbours.insert((device.clone(), fixed.ip_address), snat.mac_address);
            }
        }
    }
}

/// The SNAT port that serves an internal port: the first that shares a subnet with it.
/// Neutron: `dvr_router_base.DvrRouterBase.get_snat_port_for_internal_port`.
fn snat_port<'a>(router: &'a RouterConfig, port: &PortConfig) -> Option<&'a PortConfig> {
    let shares = |snat: &&PortConfig| {
        snat.fixed_ips.iter().any(|theirs| port.fixed_ips.iter().any(|ours| ours.subnet_id == theirs.subnet_id))
    };
    router.snat_interfaces.iter().find(shares)
}

/// What has no other way out goes to the SNAT port, on this host or another.
/// Neutron: `dvr_local_router.DvrLocalRouter._snat_redirect_modify`.
fn redirect(state: &mut NamespaceState, router: &RouterConfig, port: &PortConfig) {
    let Some(snat) = snat_port(router, port) else { return };
    let device = qr(port);
    for ours in addresses(port) {
        let same_family = |one: &&crate::router::FixedIp| Family::of(one.ip_address) == family_of(&ours);
        let Some(theirs) = snat.fixed_ips.iter().rfind(same_family) else { continue };
        let index = redirect_index(&ours);
        state.routes.insert(Route::via(family_of(&ours).any(), theirs.ip_address, device.clone(), index));
        let from = Some(ours);
        state.rules.insert(PolicyRule { from, ..PolicyRule::new(family_of(&ours), index, index) });
    }
    state.sysctl(&format!("net.ipv4.conf.{device}.send_redirects"), "0");
}

/// Table and priority of a redirect. Neutron: `dvr_local_router.DvrLocalRouter._get_snat_idx`.
pub(super) fn redirect_index(net: &IpNet) -> u32 {
    match net.addr() {
        IpAddr::V4(address) => u32::from(address),
        IpAddr::V6(_) => {
            let crc = crc32(net.to_string().as_bytes());
            let index = (crc >> 30) ^ (crc & 0x3fff_ffff);
            if index < 32_768 { index + 0x3fff_ffff } else { index }
        }
    }
}

/// CRC-32 as zlib computes it.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// The pair to the fip namespace, and the table that leads over it.
fn link(
    state: &mut NamespaceState,
    config: &HostConfig,
    router: &RouterConfig,
    gateway: &PortConfig,
    allocations: &Allocations,
) {
    let Some((ours, theirs)) = allocations.pair(&router.id) else { return };
    let device = rfp(router);
    let attach = Attach::Peer { namespace: NamespaceName::of("fip-", &gateway.network_id), device: fpr(router) };
    let mtu = gateway.mtu.unwrap_or(1500);
    state.device(&device, Link { mac: pair_mac(config, router, "rfp"), mtu, up: true, attach });
    if let Ok(net) = IpNet::new(ours.into(), 31) {
        state.addresses.insert(Address { device: device.clone(), net });
    }
    let other = pair_mac(config, router, "fpr");
    state.neighbours.insert((device.clone(), theirs.into()), other);
    state.routes.insert(Route::via(Family::V4.any(), theirs.into(), device.clone(), FIP_TABLE));
    state.routes.insert(Route::via(Family::V6.any(), other.link_local().into(), device, TABLE_MAIN));
}

/// Translation and steering of the floating IPs that are served here.
/// Neutron: `dvr_local_router.DvrLocalRouter._handle_router_snat_rules`, `floating_forward_rules`.
fn floating_ips(state: &mut NamespaceState, config: &HostConfig, router: &RouterConfig, allocations: &Allocations) {
    let device = rfp(router);
    let name = DevicePattern::Name(device);
    if !router.floating_ips.is_empty() {
        let rules = state.ruleset_mut(Family::V4);
        let east_west = Rule::to(Target::Accept)
            .unless(What::OutDevice(name.clone()))
            .unless(What::ConntrackState(conntrack_state::DNAT));
        rules.push(Table::Nat, "POSTROUTING", east_west);
        rules.push(Table::Nat, "snat", jump("float-snat"));
    }
    for floating_ip in router.floating_ips.iter().filter(|one| is_here(config, one)) {
        let Some(fixed) = floating_ip.fixed_ip_address else { continue };
        let outside = floating_ip.floating_ip_address;
        let inward = Rule::to(Target::Dnat(NatTarget::to(fixed)))
            .when(What::Destination(host_net(outside)))
            .when(What::InDevice(name.clone()));
        let rules = state.ruleset_mut(Family::V4);
        rules.push(Table::Nat, "PREROUTING", inward);
        rules.push(Table::Nat, "float-snat", float_snat(config, fixed, outside));
        if let Some(priority) = allocations.priority(&router.id, fixed) {
            let rule = PolicyRule::new(Family::V4, priority, FIP_TABLE);
            state.rules.insert(PolicyRule { from: Some(host_net(fixed)), ..rule });
        }
    }
}

/// What leaves with a fixed address gets its floating IP.
pub(super) fn float_snat(config: &HostConfig, fixed: IpAddr, outside: IpAddr) -> Rule {
    Rule::to(snat_to(config, outside)).when(What::Source(host_net(fixed)))
}

/// `SNAT --to-source`, with random ports if the agent is so configured.
pub(super) fn snat_to(config: &HostConfig, address: IpAddr) -> Target {
    Target::Snat(NatTarget { random_fully: config.options.random_fully, ..NatTarget::to(address) })
}

fn scopes(state: &mut NamespaceState, config: &HostConfig, router: &RouterConfig, interfaces: &[&PortConfig]) {
    let marks = ScopeMarks::of(interfaces.iter().copied().chain(&router.gw_port));
    for family in Family::BOTH {
        for port in interfaces.iter().filter(|port| has_family(port, family)) {
            scope_rules(state, family, &qr(port), marks.mark(port, family), true);
        }
        if let Some(gateway) = link_port(config, router).filter(|port| has_family(port, family)) {
            scope_rules(state, family, &rfp(router), marks.mark(gateway, family), true);
        }
    }
}

/// The metadata proxy's port is reached by redirected requests only.
fn metadata(state: &mut NamespaceState, config: &HostConfig) {
    if !config.options.metadata {
        return;
    }
    let port = config.options.metadata_port;
    for family in Family::BOTH {
        let rules = state.ruleset_mut(family);
        let marked = Rule::to(Target::Accept).when(What::Mark(METADATA_MARK, ROUTER_MARK_MASK));
        let direct = Rule::to(Target::Drop).when(What::Protocol(6)).when(What::DestinationPort(6, port.into()));
        rules.push(Table::Filter, "INPUT", marked);
        rules.push(Table::Filter, "INPUT", direct);
        rules.push(Table::Nat, "PREROUTING", metadata_request(family, Target::Redirect(port.into())));
    }
}

/// Extra routes, where their next hop can be reached from here. Several next hops for one destination make one route.
fn routes(state: &mut NamespaceState, router: &RouterConfig) {
    for route in extra_routes(state, router, TABLE_MAIN) {
        state.routes.insert(route);
    }
}

/// A router's extra routes as this namespace can have them.
pub(super) fn extra_routes(state: &NamespaceState, router: &RouterConfig, table: u32) -> Vec<Route> {
    let mut made: Vec<Route> = Vec::new();
    for extra in &router.routes {
        let Some(device) = device_towards(state, extra.nexthop) else { continue };
        let destination = extra.destination.trunc();
        match made.iter_mut().find(|route| route.destination == destination) {
            Some(route) => {
                route.next_hops.push(NextHop { via: Some(extra.nexthop), device, weight: 1, onlink: false });
            }
            None => made.push(Route::via(destination, extra.nexthop, device, table)),
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the reference: local side, 1.6; snat side, 3.3.
    #[test]
    fn redirect_indexes_are_the_agents() {
        for (net, index) in [
            ("10.1.0.1/24", 0x0a01_0001),
            ("192.168.0.1/24", 3_232_235_521),
            ("2001:db8:1::1/64", 0x3e32_e927),
            ("fd00:10:20::1/64", 340_077_188),
            ("2620:0:a03:e100::/64", 0x3d34_5705),
            ("d488::/30", 0x4000_1bd6),
        ] {
            assert_eq!(redirect_index(&net.parse().unwrap()), index, "{net}");
        }
    }
}
