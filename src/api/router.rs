//! A router's interfaces and extra routes.

use std::net::IpAddr;

use super::create::overlap;
use super::intent::{Intent, Rejected, RejectedKind};
use super::resource::{Router, Subnet};
use crate::name::Name;
use crate::net::{Family, family_of};

fn refused<T>(kind: RejectedKind, reason: String) -> Result<T, Rejected> {
    Err(Rejected::new(kind, reason))
}

impl Intent {
    pub(super) fn attach(&mut self, router: &Name, interface: &Name) -> Result<(), Rejected> {
        self.known_router(router)?;
        let Some(port) = self.router_port(interface) else {
            return refused(RejectedKind::InvalidInput, format!("there is no subnet or port {interface}"));
        };
        if self.known_network(port.network)?.external {
            let reason = format!("network {} is external: set it as the gateway of router {router}", port.network);
            return refused(RejectedKind::BadRequest, reason);
        }
        let by_subnet = self.subnets.contains_key(interface);
        if !by_subnet {
            self.check_unowned(interface)?;
        }
        if port.addresses.is_empty() {
            let lacks = if by_subnet { "subnet has no gateway address" } else { "port has no address" };
            let reason = format!("{interface} cannot be an interface of router {router}: the {lacks}");
            return refused(RejectedKind::BadRequest, reason);
        }
        for (name, subnet) in self.subnets_at(&port) {
            self.check_overlap(router, name, subnet)?;
        }
        if by_subnet {
            self.claim(port.network, &port.addresses)?;
        }
        self.known_router_mut(router)?.interfaces.push(interface.clone());
        Ok(())
    }

    /// A router has each subnet once, and no two that overlap, those of its gateway's network included.
    fn check_overlap(&self, router: &Name, name: &Name, subnet: &Subnet) -> Result<(), Rejected> {
        let held = self.known_router(router)?;
        for port in self.router_ports(held) {
            for (other_name, other) in self.subnets_at(&port) {
                if other_name == name {
                    let reason = format!("router {router} already has a port on subnet {name}");
                    return refused(RejectedKind::BadRequest, reason);
                }
                check_apart(router, (name, subnet), (other_name, other))?;
            }
        }
        let external = held.gateway.iter().flat_map(|gateway| self.subnets_of(&gateway.network));
        external.into_iter().try_for_each(|other| check_apart(router, (name, subnet), other))
    }

    pub(super) fn detach(&mut self, router: &Name, interface: &Name) -> Result<(), Rejected> {
        let held = self.known_router(router)?;
        let port = self.router_port(interface).filter(|_| held.interfaces.contains(interface));
        let Some(port) = port else {
            return refused(RejectedKind::InvalidInput, format!("router {router} has no interface {interface}"));
        };
        for (name, subnet) in self.subnets_at(&port) {
            let uses_it = |address: &IpAddr| {
                let Some(floating_ip) = self.floating_ips.get(address) else { return false };
                let forwarded = floating_ip.forwardings.iter().map(|to| to.address);
                let mut fixed = floating_ip.target.iter().map(|(_, fixed)| *fixed).chain(forwarded);
                fixed.any(|fixed| subnet.cidr.contains(&fixed)) && self.router_of(*address) == Some(router)
            };
            if let Some(address) = self.floating_ips.keys().find(|address| uses_it(address)) {
                let reason = format!("floating IP {address} needs the interface of router {router} on subnet {name}");
                return refused(RejectedKind::RouterInterfaceInUseByFloatingIP, reason);
            }
            if let Some(route) = held.routes.iter().find(|route| subnet.cidr.contains(&route.next_hop)) {
                let reason = format!(
                    "the route {} via {} needs the interface of router {router} on subnet {name}",
                    route.destination, route.next_hop
                );
                return refused(RejectedKind::RouterInterfaceInUseByRoute, reason);
            }
        }
        self.known_router_mut(router)?.interfaces.retain(|held| held != interface);
        Ok(())
    }

    /// Only the extra routes can change this way.
    pub(super) fn update_router(&mut self, name: &Name, router: &Router) -> Result<(), Rejected> {
        let before = self.known_router(name)?;
        if before.interfaces != router.interfaces || before.gateway != router.gateway {
            let reason = format!("the interfaces and the gateway of router {name} have operations of their own");
            return refused(RejectedKind::InvalidInput, reason);
        }
        self.check_routes(name, router)?;
        self.routers.insert(name.clone(), router.clone());
        Ok(())
    }

    /// Every next hop is on a connected subnet and is not the router itself.
    pub(super) fn check_routes(&self, name: &Name, router: &Router) -> Result<(), Rejected> {
        let ports: Vec<_> = self.router_ports(router).collect();
        for route in &router.routes {
            let hop = route.next_hop;
            let inside = ports.iter().any(|port| self.subnets_at(port).any(|(_, subnet)| subnet.cidr.contains(&hop)));
            let outside = router.gateway.as_ref().is_some_and(|g| self.subnet_at(&g.network, hop).is_some());
            let text = format!("the route {} via {hop} of router {name}", route.destination);
            if family_of(&route.destination) != Family::of(hop) {
                return refused(RejectedKind::InvalidRoutes, format!("{text} mixes IPv4 and IPv6"));
            }
            if !inside && !outside {
                let reason = format!("{text} has its next hop on no connected subnet");
                return refused(RejectedKind::InvalidRoutes, reason);
            }
            let own = ports.iter().flat_map(|port| &port.addresses);
            if own.chain(router.gateway.iter().flat_map(|g| &g.addresses)).any(|address| *address == hop) {
                return refused(RejectedKind::InvalidRoutes, format!("{text} leads to the router itself"));
            }
        }
        Ok(())
    }
}

/// Refuses two subnets on one router that overlap.
pub(super) fn check_apart(
    router: &Name,
    (name, subnet): (&Name, &Subnet),
    (other_name, other): (&Name, &Subnet),
) -> Result<(), Rejected> {
    if overlap(&subnet.cidr, &other.cidr) {
        let reason = format!(
            "{} of subnet {name} overlaps with {} of subnet {other_name} on router {router}",
            subnet.cidr, other.cidr
        );
        return refused(RejectedKind::BadRequest, reason);
    }
    Ok(())
}
