//! A namespace as lines, one an object, in the notation of `ip`, `sysctl` and `iptables-save`: everything that stands there,
//! also what the kernel makes by itself and [`observe`](super::observe) leaves out.
//!
//! In: an open [`Netns`], and the [`Baseline`] of a namespace in which nobody has done anything. Out: lines. Never: anything
//! but what the kernel answers at that moment.

mod address;
mod link;
mod route;
mod rule;

use std::collections::BTreeMap;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::RuleMessage;

use super::links;
use super::netns::Netns;
use super::nft;
use super::observe::{Baseline, ObserveFailure, devices, neighbours, reading, sysctls};
use super::request::dump;
use crate::name::DeviceName;
use crate::namespace::table_lines;

/// Device names by index.
type Names = BTreeMap<u32, DeviceName>;

/// Every object of `netns`.
///
/// # Errors
/// [`ObserveFailure`].
pub async fn namespace_lines(netns: &Netns, baseline: &Baseline) -> Result<Vec<String>, ObserveFailure> {
    let handle = netns.handle();
    let answers = dump(handle, RouteNetlinkMessage::GetLink(links::without_statistics())).await;
    let answers = answers.map_err(reading("devices"))?;
    let mut lines = link::lines(&answers);
    let devices = devices(answers).map_err(reading("devices"))?;
    let names: Names = devices.iter().map(|device| (device.index, device.name.clone())).collect();
    let answers = dump(handle, RouteNetlinkMessage::GetAddress(AddressMessage::default())).await;
    lines.extend(address::lines(&answers.map_err(reading("addresses"))?, &names));
    let answers = dump(handle, RouteNetlinkMessage::GetRule(RuleMessage::default())).await;
    lines.extend(rule::lines(&answers.map_err(reading("rules"))?));
    let answers = dump(handle, RouteNetlinkMessage::GetRoute(RouteMessage::default())).await;
    lines.extend(route::lines(&answers.map_err(reading("routes"))?, &names));
    let answers = dump(handle, RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default())).await;
    for ((device, address), mac) in neighbours(&answers.map_err(reading("neighbours"))?, &names) {
        lines.push(format!("neigh  {address} lladdr {mac} dev {device} PERMANENT"));
    }
    let changed = sysctls(netns, baseline, &devices).await?;
    lines.extend(changed.into_iter().map(|(key, value)| format!("sysctl {key} = {value}")));
    let tables = nft::read(netns.nf()).map_err(reading("iptables rules"))?;
    lines.extend(table_lines("ip4t", &tables.v4));
    lines.extend(table_lines("ip6t", &tables.v6));
    Ok(lines)
}
