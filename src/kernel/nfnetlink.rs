//! The framing that nf_tables and conntrack share: messages with their sequence numbers into one buffer, answers out.
//!
//! In: a NETLINK_NETFILTER socket without group memberships. Out: dumped messages, or the refused ones by sequence number.
//! Never: a wait. The kernel does all work inside `send` and has every answer queued when `send` returns.
//! The crate `netlink-bindings` writes the attributes; its own batches ask for an acknowledgement a message, which overruns
//! the receive buffer, so the headers are written here.

use std::io;

use netlink_sys::Socket;

/// Asks the kernel to do something (NLM_F_REQUEST).
pub(crate) const REQUEST: u16 = 0x1;
/// Asks for an answer to a request that went well, too (NLM_F_ACK).
pub(crate) const ACK: u16 = 0x4;
/// Asks for everything (NLM_F_DUMP).
pub(crate) const DUMP: u16 = 0x300;
/// Makes what is not there yet (NLM_F_CREATE).
pub(crate) const CREATE: u16 = 0x400;
/// Adds behind, not in front (NLM_F_APPEND).
pub(crate) const APPEND: u16 = 0x800;

const ERROR: u16 = 2;
const DONE: u16 = 3;
/// NLM_F_DUMP_INTR: the dump is of more than one state.
const DUMP_INTERRUPTED: u16 = 0x10;
const NESTED: u16 = 0x8000;
/// The bits of an attribute's type that are no flags (NLA_TYPE_MASK).
const KIND: u16 = 0x3fff;
/// Size of an attribute's header.
const ATTRIBUTE: usize = 4;
const HEADER: usize = 16;
/// Family, version, resource id.
const SUBHEADER: usize = 4;
/// A little more than the largest piece of a dump that the kernel sends.
const RECEIVE_BYTES: usize = 1 << 16;

/// Why an exchange with the kernel went wrong.
#[derive(Debug, thiserror::Error)]
pub enum NfnetlinkError {
    /// The messages did not go out.
    #[error("send {bytes} bytes to the kernel")]
    Send {
        /// How many.
        bytes: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No answer could be read.
    #[error("receive the kernel's answer")]
    Receive(#[source] io::Error),
    /// An answer that does not follow the protocol.
    #[error("read the kernel's answer: {0}")]
    Malformed(&'static str),
    /// A single request was refused.
    #[error("have the request accepted")]
    Refused(#[source] io::Error),
}

/// One request that the kernel refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The sequence number that [`Messages::push`] gave.
    pub(crate) sequence: u32,
    /// The error number.
    pub(crate) error: io::Error,
}

/// One message of an answer.
pub(crate) struct Message<'a> {
    /// The protocol family.
    pub(crate) family: u8,
    /// For nf_tables the lower half of the generation that the message shows.
    pub(crate) resource: u16,
    /// The attributes.
    pub(crate) attributes: &'a [u8],
}

/// Messages in the order in which they are sent, all in one piece.
#[derive(Default)]
pub(crate) struct Messages {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Messages {
    /// Appends a message and returns its sequence number; `fill` appends the attributes.
    pub(crate) fn push(
        &mut self,
        (kind, flags): (u16, u16),
        (family, resource): (u8, u16),
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> u32 {
        self.sequence += 1;
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((REQUEST | flags).to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        fill(&mut self.bytes);
        align(&mut self.bytes);
        let length = u32::try_from(self.bytes.len() - start).expect("a message is far below 4 GiB");
        overwrite(&mut self.bytes, start, &length.to_ne_bytes());
        self.sequence
    }

    /// The size in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Sends all in one piece. Answers to earlier requests that nobody read are thrown away first.
    pub(crate) fn send(&self, socket: &Socket) -> Result<(), NfnetlinkError> {
        let mut stale = Vec::with_capacity(RECEIVE_BYTES);
        while receive(socket, &mut stale)? {}
        match socket.send(&self.bytes, 0) {
            Ok(_) => Ok(()),
            Err(source) => Err(NfnetlinkError::Send { bytes: self.bytes.len(), source }),
        }
    }
}

fn align(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (old, new) in bytes.iter_mut().skip(at).zip(with) {
        *old = *new;
    }
}

/// Appends an attribute that holds attributes, which `fill` appends.
pub(crate) fn nest(bytes: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    align(bytes);
    let start = bytes.len();
    bytes.extend([0; 2]);
    bytes.extend((kind | NESTED).to_ne_bytes());
    fill(bytes);
    let length = u16::try_from(bytes.len() - start).expect("an attribute is below 64 KiB");
    overwrite(bytes, start, &length.to_ne_bytes());
}

/// Appends an attribute with its value, for those that the crate cannot write.
pub(crate) fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    align(bytes);
    let length = u16::try_from(ATTRIBUTE + value.len()).expect("an attribute is below 64 KiB");
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
}

/// The value of an attribute, for those that the crate cannot read.
pub(crate) fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    while let Some((&[l0, l1, k0, k1], _)) = attributes.split_first_chunk::<ATTRIBUTE>() {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        if u16::from_ne_bytes([k0, k1]) & KIND == kind {
            return attributes.get(ATTRIBUTE..length);
        }
        attributes = attributes.get(length.next_multiple_of(4).max(ATTRIBUTE)..)?;
    }
    None
}

/// Reads the next datagram if one is there.
fn receive(socket: &Socket, into: &mut Vec<u8>) -> Result<bool, NfnetlinkError> {
    into.clear();
    match socket.recv(into, libc::MSG_DONTWAIT) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(NfnetlinkError::Receive(error)),
    }
}

struct Raw<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// Takes the next message off a datagram.
fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<Raw<'a>>, NfnetlinkError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let short = NfnetlinkError::Malformed("a message is cut short");
    let Some((&[l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, _, _, _, _], _)) = rest.split_first_chunk::<HEADER>()
    else {
        return Err(short);
    };
    let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).expect("usize has at least 32 bits");
    let Some(body) = rest.get(HEADER..length) else { return Err(short) };
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Ok(Some(Raw {
        kind: u16::from_ne_bytes([k0, k1]),
        flags: u16::from_ne_bytes([f0, f1]),
        sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
        body,
    }))
}

