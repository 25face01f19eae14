//! Packets made to order: filled in where they leave something open, sent one after the other, and what came of them.
//!
//! In: a volley, what the nodes are, a [`Wire`]. Out: what was sent, and everything that was seen until nothing moved. Never: a
//! next hop that nobody told on the wire, unless the volley names it; and never an answer in a node's name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use super::build;
use super::engine::{Options, ProbeError};
use super::frame::Ends;
use super::nodes::{Node, Nodes};
use super::token::Counters;
use super::wire::{Frame as Seen, Lookup, RouteAnswer, Wire, WireError};
use crate::flow::Place;
use crate::name::DeviceName;
use crate::net::{Family, Mac};
use crate::packet::{
    Assembler, Body, Content, ErrorKind, Exchanged, Frame, Hardware, Load, Neighbour, NeighbourKind, Packet, Sighted,
    Template, Volley, cut, read, write,
};

/// Quiet times without anything that was waited for, after which it will not come.
const PATIENCE: u32 = 20;
/// Quiet times that nothing has moved for when all has come that was waited for.
const SETTLED: u32 = 2;
/// Bytes of an IPv4 header, and of an IPv6 header with that of a fragment.
const HEADERS: (usize, usize) = (20, 48);

/// MACs of the devices of router namespaces.
pub type Routers = BTreeMap<(Place, DeviceName), Mac>;

/// Sends a volley and looks until `enough` has been seen and nothing moves any more, or nothing comes for long.
///
/// # Errors
/// [`ProbeError`], if a packet cannot be sent or a tap not be read.
pub fn exchange(
    (wire, nodes, routers): (&dyn Wire, &Nodes, &Routers),
    volley: &Volley,
    counters: &mut Counters,
    enough: &dyn Fn(&[Sighted]) -> bool,
    options: &Options,
) -> Result<Exchanged, ProbeError> {
    let mut post = Post::new(wire, nodes, routers, options);
    let ways = volley.packets.iter().map(|template| post.way(template)).collect::<Result<Vec<_>, _>>()?;
    let macs = post.ask(&ways)?;
    let mut sent = Vec::new();
    let mut pieces = Vec::new();
    for (template, way) in volley.packets.iter().zip(&ways) {
        let frame = filled(template, way, post.destination(template, way, &macs)?, nodes, counters)?;
        pieces.push(pieces_of(&frame, template, way));
        sent.push(frame);
    }
    post.forget()?;
    for (number, piece) in order(volley, &pieces) {
        let (Some(way), Some(frames)) = (ways.get(number), pieces.get(number)) else { continue };
        let chosen = frames.iter().enumerate().filter(|(at, _)| piece.is_none_or(|piece| piece == at + 1));
        for (_, frame) in chosen {
            wire.transmit(way.tap, &way.device, &write(frame))?;
        }
    }
    post.look(enough)?;
    Ok(Exchanged { sent, seen: post.seen })
}

/// What goes out in which order.
fn order(volley: &Volley, pieces: &[Vec<Frame>]) -> Vec<(usize, Option<usize>)> {
    if volley.order.is_empty() {
        (0..pieces.len()).map(|number| (number, None)).collect()
    } else {
        volley.order.clone()
    }
}

/// How a packet leaves its sender.
struct Way {
    tap: usize,
    device: Rc<DeviceName>,
    /// The next hop; none of what names its destination itself.
    next_hop: Option<IpAddr>,
    /// The sender's own address and MAC there.
    own: (IpAddr, Mac),
    /// Longest IP packet of the device, if that is known.
    mtu: Option<usize>,
}

struct Post<'a> {
    wire: &'a dyn Wire,
    nodes: &'a Nodes,
    routers: &'a Routers,
    options: &'a Options,
    places: Vec<Place>,
    stations: Vec<Option<&'a Node>>,
    assemblers: Vec<Assembler>,
    /// Whom kernels asked for, and whether they were told.
    asked: BTreeMap<(usize, IpAddr), bool>,
    seen: Vec<Sighted>,
}

