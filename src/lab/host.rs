//! Hosts: their place on the underlay, a bridge for each tenant network, and tunnels between those that share one.
//!
//! In: the topology of hosts. Out: devices, forwarding entries and layer-2 rules that match it. Never: an address learned
//! from a tunnel: what is behind it is entered by hand, as the agents' layer-2 population does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use futures_util::future::try_join_all;
use rtnetlink::{LinkBridgePort, LinkUnspec};

use super::fabric::{Fabric, Host, Network, Tunnel};
use super::layer2;
use super::make::{self, Indexes, SWITCH_SYSCTLS, Stock, failed};
use crate::dataplane::DataplaneError;
use crate::kernel::extack::NetlinkError;
use crate::kernel::links::{self, End, Vxlan};
use crate::kernel::nft::{FrameAction, FrameMatch, NetdevChain, NetdevHook, NetdevRule, NftError, replace_netdev};
use crate::kernel::{NO_GROUP, Netns, Plug, apply};
use crate::name::{DeviceName, HostName, Id};
use crate::namespace::Route;
use crate::net::{Ipv4Net, Mac, TABLE_MAIN};
use crate::topology::{HostTopology, NetworkTopology, Topology, UNDERLAY_MTU};

/// The device on the underlay.
pub(super) const UPLINK: &str = "eth0";
/// The bridge that joins the hosts, in its namespace.
pub(super) const UNDERLAY_BRIDGE: &str = "underlay";

/// The namespace and bridge that join the hosts.
pub(super) async fn underlay(stock: &Stock<'_>, indexes: &Indexes) -> Result<Plug, DataplaneError> {
    let netns = stock.namespace("underlay", &SWITCH_SYSCTLS)?;
    let end = bridge_end(UNDERLAY_BRIDGE, indexes.next(), UNDERLAY_MTU);
    links::bridge(netns.handle(), end).await.map_err(failed("make the underlay"))?;
    Ok(Plug { netns, bridge: end.index, group: NO_GROUP })
}

/// A bridge's own MAC says nothing: it has no address.
pub(super) fn bridge_end(name: &str, index: u32, mtu: u32) -> End<'_> {
    End { name, index, mac: Mac::derived("bridge", &index.to_string()), mtu }
}

/// A host's namespace, on the underlay, without networks.
pub(super) async fn host(
    stock: &Stock<'_>,
    indexes: &Indexes,
    underlay: &Plug,
    name: &HostName,
    address: Ipv4Addr,
) -> Result<Host, DataplaneError> {
    let netns = stock.namespace(name.as_str(), &SWITCH_SYSCTLS)?;
    let eth0 = indexes.next();
    let near = End { name: UPLINK, index: eth0, mac: Mac::uplink(name.as_str()), mtu: UNDERLAY_MTU };
    let joined = async {
        let port = make::plugged(indexes, &netns, near, underlay).await?;
        apply::add_address(&netns, eth0, &Ipv4Net::from(address).into()).await?;
        let device = DeviceName::cut(UPLINK, "");
        let everywhere = Route::on_link(Ipv4Net::default().into(), device, TABLE_MAIN);
        apply::replace_route(netns.handle(), &everywhere, &[eth0]).await?;
        Ok::<u32, NetlinkError>(port)
    };
    let port = joined.await.map_err(failed(format!("put host {name} on the underlay")))?;
    let (networks, idle) = (BTreeMap::new(), BTreeMap::new());
    Ok(Host { netns, address, eth0, mtu: UNDERLAY_MTU, port, networks, idle, rules: Vec::new() })
}

/// Enters every host in every other's neighbour table, so that a tunnel never waits for ARP.
pub(super) async fn introduce(
    hosts: &BTreeMap<HostName, Host>,
    new: &BTreeSet<HostName>,
) -> Result<(), DataplaneError> {
    let pairs = hosts.iter().flat_map(|(name, host)| hosts.iter().map(move |other| (name, host, other)));
    let strangers =
        pairs.filter(|(name, _, (other, _))| name != other && (new.contains(*name) || new.contains(*other)));
    try_join_all(strangers.map(|(name, host, (other, there))| async move {
        let neighbours = host.netns.handle().neighbours();
        let entry =
            neighbours.add(host.eth0, IpAddr::V4(there.address)).link_layer_address(&Mac::uplink(other.as_str()).0);
        let added = entry.replace().execute().await.map_err(NetlinkError::from);
        added.map_err(failed(format!("introduce host {other} to {name}")))
    }))
    .await
    .map(drop)
}

