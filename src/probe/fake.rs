//! A network in memory: machines with ports on segments, routing, neighbours and NAT, and a tap on each.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use pnet::packet::tcp::TcpFlags;

use super::build::{asked_at, build};
use super::frame::{Body, Datagram, Ends, Neighbour, Packet, Refusal, Segment, parse};
use super::wire::{Frame, Lookup, RouteAnswer, Wire, WireError};
use crate::flow::Place;
use crate::name::DeviceName;
use crate::net::{IpNet, Mac};

/// A port of a machine.
#[derive(Clone)]
pub(super) struct FakePort {
    pub device: Rc<DeviceName>,
    pub mac: Mac,
    pub nets: Vec<IpNet>,
    pub segment: u32,
}

/// A kernel.
#[derive(Clone)]
pub(super) struct Machine {
    pub place: Place,
    pub ports: Vec<FakePort>,
    /// Destination and gateway.
    pub routes: Vec<(IpNet, IpAddr)>,
    /// Routes that lead nowhere.
    pub refusals: Vec<(IpNet, RouteAnswer)>,
    pub forwards: bool,
    /// A node: the harness answers TCP and UDP in its place but for these ports.
    pub closed: Option<BTreeSet<(u8, u16)>>,
    /// Floating address and fixed address.
    pub floating: Vec<(IpAddr, IpAddr)>,
    /// Source NAT for what leaves by this device.
    pub masquerade: Option<(Rc<DeviceName>, IpAddr)>,
    /// Packets to these are dropped when they would be forwarded.
    pub dropped: BTreeSet<IpAddr>,
    /// It loses as many packets that it should forward.
    pub loses: usize,
    /// As many of its answers to ARP are lost before a tap sees them.
    pub late: usize,
    /// As many questions of kernels for its addresses are lost before it, or its tap, hears them.
    pub deaf: usize,
    /// Packets that find a question under way, asked before anybody looked, which is then given up.
    pub gives_up: usize,
    /// For as many quiet times a question is under way, asked before anybody looked; what waits for it is then dropped.
    pub asked_before: usize,
    /// It does not answer echo.
    pub mute: bool,
    /// Permanent neighbours.
    pub pinned: BTreeMap<IpAddr, Mac>,
    /// What it has asked for and been told.
    pub neighbours: BTreeMap<IpAddr, Mac>,
    connections: BTreeMap<Connection, Connection>,
}

/// Source, source port, destination, destination port.
type Connection = (IpAddr, u16, IpAddr, u16);

impl Machine {
    pub(super) fn new(name: &str, host: Option<&str>) -> Self {
        let host = host.map(|host| crate::name::HostName::new(host).unwrap());
        Self {
            place: Place { host, name: name.to_owned() },
            ports: Vec::new(),
            routes: Vec::new(),
            refusals: Vec::new(),
            forwards: false,
            closed: None,
            floating: Vec::new(),
            masquerade: None,
            dropped: BTreeSet::new(),
            loses: 0,
            late: 0,
            deaf: 0,
            gives_up: 0,
            asked_before: 0,
            mute: false,
            pinned: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            connections: BTreeMap::new(),
        }
    }

    pub(super) fn port(mut self, device: &str, segment: u32, nets: &[&str]) -> Self {
        let mac = Mac::derived(device, &self.place.to_string());
        let nets = nets.iter().map(|net| net.parse().unwrap()).collect();
        self.ports.push(FakePort { device: Rc::new(DeviceName::new(device).unwrap()), mac, nets, segment });
        self
    }

    /// Makes it a node, in whose place the harness answers every port but these.
    pub(super) fn node(self, closed: &[(u8, u16)]) -> Self {
        Self { closed: Some(closed.iter().copied().collect()), ..self }
    }

    pub(super) fn route(mut self, net: &str, gateway: &str) -> Self {
        self.routes.push((net.parse().unwrap(), gateway.parse().unwrap()));
        self
    }

    fn answers_arp(&self, address: IpAddr) -> bool {
        self.owns(address) || self.floating.iter().any(|(floating, _)| *floating == address)
    }

