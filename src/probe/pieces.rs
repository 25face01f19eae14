//! Packets of a given size: cut by who sends them, put together where they arrive.
//!
//! In: a frame, and what its link takes. Out: the frames that a machine there would send, or why it does not; from the pieces that
//! a node got the packet. Never: a packet that has arrived and of which a piece is missing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::track::{Attempt, Fault};
use super::wire::Frame;
use crate::name::DeviceName;
use crate::packet::{self, Assembler, Body, Packet, cut};

/// Headers in front of a piece's content, in bytes: of IPv4; of IPv6 with its fragment header.
const HEADERS: (u32, u32) = (20, 48);

/// An attempt's frame, marked and cut as it is to be.
pub(super) fn shaped(frame: &[u8], attempt: &Attempt, mtu: u32) -> Result<Vec<Vec<u8>>, Fault> {
    let Some(packet::Frame { source, destination, body: Body::Ip(mut packet) }) = packet::read(frame) else {
        return Ok(vec![frame.to_vec()]);
    };
    packet.dont_fragment = attempt.df && packet.source.is_ipv4();
    packet.id = attempt.token.number();
    let fits = u32::try_from(packet.size).is_ok_and(|size| size <= mtu);
    let parts = match fits {
        true => vec![packet],
        false if attempt.df => return Err(Fault::TooBig(mtu)),
        false => {
            let headers = if packet.source.is_ipv4() { HEADERS.0 } else { HEADERS.1 };
            cut(&packet, usize::try_from(mtu.saturating_sub(headers)).unwrap_or(usize::MAX))
        }
    };
    let frames = parts.into_iter().map(|part| packet::Frame { source, destination, body: Body::Ip(part) });
    Ok(frames.map(|frame| packet::write(&frame)).collect())
}

/// Pieces that the rest is missing of, at the taps of nodes.
#[derive(Default)]
pub(super) struct Pieces(BTreeMap<(usize, Rc<DeviceName>, bool), Assembler>);

impl Pieces {
    /// The frame; of pieces the whole once a node has all of it. In a router the first one stands for all: a kernel that tracks
    /// connections puts them together, and what it then writes into the headers of the others (`ip_fraglist_prepare`) is written
    /// where a tap has not looked yet.
    pub(super) fn whole<'a>(&mut self, frame: &Frame<'a>, at_node: bool) -> Option<Cow<'a, [u8]>> {
        if !is_piece(frame.bytes) {
            return Some(Cow::Borrowed(frame.bytes));
        }
        let packet::Frame { source, destination, body: Body::Ip(piece) } = packet::read(frame.bytes)? else {
            return None;
        };
        let whole = if at_node {
            let place = (frame.tap, Rc::clone(frame.device), frame.outgoing);
            self.0.entry(place).or_default().take(&piece)
        } else {
            let first = piece.fragment.as_ref().is_some_and(|piece| piece.offset == 0);
            first.then_some(Packet { fragment: None, ..piece })
        };
        Some(Cow::Owned(packet::write(&packet::Frame { source, destination, body: Body::Ip(whole?) })))
    }
}

/// IPv4 with an offset or more to follow, IPv6 with a fragment header next.
fn is_piece(bytes: &[u8]) -> bool {
    match (bytes.get(12..14), bytes.get(20..22)) {
        (Some([0x08, 0x00]), Some([high, low])) => (u16::from_be_bytes([*high, *low]) & 0x3fff) != 0,
        (Some([0x86, 0xdd]), Some([44, _])) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Protocol;
    use crate::net::Mac;
    use crate::probe::build::build;
    use crate::probe::frame::{self, Ends};
    use crate::probe::respond::request;
    use crate::probe::token::{Counters, mark};

    fn attempt(v6: bool, size: u16, df: bool) -> Attempt {
        let ends = if v6 {
            Ends::V6("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())
        } else {
            Ends::V4([10, 0, 0, 1].into(), [10, 0, 0, 2].into())
        };
        let mut counters = Counters::default();
        Attempt { size: Some(size), df, ..Attempt::new(0, counters.token(), Protocol::Udp(9000), 0, ends, 20_000) }
    }

    fn frame_of(attempt: &Attempt) -> Vec<u8> {
        let body = frame::Body::Datagram(request(attempt).unwrap());
        build(&frame::Packet { source: Mac::derived("a", "a"), destination: Mac::derived("b", "b"), body })
    }

    #[test]
    fn a_packet_is_as_long_as_asked_and_cut_for_the_link() {
        for (v6, pieces) in [(false, vec![1500, 1500, 1040]), (true, vec![1496, 1496, 1112])] {
            let attempt = attempt(v6, 4000, false);
            let whole = frame_of(&attempt);
            assert_eq!(whole.len(), 14 + 4000);
            let frames = shaped(&whole, &attempt, 1500).unwrap();
            assert_eq!(frames.iter().map(|frame| frame.len() - 14).collect::<Vec<_>>(), pieces);
            assert_eq!(shaped(&whole, &attempt, 4000).unwrap().len(), 1);
            let may_not = Attempt { df: true, ..attempt };
            assert_eq!(shaped(&whole, &may_not, 1500), Err(Fault::TooBig(1500)));
        }
    }

    #[test]
    fn a_node_has_a_packet_when_it_has_all_of_it_and_a_router_shows_it_by_the_first_piece() {
        for v6 in [false, true] {
            let attempt = attempt(v6, 4000, false);
            let frames = shaped(&frame_of(&attempt), &attempt, 1500).unwrap();
            let device = Rc::new(DeviceName::new("eth0").unwrap());
            let mut pieces = Pieces::default();
            let mut see = |bytes: &[u8], at_node: bool| {
                let whole = pieces.whole(&Frame { tap: 0, device: &device, outgoing: false, bytes }, at_node)?;
                let frame::Body::Datagram(datagram) = frame::parse(&whole)?.body else { return None };
                Some(mark(&datagram.segment)?.token)
            };
            let seen: Vec<bool> = frames.iter().map(|frame| see(frame, false).is_some()).collect();
            assert_eq!(seen, [true, false, false]);
            assert_eq!((see(&frames[2], true), see(&frames[0], true)), (None, None));
            assert_eq!(see(&frames[1], true), Some(attempt.token));
        }
    }
}
