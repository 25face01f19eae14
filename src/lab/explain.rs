//! The way of one packet, with what decided at each stop.
//!
//! In: a flow. Out: an [`Explanation`]. Never: tracing left switched on, or a connection of the probe left behind.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::error::Error;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use super::{Lab, make, router_place};
use crate::dataplane::DataplaneError;
use crate::flow::{Flow, Hop, Place, ProbeReport, Protocol, Verdict};
use crate::kernel::decision::{Decision, decide, neighbour};
use crate::kernel::nft::{self, Sign, Tables};
use crate::kernel::observe::observe_namespace;
use crate::kernel::trace::{Code, Event, Tracer};
use crate::kernel::{Netns, conntrack};
use crate::memory::{Connection, Detail, Tuple};
use crate::name::DeviceName;
use crate::namespace::{PolicyRule, Target};
use crate::net::{Family, Mac};
use crate::probe::{
    Frame, Glimpse, Lookup as WireLookup, Packet, RouteAnswer, Trait, Wire, WireError, glimpse, traits,
};
use crate::why::{Explanation, Lookup, Routing, RuleHit, Ruling, Sight, Stop, policy_rule};

fn failed<E: Error>(error: E) -> DataplaneError {
    DataplaneError::Probe(make::reason(&error))
}

/// What is known of a router namespace besides what taps saw.
struct Witness {
    netns: Rc<Netns>,
    tables: Tables,
    rules: Vec<PolicyRule>,
    before: Vec<Connection>,
    after: Vec<Connection>,
    /// Packet by packet.
    passes: Vec<Pass>,
}

/// What one packet's rules did in one namespace.
struct Pass {
    attempt: u32,
    part: Packet,
    events: Vec<Event>,
}

/// A frame of the probe, where it was seen.
struct Seen {
    place: Place,
    device: DeviceName,
    outgoing: bool,
    glimpse: Glimpse,
}

impl Lab {
    /// Sends one flow and tells its way.
    pub(super) fn explained(&self, flow: &Flow) -> Result<Explanation, DataplaneError> {
        let family = Family::of(flow.to);
        let traits = traits(&self.counters.borrow(), flow.protocol, family);
        let others = self.connections_before()?;
        let routers: Vec<(Place, Rc<Netns>)> = self
            .routers
            .borrow()
            .iter()
            .map(|((host, name), netns)| (router_place(host, name), Rc::clone(netns)))
            .collect();
        let signs: Vec<Sign> = traits.iter().map(sign).collect();
        let mut before = BTreeMap::new();
        let mut tracers = Vec::new();
        for (place, netns) in &routers {
            before.insert(place.clone(), conntrack::dump(netns.nf()).map_err(failed)?);
            tracers.push(Tracer::begin(netns, family, &signs).map_err(failed)?);
        }
        let _excerpt = self.excerpt();
        let recorder = Recorder { wire: &self.wire, frames: RefCell::default() };
        let run = self.probe_over(&recorder, std::slice::from_ref(flow));
        let mut witnesses = BTreeMap::new();
        for ((place, netns), tracer) in routers.into_iter().zip(tracers) {
            let events = tracer.end(&netns, family).map_err(failed)?;
            let witness = self.witness(netns, before.remove(&place).unwrap_or_default(), passes(events, &traits))?;
            witnesses.insert(place, witness);
        }
        let mut run = run.map_err(failed)?;
        // The last attempt is the one that was judged. What closes a long transfer has numbers that look like another's.
        let judged = run.attempts.last().map(|(number, _)| *number);
        let report = run.reports.pop().ok_or_else(|| DataplaneError::Probe("no report".to_owned()))?;
        self.forget_connections(&others)?;
        let seen =
            recorder.seen().into_iter().filter(|frame| Some(frame.glimpse.attempt) == judged).collect::<Vec<_>>();
        self.assemble(report, judged, &seen, &witnesses)
    }

