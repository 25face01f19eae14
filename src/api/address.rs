//! Which address is given out: the lowest free one of a pool, and whether one that was asked for can be had.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::intent::{Intent, Rejected, RejectedKind};
use super::lookup::Owner;
use crate::name::Name;
use crate::net::{Family, IpNet, Mac, family_of};

/// First and last address that a port may have: all but the network's own and IPv4's broadcast, where there is room.
pub(super) fn usable(cidr: &IpNet) -> (IpAddr, IpAddr) {
    let (first, last) = (cidr.network(), cidr.broadcast());
    match cidr {
        IpNet::V4(net) if net.prefix_len() < 31 => (next(first).unwrap_or(first), previous(last).unwrap_or(last)),
        IpNet::V6(net) if net.prefix_len() < 127 => (next(first).unwrap_or(first), last),
        IpNet::V4(_) | IpNet::V6(_) => (first, last),
    }
}

/// The prefix of a server behind an upstream router, with the server's address: /24, or /64 for IPv6.
pub(crate) fn behind_prefix(address: IpAddr) -> IpNet {
    let length = if address.is_ipv4() { 24 } else { 64 };
    IpNet::new(address, length).unwrap_or_else(|_too_long| IpNet::from(address))
}

/// The address of whoever forwards for a private link of this prefix, an upstream router or an instance: the first, with the
/// prefix's length.
pub(crate) fn link_hop(prefix: &IpNet) -> IpNet {
    let (first, _) = usable(prefix);
    IpNet::new(first, prefix.prefix_len()).unwrap_or_else(|_too_long| IpNet::from(first))
}

fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(a) => u32::from(a).checked_add(1).map(|n| Ipv4Addr::from(n).into()),
        IpAddr::V6(a) => u128::from(a).checked_add(1).map(|n| Ipv6Addr::from(n).into()),
    }
}

fn previous(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(a) => u32::from(a).checked_sub(1).map(|n| Ipv4Addr::from(n).into()),
        IpAddr::V6(a) => u128::from(a).checked_sub(1).map(|n| Ipv6Addr::from(n).into()),
    }
}

fn addresses(first: IpAddr, last: IpAddr) -> impl Iterator<Item = IpAddr> {
    std::iter::successors(Some(first), |address| next(*address)).take_while(move |address| *address <= last)
}

impl Intent {
    /// The lowest address of the subnet's pools that nobody has, that is not the gateway's, and that the scenario names
    /// nowhere. `purpose` is for the refusal: `the gateway of router r1`.
    pub(super) fn lowest_free(&self, subnet: &Name, purpose: &str) -> Result<IpAddr, Rejected> {
        let wanted = self.known_subnet(subnet)?;
        let held = self.holders(&wanted.network);
        wanted
            .pools
            .iter()
            .flat_map(|(first, last)| addresses(*first, *last))
            .find(|address| {
                !held.contains_key(address) && wanted.gateway != Some(*address) && !self.reserved.contains(address)
            })
            .ok_or_else(|| {
                let reason = format!("subnet {subnet} has no free address left for {purpose}");
                Rejected::new(RejectedKind::IpAddressGenerationFailure, reason)
            })
    }

    /// What a port gets that asks for no address: IPv4 from the network's first such subnet; IPv6 the one made of its MAC on
    /// every subnet where addresses are made so, and one of the first other subnet. Neutron: `_allocate_ips_for_port`.
    pub(super) fn automatic_addresses(&self, network: &Name, mac: Mac, purpose: &str) -> Result<Vec<IpAddr>, Rejected> {
        let given = |family: Family| {
            self.subnets_of(network).find(move |(_, s)| family_of(&s.cidr) == family && !s.ipv6_mode.is_automatic())
        };
        let first = Family::BOTH.into_iter().filter_map(given).map(|(subnet, _)| self.lowest_free(subnet, purpose));
        let mut addresses: Vec<IpAddr> = first.collect::<Result<_, _>>()?;
        for (_, subnet) in self.subnets_of(network).filter(|(_, subnet)| subnet.ipv6_mode.is_automatic()) {
            if let IpAddr::V6(prefix) = subnet.cidr.addr() {
                addresses.push(mac.eui64(prefix).into());
            }
        }
        self.claim(network, &addresses)?;
        Ok(addresses)
    }

    /// Whether every one of `wanted` lies in a subnet of the network, is fit for a port, and is free.
    pub(super) fn claim(&self, network: &Name, wanted: &[IpAddr]) -> Result<(), Rejected> {
        let held = self.holders(network);
        wanted.iter().enumerate().try_for_each(|(index, address)| {
            if wanted.iter().take(index).any(|earlier| earlier == address) {
                return Err(Rejected::new(RejectedKind::InvalidInput, format!("{address} is asked for twice")));
            }
            self.claim_one(network, *address, &held)
        })
    }

    fn claim_one(&self, network: &Name, address: IpAddr, held: &BTreeMap<IpAddr, Owner>) -> Result<(), Rejected> {
        let Some((subnet, found)) = self.subnet_at(network, address) else {
            let prefixes: Vec<String> = self.subnets_of(network).map(|(_, subnet)| subnet.cidr.to_string()).collect();
            let prefixes = if prefixes.is_empty() { "it has none".to_owned() } else { prefixes.join(", ") };
            let reason = format!("{address} is in no subnet of network {network} ({prefixes})");
            return Err(Rejected::new(RejectedKind::InvalidIpForNetwork, reason));
        };
        let (first, last) = usable(&found.cidr);
        if address < first || address > last {
            let reason = format!(
                "{address} is the network or broadcast address of subnet {subnet} ({}), not a port's",
                found.cidr
            );
            return Err(Rejected::new(RejectedKind::InvalidIpForSubnet, reason));
        }
        match held.get(&address) {
            Some(owner) => {
                let reason = format!("{address} on network {network} belongs to {owner} already");
                Err(Rejected::new(RejectedKind::IpAddressInUse, reason))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usable_addresses() {
        for (cidr, first, last) in [
            ("10.0.1.0/24", "10.0.1.1", "10.0.1.254"),
            ("10.0.1.0/31", "10.0.1.0", "10.0.1.1"),
            ("10.0.1.7/32", "10.0.1.7", "10.0.1.7"),
            ("2001:db8::/64", "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"),
            ("2001:db8::/127", "2001:db8::", "2001:db8::1"),
        ] {
            let cidr: IpNet = cidr.parse().unwrap();
            assert_eq!(usable(&cidr), (first.parse().unwrap(), last.parse().unwrap()), "{cidr}");
        }
    }

    #[test]
    fn walking_ends_at_the_last_address_there_is() {
        let last: IpAddr = "255.255.255.255".parse().unwrap();
        assert_eq!(addresses("255.255.255.254".parse().unwrap(), last).count(), 2);
    }
}
