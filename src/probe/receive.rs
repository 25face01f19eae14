//! What a frame in a tap means for the run: a passage of a probe, an end of its way, or a neighbour's question or answer.
//!
//! In: frames. Out: notes in the attempts and the resolver, and the packets that come next. Never: a frame sent (the engine
//! does that between sweeps).

use std::net::IpAddr;

use pnet::packet::tcp::TcpFlags;

use super::engine::Engine;
use super::frame::{Body, Datagram, Neighbour, Refusal, Segment, parse};
use super::nodes::Node;
use super::resolve::{Leg, Letter};
use super::respond::{accept, hang_up, speak, tcp_answer, udp_answer};
use super::token::{Mark, Part, mark, statement};
use super::track::{Attempt, Outcome, passage, source_port};
use super::wire::Frame;
use crate::flow::{Protocol, Seen};

/// Protocol numbers as [`Node::answers`] takes them.
const TCP: u8 = 6;
const UDP: u8 = 17;

impl Engine<'_> {
    /// Takes note of a frame.
    pub(super) fn see(&mut self, frame: Frame<'_>) {
        let at_node = self.stations.get(frame.tap).is_some_and(Option::is_some);
        let Some(bytes) = self.pieces.whole(&frame, at_node) else { return };
        let Some(packet) = parse(&bytes) else { return };
        match packet.body {
            Body::Ask(question) if frame.outgoing => self.resolver.kernel_asked(frame.tap, &question),
            Body::Ask(_) => {}
            Body::Tell(answer) => self.see_told(frame, &answer),
            Body::Datagram(datagram) => match &datagram.segment {
                Segment::Error { refusal, quoted } => self.see_error(frame, &datagram, *refusal, quoted),
                Segment::Echo { .. } | Segment::Udp { .. } | Segment::Tcp { .. } => self.see_probe(frame, &datagram),
            },
        }
    }

    fn see_told(&mut self, frame: Frame<'_>, answer: &Neighbour) {
        if frame.outgoing {
            self.resolver.told_by(frame.tap, answer);
            return;
        }
        self.resolver.told(frame.tap, frame.device, answer);
        for attempt in &mut self.attempts {
            let asked = attempt.protocol == Protocol::Arp && attempt.sender == frame.tap;
            if asked && attempt.ends == answer.ends && attempt.outcome.is_none() {
                attempt.outcome = Some(Outcome::Told(answer.mac));
            }
        }
    }

    /// An error counts where it reaches the sender.
    fn see_error(&mut self, frame: Frame<'_>, datagram: &Datagram<'_>, refusal: Refusal, quoted: &Datagram<'_>) {
        let Some(mark) = mark(&quoted.segment).filter(|mark| mark.part == Part::Request) else { return };
        let Some(index) = self.find(&quoted.segment, mark) else { return };
        let Some(attempt) = self.attempts.get_mut(index) else { return };
        if !frame.outgoing && frame.tap == attempt.sender {
            refuse(attempt, datagram, refusal, quoted);
        }
    }

    fn see_probe(&mut self, frame: Frame<'_>, datagram: &Datagram<'_>) {
        let Some(mark) = mark(&datagram.segment) else { return };
        if mark.firm && mark.part == Part::Request && mark.token < self.first {
            self.stray.get_or_insert((frame.tap, mark.token));
        }
        let Some(index) = self.find(&datagram.segment, mark) else { return };
        let station = self.stations.get(frame.tap).copied().flatten();
        let Some(attempt) = self.attempts.get_mut(index) else { return };
        if counts_for_the_way(&datagram.segment, mark.part) {
            let way = match mark.part {
                Part::Request => &mut attempt.requests,
                Part::Answer => &mut attempt.replies,
            };
            way.extend(passage(frame.tap, frame.device, frame.outgoing, datagram));
        }
        if frame.outgoing {
            return;
        }
        let next = match (mark.part, station) {
            (Part::Request, Some(node)) if node.owns(datagram.ends.destination()) => arrive(attempt, node, datagram),
            (Part::Answer, Some(_)) if frame.tap == attempt.sender => come_back(attempt, datagram),
            (Part::Request | Part::Answer, _) => None,
        };
        if let Some((leg, datagram)) = next {
            self.resolver.post(Letter { tap: frame.tap, attempt: index, leg, datagram });
        }
    }

    /// The attempt of this run that a segment belongs to.
    fn find(&self, segment: &Segment<'_>, mark: Mark) -> Option<usize> {
        let index = mark.token.since(self.first)?;
        let attempt = self.attempts.get(index)?;
        let fits = match (attempt.protocol, segment, mark.part) {
            (Protocol::Icmp, Segment::Echo { .. }, _) | (Protocol::Udp(_), Segment::Udp { .. }, _) => true,
            // What is no stranger's has one of its ports still: a port forwarding alters the one, source NAT the other.
            (Protocol::Tcp(port), Segment::Tcp { ports, .. }, Part::Request) => {
                mark.firm || ports.1 == port || ports.0 == attempt.port
            }
            (Protocol::Tcp(port), Segment::Tcp { ports, .. }, Part::Answer) => {
                mark.firm || ports.0 == port || ports.1 == attempt.port
            }
            (Protocol::Icmp | Protocol::Udp(_) | Protocol::Tcp(_) | Protocol::Arp, _, _) => false,
        };
        fits.then_some(index)
    }
}

