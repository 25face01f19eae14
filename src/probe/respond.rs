//! What the two ends of a probe say: the request, and the harness's answers in a node's name.
//!
//! In: an attempt and a packet that reached one of its ends. Out: the packet that comes next. Never: an answer to ICMP echo,
//! which the kernel gives.

use std::borrow::Cow;

use pnet::packet::tcp::TcpFlags;

use super::build::{UDP_HEADER, V4_HEADER, V6_HEADER};
use super::frame::{Datagram, Ends, ICMP_HEADER, Segment};
use super::token::{REQUEST_LENGTH, Token};
use super::track::Attempt;
use super::transfer::Transfer;
use crate::flow::{Protocol, Seen};

/// Initial TTL of everything that a harness's end sends unless told otherwise; Linux's default.
pub(super) const TTL: u8 = 64;

/// The packet that an attempt begins with; nothing for ARP, which is no packet.
pub(super) fn request(attempt: &Attempt) -> Option<Datagram<'static>> {
    let token = attempt.token;
    let segment = match attempt.protocol {
        Protocol::Icmp => {
            // The token tells attempts apart; the number only makes the packets differ as `ping` makes them.
            Segment::Echo { reply: false, id: attempt.port, sequence: 1, payload: filled(attempt, ICMP_HEADER).into() }
        }
        Protocol::Udp(port) => {
            Segment::Udp { ports: (attempt.port, port), payload: filled(attempt, UDP_HEADER).into() }
        }
        Protocol::Tcp(port) => tcp((attempt.port, port), token.client_number(), 0, TcpFlags::SYN, Vec::new()),
        Protocol::Arp => return None,
    };
    Some(Datagram { ends: attempt.ends, ttl: attempt.ttl, segment })
}

/// A request's payload, as long as the packet is to be.
fn filled(attempt: &Attempt, header: usize) -> Vec<u8> {
    let mut payload = attempt.token.request();
    let headers = header
        + match attempt.ends {
            Ends::V4(..) => V4_HEADER,
            Ends::V6(..) => V6_HEADER,
        };
    let length = attempt.size.map_or(0, |size| usize::from(size).saturating_sub(headers));
    payload.resize(length.max(payload.len()), 0);
    payload
}

/// A UDP responder's answer.
pub(super) fn udp_answer(token: Token, ends: Ends, ports: (u16, u16), seen: &Seen) -> Datagram<'static> {
    let payload = Cow::Owned(token.answer(seen));
    Datagram { ends: ends.reversed(), ttl: TTL, segment: Segment::Udp { ports: (ports.1, ports.0), payload } }
}

/// A TCP responder's answer to a SYN.
pub(super) fn accept(token: Token, ends: Ends, ports: (u16, u16)) -> Datagram<'static> {
    let flags = TcpFlags::SYN | TcpFlags::ACK;
    let segment = tcp((ports.1, ports.0), token.server_number(), token.client_number() + 1, flags, Vec::new());
    Datagram { ends: ends.reversed(), ttl: TTL, segment }
}

/// The sender's third segment: it completes the handshake and carries the payload.
pub(super) fn speak(attempt: &Attempt, ports: (u16, u16)) -> Datagram<'static> {
    let token = attempt.token;
    let flags = TcpFlags::PSH | TcpFlags::ACK;
    let segment = tcp(ports, token.client_number() + 1, token.server_number() + 1, flags, token.request());
    Datagram { ends: attempt.ends, ttl: attempt.ttl, segment }
}

/// A TCP responder's answer to the payload.
pub(super) fn tcp_answer(token: Token, ends: Ends, ports: (u16, u16), seen: &Seen) -> Datagram<'static> {
    let flags = TcpFlags::PSH | TcpFlags::ACK;
    let numbers = (token.server_number() + 1, token.client_number() + 1 + REQUEST_LENGTH);
    say(ends.reversed(), (ports.1, ports.0), numbers, flags, token.answer(seen))
}

/// A segment within a connection; `numbers` are those of sequence and acknowledgement.
pub(super) fn say(
    ends: Ends,
    ports: (u16, u16),
    numbers: (u32, u32),
    flags: u8,
    payload: Vec<u8>,
) -> Datagram<'static> {
    Datagram { ends, ttl: TTL, segment: tcp(ports, numbers.0, numbers.1, flags, payload) }
}

/// The sender's reset, which ends the connection wherever it is tracked. `end` is the sequence number after the answer.
pub(super) fn hang_up(attempt: &Attempt, ports: (u16, u16), end: u32) -> Datagram<'static> {
    let sent = attempt.transfer.as_ref().map_or(REQUEST_LENGTH, Transfer::length);
    let number = attempt.token.client_number().wrapping_add(1).wrapping_add(sent);
    let segment = tcp(ports, number, end, TcpFlags::RST | TcpFlags::ACK, Vec::new());
    Datagram { ends: attempt.ends, ttl: attempt.ttl, segment }
}

fn tcp(ports: (u16, u16), sequence: u32, acknowledgement: u32, flags: u8, payload: Vec<u8>) -> Segment<'static> {
    Segment::Tcp { ports, sequence, acknowledgement, flags, payload: payload.into() }
}
