//! `link DEV mtu N MAC FLAGS`

use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};

use crate::kernel::links::mac_of;
use crate::kernel::netns::LOOPBACK_INDEX;
use crate::kernel::observe::FALLBACK;
use crate::net::Mac;

/// The flags that are told, as `ip` names them. BROADCAST and MULTICAST, which every Ethernet device has, are left out.
const FLAGS: [(LinkFlags, &str); 12] = [
    (LinkFlags::Allmulti, "ALLMULTI"),
    (LinkFlags::Debug, "DEBUG"),
    (LinkFlags::Dormant, "DORMANT"),
    (LinkFlags::Dynamic, "DYNAMIC"),
    (LinkFlags::Loopback, "LOOPBACK"),
    (LinkFlags::LowerUp, "LOWER_UP"),
    (LinkFlags::Controller, "MASTER"),
    (LinkFlags::Noarp, "NOARP"),
    (LinkFlags::Pointopoint, "POINTOPOINT"),
    (LinkFlags::Promisc, "PROMISC"),
    (LinkFlags::Port, "SLAVE"),
    (LinkFlags::Up, "UP"),
];

/// The line, unless it is left out: `lo` and the fallback tunnels.
pub(super) fn line(message: &LinkMessage) -> Option<String> {
    let mut name = "";
    let mut mac = Mac::ZERO;
    let mut mtu = 0;
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(text) = attribute {
            name = text;
        } else if let LinkAttribute::Mtu(bytes) = attribute {
            mtu = *bytes;
        } else if let Some(found) = mac_of(attribute) {
            mac = found;
        }
    }
    (message.header.index != LOOPBACK_INDEX && !FALLBACK.contains(&name))
        .then(|| format!("link   {name} mtu {mtu} {mac} {}", flags(message.header.flags)).trim_end().to_owned())
}

/// Sorted; `ip` makes NO-CARRIER of UP without RUNNING.
fn flags(flags: LinkFlags) -> String {
    let mut words: Vec<&str> = FLAGS.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, word)| *word).collect();
    if flags.contains(LinkFlags::Up) && !flags.contains(LinkFlags::Running) {
        words.push("NO-CARRIER");
    }
    words.sort_unstable();
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_of_ip() {
        let usual = LinkFlags::Up | LinkFlags::Broadcast | LinkFlags::Multicast;
        assert_eq!(flags(usual | LinkFlags::Running | LinkFlags::LowerUp), "LOWER_UP,UP");
        assert_eq!(flags(usual), "NO-CARRIER,UP");
        assert_eq!(flags(LinkFlags::Broadcast), "");
    }
}