    fn witness(&self, netns: Rc<Netns>, before: Vec<Connection>, passes: Vec<Pass>) -> Result<Witness, DataplaneError> {
        let after = conntrack::dump(netns.nf()).map_err(failed)?;
        let tables = nft::read(netns.nf()).map_err(failed)?;
        let rules = self.policy_rules(&netns)?;
        Ok(Witness { netns, tables, rules, before, after, passes })
    }

    /// The namespace's rules; its devices are known by name from then on.
    fn policy_rules(&self, netns: &Rc<Netns>) -> Result<Vec<PolicyRule>, DataplaneError> {
        let observed = self.runtime.block_on(observe_namespace(netns, &self.baseline, self.rules));
        Ok(observed.map_err(|failure| failed(failure.cause))?.rules.into_iter().collect())
    }

    fn assemble(
        &self,
        report: ProbeReport,
        attempt: Option<u32>,
        frames: &[Seen],
        witnesses: &BTreeMap<Place, Witness>,
    ) -> Result<Explanation, DataplaneError> {
        let frames: Vec<&Seen> = frames.iter().collect();
        let mut there = self.way(&report.path, Packet::Request, &frames, witnesses, report.flow.protocol)?;
        if let (true, Some(witness)) = (there.is_empty(), witnesses.get(&report.flow.from)) {
            there.extend(untapped(&report.flow.from, witness, (Packet::Request, attempt), Family::of(report.flow.to)));
        }
        if let Some(last) = there.last_mut().filter(|_| report.verdict == Verdict::NoNeighbour) {
            self.next_hop(last)?;
        }
        let back = self.way(&report.reply_path, Packet::Answer, &frames, witnesses, report.flow.protocol)?;
        let about: Vec<&Seen> = frames.iter().filter(|frame| frame.glimpse.part == Packet::Error).copied().collect();
        let hops = hops(&about);
        let mut errors = self.way(&hops, Packet::Error, &frames, witnesses, report.flow.protocol)?;
        // One that a rule took where it was made is in no tap.
        for (place, witness) in witnesses.iter().filter(|(place, _)| hops.iter().all(|hop| hop.place != **place)) {
            errors.extend(untapped(place, witness, (Packet::Error, attempt), Family::of(report.flow.to)));
        }
        Ok(Explanation { report, there, back, errors })
    }

    fn way(
        &self,
        hops: &[Hop],
        part: Packet,
        frames: &[&Seen],
        witnesses: &BTreeMap<Place, Witness>,
        protocol: Protocol,
    ) -> Result<Vec<Stop>, DataplaneError> {
        let mut unused: Vec<&&Seen> = frames.iter().filter(|frame| frame.glimpse.part == part).collect();
        let mut take = |place: &Place, device: &Option<DeviceName>, outgoing| {
            let device = device.as_ref()?;
            let fits = |frame: &&&Seen| (&frame.place, &frame.device, frame.outgoing) == (place, device, outgoing);
            let at = unused.iter().position(fits)?;
            Some(sight(unused.remove(at)))
        };
        let seen: Vec<_> =
            hops.iter().map(|hop| (take(&hop.place, &hop.entered, false), take(&hop.place, &hop.left, true))).collect();
        let mut turns: BTreeMap<&Place, usize> = BTreeMap::new();
        let mut stops = Vec::new();
        for (at, (hop, (entered, left))) in hops.iter().zip(&seen).enumerate() {
            // What a node itself sends its tap does not see; it comes in unchanged where it is seen next.
            let next = seen.get(at + 1).and_then(|(entered, _)| entered.clone());
            let own = hop.left.clone().zip(next).map(|(device, sight)| Sight { device, ..sight });
            let left = left.clone().or(own);
            let turn = turns.entry(&hop.place).or_default();
            stops.push(match witnesses.get(&hop.place) {
                None => plain(hop, entered.clone(), left),
                Some(witness) => {
                    let passes = witness.passes.iter().filter(|pass| pass.part == part);
                    let last = passes.clone().map(|pass| pass.attempt).max();
                    let pass = passes.filter(|pass| Some(pass.attempt) == last).nth(*turn);
                    self.router_stop(plain(hop, entered.clone(), left), witness, pass, protocol)?
                }
            });
            *turn += 1;
        }
        Ok(stops)
    }

