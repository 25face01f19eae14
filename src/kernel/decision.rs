//! What a namespace's routing decides about one packet, and which entry of which table it was (RTM_F_FIB_MATCH).
//!
//! In: a namespace and the packet. Out: the route that matched, or the kernel's reason why there is none. Never: a way that the
//! namespace's own lookup would not take: device it came in by and mark are given to it.

use std::net::IpAddr;

use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType, RouteVia};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::extack::NetlinkError;
use super::netns::Netns;
use super::request::{answers, dump};
use crate::name::DeviceName;
use crate::namespace::table_text;
use crate::net::{Family, IpNet, Mac, TABLE_LOCAL, destination_text};
use crate::why::{Lookup, Neighbour};

/// Kinds of routes with what `ip route` writes before their destination; before all others, nothing.
const KINDS: [(RouteType, &str); 5] = [
    (RouteType::Local, "local "),
    (RouteType::Broadcast, "broadcast "),
    (RouteType::Unreachable, "unreachable "),
    (RouteType::BlackHole, "blackhole "),
    (RouteType::Prohibit, "prohibit "),
];

/// The entry that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Its table.
    pub table: u32,
    /// As `ip route` prints it.
    pub route: String,
    /// The device, and the neighbour that it sends to; none where it ends here.
    pub next_hop: Option<(DeviceName, IpAddr)>,
}

/// Asks for the route of a packet. The inner error is the kernel's answer that there is none.
///
/// # Errors
/// [`NetlinkError`] if the kernel cannot be asked.
pub async fn decide(netns: &Netns, lookup: &Lookup) -> Result<Result<Decision, String>, NetlinkError> {
    let family = Family::of(lookup.destination);
    let bits = if family == Family::V4 { 32 } else { 128 };
    let mut message = RouteMessage::default();
    message.header.address_family = if family == Family::V4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.destination_prefix_length = bits;
    message.header.source_prefix_length = bits;
    message.header.flags = RouteFlags::FibMatch | RouteFlags::LookupTable;
    message.attributes.push(RouteAttribute::Destination(lookup.destination.into()));
    message.attributes.push(RouteAttribute::Source(lookup.source.into()));
    if let Some(device) = &lookup.input {
        let index = netns.known_index(device).ok_or_else(|| NetlinkError::of(Errno::ENODEV))?;
        message.attributes.push(RouteAttribute::Iif(index));
    }
    if lookup.mark != 0 {
        message.attributes.push(RouteAttribute::Mark(lookup.mark));
    }
    match answers(netns.handle(), RouteNetlinkMessage::GetRoute(message), 0).await {
        Ok(objects) => {
            let found = objects.iter().find_map(|object| {
                let RouteNetlinkMessage::NewRoute(route) = object else { return None };
                read(netns, route, lookup.destination)
            });
            Ok(found.ok_or_else(|| "the kernel names no route".to_owned()))
        }
        Err(error) => reason(&error).map(|text| Err(text.to_owned())).ok_or(error),
    }
}

/// Why the kernel takes a packet nowhere, in words.
fn reason(error: &NetlinkError) -> Option<&'static str> {
    let reasons = [
        (Errno::ENETUNREACH, "no table that the ip rules lead to has a route"),
        (Errno::EHOSTUNREACH, "no route, or the namespace does not forward"),
        (Errno::EACCES, "a route or ip rule prohibits it"),
        (Errno::EXDEV, "the reverse path filter discards it"),
        (Errno::EINVAL, "a blackhole, or an address that may not be there"),
    ];
    reasons.into_iter().find(|(errno, _)| error.errno() == Some(*errno)).map(|(_, text)| text)
}

fn read(netns: &Netns, message: &RouteMessage, to: IpAddr) -> Option<Decision> {
    let (mut destination, mut table) = (Family::of(to).any(), u32::from(message.header.table));
    let (mut device, mut via) = (None, None);
    for attribute in &message.attributes {
        if let RouteAttribute::Table(number) = attribute {
            table = *number;
        } else if let RouteAttribute::Destination(found) = attribute {
            destination = IpNet::new(address(found)?, message.header.destination_prefix_length).ok()?;
        } else if let RouteAttribute::Oif(index) = attribute {
            device = netns.known_device(*index);
        } else if let RouteAttribute::Gateway(found) = attribute {
            via = address(found);
        } else if let RouteAttribute::Via(RouteVia::Inet6(found)) = attribute {
            via = Some(IpAddr::V6(*found));
        }
    }
    // Until a namespace has an ip rule of its own, the kernel keeps the tables `local` and `main` as one.
    if message.header.kind == RouteType::Local {
        table = TABLE_LOCAL;
    }
    let kind = KINDS.into_iter().find(|(kind, _)| *kind == message.header.kind).map_or("", |(_, word)| word);
    let way = via.map_or_else(String::new, |via| format!(" via {via}"));
    let out = device.as_ref().map_or_else(String::new, |device| format!(" dev {device}"));
    let route = format!("{kind}{}{way}{out} table {}", destination_text(&destination), table_text(table));
    let next_hop =
        device.filter(|_| message.header.kind == RouteType::Unicast).map(|device| (device, via.unwrap_or(to)));
    Some(Decision { table, route, next_hop })
}

fn address(found: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(v4) = found {
        Some(IpAddr::V4(*v4))
    } else if let RouteAddress::Inet6(v6) = found {
        Some(IpAddr::V6(*v6))
    } else {
        None
    }
}

/// What a namespace knows of a neighbour.
///
/// # Errors
/// [`NetlinkError`] if the kernel cannot be asked.
pub async fn neighbour(netns: &Netns, device: &DeviceName, address: IpAddr) -> Result<Neighbour, NetlinkError> {
    let known = dump(netns.handle(), RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default())).await?;
    let mut found = Neighbour { address, device: device.clone(), mac: None, permanent: false };
    for answer in &known {
        if let RouteNetlinkMessage::NewNeighbour(message) = answer
            && netns.known_index(device) == Some(message.header.ifindex)
            && message.attributes.iter().any(|one| is(one, address))
        {
            let usable = !matches!(message.header.state, NeighbourState::Failed | NeighbourState::Incomplete);
            found.mac = message.attributes.iter().find_map(mac).filter(|_| usable);
            found.permanent = message.header.state == NeighbourState::Permanent;
        }
    }
    Ok(found)
}

fn is(attribute: &NeighbourAttribute, address: IpAddr) -> bool {
    if let NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) = attribute {
        IpAddr::V4(*v4) == address
    } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) = attribute {
        IpAddr::V6(*v6) == address
    } else {
        false
    }
}

fn mac(attribute: &NeighbourAttribute) -> Option<Mac> {
    if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
        bytes.first_chunk::<6>().map(|bytes| Mac(*bytes))
    } else {
        None
    }
}
