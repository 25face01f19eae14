//! The `snat-` namespace: on the host of the gateway alone.

use std::net::IpAddr;

use super::build::{self, Taken};
use super::iptables::{NatTarget, Rule, Ruleset, Table, Target, What, state as conntrack};
use super::skeleton::{self, own};
use super::state::{Address, NamespaceState, Route};
use super::view::{View, device};
use crate::deviation::Deviation;
use crate::name::DeviceName;
use crate::net::{Family, ROUTER_MARK_MASK, SCOPE_MASK, TABLE_MAIN, family_of, host_net};
use crate::router::PortConfig;

/// So much of a port forwarding's id is in its chain's name. Neutron: `MAX_IPTABLES_CHAIN_LEN_WRAP` without `pf-`.
const CHAIN_ID: usize = 8;

/// The namespace of a router with this gateway port. `observed` is looked at for what the kernel learned of the gateway's
/// network by itself.
pub(super) fn state(
    view: &View<'_>,
    gateway: &PortConfig,
    observed: Option<&NamespaceState>,
) -> Result<NamespaceState, Taken> {
    let qg = device("qg-", gateway);
    let mut state = build::namespace(rules_v4(view, gateway, &qg), rules_v6(view));
    for port in &view.router.snat_interfaces {
        state.plug(&device("sg-", port), port)?;
    }
    state.plug(&qg, gateway)?;
    // The agent looks for a floating IP's device by way of the link to the fip namespace, and where the host's own port is
    // not fit for one, finds none.
    let unfit = view.link.is_none() && view.router.agent_gateways.iter().any(|p| p.network_id == gateway.network_id);
    let centralised = view.centralised().filter(|_| !unfit);
    state.addresses.extend(centralised.map(|(floating, _)| Address::new(qg.clone(), host_net(floating))));
    let forwarded = view.router.port_forwardings.iter().map(|forwarding| forwarding.floating_ip_address);
    state.addresses.extend(forwarded.map(|floating| Address::new(qg.clone(), host_net(floating))));
    for subnet in &gateway.extra_subnets {
        state.replace_route(Route::on_link(subnet.cidr.trunc(), qg.clone(), TABLE_MAIN));
    }
    let mut knows_v6 = false;
    for subnet in gateway.subnets() {
        if let Some(router) = subnet.gateway_ip {
            state.route_by_gateway(router, &qg, &subnet.cidr, TABLE_MAIN);
            knows_v6 |= family_of(&subnet.cidr) == Family::V6;
        }
    }
    if let Some(router) = view.config.options.ipv6_gateway.filter(|_| !knows_v6) {
        state.replace_route(Route::via(Family::V6.any(), router.into(), qg.clone(), TABLE_MAIN));
        knows_v6 = true;
    }
    state.extra_routes(&view.router.routes);
    // Advertisements are believed (although the namespace forwards) only where no IPv6 gateway is known.
    let accept_ra = if knows_v6 { "0" } else { "2" };
    if let Some(observed) = observed.filter(|_| !knows_v6) {
        state.keep_advertised(observed, &qg);
    }
    state.set_sysctls([
        ("net.ipv4.ip_nonlocal_bind".to_owned(), "1"),
        ("net.netfilter.nf_conntrack_tcp_loose".to_owned(), "0"),
        (format!("net.ipv6.conf.{qg}.accept_ra"), accept_ra),
    ]);
    Ok(state)
}

fn rules_v4(view: &View<'_>, gateway: &PortConfig, qg: &DeviceName) -> Ruleset {
    let mut rules = skeleton::snat(Family::V4, view.config.options.comments);
    let translated = view.router.enable_snat;
    for (name, scope) in view.snat_devices(Family::V4) {
        // What leaves by the gateway is translated, hence at home in any scope.
        let open = translated && &name == qg;
        skeleton::scope_of_device(&mut rules, &name, view.mark(scope), open);
    }
    if translated {
        let remember = Rule::to(Target::SaveMark(SCOPE_MASK, SCOPE_MASK))
            .when(What::OutDevice(skeleton::device(qg)))
            .when(What::ConnMark(0, SCOPE_MASK));
        rules.append(Table::Mangle, own("POSTROUTING"), remember);
    }
    if view.config.options.deviations.has(Deviation::DropInvalid) {
        drop_invalid(view, gateway, qg, &mut rules);
    }
    if view.config.options.deviations.has(Deviation::RefuseInbound) && translates(view, gateway) {
        refuse_inbound(view, qg, &mut rules);
    }
    gateway_nat(view, gateway, qg, &mut rules);
    for (floating, fixed) in view.centralised() {
        let inward = || Rule::to(Target::Dnat(NatTarget::to(fixed))).when(What::Destination(host_net(floating)));
        rules.append(Table::Nat, own("PREROUTING"), inward());
        rules.append(Table::Nat, own("OUTPUT"), inward());
        let outward = Rule::to(Target::Snat(to(view, floating))).when(What::Source(host_net(fixed)));
        rules.append(Table::Nat, own("float-snat"), outward);
    }
    port_forwardings(view, &mut rules);
    rules
}

