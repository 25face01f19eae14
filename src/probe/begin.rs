//! How an attempt at a flow begins: by a node's packet socket, or by the kernel of a namespace of routers.
//!
//! In: a flow's position. Out: an attempt, and its packet in the queue. Never: a frame for what is routed nowhere.

use super::build::build;
use super::engine::{Engine, ProbeError};
use super::frame::{Body, Ends, Packet};
use super::resolve::{Leg, Letter};
use super::respond::{TTL, request};
use super::token::Counters;
use super::track::{Attempt, Fault};
use super::transfer::Transfer;
use super::wire::{Lookup, RouteAnswer};
use crate::flow::{Flow, Protocol};
use crate::net::{Family, Mac};

/// In bytes.
const ETHERNET_HEADER: usize = 14;

impl Engine<'_> {
    /// Makes an attempt for a flow and queues its packet, or asks its question.
    pub(super) fn begin(&mut self, index: usize, counters: &mut Counters) -> Result<(), ProbeError> {
        let Some(flow) = self.flows.get(index) else { return Ok(()) };
        let tap = self.places.iter().position(|place| *place == flow.from);
        let tap = tap.ok_or_else(|| ProbeError::NoTap(flow.from.clone()))?;
        let Some(node) = self.nodes.at(&flow.from) else { return self.begin_by_kernel(index, tap, counters) };
        let no_address = || ProbeError::NoAddress { node: flow.from.clone(), to: flow.to };
        let link = node.link_to(flow.to);
        let usual = match flow.protocol {
            Protocol::Arp => link.map(|(_, address)| address),
            Protocol::Icmp | Protocol::Tcp(_) | Protocol::Udp(_) => node.first_address(Family::of(flow.to)),
        };
        let from = flow.source.or(usual).ok_or_else(no_address)?;
        if !node.owns(from) {
            return Err(ProbeError::ForeignSource { node: flow.from.clone(), source_address: from });
        }
        let ends = Ends::new(from, flow.to).ok_or(ProbeError::MixedFamilies { from, to: flow.to })?;
        let attempt = attempt(flow, (index, tap), ends, counters);
        if let Some(datagram) = request(&attempt) {
            self.resolver.post(Letter { tap, attempt: self.attempts.len(), leg: Leg::Request, datagram });
        } else {
            let (port, _) = link.ok_or_else(no_address)?;
            self.ask(tap, &port.device, ends)?;
        }
        self.attempts.push(attempt);
        Ok(())
    }

    /// As [`Engine::begin`] for a namespace of routers: its own kernel sends the packet, so that its rules see it.
    fn begin_by_kernel(&mut self, index: usize, tap: usize, counters: &mut Counters) -> Result<(), ProbeError> {
        let Some(flow) = self.flows.get(index) else { return Ok(()) };
        let speaker = match flow.source {
            Some(source) => Some(source),
            None => self.wire.speaker(tap, flow.to)?,
        };
        let nowhere = Family::of(flow.to).any().addr();
        let ends = Ends::new(speaker.unwrap_or(nowhere), flow.to);
        let ends = ends.ok_or(ProbeError::MixedFamilies { from: speaker.unwrap_or(nowhere), to: flow.to })?;
        let mut attempt = attempt(flow, (index, tap), ends, counters);
        let lookup = Lookup { source: ends.source(), destination: flow.to, input: None };
        attempt.fault = match (speaker, self.wire.route(tap, lookup)?) {
            (None, _) | (_, RouteAnswer::Unreachable) => Some(Fault::NoRoute),
            (_, RouteAnswer::Prohibited) => Some(Fault::Prohibited),
            (_, RouteAnswer::Blackhole) => Some(Fault::Blackhole),
            (_, RouteAnswer::Local) => return Err(ProbeError::ToItself { node: flow.from.clone(), to: flow.to }),
            (_, RouteAnswer::Via { .. }) => None,
        };
        self.resolver.leave_to_kernel(tap);
        if let Some(datagram) = request(&attempt).filter(|_| attempt.fault.is_none()) {
            self.resolver.post(Letter { tap, attempt: self.attempts.len(), leg: Leg::Request, datagram });
        }
        self.attempts.push(attempt);
        Ok(())
    }

    /// Has a namespace's kernel send a packet. A rule may discard it there and then.
    pub(super) fn emit(&mut self, letter: &Letter) -> Result<(), ProbeError> {
        let body = Body::Datagram(letter.datagram.clone());
        let frame = build(&Packet { source: Mac::ZERO, destination: Mac::ZERO, body });
        let packet = frame.get(ETHERNET_HEADER..).unwrap_or_default();
        if !self.wire.emit(letter.tap, letter.datagram.ends.destination(), packet)? {
            self.note_fault(letter, Fault::Blackhole);
        }
        Ok(())
    }
}

/// An attempt at a flow, given with its position, from a tap.
fn attempt(flow: &Flow, (index, tap): (usize, usize), ends: Ends, counters: &mut Counters) -> Attempt {
    let port = flow.options.source_port.unwrap_or_else(|| match flow.protocol {
        Protocol::Icmp => counters.echo_id(),
        Protocol::Tcp(_) => counters.tcp_port(),
        Protocol::Udp(_) => counters.udp_port(),
        Protocol::Arp => 0,
    });
    Attempt {
        ttl: flow.options.ttl.unwrap_or(TTL),
        size: flow.options.size,
        df: flow.options.df || flow.options.bytes.is_some(),
        transfer: flow.options.bytes.map(Transfer::new),
        ..Attempt::new(index, counters.token(), flow.protocol, tap, ends, port)
    }
}
