//! How flows stand, for packets that are made beside them; and what such packets do to them.
//!
//! In: frames that somebody else had the taps show. Out: tuples, numbers and latest packets. Never: a frame sent.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::nodes::Nodes;
use super::super::wire::{Frame, Wire};
use super::{Drive, Live, View};
use crate::flow::Place;
use crate::name::DeviceName;
use crate::packet::{self, Body, Tuple, UnderWay};

/// A frame that a tap saw, kept.
#[derive(Debug, Clone)]
pub struct OwnedFrame {
    tap: usize,
    device: Rc<DeviceName>,
    outgoing: bool,
    bytes: Vec<u8>,
}

impl From<Frame<'_>> for OwnedFrame {
    fn from(frame: Frame<'_>) -> Self {
        let Frame { tap, device, outgoing, bytes } = frame;
        Self { tap, device: Rc::clone(device), outgoing, bytes: bytes.to_vec() }
    }
}

impl Drive {
    /// How the flows under way stand.
    pub fn under_way(&self) -> BTreeMap<u32, UnderWay> {
        self.flows.iter().map(|(number, live)| (*number, live.under_way())).collect()
    }

    /// Takes note of what came while nobody asked for the flows: a reset for one of them, an announcement.
    pub fn overhear(&mut self, wire: &dyn Wire, nodes: &Nodes, frames: &[OwnedFrame]) {
        let view = View::new(wire, nodes);
        for OwnedFrame { tap, device, outgoing, bytes } in frames {
            let frame = Frame { tap: *tap, device, outgoing: *outgoing, bytes };
            // Nobody answers what was not sent by a flow: both ends are in the middle of something else.
            self.see(frame, &view, &mut Vec::new());
        }
    }
}

impl Live {
    /// Keeps the latest packet that came to a place.
    pub(super) fn note_came(&mut self, place: Option<&Place>, request: bool, frame: &Frame<'_>) {
        if let (Some(place), false, false) = (place, frame.outgoing, self.course.quiet) {
            self.came.insert((place.clone(), request), frame.bytes.to_vec());
        }
    }

    fn under_way(&self) -> UnderWay {
        let (source_port, port) = self.ports();
        let near =
            self.ends.map(|ends| Tuple { source: ends.source(), source_port, destination: ends.destination(), port });
        let far = self.far.last();
        let seen = far.map(|far| Tuple {
            source: far.ends.source(),
            source_port: far.ports.0,
            destination: far.ends.destination(),
            port: far.ports.1,
        });
        let came = self.came.iter().filter_map(|((place, _), bytes)| match packet::read(bytes)?.body {
            Body::Ip(packet) => Some((place.clone(), packet)),
            Body::Neighbour(_) => None,
        });
        UnderWay {
            near,
            far: seen,
            sender: far.and_then(|far| self.near.numbers_to(&far.connection)),
            receiver: far.and_then(|far| far.connection.numbers_to(&self.near)),
            came: came.collect(),
        }
    }
}
