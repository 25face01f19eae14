//! Waits until devices that were just made carry packets: the kernel takes note of a carrier a little later, by itself.
//!
//! In: namespaces. Out: nothing, when no device waits any more. Never: a wait for a device whose other end is down.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::try_join_all;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgePortState, InfoBridgePort, InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};

use crate::dataplane::DataplaneError;
use crate::kernel::extack::NetlinkError;
use crate::kernel::request::answers;
use crate::kernel::{Netns, links};

/// Far more than the kernel needs (4 ms were the most seen).
const LIMIT: Duration = Duration::from_secs(5);

/// Waits for all devices of namespaces.
pub(crate) async fn settle(all: &[(String, Rc<Netns>)]) -> Result<(), DataplaneError> {
    try_join_all(all.iter().map(|(name, netns)| settle_one(name, netns))).await.map(drop)
}

async fn settle_one(name: &str, netns: &Netns) -> Result<(), DataplaneError> {
    let doing = || format!("wait for the devices of {name} to come up");
    match tokio::time::timeout(LIMIT, quiet(netns)).await {
        Ok(waited) => waited.map_err(super::make::failed(doing())),
        Err(_elapsed) => Err(DataplaneError::Topology { doing: doing(), reason: format!("not within {LIMIT:?}") }),
    }
}

async fn quiet(netns: &Netns) -> Result<(), NetlinkError> {
    loop {
        let dump = RouteNetlinkMessage::GetLink(links::without_statistics());
        let devices = answers(netns.handle(), dump, NLM_F_DUMP).await?;
        let waits =
            |answer: &RouteNetlinkMessage| matches!(answer, RouteNetlinkMessage::NewLink(link) if pending(link));
        if !devices.iter().any(waits) {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
}

/// Has a carrier that the stack, or the bridge it is a port of, has not taken note of yet.
fn pending(link: &LinkMessage) -> bool {
    let has = |what: fn(&LinkAttribute) -> bool| link.attributes.iter().any(what);
    let up = link.header.flags.contains(LinkFlags::Up);
    let carrier = has(|attribute| matches!(attribute, LinkAttribute::Carrier(1)));
    let noted = has(|attribute| matches!(attribute, LinkAttribute::OperState(State::Up | State::Unknown)));
    let port = has(|attribute| matches!(attribute, LinkAttribute::Controller(bridge) if *bridge != 0));
    up && carrier && (!noted || (port && !link.attributes.iter().any(forwards)))
}

fn forwards(attribute: &LinkAttribute) -> bool {
    let LinkAttribute::LinkInfo(infos) = attribute else { return false };
    infos.iter().any(|info| {
        let LinkInfo::PortData(InfoPortData::BridgePort(port)) = info else { return false };
        port.contains(&InfoBridgePort::State(BridgePortState::Forwarding))
    })
}
