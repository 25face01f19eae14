//! A router's gateway: set, changed, cleared, moved.

use std::net::IpAddr;

use super::intent::{Intent, Rejected, RejectedKind};
use super::resource::{AgentMode, Gateway, Snat};
use super::router::check_apart;
use crate::name::{HostName, Name};
use crate::net::Mac;

/// What is asked of a gateway; what is absent stays as it is.
pub(super) struct GatewayRequest<'a> {
    pub(super) router: &'a Name,
    pub(super) network: Option<&'a Name>,
    pub(super) addresses: &'a [IpAddr],
    pub(super) snat: Option<Snat>,
    pub(super) host: Option<&'a HostName>,
}

fn refused<T>(kind: RejectedKind, reason: String) -> Result<T, Rejected> {
    Err(Rejected::new(kind, reason))
}

impl Intent {
    pub(super) fn set_gateway(&mut self, request: &GatewayRequest<'_>) -> Result<(), Rejected> {
        let router = request.router;
        let before = self.known_router(router)?.gateway.clone();
        let network = match (request.network, &before) {
            (Some(network), _) => network.clone(),
            (None, Some(gateway)) => gateway.network.clone(),
            (None, None) => {
                let reason = format!("router {router} has no gateway: say on which network");
                return refused(RejectedKind::InvalidInput, reason);
            }
        };
        let kept = before.as_ref().filter(|gateway| gateway.network == network);
        if kept.is_none() {
            self.check_new_network(router, &network, before.is_some())?;
        }
        let host = self.gateway_host(request, before.as_ref())?;
        let addresses = match kept {
            Some(gateway) if request.addresses.is_empty() => gateway.addresses.clone(),
            Some(_) | None => {
                // Its own old addresses are no obstacle.
                self.known_router_mut(router)?.gateway = None;
                self.claim(&network, request.addresses)?;
                self.gateway_addresses(router, &network, request.addresses)?
            }
        };
        let snat = request.snat.or(before.map(|gateway| gateway.snat)).unwrap_or(Snat::Enabled);
        self.known_router_mut(router)?.gateway = Some(Gateway { network, addresses, snat, host });
        Ok(())
    }

    fn gateway_addresses(&self, router: &Name, network: &Name, asked: &[IpAddr]) -> Result<Vec<IpAddr>, Rejected> {
        if asked.is_empty() {
            let mac = Mac::derived("qg", router.as_str());
            self.automatic_external(network, mac, &format!("the gateway of router {router}"))
        } else {
            Ok(asked.to_vec())
        }
    }

    fn check_new_network(&self, router: &Name, network: &Name, had_gateway: bool) -> Result<(), Rejected> {
        if !self.known_network(network)?.external {
            let reason = format!("network {network} is not external: router {router} cannot have its gateway there");
            return refused(RejectedKind::BadRequest, reason);
        }
        if had_gateway {
            self.check_gateway_unused(router)?;
        }
        for port in self.router_ports(self.known_router(router)?) {
            for inner in self.subnets_at(&port) {
                self.subnets_of(network).try_for_each(|outer| check_apart(router, outer, inner))?;
            }
        }
        Ok(())
    }

    fn gateway_host(
        &self,
        request: &GatewayRequest<'_>,
        before: Option<&Gateway>,
    ) -> Result<Option<HostName>, Rejected> {
        match (request.host, before) {
            (None, Some(gateway)) => Ok(gateway.host.clone()),
            (None, None) => Ok(self.default_gateway_host()),
            (Some(host), None) => {
                self.check_gateway_host(host)?;
                Ok(Some(host.clone()))
            }
            (Some(_), Some(_)) => {
                let reason = format!("router {} has a gateway: move it with move_gateway", request.router);
                refused(RejectedKind::InvalidInput, reason)
            }
        }
    }

    fn check_gateway_host(&self, host: &HostName) -> Result<(), Rejected> {
        match self.known_host(host)? {
            AgentMode::DvrSnat => Ok(()),
            mode @ (AgentMode::Dvr | AgentMode::DvrNoExternal) => {
                let reason = format!("host {host} is in mode {}: a gateway needs dvr_snat", mode.name());
                refused(RejectedKind::InvalidInput, reason)
            }
        }
    }

    /// Refuses while a floating IP is carried by the router.
    fn check_gateway_unused(&self, router: &Name) -> Result<(), Rejected> {
        match self.floating_ips.keys().find(|address| self.router_of(**address) == Some(router)) {
            Some(address) => {
                let reason = format!("floating IP {address} needs the gateway of router {router}");
                refused(RejectedKind::RouterExternalGatewayInUseByFloatingIp, reason)
            }
            None => Ok(()),
        }
    }

    /// Nothing happens to a router without gateway, as in the API.
    pub(super) fn clear_gateway(&mut self, router: &Name) -> Result<(), Rejected> {
        self.known_router(router)?;
        self.check_gateway_unused(router)?;
        self.known_router_mut(router)?.gateway = None;
        Ok(())
    }

    pub(super) fn move_gateway(&mut self, router: &Name, host: &HostName) -> Result<(), Rejected> {
        self.known_router(router)?;
        self.check_gateway_host(host)?;
        let Some(gateway) = self.known_router_mut(router)?.gateway.as_mut() else {
            return refused(RejectedKind::BadRequest, format!("router {router} has no gateway to move"));
        };
        if gateway.host.as_ref() == Some(host) {
            return refused(RejectedKind::BadRequest, format!("the gateway of router {router} is on {host} already"));
        }
        gateway.host = Some(host.clone());
        Ok(())
    }
}