    /// Adds to a stop what its namespace's rules, routing and connections were.
    fn router_stop(
        &self,
        stop: Stop,
        witness: &Witness,
        pass: Option<&Pass>,
        protocol: Protocol,
    ) -> Result<Stop, DataplaneError> {
        let Some(first) = stop.entered.as_ref().or(stop.left.as_ref()) else { return Ok(stop) };
        let events = pass.map(|pass| pass.events.as_slice()).unwrap_or_default();
        let (rules, mark, translated) = hits(events, &witness.tables, Family::of(first.destination));
        let ended = rules.iter().any(|hit| hit.before_routing && hit.verdict == Ruling::Drop);
        let routing = if ended {
            None
        } else {
            let destination = stop.left.as_ref().map(|sight| sight.destination).or(translated);
            let lookup = Lookup {
                source: first.source,
                destination: destination.unwrap_or(first.destination),
                input: stop.entered.as_ref().map(|sight| sight.device.clone()),
                mark,
            };
            Some(self.routing(&witness.netns, &witness.rules, &lookup)?)
        };
        let found = |all: &[Connection]| all.iter().find(|entry| entry_of(entry, first, protocol)).copied();
        let (before, after) = (found(&witness.before), found(&witness.after));
        Ok(Stop { rules, routing, before, after, ..stop })
    }

    /// Adds to a stop at a node by which neighbour entry the packet left, where that is what was wrong.
    fn next_hop(&self, stop: &mut Stop) -> Result<(), DataplaneError> {
        let Some(left) = stop.left.as_ref().filter(|_| stop.routing.is_none()) else { return Ok(()) };
        let Some(netns) = self.netns(&stop.place) else { return Ok(()) };
        let input = stop.entered.as_ref().map(|sight| sight.device.clone());
        let lookup = Lookup { source: left.source, destination: left.destination, input, mark: 0 };
        let rules = self.policy_rules(&netns)?;
        stop.routing = Some(self.routing(&netns, &rules, &lookup)?);
        Ok(())
    }

    fn routing(&self, netns: &Netns, rules: &[PolicyRule], lookup: &Lookup) -> Result<Routing, DataplaneError> {
        let decided = self.runtime.block_on(decide(netns, lookup)).map_err(failed)?;
        let Decision { table, route, next_hop } = match decided {
            Ok(decision) => decision,
            Err(why) => return Ok(Routing { rule: None, route: Err(why), mark: lookup.mark, neighbour: None }),
        };
        let known = next_hop.map(|(device, address)| self.runtime.block_on(neighbour(netns, &device, address)));
        Ok(Routing {
            rule: policy_rule(rules, lookup, table).map(ToString::to_string),
            route: Ok(route),
            mark: lookup.mark,
            neighbour: known.transpose().map_err(failed)?,
        })
    }
}

/// A stop of which nothing is known yet.
fn nowhere(place: &Place) -> Stop {
    Stop {
        place: place.clone(),
        entered: None,
        rules: Vec::new(),
        routing: None,
        before: None,
        after: None,
        left: None,
    }
}

/// What rules did to packets that a namespace's kernel made and that no tap saw leave.
fn untapped<'a>(
    place: &'a Place,
    witness: &'a Witness,
    (part, attempt): (Packet, Option<u32>),
    family: Family,
) -> impl Iterator<Item = Stop> + 'a {
    let made = witness.passes.iter().filter(move |pass| pass.part == part && Some(pass.attempt) == attempt);
    let stop = move |pass: &Pass| Stop { rules: hits(&pass.events, &witness.tables, family).0, ..nowhere(place) };
    made.map(stop).filter(|stop| !stop.rules.is_empty())
}

