//! Questions to a namespace's kernel, asked and answered within one call each: a blocking route socket, since a probe's next
//! packet depends on the answer.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols};
use nix::errno::Errno;

use crate::name::DeviceName;
use crate::net::{Family, Mac};

/// A route socket, in the namespace of the thread that opened it.
pub(super) struct Questions(Socket);

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Out of a device, to a gateway or straight to the destination.
    Via {
        /// The device.
        index: u32,
        /// The gateway.
        gateway: Option<IpAddr>,
    },
    /// To the namespace itself.
    Local,
    /// Nowhere.
    Unreachable,
    /// Nowhere, by an administrator's will.
    Prohibited,
    /// Nowhere, in silence.
    Blackhole,
}

/// What came back.
enum Answer {
    /// Objects.
    Objects(Vec<RouteNetlinkMessage>),
    /// An errno.
    Errno(Errno),
}

impl Questions {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(protocols::NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Where a packet would go: one made here, or one that came in by a device.
    pub(super) fn route(&self, source: IpAddr, destination: IpAddr, input: Option<u32>) -> io::Result<Found> {
        let family = Family::of(destination);
        let mut message = RouteMessage::default();
        message.header.address_family = address_family(family);
        message.header.destination_prefix_length = family.bits();
        message.header.source_prefix_length = family.bits();
        message.attributes.push(RouteAttribute::Destination(destination.into()));
        message.attributes.push(RouteAttribute::Source(source.into()));
        message.attributes.extend(input.map(RouteAttribute::Iif));
        match self.ask(RouteNetlinkMessage::GetRoute(message), 0)? {
            Answer::Objects(objects) => {
                objects.iter().find_map(found).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
            }
            Answer::Errno(errno) => refused(errno).ok_or_else(|| errno.into()),
        }
    }

    /// The source address that routing prefers towards `to`; nothing where there is no way there.
    pub(super) fn speaker(&self, to: IpAddr) -> io::Result<Option<IpAddr>> {
        let family = Family::of(to);
        let mut message = RouteMessage::default();
        message.header.address_family = address_family(family);
        message.header.destination_prefix_length = family.bits();
        message.attributes.push(RouteAttribute::Destination(to.into()));
        match self.ask(RouteNetlinkMessage::GetRoute(message), 0)? {
            Answer::Objects(objects) => Ok(objects.iter().find_map(preferred_source)),
            Answer::Errno(errno) if refused(errno).is_some() => Ok(None),
            Answer::Errno(errno) => Err(errno.into()),
        }
    }

    /// Whether a neighbour entry of either family waits for an answer.
    pub(super) fn neighbours_pending(&self) -> io::Result<bool> {
        for family in Family::BOTH {
            let mut message = NeighbourMessage::default();
            message.header.family = address_family(family);
            match self.ask(RouteNetlinkMessage::GetNeighbour(message), NLM_F_DUMP)? {
                Answer::Objects(objects) if objects.iter().any(waits) => return Ok(true),
                Answer::Objects(_) => {}
                Answer::Errno(errno) => return Err(errno.into()),
            }
        }
        Ok(false)
    }

    /// The MAC of a permanent neighbour, if the address has one on that device.
    pub(super) fn pinned(&self, index: u32, neighbour: IpAddr) -> io::Result<Option<Mac>> {
        match self.ask(RouteNetlinkMessage::GetNeighbour(entry(index, neighbour)), 0)? {
            Answer::Objects(objects) => Ok(objects.iter().find_map(permanent)),
            Answer::Errno(Errno::ENOENT) => Ok(None),
            Answer::Errno(errno) => Err(errno.into()),
        }
    }

    /// Enters a neighbour as one that has just answered.
    pub(super) fn learn(&self, index: u32, neighbour: IpAddr, mac: Mac) -> io::Result<()> {
        let mut message = entry(index, neighbour);
        message.header.state = NeighbourState::Reachable;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        match self.ask(RouteNetlinkMessage::NewNeighbour(message), flags)? {
            // An acknowledgement is an error of number 0.
            Answer::Objects(_) | Answer::Errno(Errno::UnknownErrno) => Ok(()),
            Answer::Errno(errno) => Err(errno.into()),
        }
    }

    /// The name of a device; nothing if there is none with that index.
    pub(super) fn device(&self, index: u32) -> io::Result<Option<DeviceName>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        match self.ask(RouteNetlinkMessage::GetLink(message), 0)? {
            Answer::Objects(objects) => Ok(objects.iter().find_map(name)),
            Answer::Errno(Errno::ENODEV) => Ok(None),
            Answer::Errno(errno) => Err(errno.into()),
        }
    }

