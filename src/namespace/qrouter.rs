//! The `qrouter-` namespace: the same on every host that has the router, but for the floating IPs served here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::allocation::{self, Exhausted};
use super::build::{self, Taken, own_traffic};
use super::iptables::{NatTarget, Rule, Ruleset, Table, Target, What, state as conntrack};
use super::redirect;
use super::set_order::order;
use super::skeleton::{self, jump, own};
use super::state::{Address, Attach, Link, NamespaceState, PolicyRule, Route};
use super::view::{FipLink, View, device, net_of};
use crate::deviation::Deviation;
use crate::name::DeviceName;
use crate::net::{
    FAST_PATH_EXIT_PRIORITY, FIP_TABLE, Family, IpNet, LINK_LOCAL_POOL, SCOPE_MASK, TABLE_MAIN, family_of, host_net,
};
use crate::router::PortConfig;

/// Owners of ports that get no neighbour entry: the router's own. Reference: `neutron-local-side`, 1.5.
const NO_NEIGHBOUR: [&str; 3] =
    ["network:router_interface", "network:ha_router_replicated_interface", "network:router_interface_distributed"];

/// Why there is no such namespace.
pub(super) enum Failure {
    /// A pool is empty.
    Exhausted(Exhausted),
    /// Two devices would have one name.
    Taken(Taken),
}

impl From<Exhausted> for Failure {
    fn from(error: Exhausted) -> Self {
        Self::Exhausted(error)
    }
}

impl From<Taken> for Failure {
    fn from(error: Taken) -> Self {
        Self::Taken(error)
    }
}

/// The namespace. `observed` is looked at for the priorities of floating IPs alone.
pub(super) fn state(view: &View<'_>, observed: Option<&NamespaceState>) -> Result<NamespaceState, Failure> {
    let mut state = build::namespace(rules(view, Family::V4), rules(view, Family::V6));
    let mut no_redirects = Vec::new();
    for port in view.interfaces() {
        let name = device("qr-", port);
        state.plug(&name, port)?;
        neighbours(view, port, &name, &mut state);
        if view.leaves_directly(port) {
            leave_directly(port, &mut state);
        } else if redirects(view, port, &name, &mut state) {
            no_redirects.push(format!("net.ipv4.conf.{name}.send_redirects"));
        }
    }
    if let Some(link) = view.link {
        attach_to_fip(view, link, &mut state)?;
    }
    for ((address, _), priority) in allocation::priorities(&steered(view), observed)? {
        let mut rule = PolicyRule::new(Family::of(address), priority, FIP_TABLE);
        rule.from = Some(host_net(address));
        state.rules.insert(rule);
    }
    state.extra_routes(&view.router.routes);
    if view.router.gw_port.is_some() {
        no_redirects.push("net.ipv4.conf.all.send_redirects".to_owned());
    }
    state.set_sysctls(no_redirects.into_iter().map(|key| (key, "0")));
    Ok(state)
}

/// Fixed addresses whose traffic goes to the fip namespace, and for how many floating IPs: the agent has a rule for each.
fn steered(view: &View<'_>) -> BTreeMap<IpAddr, usize> {
    let distributed = view.distributed().map(|(fip, fixed)| (fip.floating_ip_address, fixed));
    let mut floating: BTreeMap<IpAddr, IpAddr> = distributed.collect();
    if view.router.gw_port.is_some() && !view.config.options.deviations.has(Deviation::CentralisedSteering) {
        // When the agent begins it does not look at where a floating IP is served, and later it does not take this back.
        let all = view.router.floating_ips.iter();
        floating.extend(all.filter_map(|fip| Some((fip.floating_ip_address, fip.fixed_ip_address?))));
    }
    let mut fixed = BTreeMap::new();
    for address in floating.into_values() {
        *fixed.entry(address).or_default() += 1;
    }
    fixed
}

