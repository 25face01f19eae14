//! The frames on segments while a step makes its change and looks at it.
//!
//! In: what is on the segments that its sentences are about, and announcements on all provider segments if one is about those.
//! Out: whether sentences about frames hold. Never: anybody listening where no sentence asks for it, and never a verdict on
//! what was not heard to its end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Driver, dataplane_failure, failure};
use crate::dataplane::{DataplaneError, SegmentFrame};
use crate::name::Id;
use crate::net::Mac;
use crate::packet::{self, Body, ETHERNET_HEADER, Neighbour, NeighbourKind};
use crate::record::{FailureKind, StepRecord};
use crate::scenario::{Expected, FrameExpectation, Quantity, Step};
use crate::topology::Segment;

/// Where the ARP operation is in a frame, and a reply's (RFC 826).
const OPERATION: usize = ETHERNET_HEADER + 6;
const REPLY: [u8; 2] = [0, 2];

/// What was heard in a step.
#[derive(Debug, Default)]
pub(super) struct Heard(RefCell<InStep>);

#[derive(Debug, Default)]
struct InStep {
    /// Some sentence is about announcements.
    announcements: bool,
    /// What the sentences about frames are about.
    segments: BTreeSet<Segment>,
    announced: Vec<Announcement>,
    frames: Vec<SegmentFrame>,
    /// So many more there was no room for.
    missed: u32,
}

/// A gratuitous ARP packet, or an unsolicited neighbour advertisement, to all: proxy ARP answers the one that sends the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announcement {
    /// What it says where to find.
    pub(super) address: IpAddr,
    /// Where it says that is.
    pub(super) mac: Mac,
    /// An ARP reply: it tells those who do not listen to requests what a request tells the others.
    pub(super) reply: bool,
}

impl Driver<'_> {
    /// A step begins: what was on the segments up to now is none of it.
    pub(super) fn hear_anew(&self, step: &Step, record: &mut StepRecord) {
        let all = || step.expectations.iter().map(|one| &one.what);
        let segments = all().filter_map(|one| match one {
            Expected::Frames(frames) => Some(frames.on.clone()),
            Expected::Flow(_)
            | Expected::State(_)
            | Expected::Course(_)
            | Expected::Watch(_)
            | Expected::Status(_)
            | Expected::Announced(_) => None,
        });
        let anew = InStep {
            announcements: all().any(|one| matches!(one, Expected::Announced(_))),
            segments: segments.collect(),
            ..InStep::default()
        };
        let before = self.heard.0.replace(anew);
        let result = if before.listens() { self.dataplane.frames(&self.listened()).map(drop) } else { self.hear() };
        if let Err(error) = result {
            record.failures.push(dataplane_failure(&error));
        }
        let mut now = self.heard.0.borrow_mut();
        (now.announced, now.frames, now.missed) = (Vec::new(), Vec::new(), 0);
    }

    /// Takes what was on the segments up to now. To be asked often: a socket holds a few hundred frames.
    pub(super) fn hear(&self) -> Result<(), DataplaneError> {
        if !self.heard.0.borrow().listens() {
            return Ok(());
        }
        let more = self.dataplane.frames(&self.listened())?;
        let mut heard = self.heard.0.borrow_mut();
        heard.missed += more.missed;
        for frame in more.frames {
            if heard.announcements && self.is_provider(&frame.on) {
                heard.announced.extend(announcement(&frame.bytes));
            }
            if heard.segments.contains(&frame.on) {
                heard.frames.push(frame);
            }
        }
        Ok(())
    }

    /// What was announced in this step so far; else how many frames were missed.
    pub(super) fn announced_so_far(&self) -> Result<Vec<Announcement>, u32> {
        let heard = self.heard.0.borrow();
        if heard.missed > 0 { Err(heard.missed) } else { Ok(heard.announced.clone()) }
    }

    /// A step is done: holds what was on the segments against the sentences about it.
    pub(super) fn judge_frames(&self, step: &Step, record: &mut StepRecord) {
        if let Err(error) = self.hear() {
            record.failures.push(dataplane_failure(&error));
        }
        let heard = self.heard.0.borrow();
        for expectation in &step.expectations {
            let Expected::Frames(expected) = &expectation.what else { continue };
            if let Some(wrong) = self.judged(expected, &heard) {
                let text = format!("`{}`: {wrong}", expectation.text);
                record.failures.push(failure(FailureKind::Expectation, Some(expectation.line), text));
            }
        }
    }

    fn judged(&self, expected: &FrameExpectation, heard: &InStep) -> Option<String> {
        let here = heard.frames.iter().filter(|frame| frame.on == expected.on);
        let lines: Vec<String> = here.map(|frame| line(frame, &self.macs)).collect();
        let wrong = expected.judge(&lines).map(|found| found.sentence);
        // One that was seen is there whatever was missed; of all else it is not known.
        let is_known = heard.missed == 0 || (expected.quantity == Quantity::Some && wrong.is_none());
        if is_known {
            wrong
        } else {
            Some(format!("{} frames were missed, so it is not known what there was", heard.missed))
        }
    }

    /// Where somebody is to listen.
    fn listened(&self) -> BTreeSet<Segment> {
        let heard = self.heard.0.borrow();
        let provider = self.topology.segments.keys().filter(|_| heard.announcements).cloned().map(Segment::Network);
        provider.chain(heard.segments.iter().cloned()).collect()
    }

    fn is_provider(&self, segment: &Segment) -> bool {
        match segment {
            Segment::Network(id) => self.topology.segments.contains_key::<Id>(id),
            Segment::Underlay => false,
        }
    }
}

