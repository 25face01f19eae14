//! Packets in pieces: cut as their sender wants it, put together as a Linux kernel does.
//!
//! A kernel that gets pieces of one packet which overlap throws all of it away (RFC 5722; Linux does the same for IPv4 since
//! 4.19), unless one piece is the same as another.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::read::fill;
use super::write::{content, fragment_headers};
use super::{Content, Fragment, Packet};

/// Cuts a packet into fragments with `step` bytes of content each, but for the last one; `step` is a multiple of eight.
/// Whole if it fits.
pub fn cut(packet: &Packet, step: usize) -> Vec<Packet> {
    let (protocol, bytes) = content(packet);
    let step = (step / 8 * 8).max(8);
    if bytes.len() <= step {
        return vec![packet.clone()];
    }
    let headers = fragment_headers(packet);
    let count = bytes.len().div_ceil(step);
    let piece = |(number, part): (usize, &[u8])| Packet {
        fragment: Some(Fragment { offset: number * step, more: number + 1 < count, protocol, part: part.to_vec() }),
        content: Content::Other(protocol, part.to_vec()),
        size: headers + part.len(),
        ..packet.clone()
    };
    bytes.chunks(step).enumerate().map(piece).collect()
}

/// What the pieces of a packet have in common.
type Key = (IpAddr, IpAddr, u32, u8);

/// Puts fragments together that come to one place.
#[derive(Debug, Default)]
pub struct Assembler {
    open: BTreeMap<Key, Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    /// By offset.
    pieces: BTreeMap<usize, Vec<u8>>,
    end: Option<usize>,
    /// Pieces overlapped: nothing more comes of it.
    spoilt: bool,
}

impl Assembler {
    /// Takes what has come; gives back a packet if it is whole, or became whole by this: it looks as its last piece did, with
    /// the size of the whole.
    pub fn take(&mut self, packet: &Packet) -> Option<Packet> {
        let Some(Fragment { offset, more, protocol, part }) = &packet.fragment else { return Some(packet.clone()) };
        let key = (packet.source, packet.destination, packet.id, *protocol);
        let parts = self.open.entry(key).or_default();
        parts.add(*offset, part, *more);
        let whole = parts.whole()?;
        self.open.remove(&key);
        let headers = if packet.source.is_ipv4() { super::V4_HEADER } else { super::V6_HEADER };
        let mut all = Packet { fragment: None, size: headers + whole.len(), ..packet.clone() };
        fill(&mut all, *protocol, &whole, false);
        Some(all)
    }
}

impl Parts {
    fn add(&mut self, offset: usize, bytes: &[u8], more: bool) {
        if self.pieces.get(&offset).is_some_and(|known| known == bytes) {
            return;
        }
        let end = offset + bytes.len();
        let overlaps = self.pieces.iter().any(|(other, known)| *other < end && offset < *other + known.len());
        self.spoilt |= overlaps;
        self.pieces.insert(offset, bytes.to_vec());
        if !more {
            self.end = Some(end);
        }
    }

    fn whole(&self) -> Option<Vec<u8>> {
        let end = self.end.filter(|_| !self.spoilt)?;
        let mut all = Vec::new();
        for (offset, bytes) in &self.pieces {
            if *offset != all.len() {
                return None;
            }
            all.extend(bytes);
        }
        (all.len() == end).then_some(all)
    }
}
