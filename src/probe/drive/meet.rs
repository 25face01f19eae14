//! What a frame in a tap means for running flows.
//!
//! In: frames. Out: notes in the flows, and what the node that got it says next. Never: a frame sent.

use pnet::packet::tcp::TcpFlags;

use super::super::frame::{Body, Datagram, Neighbour, Refusal, Segment, parse};
use super::super::nodes::Node;
use super::super::respond::TTL;
use super::super::wire::Frame;
use super::mark::{Kind, Mark};
use super::tcp::{self, Connection, Header};
use super::{Drive, Far, Live, TCP, UDP, View};
use crate::flow::{Protocol, Seen, Verdict};
use crate::name::Name;

/// What a node says next.
pub(super) type Said = Vec<(Name, Datagram<'static>)>;

impl Drive {
    /// Takes note of a frame.
    pub(super) fn see(&mut self, frame: Frame<'_>, view: &View<'_>, said: &mut Said) {
        let Some(packet) = parse(frame.bytes) else { return };
        match packet.body {
            Body::Ask(question) => {
                if question.asker() == question.wanted() {
                    self.hear(&frame, view, &question);
                }
            }
            Body::Tell(answer) => self.hear(&frame, view, &answer),
            Body::Datagram(datagram) => match &datagram.segment {
                Segment::Error { refusal, quoted } => self.see_error(&frame, view, (&datagram, *refusal, quoted)),
                Segment::Echo { .. } | Segment::Udp { .. } | Segment::Tcp { .. } => {
                    self.see_packet(&frame, view, &datagram, said);
                }
            },
        }
    }

    fn hear(&mut self, frame: &Frame<'_>, view: &View<'_>, told: &Neighbour) {
        if let (false, Some((name, _))) = (frame.outgoing, view.station(frame)) {
            self.carrier.told(name, told, told.wanted());
        }
    }

    /// An error counts where it reaches the sender, and quotes what was sent.
    fn see_error(
        &mut self,
        frame: &Frame<'_>,
        view: &View<'_>,
        (datagram, refusal, quoted): (&Datagram<'_>, Refusal, &Datagram<'_>),
    ) {
        let Some((name, _)) = view.station(frame).filter(|_| !frame.outgoing) else { return };
        let live = self.flows.values_mut().find(|live| {
            live.course.flow.from.is(name) && live.ends == Some(quoted.ends) && live.sent(&quoted.segment)
        });
        let Some(live) = live else { return };
        let number = payload(&quoted.segment).and_then(Mark::read).map_or_else(|| live.round(), |mark| mark.number);
        if let Some(packet) = live.packet(number) {
            packet.refused.get_or_insert((verdict(refusal), datagram.ends.source()));
        }
    }

    fn see_packet(&mut self, frame: &Frame<'_>, view: &View<'_>, datagram: &Datagram<'_>, said: &mut Said) {
        let station = view.station(frame).filter(|_| !frame.outgoing);
        let marked = payload(&datagram.segment).and_then(Mark::read);
        if let Some(mark) = marked {
            let Some(live) = self.flows.get_mut(&mark.course) else { return };
            let reply = matches!(datagram.segment, Segment::Echo { reply: true, .. }) && mark.kind == Kind::Request;
            let mark = if reply { Mark { kind: Kind::Answer, ..mark } } else { mark };
            if mark.number == live.round() {
                live.note_passage(mark.kind, frame, datagram);
                live.note_came(view.places.get(frame.tap), mark.kind == Kind::Request, frame);
            }
            let Some((name, node)) = station.filter(|(_, node)| node.owns(datagram.ends.destination())) else { return };
            match mark.kind {
                Kind::Request => live.arrive(mark, (name, node), datagram, said),
                Kind::Answer | Kind::Push if live.course.flow.from.is(name) => live.come_back(mark, datagram, said),
                Kind::Answer | Kind::Push => {}
            }
            return;
        }
        let Some((name, node)) = station.filter(|(_, node)| node.owns(datagram.ends.destination())) else { return };
        if let Segment::Tcp { ports, flags, .. } = &datagram.segment {
            let live = self.flows.values_mut().find(|live| live.has(name, datagram, *ports, *flags));
            if let Some(live) = live {
                live.control((name, node), datagram, said);
            }
        }
    }
}

fn payload<'a>(segment: &'a Segment<'_>) -> Option<&'a [u8]> {
    match segment {
        Segment::Echo { payload, .. } | Segment::Udp { payload, .. } | Segment::Tcp { payload, .. } => Some(payload),
        Segment::Error { .. } => None,
    }
}

fn verdict(refusal: Refusal) -> Verdict {
    match refusal {
        Refusal::NoRoute | Refusal::HostUnreachable => Verdict::NoRoute,
        Refusal::Refused => Verdict::Refused,
        Refusal::Prohibited => Verdict::Prohibited,
        Refusal::TooBig(mtu) => Verdict::TooBig(mtu),
        Refusal::Expired => Verdict::Expired,
    }
}

fn header(segment: &Segment<'_>) -> Option<((u16, u16), Header)> {
    let Segment::Tcp { ports, sequence, acknowledgement, flags, payload } = segment else { return None };
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    Some((*ports, Header { sequence: *sequence, acknowledgement: *acknowledgement, flags: *flags, length }))
}

fn said_by(name: &Name, datagram: &Datagram<'_>, segment: Segment<'static>) -> (Name, Datagram<'static>) {
    (name.clone(), Datagram { ends: datagram.ends.reversed(), ttl: TTL, segment })
}

impl Live {
    /// Whether the sender sent such a segment.
    fn sent(&self, segment: &Segment<'_>) -> bool {
        match (self.course.flow.protocol, segment) {
            (Protocol::Icmp, Segment::Echo { id, .. }) => *id == self.port,
            (Protocol::Udp(_), Segment::Udp { ports, .. }) | (Protocol::Tcp(_), Segment::Tcp { ports, .. }) => {
                *ports == self.ports()
            }
            (Protocol::Icmp | Protocol::Udp(_) | Protocol::Tcp(_) | Protocol::Arp, _) => false,
        }
    }

    /// Whether a segment without a payload, come to that node, is of this connection.
    fn has(&self, name: &Name, datagram: &Datagram<'_>, ports: (u16, u16), flags: u8) -> bool {
        if !matches!(self.course.flow.protocol, Protocol::Tcp(_)) {
            return false;
        }
        let (near, far) =
            (self.ports(), |far: &Far| far.node == *name && far.ends == datagram.ends && far.ports == ports);
        let to_sender = self.course.flow.from.is(name)
            && self.ends.is_some_and(|ends| ends.reversed() == datagram.ends)
            && ports == (near.1, near.0);
        let asks = flags & (TcpFlags::SYN | TcpFlags::ACK) == TcpFlags::SYN
            && matches!(datagram.segment, Segment::Tcp { sequence, .. } if sequence == Connection::initial(self.course.number));
        to_sender || asks || self.far.iter().any(far)
    }

    /// A packet from the sender has come to a node.
    fn arrive(&mut self, mark: Mark, (name, node): (&Name, &Node), datagram: &Datagram<'_>, said: &mut Said) {
        let ports = match &datagram.segment {
            Segment::Echo { id, .. } => (*id, 0),
            Segment::Udp { ports, .. } | Segment::Tcp { ports, .. } => *ports,
            Segment::Error { .. } => return,
        };
        let answer = Mark { kind: Kind::Answer, ..mark };
        // What is refused has come, too.
        if let Some(packet) = self.packet(mark.number) {
            packet.reached_at = Some(datagram.ends.destination());
            packet.seen = Some(Seen {
                responder: node.place.clone(),
                source: datagram.ends.source(),
                source_port: Some(ports.0),
                ttl: datagram.ttl,
                mac: None,
            });
        }
        match &datagram.segment {
            Segment::Udp { .. } if node.answers(UDP, ports.1) => {
                let segment = Segment::Udp { ports: (ports.1, ports.0), payload: answer.payload().into() };
                said.push(said_by(name, datagram, segment));
            }
            Segment::Tcp { .. } => {
                let Some((_, header)) = header(&datagram.segment) else { return };
                let far = self.far.iter_mut().find(|far| far.is(name, datagram, ports));
                let Some(far) = far.filter(|_| node.answers(TCP, ports.1)) else {
                    said.push(said_by(name, datagram, tcp::refusal(ports, header)));
                    return;
                };
                if !far.connection.take(header) {
                    said.push(said_by(name, datagram, tcp::refusal(ports, header)));
                    return;
                }
                said.push(said_by(name, datagram, far.connection.data((ports.1, ports.0), answer)));
            }
            Segment::Udp { .. } | Segment::Echo { .. } | Segment::Error { .. } => {}
        }
        self.note_far(name, datagram, ports);
    }

    /// The far end that the flow came to last is the last one.
    fn note_far(&mut self, name: &Name, datagram: &Datagram<'_>, ports: (u16, u16)) {
        let known = self.far.iter().position(|far| far.is(name, datagram, ports));
        let far = match known {
            Some(position) => self.far.remove(position),
            None => Far {
                node: name.clone(),
                ends: datagram.ends,
                ports,
                connection: Connection::client(self.course.number),
            },
        };
        self.far.push(far);
    }

    /// Something from the far end has come to the sender.
    fn come_back(&mut self, mark: Mark, datagram: &Datagram<'_>, said: &mut Said) {
        let ours = self.ends.is_some_and(|ends| ends.reversed() == datagram.ends);
        let ports = self.ports();
        let fits = match &datagram.segment {
            Segment::Echo { id, .. } => *id == self.port,
            Segment::Udp { ports: seen, .. } | Segment::Tcp { ports: seen, .. } => *seen == (ports.1, ports.0),
            Segment::Error { .. } => false,
        };
        if let Some((seen, header)) = header(&datagram.segment)
            && (!ours || !fits || !self.near.take(header))
        {
            // A kernel has no such connection.
            if let Some(from) = self.course.flow.from.node() {
                said.push(said_by(&from, datagram, tcp::refusal(seen, header)));
            }
            if !ours || !fits {
                return;
            }
        }
        if !ours || !fits {
            return;
        }
        match mark.kind {
            Kind::Answer => self.answered(mark.number),
            Kind::Push | Kind::Request => {
                if let Some(packet) = self.packet(mark.number) {
                    packet.returned = true;
                }
            }
        }
    }

    /// A segment without payload: a connection asked for, accepted, or refused.
    fn control(&mut self, (name, node): (&Name, &Node), datagram: &Datagram<'_>, said: &mut Said) {
        let Some((ports, header)) = header(&datagram.segment) else { return };
        let to_sender =
            self.course.flow.from.is(name) && self.ends.is_some_and(|ends| ends.reversed() == datagram.ends);
        if header.flags & TcpFlags::RST != 0 {
            if to_sender {
                if !self.near.reset(header) {
                    return;
                }
                let number = self.round();
                if let Some(packet) = self.packet(number) {
                    packet.refused.get_or_insert((Verdict::Refused, datagram.ends.source()));
                }
            } else if let Some(far) = self.far.iter_mut().find(|far| far.is(name, datagram, ports)) {
                far.connection.reset(header);
            }
        } else if header.flags & TcpFlags::ACK == 0 {
            if node.answers(TCP, ports.1) {
                let connection = Connection::server(self.course.number, header);
                let accept = connection.accept((ports.1, ports.0));
                self.far.retain(|far| !far.is(name, datagram, ports));
                self.far.push(Far { node: name.clone(), ends: datagram.ends, ports, connection });
                said.push(said_by(name, datagram, accept));
            }
        } else if to_sender && self.near.accepted(header) {
            let mark = Mark {
                course: self.course.number,
                number: self.round(),
                kind: Kind::Request,
                along: self.course.quiet,
            };
            let ttl = self.course.flow.options.ttl.unwrap_or(TTL);
            let segment = self.near.data(self.ports(), mark);
            said.push((name.clone(), Datagram { ends: datagram.ends.reversed(), ttl, segment }));
        }
    }
}

impl Far {
    /// Whether a datagram that came to the node is of this.
    fn is(&self, name: &Name, datagram: &Datagram<'_>, ports: (u16, u16)) -> bool {
        self.node == *name && self.ends == datagram.ends && self.ports == ports
    }
}
