//! Single values: from their text to their type, or what is wrong with them.

use std::net::IpAddr;

use crate::api::{AddressPair, StaticRoute};
use crate::net::{Family, IpNet, Mac, family_of};

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// In one line.
    pub(super) message: String,
    /// What to write.
    pub(super) help: String,
}

fn wrong(message: impl Into<String>, help: impl Into<String>) -> Wrong {
    Wrong { message: message.into(), help: help.into() }
}

/// Protocol numbers of TCP and UDP.
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// `true` or `false`.
pub(super) fn boolean(text: &str) -> Result<bool, Wrong> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        "yes" | "no" | "on" | "off" | "True" | "False" | "TRUE" | "FALSE" => {
            Err(wrong(format!("`{text}` is not a boolean"), "write `true` or `false`"))
        }
        _ => Err(wrong(format!("`{text}` is neither `true` nor `false`"), "write `true` or `false`")),
    }
}

/// The longest time that a file may ask for, in milliseconds.
const LONGEST: u32 = 60_000;

/// Milliseconds of `50ms` or `2s`; none if it is no time, or longer than a minute.
pub(super) fn milliseconds(text: &str) -> Option<u32> {
    match text.strip_suffix("ms") {
        Some(number) => integer(number, 1, LONGEST).ok(),
        None => integer(text.strip_suffix('s')?, 1, LONGEST / 1_000).ok().map(|seconds| seconds * 1_000),
    }
}

/// A whole number between `min` and `max`.
pub(super) fn integer(text: &str, min: u32, max: u32) -> Result<u32, Wrong> {
    let range = format!("write a whole number from {min} to {max}");
    let number: u32 =
        text.parse().map_err(|_no_number| wrong(format!("`{text}` is not a whole number"), range.as_str()))?;
    if (min..=max).contains(&number) { Ok(number) } else { Err(wrong(format!("{number} is out of range"), range)) }
}

/// A port number.
pub(super) fn port(text: &str) -> Result<u16, Wrong> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        Ok(_) | Err(_) => Err(wrong(format!("`{text}` is not a port number"), "write a number from 1 to 65535")),
    }
}

/// An address.
pub(super) fn address(text: &str) -> Result<IpAddr, Wrong> {
    text.parse().map_err(|_no_address| {
        if text.parse::<IpNet>().is_ok() {
            let bare = text.split('/').next().unwrap_or(text);
            wrong(format!("`{text}` has a prefix length, an address has none"), format!("write `{bare}`"))
        } else {
            wrong(format!("`{text}` is not an IP address"), "write it like `10.0.1.11`")
        }
    })
}

/// A floating IP's address.
pub(super) fn floating_ip(text: &str) -> Result<IpAddr, Wrong> {
    let address = address(text)?;
    if address.is_ipv6() {
        return Err(wrong(
            format!("a floating IP is an IPv4 address, not `{text}`"),
            "IPv6 is routed, never translated: instances are reached by their own addresses",
        ));
    }
    Ok(address)
}

/// A prefix without host bits.
pub(super) fn prefix(text: &str) -> Result<IpNet, Wrong> {
    let net: IpNet = text.parse().map_err(|_no_prefix| {
        let help = if text.parse::<IpAddr>().is_ok() {
            format!("write its length too, like `{text}/{}`", if text.contains(':') { 64 } else { 24 })
        } else {
            "write it like `10.0.1.0/24`".to_owned()
        };
        wrong(format!("`{text}` is not a prefix"), help)
    })?;
    if net == net.trunc() {
        Ok(net)
    } else {
        Err(wrong(format!("`{text}` has host bits set"), format!("write `{}`", net.trunc())))
    }
}

/// An address with the prefix length of its link.
pub(super) fn address_with_prefix(text: &str) -> Result<IpNet, Wrong> {
    text.parse::<IpNet>().map_err(|_no_net| {
        wrong(format!("`{text}` is not an address with a prefix length"), "write it like `172.16.0.5/24`")
    })
}

/// An address or a prefix.
pub(super) fn address_or_prefix(text: &str) -> Result<IpNet, Wrong> {
    if text.contains('/') { prefix(text) } else { address(text).map(IpNet::from) }
}

/// A MAC address of a single machine.
pub(super) fn mac(text: &str) -> Result<Mac, Wrong> {
    let mac: Mac = text.parse().map_err(|_no_mac| {
        wrong(format!("`{text}` is not a MAC address"), "write six hex bytes with colons: `fa:16:3e:00:00:01`")
    })?;
    let [first, ..] = mac.0;
    if first & 1 == 1 || mac == Mac::ZERO {
        return Err(wrong(
            format!("`{text}` cannot be a machine's own MAC address"),
            "write one whose first byte is even",
        ));
    }
    Ok(mac)
}

/// `ADDRESS` or `ADDRESS MAC`; a prefix is possible too.
pub(super) fn address_pair(text: &str) -> Result<AddressPair, Wrong> {
    let mut words = text.split_whitespace();
    let (Some(first), own, None) = (words.next(), words.next(), words.next()) else {
        let help = "write it like `10.0.1.100` or `10.0.1.100 00:00:5e:00:01:0a`";
        return Err(wrong(format!("`{text}` is not an address pair"), help));
    };
    Ok(AddressPair { address: address_or_prefix(first)?, mac: own.map(mac).transpose()? })
}

/// `A-B`.
pub(super) fn range(text: &str) -> Result<(IpAddr, IpAddr), Wrong> {
    let bad = || wrong(format!("`{text}` is not a range of addresses"), "write it like `10.0.1.100-10.0.1.199`");
    let (first, last) = text.split_once('-').ok_or_else(bad)?;
    let first: IpAddr = first.trim().parse().map_err(|_no_address| bad())?;
    let last: IpAddr = last.trim().parse().map_err(|_no_address| bad())?;
    if first.is_ipv4() != last.is_ipv4() {
        return Err(bad());
    }
    if first > last {
        return Err(wrong(format!("`{text}` runs backwards"), format!("write `{last}-{first}`")));
    }
    Ok((first, last))
}

/// `DEST via NEXTHOP`.
pub(super) fn route(text: &str) -> Result<StaticRoute, Wrong> {
    let mut words = text.split_whitespace();
    let (Some(destination), Some("via"), Some(next_hop), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(wrong(format!("`{text}` is not a route"), "write it like `198.18.7.0/24 via 10.0.1.12`"));
    };
    let destination = if destination.contains('/') { prefix(destination)? } else { address(destination)?.into() };
    let next_hop = address(next_hop)?;
    if family_of(&destination) != Family::of(next_hop) {
        return Err(wrong(format!("`{text}` mixes IPv4 and IPv6"), "write a next hop of the destination's family"));
    }
    Ok(StaticRoute { destination, next_hop })
}

/// `PROTO/PORT`, as protocol number and port.
pub(super) fn closed(text: &str) -> Result<(u8, u16), Wrong> {
    let (protocol, number) = text.split_once('/').unwrap_or((text, ""));
    let protocol = match protocol {
        "tcp" => TCP,
        "udp" => UDP,
        _ => return Err(wrong(format!("`{text}` is not a protocol and port"), "write it like `udp/9` or `tcp/22`")),
    };
    Ok((protocol, port(number)?))
}
