//! One operation on one namespace, printed as the `ip`, `sysctl`, `iptables` or `conntrack` command it stands for.

use std::fmt;
use std::net::IpAddr;

use crate::name::{DeviceName, NamespaceName};
use crate::namespace::{Address, Attach, ChainName, ForeignTable, Link, PolicyRule, Route, Rule, Table};
use crate::net::{Family, IpNet, Mac, PortRange, destination_text};

/// TCP's protocol number.
const TCP: u8 = 6;

/// An operation and where it acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// The namespace.
    pub namespace: NamespaceName,
    /// What is done.
    pub action: Action,
}

/// What an operation does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Makes the namespace, `lo` up.
    NamespaceAdd,
    /// Removes the namespace with all that is in it.
    NamespaceDelete,
    /// Makes a device, up if its link is. With [`Attach::Peer`] both ends at once; the other end's MAC and MTU are `peer`'s.
    LinkAdd {
        /// Its name.
        device: DeviceName,
        /// What it is.
        link: Link,
        /// The other end's MAC and MTU where it is a router device too.
        peer: Option<(Mac, u32)>,
    },
    /// Removes a device (both ends of a pair).
    LinkDelete(DeviceName),
    /// Sets MTU.
    LinkMtu(DeviceName, u32),
    /// Sets the MAC.
    LinkMac(DeviceName, Mac),
    /// Up or down.
    LinkUp(DeviceName, bool),
    /// Adds an address.
    AddressAdd(Address),
    /// Removes an address.
    AddressDelete(Address),
    /// Adds a route or replaces the one with the same destination, table and metric.
    RouteReplace(Route),
    /// Removes a route.
    RouteDelete(Route),
    /// Adds a policy rule.
    RuleAdd(PolicyRule),
    /// Removes a policy rule.
    RuleDelete(PolicyRule),
    /// Sets a permanent neighbour.
    NeighbourReplace(DeviceName, IpAddr, Mac),
    /// Removes a permanent neighbour.
    NeighbourDelete(DeviceName, IpAddr),
    /// `ip neigh del proxy`. The agent adds none.
    ProxyDelete(DeviceName, IpAddr),
    /// Writes a sysctl: key, value.
    SysctlSet(String, String),
    /// Changes iptables rules of both families, all in one transaction.
    Rules(RuleChanges),
    /// Removes a table that is none of the agent's, with all that is in it.
    TableDelete(ForeignTable),
    /// Deletes the conntrack entries that have an address of this prefix in either tuple.
    ConntrackPurge(IpNet),
    /// Forgets every connection that was begun to a port of an address, or to one of several.
    ConntrackPurgePort {
        /// The address.
        address: IpAddr,
        /// Protocol number: TCP or UDP.
        protocol: u8,
        /// The ports.
        ports: PortRange,
    },
    /// Announces an address (gratuitous ARP or unsolicited neighbour advertisement).
    Announce(DeviceName, IpAddr),
}

/// What one transaction changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleChanges {
    /// In order: chains to make, rules to delete, rules to insert, chains to delete.
    pub changes: Vec<(Family, Table, ChainChange)>,
}

/// A change to a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainChange {
    /// Makes an own chain.
    Create(ChainName),
    /// Removes an own, empty chain.
    Remove(ChainName),
    /// Sets a built-in chain's policy back to ACCEPT.
    PolicyAccept(ChainName),
    /// Deletes the rule at this position (from 0) of the chain as it stands when the transaction begins.
    Delete(ChainName, usize, Rule),
    /// Inserts a rule at this position (from 0) of the chain as it will stand when the transaction ends.
    Insert(ChainName, usize, Rule),
}

