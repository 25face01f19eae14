//! Taps on namespaces: one packet socket each, for every device and both directions, and one route socket for questions.
//!
//! In: namespaces to tap. Out: a [`Wire`] for probes. Never: a frame missed in silence ([`Wire::missed`] counts them), and
//! never a wait for the grace period that closing a packet socket takes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{LinkAddr, MsgFlags, getsockopt, recvfrom, sendto};
use nix::{getsockopt_impl, sockopt_impl};
use socket2::{Domain, Protocol, Socket, Type};

use self::questions::{Found, Questions};
use super::Netns;
use super::aside::ClosedAside;
use super::netns::LOOPBACK_INDEX;
use crate::flow::Place;
use crate::name::DeviceName;
use crate::net::Mac;
use crate::probe::{Frame, Lookup, RouteAnswer, Wire, WireError};

mod passed_over;
mod questions;
#[cfg(test)]
mod tests;

sockopt_impl!(
    /// Frames received and missed since this was last read.
    PacketStatistics,
    GetOnly,
    libc::SOL_PACKET,
    libc::PACKET_STATISTICS,
    libc::tpacket_stats
);

/// Every protocol (`ETH_P_ALL`).
pub(super) const ETH_P_ALL: u16 = 0x0003;
/// What a tap asks for as receive buffer; the kernel gives at most `net.core.rmem_max`.
pub(super) const RECEIVE_BUFFER: usize = 8 << 20;
/// Longer than any frame of a lab: the largest IP packet with its Ethernet header.
pub(super) const LONGEST_FRAME: usize = 65_536 + 18;

/// Taps, in order of place.
pub struct LinuxWire {
    taps: RefCell<Vec<Tap>>,
    buffer: RefCell<Vec<u8>>,
    /// What a clock paces is seen, too.
    of_clock: bool,
}

impl Default for LinuxWire {
    fn default() -> Self {
        Self { taps: RefCell::default(), buffer: RefCell::new(vec![0; LONGEST_FRAME]), of_clock: false }
    }
}

/// The sockets of one namespace.
struct Tap {
    place: Place,
    netns: Rc<Netns>,
    packets: ClosedAside<Socket>,
    questions: Questions,
    /// Device names by index. An index is never given twice in a lab, so a name once known stays right.
    names: RefCell<BTreeMap<u32, Rc<DeviceName>>>,
    /// Where to send for a device to take it.
    links: RefCell<BTreeMap<DeviceName, LinkAddr>>,
}

impl LinuxWire {
    /// Taps for who sends by a clock; others pass over what it sends.
    pub fn of_clock() -> Self {
        Self { of_clock: true, ..Self::default() }
    }

    /// Taps a namespace, in place of the one that was tapped under the same place.
    ///
    /// # Errors
    /// [`WireError::Tap`].
    pub fn tap(&self, place: Place, netns: &Rc<Netns>) -> Result<(), WireError> {
        let tap = Tap::open(place, netns, self.of_clock)?;
        let mut taps = self.taps.borrow_mut();
        match taps.binary_search_by(|other| other.place.cmp(&tap.place)) {
            Ok(position) => drop(std::mem::replace(taps.get_mut(position).expect("found there"), tap)),
            Err(position) => taps.insert(position, tap),
        }
        Ok(())
    }

    /// Ends a tap. The namespace of a tap cannot go before.
    pub fn untap(&self, place: &Place) {
        self.taps.borrow_mut().retain(|tap| tap.place != *place);
    }

    /// The taps that have frames, after waiting for the first one as long as that.
    fn readable(taps: &[Tap], limit: Duration) -> Result<Vec<(usize, &Tap)>, WireError> {
        let Some(any) = taps.first() else { return Ok(Vec::new()) };
        let mut waits: Vec<PollFd<'_>> =
            taps.iter().map(|tap| PollFd::new(tap.packets.as_fd(), PollFlags::POLLIN)).collect();
        match poll(&mut waits, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(any.failed("wait for frames", errno)),
        }
        let all = taps.iter().enumerate().zip(&waits);
        Ok(all.filter(|(_, wait)| wait.any().unwrap_or(false)).map(|(tap, _)| tap).collect())
    }

    fn with<T>(&self, number: usize, f: impl FnOnce(&Tap) -> Result<T, WireError>) -> Result<T, WireError> {
        f(self.taps.borrow().get(number).ok_or(WireError::NoTap(number))?)
    }
}

impl Wire for LinuxWire {
    fn places(&self) -> Vec<Place> {
        self.taps.borrow().iter().map(|tap| tap.place.clone()).collect()
    }

