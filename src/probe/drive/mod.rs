//! Flows that run on: one packet each way whenever asked, over the same tuple, the same connection.
//!
//! In: flows, and a wire to the nodes' namespaces as they are at that moment. Out: what became of each packet
//! ([`crate::ledger::Packet`]). Never: a wait (delivery is done when sending returns; what comes after the next packet was
//! sent is late), or a look at the Intent.
//!
//! Both ends are the harness's: it sends in the sender's name and answers in the target's, by that node's own routing and to
//! the MAC that ARP or neighbour discovery told, remembered as a kernel does and corrected by announcements. What has not
//! come to the far end cannot be answered; there the far end sends by itself, back to where the flow last came from.

mod carrier;
mod mark;
mod meet;
mod stand;
mod tcp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

pub use self::mark::{CLOCK, PACED};
pub use self::stand::OwnedFrame;

use self::carrier::Carrier;
pub use self::mark::ALONG;
use self::mark::{Kind, Mark};
use self::tcp::Connection;
use super::engine::ProbeError;
use super::frame::{Datagram, Ends, Segment};
use super::nodes::{Node, Nodes};
use super::respond::TTL;
use super::token::Counters;
use super::track::{Passage, hops, in_order, passage};
use super::wire::{Frame, Wire, WireError};
use crate::flow::{Place, Protocol, Seen};
use crate::ledger::{Course, Packet};
use crate::name::Name;
use crate::net::{Family, Mac};

/// IP protocol numbers, as IANA has them.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
/// Rounds of sending and sweeping after which something must be going in circles.
const ROUNDS: usize = 1_000;
/// How often is looked whether an announcement or a neighbour's answer has come, and how long each look waits at most.
const LOOKS: usize = 10;
const LOOK: Duration = Duration::from_millis(5);

/// Flows under way.
#[derive(Debug, Default)]
pub struct Drive {
    flows: BTreeMap<u32, Live>,
    carrier: Carrier,
    /// The nodes when packets were last sent: what a node knew of its neighbours goes with the node.
    nodes: Nodes,
    /// Where frames were missed that the taps had no room for.
    missed: Vec<(Place, u32)>,
}

/// A flow under way.
#[derive(Debug)]
struct Live {
    course: Course,
    /// From the sender to the target, as the sender has it; none if the sender had no address when it began.
    ends: Option<Ends>,
    /// Source port or echo id.
    port: u16,
    packets: Vec<Packet>,
    /// Where the packet of this round was seen, there and back.
    requests: Vec<Passage>,
    replies: Vec<Passage>,
    /// The latest packet that came to each place, requests and others.
    came: BTreeMap<(Place, bool), Vec<u8>>,
    /// Packets told of.
    told: usize,
    /// TCP: the sender's end.
    near: Connection,
    /// Who the flow has come to, and as what, the last one last.
    far: Vec<Far>,
}

/// The far end of a flow.
#[derive(Debug)]
struct Far {
    node: Name,
    /// From the sender to the node, as the node sees it.
    ends: Ends,
    /// Source and destination port, as the node sees them.
    ports: (u16, u16),
    /// TCP: its end.
    connection: Connection,
}

impl Live {
    /// The number of the packet of this round.
    fn round(&self) -> u32 {
        u32::try_from(self.packets.len()).unwrap_or(u32::MAX).saturating_sub(1)
    }

    /// A ping that runs along has been refused. The kernel says no to one sender five times at once, then once a second
    /// (`net.ipv4.icmp_ratelimit`).
    fn rests(&self) -> bool {
        self.course.quiet && !self.is_twin() && self.packets.iter().any(|packet| packet.refused.is_some())
    }

    /// A clock paces it, and nothing is judged of it.
    fn is_twin(&self) -> bool {
        self.course.quiet && self.course.pace.is_some()
    }

    fn packet(&mut self, number: u32) -> Option<&mut Packet> {
        self.packets.get_mut(usize::try_from(number).ok()?)
    }

    /// The answer to a packet has come back.
    fn answered(&mut self, number: u32) {
        let late = number < self.round();
        if let Some(packet) = self.packet(number)
            && !packet.answered
        {
            (packet.answered, packet.late) = (true, late);
        }
    }

