//! `snat-`: where the gateway is scheduled, the one place that translates for those without a floating IP.

use std::net::IpAddr;

use super::iptables::{ChainName, DevicePattern, Hook, NatTarget, Rule, Table, Target, What, state as conntrack_state};
use super::parts::{ScopeMarks, gateways, has_family, scope_rules};
use super::qrouter::{extra_routes, float_snat, snat_to};
use super::skeleton::{ingress_mark, own, save_scope, skeleton};
use super::state::{Address, NamespaceState, Route};
use crate::api::AgentMode;
use crate::name::{DeviceName, NamespaceName};
use crate::net::{Family, INGRESS_MARK, ROUTER_MARK_MASK, TABLE_MAIN, host_net};
use crate::router::{HostConfig, PortConfig, RouterConfig};

/// The gateway port, if its router is translated on this host.
pub(super) fn gateway_here<'a>(config: &HostConfig, router: &'a RouterConfig) -> Option<&'a PortConfig> {
    let here = config.mode == AgentMode::DvrSnat && router.gw_port_host.as_ref() == Some(&config.host);
    router.gw_port.as_ref().filter(|_| here)
}

/// All of it.
pub(super) fn snat(config: &HostConfig, router: &RouterConfig, gateway: &PortConfig) -> NamespaceState {
    let name = NamespaceName::of("snat-", &router.id);
    let mut state = NamespaceState::born();
    for family in Family::BOTH {
        *state.ruleset_mut(family) = skeleton(&name, family);
    }
    state.sysctl("net.ipv4.ip_nonlocal_bind", "1");
    state.sysctl("net.netfilter.nf_conntrack_tcp_loose", "0");
    let device = DeviceName::cut("qg-", gateway.id.as_str());
    for port in &router.snat_interfaces {
        state.port(&DeviceName::cut("sg-", port.id.as_str()), port);
    }
    external(&mut state, &device, gateway);
    translation(&mut state, config, router, gateway, &device);
    scopes(&mut state, router, gateway, &device);
    for route in extra_routes(&state, router, TABLE_MAIN) {
        state.routes.retain(|old| old.destination != route.destination || old.table != route.table);
        state.routes.insert(route);
    }
    state
}

/// The external device: addresses, the way to the provider's gateway, and what IPv6 learns.
/// Neutron: `router_info.RouterInfo._external_gateway_added`.
fn external(state: &mut NamespaceState, device: &DeviceName, gateway: &PortConfig) {
    state.port(device, gateway);
    let mut known_v6 = false;
    for (via, subnet) in gateways(gateway) {
        known_v6 |= via.is_ipv6();
        if !subnet.cidr.contains(&via) {
            state.routes.insert(Route::on_link(host_net(via), device.clone(), TABLE_MAIN));
        }
        // One default a family: the last subnet's gateway replaces the one before.
        let default = Route::via(Family::of(via).any(), via, device.clone(), TABLE_MAIN);
        state.routes.retain(|route| route.destination != default.destination);
        state.routes.insert(default);
    }
    let accept_ra = if known_v6 { "0" } else { "2" };
    state.sysctl(&format!("net.ipv6.conf.{device}.accept_ra"), accept_ra);
}

/// Neutron: `router_info.RouterInfo._add_snat_rules`, `external_gateway_nat_snat_rules`; only the first IPv4 address counts.
fn translation(
    state: &mut NamespaceState,
    config: &HostConfig,
    router: &RouterConfig,
    gateway: &PortConfig,
    device: &DeviceName,
) {
    let Some(address) = gateway.fixed_ips.iter().map(|fixed| fixed.ip_address).find(IpAddr::is_ipv4) else { return };
    let name = DevicePattern::Name(device.clone());
    let rules = state.ruleset_mut(Family::V4);
    let inside = Rule::to(Target::Accept)
        .unless(What::OutDevice(name.clone()))
        .unless(What::ConntrackState(conntrack_state::DNAT));
    rules.push(Table::Nat, "POSTROUTING", inside);
    if router.enable_snat {
        rules.push(Table::Nat, "snat", Rule::to(snat_to(config, address)).when(What::OutDevice(name.clone())));
        let mut save = save_scope();
        save.matches.insert(0, super::iptables::Match { not: false, what: What::OutDevice(name) });
        rules.push(Table::Mangle, "POSTROUTING", save);
    }
    let hairpin = Rule::to(snat_to(config, address))
        .unless(What::Mark(INGRESS_MARK, ROUTER_MARK_MASK))
        .when(What::ConntrackState(conntrack_state::DNAT));
    rules.push(Table::Nat, "snat", hairpin);
    rules.push(Table::Mangle, "mark", ingress_mark(device));
    centralised(state, config, router, device);
}

/// Floating IPs of ports that no host serves: addresses of the gateway device itself.
fn centralised(state: &mut NamespaceState, config: &HostConfig, router: &RouterConfig, device: &DeviceName) {
    for floating_ip in router.floating_ips.iter().filter(|one| one.dvr_snat_bound) {
        let Some(fixed) = floating_ip.fixed_ip_address else { continue };
        let outside = floating_ip.floating_ip_address;
        state.addresses.insert(Address { device: device.clone(), net: host_net(outside) });
        let inward = Rule::to(Target::Dnat(NatTarget::to(fixed))).when(What::Destination(host_net(outside)));
        let rules = state.ruleset_mut(Family::V4);
        for hook in [Hook::Prerouting, Hook::Output] {
            rules.chain(Table::Nat, ChainName::Own(own(hook.name()))).rules.push(inward.clone());
        }
        rules.push(Table::Nat, "float-snat", float_snat(config, fixed, outside));
    }
}

fn scopes(state: &mut NamespaceState, router: &RouterConfig, gateway: &PortConfig, device: &DeviceName) {
    let marks = ScopeMarks::of(router.snat_interfaces.iter().chain([gateway]));
    for family in Family::BOTH {
        for port in router.snat_interfaces.iter().filter(|port| has_family(port, family)) {
            let name = DeviceName::cut("sg-", port.id.as_str());
            scope_rules(state, family, &name, marks.mark(port, family), true);
        }
        if has_family(gateway, family) {
            // Whoever is translated may leave whatever its scope.
            let filtered = family == Family::V6 || !router.enable_snat;
            scope_rules(state, family, device, marks.mark(gateway, family), filtered);
        }
    }
}
