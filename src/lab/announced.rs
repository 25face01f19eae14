//! What is announced on the provider segments of the lab.
//!
//! In: a question. Out: the gratuitous ARP packets and unsolicited neighbour advertisements since the last one. Never: a
//! namespace held that was removed, and never a frame missed in silence.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::fabric::Fabric;
use super::make::reason;
use super::shape::SEGMENT_BRIDGE;
use crate::dataplane::{Announced, Announcement, DataplaneError};
use crate::kernel::capture::{CaptureError, Listener};
use crate::name::Id;
use crate::packet::{self, Body, ETHERNET_HEADER, NeighbourKind};

/// Where the ARP operation is in a frame, and a reply's (RFC 826).
const OPERATION: usize = ETHERNET_HEADER + 6;
const REPLY: [u8; 2] = [0, 2];

/// Who listens on which segment.
#[derive(Default)]
pub(super) struct Heralds(RefCell<BTreeMap<Id, Listener>>);

impl Heralds {
    /// Nobody listens any more on segments that are gone.
    pub(super) fn retain(&self, fabric: &Fabric) {
        let stands = |id: &Id, listener: &Listener| {
            fabric.segments.get(id).is_some_and(|segment| segment.plug.netns.inode() == listener.inode())
        };
        self.0.borrow_mut().retain(|id, listener| stands(id, listener));
    }

    /// What was announced since this was last asked; from now on somebody listens on every segment.
    pub(super) fn heard(&self, fabric: &Fabric) -> Result<Announced, DataplaneError> {
        let failed =
            |error: CaptureError| DataplaneError::Watch { doing: "listen to announcements", reason: reason(&error) };
        self.retain(fabric);
        let mut all = Announced::default();
        let mut listeners = self.0.borrow_mut();
        for (id, segment) in &fabric.segments {
            let Some(listener) = listeners.get(id) else {
                listeners.insert(id.clone(), Listener::open(&segment.plug.netns).map_err(failed)?);
                continue;
            };
            let (sightings, missed) = listener.read().map_err(failed)?;
            all.missed += missed;
            // Each frame is seen once where it comes in; the bridge passes it on to itself and to the other ports.
            let came_in = sightings.iter().filter(|one| !one.outgoing && one.device.as_str() != SEGMENT_BRIDGE);
            all.frames.extend(came_in.filter_map(|one| announcement(&one.bytes)));
        }
        Ok(all)
    }
}

fn announcement(frame: &[u8]) -> Option<Announcement> {
    match packet::read(frame)?.body {
        Body::Neighbour(told) if told.kind == NeighbourKind::Announce => Some(Announcement {
            address: told.wanted,
            mac: told.mac,
            reply: told.wanted.is_ipv4() && frame.get(OPERATION..OPERATION + 2) == Some(&REPLY),
        }),
        Body::Neighbour(_) | Body::Ip(_) => None,
    }
}
