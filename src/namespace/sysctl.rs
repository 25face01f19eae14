//! The sysctls that are part of a namespace's state: which are watched, what a new namespace has, and what the kernel
//! changes besides the key that is written.

use std::collections::{BTreeMap, BTreeSet};

/// Keys below `net.ipv4.conf.DEVICE.` (`all`, `default` and `lo` count as devices) that are watched.
pub const IPV4_CONF: [&str; 9] = [
    "forwarding",
    "proxy_arp",
    "arp_ignore",
    "arp_announce",
    "send_redirects",
    "rp_filter",
    "promote_secondaries",
    "accept_redirects",
    "arp_accept",
];

/// Keys below `net.ipv6.conf.DEVICE.` that are watched.
pub const IPV6_CONF: [&str; 6] = ["forwarding", "accept_ra", "disable_ipv6", "autoconf", "addr_gen_mode", "proxy_ndp"];

/// Keys below `net.ipv4.neigh.DEVICE.` that are watched, on real devices only. `proxy_delay` is in hundredths of a second
/// to the reader and in jiffies to the kernel, so the 1 that the agent writes reads back as 0 on most kernels.
pub const IPV4_NEIGH: [&str; 1] = ["proxy_delay"];

/// Keys without a device that are watched.
pub const WATCHED: [&str; 5] = [
    "net.ipv4.ip_forward",
    "net.ipv4.ip_nonlocal_bind",
    "net.ipv6.ip_nonlocal_bind",
    "net.netfilter.nf_conntrack_tcp_loose",
    "net.netfilter.nf_conntrack_tcp_be_liberal",
];

/// The value a new namespace has, as the kernel's own defaults are; none for a key that is not watched.
pub fn default_value(key: &str) -> Option<&'static str> {
    if let Some((_device, name)) = device_key(key, "net.ipv4.conf.") {
        return IPV4_CONF.contains(&name).then_some(match name {
            "send_redirects" | "accept_redirects" => "1",
            _off => "0",
        });
    }
    if let Some((_device, name)) = device_key(key, "net.ipv6.conf.") {
        return IPV6_CONF.contains(&name).then_some(match name {
            "accept_ra" | "autoconf" => "1",
            _off => "0",
        });
    }
    if let Some((_device, name)) = device_key(key, "net.ipv4.neigh.") {
        return IPV4_NEIGH.contains(&name).then_some("80");
    }
    WATCHED.contains(&key).then_some(if key == "net.netfilter.nf_conntrack_tcp_loose" { "1" } else { "0" })
}

/// The device that a key belongs to, `all`, `default` and `lo` included; none for a key of the whole namespace.
pub fn device_of(key: &str) -> Option<&str> {
    ["net.ipv4.conf.", "net.ipv6.conf.", "net.ipv4.neigh."]
        .into_iter()
        .find_map(|prefix| device_key(key, prefix))
        .map(|(device, _name)| device)
}

/// Splits `PREFIX DEVICE . NAME`; a device name may hold dots, the last part never does.
fn device_key<'a>(key: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    key.strip_prefix(prefix)?.rsplit_once('.')
}

/// Writes `value` to `key` in `sysctls` (which holds what differs from a new namespace) with what the kernel changes along
/// with it: the switches for forwarding reach every device and those to come, and IPv4's turns `accept_redirects` of `all`.
pub fn write(sysctls: &mut BTreeMap<String, String>, devices: &BTreeSet<&str>, key: &str, value: &str) {
    let changed = read(sysctls, key) != Some(value);
    set(sysctls, key, value);
    if !changed {
        return;
    }
    let everywhere = ["all", "default", "lo"].into_iter().chain(devices.iter().copied());
    match key {
        "net.ipv4.ip_forward" | "net.ipv4.conf.all.forwarding" => {
            set(sysctls, "net.ipv4.ip_forward", value);
            set(sysctls, "net.ipv4.conf.all.accept_redirects", if value == "0" { "1" } else { "0" });
            for device in everywhere {
                set(sysctls, &format!("net.ipv4.conf.{device}.forwarding"), value);
            }
        }
        "net.ipv6.conf.all.forwarding" => {
            for device in everywhere {
                set(sysctls, &format!("net.ipv6.conf.{device}.forwarding"), value);
            }
        }
        _alone => {}
    }
}

/// What a device that is made now begins with: the values of `default` that differ from a new namespace's.
pub fn inherit(sysctls: &mut BTreeMap<String, String>, device: &str) {
    for family in ["net.ipv4.conf.", "net.ipv6.conf."] {
        let prefix = format!("{family}default.");
        let inherited: Vec<(String, String)> = sysctls
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?, value)))
            .map(|(name, value)| (format!("{family}{device}.{name}"), value.clone()))
            .collect();
        sysctls.extend(inherited);
    }
}

/// The value of a watched key.
pub fn read<'a>(sysctls: &'a BTreeMap<String, String>, key: &str) -> Option<&'a str> {
    sysctls.get(key).map(String::as_str).or_else(|| default_value(key))
}

fn set(sysctls: &mut BTreeMap<String, String>, key: &str, value: &str) {
    if default_value(key) == Some(value) {
        sysctls.remove(key);
    } else {
        sysctls.insert(key.to_owned(), value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_defaults_of_a_new_namespace() {
        assert_eq!(default_value("net.ipv4.conf.qr-a.send_redirects"), Some("1"));
        assert_eq!(default_value("net.ipv6.conf.all.accept_ra"), Some("1"));
        assert_eq!(default_value("net.ipv4.neigh.fg-a.proxy_delay"), Some("80"));
        assert_eq!(default_value("net.netfilter.nf_conntrack_tcp_loose"), Some("1"));
        assert_eq!(default_value("net.ipv4.conf.qr-a.tag"), None);
        assert_eq!(device_of("net.ipv4.conf.eth0.5.forwarding"), Some("eth0.5"));
        assert_eq!(device_of("net.ipv4.ip_forward"), None);
    }

    #[test]
    fn the_switch_for_forwarding_reaches_every_device() {
        let mut sysctls = BTreeMap::new();
        write(&mut sysctls, &BTreeSet::from(["qr-a"]), "net.ipv4.ip_forward", "1");
        for key in ["net.ipv4.conf.all.forwarding", "net.ipv4.conf.qr-a.forwarding", "net.ipv4.conf.lo.forwarding"] {
            assert_eq!(sysctls.get(key).map(String::as_str), Some("1"), "{key}");
        }
        assert_eq!(read(&sysctls, "net.ipv4.conf.all.accept_redirects"), Some("0"));
        inherit(&mut sysctls, "qr-b");
        assert_eq!(read(&sysctls, "net.ipv4.conf.qr-b.forwarding"), Some("1"));
        write(&mut sysctls, &BTreeSet::from(["qr-a", "qr-b"]), "net.ipv4.ip_forward", "0");
        assert!(sysctls.is_empty(), "{sysctls:?}");
    }
}
