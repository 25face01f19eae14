//! `addr DEV ADDR/LEN scope S [broadcast B] [FLAG]...`

use std::net::IpAddr;

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};

use super::Names;
use crate::kernel::netns::LOOPBACK_INDEX;

/// The flags that are told, as `ip` names them. PERMANENT, which every address has that nobody leases, is left out.
const FLAGS: [(AddressFlags, &str); 9] = [
    (AddressFlags::Secondary, "secondary"),
    (AddressFlags::Nodad, "nodad"),
    (AddressFlags::Optimistic, "optimistic"),
    (AddressFlags::Dadfailed, "dadfailed"),
    (AddressFlags::Deprecated, "deprecated"),
    (AddressFlags::Tentative, "tentative"),
    (AddressFlags::Managetempaddr, "mngtmpaddr"),
    (AddressFlags::Noprefixroute, "noprefixroute"),
    (AddressFlags::StablePrivacy, "stable-privacy"),
];

/// The line, unless it is left out: the two addresses that `lo` is born with.
pub(super) fn line(message: &AddressMessage, names: &Names) -> Option<String> {
    let device = names.get(&message.header.index)?;
    let mut own = None;
    let mut shown = None;
    let mut broadcast = None;
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        if let AddressAttribute::Local(address) = attribute {
            own = Some(*address);
        } else if let AddressAttribute::Address(address) = attribute {
            shown = Some(*address);
        } else if let AddressAttribute::Broadcast(address) = attribute {
            broadcast = Some(*address);
        } else if let AddressAttribute::Flags(all) = attribute {
            flags = *all;
        }
    }
    let address = own.or(shown)?;
    if message.header.index == LOOPBACK_INDEX && born_with(address, message.header.prefix_len) {
        return None;
    }
    let peer = shown.filter(|peer| own.is_some_and(|own| own != *peer));
    let mut line = match peer {
        Some(peer) => format!("addr   {device} {address} peer {peer}/{}", message.header.prefix_len),
        None => format!("addr   {device} {address}/{}", message.header.prefix_len),
    };
    line.extend([format!(" scope {}", scope(message.header.scope))]);
    if let Some(broadcast) = broadcast {
        line.extend([format!(" broadcast {broadcast}")]);
    }
    for (_, word) in FLAGS.iter().filter(|(flag, _)| flags.contains(*flag)) {
        line.push(' ');
        line.push_str(word);
    }
    if !flags.contains(AddressFlags::Permanent) {
        line.push_str(" dynamic");
    }
    Some(line)
}

fn born_with(address: IpAddr, length: u8) -> bool {
    address.is_loopback() && matches!((address, length), (IpAddr::V4(_), 8) | (IpAddr::V6(_), 128))
}

fn scope(scope: AddressScope) -> String {
    match scope {
        AddressScope::Universe => "global".to_owned(),
        AddressScope::Site => "site".to_owned(),
        AddressScope::Link => "link".to_owned(),
        AddressScope::Host => "host".to_owned(),
        AddressScope::Nowhere => "nowhere".to_owned(),
        other @ (AddressScope::Other(_) | _) => u8::from(other).to_string(),
    }
}
