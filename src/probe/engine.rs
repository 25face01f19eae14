//! One run: all flows at once, until nothing moves any more, and a second attempt for what has no conclusive end.
//!
//! In: a wire, nodes, flows, the lab's counters. Out: a report a flow, in their order. Never: a verdict while a neighbour is
//! pending somewhere, or while a frame may still be on its way.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use super::build::{asked_at, build};
use super::frame::{Body, Ends, Neighbour, Packet, Refusal};
use super::judge::{Judge, Ruling};
use super::nodes::{Node, Nodes, Port};
use super::pieces::{self, Pieces};
use super::resolve::{Leg, Letter, Resolver, Step};
use super::token::{Counters, Token};
use super::track::{Attempt, Fault, Outcome, passage};
use super::wire::{Frame, Wire, WireError};
use crate::flow::{Flow, Place, ProbeReport, Verdict};
use crate::memory::Tuple;
use crate::name::{DeviceName, Name};
use crate::net::Mac;

/// Frames sent between two sweeps: few enough that the smallest usual socket buffer holds what they cause.
const BURST: usize = 64;
/// Rounds of sending and sweeping after which something must be going in circles.
const ROUNDS: usize = 10_000;

/// How long a run waits for what has not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Nothing has moved for this long: what is missing will not come. Delivery is done when sending returns, so this only
    /// covers a kernel thread that was kept from running.
    pub quiet: Duration,
    /// As many quiet times a frame that left a place may need to enter the next.
    pub patience: u32,
    /// As many quiet times a kernel may wait for a neighbour; more means that its timing was not set.
    pub neighbour_patience: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { quiet: Duration::from_millis(5), patience: 4, neighbour_patience: 60 }
    }
}

/// What a run has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// One for each flow, in their order.
    pub reports: Vec<ProbeReport>,
    /// What was sent, first and second attempts, as the senders had it.
    pub tuples: Vec<Tuple>,
    /// How the packets looked where they came in, answers too: what conntrack there may remember of them.
    pub entered: BTreeSet<(Place, Tuple)>,
    /// The number of each attempt, and the position of its flow.
    pub attempts: Vec<(u32, usize)>,
}

/// Why the harness could not probe.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The wire failed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A name is no node's.
    #[error("{0} is no node")]
    UnknownNode(Name),
    /// A flow's sender is not there.
    #[error("{0} cannot send: it is not there")]
    NoTap(Place),
    /// Answers could not be hidden from a sender's kernel.
    #[error("failed to hide answers from their sender's kernel: {0}")]
    Rules(String),
    /// A sender has no address of the target's family.
    #[error("{node} has no address to reach {to} from")]
    NoAddress {
        /// The sender.
        node: Place,
        /// The target.
        to: IpAddr,
    },
    /// A flow's source is none of its sender's addresses.
    #[error("{node} does not have {source_address}")]
    ForeignSource {
        /// The sender.
        node: Place,
        /// The source.
        source_address: IpAddr,
    },
    /// A source address of the other family than the target's.
    #[error("{from} and {to} are of different families")]
    MixedFamilies {
        /// The source address.
        from: IpAddr,
        /// The target.
        to: IpAddr,
    },
    /// The target is the sender's own address, where no packet goes.
    #[error("{node} would probe itself at {to}")]
    ToItself {
        /// The sender.
        node: Place,
        /// The target.
        to: IpAddr,
    },
    /// A packet made to order cannot be sent by who is to send it.
    #[error("{place} cannot send to {to}: {reason}")]
    Unsent {
        /// The sender.
        place: Place,
        /// The destination.
        to: IpAddr,
        /// Why not.
        reason: String,
    },
    /// A packet of an earlier run came late: that run ended too early.
    #[error("{place}: saw probe {token} of an earlier run")]
    StrayToken {
        /// Where.
        place: Place,
        /// Its number.
        token: u32,
    },
    /// A tap had no room for frames, so what it saw is not all there was.
    #[error("{place}: the tap missed {count} frames")]
    Missed {
        /// Where.
        place: Place,
        /// How many.
        count: u32,
    },
    /// A kernel waits for a neighbour longer than any lab lets it.
    #[error("{0}: still waiting for a neighbour")]
    NeighbourPending(Place),
    /// Frames never ceased.
    #[error("frames still arrive after {ROUNDS} rounds")]
    NeverQuiet,
}

