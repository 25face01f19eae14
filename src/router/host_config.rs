//! The router dicts of one host, as the server builds them. Ids are names: an interface's port is called like its subnet or
//! port, so is its SNAT port; the gateway port like the router; an agent gateway like its external network; a floating IP
//! like its address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::config::{
    AddressScopes, AgentOptions, FixedIp, HostConfig, NeighbourPort, PortConfig, RouteConfig, RouterConfig,
    SubnetConfig,
};
use super::placement::{floating_ips, port_forwardings};
use crate::api::{AddressPair, AgentMode, Intent, Router, Snat, Subnet};
use crate::name::{HostName, Id, Name};
use crate::net::{Family, Mac, family_of};

/// What the agent of `host` is told. A host that there is not, is told of nothing.
pub fn host_config(intent: &Intent, host: &HostName) -> HostConfig {
    let mode = intent.hosts.get(host).map_or(AgentMode::Dvr, |found| found.mode);
    let here: BTreeMap<&Name, &Router> =
        intent.routers_on(host).into_iter().filter_map(|name| intent.routers.get_key_value(name)).collect();
    let subnets: BTreeSet<&Name> = here
        .values()
        .flat_map(|router| intent.router_ports(router))
        .flat_map(|port| port.addresses.into_iter().filter_map(|address| intent.subnet_at(port.network, address)))
        .map(|(name, _)| name)
        .collect();
    let settings = intent.settings_of(host);
    let options = AgentOptions {
        random_fully: settings.random_ports,
        metadata: settings.metadata,
        deviations: settings.deviations,
        ..AgentOptions::default()
    };
    HostConfig {
        host: host.clone(),
        mode,
        options,
        routers: here
            .iter()
            .map(|(name, router)| (Id::from(*name), router_config(intent, host, name, router)))
            .collect(),
        ports_by_subnet: subnets.into_iter().map(|subnet| (Id::from(subnet), neighbours(intent, subnet))).collect(),
    }
}

fn router_config(intent: &Intent, host: &HostName, name: &Name, router: &Router) -> RouterConfig {
    let gateway = router.gateway.as_ref();
    let interfaces: Vec<_> = intent.router_ports(router).collect();
    let snat_interfaces = interfaces
        .iter()
        .filter_map(|port| Some((port, intent.snat_port(name, port.name)?)))
        .map(|(port, snat)| port_config(intent, port.name, port.network, snat.mac, &snat.addresses))
        .collect();
    let agent_gateways = intent
        .agent_gateways
        .iter()
        .filter(|((_, on), _)| gateway.is_some() && on == host)
        .map(|((network, _), port)| port_config(intent, network, network, port.mac, &port.addresses))
        .collect();
    RouterConfig {
        id: name.into(),
        distributed: true,
        enable_snat: gateway.is_none_or(|found| found.snat == Snat::Enabled),
        gw_port: gateway.map(|g| port_config(intent, name, &g.network, Mac::gateway(name.as_str()), &g.addresses)),
        gw_port_host: gateway.and_then(|found| found.host.clone()),
        interfaces: interfaces
            .iter()
            .map(|port| PortConfig {
                admin_state_up: !intent.ports.get(port.name).is_some_and(|declared| declared.admin_down),
                ..port_config(intent, port.name, port.network, port.mac, &port.addresses)
            })
            .collect(),
        snat_interfaces,
        agent_gateways,
        floating_ips: floating_ips(intent, host, name),
        routes: router
            .routes
            .iter()
            .map(|route| RouteConfig { destination: route.destination, nexthop: route.next_hop })
            .collect(),
        port_forwardings: port_forwardings(intent, host, name, router),
    }
}

/// A port as the server decorates it: prefix lengths, MTU, its subnets and the network's others.
fn port_config(intent: &Intent, id: &Name, network: &Name, mac: Mac, addresses: &[IpAddr]) -> PortConfig {
    let (own, others): (Vec<_>, Vec<_>) = intent
        .subnets_of(network)
        .partition(|(_, subnet)| addresses.iter().any(|address| subnet.cidr.contains(address)));
    let mtu = intent.networks.get(network).map(|found| found.mtu);
    PortConfig {
        id: id.into(),
        network_id: network.into(),
        mac_address: mac,
        mtu: mtu.filter(|_| !addresses.is_empty()),
        admin_state_up: true,
        fixed_ips: fixed_ips(intent, network, addresses),
        subnets: (!addresses.is_empty()).then(|| own.into_iter().map(subnet_config).collect()),
        extra_subnets: others.into_iter().map(subnet_config).collect(),
        address_scopes: address_scopes(intent, network),
    }
}

