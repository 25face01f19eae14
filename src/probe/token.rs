//! What marks a frame as part of a probe, and the numbers that a lab never gives twice.
//!
//! In: numbers so far. Out: tokens, ports and echo ids; payloads with a token; from a segment, whose it is. Never: chance.

use pnet::packet::tcp::TcpFlags;

use super::frame::Segment;
use crate::flow::{Place, Protocol, Seen};

/// The first source port that probes use. Nodes hide the range from their own kernels.
const FIRST_PORT: u16 = 20_000;
/// The last one.
const LAST_PORT: u16 = 29_999;
/// What every probe's payload begins with.
const MAGIC: [u8; 6] = *b"dvrlab";
/// Bytes of a request's payload: the magic, the part, the token.
pub(super) const REQUEST_LENGTH: u32 = 11;
/// Sequence numbers of a token's TCP probe: the client's first, and how far above it the server's begin.
const SERVER_OFFSET: u32 = 0x80;

/// The identity of one attempt to get a packet through. Below 2^24, so that sequence numbers can carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token(u32);

/// What a lab has given out. One for the life of a lab: no tuple comes twice until the range has been gone through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    tokens: u32,
    tcp: u16,
    udp: u16,
    echo: u16,
}

impl Counters {
    /// The token that comes next.
    pub(super) fn upcoming(&self) -> Token {
        Token(self.tokens + 1)
    }

    pub(super) fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    /// A source port or echo id that no probe and no flow of the lab has.
    pub fn free(&mut self, protocol: Protocol) -> u16 {
        match protocol {
            Protocol::Tcp(_) => self.tcp_port(),
            Protocol::Udp(_) => self.udp_port(),
            Protocol::Icmp | Protocol::Arp => self.echo_id(),
        }
    }

    pub(super) fn tcp_port(&mut self) -> u16 {
        next_port(&mut self.tcp)
    }

    pub(super) fn udp_port(&mut self) -> u16 {
        next_port(&mut self.udp)
    }

    pub(super) fn echo_id(&mut self) -> u16 {
        next_port(&mut self.echo)
    }
}

fn next_port(given: &mut u16) -> u16 {
    let port = FIRST_PORT + *given;
    *given = if port == LAST_PORT { 0 } else { *given + 1 };
    port
}

/// Which way a frame of a probe goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// From the sender to the target.
    Request,
    /// Back.
    Answer,
}

/// Whose a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The attempt.
    pub token: Token,
    /// The way.
    pub part: Part,
    /// It stands in the payload. Else it is read from sequence numbers, where a stranger's may look the same.
    pub firm: bool,
}

impl Token {
    /// How many tokens after `first` this one came; nothing if before.
    pub(super) fn since(self, first: Self) -> Option<usize> {
        self.0.checked_sub(first.0).and_then(|distance| usize::try_from(distance).ok())
    }

    /// The token that many attempts later; none when the numbers are used up.
    pub(super) fn later(self, attempts: usize) -> Option<Self> {
        u32::try_from(attempts).ok().and_then(|attempts| self.0.checked_add(attempts)).map(Self)
    }

    /// What every answer to it begins with.
    pub(super) fn answer_start(self) -> Vec<u8> {
        self.payload(b'a', "")
    }

    /// The number.
    pub(super) fn number(self) -> u32 {
        self.0
    }

    /// What the sender puts into a packet.
    pub(super) fn request(self) -> Vec<u8> {
        self.payload(b'q', "")
    }

    /// What the responder answers: who it is and what it saw.
    pub(super) fn answer(self, seen: &Seen) -> Vec<u8> {
        let port = seen.source_port.unwrap_or_default();
        self.payload(b'a', &format!("{} {} {port} {}", seen.responder, seen.source, seen.ttl))
    }

    fn payload(self, part: u8, text: &str) -> Vec<u8> {
        MAGIC.into_iter().chain([part]).chain(self.0.to_be_bytes()).chain(text.bytes()).collect()
    }

    /// The client's initial sequence number.
    pub(super) fn client_number(self) -> u32 {
        self.0 << 8
    }

    /// The server's initial sequence number.
    pub(super) fn server_number(self) -> u32 {
        (self.0 << 8) + SERVER_OFFSET
    }
}

