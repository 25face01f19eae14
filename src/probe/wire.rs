//! What probes need of the world; [`crate::kernel::wire`] is that on Linux.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::flow::Place;
use crate::name::DeviceName;
use crate::net::Mac;

/// A frame that a tap saw.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Where: the position in [`Wire::places`].
    pub tap: usize,
    /// The device it came in or left by.
    pub device: &'a Rc<DeviceName>,
    /// It left.
    pub outgoing: bool,
    /// All of it, from the Ethernet header on.
    pub bytes: &'a [u8],
}

impl Frame<'_> {
    /// Whom it is for.
    pub(super) fn destination(&self) -> Mac {
        self.bytes.first_chunk().map_or(Mac::ZERO, |mac| Mac(*mac))
    }
}

/// A question to a namespace's routing.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    /// Source address, which policy rules look at.
    pub source: IpAddr,
    /// Where to.
    pub destination: IpAddr,
    /// The device that the packet came in by; none if it is made here.
    pub input: Option<&'a DeviceName>,
}

/// What routing says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteAnswer {
    /// By this device, to this neighbour.
    Via {
        /// The device.
        device: Rc<DeviceName>,
        /// The gateway, or the destination itself.
        next_hop: IpAddr,
    },
    /// The destination is one of its own addresses.
    Local,
    /// There is no route, or one that says unreachable.
    Unreachable,
    /// A route or rule that prohibits.
    Prohibited,
    /// A route or rule that discards.
    Blackhole,
}

/// Taps on namespaces, each of which sees every frame of every device there, in both directions. Frames that
/// [`Wire::transmit`] sent are not seen where they were sent, and frames for other machines' MACs not at all.
pub trait Wire {
    /// The tapped namespaces; a tap's number is its position here, and stays during a run.
    fn places(&self) -> Vec<Place>;

    /// Sends a frame out of a device.
    ///
    /// # Errors
    /// [`WireError`] if there is no such device or it is down.
    fn transmit(&self, tap: usize, device: &DeviceName, frame: &[u8]) -> Result<(), WireError>;

    /// Has a namespace's kernel send an IP packet to `to`, by its routing and through its rules. Says whether it did: a rule may
    /// discard the packet. It is seen as it leaves.
    ///
    /// # Errors
    /// [`WireError::Socket`].
    fn emit(&self, tap: usize, to: IpAddr, packet: &[u8]) -> Result<bool, WireError>;

    /// Shows every frame that the taps have seen since the last sweep, and says how many; never waits.
    ///
    /// # Errors
    /// [`WireError::Socket`].
    fn sweep(&self, see: &mut dyn FnMut(Frame<'_>)) -> Result<usize, WireError>;

    /// Asks a namespace's own routing.
    ///
    /// # Errors
    /// [`WireError::Socket`].
    fn route(&self, tap: usize, lookup: Lookup<'_>) -> Result<RouteAnswer, WireError>;

    /// The address from which a namespace's kernel speaks to `to`: the source of the ICMP errors that it sends there.
    ///
    /// # Errors
    /// [`WireError::Socket`].
    fn speaker(&self, tap: usize, to: IpAddr) -> Result<Option<IpAddr>, WireError>;

    /// Whether a namespace still waits for some neighbour's answer, with packets held back.
    ///
    /// # Errors
    /// [`WireError::Socket`].
    fn neighbours_pending(&self, tap: usize) -> Result<bool, WireError>;

    /// The MAC that a namespace's kernel is made to send to for a neighbour by a permanent entry, if there is one.
    ///
    /// # Errors
    /// [`WireError::Socket`].
    fn pinned(&self, tap: usize, device: &DeviceName, neighbour: IpAddr) -> Result<Option<Mac>, WireError>;

    /// Tells a namespace's kernel what a neighbour has answered to a question that was asked in its name.
    ///
    /// # Errors
    /// [`WireError::Socket`].
    fn learn(&self, tap: usize, device: &DeviceName, neighbour: IpAddr, mac: Mac) -> Result<(), WireError>;

    /// Waits until a tap has seen a frame, at most this long. Says whether one has.
    ///
    /// # Errors
    /// [`WireError::Socket`].
    fn idle(&self, limit: Duration) -> Result<bool, WireError>;

    /// Which taps had no room for how many frames since this was last asked.
    ///
    /// # Errors
    /// [`WireError::Socket`].
    fn missed(&self) -> Result<Vec<(Place, u32)>, WireError>;
}

/// Why a wire failed.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A socket call failed.
    #[error("{place}: failed to {doing}")]
    Socket {
        /// Where.
        place: Place,
        /// What was being done: `send a frame`.
        doing: &'static str,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// There is no device of that name.
    #[error("{place}: there is no device {device}")]
    NoDevice {
        /// Where.
        place: Place,
        /// Its name, or index if the kernel gave only that.
        device: String,
    },
    /// No tap has that number.
    #[error("there is no tap {0}")]
    NoTap(usize),
    /// The tap could not be set up.
    #[error("{place}: failed to tap the namespace")]
    Tap {
        /// Where.
        place: Place,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
