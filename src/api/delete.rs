//! Deleting objects.

use super::intent::{Intent, Rejected, RejectedKind};
use super::resource::{NodePlace, Section};
use super::server_ports::is_automatic;
use crate::name::{HostName, Name};

fn refused<T>(kind: RejectedKind, reason: String) -> Result<T, Rejected> {
    Err(Rejected::new(kind, reason))
}

impl Intent {
    pub(super) fn delete(&mut self, section: Section, name: &Name) -> Result<(), Rejected> {
        match section {
            Section::Hosts => self.delete_host(&name.into()),
            Section::Networks => self.delete_network(name),
            Section::Subnets => self.delete_subnet(name),
            Section::Routers => self.delete_router(name),
            Section::Ports => self.delete_port(name),
            Section::Instances => self.delete_instance(name),
            Section::FloatingIps => {
                refused(RejectedKind::InvalidInput, format!("a floating IP is named by its address, not {name}"))
            }
            Section::Outside => {
                self.known_node(name)?;
                self.outside.remove(name);
                Ok(())
            }
            Section::AddressScopes => self.delete_address_scope(name),
        }
    }

    fn delete_host(&mut self, name: &HostName) -> Result<(), Rejected> {
        self.known_host(name)?;
        if let Some((instance, _)) = self.instances.iter().find(|(_, instance)| instance.host.as_ref() == Some(name)) {
            return refused(RejectedKind::BadRequest, format!("instance {instance} runs on host {name}"));
        }
        let scheduled = |gateway_host: Option<&HostName>| gateway_host == Some(name);
        let mut routers = self.routers.iter();
        if let Some((router, _)) = routers.find(|(_, r)| scheduled(r.gateway.as_ref().and_then(|g| g.host.as_ref()))) {
            return refused(RejectedKind::BadRequest, format!("the gateway of router {router} is on host {name}"));
        }
        self.hosts.remove(name);
        self.host_order.retain(|host| host != name);
        Ok(())
    }

    /// Its subnets go with it, as in the API.
    fn delete_network(&mut self, name: &Name) -> Result<(), Rejected> {
        self.known_network(name)?;
        let stands_there = |place: &NodePlace, node: &Name| match place {
            NodePlace::On(network) | NodePlace::Behind(network) => network == name,
            NodePlace::GatewayOf(network) => network == name && !is_automatic(node, network),
        };
        if let Some((node, _)) = self.outside.iter().find(|(node, found)| stands_there(&found.place, node)) {
            return refused(RejectedKind::NetworkInUse, format!("outside node {node} is connected to network {name}"));
        }
        if let Some((port, _)) = self.ports.iter().find(|(_, port)| port.network == *name) {
            return refused(RejectedKind::NetworkInUse, format!("port {port} is on network {name}"));
        }
        for subnet in self.subnet_order.clone() {
            if self.subnets.get(&subnet).is_some_and(|found| found.network == *name) {
                self.check_subnet_unused(&subnet, RejectedKind::NetworkInUse)?;
                self.remove_subnet(&subnet);
            }
        }
        self.networks.remove(name);
        Ok(())
    }

    fn delete_subnet(&mut self, name: &Name) -> Result<(), Rejected> {
        self.known_subnet(name)?;
        self.check_subnet_unused(name, RejectedKind::SubnetInUse)?;
        self.remove_subnet(name);
        Ok(())
    }

    fn remove_subnet(&mut self, name: &Name) {
        self.subnets.remove(name);
        self.subnet_order.retain(|subnet| subnet != name);
    }

    fn check_subnet_unused(&self, name: &Name, kind: RejectedKind) -> Result<(), Rejected> {
        let subnet = self.known_subnet(name)?;
        let upstream = self.upstream_of(&subnet.network).map(|(node, _)| node.clone());
        let mut held = self.holders(&subnet.network).into_iter();
        // The upstream router has the gateway addresses of whatever subnets there are.
        let in_use = held.find(|(address, owner)| {
            subnet.cidr.contains(address)
                && !matches!(owner, super::Owner::Outside(node) if Some(node) == upstream.as_ref())
        });
        match in_use {
            Some((address, owner)) => refused(kind, format!("{address} on subnet {name} belongs to {owner}")),
            None => Ok(()),
        }
    }

    /// Its gateway goes with it.
    fn delete_router(&mut self, name: &Name) -> Result<(), Rejected> {
        if let Some(interface) = self.known_router(name)?.interfaces.first() {
            return refused(RejectedKind::RouterInUse, format!("router {name} still has interface {interface}"));
        }
        self.routers.remove(name);
        Ok(())
    }
}