    fn owns(&self, address: IpAddr) -> bool {
        self.ports.iter().any(|port| port.nets.iter().any(|net| net.addr() == address))
    }

    fn speaker(&self, to: IpAddr) -> Option<IpAddr> {
        let RouteAnswer::Via { device, .. } = self.find(to) else { return None };
        let port = self.ports.iter().find(|port| port.device == device)?;
        port.nets.iter().map(IpNet::addr).find(|address| address.is_ipv4() == to.is_ipv4())
    }

    fn find(&self, destination: IpAddr) -> RouteAnswer {
        if self.owns(destination) {
            return RouteAnswer::Local;
        }
        if let Some((_, answer)) = self.refusals.iter().find(|(net, _)| net.contains(&destination)) {
            return answer.clone();
        }
        let on_link =
            |address: IpAddr| self.ports.iter().find(|port| port.nets.iter().any(|net| net.contains(&address)));
        let gateway = || self.routes.iter().find(|(net, _)| net.contains(&destination)).map(|(_, gateway)| *gateway);
        let next_hop = if on_link(destination).is_some() { Some(destination) } else { gateway() };
        let way = next_hop.and_then(|next_hop| Some((on_link(next_hop)?, next_hop)));
        way.map_or(RouteAnswer::Unreachable, |(port, next_hop)| RouteAnswer::Via {
            device: Rc::clone(&port.device),
            next_hop,
        })
    }
}

/// The network.
#[derive(Default)]
pub(super) struct World {
    machines: Vec<Machine>,
    captured: VecDeque<(usize, Rc<DeviceName>, bool, Vec<u8>)>,
    /// Packets that a machine holds until a neighbour answers.
    pending: Vec<(usize, Datagram<'static>)>,
    missed: Vec<(Place, u32)>,
    pub(super) transmitted: usize,
}

/// Taps on a network.
#[derive(Default)]
pub(super) struct FakeWire(pub RefCell<World>);

impl FakeWire {
    pub(super) fn new(machines: Vec<Machine>) -> Self {
        Self(RefCell::new(World { machines, ..World::default() }))
    }

    /// Puts a frame into a tap.
    pub(super) fn inject(&self, tap: usize, device: &str, outgoing: bool, bytes: Vec<u8>) {
        let device = Rc::new(DeviceName::new(device).unwrap());
        self.0.borrow_mut().captured.push_back((tap, device, outgoing, bytes));
    }

    /// The next run's taps miss frames.
    pub(super) fn miss(&self, place: &Place) {
        self.0.borrow_mut().missed.push((place.clone(), 3));
    }
}

impl Wire for FakeWire {
    fn places(&self) -> Vec<Place> {
        self.0.borrow().machines.iter().map(|machine| machine.place.clone()).collect()
    }

    fn transmit(&self, tap: usize, device: &DeviceName, frame: &[u8]) -> Result<(), WireError> {
        let mut world = self.0.borrow_mut();
        world.transmitted += 1;
        world.carry(tap, device, frame);
        Ok(())
    }

    fn emit(&self, _tap: usize, _to: IpAddr, _packet: &[u8]) -> Result<bool, WireError> {
        panic!("no machine of these tests sends by its kernel")
    }