/// Of a TCP conversation the SYN and what answers it show the way; the rest follows it.
fn counts_for_the_way(segment: &Segment<'_>, part: Part) -> bool {
    match (segment, part) {
        (Segment::Tcp { flags, .. }, Part::Request) => flags & (TcpFlags::SYN | TcpFlags::ACK) == TcpFlags::SYN,
        (Segment::Tcp { flags, .. }, Part::Answer) => flags & (TcpFlags::SYN | TcpFlags::RST) != 0,
        (Segment::Echo { .. } | Segment::Udp { .. }, _) => true,
        (Segment::Error { .. }, _) => false,
    }
}

/// What is sent next, and what part of the attempt that is.
type Next = Option<(Leg, Datagram<'static>)>;

/// A request has come to a node that owns its destination.
fn arrive(attempt: &mut Attempt, node: &Node, datagram: &Datagram<'_>) -> Next {
    let seen = Seen {
        responder: node.place.clone(),
        source: datagram.ends.source(),
        source_port: source_port(&datagram.segment),
        ttl: datagram.ttl,
        mac: None,
    };
    let (ends, token) = (datagram.ends, attempt.token);
    match &datagram.segment {
        Segment::Echo { .. } => {
            attempt.arrived = Some(seen);
            None
        }
        Segment::Udp { ports, .. } => {
            let answers = node.answers(UDP, ports.1);
            let first = !std::mem::replace(&mut attempt.conversation.answered, true);
            let answer = (answers && first).then(|| (Leg::Reply, udp_answer(token, ends, *ports, &seen)));
            attempt.arrived = Some(seen);
            answer
        }
        Segment::Tcp { ports, flags, payload, .. } => {
            let answers = node.answers(TCP, ports.1);
            if flags & TcpFlags::RST != 0 {
                None
            } else if flags & TcpFlags::SYN != 0 {
                let first = !std::mem::replace(&mut attempt.conversation.answered, true);
                attempt.arrived.get_or_insert(seen);
                (answers && first).then(|| (Leg::Reply, accept(token, ends, *ports)))
            } else {
                let first = !payload.is_empty() && !std::mem::replace(&mut attempt.conversation.replied, true);
                let answer = (answers && first).then(|| (Leg::Further, tcp_answer(token, ends, *ports, &seen)));
                attempt.arrived = Some(seen);
                answer
            }
        }
        Segment::Error { .. } => None,
    }
}

/// An error has come to the attempt's sender. It counts only if it quotes the packet as it was sent: a sender's kernel would
/// not take any other to be its own.
fn refuse(attempt: &mut Attempt, datagram: &Datagram<'_>, refusal: Refusal, quoted: &Datagram<'_>) {
    if datagram.ends.destination() == attempt.ends.source() && quoted.ends == attempt.ends {
        attempt.outcome.get_or_insert(Outcome::Refused(refusal, datagram.ends.source()));
    }
}

/// An answer has come to the attempt's sender. It counts only if it comes from where the request went to: a sender's kernel
/// would not take any other to be its own.
fn come_back(attempt: &mut Attempt, datagram: &Datagram<'_>) -> Next {
    if datagram.ends != attempt.ends.reversed() || attempt.outcome.is_some() {
        return None;
    }
    match (&datagram.segment, attempt.protocol) {
        (Segment::Echo { id, .. }, Protocol::Icmp) if *id == attempt.port => {
            attempt.outcome = Some(Outcome::Answered(None, datagram.ttl));
            None
        }
        (Segment::Udp { ports, payload }, Protocol::Udp(port)) if *ports == (port, attempt.port) => {
            let seen = statement(payload)?;
            attempt.outcome = Some(Outcome::Answered(Some(seen), datagram.ttl));
            None
        }
        (Segment::Tcp { ports, flags, sequence, payload, .. }, Protocol::Tcp(port))
            if *ports == (port, attempt.port) =>
        {
            let own = (attempt.port, port);
            if flags & TcpFlags::RST != 0 {
                let by: IpAddr = datagram.ends.source();
                attempt.outcome = Some(Outcome::Refused(Refusal::Refused, by));
                None
            } else if flags & TcpFlags::SYN != 0 {
                let first = !std::mem::replace(&mut attempt.conversation.spoken, true);
                first.then(|| (Leg::Further, speak(attempt, own)))
            } else {
                let seen = statement(payload)?;
                let end = sequence.wrapping_add(u32::try_from(payload.len()).ok()?);
                attempt.outcome = Some(Outcome::Answered(Some(seen), datagram.ttl));
                Some((Leg::Further, hang_up(attempt, own, end)))
            }
        }
        (Segment::Echo { .. } | Segment::Udp { .. } | Segment::Tcp { .. } | Segment::Error { .. }, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Place;
    use crate::probe::frame::Ends;
    use crate::probe::respond::{request, udp_answer};
    use crate::probe::token::Counters;

    fn attempt() -> Attempt {
        let ends = Ends::V4([10, 0, 1, 11].into(), [203, 0, 113, 101].into());
        Attempt::new(0, Counters::default().token(), Protocol::Udp(9000), 0, ends, 20_000)
    }

    #[test]
    fn an_answer_counts_only_from_where_the_request_went() {
        let responder = Place { host: None, name: "web".to_owned() };
        let source = "10.0.1.11".parse().unwrap();
        let seen = Seen { responder, source, source_port: Some(20_000), ttl: 62, mac: None };
        let attempt = attempt();
        let answer = udp_answer(attempt.token, attempt.ends, (20_000, 9000), &seen);
        let outcome = |datagram: &Datagram<'_>| {
            let mut attempt = attempt.clone();
            come_back(&mut attempt, datagram);
            attempt.outcome
        };
        assert_eq!(outcome(&answer), Some(Outcome::Answered(Some(seen.clone()), 64)));
        // The fixed address behind the floating IP, not translated back.
        let bare = Ends::V4([10, 0, 1, 12].into(), [10, 0, 1, 11].into());
        assert_eq!(outcome(&Datagram { ends: bare, ..answer.clone() }), None);
        let other_port = udp_answer(attempt.token, attempt.ends, (20_000, 9001), &seen);
        assert_eq!(outcome(&other_port), None);
        let cut = Segment::Udp { ports: (9000, 20_000), payload: attempt.token.request().into() };
        assert_eq!(outcome(&Datagram { segment: cut, ..answer }), None);
    }

    #[test]
    fn an_error_counts_only_if_it_quotes_what_was_sent() {
        let attempt = attempt();
        let outcome = |quoted: &Datagram<'_>| {
            let mut attempt = attempt.clone();
            let ends = Ends::V4([10, 0, 1, 1].into(), [10, 0, 1, 11].into());
            let segment = Segment::Error { refusal: Refusal::NoRoute, quoted: Box::new(quoted.clone()) };
            refuse(&mut attempt, &Datagram { ends, ttl: 64, segment }, Refusal::NoRoute, quoted);
            attempt.outcome
        };
        let sent = request(&attempt).unwrap();
        let by = "10.0.1.1".parse().unwrap();
        assert_eq!(outcome(&sent), Some(Outcome::Refused(Refusal::NoRoute, by)));
        let translated = Ends::V4([203, 0, 113, 10].into(), [203, 0, 113, 101].into());
        assert_eq!(outcome(&Datagram { ends: translated, ..sent }), None);
    }
}