/// The way that frames went, as the report has it of requests and answers: in the order of their TTLs.
fn hops(frames: &[&Seen]) -> Vec<Hop> {
    let mut ordered = frames.to_vec();
    ordered.sort_by_key(|frame| (Reverse(frame.glimpse.ttl), !frame.outgoing));
    let mut hops: Vec<Hop> = Vec::new();
    for frame in ordered {
        let Seen { place, device, outgoing, glimpse } = frame;
        let device = Some(device.clone());
        if let Some(open) = hops.last_mut().filter(|hop| *outgoing && hop.place == *place && hop.left.is_none()) {
            open.left = device;
            continue;
        }
        let (entered, left) = if *outgoing { (None, device) } else { (device, None) };
        let Glimpse { source, destination, ttl, .. } = *glimpse;
        hops.push(Hop { place: place.clone(), entered, left, source, destination, ttl });
    }
    hops
}

fn plain(hop: &Hop, entered: Option<Sight>, left: Option<Sight>) -> Stop {
    Stop { entered, left, ..nowhere(&hop.place) }
}

fn sight(frame: &Seen) -> Sight {
    let Glimpse { macs, source, destination, ports, ttl, about, attempt: _, part: _ } = frame.glimpse;
    Sight { device: frame.device.clone(), macs, source, destination, ports, ttl, about }
}

fn sign(of: &Trait) -> Sign {
    let name = match of.part {
        Packet::Request => "request",
        Packet::Answer => "answer",
        Packet::Error => "error",
    };
    Sign { name: name.to_owned(), protocol: of.protocol, bytes: of.bytes.clone() }
}

/// Parts what was traced at the rules that chose the packets. Their chains end with the number of the sign.
fn passes(events: Vec<Event>, traits: &[Trait]) -> Vec<Pass> {
    let mut passes: Vec<Pass> = Vec::new();
    for event in events {
        if event.begins() {
            let number = event.chain.rsplit('-').next().and_then(|number| number.parse::<usize>().ok());
            if let Some(chosen) = number.and_then(|number| traits.get(number)) {
                passes.push(Pass { attempt: chosen.attempt, part: chosen.part, events: Vec::new() });
            }
        } else if !event.table.starts_with(nft::OWN_PREFIX)
            && let Some(pass) = passes.last_mut()
        {
            pass.events.push(event);
        }
    }
    passes
}

/// The rules of a pass in words, the mark that routing looked at, and where DNAT sent the packet.
fn hits(events: &[Event], tables: &Tables, family: Family) -> (Vec<RuleHit>, u32, Option<IpAddr>) {
    let (mut hits, mut mark, mut translated) = (Vec::new(), 0, None);
    // Own chains are entered from built-in ones, so that the last built-in one is the hook.
    let mut before_routing = true;
    for event in events {
        match event.chain.as_str() {
            "PREROUTING" => before_routing = true,
            "INPUT" | "FORWARD" | "OUTPUT" | "POSTROUTING" => before_routing = false,
            _ => {}
        }
        if before_routing {
            mark = event.mark;
        }
        let known = event.handle.and_then(|handle| tables.rule(family, &event.table, &event.chain, handle));
        if let Some((_, rule)) = known
            && let Target::Dnat(to) = &rule.target
        {
            translated = Some(to.address);
        }
        let rule = match (event.handle, known) {
            (None, _) if !matches!(event.verdict, Code::Accept | Code::Drop) => continue,
            (None, _) => None,
            (Some(_), Some((_, rule))) => Some(rule.to_string()),
            (Some(handle), None) => Some(format!("handle {handle}")),
        };
        let verdict = match &event.verdict {
            Code::Accept => Ruling::Accept,
            Code::Drop => Ruling::Drop,
            Code::Continue => Ruling::Continue,
            Code::Jump(chain) | Code::Goto(chain) => Ruling::Jump(chain.clone()),
            Code::Return => Ruling::Return,
            Code::Other(number) => Ruling::Other(*number),
        };
        hits.push(RuleHit { table: event.table.clone(), chain: event.chain.clone(), rule, verdict, before_routing });
    }
    (hits, mark, translated)
}

