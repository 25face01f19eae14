//! Frames kept for people: all of a run's if that is asked for, else those of packets that are explained and those that the
//! watch caught.
//!
//! In: the lab's namespaces. Out: a [`Capture`]. Never: a change to what probes see, who have sockets of their own; and while
//! nothing is captured, nothing at all.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use super::{Lab, make};
use crate::capture::{Capture, Frame};
use crate::flow::{Flow, Place};
use crate::kernel::capture::{CaptureError, Listener};
use crate::kernel::{self, Netns};
use crate::name::{DeviceName, HostName};
use crate::net::Mac;
use crate::plan::Op;
use crate::probe::{self, Lookup, Packet, RouteAnswer, Wire, WireError};
use crate::watch::Captured;

/// How many frames are kept unasked.
const UNASKED: usize = 1000;

/// What is captured, and what has been.
#[derive(Default)]
pub(super) struct Capturing {
    /// Everything, for the life of the lab.
    whole: Cell<bool>,
    listeners: RefCell<BTreeMap<Place, Listener>>,
    taken: RefCell<Capture>,
}

impl Capturing {
    /// A capture that is not whole says so, and changes nothing else.
    fn broken(&self, place: &Place, error: &CaptureError) {
        self.taken.borrow_mut().broken = Some(format!("{place}: failed to {}", make::reason(error)));
    }
}

impl Lab {
    /// Captures every frame of every namespace from now on.
    pub fn capture(&self) {
        self.capturing.whole.set(true);
    }

    /// What was captured since this was last asked.
    pub fn captured(&self) -> Capture {
        self.look(None);
        let mut capture = self.capturing.taken.take();
        capture.frames.sort_by_key(|frame| frame.at);
        capture
    }

    /// If all is captured: listens to namespaces that are new, and not any more to those that are gone.
    pub(super) fn listen_on(&self) {
        if self.capturing.whole.get() {
            self.listen();
        }
    }

    /// What came while an operation was carried out.
    pub(super) fn look_after(&self, host: &HostName, op: &Op) {
        if self.capturing.whole.get() {
            let text = op.to_string();
            let command = text.lines().next().unwrap_or_default();
            self.look(Some(&format!("during `{command}` on {host}")));
            self.listen();
        }
    }

    /// Listens for as long as what it gives is kept: to everything that one packet does.
    pub(super) fn excerpt(&self) -> Excerpt<'_> {
        self.listen();
        Excerpt { capturing: &self.capturing }
    }

    /// Keeps what the watch caught, which a whole capture has anyway.
    pub(super) fn keep_caught(&self, caught: &[Captured]) {
        let mut taken = self.capturing.taken.borrow_mut();
        if self.capturing.whole.get() {
            return;
        }
        let at = kernel::wall_clock();
        for one in caught {
            if taken.frames.len() < UNASKED {
                taken.frames.push(Frame {
                    place: segment(one.network.as_str()),
                    device: DeviceName::cut("", one.host.as_str()),
                    outgoing: false,
                    at,
                    bytes: one.frame.clone(),
                    notes: vec![format!("the watch: {} from {}", one.class, one.host)],
                });
            }
        }
    }

    /// Listens no more to what is gone, so that nothing holds its namespace.
    pub(super) fn unlisten(&self) {
        if self.capturing.listeners.borrow().is_empty() {
            return;
        }
        self.look(None);
        let all = self.all_places();
        let standing: BTreeSet<(&Place, u64)> = all.iter().map(|(place, netns)| (place, netns.inode())).collect();
        let mut listeners = self.capturing.listeners.borrow_mut();
        listeners.retain(|place, listener| standing.contains(&(place, listener.inode())));
    }

    fn listen(&self) {
        self.unlisten();
        let all = self.all_places();
        let mut listeners = self.capturing.listeners.borrow_mut();
        for (place, netns) in &all {
            if !listeners.contains_key(place) {
                match Listener::open(netns) {
                    Ok(listener) => drop(listeners.insert(place.clone(), listener)),
                    Err(error) => self.capturing.broken(place, &error),
                }
            }
        }
    }

    /// Every namespace of the lab.
    fn all_places(&self) -> Vec<(Place, Rc<Netns>)> {
        let fabric = self.fabric.borrow();
        let hosts = fabric.hosts.iter().map(|(name, host)| (name.to_string(), Rc::clone(&host.netns)));
        let here = hosts.map(|(name, netns)| (Place { host: None, name }, netns));
        let segments = fabric.segments.iter();
        let segments = segments.map(|(id, found)| (segment(id.as_str()), Rc::clone(&found.plug.netns)));
        let underlay = fabric.underlay.iter().map(|plug| {
            let name = "the underlay".to_owned();
            (Place { host: None, name }, Rc::clone(&plug.netns))
        });
        self.places().into_iter().chain(here).chain(segments).chain(underlay).collect()
    }

    /// Reads what is being listened to.
    pub(super) fn look(&self, note: Option<&str>) {
        for (place, listener) in self.capturing.listeners.borrow().iter() {
            let (sightings, missed) = match listener.read() {
                Ok(read) => read,
                Err(error) => {
                    self.capturing.broken(place, &error);
                    continue;
                }
            };
            let mut taken = self.capturing.taken.borrow_mut();
            if missed > 0 {
                *taken.missed.entry(place.clone()).or_default() += missed;
            }
            for sighting in sightings {
                if self.capturing.whole.get() || taken.frames.len() < UNASKED {
                    taken.frames.push(Frame {
                        place: place.clone(),
                        device: sighting.device,
                        outgoing: sighting.outgoing,
                        at: sighting.at,
                        bytes: sighting.bytes,
                        notes: note.map(str::to_owned).into_iter().collect(),
                    });
                }
            }
        }
    }

    /// How many frames there are by now.
    pub(super) fn taken(&self) -> usize {
        self.capturing.taken.borrow().frames.len()
    }

    /// Says of the frames since `from` which probe they belong to. `attempts` are the probes' numbers, each with its flow.
    pub(super) fn label(&self, from: usize, attempts: &BTreeMap<u32, &Flow>) {
        self.look(None);
        for frame in self.capturing.taken.borrow_mut().frames.iter_mut().skip(from) {
            let Some((number, part)) = probe::whose(&frame.bytes) else { continue };
            let Some(flow) = attempts.get(&number) else { continue };
            let part = match part {
                Packet::Request => "request",
                Packet::Answer => "answer",
                Packet::Error => "error about it",
            };
            frame.notes.push(format!("probe {number}: {} -> {} {}, {part}", flow.from, flow.to, flow.spoken()));
        }
    }

    /// The probes' wire with somebody listening besides, if somebody is.
    pub(super) fn overheard<'a>(&'a self, wire: &'a dyn Wire) -> Overheard<'a> {
        Overheard { lab: self, wire }
    }
}

