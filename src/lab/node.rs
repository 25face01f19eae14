//! Instances and machines outside: namespaces with a real stack of their own.
//!
//! In: the topology of nodes. Out: devices, addresses, routes and hidden ports that match it. Never: an address or a route
//! taken away: what loses one is made anew, a device or the whole machine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

use futures_util::future::try_join_all;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteMessage, RouteScope, RouteType};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};

use super::fabric::{Fabric, Node, Port};
use super::make::{self, ICMP_SYSCTLS, Indexes, Stock, failed};
use super::ports;
use crate::dataplane::DataplaneError;
use crate::kernel::apply;
use crate::kernel::extack::NetlinkError;
use crate::kernel::links::{self, End};
use crate::kernel::netns::LOOPBACK_INDEX;
use crate::kernel::nft::replace_netdev;
use crate::kernel::request::acknowledged;
use crate::name::{DeviceName, Name};
use crate::namespace::Route;
use crate::net::{IpNet, TABLE_LOCAL, TABLE_MAIN};
use crate::topology::{NodeAttach, NodePort, NodeTopology, Topology};

/// A machine's stack says nothing on its own, needs no reverse path, and has every address at once.
const SYSCTLS: [(&str, &str); 6] = [
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv6.conf.default.accept_ra", "0"),
    ("net.ipv6.conf.default.router_solicitations", "0"),
    ("net.ipv6.conf.default.dad_transmits", "0"),
    ("net.ipv6.conf.all.accept_ra", "0"),
];
/// What a machine that routes has besides. It tells nobody of shorter ways: whether and when a kernel follows an ICMP
/// redirect depends on what it knows of the neighbour by then, so no two runs would be alike. And what one has that routes no
/// longer.
const FORWARDING: [(&str, &str, &str); 4] = [
    ("net.ipv4.ip_forward", "1", "0"),
    ("net.ipv6.conf.all.forwarding", "1", "0"),
    ("net.ipv4.conf.all.send_redirects", "0", "0"),
    ("net.ipv4.conf.default.send_redirects", "0", "0"),
];

/// A device of a machine: its name and its number.
pub(super) type PortId = (Name, usize);

/// The name of a machine's device.
pub(super) fn device(number: usize) -> DeviceName {
    DeviceName::cut("eth", &number.to_string())
}

/// Whether the machine has to be made anew rather than changed.
pub(super) fn replaced(old: &NodeTopology, new: &NodeTopology) -> bool {
    let kept = |route| new.routes.contains(route);
    !old.routes.iter().all(kept) || !old.also.iter().all(|net| new.also.contains(net))
}

/// Devices that have to go: of machines that go, changed in more than their MTU, or plugged into what goes. A cable goes as
/// a whole.
pub(super) fn stale(fabric: &Fabric, topology: &Topology) -> BTreeSet<PortId> {
    let mut stale = BTreeSet::new();
    for (name, node) in &fabric.nodes {
        let new = topology.nodes.get(name).filter(|new| !replaced(&node.topology, new));
        for (number, old) in node.topology.ports.iter().enumerate() {
            let port = new.and_then(|new| new.ports.get(number));
            if !port.is_some_and(|new| same(old, new)) || !stands(fabric, topology, &old.attach) {
                stale.insert((name.clone(), number));
            }
        }
    }
    let ports = |(name, number): &PortId| fabric.nodes.get(name).and_then(|node| node.topology.ports.get(*number));
    let far_ends: Vec<PortId> = stale
        .iter()
        .filter_map(|id| match &ports(id)?.attach {
            NodeAttach::Node(name, number) => Some((name.clone(), *number)),
            NodeAttach::Tenant(_, _) | NodeAttach::Segment(_) => None,
        })
        .collect();
    stale.extend(far_ends);
    stale
}

fn same(old: &NodePort, new: &NodePort) -> bool {
    (&old.attach, old.mac, &old.addresses, &old.on_link) == (&new.attach, new.mac, &new.addresses, &new.on_link)
}

/// Whether the bridge that a device is plugged into stays.
fn stands(fabric: &Fabric, topology: &Topology, attach: &NodeAttach) -> bool {
    match attach {
        NodeAttach::Tenant(host, network) => {
            let standing = fabric.hosts.get(host).and_then(|host| host.networks.get(network));
            let wanted = topology.hosts.get(host).and_then(|host| host.networks.get(network));
            standing.zip(wanted).is_some_and(|(standing, wanted)| standing.vni == wanted.vni)
        }
        NodeAttach::Segment(segment) => topology.segments.contains_key(segment),
        NodeAttach::Node(_, _) => true,
    }
}

