//! Resolved neighbours: read, and forgotten.
//!
//! In: a namespace. Out: what its kernel has found out; its neighbour tables without that. Never: a permanent entry read or
//! touched; those are configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use nix::errno::Errno;

use super::extack::NetlinkError;
use super::netns::Netns;
use super::observe::{self, ObserveFailure, device_names, reading};
use super::request::{acknowledged, dump};
use crate::name::DeviceName;
use crate::net::Mac;

/// The neighbours of both families that the kernel has found out and believes in.
///
/// # Errors
/// [`ObserveFailure`].
pub async fn resolved(netns: &Netns) -> Result<BTreeMap<(DeviceName, IpAddr), Mac>, ObserveFailure> {
    let names = device_names(netns).await?;
    let answers = dump(netns.handle(), RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default())).await;
    Ok(observe::resolved(&answers.map_err(reading("neighbours"))?, &names))
}

/// Forgets the neighbours of both families, or one of them.
///
/// # Errors
/// [`NetlinkError`] if the kernel refuses; that an entry is gone already is none.
pub async fn flush(netns: &Netns, only: Option<IpAddr>) -> Result<(), NetlinkError> {
    let handle = netns.handle();
    let known = dump(handle, RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default())).await?;
    for answer in known {
        let RouteNetlinkMessage::NewNeighbour(message) = answer else { continue };
        let Some(address) = address(&message) else { continue };
        let stays = matches!(message.header.state, NeighbourState::Permanent | NeighbourState::Noarp);
        if stays || only.is_some_and(|only| only != address) {
            continue;
        }
        let mut gone = NeighbourMessage::default();
        gone.header.family = message.header.family;
        gone.header.ifindex = message.header.ifindex;
        gone.attributes = message.attributes.into_iter().filter(is_destination).collect();
        match acknowledged(handle, RouteNetlinkMessage::DelNeighbour(gone), 0).await {
            Err(error) if error.errno() == Some(Errno::ENOENT) => {}
            done => done?,
        }
    }
    Ok(())
}

fn is_destination(attribute: &NeighbourAttribute) -> bool {
    matches!(attribute, NeighbourAttribute::Destination(_))
}

fn address(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| {
        if let NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) = attribute {
            Some((*v4).into())
        } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) = attribute {
            Some((*v6).into())
        } else {
            None
        }
    })
}