fn segment(network: &str) -> Place {
    Place { host: None, name: format!("segment {network}") }
}

/// A time during which everything is listened to.
pub(super) struct Excerpt<'a> {
    capturing: &'a Capturing,
}

impl Drop for Excerpt<'_> {
    fn drop(&mut self) {
        if !self.capturing.whole.get() {
            self.capturing.listeners.borrow_mut().clear();
        }
    }
}

/// Frames are read as often as the probes read theirs: sockets hold a few hundred.
pub(super) struct Overheard<'a> {
    lab: &'a Lab,
    wire: &'a dyn Wire,
}

impl Wire for Overheard<'_> {
    fn places(&self) -> Vec<Place> {
        self.wire.places()
    }

    fn transmit(&self, tap: usize, device: &DeviceName, frame: &[u8]) -> Result<(), WireError> {
        self.wire.transmit(tap, device, frame)
    }

    fn emit(&self, tap: usize, to: IpAddr, packet: &[u8]) -> Result<bool, WireError> {
        self.wire.emit(tap, to, packet)
    }

    fn sweep(&self, see: &mut dyn FnMut(probe::Frame<'_>)) -> Result<usize, WireError> {
        self.lab.look(None);
        if let Err(error) = self.lab.hear_frames() {
            tracing::debug!(%error, "frames on segments are read again when somebody asks for them");
        }
        self.wire.sweep(see)
    }

    fn route(&self, tap: usize, lookup: Lookup<'_>) -> Result<RouteAnswer, WireError> {
        self.wire.route(tap, lookup)
    }

    fn speaker(&self, tap: usize, to: IpAddr) -> Result<Option<IpAddr>, WireError> {
        self.wire.speaker(tap, to)
    }

    fn neighbours_pending(&self, tap: usize) -> Result<bool, WireError> {
        self.wire.neighbours_pending(tap)
    }

    fn pinned(&self, tap: usize, device: &DeviceName, neighbour: IpAddr) -> Result<Option<Mac>, WireError> {
        self.wire.pinned(tap, device, neighbour)
    }

    fn learn(&self, tap: usize, device: &DeviceName, neighbour: IpAddr, mac: Mac) -> Result<(), WireError> {
        self.wire.learn(tap, device, neighbour, mac)
    }

    fn idle(&self, limit: Duration) -> Result<bool, WireError> {
        self.wire.idle(limit)
    }

    fn missed(&self) -> Result<Vec<(Place, u32)>, WireError> {
        self.wire.missed()
    }
}
