//! From the fabric that stands to the one that is wanted.
//!
//! In: a topology. Out: namespaces and devices. Never: a change to what is as wanted already. What goes, goes first and in
//! one request a namespace, which is quicker than one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use futures_util::future::try_join_all;
use nix::errno::Errno;
use rtnetlink::LinkUnspec;
use tokio::runtime;

use super::fabric::{Fabric, Segment};
use super::make::{Indexes, SWITCH_SYSCTLS, Stock, failed};
use super::{host, node};
use crate::dataplane::DataplaneError;
use crate::kernel::removal::{self, RemovalError};
use crate::kernel::watch::WatchPost;
use crate::kernel::{NO_GROUP, Netns, Plug, links};
use crate::name::{HostName, Id};
use crate::topology::Topology;

/// The bridge of a provider segment, in its namespace.
pub(super) const SEGMENT_BRIDGE: &str = "br";

/// The device group of what is about to go.
const DOOMED: u32 = 0x000d_00ed;

/// Makes everything match.
pub(super) async fn shape(
    runtime: &runtime::Handle,
    indexes: &Indexes,
    fabric: &mut Fabric,
    topology: &Topology,
) -> Result<(), DataplaneError> {
    remove(fabric, topology).await?;
    let stock = &Stock::new(runtime, missing(fabric, topology))?;
    hosts(stock, indexes, fabric, topology).await?;
    host::cut(fabric, topology).map_err(failed("cut the underlay"))?;
    segments(stock, indexes, fabric, topology).await?;
    node::nodes(stock, indexes, fabric, topology).await
}

/// How many namespaces have to be made.
fn missing(fabric: &Fabric, topology: &Topology) -> usize {
    let hosts = topology.hosts.keys().filter(|name| !fabric.hosts.contains_key(*name)).count();
    let segments = topology.segments.keys().filter(|id| !fabric.segments.contains_key(*id)).count();
    let nodes = topology.nodes.keys().filter(|name| !fabric.nodes.contains_key(*name)).count();
    let underlay = usize::from(fabric.underlay.is_none() && !topology.hosts.is_empty());
    hosts + segments + nodes + underlay
}

/// Device indexes to remove, by the inode of their namespace.
#[derive(Default)]
struct Doomed(BTreeMap<u64, (Rc<Netns>, BTreeSet<u32>)>);

impl Doomed {
    fn add(&mut self, netns: &Rc<Netns>, indexes: impl IntoIterator<Item = u32>) {
        let (_, devices) = self.0.entry(netns.inode()).or_insert_with(|| (Rc::clone(netns), BTreeSet::new()));
        devices.extend(indexes);
    }

    async fn remove(self) -> Result<(), RemovalError> {
        for (netns, indexes) in self.0.into_values() {
            for index in indexes {
                let mark = LinkUnspec::new_with_index(index).link_group(DOOMED).build();
                match links::set(netns.handle(), mark).await {
                    // Of a cable whose two ends are to go, one may be gone.
                    Err(error) if error.errno() == Some(Errno::ENODEV) => {}
                    other => other?,
                }
            }
            removal::group(&netns, DOOMED).await?;
        }
        Ok(())
    }
}

