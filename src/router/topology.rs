//! The lab around the routers, made of what is in force.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use crate::api::{Instance, Intent, Nested, Node, NodePlace, behind_prefix, link_hop};
use crate::name::{HostName, Id, Name};
use crate::net::{Family, IpNet, Mac, family_of};
use crate::topology::{HostTopology, NetworkTopology, NodeAttach, NodePort, NodeTopology, Topology, UNDERLAY_MTU};

/// The underlay's network; hosts have its addresses from 1 in order of declaration: 172.31.0.1, 172.31.0.2 ...
const UNDERLAY: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 0);

/// Everything that is no router: hosts and their layer 2, provider segments, instances that run, and the outside.
///
/// Servers behind an upstream router share a segment of their own, `lan_NETWORK` (a name that no scenario can give), so that
/// one more of them changes nothing for the others.
pub fn topology(intent: &Intent) -> Topology {
    let placed: BTreeMap<&HostName, Vec<PlacedPort<'_>>> =
        intent.host_order.iter().map(|host| (host, placed_ports(intent, host))).collect();
    let networks: BTreeMap<&HostName, BTreeSet<&Name>> =
        placed.iter().map(|(host, ports)| (*host, networks_on(intent, host, ports))).collect();
    let hosts = intent.host_order.iter().zip(1..).map(|(host, number)| {
        let here = networks.get(host).into_iter().flatten();
        let networks = here.map(|network| (Id::from(*network), network_on(intent, host, network, &placed, &networks)));
        let underlay = Ipv4Addr::from(u32::from(UNDERLAY).saturating_add(number));
        let networks = networks.collect();
        (host.clone(), HostTopology { underlay, mtu: UNDERLAY_MTU, dvr_mac: Mac::dvr(host.as_str()), networks })
    });
    let instances = intent.instances.iter().filter_map(|(name, instance)| {
        let node = match &instance.behind {
            None => instance_node(intent, name, instance),
            Some(link) => nested_node(intent, name, instance, link),
        };
        Some((name.clone(), node?))
    });
    let outside = intent.outside.iter().map(|(name, node)| (name.clone(), outside_node(intent, name, node)));
    Topology {
        hosts: hosts.collect(),
        segments: segments(intent),
        nodes: instances.chain(outside).collect(),
        cuts: BTreeSet::new(),
    }
}

/// A port that frames from other hosts' routers reach: an instance's or a SNAT port.
struct PlacedPort<'a> {
    network: &'a Name,
    mac: Mac,
    addresses: &'a [IpAddr],
}

fn placed_ports<'a>(intent: &'a Intent, host: &HostName) -> Vec<PlacedPort<'a>> {
    let instances = intent
        .instances
        .values()
        .filter(|instance| instance.host.as_ref() == Some(host))
        .flat_map(|instance| instance.ports.iter().filter_map(|port| intent.ports.get(port)))
        .map(|port| PlacedPort { network: &port.network, mac: port.mac, addresses: &port.addresses });
    let snat = intent
        .snat_ports
        .iter()
        .filter(|((router, _), _)| {
            let gateway = intent.routers.get(router).and_then(|found| found.gateway.as_ref());
            gateway.is_some_and(|found| found.host.as_ref() == Some(host))
        })
        .filter_map(|((_, interface), port)| {
            let network = intent.router_port(interface)?.network;
            Some(PlacedPort { network, mac: port.mac, addresses: &port.addresses })
        });
    instances.chain(snat).collect()
}