    /// Notes and tells whether the packet of this round, or what came back, is where a kernel waits for a neighbour. Of a twin
    /// nobody asks, and asking takes time.
    fn note_held(&mut self, wire: &dyn Wire) -> Result<bool, WireError> {
        if self.is_twin() {
            return Ok(false);
        }
        let Some(packet) = self.packets.last_mut().filter(|packet| !packet.answered && packet.refused.is_none()) else {
            return Ok(false);
        };
        let mut held = false;
        let last = [&self.requests, &self.replies].map(|passages| in_order(passages).pop());
        for passage in last.into_iter().flatten().filter(|passage| !passage.outgoing) {
            held |= wire.neighbours_pending(passage.tap)?;
        }
        packet.held |= held;
        Ok(held)
    }

    fn ports(&self) -> (u16, u16) {
        (self.port, target_port(self.course.flow.protocol))
    }
}

fn target_port(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Tcp(port) | Protocol::Udp(port) => port,
        Protocol::Icmp | Protocol::Arp => 0,
    }
}

impl Drive {
    /// Has these flows under way and no others; those that are stay as they are. Says whether any ended.
    pub fn carry(&mut self, courses: &[Course], nodes: &Nodes, counters: &mut Counters) -> bool {
        let before = self.flows.len();
        self.flows.retain(|number, _| courses.iter().any(|course| course.number == *number));
        let ended = self.flows.len() < before;
        for course in courses {
            self.flows.entry(course.number).or_insert_with(|| begin(course, nodes, counters));
        }
        if self.flows.is_empty() {
            self.carrier = Carrier::default();
        }
        ended
    }

    /// Protocol number and ports, of ICMP the echo id twice, of what routers may remember of the flows under way.
    pub fn ports(&self) -> BTreeSet<(u8, u16, u16)> {
        self.flows.values().flat_map(Live::known_ports).collect()
    }

    /// Whether any flow is under way.
    pub fn is_idle(&self) -> bool {
        self.flows.is_empty()
    }

    /// Routes may lead elsewhere now.
    pub fn rerouted(&mut self) {
        self.carrier.forget_routes();
    }

    /// Throws away what the taps have seen so far.
    ///
    /// # Errors
    /// [`ProbeError`] if a tap cannot be read.
    pub fn drain(&self, wire: &dyn Wire) -> Result<(), ProbeError> {
        while wire.sweep(&mut |_| ())? > 0 {}
        drop(wire.missed()?);
        Ok(())
    }

    /// Sends one packet each way of every flow.
    ///
    /// # Errors
    /// [`ProbeError`] if the harness itself failed.
    pub fn beat(&mut self, wire: &dyn Wire, nodes: &Nodes) -> Result<(), ProbeError> {
        self.beat_of(wire, nodes, &|_| true)
    }

    /// Sends one packet each way of some flows, by their numbers.
    ///
    /// # Errors
    /// [`ProbeError`] if the harness itself failed.
    pub fn beat_of(&mut self, wire: &dyn Wire, nodes: &Nodes, due: &dyn Fn(u32) -> bool) -> Result<(), ProbeError> {
        if self.nodes != *nodes {
            self.carrier.forget_changed(&self.nodes, nodes);
            self.nodes = nodes.clone();
        }
        let view = View::new(wire, nodes);
        // What nodes have been told up to now goes before what they say next.
        self.settle(&view)?;
        for (_, live) in self.flows.iter_mut().filter(|(number, _)| due(**number)) {
            let rested = live.rests();
            live.packets.push(Packet { rested, ..Packet::default() });
            live.requests.clear();
            live.replies.clear();
            if !rested && let Some((node, datagram)) = live.speak() {
                self.carrier.post(node, datagram);
            }
        }
        self.settle(&view)?;
        for (_, live) in self.flows.iter_mut().filter(|(number, _)| due(**number)) {
            if let Some((node, datagram)) = live.push() {
                self.carrier.post(node, datagram);
            }
        }
        self.settle(&view)?;
        self.carrier.give_up();
        // How long a kernel has asked for a neighbour by the next operation is chance: it gets its answer, or gives up, before.
        for _ in 0..LOOKS {
            let mut held = false;
            for (_, live) in self.flows.iter_mut().filter(|(number, _)| due(**number)) {
                held |= live.note_held(wire)?;
            }
            if !held {
                break;
            }
            wire.idle(LOOK)?;
            self.settle(&view)?;
        }
        for (_, live) in self.flows.iter_mut().filter(|(number, _)| due(**number)) {
            live.note_ways(&view.places);
        }
        Ok(())
    }

