//! How a packet gets from a node onto the link: by that node's own routing, to the MAC that its next hop tells when asked.
//!
//! In: packets to send, neighbour questions and answers that taps saw. Out: packets with device and MAC, questions to put on
//! the wire, and who was asked for in vain. Never: an answer that nobody gave on the wire.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;

use super::frame::{Datagram, Ends, Neighbour};
use super::track::Fault;
use super::wire::{Lookup, RouteAnswer, Wire, WireError};
use crate::name::DeviceName;
use crate::net::Mac;

/// A packet that a node is to send.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    /// The node's tap.
    pub tap: usize,
    /// Position of the attempt that it is part of.
    pub attempt: usize,
    /// Which part.
    pub leg: Leg,
    /// The packet.
    pub datagram: Datagram<'static>,
}

/// Which part of an attempt a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leg {
    /// The request whose way counts.
    Request,
    /// The answer whose way counts.
    Reply,
    /// What follows in a TCP conversation.
    Further,
}

/// What to do with a letter.
#[derive(Debug)]
pub(super) enum Step {
    /// Send it.
    Send(Letter, Rc<DeviceName>, Mac),
    /// Ask for its next hop; it is held until then.
    Ask(usize, Rc<DeviceName>, Ends),
    /// It is held: its next hop has been asked for.
    Held,
    /// The kernel there is to send it.
    Emit(Letter),
    /// It cannot be sent.
    Fault(Letter, Fault),
    /// It is for the sender itself, where no wire is.
    Local(Letter),
}

#[derive(Debug, Clone, Copy)]
enum Known {
    Asked,
    At(Mac),
}

/// A next hop of a node: tap, device, address.
type NextHop = (usize, Rc<DeviceName>, IpAddr);

/// Routes, neighbours and packets that wait, for one run.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    queue: VecDeque<Letter>,
    /// Taps whose kernels send for themselves.
    by_kernel: BTreeSet<usize>,
    held: Vec<(NextHop, Letter)>,
    routes: BTreeMap<(usize, IpAddr, IpAddr), RouteAnswer>,
    neighbours: BTreeMap<NextHop, Known>,
    /// What kernels asked for, and whether they were told.
    asked: BTreeMap<(usize, IpAddr), bool>,
    /// Which tap saw an answer leave: wanted, asker, MAC.
    tellers: BTreeMap<(IpAddr, IpAddr, Mac), usize>,
    /// Next hops that have answered, of which the kernels were not told yet.
    news: Vec<(NextHop, Mac)>,
}

impl Resolver {
    /// Puts a packet into the queue.
    pub(super) fn post(&mut self, letter: Letter) {
        self.queue.push_back(letter);
    }

    /// What is sent from this tap its kernel sends, by its own routing and neighbours.
    pub(super) fn leave_to_kernel(&mut self, tap: usize) {
        self.by_kernel.insert(tap);
    }

    /// Takes the next packet from the queue and says what to do with it.
    pub(super) fn step(&mut self, wire: &dyn Wire) -> Result<Option<Step>, WireError> {
        let Some(letter) = self.queue.pop_front() else { return Ok(None) };
        if self.by_kernel.contains(&letter.tap) {
            return Ok(Some(Step::Emit(letter)));
        }
        let ends = letter.datagram.ends;
        let (device, next_hop) = match self.route(wire, letter.tap, ends)? {
            RouteAnswer::Via { device, next_hop } => (device, next_hop),
            RouteAnswer::Local => return Ok(Some(Step::Local(letter))),
            RouteAnswer::Unreachable => return Ok(Some(Step::Fault(letter, Fault::NoRoute))),
            RouteAnswer::Prohibited => return Ok(Some(Step::Fault(letter, Fault::Prohibited))),
            RouteAnswer::Blackhole => return Ok(Some(Step::Fault(letter, Fault::Blackhole))),
        };
        let tap = letter.tap;
        let key = (tap, Rc::clone(&device), next_hop);
        let known = self.neighbours.get(&key).copied();
        // As kernels do, the question comes from the packet's own source address.
        let question = Ends::new(ends.source(), next_hop);
        Ok(Some(match (known, question) {
            (Some(Known::At(mac)), _) => Step::Send(letter, device, mac),
            (Some(Known::Asked), _) => {
                self.held.push((key, letter));
                Step::Held
            }
            (None, Some(_)) if let Some(mac) = wire.pinned(tap, &device, next_hop)? => {
                self.neighbours.insert(key, Known::At(mac));
                Step::Send(letter, device, mac)
            }
            (None, Some(question)) => {
                self.neighbours.insert(key.clone(), Known::Asked);
                self.held.push((key, letter));
                Step::Ask(tap, device, question)
            }
            (None, None) => Step::Fault(letter, Fault::NoRoute),
        }))
    }

