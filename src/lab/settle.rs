//! Waits until devices that were just made carry packets: the kernel takes note of a carrier a little later, by itself.
//!
//! In: namespaces. Out: nothing, when no device waits any more. Never: a wait for a device whose other end is down.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::try_join_all;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::address::{AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    BridgePortState, InfoBridgePort, InfoKind, InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::make::failed;
use crate::dataplane::DataplaneError;
use crate::kernel::extack::NetlinkError;
use crate::kernel::request::answers;
use crate::kernel::{Netns, links};

/// Far more than the kernel needs (4 ms were the most seen).
const LIMIT: Duration = Duration::from_secs(5);

/// Waits for all devices of namespaces.
pub(super) async fn settle(all: &[(String, Rc<Netns>)]) -> Result<(), DataplaneError> {
    try_join_all(all.iter().map(|(name, netns)| settle_one(name, netns))).await.map(drop)
}

async fn settle_one(name: &str, netns: &Netns) -> Result<(), DataplaneError> {
    let doing = || format!("wait for the devices of {name} to come up");
    match tokio::time::timeout(LIMIT, quiet(netns)).await {
        Ok(waited) => waited.map_err(failed(doing())),
        Err(_elapsed) => Err(DataplaneError::Topology { doing: doing(), reason: format!("not within {LIMIT:?}") }),
    }
}

async fn quiet(netns: &Netns) -> Result<(), NetlinkError> {
    loop {
        let dump = RouteNetlinkMessage::GetLink(links::without_statistics());
        let devices = answers(netns.handle(), dump, NLM_F_DUMP).await?;
        let waits =
            |answer: &RouteNetlinkMessage| matches!(answer, RouteNetlinkMessage::NewLink(link) if pending(link));
        if !devices.iter().any(waits) && !undecided(netns).await? {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
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
    let carrier = has(|attribute| matches!(attribute, LinkAttribute::Carrier(1)));
    let pair = has(|attribute| infos(attribute).contains(&LinkInfo::Kind(InfoKind::Veth)));
    let noted = has(|attribute| matches!(attribute, LinkAttribute::OperState(State::Up)));
    let port = has(|attribute| matches!(attribute, LinkAttribute::Controller(bridge) if *bridge != 0));
    up && carrier && ((pair && !noted) || (port && !has(forwards)))
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
pub(super) async fn settle_groups(name: &str, netns: &Netns) -> Result<(), DataplaneError> {
    let doing = || format!("wait until {name} hears neighbour solicitations");
    let joined = async {
        while !netns.run_in(joined).map_err(failed(doing()))?.map_err(failed(doing()))? {
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    let late = |_elapsed| Err(DataplaneError::Topology { doing: doing(), reason: format!("not within {LIMIT:?}") });
    tokio::time::timeout(LIMIT, joined).await.unwrap_or_else(late)
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
