//! Instances and where they run.

use super::address::{link_hop, usable};
use super::create::overlap;
use super::intent::{Intent, Rejected, RejectedKind};
use super::resource::{Instance, Nested};
use crate::name::{HostName, Name};
use crate::net::IpNet;

fn refused<T>(kind: RejectedKind, reason: String) -> Result<T, Rejected> {
    Err(Rejected::new(kind, reason))
}

impl Intent {
    pub(super) fn create_instance(&mut self, name: &Name, instance: &Instance) -> Result<(), Rejected> {
        // The port of the `network:` shorthand exists already, under the instance's own name.
        if !instance.ports.contains(name) || self.instances.contains_key(name) {
            self.check_unused(name.as_str())?;
        }
        if let Some(link) = &instance.behind {
            self.check_nested(name, instance, link)?;
            self.instances.insert(name.clone(), instance.clone());
            return Ok(());
        }
        if instance.ports.is_empty() {
            return refused(RejectedKind::InvalidInput, format!("instance {name} has no port"));
        }
        if let Some(host) = &instance.host {
            self.known_host(host)?;
        }
        for (index, port) in instance.ports.iter().enumerate() {
            self.known_port(port)?;
            if instance.ports.iter().take(index).any(|earlier| earlier == port) {
                return refused(RejectedKind::InvalidInput, format!("instance {name} names port {port} twice"));
            }
            self.check_unowned(port)?;
        }
        self.instances.insert(name.clone(), instance.clone());
        Ok(())
    }

    /// A private link is behind an instance with ports, with an address of its own in prefixes that nothing else there has.
    fn check_nested(&self, name: &Name, instance: &Instance, link: &Nested) -> Result<(), Rejected> {
        let outer = self.known_instance(&link.instance)?;
        if outer.behind.is_some() || !instance.ports.is_empty() || instance.host.is_some() {
            let reason = format!("instance {name} can only be behind an instance that has ports, and has none itself");
            return refused(RejectedKind::InvalidInput, reason);
        }
        let ports = outer.ports.iter().filter_map(|port| self.ports.get(port));
        let subnets = ports.flat_map(|port| {
            port.addresses.iter().filter_map(|address| Some(self.subnet_at(&port.network, *address)?.1.cidr))
        });
        let links = self.nested_in(&link.instance).flat_map(|(_, other)| other.addresses.iter().map(IpNet::trunc));
        let taken: Vec<IpNet> = subnets.chain(links).collect();
        for net in &link.addresses {
            let (first, last) = usable(net);
            if !(first..=last).contains(&net.addr()) || net.addr() == link_hop(net).addr() {
                let reason = format!("{net} is no address for instance {name}: {first} is that of {}", link.instance);
                return refused(RejectedKind::InvalidInput, reason);
            }
            if let Some(other) = taken.iter().find(|other| overlap(other, &net.trunc())) {
                let reason = format!("{net} of instance {name} overlaps with {other}, which {} has", link.instance);
                return refused(RejectedKind::InvalidInput, reason);
            }
        }
        Ok(())
    }

    /// Refuses a port that an instance or a router has.
    pub(super) fn check_unowned(&self, port: &Name) -> Result<(), Rejected> {
        if let Some((instance, _)) = self.instance_of(port) {
            return refused(RejectedKind::PortInUse, format!("port {port} belongs to instance {instance}"));
        }
        match self.router_with(port) {
            Some(router) => refused(RejectedKind::PortInUse, format!("port {port} is an interface of router {router}")),
            None => Ok(()),
        }
    }

    pub(super) fn boot(&mut self, name: &Name, host: &HostName) -> Result<(), Rejected> {
        self.known_host(host)?;
        self.check_placeable(name)?;
        if let Some(current) = &self.known_instance(name)?.host {
            let reason = format!("instance {name} runs on {current} already: migrate it");
            return refused(RejectedKind::BadRequest, reason);
        }
        self.place(name, host);
        Ok(())
    }

    pub(super) fn migrate(&mut self, name: &Name, host: &HostName) -> Result<(), Rejected> {
        self.check_migratable(name, host)?;
        self.place(name, host);
        Ok(())
    }

