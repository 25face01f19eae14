//! Devices of routers: each a veth end whose other end is a port of a bridge, or a device of another router namespace.

use std::rc::Rc;

use futures_util::future::try_join_all;
use netlink_packet_route::link::LinkAttribute;
use nix::errno::Errno;
use rtnetlink::LinkUnspec;

use super::{ApplyFailure, address, gone, index};
use crate::kernel::links::{self, End};
use crate::kernel::netns::{LOOPBACK_INDEX, Netns};
use crate::kernel::removal;
use crate::kernel::settle::settle;
use crate::kernel::{Plug, Surroundings};
use crate::name::{DeviceName, HostName, NamespaceName};
use crate::namespace::{Attach, Link};
use crate::net::{IpNet, Ipv6Net, Mac};

/// Length of the prefix of a link-local address.
const LINK_LOCAL_LENGTH: u8 = 64;

/// Makes a device with its other end.
pub(super) async fn add(
    surroundings: &dyn Surroundings,
    host: &HostName,
    namespace: &NamespaceName,
    netns: &Netns,
    device: &DeviceName,
    link: &Link,
    peer: Option<(Mac, u32)>,
) -> Result<(), ApplyFailure> {
    let near = End { name: device.as_str(), index: surroundings.new_index(), mac: link.mac, mtu: link.mtu };
    match &link.attach {
        Attach::Network(network) => {
            let plug = surroundings.plug(host, network).ok_or_else(|| ApplyFailure::NoBridge(network.clone()))?;
            add_port(surroundings, netns, near, link.up, &plug).await?;
        }
        Attach::Peer { namespace: far_namespace, device: far_device } => {
            let (mac, mtu) = peer.ok_or_else(|| ApplyFailure::NoOtherEnd(device.clone()))?;
            let far_netns = surroundings
                .namespace(host, far_namespace)
                .ok_or_else(|| ApplyFailure::NoNamespace(far_namespace.clone()))?;
            let far = End { name: far_device.as_str(), index: surroundings.new_index(), mac, mtu };
            links::veth(netns, near, link.up, &far_netns, far).await?;
            links::neighbour_timing(far_netns.handle(), far.index).await?;
            if link.up {
                links::set_up(&far_netns, far.index, true).await?;
            }
            let back = Attach::Peer { namespace: namespace.clone(), device: device.clone() };
            far_netns.note_device(far_device, far.index, back);
        }
        Attach::Foreign => return Err(ApplyFailure::NoOtherEnd(device.clone())),
    }
    links::neighbour_timing(netns.handle(), near.index).await?;
    netns.note_device(device, near.index, link.attach.clone());
    Ok(())
}

/// Makes the device with a port of the bridge as its other end. The port is named by its index, since devices of one name
/// may meet in one namespace: a router's gateway device of two hosts on a provider segment.
async fn add_port(
    surroundings: &dyn Surroundings,
    netns: &Netns,
    near: End<'_>,
    up: bool,
    plug: &Plug,
) -> Result<(), ApplyFailure> {
    let port = surroundings.new_index();
    let name = format!("t{port}");
    // A bridge forwards by what it learns; the port's own MAC is never used and only has to differ from the device's.
    let far = End { name: &name, index: port, mac: Mac::derived("port", &name), mtu: links::PORT_MTU };
    links::veth(netns, near, up, &plug.netns, far).await?;
    links::plug(&plug.netns, port, plug.bridge, plug.group).await?;
    Ok(())
}

/// Removes a device, and forgets its other end if that was a device of a router.
pub(super) async fn delete(
    surroundings: &dyn Surroundings,
    host: &HostName,
    netns: &Netns,
    device: &DeviceName,
) -> Result<(), ApplyFailure> {
    let result = match index(netns, device).await {
        Ok(index) => {
            forget_other_end(surroundings, host, &netns.attachment(index));
            removal::device(netns, index).await.map_err(ApplyFailure::from)
        }
        Err(error) => gone(Err(error)),
    };
    netns.forget_device(device);
    result
}

fn forget_other_end(surroundings: &dyn Surroundings, host: &HostName, attach: &Attach) {
    if let Attach::Peer { namespace, device } = attach
        && let Some(far) = surroundings.namespace(host, namespace)
    {
        far.forget_device(device);
    }
}

