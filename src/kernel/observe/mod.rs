//! Reads what stands in one namespace.
//!
//! In: an open [`Netns`], and the [`Baseline`] of a namespace in which nobody has done anything. Out: its
//! [`NamespaceState`]. Never: anything that the kernel makes of the rest by itself (connected routes, link-local addresses), unless it is missing,
//! and never what only an older observation said.
//!
//! The dumps of one namespace follow each other, since the kernel answers a second one on the same socket with EBUSY while a
//! long first one is under way; several namespaces can be observed at once.

mod address;
mod link;
mod local;
mod lost;
mod route;
mod rule;
mod sysctl;
mod told;

use std::collections::BTreeMap;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourMessage};
use netlink_packet_route::rule::RuleMessage;

pub(super) use address::{neighbours, resolved};
pub(super) use link::{FALLBACK, devices};
pub use sysctl::Baseline;
pub(super) use sysctl::changed as sysctls;
pub(super) use told::subject;

use super::extack::NetlinkError;
use super::links;
use super::netns::Netns;
use super::request::dump;
use super::rules::{self, RulesError};
use super::sysctl::SysctlError;
use crate::backend::RuleBackend;
use crate::name::{DeviceName, NameError};
use crate::namespace::NamespaceState;

/// A namespace could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read {what}")]
pub struct ObserveFailure {
    /// `routes`, `rules` ...
    pub what: &'static str,
    /// Why.
    #[source]
    pub cause: ObserveCause,
}

/// Why a namespace could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ObserveCause {
    /// A dump failed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A sysctl could not be read.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// iptables rules could not be read.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A device has a name that cannot be printed.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Attaches what was being read to what went wrong.
pub(super) fn reading<E: Into<ObserveCause>>(what: &'static str) -> impl Fn(E) -> ObserveFailure {
    move |cause| ObserveFailure { what, cause: cause.into() }
}

/// Device names by index, `lo` among them.
type Names = BTreeMap<u32, DeviceName>;

/// The devices of `netns` by index.
///
/// # Errors
/// [`ObserveFailure`].
pub(super) async fn device_names(netns: &Netns) -> Result<Names, ObserveFailure> {
    let answers = dump(netns.handle(), RouteNetlinkMessage::GetLink(links::without_statistics())).await;
    let devices = devices(answers.map_err(reading("devices"))?).map_err(reading("devices"))?;
    Ok(devices.into_iter().map(|device| (device.index, device.name)).collect())
}

/// Everything that decides where the packets of `netns` go.
///
/// # Errors
/// [`ObserveFailure`].
pub async fn observe_namespace(
    netns: &Netns,
    baseline: &Baseline,
    backend: RuleBackend,
) -> Result<NamespaceState, ObserveFailure> {
    let handle = netns.handle();
    let mut state = NamespaceState::default();

    let answers = dump(handle, RouteNetlinkMessage::GetLink(links::without_statistics())).await;
    let devices = devices(answers.map_err(reading("devices"))?).map_err(reading("devices"))?;
    netns.know_devices(devices.iter().map(|device| (device.name.clone(), device.index)).collect());
    let names: Names = devices.iter().map(|device| (device.index, device.name.clone())).collect();
    state.links = link::links(netns, &devices);

    let answers = dump(handle, RouteNetlinkMessage::GetAddress(AddressMessage::default())).await;
    let addresses = answers.map_err(reading("addresses"))?;
    state.addresses = address::addresses(&addresses, &devices);
    let answers = dump(handle, RouteNetlinkMessage::GetRule(RuleMessage::default())).await;
    state.rules = rule::rules(&answers.map_err(reading("rules"))?);
    let routes = local::routes(handle, &state.addresses, &addresses, &devices).await.map_err(reading("routes"))?;
    state.addresses = local::deaf(state.addresses, &addresses, &devices, &routes);
    let own = address::all(&addresses, &names);
    state.routes = route::routes(&routes, &names, &own);
    state.lost = lost::lost(&devices, &addresses, &routes, &state.routes);
    let answers = dump(handle, RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default())).await;
    let answers = answers.map_err(reading("neighbours"))?;
    state.neighbours = neighbours(&answers, &names);
    state.neighbours.extend(address::unasked(&answers, &names));
    let mut proxies = NeighbourMessage::default();
    proxies.header.flags = NeighbourFlags::Proxy;
    let answers = dump(handle, RouteNetlinkMessage::GetNeighbour(proxies)).await;
    state.proxies = address::proxies(&answers.map_err(reading("proxies"))?, &names);
    state.sysctls = sysctl::changed(netns, baseline, &devices).await?;
    rules::read(netns, backend, &mut state).map_err(reading("iptables rules"))?;
    Ok(state)
}
