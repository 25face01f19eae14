//! Pieces that the three kinds of namespace share.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::iptables::{DevicePattern, Rule, Table, Target, What};
use super::state::{Address, Attach, Link, NamespaceState, PolicyRule, Route};
use crate::name::DeviceName;
use crate::net::{Family, IpNet, SCOPE_ID_MIN, SCOPE_MASK, TABLE_MAIN};
use crate::router::{PortConfig, SubnetConfig};

/// MTU of a port whose dict has none. The real agent leaves the kernel's.
const MTU_UNTOLD: u32 = 1500;

/// The mark of address scope "none".
pub(super) const NO_SCOPE: u32 = SCOPE_ID_MIN << 16;

impl NamespaceState {
    /// A namespace as it is born, with what the agent sets in each at creation. Neutron: `namespaces.Namespace.create`.
    pub(super) fn born() -> Self {
        let mut state = Self { rules: PolicyRule::base().into(), ..Self::default() };
        for (key, value) in [
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv4.conf.all.forwarding", "1"),
            ("net.ipv4.conf.default.forwarding", "1"),
            ("net.ipv4.conf.lo.forwarding", "1"),
            ("net.ipv4.conf.all.accept_redirects", "0"),
            ("net.ipv4.conf.all.arp_ignore", "1"),
            ("net.ipv4.conf.all.arp_announce", "2"),
            ("net.ipv4.conf.all.promote_secondaries", "1"),
            ("net.ipv6.conf.all.forwarding", "1"),
            ("net.ipv6.conf.default.forwarding", "1"),
            ("net.ipv6.conf.lo.forwarding", "1"),
            ("net.netfilter.nf_conntrack_tcp_be_liberal", "1"),
        ] {
            state.sysctl(key, value);
        }
        state
    }

    /// Sets a sysctl.
    pub(super) fn sysctl(&mut self, key: &str, value: &str) {
        self.sysctls.insert(key.to_owned(), value.to_owned());
    }

    /// A device, up, with what follows from the namespace's forwarding.
    pub(super) fn device(&mut self, device: &DeviceName, link: Link) {
        self.sysctl(&format!("net.ipv4.conf.{device}.forwarding"), "1");
        self.sysctl(&format!("net.ipv6.conf.{device}.forwarding"), "1");
        self.links.insert(device.clone(), link);
    }

    /// A port's device with its addresses and the routes to the other subnets of its network.
    pub(super) fn port(&mut self, device: &DeviceName, port: &PortConfig) {
        let mtu = port.mtu.unwrap_or(MTU_UNTOLD);
        let attach = Attach::Network(port.network_id.clone());
        self.device(device, Link { mac: port.mac_address, mtu, up: true, attach });
        for net in addresses(port) {
            self.addresses.insert(Address { device: device.clone(), net });
        }
        for subnet in &port.extra_subnets {
            self.routes.insert(Route::on_link(subnet.cidr.trunc(), device.clone(), TABLE_MAIN));
        }
    }
}

/// A port's addresses with their lengths; a missing length means a host's.
pub(super) fn addresses(port: &PortConfig) -> impl Iterator<Item = IpNet> {
    port.fixed_ips.iter().filter_map(|fixed| {
        let length = fixed.prefixlen.unwrap_or_else(|| Family::of(fixed.ip_address).bits());
        IpNet::new(fixed.ip_address, length).ok()
    })
}

/// Gateways of a port's subnets with the subnet each.
pub(super) fn gateways(port: &PortConfig) -> impl Iterator<Item = (IpAddr, &SubnetConfig)> {
    port.subnets.iter().filter_map(|subnet| subnet.gateway_ip.map(|gateway| (gateway, subnet)))
}

/// The device behind which a next hop lies, of those that have an address on its prefix.
pub(super) fn device_towards(state: &NamespaceState, next_hop: IpAddr) -> Option<DeviceName> {
    state.addresses.iter().find(|address| address.net.contains(&next_hop)).map(|address| address.device.clone())
}

/// Marks of address scopes in one router: "none" has the first id, others follow in order of their names.
pub(super) struct ScopeMarks<'a>(BTreeMap<&'a str, u32>);

impl<'a> ScopeMarks<'a> {
    pub(super) fn of(ports: impl Iterator<Item = &'a PortConfig>) -> Self {
        let scopes: std::collections::BTreeSet<&str> = ports
            .filter_map(|port| port.address_scopes.as_ref())
            .flat_map(|scopes| [scopes.v4.as_deref(), scopes.v6.as_deref()])
            .flatten()
            .collect();
        Self(
            scopes
                .into_iter()
                .zip(SCOPE_ID_MIN + 1..crate::net::SCOPE_ID_END)
                .map(|(name, id)| (name, id << 16))
                .collect(),
        )
    }

    pub(super) fn mark(&self, port: &PortConfig, family: Family) -> u32 {
        let scope = port.address_scopes.as_ref().and_then(|scopes| match family {
            Family::V4 => scopes.v4.as_deref(),
            Family::V6 => scopes.v6.as_deref(),
        });
        scope.and_then(|name| self.0.get(name).copied()).unwrap_or(NO_SCOPE)
    }
}

/// The address scope of what comes in by a device is marked, and what leaves by it must have the same.
/// Neutron: `router_info.RouterInfo._add_address_scope_mark`.
pub(super) fn scope_rules(state: &mut NamespaceState, family: Family, device: &DeviceName, mark: u32, filtered: bool) {
    let name = DevicePattern::Name(device.clone());
    let set = Rule::to(Target::Mark(mark, SCOPE_MASK)).when(What::InDevice(name.clone()));
    let drop = Rule::to(Target::Drop).when(What::OutDevice(name)).unless(What::Mark(mark, SCOPE_MASK));
    let rules = state.ruleset_mut(family);
    rules.push(Table::Mangle, "scope", set);
    if filtered {
        rules.push(Table::Filter, "scope", drop);
    }
}

/// A device is looked at for a family only if it has an address of it.
pub(super) fn has_family(port: &PortConfig, family: Family) -> bool {
    port.fixed_ips.iter().any(|fixed| Family::of(fixed.ip_address) == family)
}