    /// Has those who know an address hear that it is at this MAC now, which a busy machine tells them a moment later. Whom it does
    /// not reach is not waited for long.
    ///
    /// # Errors
    /// [`ProbeError`] if a tap cannot be read.
    pub fn heed(&mut self, wire: &dyn Wire, nodes: &Nodes, address: IpAddr, mac: Mac) -> Result<(), ProbeError> {
        let view = View::new(wire, nodes);
        for _ in 0..LOOKS {
            self.settle(&view)?;
            if self.carrier.agrees(address, mac) {
                break;
            }
            wire.idle(LOOK)?;
        }
        Ok(())
    }

    /// Takes in what was under way still.
    ///
    /// # Errors
    /// [`ProbeError`] if a tap cannot be read.
    pub fn collect(&mut self, wire: &dyn Wire, nodes: &Nodes) -> Result<(), ProbeError> {
        self.settle(&View::new(wire, nodes))?;
        self.carrier.give_up();
        Ok(())
    }

    /// Notes what the taps had no room for.
    ///
    /// # Errors
    /// [`ProbeError`] if a tap cannot be asked.
    pub fn check_missed(&mut self, wire: &dyn Wire) -> Result<(), ProbeError> {
        self.missed.extend(wire.missed()?);
        Ok(())
    }

    /// Whether a packet of a flow that nobody calls dead is not answered yet.
    pub fn is_waiting(&self) -> bool {
        self.flows.values().any(|live| live.packets.last().is_some_and(|packet| !packet.answered))
    }

    /// What became of the packets since this was last asked, by flow.
    ///
    /// # Errors
    /// [`ProbeError::Missed`] if not all was seen.
    pub fn told(&mut self) -> Result<BTreeMap<u32, Vec<Packet>>, ProbeError> {
        if let Some((place, count)) = std::mem::take(&mut self.missed).into_iter().next() {
            return Err(ProbeError::Missed { place, count });
        }
        let told = self.flows.iter_mut().map(|(number, live)| {
            let packets = live.packets.get(live.told..).unwrap_or_default().to_vec();
            live.told = live.packets.len();
            (*number, packets)
        });
        Ok(told.collect())
    }

    /// Sends and sweeps until nothing new comes.
    fn settle(&mut self, view: &View<'_>) -> Result<(), ProbeError> {
        for _ in 0..ROUNDS {
            let sent = self.carrier.flush(view)?;
            let mut heard = Vec::new();
            let count = view.wire.sweep(&mut |frame| self.see(frame, view, &mut heard))?;
            for (node, datagram) in heard {
                self.carrier.post(node, datagram);
            }
            if count == 0 && sent == 0 && self.carrier.is_empty() {
                return Ok(());
            }
        }
        Err(ProbeError::NeverQuiet)
    }
}

/// The nodes as they can be reached now.
struct View<'a> {
    wire: &'a dyn Wire,
    nodes: &'a Nodes,
    places: Vec<Place>,
    /// Tap to node.
    stations: Vec<Option<(&'a Name, &'a Node)>>,
}

impl<'a> View<'a> {
    fn new(wire: &'a dyn Wire, nodes: &'a Nodes) -> Self {
        let places = wire.places();
        let by_place: BTreeMap<&Place, (&Name, &Node)> =
            nodes.iter().map(|(name, node)| (&node.place, (name, node))).collect();
        let stations = places.iter().map(|place| by_place.get(place).copied()).collect();
        Self { wire, nodes, places, stations }
    }

    fn tap(&self, node: &Name) -> Option<usize> {
        self.stations.iter().position(|station| station.is_some_and(|(name, _)| name == node))
    }

    fn station(&self, frame: &Frame<'_>) -> Option<(&'a Name, &'a Node)> {
        self.stations.get(frame.tap).copied().flatten()
    }
}