/// A chain for each port forwarding, called by one for all. Reference: `neutron-snat-side`, 9.6.
fn port_forwardings(view: &View<'_>, rules: &mut Ruleset) {
    const ALL: &str = "fip-pf";
    for (index, forwarding) in view.router.port_forwardings.iter().enumerate() {
        if index == 0 {
            rules.append(Table::Nat, own("PREROUTING"), skeleton::jump(ALL));
        }
        let chain = format!("pf-{}", forwarding.id.as_str().chars().take(CHAIN_ID).collect::<String>());
        rules.append(Table::Nat, own(ALL), skeleton::jump(&chain));
        let (outside, inside) = (forwarding.external_ports, forwarding.internal_ports);
        let base = (!outside.is_single() && !inside.is_single()).then_some(outside.first);
        let inside = NatTarget { ports: Some(inside), base, ..NatTarget::to(forwarding.internal_ip_address) };
        let inward = Rule::to(Target::Dnat(inside))
            .when(What::Destination(host_net(forwarding.floating_ip_address)))
            .when(What::Protocol(forwarding.protocol))
            .when(What::DestinationPort(forwarding.protocol, outside));
        rules.append(Table::Nat, own(&chain), inward);
    }
}

/// What should be translated and is of no known connection does not leave. Without source NAT that is only what comes from
/// floating IPs; with it, all but what is at home outside, being in the gateway's address scope.
fn drop_invalid(view: &View<'_>, gateway: &PortConfig, qg: &DeviceName, rules: &mut Ruleset) {
    if translates(view, gateway) {
        let invalid = skeleton::drop_invalid(None, qg);
        let rule = match view.external_scope(Family::V4) {
            None => invalid,
            scope @ Some(_) => invalid.unless(What::Mark(view.mark(scope), SCOPE_MASK)),
        };
        rules.append(Table::Filter, own("FORWARD"), rule);
    } else {
        for (_, fixed) in view.centralised() {
            rules.append(Table::Filter, own("FORWARD"), skeleton::drop_invalid(Some(host_net(fixed)), qg));
        }
    }
}

/// Whether anything is translated to the gateway's own address.
fn translates(view: &View<'_>, gateway: &PortConfig) -> bool {
    view.router.enable_snat && gateway.fixed_ips.iter().any(|fixed| fixed.ip_address.is_ipv4())
}

/// What is translated on its way out is not reached from outside but by a floating IP: the answers to what nobody asked for
/// would leave as they are. Not so what is at home outside, being in the gateway's address scope.
fn refuse_inbound(view: &View<'_>, qg: &DeviceName, rules: &mut Ruleset) {
    let outside = view.external_scope(Family::V4);
    let at_home = |scope: Option<&str>| scope.is_some() && scope == outside;
    let inside = view.snat_devices(Family::V4).into_iter().filter(|(name, scope)| name != qg && !at_home(*scope));
    for (sg, _) in inside {
        rules.append(Table::Filter, own("FORWARD"), skeleton::refuse_inbound(qg, &sg));
    }
}

fn to(view: &View<'_>, address: IpAddr) -> NatTarget {
    NatTarget { random_fully: view.config.options.random_fully, ..NatTarget::to(address) }
}

/// Translation to the gateway's first IPv4 address; none if it has none, but even then what is at home outside is let by.
fn gateway_nat(view: &View<'_>, gateway: &PortConfig, qg: &DeviceName, rules: &mut Ruleset) {
    let outside = || skeleton::device(qg);
    if let (true, scope @ Some(_)) = (view.router.enable_snat, view.external_scope(Family::V4)) {
        let at_home = Rule::to(Target::Accept)
            .when(What::OutDevice(outside()))
            .when(What::ConnMark(view.mark(scope), SCOPE_MASK));
        rules.append(Table::Nat, own("snat"), at_home);
    }
    let mut addresses = gateway.fixed_ips.iter().map(|fixed| fixed.ip_address);
    let Some(address) = addresses.find(IpAddr::is_ipv4) else { return };
    let ingress = view.config.options.ingress_mark;
    let mark = Rule::to(Target::Mark(ingress, ROUTER_MARK_MASK)).when(What::InDevice(outside()));
    rules.append(Table::Mangle, own("mark"), mark);
    let inside =
        Rule::to(Target::Accept).unless(What::OutDevice(outside())).unless(What::ConntrackState(conntrack::DNAT));
    rules.append(Table::Nat, own("POSTROUTING"), inside);
    if view.router.enable_snat {
        let leave = Rule::to(Target::Snat(to(view, address))).when(What::OutDevice(outside()));
        rules.append(Table::Nat, own("snat"), leave);
    }
    // An instance that reaches a centralised floating IP: its answer has to come back through here.
    let hairpin = Rule::to(Target::Snat(to(view, address)))
        .unless(What::Mark(ingress, ROUTER_MARK_MASK))
        .when(What::ConntrackState(conntrack::DNAT));
    rules.append(Table::Nat, own("snat"), hairpin);
}

fn rules_v6(view: &View<'_>) -> Ruleset {
    let mut rules = skeleton::snat(Family::V6, view.config.options.comments);
    for (name, scope) in view.snat_devices(Family::V6) {
        skeleton::scope_of_device(&mut rules, &name, view.mark(scope), false);
    }
    rules
}