/// Sends all flows at once and says what became of each.
pub fn run(
    wire: &dyn Wire,
    nodes: &Nodes,
    flows: &[Flow],
    counters: &mut Counters,
    options: &Options,
) -> Result<Run, ProbeError> {
    let mut engine = Engine::new(wire, nodes, flows, counters.upcoming(), options);
    engine.drain()?;
    for flow in 0..flows.len() {
        engine.begin(flow, counters)?;
    }
    engine.settle()?;
    engine.wait()?;
    let again = engine.inconclusive()?;
    engine.round = engine.attempts.len();
    for flow in &again {
        engine.begin(*flow, counters)?;
    }
    if !again.is_empty() {
        engine.settle()?;
        engine.wait()?;
    }
    engine.conclude()
}

/// The state of a run.
pub(super) struct Engine<'a> {
    pub(super) wire: &'a dyn Wire,
    pub(super) nodes: &'a Nodes,
    pub(super) flows: &'a [Flow],
    options: &'a Options,
    pub(super) places: Vec<Place>,
    /// The node at each tap, where there is one.
    pub(super) stations: Vec<Option<&'a Node>>,
    /// The token of the first attempt; the others count on from there.
    pub(super) first: Token,
    pub(super) attempts: Vec<Attempt>,
    /// Where the attempts of this round begin.
    round: usize,
    pub(super) resolver: Resolver,
    pub(super) pieces: Pieces,
    /// What came of an earlier run: where, and its token.
    pub(super) stray: Option<(usize, Token)>,
}

impl<'a> Engine<'a> {
    fn new(wire: &'a dyn Wire, nodes: &'a Nodes, flows: &'a [Flow], first: Token, options: &'a Options) -> Self {
        let places = wire.places();
        let at = |place: &Place| nodes.iter().map(|(_, node)| node).find(|node| node.place == *place);
        let stations = places.iter().map(at).collect();
        let (attempts, resolver, pieces) = (Vec::with_capacity(flows.len()), Resolver::default(), Pieces::default());
        Self { wire, nodes, flows, options, places, stations, first, attempts, round: 0, resolver, pieces, stray: None }
    }

    /// Throws away what the taps saw since the last run; what they had no room for then does not matter.
    fn drain(&mut self) -> Result<(), ProbeError> {
        self.sweep()?;
        self.resolver = Resolver::default();
        drop(self.wire.missed()?);
        Ok(())
    }

    fn place(&self, tap: usize) -> Result<Place, ProbeError> {
        self.places.get(tap).cloned().ok_or(ProbeError::Wire(WireError::NoTap(tap)))
    }

    /// Puts a question for a link-layer address on the wire.
    pub(super) fn ask(&self, tap: usize, device: &DeviceName, ends: Ends) -> Result<(), ProbeError> {
        let mac = self.mac(tap, device)?;
        let body = Body::Ask(Neighbour { ends, mac });
        let frame = build(&Packet { source: mac, destination: asked_at(ends), body });
        Ok(self.wire.transmit(tap, device, &frame)?)
    }

    /// A request as its flow wants it: cut into pieces, where it may be, that the sender's link takes.
    fn shaped(
        &self,
        letter: &Letter,
        device: &DeviceName,
        frame: Vec<u8>,
    ) -> Result<Result<Vec<Vec<u8>>, Fault>, ProbeError> {
        let wanted = self.attempts.get(letter.attempt).filter(|attempt| attempt.size.is_some() || attempt.df);
        let its_own = |attempt: &&Attempt| {
            letter.leg == Leg::Request || (attempt.transfer.is_some() && letter.tap == attempt.sender)
        };
        match wanted.filter(its_own) {
            Some(attempt) => Ok(pieces::shaped(&frame, attempt, self.port(letter.tap, device)?.mtu)),
            None => Ok(Ok(vec![frame])),
        }
    }

    fn mac(&self, tap: usize, device: &DeviceName) -> Result<Mac, ProbeError> {
        self.port(tap, device).map(|port| port.mac)
    }

    pub(super) fn port(&self, tap: usize, device: &DeviceName) -> Result<&Port, ProbeError> {
        let port = self.stations.get(tap).copied().flatten().and_then(|node| node.port(device));
        match port {
            Some(port) => Ok(port),
            None => Err(WireError::NoDevice { place: self.place(tap)?, device: device.to_string() }.into()),
        }
    }