fn begin(course: &Course, nodes: &Nodes, counters: &mut Counters) -> Live {
    let flow = &course.flow;
    let node = nodes.at(&flow.from);
    let from = flow.source.or_else(|| node?.first_address(Family::of(flow.to)));
    let port = flow.options.source_port.unwrap_or_else(|| counters.free(flow.protocol));
    Live {
        course: course.clone(),
        ends: from.and_then(|from| Ends::new(from, flow.to)),
        port,
        packets: Vec::new(),
        requests: Vec::new(),
        replies: Vec::new(),
        came: BTreeMap::new(),
        told: 0,
        near: Connection::client(course.number),
        far: Vec::new(),
    }
}

impl Live {
    /// As the sender has them, and as each far end saw them.
    fn known_ports(&self) -> Vec<(u8, u16, u16)> {
        let all = std::iter::once(self.ports()).chain(self.far.iter().map(|far| far.ports));
        match (self.course.flow.protocol, self.course.flow.to) {
            (Protocol::Icmp, IpAddr::V4(_)) => all.map(|(id, _)| (ICMP, id, id)).collect(),
            (Protocol::Icmp, IpAddr::V6(_)) => all.map(|(id, _)| (ICMPV6, id, id)).collect(),
            (Protocol::Tcp(_), _) => all.map(|(from, to)| (TCP, from, to)).collect(),
            (Protocol::Udp(_), _) => all.map(|(from, to)| (UDP, from, to)).collect(),
            (Protocol::Arp, _) => Vec::new(),
        }
    }

    /// The sender's packet of this round.
    fn speak(&mut self) -> Option<(Name, Datagram<'static>)> {
        let (ends, ports) = (self.ends?, self.ports());
        let mark =
            Mark { course: self.course.number, number: self.round(), kind: Kind::Request, along: self.course.quiet };
        let segment = match self.course.flow.protocol {
            Protocol::Icmp => {
                // The low half: as `ping` counts.
                let sequence = u16::try_from(mark.number & 0xffff).unwrap_or_default();
                Segment::Echo { reply: false, id: self.port, sequence, payload: mark.payload().into() }
            }
            Protocol::Udp(_) => Segment::Udp { ports, payload: mark.payload().into() },
            Protocol::Tcp(_) => self.near.speak(ports, mark)?,
            Protocol::Arp => return None,
        };
        let ttl = self.course.flow.options.ttl.unwrap_or(TTL);
        Some((self.course.flow.from.node()?, Datagram { ends, ttl, segment }))
    }

    /// What the far end sends by itself if nothing has come to it this round.
    fn push(&mut self) -> Option<(Name, Datagram<'static>)> {
        let number = self.round();
        // A ping is answered or not; nobody sends what was not asked for.
        if self.course.quiet || self.packets.last()?.seen.is_some() || self.packets.last()?.answered {
            return None;
        }
        let mark = Mark { course: self.course.number, number, kind: Kind::Push, along: false };
        let protocol = self.course.flow.protocol;
        let far = self.far.last_mut()?;
        let ports = (far.ports.1, far.ports.0);
        let segment = match protocol {
            Protocol::Icmp => {
                Segment::Echo { reply: true, id: far.ports.0, sequence: 0, payload: mark.payload().into() }
            }
            Protocol::Udp(_) => Segment::Udp { ports, payload: mark.payload().into() },
            Protocol::Tcp(_) => far.connection.push(ports, mark)?,
            Protocol::Arp => return None,
        };
        Some((far.node.clone(), Datagram { ends: far.ends.reversed(), ttl: TTL, segment }))
    }

    /// Notes where a frame of this round was seen.
    fn note_passage(&mut self, kind: Kind, frame: &Frame<'_>, datagram: &Datagram<'_>) {
        if self.course.quiet {
            return;
        }
        let way = match kind {
            Kind::Request => &mut self.requests,
            Kind::Answer | Kind::Push => &mut self.replies,
        };
        way.extend(passage(frame, datagram));
    }

    /// Turns what was seen of this round into ways, and into what the far end saw if that was a kernel.
    fn note_ways(&mut self, places: &[Place]) {
        let Some(packet) = self.packets.last_mut() else { return };
        packet.path = hops(&self.requests, places);
        packet.reply_path = hops(&self.replies, places);
        if packet.answered && packet.seen.is_none() {
            packet.seen = packet.path.last().map(|hop| Seen {
                responder: hop.place.clone(),
                source: hop.source,
                source_port: None,
                ttl: hop.ttl,
                mac: None,
            });
        }
    }
}