/// Makes a host's networks match. Those to go have gone before, or become idle: nothing goes into their tunnels any more.
pub(super) async fn networks(
    indexes: &Indexes,
    topology: &Topology,
    name: &HostName,
    host: &mut Host,
    wanted: &HostTopology,
) -> Result<(), DataplaneError> {
    let (netns, address, eth0) = (Rc::clone(&host.netns), host.address, host.eth0);
    if host.mtu != wanted.mtu {
        let device = LinkUnspec::new_with_index(eth0).mtu(wanted.mtu).build();
        links::set(netns.handle(), device).await.map_err(failed(format!("set the MTU of {UPLINK} of {name}")))?;
        host.mtu = wanted.mtu;
    }
    let mut standing = std::mem::take(&mut host.networks);
    let all = wanted.networks.iter().map(|(id, want)| {
        let (uplink, had) = (Uplink { netns: &netns, address, eth0 }, standing.remove(id));
        async move {
            let network = network(indexes, topology, uplink, id, had, want).await;
            let network = network.map_err(failed(format!("set up network {id} on {name}")))?;
            Ok::<(Id, Network), DataplaneError>((id.clone(), network))
        }
    });
    host.networks = try_join_all(all).await?.into_iter().collect();
    for (id, network) in &mut host.idle {
        if let Some(tunnel) = &mut network.tunnel {
            let silent = entries(&netns, tunnel, BTreeMap::new(), BTreeSet::new()).await;
            silent.map_err(failed(format!("take network {id} off {name}")))?;
        }
    }
    rules(topology, name, host, wanted).map_err(failed(format!("set the layer-2 rules of {name}")))
}

/// What a host's networks stand on.
#[derive(Clone, Copy)]
struct Uplink<'a> {
    netns: &'a Netns,
    address: Ipv4Addr,
    eth0: u32,
}

async fn network(
    indexes: &Indexes,
    topology: &Topology,
    uplink: Uplink<'_>,
    id: &Id,
    had: Option<Network>,
    want: &NetworkTopology,
) -> Result<Network, NetlinkError> {
    let handle = uplink.netns.handle();
    let mut network = if let Some(network) = had {
        network
    } else {
        let bridge = indexes.next();
        links::bridge(handle, bridge_end(bridge_name(id).as_str(), bridge, want.mtu)).await?;
        Network { vni: want.vni, mtu: want.mtu, bridge, tunnel: None }
    };
    if network.mtu != want.mtu {
        let set = |index| links::set(handle, LinkUnspec::new_with_index(index).mtu(want.mtu).build());
        try_join_all(network.devices().map(set)).await?;
        network.mtu = want.mtu;
    }
    if network.tunnel.is_none() && !want.peers.is_empty() {
        network.tunnel = Some(tunnel(indexes, uplink, id, &network).await?);
    }
    if let Some(tunnel) = &mut network.tunnel {
        let end = |host: &HostName| topology.hosts.get(host).map(|host| host.underlay);
        let remote = want.remote_ports.iter().filter_map(|(mac, host)| Some((*mac, end(host)?))).collect();
        entries(uplink.netns, tunnel, remote, want.peers.iter().filter_map(end).collect()).await?;
    }
    Ok(network)
}

async fn tunnel(indexes: &Indexes, uplink: Uplink<'_>, id: &Id, network: &Network) -> Result<Tunnel, NetlinkError> {
    let handle = uplink.netns.handle();
    let index = indexes.next();
    let name = tunnel_name(id);
    let end = End { name: name.as_str(), index, mac: Mac::derived("tunnel", &index.to_string()), mtu: network.mtu };
    let Uplink { address: local, eth0: underlay, .. } = uplink;
    links::vxlan(uplink.netns, &Vxlan { end, vni: network.vni, local, underlay, bridge: network.bridge }).await?;
    // Every MAC behind the tunnel is known: an unknown one is nowhere, and must not be sent to every host.
    let port = LinkBridgePort::new(index).learning(false).flood(false).mcast_flood(true).bcast_flood(true);
    handle.link().set_port(port.build()).execute().await?;
    Ok(Tunnel { index, remote: BTreeMap::new(), flood: BTreeSet::new() })
}