/// Whether a connection is the one that a packet with these headers belongs to, either way. An error belongs to that of what
/// it quotes, which went the other way than the error goes.
fn entry_of(entry: &Connection, sight: &Sight, protocol: Protocol) -> bool {
    let detail = |detail: Detail, ports: (u16, u16)| match (detail, protocol) {
        (Detail::Ports(source, destination), Protocol::Tcp(_) | Protocol::Udp(_)) => (source, destination) == ports,
        (Detail::Icmp { id, .. }, Protocol::Icmp) => id == ports.0,
        (Detail::Ports(..) | Detail::Icmp { .. } | Detail::None, _) => false,
    };
    let (ends, ports) = match sight.about {
        None => ((sight.source, sight.destination), sight.ports),
        Some((source, destination)) => ((destination, source), (sight.ports.1, sight.ports.0)),
    };
    let fits = |tuple: &Tuple| (tuple.source, tuple.destination) == ends && detail(tuple.detail, ports);
    fits(&entry.original) || fits(&entry.reply)
}

/// A wire that keeps what it shows.
struct Recorder<'a> {
    wire: &'a dyn Wire,
    frames: RefCell<Vec<(usize, DeviceName, bool, Glimpse)>>,
}

impl Recorder<'_> {
    fn seen(&self) -> Vec<Seen> {
        let places = self.wire.places();
        let frames = self.frames.borrow();
        let with_place = frames.iter().filter_map(|(tap, device, outgoing, glimpse)| {
            let (place, device) = (places.get(*tap)?.clone(), device.clone());
            Some(Seen { place, device, outgoing: *outgoing, glimpse: *glimpse })
        });
        with_place.collect()
    }
}

impl Wire for Recorder<'_> {
    fn places(&self) -> Vec<Place> {
        self.wire.places()
    }

    fn transmit(&self, tap: usize, device: &DeviceName, frame: &[u8]) -> Result<(), WireError> {
        self.wire.transmit(tap, device, frame)
    }

    fn emit(&self, tap: usize, to: IpAddr, packet: &[u8]) -> Result<bool, WireError> {
        self.wire.emit(tap, to, packet)
    }

    fn sweep(&self, see: &mut dyn FnMut(Frame<'_>)) -> Result<usize, WireError> {
        self.wire.sweep(&mut |frame| {
            if let Some(glimpse) = glimpse(frame.bytes) {
                self.frames.borrow_mut().push((frame.tap, (**frame.device).clone(), frame.outgoing, glimpse));
            }
            see(frame);
        })
    }

    fn route(&self, tap: usize, lookup: WireLookup<'_>) -> Result<RouteAnswer, WireError> {
        self.wire.route(tap, lookup)
    }

    fn speaker(&self, tap: usize, to: IpAddr) -> Result<Option<IpAddr>, WireError> {
        self.wire.speaker(tap, to)
    }

    fn neighbours_pending(&self, tap: usize) -> Result<bool, WireError> {
        self.wire.neighbours_pending(tap)
    }

    fn pinned(&self, tap: usize, device: &DeviceName, neighbour: IpAddr) -> Result<Option<Mac>, WireError> {
        self.wire.pinned(tap, device, neighbour)
    }

    fn learn(&self, tap: usize, device: &DeviceName, neighbour: IpAddr, mac: Mac) -> Result<(), WireError> {
        self.wire.learn(tap, device, neighbour, mac)
    }

    fn idle(&self, limit: Duration) -> Result<bool, WireError> {
        self.wire.idle(limit)
    }

    fn missed(&self) -> Result<Vec<(Place, u32)>, WireError> {
        self.wire.missed()
    }
}
