//! One rtnetlink request and all that the kernel answers.
//!
//! In: a message and flags. Out: nothing (acknowledged), or the objects of a dump. Never: a retry.

use futures_util::StreamExt as _;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::Handle;

use super::extack::NetlinkError;

/// Sends `message` with `flags` besides REQUEST and ACK, and waits for the acknowledgement.
pub async fn acknowledged(handle: &Handle, message: RouteNetlinkMessage, flags: u16) -> Result<(), NetlinkError> {
    answers(handle, message, NLM_F_ACK | flags).await.map(|_none| ())
}

/// Sends `message` as a dump request and collects what comes.
pub async fn dump(handle: &Handle, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
    answers(handle, message, NLM_F_DUMP).await
}

/// Sends `message` and collects what comes until the kernel is done.
pub async fn answers(
    handle: &Handle,
    message: RouteNetlinkMessage,
    flags: u16,
) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | flags;
    let mut stream = handle.clone().request(request)?;
    let mut objects = Vec::new();
    while let Some(answer) = stream.next().await {
        let (header, payload) = answer.into_parts();
        match payload {
            NetlinkPayload::InnerMessage(object) => objects.push(object),
            NetlinkPayload::Error(error) if error.code.is_some() => {
                return Err(rtnetlink::Error::NetlinkError(error).into());
            }
            NetlinkPayload::Error(_) | NetlinkPayload::Done(_) | NetlinkPayload::Noop => {}
            other @ (NetlinkPayload::Overrun(_) | _) => {
                return Err(rtnetlink::Error::UnexpectedMessage(NetlinkMessage::new(header, other)).into());
            }
        }
    }
    Ok(objects)
}
