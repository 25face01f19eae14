//! Frames on segments as a whole: a network with all its hosts, or the underlay that joins them.
//!
//! In: which segments. Out: the frames on them since the last time. Never: a namespace held that was removed, a frame told
//! twice because it passed two ports, and never a frame missed in silence.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::rc::Rc;

use super::Lab;
use super::fabric::{Fabric, Host};
use super::make::reason;
use super::shape::SEGMENT_BRIDGE;
use crate::dataplane::{DataplaneError, Frames, SegmentFrame, Tunnelled};
use crate::kernel::capture::{CaptureError, Listener, Sighting};
use crate::kernel::extack::NetlinkError;
use crate::kernel::{Netns, links};
use crate::name::{DeviceName, HostName, Id};
use crate::packet::{self, Body, Content, ETHERNET_HEADER};
use crate::topology::Segment;

/// UDP port, and length of the header: RFC 7348, section 5.
const VXLAN_PORT: u16 = 4789;
const VXLAN_HEADER: usize = 8;
/// What is before an inner frame: Ethernet, IPv4 without options, UDP, VXLAN.
const BEFORE_INNER: usize = ETHERNET_HEADER + 20 + 8 + VXLAN_HEADER;
/// Where the network identifier is in an outer frame.
const VNI: usize = BEFORE_INNER - 4;
/// As much of a frame as says what it is.
const KEPT: usize = 256;

/// Where somebody listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Post {
    /// On a provider segment.
    Provider(Id),
    /// At a host's bridges.
    Host(HostName),
    /// On the bridge that joins the hosts.
    Underlay,
}

/// Who listens where, and what was heard since it was last asked for.
#[derive(Default)]
pub(super) struct Wiretaps {
    wanted: RefCell<BTreeSet<Segment>>,
    listeners: RefCell<BTreeMap<Post, Listener>>,
    /// The bridge that a host's device is plugged into, by the host's namespace: a device's name is never given twice in a lab.
    bridges: RefCell<BTreeMap<(u64, DeviceName), u32>>,
    heard: RefCell<Vec<SegmentFrame>>,
    missed: Cell<u32>,
}

impl Wiretaps {
    /// Nobody listens any more at what is gone.
    pub(super) fn retain(&self, fabric: &Fabric) {
        let stands = |post: &Post, listener: &Listener| {
            netns(fabric, post).is_some_and(|netns| netns.inode() == listener.inode())
        };
        self.listeners.borrow_mut().retain(|post, listener| stands(post, listener));
    }

    /// Listens wherever frames of these segments pass, and nowhere else.
    fn listen(&self, fabric: &Fabric, on: &BTreeSet<Segment>) -> Result<(), CaptureError> {
        self.retain(fabric);
        let posts: BTreeSet<Post> = on.iter().flat_map(|segment| posts(fabric, segment)).collect();
        let mut listeners = self.listeners.borrow_mut();
        listeners.retain(|post, _| posts.contains(post));
        for post in posts {
            if let (false, Some(netns)) = (listeners.contains_key(&post), netns(fabric, &post)) {
                listeners.insert(post, Listener::open(netns)?);
            }
        }
        self.wanted.replace(on.clone());
        Ok(())
    }

    fn count_missed(&self, frames: u32) {
        self.missed.set(self.missed.get().saturating_add(frames));
    }

    /// The bridge that a device of a host is plugged into, as far as that is known.
    fn bridge(&self, netns: &Netns, device: &DeviceName) -> Option<u32> {
        self.bridges.borrow().get(&(netns.inode(), device.clone())).copied()
    }
}

impl Lab {
    /// What was on these segments since this was last asked; from now on somebody listens there, and nowhere else.
    pub(super) fn frames_on(&self, on: &BTreeSet<Segment>) -> Result<Frames, DataplaneError> {
        let failed = |error: CaptureError| DataplaneError::Watch { doing: "listen to frames", reason: reason(&error) };
        self.hear_frames().map_err(failed)?;
        self.wiretaps.listen(&self.fabric.borrow(), on).map_err(failed)?;
        Ok(Frames { frames: self.wiretaps.heard.take(), missed: self.wiretaps.missed.take() })
    }

    /// Takes what has come: sockets hold a few hundred frames.
    pub(super) fn hear_frames(&self) -> Result<(), CaptureError> {
        let fabric = self.fabric.borrow();
        for (post, listener) in self.wiretaps.listeners.borrow().iter() {
            let (sightings, missed) = listener.read()?;
            self.wiretaps.count_missed(missed);
            // Each frame is told where it comes in; a bridge passes it on to itself and to its other ports.
            let came_in: Vec<Sighting> = sightings.into_iter().filter(|one| !one.outgoing).collect();
            match post {
                Post::Provider(id) => self.keep_provider(id, came_in),
                Post::Underlay => self.keep_underlay(&fabric, came_in),
                Post::Host(name) => {
                    if let Some(host) = fabric.hosts.get(name) {
                        self.keep_tenant(host, came_in);
                    }
                }
            }
        }
        Ok(())
    }

