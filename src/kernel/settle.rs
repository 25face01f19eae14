//! Waits until devices that were just made or set up carry packets: the kernel takes note of a carrier a little later, by itself.
//!
//! In: namespaces, whose restless devices are known ([`Netns::stir`]). Out: nothing, when no device waits any more. Never: a wait
//! for a device whose other end is down, and never a look at what has come to rest before.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Duration;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::address::{AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    BridgePortState, InfoBridgePort, InfoKind, InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::extack::NetlinkError;
use super::links;
use super::netns::{Netns, NetnsError};
use super::request::answers;

/// Far more than the kernel needs (4 ms were the most seen).
const LIMIT: Duration = Duration::from_secs(5);

/// Why a namespace did not come to rest.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The kernel cannot be asked.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] NetnsError),
    /// What the kernel shows below `/proc` cannot be read.
    #[error("read multicast groups")]
    Read(#[from] io::Error),
    /// It takes too long.
    #[error("not within {LIMIT:?}")]
    Late,
}

/// Waits for the restless devices of a namespace.
///
/// # Errors
/// [`SettleError`].
pub async fn settle(netns: &Netns) -> Result<(), SettleError> {
    tokio::time::timeout(LIMIT, quiet(netns)).await.unwrap_or(Err(SettleError::Late))
}

async fn quiet(netns: &Netns) -> Result<(), SettleError> {
    let restless = netns.restless();
    if restless.is_empty() {
        return Ok(());
    }
    let mut calm = Vec::new();
    for index in restless {
        if at_rest(netns, index).await? {
            calm.push(index);
        }
    }
    while undecided(netns).await? {
        tokio::task::yield_now().await;
    }
    netns.calm(&calm);
    Ok(())
}

/// Waits for a device. Says whether it needs no more looks: one that is up and whose other end is not may wake up later.
async fn at_rest(netns: &Netns, index: u32) -> Result<bool, NetlinkError> {
    let mut request = links::without_statistics();
    request.header.index = index;
    loop {
        let link = match answers(netns.handle(), RouteNetlinkMessage::GetLink(request.clone()), 0).await {
            Ok(answers) => answers.into_iter().find_map(device),
            Err(error) if error.errno() == Some(Errno::ENODEV) => None,
            Err(error) => return Err(error),
        };
        let Some(link) = link else { return Ok(true) };
        if !pending(&link) {
            return Ok(!link.header.flags.contains(LinkFlags::Up) || has_carrier(&link));
        }
        tokio::task::yield_now().await;
    }
}

fn device(answer: RouteNetlinkMessage) -> Option<LinkMessage> {
    if let RouteNetlinkMessage::NewLink(link) = answer { Some(link) } else { None }
}

fn has_carrier(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::Carrier(1)))
}

/// Whether an IPv6 address is still being checked for being somebody else's: nothing is asked, but even that answer comes
/// a little later, by itself.
async fn undecided(netns: &Netns) -> Result<bool, NetlinkError> {
    let mut request = AddressMessage::default();
    request.header.family = AddressFamily::Inet6;
    let addresses = answers(netns.handle(), RouteNetlinkMessage::GetAddress(request), NLM_F_DUMP).await?;
    Ok(addresses.iter().any(|answer| {
        matches!(answer, RouteNetlinkMessage::NewAddress(message)
            if message.header.flags.contains(AddressHeaderFlags::Tentative)
                && !message.header.flags.contains(AddressHeaderFlags::Dadfailed))
    }))
}

/// Has a carrier that the stack, or the bridge it is a port of, has not taken note of yet. Only for a pair does the kernel
/// ever do so: bridges and tunnels may stay in the state "unknown", in which every device is born.
fn pending(link: &LinkMessage) -> bool {
    let has = |what: fn(&LinkAttribute) -> bool| link.attributes.iter().any(what);
    let up = link.header.flags.contains(LinkFlags::Up);
    let pair = has(|attribute| infos(attribute).contains(&LinkInfo::Kind(InfoKind::Veth)));
    let noted = has(|attribute| matches!(attribute, LinkAttribute::OperState(State::Up)));
    let port = has(|attribute| matches!(attribute, LinkAttribute::Controller(bridge) if *bridge != 0));
    up && has_carrier(link) && ((pair && !noted) || (port && !has(forwards)))
}

fn infos(attribute: &LinkAttribute) -> &[LinkInfo] {
    if let LinkAttribute::LinkInfo(infos) = attribute { infos } else { &[] }
}

fn forwards(attribute: &LinkAttribute) -> bool {
    infos(attribute).iter().any(|info| {
        let LinkInfo::PortData(InfoPortData::BridgePort(port)) = info else { return false };
        port.contains(&InfoBridgePort::State(BridgePortState::Forwarding))
    })
}

/// Waits until a namespace hears neighbour solicitations for its own IPv6 addresses: the kernel joins their multicast groups
/// a little later, by itself.
///
/// # Errors
/// [`SettleError`].
pub async fn settle_groups(netns: &Netns) -> Result<(), SettleError> {
    let all_joined = async {
        while !netns.run_in(joined)?? {
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    tokio::time::timeout(LIMIT, all_joined).await.unwrap_or(Err(SettleError::Late))
}

/// Whether every address of the calling thread's namespace has its solicited-node group (RFC 4291, 2.7.1).
fn joined() -> io::Result<bool> {
    let addresses = fs::read_to_string("/proc/thread-self/net/if_inet6")?;
    let groups = fs::read_to_string("/proc/thread-self/net/igmp6")?;
    let groups: BTreeSet<(&str, &str)> = groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .collect();
    Ok(addresses.lines().all(|line| {
        let mut fields = line.split_whitespace();
        let (Some(address), Some(device)) = (fields.next(), fields.next_back()) else { return true };
        let group = address.get(26..).map(|tail| format!("ff0200000000000000000001ff{tail}"));
        device == "lo" || group.is_none_or(|group| groups.contains(&(device, group.as_str())))
    }))
}