    /// Sends and sweeps until nothing new comes.
    fn settle(&mut self) -> Result<(), ProbeError> {
        for _ in 0..ROUNDS {
            let sent = self.flush()?;
            if self.sweep()? == 0 && sent == 0 {
                return Ok(());
            }
        }
        Err(ProbeError::NeverQuiet)
    }

    /// Sends what is queued, as many frames as fit a burst. Returns how many packets were looked at.
    fn flush(&mut self) -> Result<usize, ProbeError> {
        for count in 0..BURST {
            match self.resolver.step(self.wire)? {
                None => return Ok(count),
                Some(Step::Held) => {}
                Some(Step::Ask(tap, device, ends)) => self.ask(tap, &device, ends)?,
                Some(Step::Send(letter, device, mac)) => {
                    let body = Body::Datagram(letter.datagram.clone());
                    let frame = build(&Packet { source: self.mac(letter.tap, &device)?, destination: mac, body });
                    match self.shaped(&letter, &device, frame)? {
                        Ok(frames) => {
                            for frame in &frames {
                                self.wire.transmit(letter.tap, &device, frame)?;
                            }
                            self.note_sent(&letter, &device, frames.first());
                        }
                        Err(fault) => self.note_fault(&letter, fault),
                    }
                }
                Some(Step::Emit(letter)) => self.emit(&letter)?,
                Some(Step::Fault(letter, fault)) => self.note_fault(&letter, fault),
                Some(Step::Local(letter)) => self.refuse_local(&letter)?,
            }
        }
        Ok(BURST)
    }

    /// A packet that a node sends is not seen by its own tap, so its way begins here.
    fn note_sent(&mut self, letter: &Letter, device: &Rc<DeviceName>, sent: Option<&Vec<u8>>) {
        let Some(bytes) = sent else { return };
        let Some(attempt) = self.attempts.get_mut(letter.attempt) else { return };
        let way = match letter.leg {
            Leg::Request => &mut attempt.requests,
            Leg::Reply => &mut attempt.replies,
            Leg::Further => return,
        };
        way.extend(passage(&Frame { tap: letter.tap, device, outgoing: true, bytes }, &letter.datagram));
    }

    /// Only the request's failure is the attempt's; an answer that could not be sent is an answer that did not come.
    pub(super) fn note_fault(&mut self, letter: &Letter, fault: Fault) {
        if letter.leg == Leg::Request
            && let Some(attempt) = self.attempts.get_mut(letter.attempt)
        {
            attempt.fault = Some(fault);
        }
    }

