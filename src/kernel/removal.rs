//! Removes devices without the wait that follows.
//!
//! In: an open [`Netns`] and devices of it. Out: they are gone from sight, with their addresses and routes. Never: a wait for the
//! kernel's acknowledgement. That comes only after an `rcu_barrier` of the whole machine (`netdev_run_todo` in linux/net/core/dev.c;
//! 20-40 ms), when only memory is left to be given back; a thread of its own waits for it.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, protocols};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::extack::NetlinkError;
use super::links;
use super::netns::{Netns, NetnsError};
use super::request::answers;

/// `RTNLGRP_LINK`. Source: linux/rtnetlink.h.
const LINKS: u32 = 1;
/// After so many milliseconds in silence it is asked whether the request went out at all.
const PATIENCE: u16 = 100;

/// Why devices could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// The kernel refused.
    #[error(transparent)]
    Refused(#[from] NetlinkError),
    /// The namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The socket or the thread failed.
    #[error("talk to the kernel")]
    Socket(#[from] io::Error),
}

/// Removes a device, and with a veth its other end. What is not there any more is removed.
///
/// # Errors
/// [`RemovalError`].
pub async fn device(netns: &Netns, index: u32) -> Result<(), RemovalError> {
    remove(netns, LinkUnspec::new_with_index(index).build(), BTreeSet::from([index])).await
}

/// Removes all devices of a group.
///
/// # Errors
/// [`RemovalError`].
pub async fn group(netns: &Netns, group: u32) -> Result<(), RemovalError> {
    let all = links::all(netns.handle()).await?.into_iter();
    let members = all.filter(|link| link.attributes.contains(&LinkAttribute::Group(group)));
    let members = members.map(|link| link.header.index).collect();
    remove(netns, LinkMessageBuilder::<LinkUnspec>::new().link_group(group).build(), members).await
}

async fn remove(netns: &Netns, which: LinkMessage, mut indexes: BTreeSet<u32>) -> Result<(), RemovalError> {
    let Some(one) = indexes.first().copied() else { return Ok(()) };
    let socket = Arc::new(netns.run_in(listener)??);
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::DelLink(which));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    let sender = Arc::clone(&socket);
    // The kernel does all the work inside `send`, its wait included.
    let mut sending = Some(Builder::new().name("removal".to_owned()).spawn(move || sender.send(&bytes, 0).map(drop))?);
    while !indexes.is_empty() {
        match told(&socket)? {
            Some(Told::Gone(index)) => drop(indexes.remove(&index)),
            Some(Told::Done) => break,
            None => sent(&mut sending)?,
        }
    }
    // The kernel tells so while it still holds its lock, with the other ends of veth pairs perhaps to come. Asked for what is
    // not there, it answers when it has let go.
    let mut ask = links::without_statistics();
    ask.header.index = one;
    match answers(netns.handle(), RouteNetlinkMessage::GetLink(ask), 0).await {
        Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_still_there) => Err(NetlinkError::of(Errno::EBUSY).into()),
    }
}

/// What the kernel says of a removal.
enum Told {
    /// A device is gone.
    Gone(u32),
    /// All are, and freed.
    Done,
}

/// A socket that hears what happens to devices.
fn listener() -> io::Result<Socket> {
    let mut socket = Socket::new(protocols::NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.set_ext_ack(true)?;
    socket.add_membership(LINKS)?;
    Ok(socket)
}

/// The next that is said, if anything is within [`PATIENCE`].
fn told(socket: &Socket) -> Result<Option<Told>, RemovalError> {
    loop {
        let descriptor = PollFd::new(socket.as_fd(), PollFlags::POLLIN);
        if poll(&mut [descriptor], PATIENCE).map_err(io::Error::from)? == 0 {
            return Ok(None);
        }
        let (bytes, _kernel) = socket.recv_from_full()?;
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match message.payload {
            NetlinkPayload::Error(error) => {
                let code = error.code;
                let error = NetlinkError::from(rtnetlink::Error::NetlinkError(error));
                let is_done = code.is_none() || error.errno() == Some(Errno::ENODEV);
                return if is_done { Ok(Some(Told::Done)) } else { Err(error.into()) };
            }
            // A bridge says in the same words, with its own family, that a port has left it.
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(gone))
                if gone.header.interface_family == AddressFamily::Unspec =>
            {
                return Ok(Some(Told::Gone(gone.header.index)));
            }
            NetlinkPayload::Done(_)
            | NetlinkPayload::Noop
            | NetlinkPayload::Overrun(_)
            | NetlinkPayload::InnerMessage(_)
            | _ => {}
        }
    }
}

/// Nothing is said to what was never sent.
fn sent(sending: &mut Option<JoinHandle<io::Result<()>>>) -> Result<(), RemovalError> {
    match sending.take_if(|sending| sending.is_finished()).map(JoinHandle::join) {
        None | Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(error))) => Err(error.into()),
        Some(Err(panic)) => std::panic::resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::links::End;
    use crate::kernel::testing::done_in_a_sandbox;
    use crate::net::Mac;

    fn end(name: &str, index: u32) -> End<'_> {
        End { name, index, mac: Mac::derived("removal", name), mtu: 1500 }
    }

    async fn indexes(netns: &Netns) -> BTreeSet<u32> {
        links::all(netns.handle()).await.unwrap().into_iter().map(|link| link.header.index).collect()
    }

    #[test]
    fn what_is_removed_is_gone_with_its_other_end() {
        if done_in_a_sandbox() {
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (here, there) = (Netns::create(runtime.handle()).unwrap(), Netns::create(runtime.handle()).unwrap());
        runtime.block_on(async {
            links::bridge(here.handle(), end("br", 9)).await.unwrap();
            for index in [10, 20, 30, 40] {
                links::veth(&here, end(&format!("n{index}"), index), true, &there, end(&format!("f{index}"), index))
                    .await
                    .unwrap();
            }
            // A bridge says the same of a port that leaves it as the kernel of a device that goes.
            for index in [10, 20, 30] {
                links::plug(&here, index, 9, 7).await.unwrap();
            }
            device(&here, 10).await.unwrap();
            assert_eq!(indexes(&here).await, BTreeSet::from([1, 9, 20, 30, 40]));
            assert_eq!(indexes(&there).await, BTreeSet::from([1, 20, 30, 40]));
            device(&here, 10).await.expect("what is not there is removed");
            group(&here, 7).await.unwrap();
            assert_eq!(indexes(&here).await, BTreeSet::from([1, 9, 40]));
            assert_eq!(indexes(&there).await, BTreeSet::from([1, 40]));
            group(&here, 7).await.expect("nobody is left in it");
            let refused = device(&here, 1).await.expect_err("lo cannot be removed").to_string();
            assert!(refused.starts_with("EOPNOTSUPP"), "{refused}");
        });
    }
}
