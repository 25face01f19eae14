//! Creating objects.

use std::net::IpAddr;

use super::address::{behind_prefix, usable};
use super::event::Object;
use super::intent::{Intent, Rejected, RejectedKind};
use super::resource::{Host, Ipv6Mode, Network, Node, NodePlace, Router, Subnet};
use super::server_ports::is_automatic;
use crate::name::{HostName, Name};
use crate::net::{Family, IpNet, family_of};

/// First number past the VXLAN network identifiers, which have 24 bits.
const VNI_END: u32 = 1 << 24;
/// Bits of a prefix that leaves 64 for what is made of a MAC (RFC 4862, RFC 2464).
const EUI64_PREFIX: u8 = 64;

pub(super) fn invalid(reason: impl Into<String>) -> Rejected {
    Rejected::new(RejectedKind::InvalidInput, reason)
}

impl Intent {
    pub(super) fn create(&mut self, object: &Object) -> Result<(), Rejected> {
        match object {
            Object::Host(name, host) => self.create_host(name, host),
            Object::Network(name, network) => self.create_network(name, network),
            Object::Subnet(name, subnet) => self.create_subnet(name, subnet),
            Object::Router(name, router) => self.create_router(name, router),
            Object::Port(name, port) => self.create_port(name, port),
            Object::Instance(name, instance) => self.create_instance(name, instance),
            Object::FloatingIp(address, floating_ip) => {
                self.allocate_floating_ip(*address)?;
                match &floating_ip.target {
                    Some((port, fixed_address)) => self.associate(*address, port, Some(*fixed_address)),
                    None => Ok(()),
                }
            }
            Object::Outside(name, node) => self.create_node(name, node),
            Object::Settings(settings) => {
                self.settings = *settings;
                Ok(())
            }
            Object::AddressScope(name) => {
                self.check_unused(name.as_str())?;
                self.address_scopes.insert(name.clone());
                Ok(())
            }
        }
    }

    /// Whether an object of any section has the name.
    pub(super) fn is_taken(&self, name: &str) -> bool {
        self.hosts.contains_key(name)
            || self.networks.contains_key(name)
            || self.subnets.contains_key(name)
            || self.routers.contains_key(name)
            || self.ports.contains_key(name)
            || self.instances.contains_key(name)
            || self.outside.contains_key(name)
            || self.address_scopes.contains(name)
    }

    pub(super) fn check_unused(&self, name: &str) -> Result<(), Rejected> {
        if self.is_taken(name) { Err(invalid(format!("the name {name} is taken"))) } else { Ok(()) }
    }

    fn create_host(&mut self, name: &HostName, host: &Host) -> Result<(), Rejected> {
        self.check_unused(name.as_str())?;
        self.host_order.push(name.clone());
        self.hosts.insert(name.clone(), host.clone());
        Ok(())
    }

    fn create_network(&mut self, name: &Name, network: &Network) -> Result<(), Rejected> {
        self.check_unused(name.as_str())?;
        let vni = (1..VNI_END).find(|vni| self.networks.values().all(|other| other.vni != *vni));
        let vni = vni.ok_or_else(|| invalid("no VXLAN network identifier is left"))?;
        self.networks.insert(name.clone(), Network { vni, ..network.clone() });
        Ok(())
    }

    /// Its MTU and administrative state can change.
    pub(super) fn update_network(&mut self, name: &Name, network: &Network) -> Result<(), Rejected> {
        let before = self.known_network(name)?;
        if (before.external, before.vni) != (network.external, network.vni) {
            return Err(invalid(format!("network {name} stays what it is, external or not")));
        }
        self.networks.insert(name.clone(), network.clone());
        Ok(())
    }

    fn create_subnet(&mut self, name: &Name, subnet: &Subnet) -> Result<(), Rejected> {
        self.check_unused(name.as_str())?;
        self.known_network(&subnet.network)?;
        let cidr = subnet.cidr;
        if cidr.trunc() != cidr {
            return Err(invalid(format!("the cidr {cidr} of subnet {name} has host bits: write {}", cidr.trunc())));
        }
        if let Some((other, found)) = self.subnets_of(&subnet.network).find(|(_, other)| overlap(&other.cidr, &cidr)) {
            let reason = format!("the cidr {cidr} of subnet {name} overlaps with {} of subnet {other}", found.cidr);
            return Err(invalid(reason));
        }
        self.check_gateway_place(name, subnet)?;
        self.check_address_scope(name, subnet)?;
        check_ipv6_mode(name, subnet)?;
        self.check_gateway_overlap(name, subnet)?;
        let whole = usable(&cidr);
        let pools = if subnet.pools.is_empty() { vec![whole] } else { subnet.pools.clone() };
        check_pools(name, &cidr, &pools)?;
        self.subnets.insert(name.clone(), Subnet { pools, ..subnet.clone() });
        self.subnet_order.push(name.clone());
        Ok(())
    }

    /// A new subnet of an external network must not overlap with the interfaces of a router that has its gateway there.
    fn check_gateway_overlap(&self, name: &Name, subnet: &Subnet) -> Result<(), Rejected> {
        let on_network = |r: &Router| r.gateway.as_ref().is_some_and(|gateway| gateway.network == subnet.network);
        for (router_name, router) in self.routers.iter().filter(|(_, router)| on_network(router)) {
            for port in self.router_ports(router) {
                if let Some((other, found)) = self.subnets_at(&port).find(|(_, s)| overlap(&s.cidr, &subnet.cidr)) {
                    let reason = format!(
                        "the cidr {} of subnet {name} overlaps with {} of subnet {other} on router {router_name}",
                        subnet.cidr, found.cidr
                    );
                    return Err(Rejected::new(RejectedKind::BadRequest, reason));
                }
            }
        }
        Ok(())
    }

