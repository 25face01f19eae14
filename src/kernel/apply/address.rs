//! Addresses, as the agent sets them: IPv4 with a broadcast address, IPv6 as it is: duplicate address
//! detection is off where devices are made.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::Handle;

use super::index;
use crate::kernel::extack::NetlinkError;
use crate::kernel::netns::Netns;
use crate::kernel::request::acknowledged;
use crate::namespace::{Address, broadcast_of};
use crate::net::IpNet;

/// Adds an address to the device with that index.
///
/// # Errors
/// [`NetlinkError`], EEXIST if it is there.
pub async fn add(netns: &Netns, index: u32, net: &IpNet) -> Result<(), NetlinkError> {
    let mut message = message(index, net);
    message.attributes.push(AddressAttribute::Address(net.addr()));
    message.attributes.extend(broadcast_of(net).map(AddressAttribute::Broadcast));
    acknowledged(netns.handle(), RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL).await?;
    if net.addr().is_ipv6() {
        netns.stir(index);
    }
    Ok(())
}

pub(super) async fn delete(netns: &Netns, address: &Address) -> Result<(), NetlinkError> {
    delete_at(netns.handle(), index(netns, &address.device).await?, &address.net).await
}

pub(super) async fn delete_at(handle: &Handle, index: u32, net: &IpNet) -> Result<(), NetlinkError> {
    acknowledged(handle, RouteNetlinkMessage::DelAddress(message(index, net)), 0).await
}

fn message(index: u32, net: &IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = match net.addr() {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.index = index;
    message.header.prefix_len = net.prefix_len();
    message.attributes.push(AddressAttribute::Local(net.addr()));
    message
}