impl<'a> Post<'a> {
    fn new(wire: &'a dyn Wire, nodes: &'a Nodes, routers: &'a Routers, options: &'a Options) -> Self {
        let places = wire.places();
        let at = |place: &Place| nodes.iter().map(|(_, node)| node).find(|node| node.place == *place);
        let stations = places.iter().map(at).collect();
        let assemblers = places.iter().map(|_| Assembler::default()).collect();
        Self { wire, nodes, routers, options, places, stations, assemblers, asked: BTreeMap::new(), seen: Vec::new() }
    }

    /// By which device, to which next hop, from which address of its own a packet leaves.
    fn way(&self, template: &Template) -> Result<Way, ProbeError> {
        let place = &template.from;
        let tap = self.places.iter().position(|known| known == place);
        let tap = tap.ok_or_else(|| ProbeError::NoTap(place.clone()))?;
        let unsent = |reason: &str| ProbeError::Unsent {
            place: place.clone(),
            to: template.destination,
            reason: reason.to_owned(),
        };
        let station = self.stations.get(tap).copied().flatten();
        let on_link = matches!(template.load, Load::Neighbour(_)) || template.to_mac.is_some();
        if let (true, Some(node)) = (on_link, station) {
            let (port, own) =
                node.link_to(template.destination).ok_or_else(|| unsent("it has no address of the family"))?;
            let device = Rc::new(port.device.clone());
            return Ok(Way { tap, device, next_hop: None, own: (own, port.mac), mtu: usize::try_from(port.mtu).ok() });
        }
        let source = match station {
            Some(node) => node.first_address(Family::of(template.destination)),
            None => self.wire.speaker(tap, template.destination)?,
        };
        let source = source.ok_or_else(|| unsent("it has no address of the family"))?;
        let lookup = Lookup { source, destination: template.destination, input: None };
        let (device, next_hop) = match self.wire.route(tap, lookup)? {
            RouteAnswer::Via { device, next_hop } => (device, next_hop),
            RouteAnswer::Local => return Err(unsent("that is its own address")),
            RouteAnswer::Unreachable => return Err(unsent("it has no route")),
            RouteAnswer::Prohibited => return Err(unsent("its routing prohibits it")),
            RouteAnswer::Blackhole => return Err(unsent("its routing discards it")),
        };
        let port = station.and_then(|node| node.port(&device));
        let router = || self.routers.get(&(place.clone(), DeviceName::clone(&device))).copied();
        let mac = port.map(|port| port.mac).or_else(router);
        let mac = mac.ok_or_else(|| WireError::NoDevice { place: place.clone(), device: device.to_string() })?;
        let mtu = port.and_then(|port| usize::try_from(port.mtu).ok());
        let next_hop = (!on_link).then_some(next_hop);
        Ok(Way { tap, device, next_hop, own: (source, mac), mtu })
    }

    /// Asks on the wire for every next hop; what was answered, by tap and address.
    fn ask(&mut self, ways: &[Way]) -> Result<BTreeMap<(usize, IpAddr), Mac>, ProbeError> {
        self.forget()?;
        let mut open = BTreeMap::new();
        for way in ways {
            let Some(next_hop) = way.next_hop.filter(|next_hop| !open.contains_key(&(way.tap, *next_hop))) else {
                continue;
            };
            open.insert((way.tap, next_hop), None);
            let (other, mac) = way.own;
            let body = Body::Neighbour(Neighbour { kind: NeighbourKind::Request, other, wanted: next_hop, mac });
            let question = Frame { source: mac, destination: asked_at(next_hop), body };
            self.wire.transmit(way.tap, &way.device, &write(&question))?;
        }
        let mut quiet = 0;
        while open.values().any(Option::is_none) && quiet < self.options.neighbour_patience {
            if !self.wire.idle(self.options.quiet)? {
                quiet += 1;
            }
            self.wire.sweep(&mut |seen| {
                if let Some(Body::Neighbour(told)) = read(seen.bytes).map(|frame| frame.body)
                    && told.kind != NeighbourKind::Request
                    && !seen.outgoing
                    && let Some(answer) = open.get_mut(&(seen.tap, told.wanted))
                {
                    *answer = Some(told.mac);
                }
            })?;
        }
        Ok(open.into_iter().filter_map(|(key, mac)| Some((key, mac?))).collect())
    }