    fn sweep(&self, see: &mut dyn FnMut(Frame<'_>)) -> Result<usize, WireError> {
        let mut frames: Vec<_> = self.0.borrow_mut().captured.drain(..).collect();
        // A sweep reads tap by tap, so the order of time is lost.
        frames.sort_by_key(|frame| frame.0);
        for (tap, device, outgoing, bytes) in &frames {
            see(Frame { tap: *tap, device, outgoing: *outgoing, bytes });
        }
        Ok(frames.len())
    }

    fn route(&self, tap: usize, lookup: Lookup<'_>) -> Result<RouteAnswer, WireError> {
        Ok(self.0.borrow().machines[tap].find(lookup.destination))
    }

    fn speaker(&self, tap: usize, to: IpAddr) -> Result<Option<IpAddr>, WireError> {
        Ok(self.0.borrow().machines[tap].speaker(to))
    }

    fn neighbours_pending(&self, tap: usize) -> Result<bool, WireError> {
        Ok(self.0.borrow().pending.iter().any(|(machine, _)| *machine == tap))
    }

    fn pinned(&self, tap: usize, _device: &DeviceName, neighbour: IpAddr) -> Result<Option<Mac>, WireError> {
        Ok(self.0.borrow().machines[tap].pinned.get(&neighbour).copied())
    }

    fn learn(&self, tap: usize, _device: &DeviceName, neighbour: IpAddr, mac: Mac) -> Result<(), WireError> {
        self.0.borrow_mut().machines[tap].neighbours.insert(neighbour, mac);
        Ok(())
    }

    fn idle(&self, _limit: Duration) -> Result<bool, WireError> {
        let mut world = self.0.borrow_mut();
        let asking: BTreeSet<usize> = world.pending.iter().map(|(machine, _)| *machine).collect();
        let asking: Vec<usize> =
            asking.into_iter().filter(|machine| world.machines[*machine].asked_before > 0).collect();
        for machine in &asking {
            world.machines[*machine].asked_before -= 1;
        }
        for (machine, datagram) in std::mem::take(&mut world.pending) {
            if asking.contains(&machine) {
                if world.machines[machine].asked_before > 0 {
                    world.pending.push((machine, datagram));
                }
                continue;
            }
            world.complain(machine, Refusal::HostUnreachable, datagram);
        }
        Ok(!world.captured.is_empty())
    }

    fn missed(&self) -> Result<Vec<(Place, u32)>, WireError> {
        let mut world = self.0.borrow_mut();
        // What was missed before the run is asked for first and thrown away.
        if world.transmitted == 0 { Ok(Vec::new()) } else { Ok(std::mem::take(&mut world.missed)) }
    }
}

impl World {
    /// Brings a frame to the others on the segment.
    fn carry(&mut self, from: usize, device: &DeviceName, frame: &[u8]) {
        let port = self.machines[from].ports.iter().find(|port| *port.device == *device).unwrap();
        let (segment, own) = (port.segment, port.mac);
        let to = parse(frame).unwrap().destination;
        let group = to.is_group();
        let takers: Vec<(usize, FakePort)> = self
            .machines
            .iter()
            .enumerate()
            .flat_map(|(number, machine)| machine.ports.iter().map(move |port| (number, port.clone())))
            .filter(|(_, port)| port.segment == segment && port.mac != own && (group || port.mac == to))
            .collect();
        for (number, port) in takers {
            let asked = matches!(&parse(frame).unwrap().body, Body::Ask(ask) if self.machines[number].answers_arp(ask.wanted()));
            if asked && self.machines[number].deaf > 0 {
                self.machines[number].deaf -= 1;
                continue;
            }
            self.captured.push_back((number, Rc::clone(&port.device), false, frame.to_vec()));
            self.receive(number, &port, frame);
        }
    }

    /// A kernel's frame, which its tap sees.
    fn send(&mut self, from: usize, device: &Rc<DeviceName>, frame: &[u8]) {
        self.captured.push_back((from, Rc::clone(device), true, frame.to_owned()));
        self.carry(from, device, frame);
    }

    fn receive(&mut self, number: usize, port: &FakePort, frame: &[u8]) {
        let packet = parse(frame).unwrap();
        match packet.body {
            Body::Ask(ask) if self.machines[number].answers_arp(ask.wanted()) => {
                self.machines[number].neighbours.insert(ask.asker(), ask.mac);
                if self.machines[number].late > 0 {
                    self.machines[number].late -= 1;
                    return;
                }
                let tell = Body::Tell(Neighbour { ends: ask.ends, mac: port.mac });
                let answer = build(&Packet { source: port.mac, destination: ask.mac, body: tell });
                self.send(number, &port.device, &answer);
            }
            Body::Ask(_) => {}
            Body::Tell(tell) => drop(self.machines[number].neighbours.insert(tell.wanted(), tell.mac)),
            Body::Datagram(datagram) => self.input(number, &own(&datagram)),
        }
    }

