//! What stands in a network namespace, as values. Printed as `ip` prints it; observed and desired are the same type.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::iptables::Ruleset;
use crate::name::{DeviceName, Id, NamespaceName};
use crate::net::{Family, IpNet, Mac, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN, destination_text, family_of};

/// All router namespaces (`qrouter-`, `snat-`, `fip-`) of one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostState {
    /// By name.
    pub namespaces: BTreeMap<NamespaceName, NamespaceState>,
}

/// One namespace: everything that decides where its packets go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceState {
    /// Devices but for `lo`.
    pub links: BTreeMap<DeviceName, Link>,
    /// Addresses but for those of `lo` and the IPv6 link-local ones that the kernel makes of a MAC.
    pub addresses: BTreeSet<Address>,
    /// Policy rules of both families, the kernel's own three and two among them.
    pub rules: BTreeSet<PolicyRule>,
    /// Routes of every table but `local`, without those of protocol `kernel`.
    pub routes: BTreeSet<Route>,
    /// What the kernel makes of the rest by itself and somebody has taken away; nothing in a desired state.
    pub lost: BTreeSet<Lost>,
    /// Permanent neighbours.
    pub neighbours: BTreeMap<(DeviceName, IpAddr), Mac>,
    /// Addresses that somebody has a device answer for besides its own (`ip neigh add proxy`). The agent makes none.
    pub proxies: BTreeSet<(DeviceName, IpAddr)>,
    /// Sysctls of [`super::sysctl::WATCHED`] that differ from those of a new namespace: `net.ipv4.ip_forward` -> `1`.
    pub sysctls: BTreeMap<String, String>,
    /// The iptables tables of both families.
    pub rules_v4: Ruleset,
    /// IPv6.
    pub rules_v6: Ruleset,
    /// Tables of nf_tables that are neither iptables' nor the lab's own. The agent makes none.
    pub foreign_tables: BTreeSet<ForeignTable>,
}

/// A table that somebody else made with `nft`; printed as there: `table inet other`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignTable {
    /// The kernel's number of its family (`NFPROTO_*`).
    pub family: u8,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ForeignTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            1 => "inet",
            2 => "ip",
            3 => "arp",
            5 => "netdev",
            7 => "bridge",
            10 => "ip6",
            other => return write!(f, "table family-{other} {}", self.name),
        };
        write!(f, "table {family} {}", self.name)
    }
}

impl NamespaceState {
    /// The iptables tables of a family.
    pub fn ruleset(&self, family: Family) -> &Ruleset {
        match family {
            Family::V4 => &self.rules_v4,
            Family::V6 => &self.rules_v6,
        }
    }

    /// The same, to change.
    pub fn ruleset_mut(&mut self, family: Family) -> &mut Ruleset {
        match family {
            Family::V4 => &mut self.rules_v4,
            Family::V6 => &mut self.rules_v6,
        }
    }
}

/// Something that the kernel makes by itself, and that is not there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    /// The route to an IPv4 address's subnet.
    Route(Route),
    /// The route to an IPv6 address's subnet, or a device's link-local address itself.
    Address(Address),
}

/// The protocol of routes that the kernel makes. Source: linux/rtnetlink.h, `RTPROT_KERNEL`.
pub const KERNEL: RouteProtocol = RouteProtocol::Other(2);

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its MAC address.
    pub mac: Mac,
    /// In bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// What it leads to.
    pub attach: Attach,
    /// What the agent never sets, in the words of `ip link`: `NOARP`, `txqueuelen 7`. Empty on a device of the agent.
    pub odd: String,
}

/// What a device leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attach {
    /// A network: a tenant network's bridge on this host, or a provider segment.
    Network(Id),
    /// The other end of a veth pair in another router namespace of this host.
    Peer {
        /// Where the other end lives.
        namespace: NamespaceName,
        /// What it is called there.
        device: DeviceName,
    },
    /// Made by somebody else; always residue.
    Foreign,
}

/// An address on a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The device.
    pub device: DeviceName,
    /// The address with its prefix length, host bits kept. Scope and broadcast follow from it as the agent sets them.
    pub net: IpNet,
    /// IPv4: an elder address of the device is in the same subnet.
    pub secondary: bool,
    /// What the agent never sets, in the words of `ip addr`: `scope host`, `dynamic`. Empty for an address of the agent.
    pub odd: String,
}

impl Address {
    /// As the agent sets it, alone in its subnet or the eldest there.
    pub fn new(device: DeviceName, net: IpNet) -> Self {
        Self { device, net, secondary: false, odd: String::new() }
    }

    /// The broadcast address that goes with it: IPv4's last of the subnet, itself for a host's, none for a /31.
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        broadcast_of(&self.net)
    }
}