    fn transmit(&self, tap: usize, device: &DeviceName, frame: &[u8]) -> Result<(), WireError> {
        self.with(tap, |tap| tap.transmit(device, frame))
    }

    fn emit(&self, tap: usize, to: IpAddr, packet: &[u8]) -> Result<bool, WireError> {
        self.with(tap, |tap| tap.emit(to, packet))
    }

    fn sweep(&self, see: &mut dyn FnMut(Frame<'_>)) -> Result<usize, WireError> {
        let taps = self.taps.borrow();
        let mut buffer = self.buffer.borrow_mut();
        let mut count = 0;
        for (number, tap) in LinuxWire::readable(&taps, Duration::ZERO)? {
            count += tap.read(number, &mut buffer, see)?;
        }
        Ok(count)
    }

    fn route(&self, tap: usize, lookup: Lookup<'_>) -> Result<RouteAnswer, WireError> {
        self.with(tap, |tap| tap.route(lookup))
    }

    fn speaker(&self, tap: usize, to: IpAddr) -> Result<Option<IpAddr>, WireError> {
        self.with(tap, |tap| tap.questions.speaker(to).map_err(|error| tap.failed("look up a source address", error)))
    }

    fn neighbours_pending(&self, tap: usize) -> Result<bool, WireError> {
        self.with(tap, |tap| tap.questions.neighbours_pending().map_err(|error| tap.failed("read neighbours", error)))
    }

    fn pinned(&self, tap: usize, device: &DeviceName, neighbour: IpAddr) -> Result<Option<Mac>, WireError> {
        self.with(tap, |tap| {
            let index = tap.index(device)?;
            tap.questions.pinned(index, neighbour).map_err(|error| tap.failed("look up a neighbour", error))
        })
    }

    fn learn(&self, tap: usize, device: &DeviceName, neighbour: IpAddr, mac: Mac) -> Result<(), WireError> {
        self.with(tap, |tap| {
            let index = tap.index(device)?;
            tap.questions.learn(index, neighbour, mac).map_err(|error| tap.failed("enter a neighbour", error))
        })
    }

    fn idle(&self, limit: Duration) -> Result<bool, WireError> {
        Self::readable(&self.taps.borrow(), limit).map(|taps| !taps.is_empty())
    }

    fn missed(&self) -> Result<Vec<(Place, u32)>, WireError> {
        let mut missed = Vec::new();
        for tap in self.taps.borrow().iter() {
            let statistics = getsockopt(&tap.packets.as_fd(), PacketStatistics)
                .map_err(|errno| tap.failed("read the tap's statistics", errno))?;
            if statistics.tp_drops > 0 {
                missed.push((tap.place.clone(), statistics.tp_drops));
            }
        }
        Ok(missed)
    }
}

impl Tap {
    /// A raw socket takes the whole packet, header and all; netfilter says no by EPERM.
    fn emit(&self, to: IpAddr, packet: &[u8]) -> Result<bool, WireError> {
        let to = SocketAddr::new(to, 0);
        let sent = self.netns.run_in(|| {
            let whole = Some(Protocol::from(libc::IPPROTO_RAW));
            let socket = Socket::new(Domain::for_address(to), Type::RAW.cloexec(), whole)?;
            socket.send_to(packet, &to.into()).map(drop)
        });
        match sent.map_err(io::Error::other).and_then(|sent| sent) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(false),
            Err(error) => Err(self.failed("have the kernel send a packet", error)),
        }
    }

