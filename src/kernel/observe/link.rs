//! Devices of a dump.

use std::collections::BTreeMap;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, Inet6DevConf, InetDevConf, LinkAttribute, LinkFlags, LinkMessage,
};

use crate::kernel::links::mac_of;
use crate::kernel::netns::{LOOPBACK_INDEX, Netns};
use crate::name::{DeviceName, NameError};
use crate::namespace::Link;
use crate::net::Mac;

/// Devices that tunnel modules put into every new namespace and that nobody can remove. Neutron leaves the same out:
/// `ip_lib.IPWrapper.get_devices`, `FB_TUNNEL_DEVICE_NAMES`.
pub(in crate::kernel) const FALLBACK: [&str; 9] =
    ["gre0", "gretap0", "tunl0", "erspan0", "sit0", "ip6tnl0", "ip6gre0", "ip_vti0", "ip6_vti0"];

/// A device as the kernel tells of it.
pub(in crate::kernel) struct Device {
    pub(in crate::kernel) index: u32,
    pub(in crate::kernel) name: DeviceName,
    pub(super) mac: Mac,
    mtu: u32,
    pub(super) up: bool,
    /// What no agent sets.
    odd: String,
    pub(super) ipv4: Option<InetDevConf>,
    pub(super) ipv6: Option<Inet6DevConf>,
}

/// The devices of a dump but for the fallback tunnels.
pub(in crate::kernel) fn devices(answers: Vec<RouteNetlinkMessage>) -> Result<Vec<Device>, NameError> {
    let mut devices = Vec::with_capacity(answers.len());
    for answer in answers {
        if let RouteNetlinkMessage::NewLink(message) = answer
            && let Some(device) = decode(&message)?
        {
            devices.push(device);
        }
    }
    Ok(devices)
}

fn decode(message: &LinkMessage) -> Result<Option<Device>, NameError> {
    let mut name = "";
    let mut mac = Mac::ZERO;
    let mut mtu = 0;
    let mut ipv4 = None;
    let mut ipv6 = None;
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(text) = attribute {
            name = text;
        } else if let LinkAttribute::Mtu(bytes) = attribute {
            mtu = *bytes;
        } else if let LinkAttribute::AfSpecUnspec(specs) = attribute {
            (ipv4, ipv6) = configuration(specs);
        } else if let Some(found) = mac_of(attribute) {
            mac = found;
        }
    }
    if FALLBACK.contains(&name) {
        return Ok(None);
    }
    let up = message.header.flags.contains(LinkFlags::Up);
    let name = DeviceName::new(name)?;
    Ok(Some(Device { index: message.header.index, name, mac, mtu, up, odd: odd(message), ipv4, ipv6 }))
}

/// What no agent sets on a device.
fn odd(message: &LinkMessage) -> String {
    const FLAGS: [(LinkFlags, &str); 5] = [
        (LinkFlags::Allmulti, "ALLMULTI"),
        (LinkFlags::Debug, "DEBUG"),
        (LinkFlags::Dynamic, "DYNAMIC"),
        (LinkFlags::Noarp, "NOARP"),
        (LinkFlags::Promisc, "PROMISC"),
    ];
    /// Linux: `DEFAULT_TX_QUEUE_LEN`.
    const QUEUE: u32 = 1000;
    let flags = message.header.flags;
    let mut words: Vec<String> =
        FLAGS.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, word)| (*word).to_owned()).collect();
    for attribute in &message.attributes {
        if let LinkAttribute::TxQueueLen(length) = attribute {
            words.extend((*length != QUEUE).then(|| format!("txqueuelen {length}")));
        } else if let LinkAttribute::Controller(index) = attribute {
            words.push(format!("master {index}"));
        } else if let LinkAttribute::IfAlias(alias) = attribute {
            words.push(format!("alias {alias}"));
        }
    }
    words.join(" ")
}

fn configuration(specs: &[AfSpecUnspec]) -> (Option<InetDevConf>, Option<Inet6DevConf>) {
    let mut ipv4 = None;
    let mut ipv6 = None;
    for spec in specs {
        if let AfSpecUnspec::Inet(inet) = spec {
            ipv4 = inet.iter().find_map(|part| if let AfSpecInet::DevConf(conf) = part { Some(*conf) } else { None });
        } else if let AfSpecUnspec::Inet6(inet6) = spec {
            ipv6 = inet6.iter().find_map(|part| if let AfSpecInet6::DevConf(conf) = part { Some(*conf) } else { None });
        }
    }
    (ipv4, ipv6)
}

/// All devices but `lo`, with what they lead to.
pub(super) fn links(netns: &Netns, devices: &[Device]) -> BTreeMap<DeviceName, Link> {
    let mut links = BTreeMap::new();
    for device in devices.iter().filter(|device| device.index != LOOPBACK_INDEX) {
        let attach = netns.attachment(device.index);
        links.insert(
            device.name.clone(),
            Link { mac: device.mac, mtu: device.mtu, up: device.up, attach, odd: device.odd.clone() },
        );
    }
    links
}