/// Permanent neighbours: an answer to a question asked from here would go to another host's replica of the port.
fn neighbours(view: &View<'_>, port: &PortConfig, name: &DeviceName, state: &mut NamespaceState) {
    for own in &port.fixed_ips {
        let subnet = &own.subnet_id;
        let ports = view.config.ports_by_subnet.get(subnet).into_iter().flatten();
        let ports = ports.filter(|port| !NO_NEIGHBOUR.contains(&port.device_owner.as_str()));
        let known = ports.map(|port| (port.mac, &port.fixed_ips));
        let snat = view.router.snat_interfaces.iter().map(|port| (port.mac_address, &port.fixed_ips));
        for (mac, fixed_ips) in known.chain(snat) {
            for fixed in fixed_ips.iter().filter(|fixed| &fixed.subnet_id == subnet) {
                state.neighbours.insert((name.clone(), fixed.ip_address), mac);
            }
        }
    }
}

/// A subnet in the gateway's address scope goes out by the fip namespace.
fn leave_directly(port: &PortConfig, state: &mut NamespaceState) {
    for subnet in port.subnets() {
        let cidr = subnet.cidr.trunc();
        let mut rule = PolicyRule::new(family_of(&cidr), FAST_PATH_EXIT_PRIORITY, FIP_TABLE);
        rule.from = Some(cidr);
        state.rules.insert(rule);
    }
}

/// Any other goes to the SNAT host. Returns whether there is a way.
fn redirects(view: &View<'_>, port: &PortConfig, name: &DeviceName, state: &mut NamespaceState) -> bool {
    let Some(snat) = view.router.gw_port.as_ref().and(view.snat_port_of(port)) else { return false };
    let nets: Vec<IpNet> = port.fixed_ips.iter().map(net_of).collect();
    let pairs = nets.iter().flat_map(|net| snat.fixed_ips.iter().map(move |hop| (*net, hop.ip_address)));
    let pairs = pairs.filter(|(net, hop)| family_of(net) == Family::of(*hop));
    // The first that is not on the port's link the kernel refuses, and with it the agent gives up.
    let reached = pairs.take_while(|(_, hop)| nets.iter().any(|net| net.contains(hop)));
    let mut any = false;
    for (net, next_hop) in reached {
        let family = family_of(&net);
        let table = redirect::index(&net);
        // Each address of the SNAT port replaces the one before, as in the agent.
        state.replace_route(Route::via(family.any(), next_hop, name.clone(), table));
        let mut rule = PolicyRule::new(family, table, table);
        rule.from = Some(net);
        state.rules.insert(rule);
        any = true;
    }
    any
}

/// The router's end of the link to the fip namespace.
fn attach_to_fip(view: &View<'_>, link: &FipLink<'_>, state: &mut NamespaceState) -> Result<(), Taken> {
    let deviations = view.config.options.deviations;
    let name = &link.rfp.device;
    let attach = Attach::Peer { namespace: link.fpr.namespace.clone(), device: link.fpr.device.clone() };
    state.add_link(name, Link { mac: link.rfp.mac, mtu: link.mtu, up: true, attach, odd: String::new() })?;
    let net = IpNet::from(ipnet::Ipv4Net::new_assert(link.rfp.address, 31));
    state.addresses.insert(Address::new(name.clone(), net));
    let other = IpAddr::from(link.fpr.address);
    state.neighbours.insert((name.clone(), other), link.fpr.mac);
    state.replace_route(Route::via(Family::V4.any(), other, name.clone(), FIP_TABLE));
    if !deviations.has(Deviation::Ipv6Redirect) {
        let other_v6 = link.fpr.mac.link_local().into();
        state.replace_route(Route::via(Family::V6.any(), other_v6, name.clone(), TABLE_MAIN));
    }
    if deviations.has(Deviation::IcmpErrors) && view.distributed().next().is_some() {
        state.rules.insert(own_traffic(FIP_TABLE));
    }
    Ok(())
}

fn rules(view: &View<'_>, family: Family) -> Ruleset {
    let options = view.config.options;
    let mut rules = skeleton::qrouter(family, options.comments, options.metadata_mark);
    for (device, scope) in view.qrouter_devices(family) {
        skeleton::scope_of_device(&mut rules, &device, view.mark(scope), false);
    }
    if family == Family::V4 && view.router.gw_port.is_some() {
        floating_ips(view, &mut rules);
        floating_ip_scopes(view, &mut rules);
    }
    if let (Family::V4, Some(link)) = (family, view.link) {
        guard_floating_ips(view, link, &mut rules);
    }
    if family == Family::V4 && options.deviations.has(Deviation::StrayMetadata) {
        rules.append(Table::Filter, own("FORWARD"), skeleton::stray_metadata());
    }
    if options.metadata {
        skeleton::serve_metadata(family, &mut rules, options.metadata_port, options.metadata_mark);
    }
    rules
}

