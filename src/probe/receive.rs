//! What a frame in a tap means for the run: a passage of a probe, an end of its way, or a neighbour's question or answer.
//!
//! In: frames. Out: notes in the attempts and the resolver, and the packets that come next. Never: a frame sent (the engine
//! does that between sweeps).

use pnet::packet::tcp::TcpFlags;

use super::engine::Engine;
use super::frame::{Body, Datagram, Ends, Neighbour, Refusal, Segment, parse};
use super::nodes::Node;
use super::resolve::{Leg, Letter};
use super::respond::{accept, hang_up, say, speak, tcp_answer, udp_answer};
use super::token::{Mark, Part, mark, statement};
use super::track::{Attempt, Outcome, passage, source_port};
use super::transfer::{Taken, next_batch};
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
        // By a namespace's own rules it is known by another port outside, maybe by another address.
        let by_kernel = self.stations.get(frame.tap).is_some_and(Option::is_none);
        if by_kernel && !frame.outgoing && frame.tap == attempt.sender {
            attempt.outcome.get_or_insert(Outcome::Refused(refusal, datagram.ends.source()));
        } else if !frame.outgoing && frame.tap == attempt.sender {
            let next = refuse(attempt, datagram, refusal, quoted);
            self.post(frame.tap, index, next);
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
        if counts_for_the_way(attempt, &datagram.segment, mark.part) {
            let way = match mark.part {
                Part::Request => &mut attempt.requests,
                Part::Answer => &mut attempt.replies,
            };
            way.extend(passage(&frame, datagram));
        }
        if frame.outgoing {
            return;
        }
        let next = match (mark.part, station) {
            (Part::Request, Some(node)) if node.owns(datagram.ends.destination()) => arrive(attempt, node, datagram),
            (Part::Answer, Some(node)) if frame.tap == attempt.sender => {
                let mtu = node.port(frame.device).map_or(u32::MAX, |port| port.mtu);
                come_back(attempt, datagram, mtu)
            }
            // The kernel there translates back what its rules have translated, after the tap has seen it.
            (Part::Answer, None) if frame.tap == attempt.sender => translated_back(attempt, datagram)
                .map_or_else(Vec::new, |datagram| come_back(attempt, &datagram, u32::MAX)),
            (Part::Request | Part::Answer, _) => Vec::new(),
        };
        self.post(frame.tap, index, next);
    }

    fn post(&mut self, tap: usize, attempt: usize, next: Next) {
        for (leg, datagram) in next {
            self.resolver.post(Letter { tap, attempt, leg, datagram });
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

/// Of a TCP conversation the SYN and what answers it show the way; the rest follows it. Of a transfer it is the first byte of
/// each end: a handshake passes where long segments do not.
fn counts_for_the_way(attempt: &Attempt, segment: &Segment<'_>, part: Part) -> bool {
    let transfer = attempt.transfer.as_ref().filter(|_| attempt.conversation.spoken);
    match (segment, part) {
        (Segment::Tcp { sequence, payload, .. }, Part::Request) if let Some(transfer) = transfer => {
            *sequence == attempt.token.client_number().wrapping_add(1) && transfer.begins_with(payload.len())
        }
        (Segment::Tcp { sequence, payload, .. }, Part::Answer) if transfer.is_some() => {
            *sequence == attempt.token.server_number().wrapping_add(1) && !payload.is_empty()
        }
        (Segment::Tcp { flags, .. }, Part::Request) => flags & (TcpFlags::SYN | TcpFlags::ACK) == TcpFlags::SYN,
        (Segment::Tcp { flags, .. }, Part::Answer) => flags & (TcpFlags::SYN | TcpFlags::RST) != 0,
        (Segment::Echo { .. } | Segment::Udp { .. }, _) => true,
        (Segment::Error { .. }, _) => false,
    }
}

/// What is sent next, and what part of the attempt that is.
type Next = Vec<(Leg, Datagram<'static>)>;

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
            Vec::new()
        }
        Segment::Udp { ports, .. } => {
            let answers = node.answers(UDP, ports.1);
            let first = !std::mem::replace(&mut attempt.conversation.answered, true);
            let answer = (answers && first).then(|| (Leg::Reply, udp_answer(token, ends, *ports, &seen)));
            attempt.arrived = Some(seen);
            answer.into_iter().collect()
        }
        Segment::Tcp { ports, flags, sequence, payload, .. } => {
            let answers = node.answers(TCP, ports.1);
            if flags & TcpFlags::RST != 0 {
                Vec::new()
            } else if flags & TcpFlags::SYN != 0 {
                let first = !std::mem::replace(&mut attempt.conversation.answered, true);
                attempt.arrived.get_or_insert(seen);
                (answers && first).then(|| (Leg::Reply, accept(token, ends, *ports))).into_iter().collect()
            } else if attempt.transfer.is_some() {
                let segment = (*sequence, payload.len(), flags & TcpFlags::PSH != 0);
                take(attempt, seen, (ends, *ports), segment).filter(|_| answers).into_iter().collect()
            } else {
                let first = !payload.is_empty() && !std::mem::replace(&mut attempt.conversation.replied, true);
                let answer = (answers && first).then(|| (Leg::Further, tcp_answer(token, ends, *ports, &seen)));
                attempt.arrived = Some(seen);
                answer.into_iter().collect()
            }
        }
        Segment::Error { .. } => Vec::new(),
    }
}

