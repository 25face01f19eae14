//! Permanent neighbours.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::Handle;

use super::index;
use crate::kernel::extack::NetlinkError;
use crate::kernel::netns::Netns;
use crate::kernel::request::acknowledged;
use crate::name::DeviceName;
use crate::net::Mac;

pub(super) async fn replace(handle: &Handle, index: u32, address: IpAddr, mac: Mac) -> Result<(), NetlinkError> {
    let mut message = message(index, address);
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    acknowledged(handle, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE).await
}

pub(super) async fn delete(netns: &Netns, device: &DeviceName, address: IpAddr) -> Result<(), NetlinkError> {
    let message = message(index(netns, device).await?, address);
    acknowledged(netns.handle(), RouteNetlinkMessage::DelNeighbour(message), 0).await
}

/// Takes away that the device answers for an address that is not its own.
pub(super) async fn delete_proxy(netns: &Netns, device: &DeviceName, address: IpAddr) -> Result<(), NetlinkError> {
    let message = proxy(index(netns, device).await?, address);
    acknowledged(netns.handle(), RouteNetlinkMessage::DelNeighbour(message), 0).await
}

fn proxy(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = message(index, address);
    message.header.flags = NeighbourFlags::Proxy;
    message
}

/// What somebody else may do, and the agent does not.
#[cfg(test)]
pub(super) async fn add_proxy(netns: &Netns, device: &DeviceName, address: IpAddr) -> Result<(), NetlinkError> {
    let message = proxy(index(netns, device).await?, address);
    acknowledged(netns.handle(), RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE).await
}

/// Enters a neighbour that the kernel never asks for, and may forget: what somebody else may do, and the agent does not.
#[cfg(test)]
pub(super) async fn add_noarp(
    netns: &Netns,
    device: &DeviceName,
    address: IpAddr,
    mac: Mac,
) -> Result<(), NetlinkError> {
    let mut message = message(index(netns, device).await?, address);
    message.header.state = NeighbourState::Noarp;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    acknowledged(netns.handle(), RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE).await
}

fn message(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = index;
    let destination = match address {
        IpAddr::V4(v4) => {
            message.header.family = AddressFamily::Inet;
            NeighbourAddress::Inet(v4)
        }
        IpAddr::V6(v6) => {
            message.header.family = AddressFamily::Inet6;
            NeighbourAddress::Inet6(v6)
        }
    };
    message.attributes.push(NeighbourAttribute::Destination(destination));
    message
}
