//! A post on a provider segment: counts every frame of every host by its class, and keeps the first of those that must not
//! be there.
//!
//! In: the segment's namespace, classification rules. Out: counts, and captured frames with what they were logged as. Never:
//! a wait, and never a frame that is counted and lost in silence: what was counted but not captured is the difference of the two.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use netlink_sys::{Socket, protocols};

use super::netns::{Netns, NetnsError};
use super::nfnetlink::{Messages, NfnetlinkError, attribute, events, find, transact};
use super::nft::{self, EVIDENCE_BYTES, EVIDENCE_GROUP, NftError, Sender};
use crate::name::HostName;
use crate::watch::Class;

/// Subsystem 4 (NFNL_SUBSYS_ULOG), in the upper byte of a message type.
const ULOG: u16 = 4 << 8;
/// NFULNL_MSG_CONFIG
const CONFIG: u16 = ULOG | 1;
/// NFULA_CFG_CMD, and NFULNL_CFG_CMD_BIND.
const CONFIG_COMMAND: u16 = 1;
const BIND: u8 = 1;
/// NFULA_CFG_MODE, and NFULNL_COPY_PACKET.
const CONFIG_MODE: u16 = 2;
const COPY_PACKET: u8 = 2;
/// NFPROTO_UNSPEC
const UNSPECIFIED: u8 = 0;
/// NFULA_PAYLOAD: the packet from its network header on.
const PAYLOAD: u16 = 9;
/// NFULA_PREFIX
const PREFIX: u16 = 10;
/// NFULA_HWHEADER: the Ethernet header.
const LINK_HEADER: u16 = 16;
/// What the log socket asks for as receive buffer; the kernel gives at most `net.core.rmem_max`.
const RECEIVE_BUFFER: i32 = 1 << 20;
/// How many frames are kept between two readings; more are only counted.
const KEPT: usize = 64;

/// Why a post could not be set up or read.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Enter(#[from] NetnsError),
    /// No socket.
    #[error("open a socket for the kernel's log")]
    Open(#[source] io::Error),
    /// The kernel's log could not be listened to.
    #[error("listen to the kernel's log")]
    Listen(#[source] NfnetlinkError),
    /// Rules or counters.
    #[error(transparent)]
    Rules(#[from] NftError),
}

/// A captured frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caught {
    /// Who sent it.
    pub host: HostName,
    /// What it was counted as.
    pub class: Class,
    /// Its beginning.
    pub frame: Vec<u8>,
}

/// A post.
pub struct WatchPost {
    netns: Rc<Netns>,
    log: Socket,
    /// Number of the next classification.
    generation: Cell<u32>,
    /// What the counters showed when they were last read.
    counted: RefCell<BTreeMap<String, u64>>,
}

impl WatchPost {
    /// Listens in a segment's namespace. Nothing is counted yet.
    ///
    /// # Errors
    /// [`WatchError`].
    pub fn open(netns: &Rc<Netns>) -> Result<Self, WatchError> {
        let log = netns.run_in(|| {
            let mut socket = Socket::new(protocols::NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
            Ok(socket)
        })?;
        let log = log.map_err(WatchError::Open)?;
        listen(&log).map_err(WatchError::Listen)?;
        Ok(Self { netns: Rc::clone(netns), log, generation: Cell::new(0), counted: RefCell::default() })
    }

    /// Classifies hosts anew from now on; those not named stay as they are.
    ///
    /// # Errors
    /// [`WatchError::Rules`].
    pub fn classify(&self, senders: &[Sender<'_>]) -> Result<(), WatchError> {
        let generation = self.generation.get();
        nft::watch(self.netns.nf(), generation, senders)?;
        self.generation.set(generation.saturating_add(1));
        Ok(())
    }

    /// Frames counted since this was last asked, of each host and class that has any.
    ///
    /// # Errors
    /// [`WatchError::Rules`].
    pub fn count(&self) -> Result<Vec<(HostName, Class, u64)>, WatchError> {
        let now = nft::counters(self.netns.nf())?;
        let mut before = self.counted.borrow_mut();
        let mut moved = Vec::new();
        for (label, count) in &now {
            let more = count.saturating_sub(before.get(label).copied().unwrap_or(0));
            if let (Some((host, class)), true) = (nft::class_of(label), more > 0) {
                moved.push((host, class, more));
            }
        }
        *before = now;
        Ok(moved)
    }

    /// The first frames that were caught since this was last asked.
    ///
    /// # Errors
    /// [`WatchError::Listen`].
    pub fn caught(&self) -> Result<Vec<Caught>, WatchError> {
        let mut caught = Vec::new();
        let heard = events(&self.log, |message| {
            if caught.len() < KEPT {
                caught.extend(read(message.attributes));
            }
            Ok(())
        });
        // What did not fit the socket is known by its counter.
        heard.map_err(WatchError::Listen)?;
        Ok(caught)
    }
}

fn read(attributes: &[u8]) -> Option<Caught> {
    let prefix = find(attributes, PREFIX)?;
    let prefix = std::str::from_utf8(prefix.split(|byte| *byte == 0).next()?).ok()?;
    let (host, class) = nft::class_of(prefix)?;
    let frame = [find(attributes, LINK_HEADER).unwrap_or_default(), find(attributes, PAYLOAD).unwrap_or_default()];
    Some(Caught { host, class, frame: frame.concat() })
}

/// Has the kernel send what is logged for the group, each packet at once.
pub(crate) fn listen(log: &Socket) -> Result<(), NfnetlinkError> {
    let mut mode = EVIDENCE_BYTES.to_be_bytes().to_vec();
    mode.extend([COPY_PACKET, 0]);
    let mut messages = Messages::default();
    for (kind, value) in [(CONFIG_COMMAND, vec![BIND]), (CONFIG_MODE, mode)] {
        messages.push((CONFIG, 0), (UNSPECIFIED, EVIDENCE_GROUP), |bytes| attribute(bytes, kind, &value));
    }
    match transact(log, &messages)?.into_iter().next() {
        Some(refusal) => Err(NfnetlinkError::Refused(refusal.error)),
        None => Ok(()),
    }
}
