//! Questions to what is in force. Nothing here changes anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use super::intent::{Intent, Rejected, RejectedKind};
use super::resource::{AgentMode, Instance, Nested, Network, Node, NodePlace, Port, Router, ServerPort, Subnet};
use crate::name::{HostName, Name};
use crate::net::{IpNet, Mac};

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// An instance.
    Instance(Name),
    /// A port that no instance and no router has.
    Port(Name),
    /// A router's interface: router and interface.
    Interface(Name, Name),
    /// A router's gateway.
    Gateway(Name),
    /// A router's SNAT port: router and interface.
    SnatPort(Name, Name),
    /// A host's floating-IP agent gateway: external network and host.
    AgentGateway(Name, HostName),
    /// A floating IP.
    FloatingIp(IpAddr),
    /// A machine outside, or an upstream router.
    Outside(Name),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(name) => write!(f, "instance {name}"),
            Self::Port(name) => write!(f, "port {name}"),
            Self::Interface(router, interface) => write!(f, "interface {interface} of router {router}"),
            Self::Gateway(router) => write!(f, "the gateway of router {router}"),
            Self::SnatPort(router, interface) => write!(f, "the SNAT port of router {router} on {interface}"),
            Self::AgentGateway(network, host) => write!(f, "the floating-IP agent gateway of {network} on {host}"),
            Self::FloatingIp(address) => write!(f, "floating IP {address}"),
            Self::Outside(name) => write!(f, "outside node {name}"),
        }
    }
}

/// A router's internal port, made of a subnet (its gateway address) or of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterPort<'a> {
    /// The subnet or port; it is the port's id too.
    pub name: &'a Name,
    /// Its network.
    pub network: &'a Name,
    /// MAC.
    pub mac: Mac,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

fn unknown(what: &str, name: impl fmt::Display) -> Rejected {
    Rejected::new(RejectedKind::InvalidInput, format!("there is no {what} {name}"))
}

impl Intent {
    pub(super) fn known_host(&self, name: &HostName) -> Result<AgentMode, Rejected> {
        self.hosts.get(name).map(|host| host.mode).ok_or_else(|| unknown("host", name))
    }

    pub(super) fn known_network(&self, name: &Name) -> Result<&Network, Rejected> {
        self.networks.get(name).ok_or_else(|| unknown("network", name))
    }

    pub(super) fn known_subnet(&self, name: &Name) -> Result<&Subnet, Rejected> {
        self.subnets.get(name).ok_or_else(|| unknown("subnet", name))
    }

    pub(super) fn known_router(&self, name: &Name) -> Result<&Router, Rejected> {
        self.routers.get(name).ok_or_else(|| unknown("router", name))
    }

    pub(super) fn known_router_mut(&mut self, name: &Name) -> Result<&mut Router, Rejected> {
        self.routers.get_mut(name).ok_or_else(|| unknown("router", name))
    }

    pub(super) fn known_port(&self, name: &Name) -> Result<&Port, Rejected> {
        self.ports.get(name).ok_or_else(|| unknown("port", name))
    }

    pub(super) fn known_instance(&self, name: &Name) -> Result<&Instance, Rejected> {
        self.instances.get(name).ok_or_else(|| unknown("instance", name))
    }

    pub(super) fn known_node(&self, name: &Name) -> Result<&Node, Rejected> {
        self.outside.get(name).ok_or_else(|| unknown("outside node", name))
    }

