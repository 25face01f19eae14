//! Floating IPs.

use std::net::IpAddr;

use super::intent::{Intent, Rejected, RejectedKind};
use super::resource::FloatingIp;
use crate::name::Name;
use crate::net::Family;

impl Intent {
    pub(super) fn allocate_floating_ip(&mut self, address: IpAddr) -> Result<(), Rejected> {
        let Some(network) = self.external_network_of(address).cloned() else {
            let reason = format!("floating IP {address} is in no subnet of an external network");
            return Err(Rejected::new(RejectedKind::InvalidIpForNetwork, reason));
        };
        if address.is_ipv6() {
            let reason = format!("floating IP {address} is an IPv6 address: IPv6 is routed, never translated");
            return Err(Rejected::new(RejectedKind::BadRequest, reason));
        }
        self.claim(&network, &[address])?;
        self.floating_ips.insert(address, FloatingIp::default());
        Ok(())
    }

    fn known_floating_ip(&mut self, address: IpAddr) -> Result<&mut FloatingIp, Rejected> {
        self.floating_ips
            .get_mut(&address)
            .ok_or_else(|| Rejected::new(RejectedKind::InvalidInput, format!("there is no floating IP {address}")))
    }

    pub(super) fn delete_floating_ip(&mut self, address: IpAddr) -> Result<(), Rejected> {
        self.check_no_forwardings(address)?;
        self.floating_ips.remove(&address);
        Ok(())
    }

    /// Nothing happens to one that is not associated, as in the API.
    pub(super) fn disassociate(&mut self, address: IpAddr) -> Result<(), Rejected> {
        self.known_floating_ip(address)?.target = None;
        Ok(())
    }

    pub(super) fn associate(&mut self, address: IpAddr, port: &Name, fixed: Option<IpAddr>) -> Result<(), Rejected> {
        if !self.floating_ips.contains_key(&address) {
            self.allocate_floating_ip(address)?;
        }
        self.check_no_forwardings(address)?;
        let fixed = self.fixed_address(address, port, fixed)?;
        let leads_here = |f: &FloatingIp| f.forwardings.iter().any(|to| to.port == *port && to.address == fixed);
        if let Some((other, _)) = self.floating_ips.iter().find(|(_, f)| leads_here(f)) {
            let reason = format!("port forwardings of {other} lead to {fixed} of port {port}");
            return Err(Rejected::new(RejectedKind::PortHasPortForwarding, reason));
        }
        self.check_reachable(address, port, fixed)?;
        self.check_single(address, port, fixed)?;
        self.known_floating_ip(address)?.target = Some((port.clone(), fixed));
        Ok(())
    }

    /// The address of the port that the floating IP is to stand for: the one asked for, or the first of its family.
    fn fixed_address(&self, address: IpAddr, port: &Name, asked: Option<IpAddr>) -> Result<IpAddr, Rejected> {
        let bad = |reason: String| Rejected::new(RejectedKind::BadRequest, reason);
        let addresses = &self.known_port(port)?.addresses;
        if let Some(router) = self.router_with(port) {
            return Err(bad(format!("port {port} is an interface of router {router}: it cannot have a floating IP")));
        }
        let family = Family::of(address);
        match asked {
            None => addresses
                .iter()
                .copied()
                .find(|fixed| Family::of(*fixed) == family)
                .ok_or_else(|| bad(format!("port {port} has no address of the family of floating IP {address}"))),
            Some(fixed) if !addresses.contains(&fixed) => {
                Err(bad(format!("port {port} does not have the address {fixed}")))
            }
            Some(fixed) if Family::of(fixed) != family => {
                Err(bad(format!("floating IP {address} and fixed address {fixed} are of different families")))
            }
            Some(fixed) => Ok(fixed),
        }
    }

    fn check_reachable(&self, address: IpAddr, port: &Name, fixed: IpAddr) -> Result<(), Rejected> {
        let network = &self.known_port(port)?.network;
        let found =
            self.external_network_of(address).and_then(|external| self.router_between(network, fixed, external));
        if found.is_some() {
            return Ok(());
        }
        let subnet = self.subnet_at(network, fixed).map_or_else(|| fixed.to_string(), |(name, _)| name.to_string());
        let external = self.external_network_of(address).map_or_else(String::new, |name| format!(" ({name})"));
        let reason = format!(
            "no router has both subnet {subnet} and a gateway on the network of floating IP {address}{external}, \
             so port {port} cannot have it"
        );
        Err(Rejected::new(RejectedKind::ExternalGatewayForFloatingIPNotFound, reason))
    }

    /// A fixed address has one floating IP at most on each external network.
    fn check_single(&self, address: IpAddr, port: &Name, fixed: IpAddr) -> Result<(), Rejected> {
        let external = self.external_network_of(address);
        let same = |other: &IpAddr, floating_ip: &FloatingIp| {
            *other != address
                && self.external_network_of(*other) == external
                && floating_ip.target.as_ref().is_some_and(|(p, f)| p == port && *f == fixed)
        };
        match self.floating_ips.iter().find(|(other, floating_ip)| same(other, floating_ip)) {
            Some((other, _)) => {
                let reason = format!("port {port} with {fixed} has floating IP {other} already");
                Err(Rejected::new(RejectedKind::FloatingIPPortAlreadyAssociated, reason))
            }
            None => Ok(()),
        }
    }
}