impl InStep {
    fn listens(&self) -> bool {
        self.announcements || !self.segments.is_empty()
    }
}

fn announcement(frame: &[u8]) -> Option<Announcement> {
    let read = packet::read(frame)?;
    match read.body {
        Body::Neighbour(told) if told.kind == NeighbourKind::Announce && read.destination.is_group() => {
            Some(Announcement {
                address: told.wanted,
                mac: told.mac,
                reply: told.wanted.is_ipv4() && frame.get(OPERATION..OPERATION + 2) == Some(&REPLY),
            })
        }
        Body::Neighbour(_) | Body::Ip(_) => None,
    }
}

/// A frame as sentences name it: `arp request 10.0.1.1 from vm1`, `ip 10.0.1.11 > 10.0.2.11 udp 5000 > 9000 ttl 63 from vm1 to
/// cmp1/qrouter-r1/qr-red4`; on the underlay after whose tunnel it is in, and of which network: `cmp1 > cmp2 red`.
fn line(frame: &SegmentFrame, macs: &BTreeMap<Mac, String>) -> String {
    let owner = |mac: Mac| match macs.get(&mac) {
        Some(owner) => owner.clone(),
        None => mac.to_string(),
    };
    let inner = match packet::read(&frame.bytes) {
        None => "neither arp nor ip".to_owned(),
        Some(read) => match read.body {
            Body::Neighbour(neighbour) => neighbour_text(&neighbour, &owner(neighbour.mac)),
            Body::Ip(packet) => {
                let (from, to) = (owner(read.source), owner(read.destination));
                format!("{packet} ttl {} from {from} to {to}", packet.ttl)
            }
        },
    };
    match &frame.tunnelled {
        Some(tunnel) => format!("{} > {} {} {inner}", tunnel.from, tunnel.to, tunnel.network),
        None => inner,
    }
}

fn neighbour_text(neighbour: &Neighbour, owner: &str) -> String {
    let protocol = if neighbour.wanted.is_ipv4() { "arp" } else { "nd" };
    match neighbour.kind {
        NeighbourKind::Request => format!("{protocol} request {} from {owner}", neighbour.wanted),
        NeighbourKind::Reply => {
            format!("{protocol} reply {} is-at {owner} to {}", neighbour.wanted, neighbour.other)
        }
        NeighbourKind::Announce => format!("{protocol} announce {} is-at {owner}", neighbour.wanted),
    }
}
