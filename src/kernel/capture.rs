//! Everything that passes a namespace's devices, with the kernel's time stamps: a packet socket besides the probes' own taps,
//! which a capture therefore does not disturb.
//!
//! In: a namespace. Out: its frames, also what probes send there and what is for other machines. Never: a wait, and never a
//! frame missed in silence.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::net::if_::if_indextoname;
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, getsockopt, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

use super::Netns;
use super::aside::ClosedAside;
use super::netns::{LOOPBACK_INDEX, NetnsError};
use super::wire::{ETH_P_ALL, LONGEST_FRAME, PacketStatistics, RECEIVE_BUFFER};
use crate::name::DeviceName;

/// Why a capture failed.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Enter(#[from] NetnsError),
    /// No socket.
    #[error("open a packet socket")]
    Open(#[source] io::Error),
    /// It could not be read.
    #[error("read a packet socket")]
    Read(#[source] Errno),
}

/// A frame in a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The device that it came in or left by.
    pub device: DeviceName,
    /// It left.
    pub outgoing: bool,
    /// Since 1970-01-01.
    pub at: Duration,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// A capture of one namespace.
pub struct Listener {
    netns: Rc<Netns>,
    socket: ClosedAside<Socket>,
    /// A name once known stays right: an index is never given twice in a lab.
    names: RefCell<BTreeMap<u32, DeviceName>>,
}

impl Listener {
    /// Captures from now on.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn open(netns: &Rc<Netns>) -> Result<Self, CaptureError> {
        let opened = netns.run_in(|| {
            let every = Protocol::from(i32::from(ETH_P_ALL.to_be()));
            let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), Some(every))?;
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
            Ok(socket)
        })?;
        let socket = opened.map_err(CaptureError::Open)?;
        Ok(Self { netns: Rc::clone(netns), socket: ClosedAside::new(socket), names: RefCell::default() })
    }

    /// The inode of the namespace: one of the same name may be another.
    pub fn inode(&self) -> u64 {
        self.netns.inode()
    }

    /// What was seen since this was last asked, and how many frames there was no room for.
    ///
    /// # Errors
    /// [`CaptureError::Read`].
    pub fn read(&self) -> Result<(Vec<Sighting>, u32), CaptureError> {
        let socket = &*self.socket;
        let mut buffer = vec![0; LONGEST_FRAME];
        let mut frames = Vec::new();
        loop {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let mut control = nix::cmsg_space!(TimeSpec);
            let received =
                recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT);
            let (length, from, at) = match received {
                Ok(message) => (message.bytes, message.address, stamp(message.cmsgs().map_err(CaptureError::Read)?)),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR | Errno::ENETDOWN) => continue,
                Err(errno) => return Err(CaptureError::Read(errno)),
            };
            let (Some(from), Some(bytes)) = (from, buffer.get(..length)) else { continue };
            let index = u32::try_from(from.ifindex()).unwrap_or(0);
            if index != LOOPBACK_INDEX {
                let (device, outgoing) = (self.name(index), from.pkttype() == libc::PACKET_OUTGOING);
                frames.push(Sighting { device, outgoing, at, bytes: bytes.to_vec() });
            }
        }
        let statistics = getsockopt(&socket.as_fd(), PacketStatistics).map_err(CaptureError::Read)?;
        Ok((frames, statistics.tp_drops))
    }

    /// A device's name; its number if it is gone by now.
    fn name(&self, index: u32) -> DeviceName {
        if let Some(known) = self.names.borrow().get(&index) {
            return known.clone();
        }
        let found = self.netns.run_in(|| if_indextoname(index)).ok().and_then(Result::ok);
        let name = found.and_then(|name| DeviceName::new(name.to_string_lossy()).ok());
        match name {
            Some(name) => {
                self.names.borrow_mut().insert(index, name.clone());
                name
            }
            None => DeviceName::cut("if", &index.to_string()),
        }
    }
}

fn stamp(mut messages: impl Iterator<Item = ControlMessageOwned>) -> Duration {
    let found = messages.find_map(|message| {
        if let ControlMessageOwned::ScmTimestampns(time) = message { Some(Duration::from(time)) } else { None }
    });
    found.unwrap_or_default()
}
