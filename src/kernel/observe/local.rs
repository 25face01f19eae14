//! Own addresses that nothing is delivered to, since somebody took their route out of table `local`.
//!
//! In: the devices and routes of a dump, and the addresses made of it. Out: the same addresses, those called odd, so that they
//! are made anew, and the route with them. Never: a word on an IPv6 address whose check for being somebody else's is not over:
//! its route comes after that. Even then it comes a little later, by itself, so that it is waited for.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::Handle;

use super::link::Device;
use crate::kernel::extack::NetlinkError;
use crate::kernel::netns::LOOPBACK_INDEX;
use crate::kernel::request::dump;
use crate::namespace::Address;

/// What such an address is called.
const DEAF: &str = "without local route";

/// How long a route to an IPv6 address may take. The kernel makes it in the work that ends the address's check: what has not
/// come by then was taken away.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads the routes until every address has one that delivers to it, or has been waited for.
///
/// # Errors
/// [`NetlinkError`].
pub(super) async fn routes(
    handle: &Handle,
    addresses: &BTreeSet<Address>,
    answers: &[RouteNetlinkMessage],
    devices: &[Device],
) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
    let read = || dump(handle, RouteNetlinkMessage::GetRoute(RouteMessage::default()));
    let mut routes = read().await?;
    let checked: BTreeSet<(u32, IpAddr)> = answers.iter().filter_map(checked).collect();
    let places = addresses.iter().filter_map(|address| place(address, devices));
    let wanted: BTreeSet<(u32, IpAddr)> = places.filter(|place| checked.contains(place)).collect();
    let complete = async {
        while !wanted.is_subset(&delivered(&routes)) {
            tokio::task::yield_now().await;
            routes = read().await?;
        }
        Ok::<(), NetlinkError>(())
    };
    tokio::time::timeout(PATIENCE, complete).await.unwrap_or(Ok(()))?;
    Ok(routes)
}

/// Device and address of an IPv6 address whose check is over.
fn checked(answer: &RouteNetlinkMessage) -> Option<(u32, IpAddr)> {
    let RouteNetlinkMessage::NewAddress(message) = answer else { return None };
    let own = message.attributes.iter().find_map(|attribute| {
        if let AddressAttribute::Address(own) = attribute { own.is_ipv6().then_some(*own) } else { None }
    })?;
    (!message.header.flags.contains(AddressHeaderFlags::Tentative)).then_some((message.header.index, own))
}

/// An address by its device's index. Those of a device that is down have no routes anyway.
fn place(address: &Address, devices: &[Device]) -> Option<(u32, IpAddr)> {
    let device = devices.iter().find(|device| device.name == address.device)?;
    (device.up && device.index != LOOPBACK_INDEX).then(|| (device.index, address.net.addr()))
}

/// Calls addresses odd that nothing is delivered to.
pub(super) fn deaf(
    addresses: BTreeSet<Address>,
    answers: &[RouteNetlinkMessage],
    devices: &[Device],
    routes: &[RouteNetlinkMessage],
) -> BTreeSet<Address> {
    let delivered = delivered(routes);
    let checked: BTreeSet<(u32, IpAddr)> = answers.iter().filter_map(checked).collect();
    let judged = |address: Address| {
        let heard = |place| delivered.contains(&place) || (address.net.addr().is_ipv6() && !checked.contains(&place));
        if place(&address, devices).is_none_or(heard) {
            return address;
        }
        let words = [address.odd.as_str(), DEAF];
        let odd = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        Address { odd, ..address }
    };
    addresses.into_iter().map(judged).collect()
}

fn delivered(routes: &[RouteNetlinkMessage]) -> BTreeSet<(u32, IpAddr)> {
    routes.iter().filter_map(delivery).collect()
}

/// Device and address that a route delivers to.
fn delivery(answer: &RouteNetlinkMessage) -> Option<(u32, IpAddr)> {
    if let RouteNetlinkMessage::NewRoute(message) = answer
        && message.header.kind == RouteType::Local
    {
        own(message)
    } else {
        None
    }
}

fn own(message: &RouteMessage) -> Option<(u32, IpAddr)> {
    let mut device = None;
    let mut to = None;
    for attribute in &message.attributes {
        if let RouteAttribute::Oif(index) = attribute {
            device = Some(*index);
        } else if let RouteAttribute::Destination(destination) = attribute {
            to = if let RouteAddress::Inet(address) = destination {
                Some(IpAddr::V4(*address))
            } else if let RouteAddress::Inet6(address) = destination {
                Some(IpAddr::V6(*address))
            } else {
                None
            };
        }
    }
    Some((device?, to?))
}