    fn create_router(&mut self, name: &Name, router: &Router) -> Result<(), Rejected> {
        self.check_unused(name.as_str())?;
        if !router.interfaces.is_empty() || router.gateway.is_some() {
            return Err(invalid(format!("router {name} is created bare: attach interfaces and set the gateway after")));
        }
        self.check_routes(name, router)?;
        self.routers.insert(name.clone(), router.clone());
        Ok(())
    }

    fn create_node(&mut self, name: &Name, node: &Node) -> Result<(), Rejected> {
        if let NodePlace::GatewayOf(network) = &node.place {
            match self.upstream_of(network).map(|(upstream, _)| upstream.clone()) {
                Some(upstream) if is_automatic(&upstream, network) => {
                    self.outside.remove(&upstream);
                }
                Some(upstream) => {
                    return Err(invalid(format!("network {network} has an upstream router already: {upstream}")));
                }
                None => {}
            }
        }
        self.check_unused(name.as_str())?;
        self.check_node(name, node)?;
        self.outside.insert(name.clone(), node.clone());
        Ok(())
    }

    /// Replaces a machine outside: its addresses, routes, and what it owns besides; not its place.
    pub(super) fn update_node(&mut self, name: &Name, node: &Node) -> Result<(), Rejected> {
        let before = self.known_node(name)?;
        if before.place != node.place {
            return Err(invalid(format!("outside node {name} cannot move: delete it and create it anew")));
        }
        self.outside.remove(name);
        self.check_node(name, node)?;
        self.outside.insert(name.clone(), node.clone());
        Ok(())
    }

    fn check_node(&self, name: &Name, node: &Node) -> Result<(), Rejected> {
        let (NodePlace::On(network) | NodePlace::Behind(network) | NodePlace::GatewayOf(network)) = &node.place;
        if !self.known_network(network)?.external {
            return Err(invalid(format!(
                "network {network} is not external, so outside node {name} cannot stand there"
            )));
        }
        match &node.place {
            NodePlace::GatewayOf(_) => Ok(()),
            NodePlace::On(_) | NodePlace::Behind(_) if node.addresses.is_empty() => {
                Err(invalid(format!("outside node {name} needs an address")))
            }
            NodePlace::On(_) => self.claim(network, &node.addresses),
            NodePlace::Behind(_) => node.addresses.iter().try_for_each(|address| self.check_behind(network, *address)),
        }
    }

    /// A server's address behind the upstream router: in a prefix of its own, of which the router has the first address.
    fn check_behind(&self, network: &Name, address: IpAddr) -> Result<(), Rejected> {
        let prefix = behind_prefix(address);
        if let Some((other, found)) = self.subnets_of(network).find(|(_, subnet)| overlap(&subnet.cidr, &prefix)) {
            let reason = format!(
                "{address} is not behind network {network}: its prefix {} overlaps with {} of subnet {other}",
                prefix.trunc(),
                found.cidr
            );
            return Err(invalid(reason));
        }
        let (first, last) = usable(&prefix);
        if address <= first || address > last {
            let reason =
                format!("{address} is no server's address: {first} is the upstream router's, the last is {last}");
            return Err(invalid(reason));
        }
        match self.outside.iter().find(|(_, node)| node.addresses.contains(&address)) {
            Some((other, _)) => {
                let reason = format!("{address} belongs to outside node {other} already");
                Err(Rejected::new(RejectedKind::IpAddressInUse, reason))
            }
            None => Ok(()),
        }
    }
}

/// Modes are for IPv6, and addresses made of MACs need 64 bits for them. Neutron: `_validate_ipv6_attributes`.
fn check_ipv6_mode(name: &Name, subnet: &Subnet) -> Result<(), Rejected> {
    let cidr = subnet.cidr;
    if subnet.ipv6_mode != Ipv6Mode::Static && family_of(&cidr) == Family::V4 {
        return Err(invalid(format!("subnet {name} has the ipv6_mode of an IPv6 subnet, but its cidr is {cidr}")));
    }
    if subnet.ipv6_mode.is_automatic() && cidr.prefix_len() != EUI64_PREFIX {
        return Err(invalid(format!(
            "addresses on subnet {name} are made of MACs, which needs a prefix of /{EUI64_PREFIX}, not {cidr}"
        )));
    }
    Ok(())
}

/// Whether two prefixes have an address in common.
pub(super) fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

fn check_pools(name: &Name, cidr: &IpNet, pools: &[(IpAddr, IpAddr)]) -> Result<(), Rejected> {
    for (index, (first, last)) in pools.iter().enumerate() {
        let pool = format!("the allocation pool {first}-{last} of subnet {name}");
        if !cidr.contains(first) || !cidr.contains(last) {
            return Err(invalid(format!("{pool} lies outside its cidr {cidr}")));
        }
        if first > last {
            return Err(invalid(format!("{pool} ends before it begins")));
        }
        if pools.iter().take(index).any(|(other_first, other_last)| first <= other_last && other_first <= last) {
            return Err(invalid(format!("{pool} overlaps with another")));
        }
    }
    Ok(())
}