    fn keep_provider(&self, id: &Id, sightings: Vec<Sighting>) {
        let on = Segment::Network(id.clone());
        let at_ports = sightings.into_iter().filter(|one| one.device.as_str() != SEGMENT_BRIDGE);
        self.wiretaps.heard.borrow_mut().extend(at_ports.map(|one| told(&on, None, one.bytes)));
    }

    fn keep_underlay(&self, fabric: &Fabric, sightings: Vec<Sighting>) {
        let bridge = DeviceName::cut("", super::host::UNDERLAY_BRIDGE);
        for one in sightings.into_iter().filter(|one| one.device != bridge) {
            let (tunnelled, bytes) = match unwrapped(fabric, &one.bytes) {
                Some((tunnelled, inner)) => (Some(tunnelled), inner),
                None => (None, one.bytes),
            };
            self.wiretaps.heard.borrow_mut().push(told(&Segment::Underlay, tunnelled, bytes));
        }
    }

    /// A frame between hosts comes in twice: at the sender's port, and again out of the tunnel, which is not told.
    fn keep_tenant(&self, host: &Host, sightings: Vec<Sighting>) {
        let networks = || host.networks.iter().chain(&host.idle);
        let own = |device: &DeviceName| {
            device.as_str() == super::host::UPLINK
                || networks()
                    .any(|(id, _)| [super::host::bridge_name(id), super::host::tunnel_name(id)].contains(device))
        };
        let at_ports: Vec<Sighting> = sightings.into_iter().filter(|one| !own(&one.device)).collect();
        if at_ports.iter().any(|one| self.wiretaps.bridge(&host.netns, &one.device).is_none())
            && let Err(error) = self.runtime.block_on(self.look_at_bridges(&host.netns))
        {
            tracing::debug!(%error, "no list of a host's devices: what came in at new ones counts as missed");
        }
        for one in at_ports {
            let Some(bridge) = self.wiretaps.bridge(&host.netns, &one.device) else {
                // The device has gone since.
                self.wiretaps.count_missed(1);
                continue;
            };
            let Some((id, _)) = networks().find(|(_, network)| network.bridge == bridge) else { continue };
            let on = Segment::Network(id.clone());
            if self.wiretaps.wanted.borrow().contains(&on) {
                self.wiretaps.heard.borrow_mut().push(told(&on, None, one.bytes));
            }
        }
    }

    async fn look_at_bridges(&self, netns: &Netns) -> Result<(), NetlinkError> {
        for link in links::all(netns.handle()).await? {
            if let (Some(name), Some(bridge)) = links::name_and_bridge(&link) {
                self.wiretaps.bridges.borrow_mut().insert((netns.inode(), name), bridge);
            }
        }
        Ok(())
    }
}

fn posts(fabric: &Fabric, segment: &Segment) -> Vec<Post> {
    match segment {
        Segment::Underlay => vec![Post::Underlay],
        Segment::Network(id) if fabric.segments.contains_key(id) => vec![Post::Provider(id.clone())],
        Segment::Network(_) => fabric.hosts.keys().cloned().map(Post::Host).collect(),
    }
}

fn netns<'a>(fabric: &'a Fabric, post: &Post) -> Option<&'a Rc<Netns>> {
    match post {
        Post::Provider(id) => fabric.segments.get(id).map(|segment| &segment.plug.netns),
        Post::Host(name) => fabric.hosts.get(name).map(|host| &host.netns),
        Post::Underlay => fabric.underlay.as_ref().map(|plug| &plug.netns),
    }
}

fn told(on: &Segment, tunnelled: Option<Tunnelled>, mut bytes: Vec<u8>) -> SegmentFrame {
    bytes.truncate(KEPT);
    SegmentFrame { on: on.clone(), tunnelled, bytes }
}

/// The frame inside another, with who sends it to whom in which network; nothing if it is no tunnel's.
fn unwrapped(fabric: &Fabric, outer: &[u8]) -> Option<(Tunnelled, Vec<u8>)> {
    let Body::Ip(carrier) = packet::read(outer)?.body else { return None };
    let Content::Udp { ports: (_, VXLAN_PORT), .. } = carrier.content else { return None };
    let host = |address: std::net::IpAddr| {
        let std::net::IpAddr::V4(address) = address else { return None };
        host_of(fabric, address)
    };
    let (from, to) = (host(carrier.source)?, host(carrier.destination)?);
    let vni = outer.get(VNI..)?.first_chunk::<3>()?;
    let vni = u32::from_be_bytes([0, vni[0], vni[1], vni[2]]);
    let sender = fabric.hosts.get(&from)?;
    let mut networks = sender.networks.iter().chain(&sender.idle);
    let network = networks.find(|(_, network)| network.vni == vni).map(|(id, _)| id.clone())?;
    Some((Tunnelled { from, to, network }, outer.get(BEFORE_INNER..)?.to_vec()))
}

fn host_of(fabric: &Fabric, address: Ipv4Addr) -> Option<HostName> {
    fabric.hosts.iter().find(|(_, host)| host.address == address).map(|(name, _)| name.clone())
}