    fn ask(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Answer> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        let mut objects = Vec::new();
        loop {
            let (answer, _kernel) = self.0.recv_from_full()?;
            let mut rest = answer.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
                let padded =
                    usize::try_from(message.header.length).map_or(rest.len(), |length| length.next_multiple_of(4));
                rest = rest.get(padded..).unwrap_or_default();
                if let NetlinkPayload::InnerMessage(object) = message.payload {
                    objects.push(object);
                } else if let NetlinkPayload::Error(error) = message.payload {
                    return Ok(Answer::Errno(Errno::from_raw(-error.raw_code())));
                } else if let NetlinkPayload::Done(_) = message.payload {
                    return Ok(Answer::Objects(objects));
                } else {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "neither an object nor an end nor an error",
                    ));
                }
            }
            if flags != NLM_F_DUMP {
                return Ok(Answer::Objects(objects));
            }
        }
    }
}

/// What names a neighbour.
fn entry(index: u32, neighbour: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = address_family(Family::of(neighbour));
    message.header.ifindex = index;
    let destination = match neighbour {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes.push(NeighbourAttribute::Destination(destination));
    message
}

fn permanent(object: &RouteNetlinkMessage) -> Option<Mac> {
    let RouteNetlinkMessage::NewNeighbour(entry) = object else { return None };
    let mac = entry.attributes.iter().find_map(|attribute| {
        let NeighbourAttribute::LinkLayerAddress(bytes) = attribute else { return None };
        <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac)
    });
    mac.filter(|_| entry.header.state == NeighbourState::Permanent)
}

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn found(object: &RouteNetlinkMessage) -> Option<Found> {
    let RouteNetlinkMessage::NewRoute(route) = object else { return None };
    let dead_ends = [
        (RouteType::Local, Found::Local),
        (RouteType::Unreachable, Found::Unreachable),
        (RouteType::Prohibit, Found::Prohibited),
        (RouteType::BlackHole, Found::Blackhole),
    ];
    if let Some((_, found)) = dead_ends.into_iter().find(|(kind, _)| *kind == route.header.kind) {
        return Some(found);
    }
    let mut way = (None, None);
    for attribute in &route.attributes {
        if let RouteAttribute::Oif(index) = attribute {
            way.0 = Some(*index);
        } else if let RouteAttribute::Gateway(RouteAddress::Inet(address)) = attribute {
            way.1 = Some(IpAddr::from(*address));
        } else if let RouteAttribute::Gateway(RouteAddress::Inet6(address)) = attribute {
            way.1 = Some(IpAddr::from(*address));
        }
    }
    let (index, gateway) = way;
    Some(Found::Via { index: index?, gateway })
}

fn preferred_source(object: &RouteNetlinkMessage) -> Option<IpAddr> {
    let RouteNetlinkMessage::NewRoute(route) = object else { return None };
    route.attributes.iter().find_map(|attribute| {
        if let RouteAttribute::PrefSource(RouteAddress::Inet(address)) = attribute {
            Some(IpAddr::from(*address))
        } else if let RouteAttribute::PrefSource(RouteAddress::Inet6(address)) = attribute {
            Some(IpAddr::from(*address))
        } else {
            None
        }
    })
}

/// How a lookup that ends at a route or rule of this kind fails; nothing if it failed for another reason.
fn refused(errno: Errno) -> Option<Found> {
    let known = [
        (Errno::ENETUNREACH, Found::Unreachable),
        (Errno::EHOSTUNREACH, Found::Unreachable),
        (Errno::EACCES, Found::Prohibited),
        (Errno::EINVAL, Found::Blackhole),
    ];
    known.into_iter().find(|(code, _)| *code == errno).map(|(_, found)| found)
}

fn waits(object: &RouteNetlinkMessage) -> bool {
    matches!(object, RouteNetlinkMessage::NewNeighbour(entry) if entry.header.state == NeighbourState::Incomplete)
}

fn name(object: &RouteNetlinkMessage) -> Option<DeviceName> {
    let RouteNetlinkMessage::NewLink(link) = object else { return None };
    link.attributes.iter().find_map(|attribute| {
        let LinkAttribute::IfName(name) = attribute else { return None };
        DeviceName::new(name.as_str()).ok()
    })
}