    fn input(&mut self, number: usize, datagram: &Datagram<'static>) {
        let known = self.machines[number].connections.contains_key(&connection(datagram));
        let floats =
            self.machines[number].floating.iter().any(|(floating, _)| *floating == datagram.ends.destination());
        let error = matches!(datagram.segment, Segment::Error { .. }) && self.machines[number].forwards;
        if known || floats || error || !self.machines[number].owns(datagram.ends.destination()) {
            if self.machines[number].forwards {
                self.forward(number, datagram);
            }
        } else {
            self.local(number, datagram);
        }
    }

    fn local(&mut self, number: usize, datagram: &Datagram<'static>) {
        let machine = &self.machines[number];
        let refuses = |protocol, port| machine.closed.as_ref().is_none_or(|closed| closed.contains(&(protocol, port)));
        match &datagram.segment {
            Segment::Echo { reply: false, id, sequence, payload } if !machine.mute => {
                let segment = Segment::Echo { reply: true, id: *id, sequence: *sequence, payload: payload.clone() };
                self.output(number, Datagram { ends: datagram.ends.reversed(), ttl: 64, segment });
            }
            Segment::Udp { ports, .. } if refuses(17, ports.1) => {
                self.complain(number, Refusal::Refused, datagram.clone());
            }
            Segment::Tcp { ports, sequence, flags, .. } if flags & TcpFlags::SYN != 0 && refuses(6, ports.1) => {
                let segment = Segment::Tcp {
                    ports: (ports.1, ports.0),
                    sequence: 0,
                    acknowledgement: sequence + 1,
                    flags: TcpFlags::RST | TcpFlags::ACK,
                    payload: Cow::Borrowed(b""),
                };
                self.output(number, Datagram { ends: datagram.ends.reversed(), ttl: 64, segment });
            }
            Segment::Echo { .. } | Segment::Udp { .. } | Segment::Tcp { .. } | Segment::Error { .. } => {}
        }
    }

    fn forward(&mut self, number: usize, datagram: &Datagram<'static>) {
        if datagram.ttl <= 1 {
            return self.complain(number, Refusal::Expired, datagram.clone());
        }
        if self.machines[number].dropped.contains(&datagram.ends.destination()) {
            return;
        }
        if self.machines[number].loses > 0 {
            self.machines[number].loses -= 1;
            return;
        }
        if self.machines[number].gives_up > 0 {
            self.machines[number].gives_up -= 1;
            return self.complain(number, Refusal::HostUnreachable, datagram.clone());
        }
        let mut translated = self.translate(number, datagram);
        translated.ttl -= 1;
        match self.machines[number].find(translated.ends.destination()) {
            RouteAnswer::Via { .. } => self.output(number, translated),
            RouteAnswer::Unreachable => self.complain(number, Refusal::NoRoute, datagram.clone()),
            RouteAnswer::Prohibited => self.complain(number, Refusal::Prohibited, datagram.clone()),
            RouteAnswer::Local | RouteAnswer::Blackhole => {}
        }
    }

