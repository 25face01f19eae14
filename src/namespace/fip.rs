//! `fip-`: one for each external network on each host; floating IPs pass it untranslated and untracked.

use std::net::IpAddr;

use super::allocation::Allocations;
use super::parts::gateways;
use super::qrouter::{fpr, is_here, link_port, pair_mac, rfp};
use super::skeleton::skeleton;
use super::state::{Address, Attach, Link, NamespaceState, PolicyRule, Route};
use crate::name::{DeviceName, Id, NamespaceName};
use crate::net::{Family, IpNet, TABLE_MAIN, host_net};
use crate::router::{HostConfig, PortConfig, RouterConfig};

/// The port by which this host's floating IPs of a network leave.
pub(super) fn agent_gateway<'a>(config: &'a HostConfig, network: &Id) -> Option<&'a PortConfig> {
    config.routers.values().flat_map(|router| &router.agent_gateways).find(|port| port.network_id == *network)
}

/// All of it.
pub(super) fn fip(
    config: &HostConfig,
    network: &Id,
    gateway: &PortConfig,
    allocations: &Allocations,
) -> NamespaceState {
    let name = NamespaceName::of("fip-", network);
    let mut state = NamespaceState::born();
    for family in Family::BOTH {
        *state.ruleset_mut(family) = skeleton(&name, family);
    }
    state.sysctl("net.ipv4.ip_nonlocal_bind", "1");
    let device = DeviceName::cut("fg-", gateway.id.as_str());
    state.port(&device, gateway);
    // It answers ARP for whatever it routes elsewhere, at once.
    state.sysctl(&format!("net.ipv4.conf.{device}.proxy_arp"), "1");
    state.sysctl(&format!("net.ipv4.neigh.{device}.proxy_delay"), "0");
    for (via, subnet) in gateways(gateway).filter(|(via, _)| via.is_ipv4()) {
        if !subnet.cidr.contains(&via) {
            state.routes.insert(Route::on_link(host_net(via), device.clone(), TABLE_MAIN));
        }
    }
    let on_network = |router: &&RouterConfig| link_port(config, router).is_some_and(|port| port.network_id == *network);
    for router in config.routers.values().filter(on_network) {
        link(&mut state, config, router, gateway, &device, allocations);
    }
    state
}

/// One router's end of its pair, the table by which its traffic leaves, and the way to its floating IPs.
/// Neutron: `dvr_fip_ns.FipNamespace.create_rtr_2_fip_link`.
fn link(
    state: &mut NamespaceState,
    config: &HostConfig,
    router: &RouterConfig,
    gateway: &PortConfig,
    external: &DeviceName,
    allocations: &Allocations,
) {
    let Some((theirs, ours)) = allocations.pair(&router.id) else { return };
    let device = fpr(router);
    let attach = Attach::Peer { namespace: NamespaceName::of("qrouter-", &router.id), device: rfp(router) };
    let mtu = router.gw_port.as_ref().and_then(|port| port.mtu).unwrap_or(1500);
    state.device(&device, Link { mac: pair_mac(config, router, "fpr"), mtu, up: true, attach });
    if let Ok(net) = IpNet::new(ours.into(), 31) {
        state.addresses.insert(Address { device: device.clone(), net });
    }
    state.neighbours.insert((device.clone(), theirs.into()), pair_mac(config, router, "rfp"));
    let table = u32::from(ours);
    let iif = Some(device.clone());
    state.rules.insert(PolicyRule { iif, ..PolicyRule::new(Family::V4, table, table) });
    for (via, _) in gateways(gateway) {
        let default = Route::via(Family::of(via).any(), via, external.clone(), table);
        state.routes.retain(|route| route.table != table || route.destination != default.destination);
        state.routes.insert(default);
    }
    for floating_ip in router.floating_ips.iter().filter(|one| is_here(config, one) && one.fixed_ip_address.is_some()) {
        let outside = floating_ip.floating_ip_address;
        state.routes.insert(Route::via(host_net(outside), IpAddr::V4(theirs), device.clone(), TABLE_MAIN));
    }
}