/// What a network's bridge is called on a host.
pub(super) fn bridge_name(id: &Id) -> DeviceName {
    DeviceName::cut("br-", id.as_str())
}

/// What a network's tunnel is called on a host.
pub(super) fn tunnel_name(id: &Id) -> DeviceName {
    DeviceName::cut("vx-", id.as_str())
}

/// Makes a tunnel's forwarding entries match: which host a MAC is behind, and where broadcasts go.
async fn entries(
    netns: &Netns,
    tunnel: &mut Tunnel,
    remote: BTreeMap<Mac, Ipv4Addr>,
    flood: BTreeSet<Ipv4Addr>,
) -> Result<(), NetlinkError> {
    let (handle, index) = (netns.handle(), tunnel.index);
    let changed = |from: &BTreeMap<Mac, Ipv4Addr>, to: &BTreeMap<Mac, Ipv4Addr>| -> Vec<(Mac, Ipv4Addr)> {
        from.iter().filter(|(mac, end)| to.get(mac) != Some(end)).map(|(mac, end)| (*mac, *end)).collect()
    };
    try_join_all(changed(&tunnel.remote, &remote).into_iter().map(|(mac, end)| async move {
        links::fdb_port_delete(handle, index, mac).await?;
        links::fdb_remote_delete(handle, index, mac, end).await
    }))
    .await?;
    try_join_all(changed(&remote, &tunnel.remote).into_iter().map(|(mac, end)| async move {
        links::fdb_remote(handle, index, mac, end).await?;
        links::fdb_port(handle, index, mac).await
    }))
    .await?;
    let gone = tunnel.flood.difference(&flood).map(|end| links::fdb_remote_delete(handle, index, Mac::ZERO, *end));
    try_join_all(gone).await?;
    try_join_all(flood.difference(&tunnel.flood).map(|end| links::fdb_remote(handle, index, Mac::ZERO, *end))).await?;
    (tunnel.remote, tunnel.flood) = (remote, flood);
    Ok(())
}

/// Puts the host's layer-2 rules in place if they are to be others.
fn rules(topology: &Topology, name: &HostName, host: &mut Host, wanted: &HostTopology) -> Result<(), NftError> {
    let others: Vec<Mac> =
        topology.hosts.iter().filter(|(other, _)| *other != name).map(|(_, other)| other.dvr_mac).collect();
    let tunnels = wanted.networks.iter().filter(|(_, network)| !network.peers.is_empty());
    let chains: Vec<NetdevChain> =
        tunnels.flat_map(|(id, network)| layer2::chains(&tunnel_name(id), network, wanted.dvr_mac, &others)).collect();
    if chains != host.rules {
        replace_netdev(host.netns.nf(), layer2::TABLE, &chains)?;
        host.rules = chains;
    }
    Ok(())
}

/// Name of the table on the underlay.
const CUTS: &str = "dvrlab-cuts";

/// Makes the underlay carry nothing between hosts that are cut from each other. Every frame there is to a host's own MAC.
pub(super) fn cut(fabric: &mut Fabric, topology: &Topology) -> Result<(), NftError> {
    let Some(underlay) = &fabric.underlay else { return Ok(()) };
    let drop = |host: &HostName| {
        NetdevRule::does([FrameAction::Drop]).when(FrameMatch::Destination(Mac::uplink(host.as_str())))
    };
    let mut chains = Vec::new();
    for (name, host) in &fabric.hosts {
        let other = |(one, other): &(HostName, HostName)| match (one == name, other == name) {
            (true, _) => Some(drop(other)),
            (_, true) => Some(drop(one)),
            (false, false) => None,
        };
        let rules: Vec<NetdevRule> = topology.cuts.iter().filter_map(other).collect();
        if !rules.is_empty() {
            let device = DeviceName::cut("t", &host.port.to_string());
            chains.push(NetdevChain { name: name.to_string(), device, hook: NetdevHook::Ingress, priority: 0, rules });
        }
    }
    if chains != fabric.cuts {
        replace_netdev(underlay.netns.nf(), CUTS, &chains)?;
        fabric.cuts = chains;
    }
    Ok(())
}
