//! Value types of the network and the numbers taken from the reference, each with its source.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

pub use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// Routing table that a floating IP's traffic looks up. Neutron: `dvr_fip_ns.FIP_RT_TBL`.
pub const FIP_TABLE: u32 = 16;
/// First priority of a floating IP's rule. Neutron: `dvr_fip_ns.FIP_PR_START`.
pub const FIP_PRIORITY_FIRST: u32 = 32_768;
/// First priority past the floating IPs' pool. Neutron: `FIP_PR_START + 40000`.
pub const FIP_PRIORITY_END: u32 = 72_768;
/// Priority of the way out for a subnet in the gateway's address scope. Neutron: `dvr_fip_ns.FAST_PATH_EXIT_PR`.
pub const FAST_PATH_EXIT_PRIORITY: u32 = 80_000;
/// Priority of the way out for what a namespace sends itself: after all of the agent's below the redirects. Ours.
pub const OWN_TRAFFIC_PRIORITY: u32 = 80_001;
/// Pool of the /31 pairs between `rfp-` and `fpr-`. Neutron: `DVR_FIP_LL_CIDR`.
pub const LINK_LOCAL_POOL: (Ipv4Addr, u8) = (Ipv4Addr::new(169, 254, 64, 0), 18);
/// Bits of the packet mark that carry the address scope. Neutron: `ADDRESS_SCOPE_MARK_MASK`.
pub const SCOPE_MASK: u32 = 0xffff_0000;
/// First address-scope id, which means "no scope". Neutron: `ADDRESS_SCOPE_MARK_ID_MIN`.
pub const SCOPE_ID_MIN: u32 = 1024;
/// First id past the address scopes. Neutron: `ADDRESS_SCOPE_MARK_ID_MAX`.
pub const SCOPE_ID_END: u32 = 2048;
/// Mark of metadata requests. Neutron: `metadata_access_mark`.
pub const METADATA_MARK: u32 = 0x1;
/// Mark of what came in by the gateway device. Neutron: `external_ingress_mark`.
pub const INGRESS_MARK: u32 = 0x2;
/// Bits of the mark used by metadata and ingress. Neutron: `ROUTER_MARK_MASK`.
pub const ROUTER_MARK_MASK: u32 = 0xffff;
/// The routing table `main`.
pub const TABLE_MAIN: u32 = 254;
/// The routing table `default`.
pub const TABLE_DEFAULT: u32 = 253;
/// The routing table `local`.
pub const TABLE_LOCAL: u32 = 255;

/// Ports `first` to `last`; one port if equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// First.
    pub first: u16,
    /// Last, inclusive.
    pub last: u16,
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self { first: port, last: port }
    }
}

impl PortRange {
    /// Reads `8000`, or `8000:8010` with `:` as the separator.
    pub fn read(text: &str, separator: char) -> Option<Self> {
        let (first, last) = text.split_once(separator).unwrap_or((text, text));
        Some(Self { first: first.parse().ok()?, last: last.parse().ok()? })
    }

    /// Whether it is one port.
    pub fn is_single(self) -> bool {
        self.first == self.last
    }

    /// Whether a port is among them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in the order in which everything is listed.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The prefix that holds every address.
    pub fn any(self) -> IpNet {
        match self {
            Self::V4 => Ipv4Net::default().into(),
            Self::V6 => Ipv6Net::default().into(),
        }
    }

    /// 32 or 128.
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// The prefix of one address alone.
pub fn host_net(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

/// The family of a prefix.
pub fn family_of(net: &IpNet) -> Family {
    Family::of(net.addr())
}

/// A prefix as `ip` prints a destination: `default`, a bare address for a host, else with its length.
pub fn destination_text(net: &IpNet) -> String {
    if net.prefix_len() == 0 {
        "default".to_owned()
    } else if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

/// A MAC address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

/// A text that is no MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address (six hex bytes with colons)")]
pub struct MacError(pub String);

impl Mac {
    /// All ones.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// All zeros.
    pub const ZERO: Self = Self([0; 6]);

    /// It is that of a group, or of all.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// A MAC made of a purpose and a name, the same in every run. Neutron's `base_mac` is `fa:16:3e:00:00:00`.
    pub fn derived(purpose: &str, name: &str) -> Self {
        let [a, b, c] = digest(purpose, name);
        Self([0xfa, 0x16, 0x3e, a, b, c])
    }

    /// A host's DVR MAC. Neutron's `dvr_base_mac` is `fa:16:3f:00:00:00`.
    pub fn dvr(host: &str) -> Self {
        let [a, b, c] = digest("dvr", host);
        Self([0xfa, 0x16, 0x3f, a, b, c])
    }

    /// The MAC of a host's device on the underlay.
    pub fn uplink(host: &str) -> Self {
        Self::derived("uplink", host)
    }

    /// A router's gateway port's MAC.
    pub fn gateway(router: &str) -> Self {
        Self::derived("qg", router)
    }

    /// The IPv6 link-local address that the kernel makes of it (modified EUI-64).
    pub fn link_local(self) -> Ipv6Addr {
        self.eui64(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0))
    }

    /// The address with this MAC's modified EUI-64 as its lower half (RFC 4291, appendix A). The upper half is `prefix`'s.
    pub fn eui64(self, prefix: Ipv6Addr) -> Ipv6Addr {
        let [first, second, third, fourth, fifth, sixth] = self.0;
        let host = u64::from_be_bytes([first ^ 2, second, third, 0xff, 0xfe, fourth, fifth, sixth]);
        Ipv6Addr::from((u128::from(prefix) >> 64 << 64) | u128::from(host))
    }
}

/// Three bytes of FNV-1a over purpose and name: short, stable, no secret involved.
fn digest(purpose: &str, name: &str) -> [u8; 3] {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in purpose.bytes().chain([b'/']).chain(name.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // Eight bytes folded to three.
    let mut folded = [0; 3];
    for (n, byte) in hash.to_be_bytes().into_iter().enumerate() {
        if let Some(slot) = folded.get_mut(n % 3) {
            *slot ^= byte;
        }
    }
    folded
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if n == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}
impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for Mac {
    type Err = MacError;
    fn from_str(text: &str) -> Result<Self, MacError> {
        let bad = || MacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_not_hex| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(bytes)) }
    }
}
impl TryFrom<String> for Mac {
    type Error = MacError;
    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}
impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_print_and_parse() {
        let mac: Mac = "fa:16:3e:0a:00:01".parse().unwrap();
        assert_eq!(mac.to_string(), "fa:16:3e:0a:00:01");
        assert_eq!(mac.link_local().to_string(), "fe80::f816:3eff:fe0a:1");
        assert_eq!(mac.eui64("2001:db8:1::99".parse().unwrap()).to_string(), "2001:db8:1:0:f816:3eff:fe0a:1");
        for bad in ["", "fa:16", "fa:16:3e:0a:00:01:02", "fa:16:3e:0a:00:zz", "fa:16:3e:a:0:1"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn derived_macs_differ_by_purpose() {
        assert_ne!(Mac::derived("qr", "red4"), Mac::derived("sg", "red4"));
        assert_eq!(Mac::derived("qr", "red4"), Mac::derived("qr", "red4"));
    }
}