    fn translate(&mut self, number: usize, datagram: &Datagram<'static>) -> Datagram<'static> {
        let machine = &mut self.machines[number];
        if let Segment::Error { refusal, quoted } = &datagram.segment {
            let (s, sp, d, dp) = connection(quoted);
            let Some(&(d, dp, s, sp)) = machine.connections.get(&(d, dp, s, sp)) else { return datagram.clone() };
            let quoted = Box::new(rewritten(quoted, (s, sp, d, dp)));
            let ends = Ends::new(datagram.ends.source(), s).unwrap();
            return Datagram { ends, ttl: datagram.ttl, segment: Segment::Error { refusal: *refusal, quoted } };
        }
        let before = connection(datagram);
        if let Some(after) = machine.connections.get(&before) {
            return rewritten(datagram, *after);
        }
        let (mut source, mut port, mut destination, destination_port) = before;
        let hairpin = machine.floating.iter().find(|(floating, _)| *floating == destination).copied();
        if let Some((_, fixed)) = hairpin {
            destination = fixed;
        }
        let way = machine.find(destination);
        let leaves_by = |device: &Rc<DeviceName>| matches!(&way, RouteAnswer::Via { device: by, .. } if by == device);
        let masquerade = machine.masquerade.clone().filter(|(device, _)| leaves_by(device));
        let floating = machine.floating.iter().find(|(_, fixed)| *fixed == source);
        if let Some((floating, _)) = floating.filter(|_| hairpin.is_some() || masquerade.is_some()) {
            source = *floating;
        } else if let Some((_, address)) = masquerade {
            source = address;
            port += 1000;
        }
        let after = (source, port, destination, destination_port);
        let echo = matches!(datagram.segment, Segment::Echo { .. });
        let after = if echo { (source, port, destination, port) } else { after };
        if after != before {
            machine.connections.insert(before, after);
            machine.connections.insert((after.2, after.3, after.0, after.1), (before.2, before.3, before.0, before.1));
        }
        rewritten(datagram, after)
    }

    fn complain(&mut self, number: usize, refusal: Refusal, datagram: Datagram<'static>) {
        let to = datagram.ends.source();
        let Some(own) = self.machines[number].speaker(to) else { return };
        let destination = datagram.ends.destination();
        let from = if self.machines[number].owns(destination) { destination } else { own };
        let ends = Ends::new(from, to).unwrap();
        self.output(
            number,
            Datagram { ends, ttl: 64, segment: Segment::Error { refusal, quoted: Box::new(datagram) } },
        );
    }

    fn output(&mut self, number: usize, datagram: Datagram<'static>) {
        let RouteAnswer::Via { device, next_hop } = self.machines[number].find(datagram.ends.destination()) else {
            return;
        };
        let port = self.machines[number].ports.iter().find(|port| port.device == device).unwrap().clone();
        let asking = self.machines[number].asked_before > 0;
        if !asking && !self.machines[number].neighbours.contains_key(&next_hop) {
            let asker = port.nets.iter().map(IpNet::addr).find(|own| own.is_ipv4() == next_hop.is_ipv4()).unwrap();
            let ends = Ends::new(asker, next_hop).unwrap();
            let body = Body::Ask(Neighbour { ends, mac: port.mac });
            self.send(number, &device, &build(&Packet { source: port.mac, destination: asked_at(ends), body }));
        }
        match self.machines[number].neighbours.get(&next_hop).copied() {
            Some(destination) => {
                let body = Body::Datagram(datagram);
                self.send(number, &device, &build(&Packet { source: port.mac, destination, body }));
            }
            None => self.pending.push((number, datagram)),
        }
    }
}

fn connection(datagram: &Datagram<'_>) -> Connection {
    let ports = match &datagram.segment {
        Segment::Echo { id, .. } => (*id, *id),
        Segment::Udp { ports, .. } | Segment::Tcp { ports, .. } => *ports,
        Segment::Error { .. } => (0, 0),
    };
    (datagram.ends.source(), ports.0, datagram.ends.destination(), ports.1)
}

fn rewritten(datagram: &Datagram<'static>, to: Connection) -> Datagram<'static> {
    let mut datagram = datagram.clone();
    datagram.ends = Ends::new(to.0, to.2).unwrap();
    match &mut datagram.segment {
        Segment::Echo { id, .. } => *id = to.1,
        Segment::Udp { ports, .. } | Segment::Tcp { ports, .. } => *ports = (to.1, to.3),
        Segment::Error { .. } => {}
    }
    datagram
}

/// The same, owning its payload.
fn own(datagram: &Datagram<'_>) -> Datagram<'static> {
    let kept = |payload: &Cow<'_, [u8]>| Cow::Owned(payload.to_vec());
    let segment = match &datagram.segment {
        Segment::Echo { reply, id, sequence, payload } => {
            Segment::Echo { reply: *reply, id: *id, sequence: *sequence, payload: kept(payload) }
        }
        Segment::Udp { ports, payload } => Segment::Udp { ports: *ports, payload: kept(payload) },
        Segment::Tcp { ports, sequence, acknowledgement, flags, payload } => Segment::Tcp {
            ports: *ports,
            sequence: *sequence,
            acknowledgement: *acknowledgement,
            flags: *flags,
            payload: kept(payload),
        },
        Segment::Error { refusal, quoted } => Segment::Error { refusal: *refusal, quoted: Box::new(own(quoted)) },
    };
    Datagram { ends: datagram.ends, ttl: datagram.ttl, segment }
}