    fn open(place: Place, netns: &Rc<Netns>, of_clock: bool) -> Result<Self, WireError> {
        let opened = netns.run_in(|| -> io::Result<(Socket, Questions)> {
            // With the protocol given here it hears every device of the namespace from now on, without a bind.
            let every = Protocol::from(i32::from(ETH_P_ALL.to_be()));
            let packets = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), Some(every))?;
            packets.set_recv_buffer_size(RECEIVE_BUFFER)?;
            if !of_clock {
                packets.attach_filter(&passed_over::filter())?;
            }
            Ok((packets, Questions::open()?))
        });
        let (packets, questions) = match opened {
            Ok(Ok(sockets)) => sockets,
            Ok(Err(error)) => return Err(WireError::Tap { place, source: error.into() }),
            Err(error) => return Err(WireError::Tap { place, source: error.into() }),
        };
        let (names, links) = (RefCell::default(), RefCell::default());
        Ok(Self { place, netns: Rc::clone(netns), packets: ClosedAside::new(packets), questions, names, links })
    }

    fn failed(&self, doing: &'static str, source: impl Into<io::Error>) -> WireError {
        WireError::Socket { place: self.place.clone(), doing, source: source.into() }
    }

    fn no_device(&self, device: &impl ToString) -> WireError {
        WireError::NoDevice { place: self.place.clone(), device: device.to_string() }
    }

    fn transmit(&self, device: &DeviceName, frame: &[u8]) -> Result<(), WireError> {
        let socket = self.packets.as_raw_fd();
        let send = |link: &LinkAddr| sendto(socket, frame, link, MsgFlags::empty());
        let known = self.links.borrow().get(device).copied();
        let sent = match known.as_ref().map(send) {
            // The first frame, or one to a device that has been made anew under the same name.
            None | Some(Err(Errno::ENXIO | Errno::ENODEV)) => {
                self.find_links()?;
                send(&self.links.borrow().get(device).copied().ok_or_else(|| self.no_device(device))?)
            }
            Some(sent) => sent,
        };
        sent.map(drop).map_err(|errno| self.failed("send a frame", errno))
    }

    /// Reads the namespace's link-layer addresses: the one safe way to an address to send to.
    fn find_links(&self) -> Result<(), WireError> {
        let listed = self.netns.run_in(|| {
            let all = nix::ifaddrs::getifaddrs()?;
            let link = |entry: nix::ifaddrs::InterfaceAddress| {
                let link = entry.address?.as_link_addr().copied()?;
                DeviceName::new(entry.interface_name).ok().map(|name| (name, link))
            };
            Ok::<_, Errno>(all.filter_map(link).collect())
        });
        let listed = listed.map_err(|error| WireError::Tap { place: self.place.clone(), source: error.into() })?;
        *self.links.borrow_mut() = listed.map_err(|errno| self.failed("list devices", errno))?;
        Ok(())
    }

    /// Shows every frame in the socket. What is for another machine's MAC is passed over: its kernel ignores it too.
    fn read(&self, tap: usize, buffer: &mut [u8], see: &mut dyn FnMut(Frame<'_>)) -> Result<usize, WireError> {
        let socket = self.packets.as_raw_fd();
        let mut count = 0;
        loop {
            let (length, from) = match recvfrom::<LinkAddr>(socket, buffer) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return Ok(count),
                Err(Errno::EINTR | Errno::ENETDOWN) => continue,
                Err(errno) => return Err(self.failed("read frames", errno)),
            };
            let (Some(from), Some(bytes)) = (from, buffer.get(..length)) else { continue };
            let index = u32::try_from(from.ifindex()).unwrap_or(0);
            if from.pkttype() == libc::PACKET_OTHERHOST || index == LOOPBACK_INDEX {
                continue;
            }
            // A frame from before its device was removed is none of the probes that are under way.
            let Some(device) = self.name(index)? else { continue };
            see(Frame { tap, device: &device, outgoing: from.pkttype() == libc::PACKET_OUTGOING, bytes });
            count += 1;
        }
    }

    /// The name of a device; none if there is no such device any more.
    fn name(&self, index: u32) -> Result<Option<Rc<DeviceName>>, WireError> {
        if let Some(known) = self.names.borrow().get(&index) {
            return Ok(Some(Rc::clone(known)));
        }
        let name = self.questions.device(index).map_err(|error| self.failed("look up a device", error))?.map(Rc::new);
        if let Some(name) = &name {
            self.names.borrow_mut().insert(index, Rc::clone(name));
        }
        Ok(name)
    }

    fn route(&self, lookup: Lookup<'_>) -> Result<RouteAnswer, WireError> {
        let input = lookup.input.map(|device| self.index(device)).transpose()?;
        let found = self.questions.route(lookup.source, lookup.destination, input);
        match found.map_err(|error| self.failed("look up a route", error))? {
            Found::Via { index, gateway } => {
                let device = self.name(index)?.ok_or_else(|| self.no_device(&index))?;
                Ok(RouteAnswer::Via { device, next_hop: gateway.unwrap_or(lookup.destination) })
            }
            Found::Local => Ok(RouteAnswer::Local),
            Found::Unreachable => Ok(RouteAnswer::Unreachable),
            Found::Prohibited => Ok(RouteAnswer::Prohibited),
            Found::Blackhole => Ok(RouteAnswer::Blackhole),
        }
    }

    /// The index of a device that frames were seen on.
    fn index(&self, device: &DeviceName) -> Result<u32, WireError> {
        let names = self.names.borrow();
        // Of devices of the same name the one made last.
        let known = names.iter().rev().find(|(_, name)| ***name == *device);
        known.map(|(index, _)| *index).ok_or_else(|| self.no_device(device))
    }
}