/// The tenant networks that a host needs: those with such a port, and those of the routers it handles.
fn networks_on<'a>(intent: &'a Intent, host: &HostName, ports: &[PlacedPort<'a>]) -> BTreeSet<&'a Name> {
    let routers = intent.routers_on(host);
    let of_routers = routers.into_iter().filter_map(|name| intent.routers.get(name)).flat_map(|router| {
        let networks: Vec<&Name> = intent.router_ports(router).map(|port| port.network).collect();
        networks
    });
    ports.iter().map(|port| port.network).chain(of_routers).collect()
}

fn network_on(
    intent: &Intent,
    host: &HostName,
    network: &Name,
    placed: &BTreeMap<&HostName, Vec<PlacedPort<'_>>>,
    networks: &BTreeMap<&HostName, BTreeSet<&Name>>,
) -> NetworkTopology {
    let router_ports: BTreeMap<Mac, BTreeSet<IpAddr>> = intent
        .routers
        .values()
        .flat_map(|router| intent.router_ports(router))
        .filter(|port| port.network == network)
        .map(|port| (port.mac, port.addresses.into_iter().collect()))
        .collect();
    let on_network = |ports: &&PlacedPort<'_>| ports.network == network;
    let local_ports = placed.get(host).into_iter().flatten().filter(on_network);
    let remote = placed.iter().filter(|(other, _)| **other != host);
    let remote_ports = remote.flat_map(|(other, ports)| {
        ports.iter().filter(on_network).map(|port| (port.mac, HostName::clone(other))).collect::<Vec<_>>()
    });
    let peers = networks.iter().filter(|(other, there)| **other != host && there.contains(network));
    let found = intent.networks.get(network);
    NetworkTopology {
        vni: found.map_or(0, |n| n.vni),
        mtu: found.map_or(0, |n| n.mtu),
        local_ports: local_ports.map(|port| (port.mac, gateway_mac(intent, port, &router_ports))).collect(),
        remote_ports: remote_ports.collect(),
        peers: peers.map(|(other, _)| HostName::clone(other)).collect(),
        router_ports,
    }
}

/// The router port that owns the gateway address of the port's subnet, else the first on that subnet.
fn gateway_mac(intent: &Intent, port: &PlacedPort<'_>, router_ports: &BTreeMap<Mac, BTreeSet<IpAddr>>) -> Option<Mac> {
    let (_, subnet) = intent.subnet_at(port.network, *port.addresses.first()?)?;
    let owner = |fits: &dyn Fn(&IpAddr) -> bool| {
        router_ports.iter().find(|(_, addresses)| addresses.iter().any(fits)).map(|(mac, _)| *mac)
    };
    owner(&|address| subnet.gateway == Some(*address)).or_else(|| owner(&|address| subnet.cidr.contains(address)))
}

fn segments(intent: &Intent) -> BTreeMap<Id, u32> {
    let external = intent.networks.iter().filter(|(_, network)| network.external);
    external
        .flat_map(|(name, network)| {
            let lan = has_servers_behind(intent, name).then(|| (lan_of(name), network.mtu));
            std::iter::once((Id::from(name), network.mtu)).chain(lan)
        })
        .collect()
}

/// The segment of the servers behind the upstream router of a network.
fn lan_of(network: &Name) -> Id {
    Id::new(format!("lan_{network}")).expect("a network's name is short and has an identifier's characters")
}

fn has_servers_behind(intent: &Intent, network: &Name) -> bool {
    intent.outside.values().any(|node| matches!(&node.place, NodePlace::Behind(of) if of == network))
}

/// An instance that runs. After its own ports come the links of those behind it.
fn instance_node(intent: &Intent, name: &Name, instance: &Instance) -> Option<NodeTopology> {
    let host = instance.host.as_ref()?;
    let ports: Vec<_> = instance.ports.iter().filter_map(|name| intent.ports.get(name)).collect();
    let node_ports = ports.iter().map(|port| NodePort {
        attach: NodeAttach::Tenant(host.clone(), Id::from(&port.network)),
        mac: port.mac,
        mtu: mtu_of(intent, &port.network),
        addresses: port.addresses.iter().map(|address| intent.with_prefix(&port.network, *address)).collect(),
        up: !port.admin_down && is_up(intent, &port.network),
        on_link: Vec::new(),
    });
    let mtu = link_mtu(intent, instance);
    let links = intent.nested_in(name).map(|(nested, link)| NodePort {
        attach: NodeAttach::Node(nested.clone(), 0),
        mac: Mac::derived("inner", nested.as_str()),
        mtu,
        addresses: link.addresses.iter().map(link_hop).collect(),
        up: true,
        on_link: Vec::new(),
    });
    let routes = ports.first().map(|port| default_routes(intent, &port.network, &port.addresses)).unwrap_or_default();
    Some(NodeTopology {
        ports: node_ports.chain(links).collect(),
        forwards: intent.nested_in(name).next().is_some(),
        answers: true,
        routes,
        also: instance.also.clone(),
        closed: instance.closed.clone(),
        listen: BTreeSet::new(),
    })
}

/// An instance on a private link behind another one that runs.
fn nested_node(intent: &Intent, name: &Name, instance: &Instance, link: &Nested) -> Option<NodeTopology> {
    let outer = intent.instances.get(&link.instance).filter(|outer| outer.host.is_some())?;
    let number = outer.ports.len() + intent.nested_in(&link.instance).position(|(nested, _)| nested == name)?;
    let port = NodePort {
        attach: NodeAttach::Node(link.instance.clone(), number),
        mac: link.mac,
        mtu: link_mtu(intent, outer),
        addresses: link.addresses.clone(),
        up: true,
        on_link: Vec::new(),
    };
    let routes = link.addresses.iter().map(|net| (family_of(net).any(), link_hop(net).addr()));
    Some(NodeTopology {
        ports: vec![port],
        forwards: false,
        answers: true,
        routes: routes.collect(),
        also: instance.also.clone(),
        closed: instance.closed.clone(),
        listen: BTreeSet::new(),
    })
}

/// What goes over a private link goes over the instance's first network too.
fn link_mtu(intent: &Intent, outer: &Instance) -> u32 {
    let first = outer.ports.first().and_then(|port| intent.ports.get(port));
    first.map_or(0, |port| mtu_of(intent, &port.network))
}

fn outside_node(intent: &Intent, name: &Name, node: &Node) -> NodeTopology {
    let given = || node.routes.iter().map(|route| (route.destination, route.next_hop));
    let (ports, forwards, routes) = match &node.place {
        NodePlace::On(network) => {
            let routes = default_routes(intent, network, &node.addresses).into_iter().chain(given()).collect();
            (vec![segment_port(intent, name, network, &node.addresses)], false, routes)
        }
        NodePlace::Behind(network) => {
            let addresses: Vec<IpNet> = node.addresses.iter().copied().map(behind_prefix).collect();
            let hops = Family::BOTH.into_iter().filter_map(|family| {
                let prefix = addresses.iter().find(|address| family_of(address) == family)?;
                Some((family.any(), link_hop(prefix).addr()))
            });
            let routes = hops.chain(given()).collect();
            (vec![lan_port(intent, name, network, addresses)], false, routes)
        }
        NodePlace::GatewayOf(network) => {
            let port = segment_port(intent, name, network, &node.addresses);
            let mut ports = vec![NodePort { on_link: subnets_beyond(intent, network, &node.addresses), ..port }];
            let hops = hops_behind(intent, network);
            if !hops.is_empty() {
                ports.push(lan_port(intent, name, network, hops));
            }
            (ports, true, given().collect())
        }
    };
    NodeTopology {
        ports,
        forwards,
        answers: !forwards,
        routes,
        also: node.also.clone(),
        closed: node.closed.clone(),
        listen: BTreeSet::new(),
    }
}

fn segment_port(intent: &Intent, node: &Name, network: &Name, addresses: &[IpAddr]) -> NodePort {
    NodePort {
        attach: NodeAttach::Segment(network.into()),
        mac: Mac::derived("outside", node.as_str()),
        mtu: mtu_of(intent, network),
        addresses: addresses.iter().map(|address| intent.with_prefix(network, *address)).collect(),
        up: is_up(intent, network),
        on_link: Vec::new(),
    }
}

/// Subnets of a network that none of the addresses lies in: their upstream router's address is outside of them.
fn subnets_beyond(intent: &Intent, network: &Name, addresses: &[IpAddr]) -> Vec<IpNet> {
    let served = intent.subnets_of(network).filter(|(_, subnet)| subnet.gateway.is_some());
    served
        .map(|(_, subnet)| subnet.cidr)
        .filter(|cidr| !addresses.iter().any(|address| cidr.contains(address)))
        .collect()
}

fn lan_port(intent: &Intent, node: &Name, network: &Name, addresses: Vec<IpNet>) -> NodePort {
    NodePort {
        attach: NodeAttach::Segment(lan_of(network)),
        mac: Mac::derived("lan", node.as_str()),
        mtu: mtu_of(intent, network),
        addresses,
        up: true,
        on_link: Vec::new(),
    }
}

/// The upstream router's addresses towards the servers behind it: the first of each prefix.
fn hops_behind(intent: &Intent, network: &Name) -> Vec<IpNet> {
    let behind = intent.outside.values().filter(|node| matches!(&node.place, NodePlace::Behind(of) if of == network));
    let hops: BTreeSet<IpNet> =
        behind.flat_map(|node| &node.addresses).map(|address| link_hop(&behind_prefix(*address))).collect();
    hops.into_iter().collect()
}

/// For each family the default route by the gateway of the first address's subnet, unless the node is that gateway.
fn default_routes(intent: &Intent, network: &Name, addresses: &[IpAddr]) -> Vec<(IpNet, IpAddr)> {
    Family::BOTH
        .into_iter()
        .filter_map(|family| {
            let address = addresses.iter().find(|address| Family::of(**address) == family)?;
            let gateway = intent.subnet_at(network, *address)?.1.gateway?;
            (!addresses.contains(&gateway)).then(|| (family.any(), gateway))
        })
        .collect()
}

fn is_up(intent: &Intent, network: &Name) -> bool {
    intent.networks.get(network).is_some_and(|found| !found.admin_down)
}

fn mtu_of(intent: &Intent, network: &Name) -> u32 {
    intent.networks.get(network).map_or(0, |found| found.mtu)
}