    /// The network's subnets, in order of creation.
    pub fn subnets_of<'a>(&'a self, network: &'a Name) -> impl Iterator<Item = (&'a Name, &'a Subnet)> {
        self.subnet_order
            .iter()
            .filter_map(|name| self.subnets.get_key_value(name))
            .filter(move |(_, subnet)| subnet.network == *network)
    }

    /// The network's subnet that an address lies in.
    pub fn subnet_at(&self, network: &Name, address: IpAddr) -> Option<(&Name, &Subnet)> {
        self.subnet_order
            .iter()
            .filter_map(|name| self.subnets.get_key_value(name))
            .find(|(_, subnet)| subnet.network == *network && subnet.cidr.contains(&address))
    }

    /// An address with the prefix length of its subnet on that network; alone if it lies in none.
    pub fn with_prefix(&self, network: &Name, address: IpAddr) -> IpNet {
        self.subnet_at(network, address)
            .and_then(|(_, subnet)| IpNet::new(address, subnet.cidr.prefix_len()).ok())
            .unwrap_or_else(|| IpNet::from(address))
    }

    /// The external network that has an address.
    pub fn external_network_of(&self, address: IpAddr) -> Option<&Name> {
        self.subnet_order
            .iter()
            .filter_map(|name| self.subnets.get(name))
            .filter(|subnet| subnet.cidr.contains(&address))
            .map(|subnet| &subnet.network)
            .find(|network| self.networks.get(*network).is_some_and(|n| n.external))
    }

    /// A router's internal port by the name of its subnet or port.
    pub fn router_port<'a>(&'a self, interface: &Name) -> Option<RouterPort<'a>> {
        if let Some((name, subnet)) = self.subnets.get_key_value(interface) {
            let addresses = subnet.gateway.into_iter().collect();
            return Some(RouterPort {
                name,
                network: &subnet.network,
                mac: Mac::derived("qr", name.as_str()),
                addresses,
            });
        }
        let (name, port) = self.ports.get_key_value(interface)?;
        Some(RouterPort { name, network: &port.network, mac: port.mac, addresses: port.addresses.clone() })
    }

    /// A router's internal ports, in order of attachment.
    pub fn router_ports<'a>(&'a self, router: &'a Router) -> impl Iterator<Item = RouterPort<'a>> {
        router.interfaces.iter().filter_map(|interface| self.router_port(interface))
    }

    /// The subnets that a router port has an address on.
    pub(super) fn subnets_at<'a>(&'a self, port: &RouterPort<'a>) -> impl Iterator<Item = (&'a Name, &'a Subnet)> {
        port.addresses
            .iter()
            .filter_map(|address| self.subnet_at(port.network, *address))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// The instance that has a port.
    pub fn instance_of(&self, port: &Name) -> Option<(&Name, &Instance)> {
        self.instances.iter().find(|(_, instance)| instance.ports.contains(port))
    }

    /// The router that has an interface.
    pub fn router_with(&self, interface: &Name) -> Option<&Name> {
        self.routers.iter().find(|(_, router)| router.interfaces.contains(interface)).map(|(name, _)| name)
    }

    /// Where an instance runs, itself or the one that it is behind; none before that is booted.
    pub fn host_of(&self, instance: &Name) -> Option<&HostName> {
        let found = self.instances.get(instance)?;
        match &found.behind {
            None => found.host.as_ref(),
            Some(link) => self.instances.get(&link.instance)?.host.as_ref(),
        }
    }

    /// An instance's fixed addresses, those of its ports or on its private link; none if there is no such instance.
    pub fn fixed_addresses(&self, instance: &Name) -> Vec<IpAddr> {
        let Some(found) = self.instances.get(instance) else { return Vec::new() };
        let ports = found.ports.iter().filter_map(|port| self.ports.get(port));
        let on_link = found.behind.iter().flat_map(|link| link.addresses.iter().map(IpNet::addr));
        ports.flat_map(|port| port.addresses.iter().copied()).chain(on_link).collect()
    }

    /// The instances on private links behind an instance, each on one of its own.
    pub fn nested_in<'a>(&'a self, instance: &'a Name) -> impl Iterator<Item = (&'a Name, &'a Nested)> {
        self.instances
            .iter()
            .filter_map(|(name, found)| Some((name, found.behind.as_ref()?)))
            .filter(move |(_, link)| link.instance == *instance)
    }

    /// Where a port is bound: the host of its instance.
    pub fn host_of_port(&self, port: &Name) -> Option<&HostName> {
        self.instance_of(port).and_then(|(_, instance)| instance.host.as_ref())
    }

    /// The host that a live migration is to bring a port to.
    pub fn migration_of_port(&self, port: &Name) -> Option<&HostName> {
        self.instance_of(port).and_then(|(_, instance)| instance.migrating_to.as_ref())
    }

    /// The routers that a host's agent is told of: those whose gateway is scheduled to it, those with an interface on a
    /// subnet where an instance of the host, or one that is migrated to it, has an address, and every router that shares a network with one of these; of all
    /// these, those that are up.
    /// Neutron: `_get_router_ids_for_agent`.
    pub fn routers_on(&self, host: &HostName) -> BTreeSet<&Name> {
        let serviced: BTreeSet<&Name> = self
            .instances
            .values()
            .filter(|instance| [&instance.host, &instance.migrating_to].contains(&&Some(host.clone())))
            .flat_map(|instance| instance.ports.iter().filter_map(|port| self.ports.get(port)))
            .flat_map(|port| port.addresses.iter().filter_map(|address| self.subnet_at(&port.network, *address)))
            .map(|(name, _)| name)
            .collect();
        let (own, others): (Vec<_>, Vec<_>) = self.routers.iter().partition(|(_, router)| {
            router.gateway.as_ref().is_some_and(|gateway| gateway.host.as_ref() == Some(host))
                || self.router_ports(router).any(|p| self.subnets_at(&p).any(|(name, _)| serviced.contains(name)))
        });
        let networks: BTreeSet<&Name> =
            own.iter().flat_map(|(_, router)| self.router_ports(router)).map(|port| port.network).collect();
        let connected = others.iter().filter(|(_, r)| self.router_ports(r).any(|port| networks.contains(port.network)));
        own.iter().chain(connected).filter(|(_, router)| !router.admin_down).map(|(name, _)| *name).collect()
    }

    /// The router that carries a floating IP: it has an interface on the fixed address's subnet and its gateway on the
    /// floating IP's network. Of several, the one that owns the subnet's gateway address, else the first by name.
    pub fn router_of(&self, floating_ip: IpAddr) -> Option<&Name> {
        let Some((port, fixed)) = self.floating_ips.get(&floating_ip)?.target.as_ref() else {
            return self.forwarding_router(floating_ip);
        };
        self.router_between(&self.ports.get(port)?.network, *fixed, self.external_network_of(floating_ip)?)
    }

    /// As [`Self::router_of`], for a fixed address on `network` and the external network.
    pub(super) fn router_between(&self, network: &Name, fixed: IpAddr, external: &Name) -> Option<&Name> {
        let (subnet_name, subnet) = self.subnet_at(network, fixed)?;
        let candidates = || {
            self.routers.iter().filter(|(_, router)| {
                router.gateway.as_ref().is_some_and(|gateway| gateway.network == *external)
                    && self.router_ports(router).any(|p| self.subnets_at(&p).any(|(name, _)| name == subnet_name))
            })
        };
        let owns_gateway =
            |router: &Router| self.router_ports(router).any(|p| p.addresses.iter().any(|a| subnet.gateway == Some(*a)));
        candidates().find(|(_, router)| owns_gateway(router)).or_else(|| candidates().next()).map(|(name, _)| name)
    }

    /// Whether a floating IP in use is served by the gateway host instead of the instance's own: it forwards ports, or its port
    /// is unbound, or bound to a host without external network.
    pub fn served_centrally(&self, floating_ip: IpAddr) -> bool {
        let Some(found) = self.floating_ips.get(&floating_ip) else { return false };
        !found.forwardings.is_empty()
            || found.target.as_ref().is_some_and(|(port, _)| {
                self.host_of_port(port)
                    .and_then(|host| self.hosts.get(host))
                    .is_none_or(|host| host.mode == AgentMode::DvrNoExternal)
            })
    }

    /// Every address in use on a network, with its owner.
    pub fn holders(&self, network: &Name) -> BTreeMap<IpAddr, Owner> {
        let mut held = BTreeMap::new();
        let mut hold = |addresses: &[IpAddr], owner: Owner| {
            held.extend(addresses.iter().map(|address| (*address, owner.clone())));
        };
        for (name, port) in self.ports.iter().filter(|(_, port)| port.network == *network) {
            let owner =
                self.instance_of(name).map_or_else(|| Owner::Port(name.clone()), |(i, _)| Owner::Instance(i.clone()));
            hold(&port.addresses, owner);
        }
        for (name, router) in &self.routers {
            for port in self.router_ports(router).filter(|port| port.network == network) {
                hold(&port.addresses, Owner::Interface(name.clone(), port.name.clone()));
            }
            if let Some(gateway) = router.gateway.as_ref().filter(|gateway| gateway.network == *network) {
                hold(&gateway.addresses, Owner::Gateway(name.clone()));
            }
        }
        for ((router, interface), port) in &self.snat_ports {
            if self.router_port(interface).is_some_and(|p| p.network == network) {
                hold(&port.addresses, Owner::SnatPort(router.clone(), interface.clone()));
            }
        }
        for ((_, host), port) in self.agent_gateways.iter().filter(|((external, _), _)| external == network) {
            hold(&port.addresses, Owner::AgentGateway(network.clone(), host.clone()));
        }
        for address in self.floating_ips.keys().filter(|a| self.external_network_of(**a) == Some(network)) {
            hold(&[*address], Owner::FloatingIp(*address));
        }
        for (name, node) in &self.outside {
            match &node.place {
                NodePlace::On(on) | NodePlace::GatewayOf(on) if on == network => {
                    hold(&node.addresses, Owner::Outside(name.clone()));
                }
                NodePlace::On(_) | NodePlace::GatewayOf(_) | NodePlace::Behind(_) => {}
            }
        }
        held
    }

    /// Who answers for an address, for reports. External networks come before tenant networks, servers behind an upstream
    /// router before what a kernel owns besides (`also`). Where tenants use the same address twice, the first network by
    /// name counts.
    pub fn owner_of(&self, address: IpAddr) -> Option<Owner> {
        let (external, tenant): (Vec<_>, Vec<_>) = self.networks.iter().partition(|(_, network)| network.external);
        let on_networks = external.iter().chain(&tenant).find_map(|(name, _)| self.holders(name).remove(&address));
        on_networks
            .or_else(|| {
                let mut nodes = self.outside.iter().filter(|(_, node)| node.addresses.contains(&address));
                nodes.next().map(|(name, _)| Owner::Outside(name.clone()))
            })
            .or_else(|| {
                let on_link = |instance: &Instance| {
                    instance.behind.as_ref().is_some_and(|link| link.addresses.iter().any(|net| net.addr() == address))
                };
                let also = |owned: &[IpNet]| owned.iter().any(|net| net.contains(&address));
                let mut instances = self.instances.iter();
                let instance =
                    instances.find(|(_, i)| on_link(i) || also(&i.also)).map(|(n, _)| Owner::Instance(n.clone()));
                let node = || self.outside.iter().find(|(_, o)| also(&o.also)).map(|(n, _)| Owner::Outside(n.clone()));
                instance.or_else(node)
            })
    }

    /// The SNAT port of a router's interface, if the router has a gateway.
    pub fn snat_port(&self, router: &Name, interface: &Name) -> Option<&ServerPort> {
        self.snat_ports.get(&(router.clone(), interface.clone()))
    }
}
