//! What marks a frame as part of a running flow: its payload. NAT leaves that alone.

/// What every payload begins with; other than that of probes, which pass it over.
const MAGIC: [u8; 6] = *b"ledger";
/// What the payload of pings begins with that run along through a step unasked. The watch passes them over: a ping of a pair that
/// the step changes would show over and over what the step's own sentences are there to say.
pub const ALONG: [u8; 6] = *b"beside";

/// Flows that a clock paces have this bit in their number.
pub const CLOCK: u32 = 1 << 31;

/// What tells a packet of a flow that a clock paces, for who passes them over.
#[derive(Debug, Clone, Copy)]
pub struct PacedMark {
    /// The first four bytes of the payload.
    pub magic: u32,
    /// Where its course's number begins in the payload, and what its first byte is at least.
    pub course: u32,
    /// See above.
    pub first: u32,
    /// Bytes of payload that must be there.
    pub length: u32,
}

/// As payloads are written of what runs [`ALONG`], which twins do: no watch judges them.
pub const PACED: PacedMark = PacedMark { magic: u32::from_be_bytes(*b"besi"), course: 7, first: 0x80, length: 15 };

/// What a packet is in its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// From the sender.
    Request,
    /// The far end's answer to it. A kernel's answer to an echo has the payload of the request.
    Answer,
    /// What the far end sends by itself.
    Push,
}

/// Whose a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The flow.
    pub course: u32,
    /// The packet.
    pub number: u32,
    /// Which part.
    pub kind: Kind,
    /// It runs along, unasked.
    pub along: bool,
}

impl Mark {
    pub(super) fn payload(self) -> Vec<u8> {
        let kind = match self.kind {
            Kind::Request => b'q',
            Kind::Answer => b'a',
            Kind::Push => b'p',
        };
        let numbers = self.course.to_be_bytes().into_iter().chain(self.number.to_be_bytes());
        let magic = if self.along { ALONG } else { MAGIC };
        magic.into_iter().chain([kind]).chain(numbers).collect()
    }

    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let (magic, rest) = payload.split_first_chunk()?;
        let (kind, rest) = rest.split_first()?;
        let (course, rest) = rest.split_first_chunk()?;
        let (number, _) = rest.split_first_chunk()?;
        let kind = match kind {
            b'q' => Kind::Request,
            b'a' => Kind::Answer,
            b'p' => Kind::Push,
            _ => return None,
        };
        let (course, number) = (u32::from_be_bytes(*course), u32::from_be_bytes(*number));
        [MAGIC, ALONG].contains(magic).then_some(Self { course, number, kind, along: *magic == ALONG })
    }
}
