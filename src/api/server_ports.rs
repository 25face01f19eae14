//! What the server makes by itself after a change: SNAT ports, floating-IP agent gateways, the gateway's host, and the
//! upstream router that every external network has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::intent::{Intent, Rejected, RejectedKind};
use super::resource::{AgentMode, Node, NodePlace, ServerPort};
use crate::name::{HostName, NAME_MAX, Name};
use crate::net::Mac;

impl Intent {
    /// Brings the server's own objects in line with what was asked for.
    pub(super) fn settle(&mut self) -> Result<(), Rejected> {
        self.settle_upstream_routers()?;
        self.schedule_gateways();
        self.settle_snat_ports()?;
        self.settle_agent_gateways()
    }

    /// The host for a gateway that none was asked for: the first declared one in mode `dvr_snat`.
    pub(super) fn default_gateway_host(&self) -> Option<HostName> {
        let fits = |name: &&HostName| self.hosts.get(*name).is_some_and(|host| host.mode == AgentMode::DvrSnat);
        self.host_order.iter().find(fits).cloned()
    }

    fn schedule_gateways(&mut self) {
        let host = self.default_gateway_host();
        for gateway in self.routers.values_mut().filter_map(|router| router.gateway.as_mut()) {
            if gateway.host.is_none() {
                gateway.host.clone_from(&host);
            }
        }
    }

    fn settle_snat_ports(&mut self) -> Result<(), Rejected> {
        let wanted: Vec<(Name, Name)> = self
            .routers
            .iter()
            .filter(|(_, router)| router.gateway.is_some())
            .flat_map(|(name, router)| router.interfaces.iter().map(|interface| (name.clone(), interface.clone())))
            .collect();
        self.snat_ports.retain(|key, _| wanted.contains(key));
        for key in wanted {
            if !self.snat_ports.contains_key(&key) {
                let port = self.new_snat_port(&key.0, &key.1)?;
                self.snat_ports.insert(key, port);
            }
        }
        Ok(())
    }

    /// One address on each subnet of the interface.
    fn new_snat_port(&self, router: &Name, interface: &Name) -> Result<ServerPort, Rejected> {
        let purpose = format!("the SNAT port of router {router}");
        let port = self.router_port(interface).ok_or_else(|| {
            Rejected::new(RejectedKind::InvalidInput, format!("{purpose}: there is no subnet or port {interface}"))
        })?;
        let subnets = self.subnets_at(&port).map(|(name, _)| name);
        let addresses: Vec<IpAddr> =
            subnets.map(|subnet| self.lowest_free(subnet, &purpose)).collect::<Result<_, _>>()?;
        Ok(ServerPort { addresses, mac: Mac::derived("sg", interface.as_str()) })
    }

    /// A host gets one for each external network that a router of its has the gateway on, and keeps it until the last
    /// router gateway on that network is gone. Neutron: `create_fip_agent_gw_port_if_not_exists`.
    fn settle_agent_gateways(&mut self) -> Result<(), Rejected> {
        let in_use: BTreeSet<Name> =
            self.routers.values().filter_map(|r| r.gateway.as_ref()).map(|gateway| gateway.network.clone()).collect();
        self.agent_gateways.retain(|(network, host), _| in_use.contains(network) && self.hosts.contains_key(host));
        let hosts: Vec<(HostName, BTreeSet<Name>)> = self
            .host_order
            .iter()
            .filter(|host| self.hosts.get(*host).is_some_and(|h| h.mode != AgentMode::DvrNoExternal))
            .map(|host| (host.clone(), self.external_networks_on(host)))
            .collect();
        for network in in_use {
            for (host, _) in hosts.iter().filter(|(_, networks)| networks.contains(&network)) {
                let key = (network.clone(), host.clone());
                if !self.agent_gateways.contains_key(&key) {
                    let port = self.new_agent_gateway(&network, host)?;
                    self.agent_gateways.insert(key, port);
                }
            }
        }
        Ok(())
    }