    /// Whom a packet is sent to on the link.
    fn destination(
        &self,
        template: &Template,
        way: &Way,
        macs: &BTreeMap<(usize, IpAddr), Mac>,
    ) -> Result<Mac, ProbeError> {
        if let Some(hardware) = &template.to_mac {
            return hardware_of(hardware, self.nodes);
        }
        if let Load::Neighbour(kind) = template.load {
            return Ok(match (kind, template.destination) {
                (NeighbourKind::Request, wanted) => asked_at(wanted),
                (NeighbourKind::Announce | NeighbourKind::Reply, IpAddr::V4(_)) => Mac::BROADCAST,
                // All nodes, RFC 2464 section 7.
                (NeighbourKind::Announce | NeighbourKind::Reply, IpAddr::V6(_)) => Mac([0x33, 0x33, 0, 0, 0, 1]),
            });
        }
        let told = way.next_hop.and_then(|next_hop| macs.get(&(way.tap, next_hop)));
        told.copied().ok_or_else(|| ProbeError::Unsent {
            place: template.from.clone(),
            to: template.destination,
            reason: "nobody answers for its next hop".to_owned(),
        })
    }

    /// Throws away what the taps saw so far.
    fn forget(&mut self) -> Result<(), ProbeError> {
        while self.wire.sweep(&mut |_| {})? > 0 {}
        drop(self.wire.missed()?);
        Ok(())
    }

    /// Looks until all has come, or nothing comes any more.
    fn look(&mut self, enough: &dyn Fn(&[Sighted]) -> bool) -> Result<(), ProbeError> {
        let (mut quiet, mut for_neighbours) = (0, 0);
        loop {
            let wire = self.wire;
            while wire.sweep(&mut |seen| self.see(seen))? > 0 {
                quiet = 0;
            }
            if quiet >= if enough(&self.seen) { SETTLED } else { PATIENCE } {
                break;
            }
            if self.wire.idle(self.options.quiet)? {
                continue;
            }
            match self.pending()? {
                None => quiet += 1,
                Some(place) if for_neighbours > self.options.neighbour_patience => {
                    return Err(ProbeError::NeighbourPending(place));
                }
                Some(_) => for_neighbours += 1,
            }
        }
        match self.wire.missed()?.into_iter().next() {
            Some((place, count)) => Err(ProbeError::Missed { place, count }),
            None => Ok(()),
        }
    }

    /// A place whose kernel asked for a neighbour and was not told yet.
    fn pending(&self) -> Result<Option<Place>, ProbeError> {
        let waiting = self.asked.iter().filter(|(_, told)| !**told).map(|((tap, _), _)| *tap);
        for tap in waiting {
            if self.wire.neighbours_pending(tap)? {
                return Ok(self.places.get(tap).cloned());
            }
        }
        Ok(None)
    }

    fn see(&mut self, seen: Seen<'_>) {
        let Some(frame) = read(seen.bytes) else { return };
        if let Body::Neighbour(neighbour) = &frame.body {
            let key = (seen.tap, neighbour.wanted);
            match neighbour.kind {
                NeighbourKind::Request if seen.outgoing => drop(self.asked.entry(key).or_insert(false)),
                NeighbourKind::Reply if !seen.outgoing => {
                    self.asked.entry(key).and_modify(|told| *told = true);
                }
                NeighbourKind::Request | NeighbourKind::Reply | NeighbourKind::Announce => {}
            }
        }
        let node = self.stations.get(seen.tap).copied().flatten();
        let Some(place) = self.places.get(seen.tap).cloned() else { return };
        let frame = match (node, frame.body) {
            (Some(_), _) if seen.outgoing => return,
            (Some(_), Body::Ip(packet)) => {
                let Some(assembler) = self.assemblers.get_mut(seen.tap) else { return };
                let Some(whole) = assembler.take(&packet) else { return };
                Frame { body: Body::Ip(whole), ..frame }
            }
            (_, body) => Frame { body, ..frame },
        };
        let device = DeviceName::clone(seen.device);
        self.seen.push(Sighted { place, device, incoming: !seen.outgoing, frame });
    }
}

/// Where a question for an address is sent.
fn asked_at(wanted: IpAddr) -> Mac {
    Ends::new(wanted, wanted).map_or(Mac::BROADCAST, build::asked_at)
}