/// Removes what is not wanted, or not as it is.
async fn remove(fabric: &mut Fabric, topology: &Topology) -> Result<(), DataplaneError> {
    let mut doomed = Doomed::default();
    for (name, number) in node::stale(fabric, topology) {
        let node = fabric.nodes.get_mut(&name);
        if let Some(port) = node.and_then(|node| node.ports.remove(&number)) {
            doomed.add(&port.far, [port.far_index]);
        }
    }
    for (name, host) in &mut fabric.hosts {
        let wanted = topology.hosts.get(name);
        if wanted.is_none()
            && let Some(underlay) = &fabric.underlay
        {
            doomed.add(&underlay.netns, [host.port]);
        }
        let Some(wanted) = wanted else { continue };
        let standing = std::mem::take(&mut host.networks);
        for (id, network) in std::mem::take(&mut host.idle).into_iter().chain(standing) {
            match wanted.networks.get(&id) {
                Some(want) if want.vni == network.vni => drop(host.networks.insert(id, network)),
                Some(_another) => doomed.add(&host.netns, network.devices()),
                None => drop(host.idle.insert(id, network)),
            }
        }
    }
    doomed.remove().await.map_err(failed("remove devices"))?;
    unplug(fabric, topology).await.map_err(failed("unplug hosts from the provider segments"))?;
    fabric.hosts.retain(|name, _| topology.hosts.contains_key(name));
    fabric.segments.retain(|id, _| topology.segments.contains_key(id));
    fabric
        .nodes
        .retain(|name, node| topology.nodes.get(name).is_some_and(|want| !node::replaced(&node.topology, want)));
    Ok(())
}

/// A host that goes takes all its ends of the segments along at once: nothing of it answers any more, long before the kernel
/// has reaped its namespaces.
async fn unplug(fabric: &Fabric, topology: &Topology) -> Result<(), RemovalError> {
    for (_, host) in fabric.hosts.iter().filter(|(name, _)| !topology.hosts.contains_key(*name)) {
        for segment in fabric.segments.values() {
            removal::group(&segment.plug.netns, host.group()).await?;
        }
    }
    Ok(())
}

async fn hosts(
    stock: &Stock<'_>,
    indexes: &Indexes,
    fabric: &mut Fabric,
    topology: &Topology,
) -> Result<(), DataplaneError> {
    let missing: BTreeSet<HostName> =
        topology.hosts.keys().filter(|name| !fabric.hosts.contains_key(*name)).cloned().collect();
    if !missing.is_empty() {
        let underlay = match fabric.underlay.take() {
            Some(underlay) => underlay,
            None => host::underlay(stock, indexes).await?,
        };
        let new = topology.hosts.iter().filter(|(name, _)| missing.contains(*name));
        let made = try_join_all(new.map(|(name, host)| host::host(stock, indexes, &underlay, name, host.underlay)));
        fabric.hosts.extend(missing.iter().cloned().zip(made.await?));
        fabric.underlay = Some(underlay);
        host::introduce(&fabric.hosts, &missing).await?;
    }
    let all = fabric.hosts.iter_mut().filter_map(|(name, host)| Some((name, host, topology.hosts.get(name)?)));
    try_join_all(all.map(|(name, host, wanted)| host::networks(indexes, topology, name, host, wanted))).await.map(drop)
}

async fn segments(
    stock: &Stock<'_>,
    indexes: &Indexes,
    fabric: &mut Fabric,
    topology: &Topology,
) -> Result<(), DataplaneError> {
    for (id, mtu) in &topology.segments {
        let segment = match fabric.segments.remove(id) {
            Some(segment) => segment,
            None => new_segment(stock, indexes, id, *mtu).await?,
        };
        if segment.mtu != *mtu {
            let bridge = LinkUnspec::new_with_index(segment.plug.bridge).mtu(*mtu).build();
            let set = links::set(segment.plug.netns.handle(), bridge).await;
            set.map_err(failed(format!("set the MTU of segment {id}")))?;
        }
        fabric.segments.insert(id.clone(), Segment { mtu: *mtu, ..segment });
    }
    Ok(())
}

async fn new_segment(stock: &Stock<'_>, indexes: &Indexes, id: &Id, mtu: u32) -> Result<Segment, DataplaneError> {
    let netns = stock.namespace(&format!("seg-{id}"), &SWITCH_SYSCTLS)?;
    let end = host::bridge_end(SEGMENT_BRIDGE, indexes.next(), mtu);
    links::bridge(netns.handle(), end).await.map_err(failed(format!("make segment {id}")))?;
    let watch = WatchPost::open(&netns).map_err(failed(format!("watch segment {id}")))?;
    Ok(Segment { plug: Plug { netns, bridge: end.index, group: NO_GROUP }, mtu, watch })
}
