//! Carries one operation of a plan out.
//!
//! In: an [`Op`] and the [`Surroundings`] it acts in. Out: nothing, or why the kernel refused. Never: a choice, a retry, or
//! an operation that was not asked for; the order is the plan's.
//!
//! What is to be deleted and is not there counts as deleted: with a device go its addresses, routes and neighbours, and
//! with a primary address may go others.

mod address;
mod announce;
mod link;
mod neighbour;
mod route;
mod rule;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use nix::errno::Errno;

pub use address::add as add_address;
pub use announce::Emitter;
pub use announce::announce;
pub use route::replace as replace_route;

use super::Surroundings;
use super::conntrack;
use super::extack::NetlinkError;
use super::links;
use super::netns::{Netns, NetnsError};
use super::nfnetlink::NfnetlinkError;
use super::nft::{self, NftError};
use super::removal::RemovalError;
use super::rules::{self, RulesError};
use super::settle::SettleError;
use super::sysctl::SysctlError;
use crate::name::{DeviceName, HostName, Id, NamespaceName};
use crate::plan::{Action, Op};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyFailure {
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The namespace could not be made or entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The sysctl could not be written.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// iptables rules could not be changed.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A foreign table could not be removed.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// Connection tracking could not be purged.
    #[error("purge connection tracking")]
    Conntrack(#[from] NfnetlinkError),
    /// A device could not be removed.
    #[error(transparent)]
    Removal(#[from] RemovalError),
    /// Devices do not come to carry packets.
    #[error("wait for devices to come up")]
    Settle(#[from] SettleError),
    /// A frame could not be sent.
    #[error("send a frame")]
    Send(#[source] Errno),
    /// The namespace, or that of a pair's other end, is not there.
    #[error("no namespace {0} on this host")]
    NoNamespace(NamespaceName),
    /// The namespace is there already.
    #[error("namespace {0} is there already")]
    NamespaceExists(NamespaceName),
    /// The device's network has no bridge on this host.
    #[error("no bridge of network {0} on this host")]
    NoBridge(Id),
    /// The device leads nowhere that the lab knows: nothing to make it of.
    #[error("device {0} has no other end")]
    NoOtherEnd(DeviceName),
}

impl ApplyFailure {
    /// Everything that is known, in one line: the error and its causes.
    pub fn reason(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

/// Carries `op` out on `host`.
///
/// # Errors
/// [`ApplyFailure`]; [`ApplyFailure::reason`] is what to print.
pub async fn apply_op(
    surroundings: &dyn Surroundings,
    runtime: &tokio::runtime::Handle,
    host: &HostName,
    op: &Op,
) -> Result<(), ApplyFailure> {
    let existing = surroundings.namespace(host, &op.namespace);
    match (&op.action, existing) {
        (Action::NamespaceAdd, None) => {
            surroundings.insert(host, &op.namespace, Rc::new(Netns::create(runtime)?));
            Ok(())
        }
        (Action::NamespaceAdd, Some(_)) => Err(ApplyFailure::NamespaceExists(op.namespace.clone())),
        (Action::NamespaceDelete, None) => Ok(()),
        (Action::NamespaceDelete, Some(netns)) => {
            link::leave(surroundings, host, &netns).await?;
            surroundings.remove(host, &op.namespace);
            Ok(())
        }
        (_, None) => Err(ApplyFailure::NoNamespace(op.namespace.clone())),
        (action, Some(netns)) => apply_inside(surroundings, host, &op.namespace, &netns, action).await,
    }
}

async fn apply_inside(
    surroundings: &dyn Surroundings,
    host: &HostName,
    namespace: &NamespaceName,
    netns: &Netns,
    action: &Action,
) -> Result<(), ApplyFailure> {
    match action {
        Action::NamespaceAdd | Action::NamespaceDelete => Ok(()),
        Action::LinkAdd { device, link, peer } => {
            link::add(surroundings, host, namespace, netns, device, link, *peer).await
        }
        Action::LinkDelete(device) => link::delete(surroundings, host, netns, device).await,
        Action::LinkMtu(device, mtu) => link::set_mtu(netns, device, *mtu).await,
        Action::LinkMac(device, mac) => link::set_mac(netns, device, *mac).await,
        Action::LinkUp(device, up) => link::set_up(surroundings, host, netns, device, *up).await,
        Action::AddressAdd(address) => {
            Ok(address::add(netns, index(netns, &address.device).await?, &address.net).await?)
        }
        Action::AddressDelete(address) => gone(address::delete(netns, address).await),
        Action::RouteReplace(route) => Ok(route::replace_in(netns, route).await?),
        Action::RouteDelete(route) => gone(route::delete(netns, route).await),
        Action::RuleAdd(rule) => Ok(rule::add(netns.handle(), rule).await?),
        Action::RuleDelete(rule) => gone(rule::delete(netns.handle(), rule).await),
        Action::NeighbourReplace(device, address, mac) => {
            Ok(neighbour::replace(netns.handle(), index(netns, device).await?, *address, *mac).await?)
        }
        Action::NeighbourDelete(device, address) => gone(neighbour::delete(netns, device, *address).await),
        Action::ProxyDelete(device, address) => gone(neighbour::delete_proxy(netns, device, *address).await),
        Action::SysctlSet(key, value) => Ok(netns.sysctl_set(key, value)?),
        Action::Rules(changes) => Ok(rules::commit(netns, surroundings.rules(), changes)?),
        Action::TableDelete(table) => Ok(nft::delete_table(netns.nf(), table)?),
        Action::ConntrackPurge(net) => {
            conntrack::purge(netns.nf(), net)?;
            Ok(())
        }
        Action::ConntrackPurgePort { address, protocol, ports } => {
            conntrack::purge_port(netns.nf(), *address, *protocol, *ports)?;
            Ok(())
        }
        Action::Announce(device, address) => {
            link::ready(surroundings, host, netns, device).await?;
            announce(netns, device, *address)
        }
    }
}

/// A device's index: as noted, or asked of the kernel.
async fn index(netns: &Netns, device: &DeviceName) -> Result<u32, NetlinkError> {
    match netns.known_index(device) {
        Some(index) => Ok(index),
        None => Ok(links::named(netns.handle(), device).await?.header.index),
    }
}

/// Takes the errnos that say "there is no such thing" for success.
fn gone(result: Result<(), NetlinkError>) -> Result<(), ApplyFailure> {
    match result {
        Err(error) if error.errno().is_some_and(is_absence) => Ok(()),
        other => Ok(other?),
    }
}

fn is_absence(errno: Errno) -> bool {
    matches!(errno, Errno::ESRCH | Errno::ENOENT | Errno::ENODEV | Errno::EADDRNOTAVAIL)
}