/// Takes a namespace off the network before it is forgotten. The kernel reaps a namespace some time after the last
/// descriptor is closed, and until then its devices would go on answering: so they go down now, and those whose other end
/// is a device of another router are removed, since they must be gone from there, unless that is about to go as well: to
/// remove a device takes the kernel longer than all the rest (see [`removal`]).
pub(super) async fn leave(surroundings: &dyn Surroundings, host: &HostName, netns: &Netns) -> Result<(), ApplyFailure> {
    let all = links::all(netns.handle()).await?.into_iter().map(|link| link.header.index);
    let indexes = all.filter(|index| *index != LOOPBACK_INDEX);
    try_join_all(indexes.map(|index| async move {
        let attach = netns.attachment(index);
        if let Attach::Peer { namespace, .. } = &attach {
            forget_other_end(surroundings, host, &attach);
            if !surroundings.is_leaving(host, namespace) {
                return Ok(removal::device(netns, index).await?);
            }
        }
        gone(links::set_up(netns, index, false).await)
    }))
    .await?;
    Ok(())
}

/// Sets a device up or down. The other end may get a carrier by it.
pub(super) async fn set_up(
    surroundings: &dyn Surroundings,
    host: &HostName,
    netns: &Netns,
    device: &DeviceName,
    up: bool,
) -> Result<(), ApplyFailure> {
    let index = index(netns, device).await?;
    links::set_up(netns, index, up).await?;
    if let (true, Some(far)) = (up, other_side(surroundings, host, netns, index)) {
        let link = links::named(netns.handle(), device).await?;
        let ends = link.attributes.iter();
        ends.for_each(|attribute| {
            if let LinkAttribute::Link(index) = attribute {
                far.stir(*index);
            }
        });
    }
    Ok(())
}

/// Waits until frames that leave by the device arrive at the other end's side.
pub(super) async fn ready(
    surroundings: &dyn Surroundings,
    host: &HostName,
    netns: &Netns,
    device: &DeviceName,
) -> Result<(), ApplyFailure> {
    let index = index(netns, device).await?;
    settle(netns).await?;
    if let Some(far) = other_side(surroundings, host, netns, index) {
        settle(&far).await?;
    }
    Ok(())
}

/// The namespace of a device's other end, if it is known.
fn other_side(surroundings: &dyn Surroundings, host: &HostName, netns: &Netns, index: u32) -> Option<Rc<Netns>> {
    match netns.attachment(index) {
        Attach::Network(network) => surroundings.plug(host, &network).map(|plug| plug.netns),
        Attach::Peer { namespace, .. } => surroundings.namespace(host, &namespace),
        Attach::Foreign => None,
    }
}

pub(super) async fn set_mtu(netns: &Netns, device: &DeviceName, mtu: u32) -> Result<(), ApplyFailure> {
    let index = index(netns, device).await?;
    Ok(links::set(netns.handle(), LinkUnspec::new_with_index(index).mtu(mtu).build()).await?)
}

/// Sets the MAC, and makes the kernel's link-local address follow, which it would do only for a device that comes up.
pub(super) async fn set_mac(netns: &Netns, device: &DeviceName, mac: Mac) -> Result<(), ApplyFailure> {
    let handle = netns.handle();
    let before = links::named(handle, device).await?;
    let index = before.header.index;
    let old = before.attributes.iter().find_map(links::mac_of);
    links::set(handle, LinkUnspec::new_with_index(index).address(mac.0.to_vec()).build()).await?;
    let Some(old) = old.filter(|old| *old != mac) else { return Ok(()) };
    match address::delete_at(handle, index, &link_local(old)).await {
        Ok(()) => match address::add(netns, index, &link_local(mac)).await {
            Err(error) if error.errno() == Some(Errno::EEXIST) => Ok(()),
            added => Ok(added?),
        },
        other => gone(other),
    }
}

/// The address that the kernel makes of a MAC, as it stands on a device.
fn link_local(mac: Mac) -> IpNet {
    Ipv6Net::new_assert(mac.link_local(), LINK_LOCAL_LENGTH).into()
}