/// Makes all machines match. What is stale has gone before.
pub(super) async fn nodes(
    stock: &Stock<'_>,
    indexes: &Indexes,
    fabric: &mut Fabric,
    topology: &Topology,
) -> Result<(), DataplaneError> {
    for (name, want) in &topology.nodes {
        if !fabric.nodes.contains_key(name) {
            let node = create(stock, name, want).map_err(failed(format!("make {name}")))?;
            fabric.nodes.insert(name.clone(), node);
        }
    }
    let mut fresh = plugs(indexes, fabric, topology).await?;
    fresh.extend(cables(indexes, fabric, topology).await?);
    let made: BTreeSet<PortId> = fresh.keys().cloned().collect();
    for ((name, number), port) in fresh {
        if let Some(node) = fabric.nodes.get_mut(&name) {
            node.ports.insert(number, port);
        }
    }
    let all = fabric.nodes.iter_mut().filter_map(|(name, node)| Some((name, node, topology.nodes.get(name)?)));
    try_join_all(all.map(|(name, node, want)| furnish(name, node, want, &made))).await.map(drop)
}

fn create(stock: &Stock<'_>, name: &Name, want: &NodeTopology) -> Result<Node, DataplaneError> {
    let forwarding = FORWARDING.iter().filter(|_| want.forwards).map(|(key, value, _)| (*key, *value));
    let sysctls: Vec<(&str, &str)> = SYSCTLS.iter().chain(&ICMP_SYSCTLS).copied().chain(forwarding).collect();
    let netns = stock.namespace(name.as_str(), &sysctls)?;
    let topology = NodeTopology { ports: Vec::new(), ..want.clone() };
    Ok(Node { netns, topology, ports: BTreeMap::new(), rules: Vec::new() })
}

/// Devices to make: those of the topology that do not stand.
fn missing<'a>(fabric: &'a Fabric, topology: &'a Topology) -> impl Iterator<Item = (PortId, &'a Node, &'a NodePort)> {
    let nodes = fabric.nodes.iter().filter_map(|(name, node)| Some((name, node, topology.nodes.get(name)?)));
    nodes.flat_map(|(name, node, want)| {
        let ports = want.ports.iter().enumerate().filter(|(number, _)| !node.ports.contains_key(number));
        ports.map(move |(number, port)| ((name.clone(), number), node, port))
    })
}

/// Makes the missing devices that go to a bridge.
async fn plugs(
    indexes: &Indexes,
    fabric: &Fabric,
    topology: &Topology,
) -> Result<BTreeMap<PortId, Port>, DataplaneError> {
    let pluggable =
        missing(fabric, topology).filter_map(|(id, node, port)| Some((id, node, port, fabric.bridge(&port.attach)?)));
    let ports = try_join_all(pluggable.map(|(id, node, port, plug)| async move {
        let (index, name) = (indexes.next(), device(id.1));
        let near = End { name: name.as_str(), index, mac: port.mac, mtu: port.mtu };
        let doing = failed(format!("plug {} of {} into {}", near.name, id.0, attach_text(&port.attach)));
        let far_index = make::plugged(indexes, &node.netns, near, &plug).await.map_err(doing)?;
        Ok::<_, DataplaneError>((id, Port { index, far: plug.netns, far_index }))
    }));
    Ok(ports.await?.into_iter().collect())
}

fn attach_text(attach: &NodeAttach) -> String {
    match attach {
        NodeAttach::Tenant(host, network) => format!("network {network} on {host}"),
        NodeAttach::Segment(segment) => format!("segment {segment}"),
        NodeAttach::Node(node, number) => format!("{} of {node}", device(*number)),
    }
}

/// Makes the missing cables between machines, both ends of each.
async fn cables(
    indexes: &Indexes,
    fabric: &Fabric,
    topology: &Topology,
) -> Result<BTreeMap<PortId, Port>, DataplaneError> {
    let ends: BTreeMap<PortId, (&Node, &NodePort)> =
        missing(fabric, topology).map(|(id, node, port)| (id, (node, port))).collect();
    let pairs = ends.iter().filter_map(|(id, (node, port))| {
        let NodeAttach::Node(name, number) = &port.attach else { return None };
        let far_id = (name.clone(), *number);
        let (far_node, far_port) = ends.get(&far_id)?;
        (*id < far_id).then_some(((id.clone(), *node, *port), (far_id, *far_node, *far_port)))
    });
    let made = try_join_all(pairs.map(|((id, node, port), (far_id, far_node, far_port))| async move {
        let (index, far_index) = (indexes.next(), indexes.next());
        let (name, far_name) = (device(id.1), device(far_id.1));
        let near = End { name: name.as_str(), index, mac: port.mac, mtu: port.mtu };
        let far = End { name: far_name.as_str(), index: far_index, mac: far_port.mac, mtu: far_port.mtu };
        let cable = async {
            links::veth(&node.netns, near, true, &far_node.netns, far).await?;
            links::set_up(&far_node.netns, far_index, true).await?;
            links::neighbour_timing(far_node.netns.handle(), far_index).await?;
            links::neighbour_timing(node.netns.handle(), index).await
        };
        cable.await.map_err(failed(format!("connect {} and {}", id.0, far_id.0)))?;
        let ends = [
            (id, Port { index, far: Rc::clone(&far_node.netns), far_index }),
            (far_id, Port { index: far_index, far: Rc::clone(&node.netns), far_index: index }),
        ];
        Ok::<_, DataplaneError>(ends)
    }));
    Ok(made.await?.into_iter().flatten().collect())
}