    /// It goes nowhere by itself if it is behind another.
    fn check_placeable(&self, name: &Name) -> Result<(), Rejected> {
        match &self.known_instance(name)?.behind {
            None => Ok(()),
            Some(link) => {
                let reason = format!("instance {name} is behind {}: it goes where that one goes", link.instance);
                refused(RejectedKind::BadRequest, reason)
            }
        }
    }

    /// It runs, elsewhere, and no live migration is under way.
    fn check_migratable(&self, name: &Name, host: &HostName) -> Result<(), Rejected> {
        self.known_host(host)?;
        self.check_placeable(name)?;
        let instance = self.known_instance(name)?;
        match (&instance.host, &instance.migrating_to) {
            (None, _) => refused(RejectedKind::BadRequest, format!("instance {name} runs nowhere: boot it")),
            (Some(current), _) if current == host => {
                refused(RejectedKind::BadRequest, format!("instance {name} runs on {current} already"))
            }
            (Some(_), Some(target)) => {
                let reason = format!("instance {name} is being migrated to {target}: complete or abort that");
                refused(RejectedKind::BadRequest, reason)
            }
            (Some(_), None) => Ok(()),
        }
    }

    pub(super) fn prepare_migration(&mut self, name: &Name, host: &HostName) -> Result<(), Rejected> {
        self.check_migratable(name, host)?;
        if let Some(instance) = self.instances.get_mut(name) {
            instance.migrating_to = Some(host.clone());
        }
        Ok(())
    }

    /// Refuses an instance that is not being migrated to the host.
    fn check_prepared(&self, name: &Name, host: &HostName) -> Result<(), Rejected> {
        self.known_host(host)?;
        if self.known_instance(name)?.migrating_to.as_ref() == Some(host) {
            return Ok(());
        }
        let reason = format!("no live migration of instance {name} to {host} is prepared");
        refused(RejectedKind::BadRequest, reason)
    }

    pub(super) fn complete_migration(&mut self, name: &Name, host: &HostName) -> Result<(), Rejected> {
        self.check_prepared(name, host)?;
        self.place(name, host);
        Ok(())
    }

    pub(super) fn abort_migration(&mut self, name: &Name, host: &HostName) -> Result<(), Rejected> {
        self.check_prepared(name, host)?;
        if let Some(instance) = self.instances.get_mut(name) {
            instance.migrating_to = None;
        }
        Ok(())
    }

    fn place(&mut self, name: &Name, host: &HostName) {
        if let Some(instance) = self.instances.get_mut(name) {
            instance.host = Some(host.clone());
            instance.migrating_to = None;
        }
    }

    /// Only what its kernel owns and closes can change this way.
    pub(super) fn update_instance(&mut self, name: &Name, instance: &Instance) -> Result<(), Rejected> {
        let before = self.known_instance(name)?;
        if before.host != instance.host || before.ports != instance.ports || before.behind != instance.behind {
            let reason = format!("the host and the ports of instance {name} cannot change this way");
            return refused(RejectedKind::InvalidInput, reason);
        }
        self.instances.insert(name.clone(), instance.clone());
        Ok(())
    }

    /// Its own port goes with it; ports declared apart stay, unbound, with their floating IPs.
    pub(super) fn delete_instance(&mut self, name: &Name) -> Result<(), Rejected> {
        self.known_instance(name)?;
        if let Some((nested, _)) = self.nested_in(name).next() {
            let reason = format!("instance {nested} is behind instance {name}: delete that before");
            return refused(RejectedKind::BadRequest, reason);
        }
        self.instances.remove(name);
        if self.ports.contains_key(name) {
            self.remove_port(name);
        }
        Ok(())
    }

    pub(super) fn delete_port(&mut self, name: &Name) -> Result<(), Rejected> {
        self.known_port(name)?;
        if let Some(router) = self.router_with(name) {
            let reason = format!("port {name} is an interface of router {router}: detach it");
            return refused(RejectedKind::ServicePortInUse, reason);
        }
        self.check_unowned(name)?;
        self.remove_port(name);
        Ok(())
    }

    /// Floating IPs of the port stay allocated.
    fn remove_port(&mut self, name: &Name) {
        self.ports.remove(name);
        for floating_ip in self.floating_ips.values_mut() {
            if floating_ip.target.as_ref().is_some_and(|(port, _)| port == name) {
                floating_ip.target = None;
            }
        }
        self.drop_lost_forwardings();
    }
}
