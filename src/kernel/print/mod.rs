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
use super::observe::{Baseline, ObserveFailure, devices, neighbours, reading, sysctls};
use super::paths::is_learned;
use super::request::dump;
use super::rules;
use crate::backend::RuleBackend;
use crate::name::DeviceName;

/// Device names by index.
pub type Names = BTreeMap<u32, DeviceName>;

/// The line of one message about an object, from a dump or of a change; none for what is left out.
pub fn message_line(message: &RouteNetlinkMessage, names: &Names) -> Option<String> {
    if let RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link) = message {
        link::line(link)
    } else if let RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address) = message {
        address::line(address, names)
    } else if let RouteNetlinkMessage::NewRule(rule) | RouteNetlinkMessage::DelRule(rule) = message {
        rule::line(rule).map(|(_, _, line)| line)
    } else if let RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) = message {
        route::line(route, names)
    } else if let RouteNetlinkMessage::NewNeighbour(entry) | RouteNetlinkMessage::DelNeighbour(entry) = message {
        neighbour_line(entry, names)
    } else {
        None
    }
}

fn neighbour_line(message: &NeighbourMessage, names: &Names) -> Option<String> {
    let answer = [RouteNetlinkMessage::NewNeighbour(message.clone())];
    let ((device, address), mac) = neighbours(&answer, names).pop_first()?;
    Some(format!("neigh  {address} lladdr {mac} dev {device} PERMANENT"))
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

/// Every object of `netns`.
///
/// # Errors
/// [`ObserveFailure`].
pub async fn namespace_lines(
    netns: &Netns,
    baseline: &Baseline,
    backend: RuleBackend,
) -> Result<Vec<String>, ObserveFailure> {
    let handle = netns.handle();
    let answers = dump(handle, RouteNetlinkMessage::GetLink(links::without_statistics())).await;
    let answers = answers.map_err(reading("devices"))?;
    let mut lines = sorted(answers.iter().filter_map(|answer| message_line(answer, &Names::new())));
    let devices = devices(answers).map_err(reading("devices"))?;
    let names: Names = devices.iter().map(|device| (device.index, device.name.clone())).collect();
    let answers = dump(handle, RouteNetlinkMessage::GetAddress(AddressMessage::default())).await;
    let answers = answers.map_err(reading("addresses"))?;
    lines.extend(sorted(answers.iter().filter_map(|answer| message_line(answer, &names))));
    // Those in the order in which they are looked at.
    let answers = dump(handle, RouteNetlinkMessage::GetRule(RuleMessage::default())).await;
    lines.extend(rule::lines(&answers.map_err(reading("rules"))?));
    let answers = dump(handle, RouteNetlinkMessage::GetRoute(RouteMessage::default())).await;
    let answers = answers.map_err(reading("routes"))?;
    let set = answers.iter().filter(|answer| !matches!(answer, RouteNetlinkMessage::NewRoute(one) if is_learned(one)));
    lines.extend(sorted(set.filter_map(|answer| message_line(answer, &names))));
    let answers = dump(handle, RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default())).await;
    let answers = answers.map_err(reading("neighbours"))?;
    lines.extend(sorted(answers.iter().filter_map(|answer| message_line(answer, &names))));
    let changed = sysctls(netns, baseline, &devices).await?;
    lines.extend(changed.into_iter().map(|(key, value)| format!("sysctl {key} = {value}")));
    lines.extend(rules::lines(netns, backend).map_err(reading("iptables rules"))?);
    Ok(lines)
}