/// The broadcast address that the agent gives an address: IPv4's last of the subnet, itself for a host's, none for a /31,
/// which has no room for one.
pub fn broadcast_of(net: &IpNet) -> Option<Ipv4Addr> {
    match net {
        IpNet::V4(net) if net.prefix_len() == 31 => None,
        IpNet::V4(net) => Some(net.broadcast()),
        IpNet::V6(_) => None,
    }
}

/// An `ip rule`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyRule {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Lower is looked at first.
    pub priority: u32,
    /// Source selector with host bits as written (`from 10.0.1.1/24`), none for `all`.
    pub from: Option<IpNet>,
    /// Destination selector.
    pub to: Option<IpNet>,
    /// Incoming device.
    pub iif: Option<DeviceName>,
    /// Outgoing device.
    pub oif: Option<DeviceName>,
    /// Packet mark and mask.
    pub fwmark: Option<(u32, u32)>,
    /// Table looked up.
    pub table: u32,
    /// What the agent never sets, in the words of `ip rule`: `not`, `ipproto 6`, `again` for the second of two that are
    /// alike. Empty for a rule of the agent.
    pub odd: String,
}

impl PolicyRule {
    /// A rule without selectors.
    pub fn new(family: Family, priority: u32, table: u32) -> Self {
        Self { family, priority, from: None, to: None, iif: None, oif: None, fwmark: None, table, odd: String::new() }
    }

    /// The rules that every namespace is born with: three for IPv4, two for IPv6.
    pub fn base() -> [Self; 5] {
        [
            Self::new(Family::V4, 0, TABLE_LOCAL),
            Self::new(Family::V4, 32_766, TABLE_MAIN),
            Self::new(Family::V4, 32_767, TABLE_DEFAULT),
            Self::new(Family::V6, 0, TABLE_LOCAL),
            Self::new(Family::V6, 32_766, TABLE_MAIN),
        ]
    }
}

/// What a route does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    /// Sends it on.
    Unicast,
    /// Answers "unreachable".
    Unreachable,
    /// Discards it.
    Blackhole,
    /// Answers "prohibited".
    Prohibit,
    /// Anything else, by number; the agent makes none.
    Other(u8),
}

/// Who made a route. The kernel's own are never part of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteProtocol {
    /// `static`: what the agent sets.
    Static,
    /// `boot`: what the agent sets in the fip namespace's tables (not printed).
    Boot,
    /// `ra`: learned from a router advertisement.
    Ra,
    /// Anything else, by number.
    Other(u8),
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The table.
    pub table: u32,
    /// The destination; a length of zero is `default`.
    pub destination: IpNet,
    /// What it does.
    pub kind: RouteKind,
    /// One, or several for ECMP, or none (then `kind` is not unicast).
    pub next_hops: Vec<NextHop>,
    /// Who made it.
    pub protocol: RouteProtocol,
    /// IPv4: `scope link` where there is no next hop address.
    pub scope_link: bool,
    /// Preferred source.
    pub source: Option<IpAddr>,
    /// Metric; IPv6 has 1024 unless told otherwise.
    pub metric: u32,
    /// Type of service that it is for; the agent's are for any.
    pub tos: u8,
    /// What the agent never sets, in the words of `ip route`: `mtu 1300`, `pref high`. Empty for a route of the agent.
    pub odd: String,
}

/// What [`crate::plan::Action::RouteReplace`] takes as the same route: table, destination, metric, type of service.
pub type RouteKey = (u32, IpNet, u32, u8);

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextHop {
    /// The neighbour, if not on the link itself.
    pub via: Option<IpAddr>,
    /// The device.
    pub device: DeviceName,
    /// For ECMP, 1 and up.
    pub weight: u16,
    /// The `onlink` flag.
    pub onlink: bool,
}

impl Route {
    /// `DESTINATION via VIA dev DEVICE table TABLE proto static`.
    pub fn via(destination: IpNet, via: IpAddr, device: DeviceName, table: u32) -> Self {
        let metric = if family_of(&destination) == Family::V6 { 1024 } else { 0 };
        Self {
            table,
            destination,
            kind: RouteKind::Unicast,
            next_hops: vec![NextHop { via: Some(via), device, weight: 1, onlink: false }],
            protocol: RouteProtocol::Static,
            scope_link: false,
            source: None,
            metric,
            tos: 0,
            odd: String::new(),
        }
    }

    /// `DESTINATION dev DEVICE table TABLE proto static scope link`.
    pub fn on_link(destination: IpNet, device: DeviceName, table: u32) -> Self {
        let v6 = family_of(&destination) == Family::V6;
        Self {
            table,
            destination,
            kind: RouteKind::Unicast,
            next_hops: vec![NextHop { via: None, device, weight: 1, onlink: false }],
            protocol: RouteProtocol::Static,
            scope_link: !v6,
            source: None,
            metric: if v6 { 1024 } else { 0 },
            tos: 0,
            odd: String::new(),
        }
    }