/// Gives a machine its addresses and routes, hides its ports, and notes that it is as wanted.
async fn furnish(
    name: &Name,
    node: &mut Node,
    want: &NodeTopology,
    made: &BTreeSet<PortId>,
) -> Result<(), DataplaneError> {
    let fresh: BTreeSet<usize> = made.iter().filter(|(owner, _)| owner == name).map(|(_, number)| *number).collect();
    if node.topology == *want && fresh.is_empty() {
        return Ok(());
    }
    if node.topology.forwards != want.forwards {
        let value = |(key, on, off): &(&'static str, _, _)| (*key, if want.forwards { *on } else { *off });
        let sysctls: Vec<(&str, &str)> = FORWARDING.iter().map(value).collect();
        make::set_sysctls(&node.netns, &sysctls).map_err(failed(format!("have {name} forward or not")))?;
    }
    addresses(node, want, &fresh).await.map_err(failed(format!("give {name} its addresses and routes")))?;
    for address in gained(node, want, &fresh) {
        apply::announce(&node.netns, &device(0), address).map_err(|failure| DataplaneError::Topology {
            doing: format!("announce {address} from {name}"),
            reason: failure.reason(),
        })?;
    }
    let chains = ports::chains(want);
    // A chain is lost with its device.
    if chains != node.rules || !fresh.is_empty() {
        replace_netdev(node.netns.nf(), ports::TABLE, &chains).map_err(failed(format!("hide ports of {name}")))?;
        node.rules = chains;
    }
    node.topology = want.clone();
    Ok(())
}

/// Addresses that a machine that stood before owns now besides: neighbours may know them at another one.
fn gained(node: &Node, want: &NodeTopology, fresh: &BTreeSet<usize>) -> Vec<IpAddr> {
    let stood = node.ports.contains_key(&0) && !fresh.contains(&0);
    let new = want.also.iter().filter(|net| stood && !node.topology.also.contains(net));
    new.filter(|net| net.prefix_len() == net.max_prefix_len()).map(IpNet::addr).collect()
}

async fn addresses(node: &Node, want: &NodeTopology, fresh: &BTreeSet<usize>) -> Result<(), NetlinkError> {
    let handle = node.netns.handle();
    for (number, port) in want.ports.iter().enumerate() {
        let Some(made) = node.ports.get(&number) else { continue };
        let was_up = fresh.contains(&number) || node.topology.ports.get(number).is_some_and(|old| old.up);
        if was_up != port.up {
            // At the far end, as a switch does: the machine itself is not asked.
            links::set_up(&made.far, made.far_index, port.up).await?;
            node.netns.stir(made.index);
        }
        if fresh.contains(&number) {
            try_join_all(port.addresses.iter().map(|net| apply::add_address(&node.netns, made.index, net))).await?;
            let on_link = port.on_link.iter().map(|net| Route::on_link(*net, device(number), TABLE_MAIN));
            try_join_all(on_link.map(|route| async move { apply::replace_route(handle, &route, &[made.index]).await }))
                .await?;
        } else if node.topology.ports.get(number).is_some_and(|old| old.mtu != port.mtu) {
            links::set(handle, LinkUnspec::new_with_index(made.index).mtu(port.mtu).build()).await?;
        }
    }
    for net in &want.also {
        match (net.prefix_len() == net.max_prefix_len(), node.ports.get(&0)) {
            // On the device, so that neighbours who ask for it are answered in both families.
            (true, Some(first)) if fresh.contains(&0) || !node.topology.also.contains(net) => {
                apply::add_address(&node.netns, first.index, net).await?;
            }
            (true, _) => {}
            (false, _) => {
                let own = RouteNetlinkMessage::NewRoute(own_prefix(net));
                acknowledged(handle, own, NLM_F_CREATE | NLM_F_REPLACE).await?;
            }
        }
    }
    try_join_all(want.routes.iter().filter_map(|(destination, via)| {
        let on_link = want.ports.iter().position(|port| port.addresses.iter().any(|net| net.contains(via)));
        let number = on_link.unwrap_or(0);
        let index = node.ports.get(&number)?.index;
        let mut route = Route::via(*destination, *via, device(number), TABLE_MAIN);
        route.next_hops.iter_mut().for_each(|hop| hop.onlink = on_link.is_none());
        Some(async move { apply::replace_route(handle, &route, &[index]).await })
    }))
    .await
    .map(drop)
}

/// `local PREFIX dev lo table local`: every address of it is the machine's own.
fn own_prefix(net: &IpNet) -> RouteMessage {
    match net {
        IpNet::V4(net) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .output_interface(LOOPBACK_INDEX)
            .table_id(TABLE_LOCAL)
            .kind(RouteType::Local)
            .scope(RouteScope::Host)
            .build(),
        IpNet::V6(net) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .output_interface(LOOPBACK_INDEX)
            .table_id(TABLE_LOCAL)
            .kind(RouteType::Local)
            .build(),
    }
}