    fn route(&mut self, wire: &dyn Wire, tap: usize, ends: Ends) -> Result<RouteAnswer, WireError> {
        let (source, destination) = (ends.source(), ends.destination());
        if let Some(known) = self.routes.get(&(tap, source, destination)) {
            return Ok(known.clone());
        }
        let answer = wire.route(tap, Lookup { source, destination, input: None })?;
        self.routes.insert((tap, source, destination), answer.clone());
        Ok(answer)
    }

    /// Notes a question that a tap saw leave: a kernel's, since what the harness sends is not seen where it is sent.
    pub(super) fn kernel_asked(&mut self, tap: usize, question: &Neighbour) {
        self.asked.entry((tap, question.wanted())).or_insert(false);
    }

    /// Notes an answer that a tap saw leave.
    pub(super) fn told_by(&mut self, tap: usize, answer: &Neighbour) {
        self.tellers.entry((answer.wanted(), answer.asker(), answer.mac)).or_insert(tap);
    }

    /// Takes an answer that came in, and lets the packets go that waited for it.
    pub(super) fn told(&mut self, tap: usize, device: &Rc<DeviceName>, answer: &Neighbour) {
        if let Some(told) = self.asked.get_mut(&(tap, answer.wanted())) {
            *told = true;
        }
        let key = (tap, Rc::clone(device), answer.wanted());
        let Some(known) = self.neighbours.get_mut(&key) else { return };
        if !matches!(known, Known::At(mac) if *mac == answer.mac) {
            self.news.push((key.clone(), answer.mac));
        }
        *known = Known::At(answer.mac);
        for (next_hop, letter) in std::mem::take(&mut self.held) {
            if next_hop == key {
                self.queue.push_back(letter);
            } else {
                self.held.push((next_hop, letter));
            }
        }
    }

    /// Tells kernels what was answered to questions in their names: who has asked knows.
    pub(super) fn tell_kernels(&mut self, wire: &dyn Wire) -> Result<(), WireError> {
        std::mem::take(&mut self.news)
            .into_iter()
            .try_for_each(|((tap, device, address), mac)| wire.learn(tap, &device, address, mac))
    }

    /// Forgets the questions that nobody answered, and gives back what waited for them. They may be asked again.
    pub(super) fn give_up(&mut self) -> Vec<Letter> {
        self.neighbours.retain(|_, known| matches!(known, Known::At(_)));
        std::mem::take(&mut self.held).into_iter().map(|(_, letter)| letter).collect()
    }

    /// Whether packets wait for an answer.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Taps whose kernels asked in vain.
    pub(super) fn unanswered_taps(&self) -> Vec<usize> {
        let mut taps: Vec<usize> = self.asked.iter().filter(|(_, told)| !**told).map(|((tap, _), _)| *tap).collect();
        taps.dedup();
        taps
    }

    /// Whether the kernel of a tap asked for this address in vain.
    pub(super) fn is_unanswered(&self, tap: usize, wanted: IpAddr) -> bool {
        self.asked.get(&(tap, wanted)) == Some(&false)
    }

    /// Which tap saw this answer leave.
    pub(super) fn teller(&self, wanted: IpAddr, asker: IpAddr, mac: Mac) -> Option<usize> {
        self.tellers.get(&(wanted, asker, mac)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_told_did_not_ask_in_vain() {
        let device = Rc::new(DeviceName::new("qg-r1").unwrap());
        let ends = Ends::V4([203, 0, 113, 10].into(), [203, 0, 113, 2].into());
        let neighbour = Neighbour { ends, mac: Mac::ZERO };
        let mut resolver = Resolver::default();
        resolver.kernel_asked(3, &neighbour);
        assert!(resolver.is_unanswered(3, neighbour.wanted()) && resolver.unanswered_taps() == [3]);
        resolver.told(4, &device, &neighbour);
        assert!(resolver.is_unanswered(3, neighbour.wanted()), "another was told");
        resolver.told(3, &device, &neighbour);
        assert!(!resolver.is_unanswered(3, neighbour.wanted()) && resolver.unanswered_taps().is_empty());
        resolver.kernel_asked(3, &neighbour);
        assert!(resolver.unanswered_taps().is_empty(), "it knows already, and only makes sure");
    }
}