fn hardware_of(hardware: &Hardware, nodes: &Nodes) -> Result<Mac, ProbeError> {
    match hardware {
        Hardware::Mac(mac) => Ok(*mac),
        Hardware::Of(name) => {
            let port = nodes.get(name).and_then(|node| node.ports.first());
            port.map(|port| port.mac).ok_or_else(|| ProbeError::UnknownNode(name.clone()))
        }
    }
}

/// A packet with everything in it that its template leaves open.
fn filled(
    template: &Template,
    way: &Way,
    destination: Mac,
    nodes: &Nodes,
    counters: &mut Counters,
) -> Result<Frame, ProbeError> {
    let (own, own_mac) = way.own;
    let source_mac = template.mac.as_ref().map_or(Ok(own_mac), |hardware| hardware_of(hardware, nodes))?;
    let source = template.source.unwrap_or(own);
    let token = counters.token();
    let payload = || template.payload.as_ref().map_or_else(|| token.request(), |text| text.clone().into_bytes());
    let content = match &template.load {
        Load::Neighbour(kind) => {
            let wanted = template.destination;
            let other = match kind {
                NeighbourKind::Announce => wanted,
                NeighbourKind::Request | NeighbourKind::Reply => source,
            };
            let body = Body::Neighbour(Neighbour { kind: *kind, other, wanted, mac: source_mac });
            return Ok(Frame { source: source_mac, destination, body });
        }
        Load::Udp(port, to) => {
            Content::Udp { ports: (port.unwrap_or_else(|| counters.udp_port()), *to), payload: payload() }
        }
        Load::Tcp { source_port, port, sequence, acknowledgement, flags } => Content::Tcp {
            ports: (source_port.unwrap_or_else(|| counters.tcp_port()), *port),
            sequence: sequence.unwrap_or_else(|| token.client_number()),
            acknowledgement: *acknowledgement,
            flags: *flags,
            payload: template.payload.clone().unwrap_or_default().into_bytes(),
        },
        Load::Echo(reply, id) => {
            Content::Echo { reply: *reply, id: id.unwrap_or_else(|| counters.echo_id()), payload: payload() }
        }
        Load::Error(ErrorKind::Redirect(_), quoted) => Content::Error(ErrorKind::Redirect(own), Some(quoted.clone())),
        Load::Error(kind, quoted) => Content::Error(*kind, Some(quoted.clone())),
        Load::RouterAdvert => Content::RouterAdvert,
    };
    let mut packet = Packet::new(source, template.destination, template.ttl, content);
    if let Some(missing) = template.size.and_then(|size| size.checked_sub(packet.size)).filter(|missing| *missing > 0) {
        pad(&mut packet.content, missing);
        packet.size += missing;
    }
    // Zero stands for "none".
    packet.id = template.id.unwrap_or_else(|| (token.number() & 0xffff).max(1));
    packet.dont_fragment = template.dont_fragment;
    packet.good_checksum = template.good_checksum;
    Ok(Frame { source: source_mac, destination, body: Body::Ip(packet) })
}

fn pad(content: &mut Content, missing: usize) {
    match content {
        Content::Udp { payload, .. } | Content::Tcp { payload, .. } | Content::Echo { payload, .. } => {
            payload.resize(payload.len() + missing, 0);
        }
        Content::Error(..) | Content::RouterAdvert | Content::Other(..) => {}
    }
}

/// As it goes over the link: cut as wanted, else as a kernel cuts it that may.
fn pieces_of(frame: &Frame, template: &Template, way: &Way) -> Vec<Frame> {
    let Body::Ip(packet) = &frame.body else { return vec![frame.clone()] };
    let headers = if packet.source.is_ipv4() { HEADERS.0 } else { HEADERS.1 };
    let too_long = way.mtu.filter(|mtu| packet.size > *mtu && !packet.dont_fragment);
    let step = template.fragment.or_else(|| too_long.map(|mtu| mtu.saturating_sub(headers)));
    let pieces = step.map_or_else(|| vec![packet.clone()], |step| cut(packet, step));
    pieces.into_iter().map(|piece| Frame { body: Body::Ip(piece), ..frame.clone() }).collect()
}