impl fmt::Display for Op {
    /// A command, or one a line for [`Action::Rules`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace = &self.namespace;
        match &self.action {
            Action::NamespaceAdd => write!(f, "ip netns add {namespace}"),
            Action::NamespaceDelete => write!(f, "ip netns del {namespace}"),
            Action::LinkAdd { device, link, peer } => {
                write!(f, "ip link add {device} address {} mtu {} type veth", link.mac, link.mtu)?;
                match (&link.attach, peer) {
                    (Attach::Network(network), _) => write!(f, " to network {network}"),
                    (Attach::Peer { namespace, device }, Some((mac, mtu))) => {
                        write!(f, " peer {device} netns {namespace} address {mac} mtu {mtu}")
                    }
                    (Attach::Peer { namespace, device }, None) => write!(f, " peer {device} netns {namespace}"),
                    (Attach::Foreign, _) => Ok(()),
                }
            }
            Action::LinkDelete(device) => write!(f, "ip link del {device}"),
            Action::LinkMtu(device, mtu) => write!(f, "ip link set {device} mtu {mtu}"),
            Action::LinkMac(device, mac) => write!(f, "ip link set {device} address {mac}"),
            Action::LinkUp(device, up) => write!(f, "ip link set {device} {}", if *up { "up" } else { "down" }),
            Action::AddressAdd(address) => write!(f, "ip addr add {address}"),
            Action::AddressDelete(address) => write!(f, "ip addr del {address}"),
            Action::RouteReplace(route) => write!(f, "{} route replace {route}", ip(route.family())),
            Action::RouteDelete(route) => write!(f, "{} route del {route}", ip(route.family())),
            Action::RuleAdd(rule) => write!(f, "{} rule add {}", ip(rule.family), rule_arguments(rule)),
            Action::RuleDelete(rule) => write!(f, "{} rule del {}", ip(rule.family), rule_arguments(rule)),
            Action::NeighbourReplace(device, address, mac) => {
                write!(f, "ip neigh replace {address} lladdr {mac} dev {device} nud permanent")
            }
            Action::NeighbourDelete(device, address) => write!(f, "ip neigh del {address} dev {device}"),
            Action::ProxyDelete(device, address) => write!(f, "ip neigh del proxy {address} dev {device}"),
            Action::SysctlSet(key, value) => write!(f, "sysctl -w {key}={value}"),
            Action::Rules(changes) => write!(f, "{changes}"),
            Action::ConntrackPurgePort { address, protocol, ports } => {
                let protocol = if *protocol == TCP { "tcp" } else { "udp" };
                write!(f, "conntrack -D -d {address} -p {protocol} --dport {}", ports.first)?;
                // `conntrack` takes one port; this is for readers.
                if ports.is_single() { Ok(()) } else { write!(f, ":{}", ports.last) }
            }
            Action::TableDelete(table) => write!(f, "nft delete {table}"),
            Action::ConntrackPurge(net) => write!(f, "conntrack -D --any {}", destination_text(net)),
            Action::Announce(device, address) if address.is_ipv4() => write!(f, "arping -U -I {device} {address}"),
            Action::Announce(device, address) => write!(f, "ndsend {address} {device}"),
        }
    }
}

fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip -6",
    }
}

fn rule_arguments(rule: &PolicyRule) -> String {
    let text = rule.to_string();
    match text.split_once(": ") {
        Some((priority, rest)) => format!("{rest} priority {priority}"),
        None => text,
    }
}

impl fmt::Display for RuleChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (family, table, change)) in self.changes.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            let program = match family {
                Family::V4 => "iptables",
                Family::V6 => "ip6tables",
            };
            write!(f, "{program} -t {} {change}", table.name())?;
        }
        Ok(())
    }
}

impl fmt::Display for ChainChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(chain) => write!(f, "-N {chain}"),
            Self::Remove(chain) => write!(f, "-X {chain}"),
            Self::PolicyAccept(chain) => write!(f, "-P {chain} ACCEPT"),
            Self::Delete(chain, _, rule) => write!(f, "-D {chain} {rule}"),
            Self::Insert(chain, position, rule) => write!(f, "-I {chain} {} {rule}", position + 1),
        }
    }
}
