//! Port forwardings of floating IPs.

use std::net::IpAddr;

use super::intent::{Intent, Rejected, RejectedKind};
use super::resource::PortForwarding;
use crate::name::Name;

fn refused<T>(kind: RejectedKind, reason: String) -> Result<T, Rejected> {
    Err(Rejected::new(kind, reason))
}

impl Intent {
    pub(super) fn check_no_forwardings(&self, address: IpAddr) -> Result<(), Rejected> {
        match self.floating_ips.get(&address) {
            None => refused(RejectedKind::InvalidInput, format!("there is no floating IP {address}")),
            Some(floating_ip) if floating_ip.forwardings.is_empty() => Ok(()),
            Some(_) => {
                refused(RejectedKind::FipInUseByPortForwarding, format!("floating IP {address} has port forwardings"))
            }
        }
    }

    /// Replaces the port forwardings of a floating IP that stands for no port itself.
    pub(super) fn set_port_forwardings(
        &mut self,
        address: IpAddr,
        router: Option<&Name>,
        forwardings: &[PortForwarding],
    ) -> Result<(), Rejected> {
        let Some(floating_ip) = self.floating_ips.get(&address) else {
            return refused(RejectedKind::InvalidInput, format!("there is no floating IP {address}"));
        };
        if let (Some((port, _)), false) = (&floating_ip.target, forwardings.is_empty()) {
            let reason = format!("floating IP {address} stands for port {port} already: disassociate it");
            return refused(RejectedKind::FloatingIPPortAlreadyAssociated, reason);
        }
        let mut carriers: Option<&Name> = router;
        for (index, forwarding) in forwardings.iter().enumerate() {
            let earlier = forwardings.get(..index).unwrap_or_default();
            check_distinct(address, forwarding, earlier)?;
            let carrier = self.carrier(address, forwarding)?;
            if let Some(other) = carriers.filter(|other| *other != carrier) {
                let port = &forwarding.port;
                let reason =
                    format!("port {port} is behind router {carrier}, the port forwardings of {address} behind {other}");
                return refused(RejectedKind::BadRequest, reason);
            }
            carriers = Some(carrier);
        }
        if let Some(floating_ip) = self.floating_ips.get_mut(&address) {
            floating_ip.forwardings = forwardings.to_vec();
        }
        Ok(())
    }

    /// The router that leads from the floating IP's network to the port.
    fn carrier(&self, address: IpAddr, forwarding: &PortForwarding) -> Result<&Name, Rejected> {
        let PortForwarding { port, address: fixed, .. } = forwarding;
        let found = self.known_port(port)?;
        if !found.addresses.contains(fixed) {
            return refused(RejectedKind::BadRequest, format!("port {port} does not have the address {fixed}"));
        }
        let own = |(port, held): &(Name, IpAddr)| port == &forwarding.port && held == fixed;
        if let Some((other, _)) = self.floating_ips.iter().find(|(_, f)| f.target.as_ref().is_some_and(own)) {
            let reason = format!("floating IP {other} stands for {fixed} of port {port} already");
            return refused(RejectedKind::BadRequest, reason);
        }
        let external = self.external_network_of(address);
        external.and_then(|external| self.router_between(&found.network, *fixed, external)).ok_or_else(|| {
            let reason = format!(
                "no router has both the subnet of {fixed} and a gateway on the network of floating IP {address}"
            );
            Rejected::new(RejectedKind::ExternalGatewayForFloatingIPNotFound, reason)
        })
    }

    /// The router that carries a floating IP's port forwardings.
    pub(super) fn forwarding_router(&self, address: IpAddr) -> Option<&Name> {
        let forwarding = self.floating_ips.get(&address)?.forwardings.first()?;
        let network = &self.ports.get(&forwarding.port)?.network;
        self.router_between(network, forwarding.address, self.external_network_of(address)?)
    }

    /// Port forwardings to addresses that their ports no longer have are gone, as in the API.
    pub(super) fn drop_lost_forwardings(&mut self) {
        let ports = &self.ports;
        let stands = |to: &PortForwarding| ports.get(&to.port).is_some_and(|port| port.addresses.contains(&to.address));
        for floating_ip in self.floating_ips.values_mut() {
            floating_ip.forwardings.retain(stands);
        }
    }
}

/// A port is led to one place, and a place has one port.
fn check_distinct(address: IpAddr, forwarding: &PortForwarding, earlier: &[PortForwarding]) -> Result<(), Rejected> {
    let PortForwarding { protocol, external_port, internal_port, .. } = forwarding;
    if earlier.iter().any(|other| (other.protocol, other.external_port) == (*protocol, *external_port)) {
        let reason = format!("port {external_port} of floating IP {address} is forwarded already");
        return refused(RejectedKind::BadRequest, reason);
    }
    let inside = |of: &PortForwarding| (of.protocol, of.address, of.internal_port);
    if earlier.iter().any(|other| inside(other) == inside(forwarding)) {
        let reason =
            format!("port {internal_port} of {} has a port forwarding of {address} already", forwarding.address);
        return refused(RejectedKind::BadRequest, reason);
    }
    Ok(())
}
