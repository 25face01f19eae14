//! Changes to subnets: their gateways and their address scopes.

use std::collections::BTreeMap;

use super::intent::{Intent, Rejected, RejectedKind};
use super::lookup::Owner;
use super::resource::Subnet;
use crate::name::Name;
use crate::net::{Family, family_of};

fn refused<T>(kind: RejectedKind, reason: String) -> Result<T, Rejected> {
    Err(Rejected::new(kind, reason))
}

impl Intent {
    /// Only gateways and address scopes can change.
    pub(super) fn update_subnets(&mut self, subnets: &BTreeMap<Name, Subnet>) -> Result<(), Rejected> {
        for (name, subnet) in subnets {
            let before = self.known_subnet(name)?;
            if (&before.network, before.cidr, &before.pools) != (&subnet.network, subnet.cidr, &subnet.pools) {
                let reason = format!("the network, cidr and pools of subnet {name} cannot change");
                return refused(RejectedKind::InvalidInput, reason);
            }
            if before.gateway != subnet.gateway {
                self.check_new_gateway(name, before, subnet)?;
            }
        }
        self.subnets.extend(subnets.iter().map(|(name, subnet)| (name.clone(), subnet.clone())));
        subnets.iter().try_for_each(|(name, subnet)| self.check_address_scope(name, subnet))
    }

    /// Nobody but the upstream router may have the old gateway address, and nobody the new one.
    fn check_new_gateway(&self, name: &Name, before: &Subnet, after: &Subnet) -> Result<(), Rejected> {
        let held = self.holders(&before.network);
        if let Some((gateway, Owner::Interface(router, _))) =
            before.gateway.and_then(|gateway| Some((gateway, held.get(&gateway)?)))
        {
            let reason = format!("the gateway {gateway} of subnet {name} belongs to router {router}: detach it first");
            return refused(RejectedKind::GatewayIpInUse, reason);
        }
        let Some(gateway) = after.gateway else { return Ok(()) };
        self.check_gateway_place(name, after)?;
        match held.get(&gateway) {
            Some(owner) => {
                let reason = format!("{gateway} on network {} belongs to {owner} already", after.network);
                refused(RejectedKind::IpAddressInUse, reason)
            }
            None => Ok(()),
        }
    }

    /// The gateway of a tenant subnet is a router's address on it; that of an external one may be anywhere on the link.
    pub(super) fn check_gateway_place(&self, name: &Name, subnet: &Subnet) -> Result<(), Rejected> {
        let cidr = subnet.cidr;
        let Some(gateway) = subnet.gateway.filter(|gateway| !cidr.contains(gateway)) else { return Ok(()) };
        if !self.known_network(&subnet.network)?.external {
            let reason = format!("the gateway {gateway} of subnet {name} lies outside its cidr {cidr}");
            return refused(RejectedKind::InvalidInput, reason);
        }
        if Family::of(gateway) != family_of(&cidr) {
            let reason = format!("the upstream router {gateway} of subnet {name} is of another family than {cidr}");
            return refused(RejectedKind::InvalidInput, reason);
        }
        Ok(())
    }

    /// The scope exists, and the other subnets of the network and family have the same. Neutron: they come from one pool.
    pub(super) fn check_address_scope(&self, name: &Name, subnet: &Subnet) -> Result<(), Rejected> {
        let scope = subnet.address_scope.as_ref();
        if let Some(scope) = scope.filter(|scope| !self.address_scopes.contains(*scope)) {
            return refused(RejectedKind::InvalidInput, format!("there is no address scope {scope}"));
        }
        let mut others = self.subnets_of(&subnet.network).filter(|(other, found)| {
            *other != name && family_of(&found.cidr) == family_of(&subnet.cidr) && found.address_scope.as_ref() != scope
        });
        match others.next() {
            Some((other, _)) => {
                let reason = format!(
                    "subnets {name} and {other} of network {} have different address scopes: those of a family come from \
                     one subnet pool",
                    subnet.network
                );
                refused(RejectedKind::NetworkAddressScopeAffinityError, reason)
            }
            None => Ok(()),
        }
    }

    pub(super) fn delete_address_scope(&mut self, name: &Name) -> Result<(), Rejected> {
        if !self.address_scopes.contains(name) {
            return refused(RejectedKind::InvalidInput, format!("there is no address scope {name}"));
        }
        if let Some((subnet, _)) = self.subnets.iter().find(|(_, subnet)| subnet.address_scope.as_ref() == Some(name)) {
            return refused(RejectedKind::AddressScopeInUse, format!("subnet {subnet} has the address scope {name}"));
        }
        self.address_scopes.remove(name);
        Ok(())
    }

    /// The address scope of a network's subnets of a family.
    pub fn address_scope_of<'a>(&'a self, network: &'a Name, family: Family) -> Option<&'a Name> {
        let of_family = self.subnets_of(network).filter(|(_, subnet)| family_of(&subnet.cidr) == family);
        of_family.into_iter().find_map(|(_, subnet)| subnet.address_scope.as_ref())
    }
}
