//! One attempt to get a packet through: what has been seen of it, and its way as hops.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::rc::Rc;

use super::frame::{Datagram, Ends, Refusal, Segment};
use super::respond::TTL;
use super::token::Token;
use super::transfer::Transfer;
use super::wire::Frame;
use crate::flow::{Hop, Place, Protocol, Seen};
use crate::memory::{Detail, ICMP, ICMPV6, TCP, Tuple, UDP};
use crate::name::DeviceName;
use crate::net::Mac;

/// An attempt.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// Position of its flow among those sent.
    pub flow: usize,
    /// Its identity.
    pub token: Token,
    /// What it speaks.
    pub protocol: Protocol,
    /// The sender's tap.
    pub sender: usize,
    /// From the sender to the target.
    pub ends: Ends,
    /// Source port or echo id.
    pub port: u16,
    /// Initial TTL.
    pub ttl: u8,
    /// Bytes of the IP packet, if it is to be so long.
    pub size: Option<u16>,
    /// It may not be cut.
    pub df: bool,
    /// What it is to carry over TCP, if that is more than the handshake and a word each way.
    pub transfer: Option<Transfer>,
    /// Why the sender could not send.
    pub fault: Option<Fault>,
    /// Where the request was seen.
    pub requests: Vec<Passage>,
    /// Where the answer was seen.
    pub replies: Vec<Passage>,
    /// What the far end saw.
    pub arrived: Option<Seen>,
    /// What came back.
    pub outcome: Option<Outcome>,
    /// How far the TCP conversation is.
    pub conversation: Conversation,
}

/// Why a sender did not get a packet out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its routing knows no way.
    NoRoute,
    /// Its routing prohibits.
    Prohibited,
    /// Its routing discards.
    Blackhole,
    /// Its next hop did not answer.
    NoNeighbour,
    /// Its link takes packets of so many bytes only.
    TooBig(u32),
}

/// What a sender got back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The answer. What it states, if it states something; the TTL it came with.
    Answered(Option<Seen>, u8),
    /// The link-layer address asked for.
    Told(Mac),
    /// An ICMP error or reset, and who sent it.
    Refused(Refusal, IpAddr),
}

/// Steps of a TCP probe that are taken once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Conversation {
    /// The responder answered the SYN, or the datagram.
    pub answered: bool,
    /// The sender completed the handshake and sent its payload.
    pub spoken: bool,
    /// The responder answered the payload.
    pub replied: bool,
}

/// A frame of an attempt in one tap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Passage {
    /// Where.
    pub tap: usize,
    /// By which device.
    pub device: Rc<DeviceName>,
    /// It left.
    pub outgoing: bool,
    /// Whom it was for.
    pub to: Mac,
    /// Addresses, as they were there.
    pub ends: Ends,
    /// Source port or echo id, as it was there.
    pub port: u16,
    /// What else conntrack knows it by there.
    pub detail: Detail,
    /// TTL or hop limit, as it was there.
    pub ttl: u8,
}

impl Passage {
    /// By what conntrack may remember it there.
    fn tuple(&self, protocol: Protocol) -> Option<Tuple> {
        tuple(protocol, self.ends, self.detail)
    }
}

/// Nothing of ARP, which nobody tracks.
fn tuple(protocol: Protocol, ends: Ends, detail: Detail) -> Option<Tuple> {
    let protocol = match (protocol, ends) {
        (Protocol::Icmp, Ends::V4(..)) => ICMP,
        (Protocol::Icmp, Ends::V6(..)) => ICMPV6,
        (Protocol::Tcp(_), _) => TCP,
        (Protocol::Udp(_), _) => UDP,
        (Protocol::Arp, _) => return None,
    };
    Some(Tuple { protocol, source: ends.source(), destination: ends.destination(), detail })
}

impl Attempt {
    /// One that has not begun, with nothing special.
    pub(super) fn new(flow: usize, token: Token, protocol: Protocol, sender: usize, ends: Ends, port: u16) -> Self {
        Self {
            flow,
            token,
            protocol,
            sender,
            ends,
            port,
            ttl: TTL,
            size: None,
            df: false,
            transfer: None,
            fault: None,
            requests: Vec::new(),
            replies: Vec::new(),
            arrived: None,
            outcome: None,
            conversation: Conversation::default(),
        }
    }

    /// What conntrack may remember of its request, as the sender had it.
    pub(super) fn tuple(&self) -> Option<Tuple> {
        let detail = match (self.protocol, self.ends) {
            (Protocol::Icmp, ends) => echo(ends, false, self.port),
            (Protocol::Tcp(port) | Protocol::Udp(port), _) => Detail::Ports(self.port, port),
            (Protocol::Arp, _) => Detail::None,
        };
        tuple(self.protocol, self.ends, detail)
    }

    /// How its packets looked where they came in, by tap: whatever conntrack there remembers of them has one of these tuples.
    pub(super) fn entered(&self) -> impl Iterator<Item = (usize, Tuple)> {
        let earlier = self.transfer.iter().flat_map(|transfer| &transfer.earlier);
        let passages = self.requests.iter().chain(&self.replies).chain(earlier).filter(|passage| !passage.outgoing);
        passages.filter_map(|passage| Some((passage.tap, passage.tuple(self.protocol)?)))
    }