/// Whose a segment is; nothing if no probe's. An ICMP error is not asked: what it quotes is.
pub(super) fn mark(segment: &Segment<'_>) -> Option<Mark> {
    match segment {
        Segment::Echo { reply, payload, .. } => {
            let part = if *reply { Part::Answer } else { Part::Request };
            read(payload).map(|(mark, _)| Mark { part, ..mark })
        }
        Segment::Udp { payload, .. } => read(payload).map(|(mark, _)| mark),
        Segment::Tcp { payload, .. } if !payload.is_empty() => read(payload).map(|(mark, _)| mark),
        Segment::Tcp { sequence, acknowledgement, flags, .. } => {
            // A kernel that refuses a SYN has no sequence number of its own: it sends 0 and acknowledges ours.
            let refused = *sequence == 0 && flags & TcpFlags::RST != 0;
            let (number, server) =
                if refused { (*acknowledgement, true) } else { (*sequence, sequence & SERVER_OFFSET != 0) };
            let part = if server { Part::Answer } else { Part::Request };
            Some(Mark { token: Token(number >> 8), part, firm: false })
        }
        Segment::Error { .. } => None,
    }
}

/// What the answer in this payload states; nothing if it is not a whole one.
pub(super) fn statement(payload: &[u8]) -> Option<Seen> {
    let (_, text) = read(payload)?;
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let seen = Seen {
        responder: Place::try_from(words.next()?.to_owned()).ok()?,
        source: words.next()?.parse().ok()?,
        source_port: Some(words.next()?.parse().ok()?),
        ttl: words.next()?.parse().ok()?,
        mac: None,
    };
    words.next().is_none().then_some(seen)
}

fn read(payload: &[u8]) -> Option<(Mark, &[u8])> {
    let (magic, rest) = payload.split_first_chunk()?;
    let (&[part, a, b, c, d], text) = rest.split_first_chunk()?;
    let part = match part {
        b'q' => Part::Request,
        b'a' => Part::Answer,
        _ => return None,
    };
    let token = Token(u32::from_be_bytes([a, b, c, d]));
    (*magic == MAGIC).then_some((Mark { token, part, firm: true }, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stay_in_the_range_and_come_back_last() {
        let mut counters = Counters::default();
        let given: Vec<u16> = (0..10_001).map(|_| counters.udp_port()).collect();
        assert_eq!((given[0], given[9_999], given[10_000]), (FIRST_PORT, LAST_PORT, FIRST_PORT));
        assert_eq!(counters.tcp_port(), FIRST_PORT, "TCP and UDP count apart");
    }

    #[test]
    fn a_statement_reads_back_and_a_broken_one_does_not() {
        let seen = Seen {
            responder: Place { host: None, name: "web".to_owned() },
            source: "2001:db8::7".parse().unwrap(),
            source_port: Some(20_017),
            ttl: 61,
            mac: None,
        };
        let answer = Token(7).answer(&seen);
        assert_eq!(statement(&answer), Some(seen));
        assert_eq!(statement(&answer[..answer.len() - 3]), None);
        assert_eq!(statement(&Token(7).request()), None);
        assert_eq!(u32::try_from(Token(7).request().len()), Ok(REQUEST_LENGTH));
    }

    #[test]
    fn sequence_numbers_tell_token_and_way() {
        let tcp = |sequence, acknowledgement, flags| {
            let ports = (1, 2);
            mark(&Segment::Tcp { ports, sequence, acknowledgement, flags, payload: b"".into() }).unwrap()
        };
        let token = Token(0x1234);
        let of = |part| Mark { token, part, firm: false };
        assert_eq!(tcp(token.client_number(), 0, TcpFlags::SYN), of(Part::Request));
        assert_eq!(tcp(token.server_number(), 9, TcpFlags::SYN | TcpFlags::ACK), of(Part::Answer));
        assert_eq!(tcp(0, token.client_number() + 1, TcpFlags::RST | TcpFlags::ACK), of(Part::Answer));
        assert_eq!(tcp(token.server_number() + 1, 0, TcpFlags::RST), of(Part::Answer));
    }
}