impl<'a> Raw<'a> {
    /// The error number of an error message; 0 is an acknowledgement.
    fn error(&self) -> Result<i32, NfnetlinkError> {
        let code = self.body.first_chunk().ok_or(NfnetlinkError::Malformed("an error without its number"))?;
        Ok(i32::from_ne_bytes(*code).saturating_neg())
    }

    fn message(&self) -> Result<Message<'a>, NfnetlinkError> {
        let (&[family, _, r0, r1], attributes) = self
            .body
            .split_first_chunk::<SUBHEADER>()
            .ok_or(NfnetlinkError::Malformed("a message without its family"))?;
        Ok(Message { family, resource: u16::from_be_bytes([r0, r1]), attributes })
    }
}

/// Sends a transaction that asks for no acknowledgements and returns what was refused; nothing means it stands.
pub(crate) fn transact(socket: &Socket, messages: &Messages) -> Result<Vec<Refusal>, NfnetlinkError> {
    messages.send(socket)?;
    let mut refusals = Vec::new();
    let mut datagram = Vec::with_capacity(RECEIVE_BYTES);
    while receive(socket, &mut datagram)? {
        let mut rest = datagram.as_slice();
        while let Some(raw) = next(&mut rest)? {
            let code = if raw.kind == ERROR { raw.error()? } else { 0 };
            if code != 0 {
                refusals.push(Refusal { sequence: raw.sequence, error: io::Error::from_raw_os_error(code) });
            }
        }
    }
    Ok(refusals)
}

/// What reading events came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Everything that the kernel had to say.
    All,
    /// The socket could not hold some of it.
    NotAll,
}

/// Gives every message that the kernel sent unasked to `each`; never waits.
pub(crate) fn events(
    socket: &Socket,
    mut each: impl FnMut(&Message<'_>) -> Result<(), NfnetlinkError>,
) -> Result<Heard, NfnetlinkError> {
    let mut heard = Heard::All;
    let mut datagram = Vec::with_capacity(RECEIVE_BYTES);
    loop {
        match receive(socket, &mut datagram) {
            Ok(true) => {}
            Ok(false) => return Ok(heard),
            Err(NfnetlinkError::Receive(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                heard = Heard::NotAll;
                continue;
            }
            Err(error) => return Err(error),
        }
        let mut rest = datagram.as_slice();
        while let Some(raw) = next(&mut rest)? {
            match raw.kind {
                DONE => {}
                ERROR => {
                    let code = raw.error()?;
                    if code != 0 {
                        return Err(NfnetlinkError::Refused(io::Error::from_raw_os_error(code)));
                    }
                }
                _other => each(&raw.message()?)?,
            }
        }
    }
}

/// Gives every message that is in the socket, which has joined a group, to `each` with its type. Never waits.
pub(crate) fn each_message(
    socket: &Socket,
    mut each: impl FnMut(u16, &Message<'_>) -> Result<(), NfnetlinkError>,
) -> Result<(), NfnetlinkError> {
    let mut datagram = Vec::with_capacity(RECEIVE_BYTES);
    while receive(socket, &mut datagram)? {
        let mut rest = datagram.as_slice();
        while let Some(raw) = next(&mut rest)? {
            each(raw.kind, &raw.message()?)?;
        }
    }
    Ok(())
}

/// Sends one request, whose attributes `fill` appends, with [`DUMP`], [`ACK`] or neither, and gives every message of the answer to `each`.
/// Returns whether the answer is of one state; if not, ask again.
pub(crate) fn ask(
    socket: &Socket,
    (kind, flags): (u16, u16),
    family: u8,
    fill: impl FnOnce(&mut Vec<u8>),
    mut each: impl FnMut(&Message<'_>) -> Result<(), NfnetlinkError>,
) -> Result<bool, NfnetlinkError> {
    let mut request = Messages::default();
    request.push((kind, flags), (family, 0), fill);
    request.send(socket)?;
    let mut consistent = true;
    let mut datagram = Vec::with_capacity(RECEIVE_BYTES);
    while receive(socket, &mut datagram)? {
        let mut rest = datagram.as_slice();
        while let Some(raw) = next(&mut rest)? {
            consistent &= raw.flags & DUMP_INTERRUPTED == 0;
            match raw.kind {
                DONE => return Ok(consistent),
                ERROR => match raw.error()? {
                    0 => return Ok(consistent),
                    code => return Err(NfnetlinkError::Refused(io::Error::from_raw_os_error(code))),
                },
                _other => each(&raw.message()?)?,
            }
        }
    }
    if flags & DUMP == DUMP { Err(NfnetlinkError::Malformed("a dump without an end")) } else { Ok(consistent) }
}