    /// A request to the sender itself is a mistake of who asked for it. An answer to itself is what a missing source NAT
    /// causes; it does not come back by the wire.
    fn refuse_local(&self, letter: &Letter) -> Result<(), ProbeError> {
        let flow = self.attempts.get(letter.attempt).and_then(|attempt| self.flows.get(attempt.flow));
        match flow {
            Some(flow) if letter.leg == Leg::Request => {
                Err(ProbeError::ToItself { node: flow.from.clone(), to: flow.to })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Reads all taps once. Returns how many frames there were.
    fn sweep(&mut self) -> Result<usize, ProbeError> {
        let wire = self.wire;
        let count = wire.sweep(&mut |frame| self.see(frame))?;
        self.resolver.tell_kernels(wire)?;
        match self.stray.take() {
            Some((tap, token)) => Err(ProbeError::StrayToken { place: self.place(tap)?, token: token.number() }),
            None => Ok(count),
        }
    }

    /// Waits while attempts are open: until no kernel waits for a neighbour any more and nothing has moved for the quiet
    /// time, longer if a frame has left a place and not yet entered the next.
    fn wait(&mut self) -> Result<(), ProbeError> {
        let (mut for_neighbours, mut for_frames, mut heard) = (0, 0, 0);
        while self.resolver.holds() || self.open().any(|attempt| !attempt.is_settled()) {
            let pending = self.pending()?;
            if self.wire.idle(self.options.quiet)? {
                heard += 1;
                if heard > ROUNDS {
                    return Err(ProbeError::NeverQuiet);
                }
                self.settle()?;
            } else if let Some(place) = pending {
                for_neighbours += 1;
                if for_neighbours > self.options.neighbour_patience {
                    return Err(ProbeError::NeighbourPending(place));
                }
            } else {
                for_frames += 1;
                let between = self.open().any(Attempt::is_between_places);
                if !between || for_frames > self.options.patience {
                    break;
                }
            }
        }
        for letter in self.resolver.give_up() {
            self.note_fault(&letter, Fault::NoNeighbour);
        }
        Ok(())
    }

    /// The attempts of this round.
    fn open(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().skip(self.round)
    }

    /// A place whose kernel waits for a neighbour: of those that were seen to ask in vain, and of those that took an open
    /// attempt's packet in and said nothing yet. The latter may have asked before this run looked; what they hold for that
    /// neighbour ends without a word, and only asked again they are seen to ask.
    fn pending(&self) -> Result<Option<Place>, ProbeError> {
        let open = self.open().filter(|attempt| !attempt.is_settled()).filter_map(Attempt::last_request);
        let entered = open.filter(|passage| !passage.outgoing).map(|passage| passage.tap);
        let taps: BTreeSet<usize> = self.resolver.unanswered_taps().into_iter().chain(entered).collect();
        for tap in taps {
            if self.wire.neighbours_pending(tap)? {
                return Ok(Some(self.place(tap)?));
            }
        }
        Ok(None)
    }

    fn judge(&self) -> Judge<'_> {
        Judge { wire: self.wire, nodes: self.nodes, places: &self.places, resolver: &self.resolver }
    }

    /// Flows whose attempt ended in silence, or for want of a neighbour: a kernel asks once and gives up after 10 ms, which is
    /// less than a busy machine may take to answer. "Host unreachable" may be said of a neighbour that was asked for before this
    /// run looked. Any other ICMP error, or a reset, is evidence enough.
    fn inconclusive(&self) -> Result<Vec<usize>, ProbeError> {
        let mut flows = Vec::new();
        for attempt in self.open() {
            let Ruling { verdict, .. } = self.judge().ruling(attempt)?;
            let again = match verdict {
                Verdict::NoAnswer | Verdict::Dropped | Verdict::Lost | Verdict::NoNeighbour => true,
                Verdict::NoRoute => matches!(attempt.outcome, Some(Outcome::Refused(Refusal::HostUnreachable, _))),
                Verdict::Delivered | Verdict::Refused | Verdict::Prohibited | Verdict::TooBig(_) | Verdict::Expired => {
                    false
                }
            };
            if again {
                flows.push(attempt.flow);
            }
        }
        Ok(flows)
    }

    /// The reports; of two attempts at a flow the one that got an answer, else the later.
    fn conclude(self) -> Result<Run, ProbeError> {
        if let Some((place, count)) = self.wire.missed()?.into_iter().next() {
            return Err(ProbeError::Missed { place, count });
        }
        let mut best: Vec<Option<&Attempt>> = vec![None; self.flows.len()];
        for attempt in &self.attempts {
            if let Some(slot) = best.get_mut(attempt.flow)
                && slot.is_none_or(|earlier| rank(attempt) >= rank(earlier))
            {
                *slot = Some(attempt);
            }
        }
        let judge = self.judge();
        let decided = self.flows.iter().zip(best).filter_map(|(flow, attempt)| Some((flow, attempt?)));
        let reports = decided.map(|(flow, attempt)| judge.report(flow, attempt)).collect::<Result<_, _>>()?;
        let entered = self.attempts.iter().flat_map(Attempt::entered);
        Ok(Run {
            reports,
            tuples: self.attempts.iter().filter_map(Attempt::tuple).collect(),
            entered: entered.filter_map(|(tap, tuple)| Some((self.places.get(tap)?.clone(), tuple))).collect(),
            attempts: self.attempts.iter().map(|attempt| (attempt.token.number(), attempt.flow)).collect(),
        })
    }
}

/// How much an attempt tells.
fn rank(attempt: &Attempt) -> u8 {
    match attempt.outcome {
        Some(Outcome::Answered(..) | Outcome::Told(_)) => 2,
        // Host unreachable may have been said of a neighbour that answered the next time.
        Some(Outcome::Refused(Refusal::HostUnreachable, _)) | None => 0,
        Some(Outcome::Refused(..)) => 1,
    }
}
