//! What happens to the objects of a namespace, as the kernel tells it while it happens.
//!
//! In: an open [`Netns`]. Out: objects that were deleted or written anew since this was last asked. Never: a comparison of two
//! states, which does not show what went and came back.

use std::collections::BTreeMap;
use std::io;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, protocols};

use super::netns::{Netns, NetnsError};
use super::nft::{self, NftError};
use super::observe::{ObserveFailure, device_names, subject};
use crate::name::DeviceName;
use crate::namespace::{Kind, Table};
use crate::net::Family;

/// Links, neighbours, IPv4 addresses, routes and rules, IPv6 addresses, routes and rules. Source: linux/rtnetlink.h.
const GROUPS: [u32; 8] = [1, 3, 5, 7, 8, 9, 11, 19];
/// Bytes: room for every event of a change.
const BUFFER: usize = 4 << 20;
/// The length of a netlink header. Source: linux/netlink.h.
const HEADER: usize = 16;

/// Why nothing can be said of what happened.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The socket failed, or more was told than it could hold.
    #[error("failed to hear what the kernel tells")]
    Socket(#[from] io::Error),
    /// The rules of the tables could not be read.
    #[error(transparent)]
    Rules(#[from] NftError),
    /// The devices could not be read.
    #[error(transparent)]
    Devices(#[from] ObserveFailure),
}

/// Listens in one namespace. It must go before the namespace does, which it would hold.
pub struct Ear {
    socket: Socket,
    names: BTreeMap<u32, DeviceName>,
    /// The kernel's number of every rule of the tables, with its line.
    handles: Handles,
}

/// By family, table and number.
type Handles = BTreeMap<(Family, Table, u64), (Kind, String)>;

impl Ear {
    /// Listens from now on.
    ///
    /// # Errors
    /// [`EventsError`].
    pub async fn open(netns: &Netns) -> Result<Self, EventsError> {
        let socket = netns.run_in(listener)??;
        Ok(Self { socket, names: device_names(netns).await?, handles: handles(netns)? })
    }

    /// What was deleted or written anew since this was last asked.
    ///
    /// # Errors
    /// [`EventsError`].
    pub async fn heard(&mut self, netns: &Netns) -> Result<Vec<(Kind, String)>, EventsError> {
        let mut names = std::mem::take(&mut self.names);
        let now = device_names(netns).await?;
        names.extend(now.clone());
        let mut found = Vec::new();
        while let Some(bytes) = received(&self.socket)? {
            for message in messages(&bytes) {
                let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) else { continue };
                if let NetlinkPayload::InnerMessage(message) = message.payload {
                    found.extend(subject(&message, &names));
                }
            }
        }
        let handles = handles(netns)?;
        found.extend(
            self.handles.iter().filter(|(handle, _)| !handles.contains_key(handle)).map(|(_, rule)| rule.clone()),
        );
        (self.names, self.handles) = (now, handles);
        Ok(found)
    }
}

fn listener() -> io::Result<Socket> {
    let mut socket = Socket::new(protocols::NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.set_rx_buf_sz(BUFFER)?;
    for group in GROUPS {
        socket.add_membership(group)?;
    }
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// The next datagram, if one has come.
fn received(socket: &Socket) -> io::Result<Option<Vec<u8>>> {
    match socket.recv_from_full() {
        Ok((bytes, _sender)) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// The messages of a datagram.
fn messages(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some(length) = rest.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)) {
        let length = usize::try_from(length).unwrap_or(rest.len()).clamp(HEADER, rest.len().max(HEADER));
        let Some(message) = rest.get(..length) else { break };
        all.push(message);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

fn handles(netns: &Netns) -> Result<Handles, NftError> {
    let tables = nft::read(netns.nf())?;
    let lines = tables.numbered().map(|(handle, family, table, chain, rule)| {
        ((family, table, handle), (kind(family, table), format!("-A {chain} {rule}")))
    });
    Ok(lines.collect())
}

fn kind(family: Family, table: Table) -> Kind {
    match (table, family) {
        (Table::Raw, Family::V4) => Kind::Raw,
        (Table::Mangle, Family::V4) => Kind::Mangle,
        (Table::Nat, Family::V4) => Kind::Nat,
        (Table::Filter, Family::V4) => Kind::Filter,
        (Table::Raw, Family::V6) => Kind::Raw6,
        (Table::Mangle, Family::V6) => Kind::Mangle6,
        (Table::Nat, Family::V6) => Kind::Nat6,
        (Table::Filter, Family::V6) => Kind::Filter6,
    }
}