    /// Whether nothing more can come of it that would change the verdict.
    pub(super) fn is_settled(&self) -> bool {
        self.outcome.is_some()
            || matches!(self.fault, Some(Fault::NoRoute | Fault::Prohibited | Fault::Blackhole | Fault::TooBig(_)))
    }

    /// Whether it was last seen to leave a place, and nowhere after: on its way, or gone on a link.
    pub(super) fn is_between_places(&self) -> bool {
        let last = in_order(if self.replies.is_empty() { &self.requests } else { &self.replies }).pop();
        !self.is_settled() && last.is_some_and(|passage| passage.outgoing)
    }

    /// The request where it was last seen.
    pub(super) fn last_request(&self) -> Option<&Passage> {
        in_order(&self.requests).pop()
    }

    /// The request's way.
    pub(super) fn path(&self, places: &[Place]) -> Vec<Hop> {
        hops(&self.requests, places)
    }

    /// The answer's way.
    pub(super) fn reply_path(&self, places: &[Place]) -> Vec<Hop> {
        hops(&self.replies, places)
    }
}

/// Source port or echo id; nothing for an ICMP error.
pub(super) fn source_port(segment: &Segment<'_>) -> Option<u16> {
    match segment {
        Segment::Echo { id, .. } => Some(*id),
        Segment::Udp { ports, .. } | Segment::Tcp { ports, .. } => Some(ports.0),
        Segment::Error { .. } => None,
    }
}

/// What a datagram looked like in a tap; nothing for an ICMP error.
pub(super) fn passage(frame: &Frame<'_>, datagram: &Datagram<'_>) -> Option<Passage> {
    let Frame { tap, device, outgoing, bytes: _ } = *frame;
    let port = source_port(&datagram.segment)?;
    let detail = match &datagram.segment {
        Segment::Echo { reply, id, .. } => echo(datagram.ends, *reply, *id),
        Segment::Udp { ports, .. } | Segment::Tcp { ports, .. } => Detail::Ports(ports.0, ports.1),
        Segment::Error { .. } => Detail::None,
    };
    let (device, to) = (Rc::clone(device), frame.destination());
    Some(Passage { tap, device, outgoing, to, ends: datagram.ends, port, detail, ttl: datagram.ttl })
}

/// RFC 792 and RFC 4443.
fn echo(ends: Ends, reply: bool, id: u16) -> Detail {
    let kind = match (ends, reply) {
        (Ends::V4(..), false) => 8,
        (Ends::V4(..), true) => 0,
        (Ends::V6(..), false) => 128,
        (Ends::V6(..), true) => 129,
    };
    Detail::Icmp { kind, code: 0, id }
}

/// In the order of the way: a place that forwards takes one off the TTL, and between two places a packet leaves before it
/// enters.
pub(super) fn in_order(passages: &[Passage]) -> Vec<&Passage> {
    let mut ordered: Vec<&Passage> = passages.iter().collect();
    ordered.sort_by_key(|passage| (Reverse(passage.ttl), !passage.outgoing));
    ordered
}

pub(super) fn hops(passages: &[Passage], places: &[Place]) -> Vec<Hop> {
    let mut hops: Vec<(usize, Hop)> = Vec::new();
    for passage in in_order(passages) {
        let Some(place) = places.get(passage.tap) else { continue };
        let open = hops.last_mut().filter(|(tap, hop)| passage.outgoing && *tap == passage.tap && hop.left.is_none());
        let device = DeviceName::clone(&passage.device);
        let (source, destination, ttl) = (passage.ends.source(), passage.ends.destination(), passage.ttl);
        if let Some((_, hop)) = open {
            *hop = Hop { left: Some(device), source, destination, ttl, ..hop.clone() };
        } else {
            let (entered, left) = if passage.outgoing { (None, Some(device)) } else { (Some(device), None) };
            hops.push((passage.tap, Hop { place: place.clone(), entered, left, source, destination, ttl }));
        }
    }
    hops.into_iter().map(|(_, hop)| hop).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(tap: usize, device: &str, outgoing: bool, ttl: u8) -> Passage {
        let ends = Ends::V4([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        Passage {
            tap,
            device: Rc::new(DeviceName::new(device).unwrap()),
            outgoing,
            to: Mac::ZERO,
            ends,
            port: 1,
            detail: Detail::None,
            ttl,
        }
    }

    #[test]
    fn a_way_that_turns_round_is_put_in_order() {
        let places: Vec<Place> =
            ["vm1", "qrouter", "fip"].map(|name| Place { host: None, name: name.to_owned() }).to_vec();
        // A node that probes its own floating IP, read tap by tap.
        let passages = [
            seen(0, "eth0", true, 64),
            seen(0, "eth0", false, 61),
            seen(1, "qr", false, 64),
            seen(1, "rfp", true, 63),
            seen(1, "rfp", false, 62),
            seen(1, "qr", true, 61),
            seen(2, "fpr", false, 63),
            seen(2, "fpr", true, 62),
        ];
        let way: Vec<String> = hops(&passages, &places)
            .into_iter()
            .map(|hop| {
                let name = |device: Option<DeviceName>| device.map_or("-".to_owned(), |device| device.to_string());
                format!("{} {} {} {}", name(hop.entered), hop.place, name(hop.left), hop.ttl)
            })
            .collect();
        let expected = ["- vm1 eth0 64", "qr qrouter rfp 63", "fpr fip fpr 62", "rfp qrouter qr 61", "eth0 vm1 - 61"];
        assert_eq!(way, expected);
    }
}