/// A segment of a transfer has come: sequence number, length, and whether it ends a batch. What is said to it.
fn take(
    attempt: &mut Attempt,
    seen: Seen,
    (ends, ports): (Ends, (u16, u16)),
    (sequence, length, last): (u32, usize, bool),
) -> Option<(Leg, Datagram<'static>)> {
    let (token, transfer) = (attempt.token, attempt.transfer.as_mut()?);
    let offset = sequence.wrapping_sub(token.client_number().wrapping_add(1));
    let payload = match transfer.take(offset, length, last) {
        Taken::More => return None,
        Taken::Batch => token.answer_start(),
        Taken::All => {
            let payload = token.answer(&seen);
            attempt.arrived = Some(seen);
            payload
        }
    };
    let numbers = transfer.answer((token.server_number(), token.client_number()), payload.len());
    let flags = TcpFlags::PSH | TcpFlags::ACK;
    // The first of them is the answer whose way counts.
    let leg = if numbers.0 == token.server_number().wrapping_add(1) { Leg::Reply } else { Leg::Further };
    Some((leg, say(ends.reversed(), (ports.1, ports.0), numbers, flags, payload)))
}

/// An error has come to the attempt's sender. It counts only if it quotes the packet as it was sent: a sender's kernel would
/// not take any other to be its own.
///
/// Who transfers over TCP does not give up where a link takes less: it sends shorter segments (RFC 1191).
fn refuse(attempt: &mut Attempt, datagram: &Datagram<'_>, refusal: Refusal, quoted: &Datagram<'_>) -> Next {
    if datagram.ends.destination() != attempt.ends.source() || quoted.ends != attempt.ends {
        return Vec::new();
    }
    if let (Some(transfer), Refusal::TooBig(mtu), Segment::Tcp { ports, .. }) =
        (&mut attempt.transfer, refusal, &quoted.segment)
    {
        let shorter = transfer.fit(mtu, attempt.ends);
        return if shorter { next_batch(attempt, *ports) } else { Vec::new() };
    }
    attempt.outcome.get_or_insert(Outcome::Refused(refusal, datagram.ends.source()));
    Vec::new()
}

/// An answer has come to the attempt's sender. It counts only if it comes from where the request went to: a sender's kernel
/// would not take any other to be its own.
fn come_back(attempt: &mut Attempt, datagram: &Datagram<'_>, mtu: u32) -> Next {
    if datagram.ends != attempt.ends.reversed() || attempt.outcome.is_some() {
        return Vec::new();
    }
    match (&datagram.segment, attempt.protocol) {
        (Segment::Tcp { ports, .. }, Protocol::Tcp(port)) if *ports == (port, attempt.port) => {
            told(attempt, datagram, (attempt.port, port), mtu)
        }
        (Segment::Echo { .. } | Segment::Udp { .. }, _) => {
            attempt.outcome = answered(attempt, datagram);
            Vec::new()
        }
        (Segment::Tcp { .. } | Segment::Error { .. }, _) => Vec::new(),
    }
}

/// An answer as the socket of a namespace's own kernel would get it, if it comes from where the request went to.
fn translated_back<'a>(attempt: &Attempt, datagram: &Datagram<'a>) -> Option<Datagram<'a>> {
    let from_there = datagram.ends.source() == attempt.ends.destination();
    let mut datagram = Datagram { ends: attempt.ends.reversed(), ..datagram.clone() };
    match &mut datagram.segment {
        Segment::Echo { id, .. } => *id = attempt.port,
        Segment::Udp { ports, .. } | Segment::Tcp { ports, .. } => ports.1 = attempt.port,
        Segment::Error { .. } => return None,
    }
    from_there.then_some(datagram)
}

/// What an echo reply or a datagram answers.
fn answered(attempt: &Attempt, datagram: &Datagram<'_>) -> Option<Outcome> {
    match (&datagram.segment, attempt.protocol) {
        (Segment::Echo { id, .. }, Protocol::Icmp) if *id == attempt.port => {
            Some(Outcome::Answered(None, datagram.ttl))
        }
        (Segment::Udp { ports, payload }, Protocol::Udp(port)) if *ports == (port, attempt.port) => {
            Some(Outcome::Answered(Some(statement(payload)?), datagram.ttl))
        }
        (Segment::Echo { .. } | Segment::Udp { .. } | Segment::Tcp { .. } | Segment::Error { .. }, _) => None,
    }
}

/// What a segment from the far end leads to. `own` are the ports as the sender has them, `mtu` is its link's.
fn told(attempt: &mut Attempt, datagram: &Datagram<'_>, own: (u16, u16), mtu: u32) -> Next {
    let Segment::Tcp { flags, sequence, acknowledgement, payload, .. } = &datagram.segment else { return Vec::new() };
    if flags & TcpFlags::RST != 0 {
        attempt.outcome = Some(Outcome::Refused(Refusal::Refused, datagram.ends.source()));
        return Vec::new();
    }
    if flags & TcpFlags::SYN != 0 {
        let first = !std::mem::replace(&mut attempt.conversation.spoken, true);
        return match &mut attempt.transfer {
            _ if !first => Vec::new(),
            Some(transfer) => {
                transfer.fit(mtu, attempt.ends);
                next_batch(attempt, own)
            }
            None => vec![(Leg::Further, speak(attempt, own))],
        };
    }
    if let Some(seen) = statement(payload) {
        let end = sequence.wrapping_add(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        attempt.outcome = Some(Outcome::Answered(Some(seen), datagram.ttl));
        return vec![(Leg::Further, hang_up(attempt, own, end))];
    }
    if let Some(transfer) = &mut attempt.transfer {
        transfer.acknowledge(*acknowledgement, attempt.token.client_number());
        return next_batch(attempt, own);
    }
    Vec::new()
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
            come_back(&mut attempt, datagram, 1500);
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
