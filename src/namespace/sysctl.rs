//! The sysctls that are part of a namespace's state.

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

/// Keys without a device that are watched.
pub const WATCHED: [&str; 5] = [
    "net.ipv4.ip_forward",
    "net.ipv4.ip_nonlocal_bind",
    "net.ipv6.ip_nonlocal_bind",
    "net.netfilter.nf_conntrack_tcp_loose",
    "net.netfilter.nf_conntrack_tcp_be_liberal",
];

/// What a new namespace has, for a key that is to go back to it. Keys of a device follow the namespace's forwarding.
pub fn default(key: &str) -> &'static str {
    let last = key.rsplit('.').next().unwrap_or(key);
    match last {
        "nf_conntrack_tcp_loose" | "send_redirects" | "accept_redirects" | "autoconf" | "accept_ra" => "1",
        "proxy_delay" => "80",
        _ => "0",
    }
}