fn address_scopes(intent: &Intent, network: &Name) -> Option<AddressScopes> {
    let of = |family| intent.address_scope_of(network, family).map(Name::to_string);
    let scopes = AddressScopes { v4: of(Family::V4), v6: of(Family::V6) };
    (scopes != AddressScopes::default()).then_some(scopes)
}

fn subnet_config((name, subnet): (&Name, &Subnet)) -> SubnetConfig {
    SubnetConfig { id: Some(name.into()), cidr: subnet.cidr, gateway_ip: subnet.gateway }
}

fn fixed_ips(intent: &Intent, network: &Name, addresses: &[IpAddr]) -> Vec<FixedIp> {
    addresses
        .iter()
        .filter_map(|address| Some((*address, intent.subnet_at(network, *address)?)))
        .map(|(ip_address, (name, subnet))| FixedIp {
            subnet_id: name.into(),
            ip_address,
            prefixlen: Some(subnet.cidr.prefix_len()),
        })
        .collect()
}

/// Every bound port on a subnet but for the routers' own interfaces: instances by name, each with its address pairs, then
/// SNAT ports.
fn neighbours(intent: &Intent, subnet: &Name) -> Vec<NeighbourPort> {
    let bound = intent.instances.values().filter(|instance| instance.host.is_some());
    let instances =
        bound.flat_map(|instance| instance.ports.iter().filter_map(|port| intent.ports.get(port))).flat_map(|port| {
            let own = neighbour(intent, "compute:nova", &port.network, port.mac, &port.addresses);
            let family = own.family_on(&Id::from(subnet));
            let pairs = port.pairs.iter().filter(move |pair| Some(family_of(&pair.address)) == family);
            let pairs: Vec<NeighbourPort> = pairs.filter_map(|pair| paired(subnet, port.mac, pair)).collect();
            std::iter::once(own).chain(pairs)
        });
    let snat = intent
        .snat_ports
        .iter()
        .filter(|((router, _), _)| {
            intent.routers.get(router).and_then(|r| r.gateway.as_ref()).is_some_and(|gateway| gateway.host.is_some())
        })
        .filter_map(|((_, interface), port)| Some((intent.router_port(interface)?, port)))
        .map(|(inner, port)| {
            neighbour(intent, "network:router_centralized_snat", inner.network, port.mac, &port.addresses)
        });
    let id = Id::from(subnet);
    instances.chain(snat).filter(|port| port.family_on(&id).is_some()).collect()
}

fn neighbour(intent: &Intent, owner: &str, network: &Name, mac: Mac, addresses: &[IpAddr]) -> NeighbourPort {
    NeighbourPort { device_owner: owner.to_owned(), mac, fixed_ips: fixed_ips(intent, network, addresses) }
}

/// An address pair of a single address is a neighbour on every subnet of the port of its family, inside it or not.
/// Reference: `neutron-local-side`, 1.5.
fn paired(subnet: &Name, own: Mac, pair: &AddressPair) -> Option<NeighbourPort> {
    let single = pair.address.prefix_len() == pair.address.max_prefix_len();
    let fixed = FixedIp { subnet_id: subnet.into(), ip_address: pair.address.addr(), prefixlen: None };
    single.then(|| NeighbourPort {
        device_owner: "compute:nova".to_owned(),
        mac: pair.mac.unwrap_or(own),
        fixed_ips: vec![fixed],
    })
}

impl NeighbourPort {
    /// The family of its first address on a subnet.
    fn family_on(&self, subnet: &Id) -> Option<Family> {
        self.fixed_ips.iter().find(|fixed| fixed.subnet_id == *subnet).map(|fixed| Family::of(fixed.ip_address))
    }
}
