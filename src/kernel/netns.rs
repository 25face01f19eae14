//! An open network namespace: its file, and the sockets opened in it once, for as long as it is used.
//!
//! In: nothing (a new one), or the file of one that exists. Out: a [`Netns`]. Never: a name below `/run/netns`, and never
//! a thread that stays inside: whoever has something to open does so by [`Netns::run_in`], which comes back. A thread made
//! for each such visit would cost a turn of the scheduler, milliseconds on a busy machine.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{AsyncSocket as _, Socket, TokioSocket, protocols};
use nix::errno::Errno;
use nix::sched::CloneFlags;
use rtnetlink::proto::Connection;
use rtnetlink::{Handle, LinkUnspec};
use rustix::fs::{Mode, OFlags};

use super::aside::ClosedAside;
use super::extack::NetlinkError;
use super::sysctl::{SysctlDirs, SysctlError};
use crate::name::DeviceName;
use crate::namespace::Attach;

/// The index of `lo`, the same in every namespace.
pub const LOOPBACK_INDEX: u32 = 1;

/// The namespace of the calling thread; `/proc/self` would be the process's first thread.
const THREAD_NETNS: &str = "/proc/thread-self/ns/net";

/// Why a namespace could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// `unshare` or `setns` refused.
    #[error("enter a network namespace")]
    Enter(#[source] Errno),
    /// A file, socket or thread could not be had.
    #[error("open {what} in a network namespace")]
    Open {
        /// What it was.
        what: &'static str,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// `lo` did not come up.
    #[error("set lo up")]
    Loopback(#[source] NetlinkError),
    /// What devices inherit could not be set.
    #[error("prepare a network namespace")]
    Sysctl(#[source] SysctlError),
}

/// An open network namespace. It lives as long as this value and nothing else holds it.
#[derive(Debug)]
pub struct Netns {
    file: File,
    inode: u64,
    handle: Handle,
    nf: ClosedAside<Socket>,
    sysctls: SysctlDirs,
    /// A packet socket that announcements leave by, once one was made.
    announcer: OnceCell<ClosedAside<OwnedFd>>,
    /// What the devices made here were plugged into, by device index. The kernel does not know.
    attachments: RefCell<BTreeMap<u32, Attach>>,
    /// Device indexes by name, as far as known: what was made here, and what the last observation saw.
    devices: RefCell<BTreeMap<DeviceName, u32>>,
    /// Indexes of devices that the kernel may still have to take note of.
    restless: RefCell<BTreeSet<u32>>,
}

/// What is opened inside, on a thread of its own.
struct Opened {
    file: File,
    connection: Connection<RouteNetlinkMessage, TokioSocket>,
    handle: Handle,
    nf: Socket,
    sysctls: SysctlDirs,
}

impl Netns {
    /// Makes a namespace, sets its `lo` up and duplicate address detection off. The netlink connection is spawned on `runtime`, which need not be running.
    pub fn create(runtime: &tokio::runtime::Handle) -> Result<Self, NetnsError> {
        let opened = {
            let _way_back = WayBack::new().map_err(NetnsError::Enter)?;
            #[expect(clippy::disallowed_methods, reason = "the thread goes back at the end of the block")]
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).map_err(NetnsError::Enter)?;
            loopback_up()?;
            let opened = open_here(runtime)?;
            // Devices made here inherit it: a link-local address is of use at once instead of a second later.
            opened.sysctls.set("net.ipv6.conf.default.accept_dad", "0").map_err(NetnsError::Sysctl)?;
            opened
        };
        Self::assemble(opened, runtime)
    }

    /// Opens the namespace of `file` (a `/proc/PID/ns/net`, or a bind mount of one) as it is.
    pub fn adopt(file: &File, runtime: &tokio::runtime::Handle) -> Result<Self, NetnsError> {
        let opened = visit(file, || open_here(runtime)).map_err(NetnsError::Enter)??;
        Self::assemble(opened, runtime)
    }

    fn assemble(opened: Opened, runtime: &tokio::runtime::Handle) -> Result<Self, NetnsError> {
        let Opened { file, connection, handle, nf, sysctls } = opened;
        let inode = file.metadata().map_err(|source| NetnsError::Open { what: "the namespace file", source })?.ino();
        // The connection ends by itself when the last handle is dropped.
        drop(runtime.spawn(connection));
        Ok(Self {
            file,
            inode,
            handle,
            nf: ClosedAside::new(nf),
            sysctls,
            announcer: OnceCell::new(),
            attachments: RefCell::default(),
            devices: RefCell::default(),
            restless: RefCell::default(),
        })
    }

    /// Runs `f` on this thread with the namespace around it: to open sockets, to look around.
    pub fn run_in<T>(&self, f: impl FnOnce() -> T) -> Result<T, NetnsError> {
        visit(&self.file, f).map_err(NetnsError::Enter)
    }

    /// Runs `f` on a thread of its own in the namespace: for what changes more of its thread than the network.
    pub fn run_apart<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        let file = &self.file;
        on_scratch_thread(move || enter(file).map(|()| f()))?.map_err(NetnsError::Enter)
    }

    /// Another hold on the namespace, for another thread: [`Netns::adopt`] takes it.
    ///
    /// # Errors
    /// The errno.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// The namespace's identity as the kernel sees it: the inode that `stat -L` on its file shows.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The rtnetlink connection.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The netfilter socket (nf_tables, conntrack): blocking, extended acknowledgements on. One for life, since closing
    /// one after a commit waits for an RCU grace period.
    pub fn nf(&self) -> &Socket {
        &self.nf
    }

    /// Reads a sysctl such as `net.ipv4.ip_forward`.
    pub fn sysctl_get(&self, key: &str) -> Result<String, SysctlError> {
        visit(&self.file, || self.sysctls.get(key)).map_err(SysctlError::Enter)?
    }

    /// Reads several.
    pub fn sysctls_get<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Result<Vec<String>, SysctlError> {
        visit(&self.file, || keys.map(|key| self.sysctls.get(key)).collect()).map_err(SysctlError::Enter)?
    }

    /// Writes one.
    pub fn sysctl_set(&self, key: &str, value: &str) -> Result<(), SysctlError> {
        visit(&self.file, || self.sysctls.set(key, value)).map_err(SysctlError::Enter)?
    }

    /// The packet socket for announcements, if one was opened.
    pub(super) fn announcer(&self) -> Option<BorrowedFd<'_>> {
        self.announcer.get().map(|socket| socket.as_fd())
    }

    /// Keeps one that was opened inside. It stays open, since closing a packet socket waits for an RCU grace period.
    pub(super) fn set_announcer(&self, socket: OwnedFd) {
        self.announcer.get_or_init(|| ClosedAside::new(socket));
    }

    /// Notes a device that was made, with what it leads to.
    pub fn note_device(&self, device: &DeviceName, index: u32, attach: Attach) {
        self.devices.borrow_mut().insert(device.clone(), index);
        self.attachments.borrow_mut().insert(index, attach);
    }

    /// Forgets a device that was removed.
    pub fn forget_device(&self, device: &DeviceName) {
        if let Some(index) = self.devices.borrow_mut().remove(device) {
            self.attachments.borrow_mut().remove(&index);
        }
    }

    /// Notes that something was done to a device that the kernel follows up in its own time: see [`super::settle`].
    pub fn stir(&self, index: u32) {
        self.restless.borrow_mut().insert(index);
    }

    /// Devices that something was done to since they were last seen at rest.
    pub fn restless(&self) -> BTreeSet<u32> {
        self.restless.borrow().clone()
    }

    /// Notes devices that were seen at rest.
    pub(super) fn calm(&self, indexes: &[u32]) {
        self.restless.borrow_mut().retain(|index| !indexes.contains(index));
    }

    /// Replaces what is known of the devices by what a dump has shown.
    pub fn know_devices(&self, devices: BTreeMap<DeviceName, u32>) {
        self.attachments.borrow_mut().retain(|index, _| devices.values().any(|known| known == index));
        *self.devices.borrow_mut() = devices;
    }

    /// A device's index, if known.
    pub fn known_index(&self, device: &DeviceName) -> Option<u32> {
        self.devices.borrow().get(device).copied()
    }

    /// The name of the device with this index, if known.
    pub fn known_device(&self, index: u32) -> Option<DeviceName> {
        self.devices.borrow().iter().find(|(_, known)| **known == index).map(|(name, _)| name.clone())
    }

    /// What the device with this index leads to; [`Attach::Foreign`] if it was not made here.
    pub fn attachment(&self, index: u32) -> Attach {
        self.attachments.borrow().get(&index).cloned().unwrap_or(Attach::Foreign)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Runs `f` on a thread made for it, so that whatever namespace it enters is left by ending.
fn on_scratch_thread<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .spawn_scoped(scope, f)
            .map_err(|source| NetnsError::Open { what: "a thread", source })?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn enter(namespace: impl AsFd) -> Result<(), Errno> {
    #[expect(clippy::disallowed_methods, reason = "the one place that enters a namespace")]
    nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET)
}

/// Runs `f` on this thread with a namespace around it.
fn visit<T>(namespace: impl AsFd, f: impl FnOnce() -> T) -> Result<T, Errno> {
    let _way_back = WayBack::new()?;
    enter(namespace)?;
    Ok(f())
}

thread_local! {
    /// Where the thread is at home: where its first visit to a namespace began. Looking it up for each visit would take a
    /// quarter of the time of most.
    static HOME: RefCell<Option<Rc<OwnedFd>>> = const { RefCell::new(None) };
    /// How many visits the thread is on, one within the other.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// The namespace that a thread was in; it goes back there when this is dropped.
struct WayBack(Rc<OwnedFd>);

impl WayBack {
    fn new() -> Result<Self, Errno> {
        let known = HOME.with_borrow(Clone::clone).filter(|_home| DEPTH.get() == 0);
        let origin = match known {
            Some(home) => home,
            None => Rc::new(
                rustix::fs::open(THREAD_NETNS, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                    .map_err(|errno| Errno::from_raw(errno.raw_os_error()))?,
            ),
        };
        if DEPTH.get() == 0 {
            HOME.set(Some(Rc::clone(&origin)));
        }
        DEPTH.set(DEPTH.get().saturating_add(1));
        Ok(Self(origin))
    }
}

impl Drop for WayBack {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
        enter(&self.0).expect("a thread may go back to where it came from");
    }
}

/// Opens everything in the calling thread's namespace.
fn open_here(runtime: &tokio::runtime::Handle) -> Result<Opened, NetnsError> {
    let open = |what: &'static str| move |source: io::Error| NetnsError::Open { what, source };
    let file = File::open(THREAD_NETNS).map_err(open("the namespace file"))?;
    let sysctls = SysctlDirs::open().map_err(open("sysctl directories"))?;
    let mut nf = Socket::new(protocols::NETLINK_NETFILTER).map_err(open("a netfilter socket"))?;
    nf.bind_auto().map_err(open("a netfilter socket"))?;
    nf.set_ext_ack(true).map_err(open("a netfilter socket"))?;
    let _reactor = runtime.enter();
    let (mut connection, handle, unsolicited) = rtnetlink::new_connection().map_err(open("a route socket"))?;
    drop(unsolicited);
    connection.socket_mut().socket_mut().set_ext_ack(true).map_err(open("a route socket"))?;
    Ok(Opened { file, connection, handle, nf, sysctls })
}

/// Sets `lo` up in the calling thread's namespace and waits for the acknowledgement.
fn loopback_up() -> Result<(), NetnsError> {
    let open = |source: io::Error| NetnsError::Open { what: "a route socket", source };
    let link = LinkUnspec::new_with_index(LOOPBACK_INDEX).up().build();
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::SetLink(link));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    let socket = Socket::new(protocols::NETLINK_ROUTE).map_err(open)?;
    socket.send(&bytes, 0).map_err(open)?;
    let (answer, _kernel) = socket.recv_from_full().map_err(open)?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
        .map_err(|error| open(io::Error::new(io::ErrorKind::InvalidData, error.to_string())))?;
    if let NetlinkPayload::Error(error) = answer.payload
        && error.code.is_some()
    {
        return Err(NetnsError::Loopback(rtnetlink::Error::NetlinkError(error).into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::done_in_a_sandbox;

    #[test]
    fn a_new_namespace_is_empty_and_has_its_own_sysctls() {
        if done_in_a_sandbox() {
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let one = Netns::create(runtime.handle()).unwrap();
        let two = Netns::create(runtime.handle()).unwrap();
        assert_ne!(one.inode(), two.inode());
        one.sysctl_set("net.ipv4.ip_forward", "1").unwrap();
        assert_eq!(one.sysctl_get("net.ipv4.ip_forward").unwrap(), "1");
        assert_eq!(two.sysctl_get("net.ipv4.ip_forward").unwrap(), "0");
        let seen = one.run_in(|| std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap()).unwrap();
        assert_eq!(seen, "1\n");
        assert!(one.sysctl_get("net.ipv4.nothing_of_the_kind").is_err());
        let again = Netns::adopt(&one.file, runtime.handle()).unwrap();
        assert_eq!(again.inode(), one.inode());
        let up = one.run_in(|| std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", "127.0.0.1:9").is_ok());
        assert!(up.unwrap());
    }
}
