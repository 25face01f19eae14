//! A TCP probe's transfer: so many bytes, in segments as long as the sender's link takes, acknowledged a batch at a time.
//!
//! In: what arrives at its two ends. Out: the segments that come next. Never: a byte that counts twice or out of order.

use pnet::packet::tcp::TcpFlags;

use super::build::{TCP_HEADER, V4_HEADER, V6_HEADER};
use super::frame::{Datagram, Ends};
use super::resolve::Leg;
use super::respond::say;
use super::token::REQUEST_LENGTH;
use super::track::{Attempt, Passage};

/// Segments on their way at once: far less than the window that is offered, and few enough for the buffers of taps.
const BATCH: usize = 16;
/// No link that carries IP makes segments shorter; who says so is not believed (RFC 1191: 68 bytes, of which 40 are headers).
const SHORTEST: u32 = 28;

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transfer {
    /// Bytes to send.
    length: u32,
    /// Bytes of a segment.
    segment: u32,
    /// Bytes of which the sender knows that they arrived.
    acknowledged: u32,
    /// Bytes that arrived, without a gap.
    taken: u32,
    /// Bytes that the responder has said.
    said: u32,
    /// Where the handshake was seen, and segments that were too long: not on the way that counts.
    pub earlier: Vec<Passage>,
}

/// What a segment did for the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// More is to come; nothing is said.
    More,
    /// A batch is whole.
    Batch,
    /// All of it has come.
    All,
}

impl Transfer {
    /// One of that many bytes.
    pub(super) fn new(length: u32) -> Self {
        Self { length, segment: 0, acknowledged: 0, taken: 0, said: 0, earlier: Vec::new() }
    }

    /// Bytes to send.
    pub(super) fn length(&self) -> u32 {
        self.length
    }

    /// A segment has come to the far end: that many bytes from `offset` on.
    pub(super) fn take(&mut self, offset: u32, length: usize, last: bool) -> Taken {
        if offset == self.taken {
            self.taken = self.taken.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
        }
        let whole = last && self.taken == offset.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
        match whole {
            false => Taken::More,
            true if self.taken == self.length => Taken::All,
            true => Taken::Batch,
        }
    }

    /// Sequence and acknowledgement numbers of what the responder says next, which is `length` bytes long.
    pub(super) fn answer(&mut self, (server, client): (u32, u32), length: usize) -> (u32, u32) {
        let sequence = server.wrapping_add(1).wrapping_add(self.said);
        self.said = self.said.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
        (sequence, client.wrapping_add(1).wrapping_add(self.taken))
    }

    /// The sender hears that all before `number` has come.
    pub(super) fn acknowledge(&mut self, number: u32, client: u32) {
        self.acknowledged = number.wrapping_sub(client.wrapping_add(1));
    }

    /// From now on segments fit a link of that MTU. Whether that makes them shorter.
    pub(super) fn fit(&mut self, mtu: u32, ends: Ends) -> bool {
        let headers = TCP_HEADER
            + match ends {
                Ends::V4(..) => V4_HEADER,
                Ends::V6(..) => V6_HEADER,
            };
        let segment = mtu.saturating_sub(u32::try_from(headers).unwrap_or(u32::MAX)).max(SHORTEST);
        let shorter = self.segment == 0 || segment < self.segment;
        if shorter {
            self.segment = segment;
        }
        shorter
    }

    /// Whether the first segment is that long. What was too long for a link may be read in other taps' queues only after shorter ones
    /// have been sent.
    pub(super) fn begins_with(&self, length: usize) -> bool {
        u32::try_from(length).is_ok_and(|length| length == self.cut(self.length))
    }

    /// Bytes of a segment when so many are left to send: none of the segments is shorter than the mark that each has to carry.
    fn cut(&self, left: u32) -> u32 {
        match left.checked_sub(self.segment) {
            None | Some(0) => left,
            Some(rest) if rest < REQUEST_LENGTH => self.segment - REQUEST_LENGTH,
            Some(_) => self.segment,
        }
    }

    /// Offsets and lengths of the next batch.
    fn batch(&self) -> Vec<(u32, u32)> {
        let mut cuts = Vec::new();
        let mut offset = self.acknowledged;
        while offset < self.length && cuts.len() < BATCH {
            let take = self.cut(self.length - offset);
            cuts.push((offset, take));
            offset += take;
        }
        cuts
    }
}

/// The next batch of an attempt's segments; its way from here on is that of the first byte.
pub(super) fn next_batch(attempt: &mut Attempt, ports: (u16, u16)) -> Vec<(Leg, Datagram<'static>)> {
    let Some(transfer) = &mut attempt.transfer else { return Vec::new() };
    let begins = transfer.acknowledged == 0;
    if begins {
        transfer.earlier.append(&mut attempt.requests);
        transfer.earlier.append(&mut attempt.replies);
        attempt.arrived = None;
    }
    let cuts = transfer.batch();
    let (token, acknowledgement) = (attempt.token, attempt.token.server_number().wrapping_add(1 + transfer.said));
    let last = cuts.len().saturating_sub(1);
    let segments = cuts.iter().enumerate().map(|(n, (offset, length))| {
        let mut payload = token.request();
        payload.resize(usize::try_from(*length).unwrap_or(payload.len()), 0);
        let numbers = (token.client_number().wrapping_add(1).wrapping_add(*offset), acknowledgement);
        let flags = if n == last { TcpFlags::PSH | TcpFlags::ACK } else { TcpFlags::ACK };
        let leg = if begins && n == 0 { Leg::Request } else { Leg::Further };
        (leg, Datagram { ttl: attempt.ttl, ..say(attempt.ends, ports, numbers, flags, payload) })
    });
    segments.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> Ends {
        Ends::V4([10, 0, 0, 1].into(), [10, 0, 0, 2].into())
    }

    #[test]
    fn every_byte_is_sent_once_in_segments_that_fit_and_can_be_told() {
        for length in [100, 1460, 1465, 1471, 20_000, 100_000] {
            let mut transfer = Transfer::new(length);
            assert!(transfer.fit(1500, ends()));
            let mut rounds = 0;
            while transfer.acknowledged < length {
                let batch = transfer.batch();
                assert!(batch.iter().all(|(_, take)| (REQUEST_LENGTH..=1460).contains(take)), "{length}: {batch:?}");
                let last = batch.len() - 1;
                for (n, (offset, take)) in batch.into_iter().enumerate() {
                    let taken = transfer.take(offset, usize::try_from(take).unwrap(), n == last);
                    assert_eq!(taken == Taken::More, n != last);
                }
                transfer.acknowledge(7 + 1 + transfer.taken, 7);
                rounds += 1;
            }
            assert_eq!((transfer.taken, rounds), (length, length.div_ceil(1460).div_ceil(16)));
        }
    }

    #[test]
    fn what_comes_after_a_gap_is_not_taken() {
        let mut transfer = Transfer::new(3000);
        assert_eq!(transfer.take(1460, 80, true), Taken::More);
        assert_eq!((transfer.take(0, 1460, false), transfer.take(1460, 1540, true)), (Taken::More, Taken::All));
    }

    #[test]
    fn only_a_shorter_link_makes_segments_shorter() {
        let mut transfer = Transfer::new(3000);
        assert!(transfer.fit(1500, ends()) && transfer.fit(1400, ends()));
        assert!(!transfer.fit(1400, ends()) && !transfer.fit(1500, ends()));
    }
}