/// Translation of floating IPs, and none of what stays inside. Without a link to the fip namespace the agent writes the
/// first, which nothing calls then.
fn floating_ips(view: &View<'_>, rules: &mut Ruleset) {
    let name = view.rfp();
    let rfp = || skeleton::device(&name);
    if view.link.is_some() && !view.router.floating_ips.is_empty() {
        rules.append(Table::Nat, own("snat"), jump("float-snat"));
        let inside =
            Rule::to(Target::Accept).unless(What::OutDevice(rfp())).unless(What::ConntrackState(conntrack::DNAT));
        rules.append(Table::Nat, own("POSTROUTING"), inside);
    }
    for (fip, fixed) in view.translated() {
        let floating = fip.floating_ip_address;
        let inward = Rule::to(Target::Dnat(NatTarget::to(fixed)))
            .when(What::Destination(host_net(floating)))
            .when(What::InDevice(rfp()));
        rules.append(Table::Nat, own("PREROUTING"), inward);
        let target = NatTarget { random_fully: view.config.options.random_fully, ..NatTarget::to(floating) };
        let outward = Rule::to(Target::Snat(target)).when(What::Source(host_net(fixed)));
        rules.append(Table::Nat, own("float-snat"), outward);
    }
}

/// Nothing leaves by the link that is not translated but should be.
fn guard_floating_ips(view: &View<'_>, link: &FipLink<'_>, rules: &mut Ruleset) {
    let deviations = view.config.options.deviations;
    if deviations.has(Deviation::DropInvalid) {
        for (_, fixed) in view.distributed() {
            let invalid = skeleton::drop_invalid(Some(host_net(fixed)), &link.rfp.device);
            rules.append(Table::Filter, own("FORWARD"), invalid);
        }
    }
    if deviations.has(Deviation::IcmpErrors) && view.distributed().next().is_some() {
        let own_address = ipnet::Ipv4Net::new_assert(LINK_LOCAL_POOL.0, LINK_LOCAL_POOL.1);
        let bare = Rule::to(Target::Drop)
            .when(What::Source(own_address.into()))
            .when(What::OutDevice(skeleton::device(&link.rfp.device)))
            .unless(What::ConntrackState(conntrack::SNAT | conntrack::DNAT));
        rules.append(Table::Filter, own("OUTPUT"), bare);
    }
}

/// A floating IP whose fixed address is in another scope than the gateway changes scope on its way. The agent writes this
/// down whether there is a link to the fip namespace or not.
fn floating_ip_scopes(view: &View<'_>, rules: &mut Ruleset) {
    let rfp = view.rfp();
    let outside = view.external_scope(Family::V4);
    let fips = view.router.floating_ips.iter().filter(|fip| fip.fixed_ip_address_scope.as_deref() != outside);
    let crossing: Vec<_> = fips.filter_map(|fip| Some((fip, fip.fixed_ip_address?))).collect();
    if crossing.is_empty() {
        return;
    }
    let mark = view.mark(outside);
    let devices = view.qrouter_devices(Family::V4).into_iter().filter(|(_, scope)| view.mark(*scope) == mark);
    let at_home: Vec<DeviceName> = devices.map(|(name, _)| name).collect();
    // The agent has them in a set.
    for text in order(at_home.iter().map(DeviceName::as_str)) {
        for name in at_home.iter().filter(|name| name.as_str() == text) {
            let leave = Rule::to(Target::Mark(mark, SCOPE_MASK)).when(What::OutDevice(skeleton::device(name)));
            rules.append(Table::Mangle, own("float-snat"), leave);
        }
    }
    for (fip, fixed) in crossing {
        let inside = view.mark(fip.fixed_ip_address_scope.as_deref());
        let enter = Rule::to(Target::Mark(inside, SCOPE_MASK))
            .when(What::Destination(host_net(fip.floating_ip_address)))
            .when(What::InDevice(skeleton::device(&rfp)));
        rules.append(Table::Mangle, own("floatingip"), enter);
        rules.append(Table::Mangle, own("FORWARD"), jump("float-snat").when(What::Source(host_net(fixed))));
    }
}
