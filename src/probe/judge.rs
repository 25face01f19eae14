//! From what was seen of an attempt to what became of it.
//!
//! In: an attempt whose run is over, and who was asked for in vain. Out: verdict and report. Never: a guess; each verdict
//! names what was seen.

use std::net::IpAddr;

use super::frame::Refusal;
use super::nodes::Nodes;
use super::resolve::Resolver;
use super::track::{Attempt, Fault, Outcome, Passage};
use super::wire::{Lookup, RouteAnswer, Wire, WireError};
use crate::flow::{Flow, Place, ProbeReport, Protocol, Seen, Verdict};
use crate::net::Mac;

/// What the evidence is read against.
pub(super) struct Judge<'a> {
    pub wire: &'a dyn Wire,
    pub nodes: &'a Nodes,
    pub places: &'a [Place],
    pub resolver: &'a Resolver,
}

/// A verdict with its witnesses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ruling {
    pub verdict: Verdict,
    /// The address that said no.
    pub by: Option<IpAddr>,
    /// The tap that saw the request last, if it did not arrive.
    pub at: Option<usize>,
}

impl Judge<'_> {
    /// What became of an attempt, as far as it has come.
    pub(super) fn ruling(&self, attempt: &Attempt) -> Result<Ruling, WireError> {
        let last = attempt.last_request();
        let at = last.map(|passage| passage.tap);
        let silent = |verdict| Ruling { verdict, by: None, at };
        let at_sender = |verdict| Ruling { verdict, by: None, at: Some(attempt.sender) };
        match (&attempt.outcome, attempt.fault) {
            (Some(Outcome::Answered(..) | Outcome::Told(_)), _) => {
                return Ok(Ruling { verdict: Verdict::Delivered, by: None, at: None });
            }
            (Some(Outcome::Refused(refusal, by)), _) => {
                let unreachable = *refusal == Refusal::HostUnreachable;
                return Ok(match last {
                    Some(passage) if unreachable && self.lacks_neighbour(passage, true)? => {
                        silent(Verdict::NoNeighbour)
                    }
                    Some(_) | None => Ruling { verdict: said(*refusal), by: Some(*by), at },
                });
            }
            (None, Some(Fault::NoRoute)) => return Ok(at_sender(Verdict::NoRoute)),
            (None, Some(Fault::Prohibited)) => return Ok(at_sender(Verdict::Prohibited)),
            (None, Some(Fault::Blackhole)) => return Ok(at_sender(Verdict::Dropped)),
            (None, Some(Fault::NoNeighbour)) => return Ok(at_sender(Verdict::NoNeighbour)),
            (None, Some(Fault::TooBig(mtu))) => return Ok(at_sender(Verdict::TooBig(mtu))),
            (None, None) => {}
        }
        if attempt.protocol == Protocol::Arp {
            return Ok(at_sender(Verdict::NoNeighbour));
        }
        if attempt.arrived.is_some() || !attempt.replies.is_empty() {
            return Ok(Ruling { verdict: Verdict::NoAnswer, by: None, at: None });
        }
        let by_kernel = self.places.get(attempt.sender).is_some_and(|place| place.host.is_some());
        let Some(passage) = last else {
            // What a namespace's own kernel was given and did not send is held for a neighbour, or a rule took it.
            let asked = self.resolver.unanswered_taps().contains(&attempt.sender);
            return Ok(match (by_kernel, asked) {
                (true, true) => at_sender(Verdict::NoNeighbour),
                (true, false) => at_sender(Verdict::Dropped),
                (false, _) => silent(Verdict::Lost),
            });
        };
        let none = if passage.outgoing { self.is_nobodys(passage.to) } else { self.lacks_neighbour(passage, false)? };
        if none {
            return Ok(silent(Verdict::NoNeighbour));
        }
        match self.unspoken(passage)? {
            Some(verdict) => {
                let by = self.wire.speaker(passage.tap, passage.ends.source())?;
                Ok(Ruling { verdict, by, at })
            }
            None => Ok(silent(Verdict::Dropped)),
        }
    }

    /// What the kernel would say of a packet that entered there and did not leave, if its routing has no way for it. It does
    /// say so in an ICMP error, but to one sender only five times at once and then once a second (`ip_rt_error_burst`,
    /// which no namespace can change): so its routing is asked.
    fn unspoken(&self, passage: &Passage) -> Result<Option<Verdict>, WireError> {
        // What comes in from outside may be translated before it is routed; its own destination proves nothing there.
        let translates = ["rfp-", "qg-"].iter().any(|prefix| passage.device.as_str().starts_with(prefix));
        if passage.outgoing || translates {
            return Ok(None);
        }
        let (source, destination) = (passage.ends.source(), passage.ends.destination());
        let lookup = Lookup { source, destination, input: Some(&passage.device) };
        Ok(match self.wire.route(passage.tap, lookup)? {
            RouteAnswer::Unreachable => Some(Verdict::NoRoute),
            RouteAnswer::Prohibited => Some(Verdict::Prohibited),
            RouteAnswer::Via { .. } | RouteAnswer::Local | RouteAnswer::Blackhole => None,
        })
    }

    /// Whether what was sent to this MAC was sent by a neighbour entry that has outlived its neighbour, or never had one. A MAC
    /// that is somewhere still may be cut off, which is another matter.
    fn is_nobodys(&self, mac: Mac) -> bool {
        !mac.is_group() && self.nodes.owner(mac).is_none()
    }

    /// Whether a packet that entered there and did not leave waited for a next hop that was asked for in vain. A kernel that
    /// says "host unreachable" (`told`) says it of such a next hop and of a route that leads nowhere; asking for the route
    /// again does not always lead where the packet went (its mark and its translated destination are not known), so what
    /// the kernel said decides unless there is such a route.
    fn lacks_neighbour(&self, passage: &Passage, told: bool) -> Result<bool, WireError> {
        let (source, destination) = (passage.ends.source(), passage.ends.destination());
        if self.resolver.is_unanswered(passage.tap, destination) {
            return Ok(true);
        }
        if passage.outgoing || !self.resolver.unanswered_taps().contains(&passage.tap) {
            return Ok(false);
        }
        let lookup = Lookup { source, destination, input: Some(&passage.device) };
        Ok(match self.wire.route(passage.tap, lookup)? {
            RouteAnswer::Via { next_hop, .. } => told || self.resolver.is_unanswered(passage.tap, next_hop),
            RouteAnswer::Unreachable => false,
            RouteAnswer::Local | RouteAnswer::Prohibited | RouteAnswer::Blackhole => told,
        })
    }

    /// The report of a flow from the attempt that counts.
    pub(super) fn report(&self, flow: &Flow, attempt: &Attempt) -> Result<ProbeReport, WireError> {
        let Ruling { verdict, by, at } = self.ruling(attempt)?;
        let reply_ttl = match attempt.outcome {
            Some(Outcome::Answered(_, ttl)) => Some(ttl),
            Some(Outcome::Told(_) | Outcome::Refused(..)) | None => None,
        };
        Ok(ProbeReport {
            flow: flow.clone(),
            seen: self.seen(attempt, &verdict),
            verdict,
            by,
            at: at.and_then(|tap| self.places.get(tap).cloned()),
            path: attempt.path(self.places),
            reply_path: attempt.reply_path(self.places),
            reply_ttl,
        })
    }

    /// What the far end saw: what it stated, else what came to it.
    fn seen(&self, attempt: &Attempt, verdict: &Verdict) -> Option<Seen> {
        match &attempt.outcome {
            Some(Outcome::Answered(Some(stated), _)) => Some(stated.clone()),
            Some(Outcome::Told(mac)) => Some(self.told(attempt, *mac)),
            Some(Outcome::Answered(None, _) | Outcome::Refused(..)) | None => {
                let ended = matches!(verdict, Verdict::Delivered | Verdict::NoAnswer);
                let at_the_end = || attempt.last_request().filter(|passage| ended && !passage.outgoing);
                attempt.arrived.clone().or_else(|| at_the_end().and_then(|passage| self.seen_by_tap(passage)))
            }
        }
    }

    /// A kernel that answers states nothing; who it is, is where the request ended.
    fn seen_by_tap(&self, passage: &Passage) -> Option<Seen> {
        Some(Seen {
            responder: self.places.get(passage.tap)?.clone(),
            source: passage.ends.source(),
            source_port: Some(passage.port),
            ttl: passage.ttl,
            mac: None,
        })
    }

    /// Who told a MAC: where a tap saw it told, else who owns it (a bridge may answer for others), else the MAC itself.
    fn told(&self, attempt: &Attempt, mac: Mac) -> Seen {
        let (asker, wanted) = (attempt.ends.source(), attempt.ends.destination());
        let tap = self.resolver.teller(wanted, asker, mac);
        let place = tap.and_then(|tap| self.places.get(tap)).or_else(|| self.nodes.owner(mac));
        let responder = place.cloned().unwrap_or_else(|| Place { host: None, name: mac.to_string() });
        // ARP has no TTL.
        Seen { responder, source: asker, source_port: None, ttl: 0, mac: Some(mac) }
    }
}

fn said(refusal: Refusal) -> Verdict {
    match refusal {
        Refusal::NoRoute | Refusal::HostUnreachable => Verdict::NoRoute,
        Refusal::Refused => Verdict::Refused,
        Refusal::Prohibited => Verdict::Prohibited,
        Refusal::TooBig(mtu) => Verdict::TooBig(mtu),
        Refusal::Expired => Verdict::Expired,
    }
}
