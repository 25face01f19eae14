//! One end of a TCP connection, as far as a flow needs it: numbers that fit, and an end that a reset is.
//!
//! What is not acknowledged is sent again under the same numbers, with the newest packet's mark in it: to whoever tracks the
//! connection it is a retransmission.

use pnet::packet::tcp::TcpFlags;

use super::super::frame::Segment;
use super::mark::Mark;
use crate::packet::Numbers;

/// Sequence numbers begin high above those of probes; that many apart, so that a segment without payload tells whose it is.
const FIRST: u32 = 0x4000_0000;
/// Bits of a flow's number that its sequence numbers carry, above [`APART`] bits of their own.
const SERIAL: u32 = 0x1fff;
const APART: u32 = 17;
/// How far above the sender's numbers the far end's begin.
const SERVER: u32 = 1 << 16;

/// How far a connection is at one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The sender asks for it; the far end has answered that.
    Opening,
    /// Data may go.
    Open,
    /// A reset came.
    Reset,
}

/// One end.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    state: State,
    /// The first number that the other end has not acknowledged.
    next: u32,
    /// The number expected from the other end.
    expected: u32,
}

/// What of a segment counts here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
    pub length: u32,
}

impl Connection {
    /// The first number of a flow's sender.
    pub(super) fn initial(course: u32) -> u32 {
        FIRST + ((course & SERIAL) << APART)
    }

    /// The sender's end.
    pub(super) fn client(course: u32) -> Self {
        Self { state: State::Opening, next: Self::initial(course), expected: 0 }
    }

    /// The far end, when the sender asks.
    pub(super) fn server(course: u32, syn: Header) -> Self {
        let next = Self::initial(course).wrapping_add(SERVER);
        Self { state: State::Opening, next, expected: syn.sequence.wrapping_add(1) }
    }

    /// What the sender sends this round; nothing after a reset.
    pub(super) fn speak(&self, ports: (u16, u16), mark: Mark) -> Option<Segment<'static>> {
        match self.state {
            State::Opening => Some(segment(ports, self.next, 0, TcpFlags::SYN, Vec::new())),
            State::Open => Some(self.data(ports, mark)),
            State::Reset => None,
        }
    }

    /// What the far end sends unasked.
    pub(super) fn push(&self, ports: (u16, u16), mark: Mark) -> Option<Segment<'static>> {
        (self.state == State::Open).then(|| self.data(ports, mark))
    }

    /// Data with that mark.
    pub(super) fn data(&self, ports: (u16, u16), mark: Mark) -> Segment<'static> {
        segment(ports, self.next, self.expected, TcpFlags::PSH | TcpFlags::ACK, mark.payload())
    }

    /// The far end's answer to the request for a connection.
    pub(super) fn accept(&self, ports: (u16, u16)) -> Segment<'static> {
        segment(ports, self.next, self.expected, TcpFlags::SYN | TcpFlags::ACK, Vec::new())
    }

    /// The far end has accepted; whether that is news.
    pub(super) fn accepted(&mut self, header: Header) -> bool {
        let news = self.state == State::Opening && header.acknowledgement == self.next.wrapping_add(1);
        if news {
            self.state = State::Open;
            self.next = header.acknowledgement;
            self.expected = header.sequence.wrapping_add(1);
        }
        news
    }

    /// Data has come. Whether this end is open to it.
    pub(super) fn take(&mut self, header: Header) -> bool {
        if self.state == State::Reset {
            return false;
        }
        self.state = State::Open;
        // Of wrapping numbers the later one.
        if header.acknowledgement.wrapping_sub(self.next) < SERVER {
            self.next = header.acknowledgement;
        }
        if header.sequence == self.expected {
            self.expected = self.expected.wrapping_add(header.length);
        }
        true
    }

    /// A reset has come. It counts if it has the very number that is expected, or answers the request for a connection
    /// (RFC 5961, section 3.2; RFC 9293, section 3.10.7.3).
    pub(super) fn reset(&mut self, header: Header) -> bool {
        let counts = match self.state {
            State::Opening => header.sequence == self.expected || header.acknowledgement == self.next.wrapping_add(1),
            State::Open => header.sequence == self.expected,
            State::Reset => false,
        };
        if counts {
            self.state = State::Reset;
        }
        counts
    }

    /// The numbers of what this end would send next to `other`, if both may send. What is under way has been taken by then, so
    /// each end goes on where the other one waits.
    pub(super) fn numbers_to(&self, other: &Self) -> Option<Numbers> {
        let open = self.state == State::Open && other.state == State::Open;
        open.then_some(Numbers { sequence: other.expected, acknowledgement: self.expected })
    }
}

/// What a kernel says to a segment of a connection that it does not have.
pub(super) fn refusal(ports: (u16, u16), header: Header) -> Segment<'static> {
    segment((ports.1, ports.0), header.acknowledgement, 0, TcpFlags::RST, Vec::new())
}

fn segment(ports: (u16, u16), sequence: u32, acknowledgement: u32, flags: u8, payload: Vec<u8>) -> Segment<'static> {
    Segment::Tcp { ports, sequence, acknowledgement, flags, payload: payload.into() }
}