    /// The route that the kernel makes to the subnet of an IPv4 address.
    pub fn connected(address: &Address) -> Self {
        let route = Self::on_link(address.net.trunc(), address.device.clone(), TABLE_MAIN);
        Self { protocol: KERNEL, source: Some(address.net.addr()), ..route }
    }

    /// IPv4 or IPv6.
    pub fn family(&self) -> Family {
        family_of(&self.destination)
    }

    /// What makes it the same route as another, which it replaces.
    pub fn key(&self) -> RouteKey {
        (self.table, self.destination, self.metric, self.tos)
    }
}

/// A table as `ip` names it.
pub fn table_text(table: u32) -> String {
    match table {
        TABLE_MAIN => "main".to_owned(),
        TABLE_LOCAL => "local".to_owned(),
        TABLE_DEFAULT => "default".to_owned(),
        other => other.to_string(),
    }
}

/// What is odd about an object, after the rest.
fn odd(f: &mut fmt::Formatter<'_>, words: &str) -> fmt::Result {
    if words.is_empty() { Ok(()) } else { write!(f, " {words}") }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mtu {} state {} mac {}", self.mtu, if self.up { "up" } else { "down" }, self.mac)?;
        odd(f, &self.odd)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.net, self.device)?;
        odd(f, &self.odd)
    }
}

impl fmt::Display for PolicyRule {
    /// `32768: from 10.0.1.11 lookup 16`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: from ", self.priority)?;
        match &self.from {
            None => write!(f, "all")?,
            Some(net) => write!(f, "{}", destination_text(net))?,
        }
        if let Some(to) = &self.to {
            write!(f, " to {}", destination_text(to))?;
        }
        if let Some((mark, mask)) = self.fwmark {
            write!(f, " fwmark {mark:#x}")?;
            if mask != u32::MAX {
                write!(f, "/{mask:#x}")?;
            }
        }
        if let Some(iif) = &self.iif {
            write!(f, " iif {iif}")?;
        }
        if let Some(oif) = &self.oif {
            write!(f, " oif {oif}")?;
        }
        write!(f, " lookup {}", table_text(self.table))?;
        odd(f, &self.odd)
    }
}

impl fmt::Display for Route {
    /// `default via 10.0.1.2 dev qr-red4 table 167772417 proto static`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RouteKind::Unicast => {}
            RouteKind::Unreachable => write!(f, "unreachable ")?,
            RouteKind::Blackhole => write!(f, "blackhole ")?,
            RouteKind::Prohibit => write!(f, "prohibit ")?,
            RouteKind::Other(number) => write!(f, "type-{number} ")?,
        }
        write!(f, "{}", destination_text(&self.destination))?;
        let one = self.next_hops.len() == 1;
        for hop in &self.next_hops {
            if !one {
                write!(f, " nexthop")?;
            }
            if let Some(via) = hop.via {
                write!(f, " via {via}")?;
            }
            write!(f, " dev {}", hop.device)?;
            if !one {
                write!(f, " weight {}", hop.weight)?;
            }
        }
        write!(f, " table {}", table_text(self.table))?;
        match self.protocol {
            RouteProtocol::Static => write!(f, " proto static")?,
            RouteProtocol::Boot => {}
            RouteProtocol::Ra => write!(f, " proto ra")?,
            RouteProtocol::Other(n) => write!(f, " proto {n}")?,
        }
        if self.scope_link {
            write!(f, " scope link")?;
        }
        if let Some(source) = self.source {
            write!(f, " src {source}")?;
        }
        if self.metric != 0 {
            write!(f, " metric {}", self.metric)?;
        }
        if self.next_hops.iter().any(|hop| hop.onlink) {
            write!(f, " onlink")?;
        }
        if self.tos != 0 {
            write!(f, " tos {:#x}", self.tos)?;
        }
        odd(f, &self.odd)
    }
}

/// The kinds of object that a state sentence names, in the order in which a namespace is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A namespace, by name.
    Namespace,
    /// `qg-r1 mtu 1500 state up mac ...`
    Device,
    /// `10.0.1.1/24 dev qr-red4`
    Address,
    /// IPv4 `ip rule`.
    Rule,
    /// IPv6 `ip rule`.
    Rule6,
    /// IPv4 route.
    Route,
    /// IPv6 route.
    Route6,
    /// `10.0.1.11 dev qr-red4 lladdr ... permanent`
    Neighbour,
    /// `net.ipv4.ip_forward=1`
    Sysctl,
    /// `iptables-save` line of table raw.
    Raw,
    /// of table mangle.
    Mangle,
    /// of table nat.
    Nat,
    /// of table filter.
    Filter,
    /// `ip6tables-save` line of table raw.
    Raw6,
    /// of table mangle.
    Mangle6,
    /// of table nat.
    Nat6,
    /// of table filter.
    Filter6,
    /// A tracked connection: `tcp src=... dst=... sport=... dport=... reply src=... dst=...`
    Conntrack,
}