    fn external_networks_on(&self, host: &HostName) -> BTreeSet<Name> {
        self.routers_on(host)
            .into_iter()
            .filter_map(|router| self.routers.get(router)?.gateway.as_ref())
            .map(|gateway| gateway.network.clone())
            .collect()
    }

    fn new_agent_gateway(&self, network: &Name, host: &HostName) -> Result<ServerPort, Rejected> {
        let purpose = format!("the floating-IP agent gateway on {host}");
        let mac = Mac::derived("fg", &format!("{network}/{host}"));
        Ok(ServerPort { addresses: self.automatic_external(network, mac, &purpose)?, mac })
    }

    /// Addresses on an external network, of each family that it has.
    pub(super) fn automatic_external(&self, network: &Name, mac: Mac, purpose: &str) -> Result<Vec<IpAddr>, Rejected> {
        if self.subnets_of(network).next().is_none() {
            let reason = format!("network {network} has no subnet, so no address for {purpose}");
            return Err(Rejected::new(RejectedKind::IpAddressGenerationFailure, reason));
        }
        self.automatic_addresses(network, mac, purpose)
    }

    /// An external network has an upstream router while a subnet of it has a gateway address or a machine stands behind it.
    fn settle_upstream_routers(&mut self) -> Result<(), Rejected> {
        let mut gateways: BTreeMap<Name, Vec<IpAddr>> = BTreeMap::new();
        for (name, _) in self.networks.iter().filter(|(_, network)| network.external) {
            gateways.insert(name.clone(), self.subnets_of(name).filter_map(|(_, subnet)| subnet.gateway).collect());
        }
        self.outside.retain(|node_name, node| match &node.place {
            NodePlace::GatewayOf(network) => gateways.contains_key(network) || !is_automatic(node_name, network),
            NodePlace::On(_) | NodePlace::Behind(_) => true,
        });
        for (network, addresses) in gateways {
            let existing = self.upstream_of(&network).map(|(name, _)| name.clone());
            let needed =
                !addresses.is_empty() || self.outside.values().any(|n| n.place == NodePlace::Behind(network.clone()));
            match existing {
                Some(name) if !needed && is_automatic(&name, &network) => {
                    self.outside.remove(&name);
                }
                Some(name) => {
                    if let Some(node) = self.outside.get_mut(&name) {
                        node.addresses = addresses;
                    }
                }
                None if needed => {
                    let name = self.free_upstream_name(&network)?;
                    let place = NodePlace::GatewayOf(network);
                    let node = Node { place, addresses, routes: Vec::new(), also: Vec::new(), closed: BTreeSet::new() };
                    self.outside.insert(name, node);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// The upstream router of an external network.
    pub fn upstream_of(&self, network: &Name) -> Option<(&Name, &Node)> {
        self.outside.iter().find(|(_, node)| matches!(&node.place, NodePlace::GatewayOf(of) if of == network))
    }

    fn free_upstream_name(&self, network: &Name) -> Result<Name, Rejected> {
        upstream_names(network).find(|name| !self.is_taken(name.as_str())).ok_or_else(|| {
            let reason =
                format!("no name is left for the upstream router of network {network}: name one with gateway_of");
            Rejected::new(RejectedKind::InvalidInput, reason)
        })
    }
}

/// `gw-NETWORK`, cut to a name's length; where that is taken, with a digit in place of the last characters.
fn upstream_names(network: &Name) -> impl Iterator<Item = Name> {
    let full = format!("gw-{network}");
    let cut = |length: usize| full.chars().take(length).collect::<String>();
    let numbered: Vec<String> = (2..10).map(|number| format!("{}{number}", cut(NAME_MAX - 1))).collect();
    std::iter::once(cut(NAME_MAX)).chain(numbered).filter_map(|text| Name::new(text).ok())
}

/// Whether the harness named this upstream router, so that it comes and goes with the network.
pub(super) fn is_automatic(node: &Name, network: &Name) -> bool {
    upstream_names(network).any(|name| name == *node)
}
