//! Tenant ports: created and changed.

use std::net::IpAddr;

use super::create::invalid;
use super::intent::{Intent, Rejected, RejectedKind};
use super::resource::Port;
use crate::name::Name;

impl Intent {
    pub(super) fn create_port(&mut self, name: &Name, port: &Port) -> Result<(), Rejected> {
        self.check_unused(name.as_str())?;
        let network = self.known_network(&port.network)?;
        if network.external {
            let reason = format!("network {} is external: a machine on it is declared in outside", port.network);
            return Err(invalid(reason));
        }
        let same_mac = |(_, other): &(&Name, &Port)| other.network == port.network && other.mac == port.mac;
        if let Some((other, _)) = self.ports.iter().find(same_mac) {
            return Err(invalid(format!("port {other} on network {} has the MAC {} already", port.network, port.mac)));
        }
        self.claim(&port.network, &port.addresses)?;
        let addresses = if port.addresses.is_empty() {
            self.automatic_addresses(&port.network, port.mac, &format!("port {name}"))?
        } else {
            port.addresses.clone()
        };
        self.ports.insert(name.clone(), Port { addresses, ..port.clone() });
        Ok(())
    }

    /// Its addresses, address pairs and administrative state can change; addresses only if no router has the port, and not
    /// one that a floating IP stands for.
    pub(super) fn update_port(&mut self, name: &Name, port: &Port) -> Result<(), Rejected> {
        let before = self.known_port(name)?.clone();
        if (&before.network, before.mac) != (&port.network, port.mac) {
            return Err(invalid(format!("the network and the MAC of port {name} cannot change")));
        }
        if before.addresses != port.addresses {
            self.check_readdressed(name, &before, port)?;
            // Its own old addresses are no obstacle.
            self.ports.remove(name);
            self.claim(&port.network, &port.addresses)?;
        }
        self.ports.insert(name.clone(), port.clone());
        self.drop_lost_forwardings();
        Ok(())
    }

    fn check_readdressed(&self, name: &Name, before: &Port, after: &Port) -> Result<(), Rejected> {
        let refused = |reason| Err(Rejected::new(RejectedKind::BadRequest, reason));
        if after.addresses.is_empty() {
            return Err(invalid(format!("port {name} needs an address")));
        }
        if let Some(router) = self.router_with(name) {
            return refused(format!("port {name} is an interface of router {router}: detach it first"));
        }
        let mut lost = before.addresses.iter().filter(|address| !after.addresses.contains(address));
        let stands_for = |fixed: &IpAddr| {
            let found = self.floating_ips.iter().find(|(_, f)| f.target.as_ref() == Some(&(name.clone(), *fixed)));
            found.map(|(floating, _)| (*floating, *fixed))
        };
        match lost.find_map(stands_for) {
            Some((floating, fixed)) => {
                refused(format!("floating IP {floating} stands for {fixed} of port {name}: take it off first"))
            }
            None => Ok(()),
        }
    }
}
