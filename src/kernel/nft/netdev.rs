//! Rules of family netdev: what a device does with frames before the stack sees them, or last of all on the way out.

use std::net::{Ipv4Addr, Ipv6Addr};

use netlink_sys::Socket;

use super::error::{Cause, NftError};
use super::expression::{
    Expression, LINK_HEADER, META_L4PROTO, META_PROTOCOL, NETWORK_HEADER, TRANSPORT_HEADER, Verdict,
};
use super::message::{Base, INET, NETDEV, Place, Transaction};
use crate::name::DeviceName;
use crate::namespace::ForeignTable;
use crate::net::{IpNet, Mac, PortRange};

/// A chain on one device; its policy is accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetdevChain {
    /// Unique in its table.
    pub name: String,
    /// The device, which must exist.
    pub device: DeviceName,
    /// The direction.
    pub hook: NetdevHook,
    /// Chains of one device and hook run from the lowest priority up.
    pub priority: i32,
    /// In order.
    pub rules: Vec<NetdevRule>,
}

/// Where on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetdevHook {
    /// Frames that arrive, after the packet sockets have seen them.
    Ingress,
    /// Frames that leave, before the packet sockets see them.
    Egress,
}

/// If all of `matches` hold, `actions` are done in order. A rule that ends without a verdict goes on to the next rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetdevRule {
    /// All must hold.
    pub matches: Vec<FrameMatch>,
    /// In order; after a verdict nothing more.
    pub actions: Vec<FrameAction>,
}

/// What a rule can look at in a frame. A frame that has no such field does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameMatch {
    /// Source MAC.
    Source(Mac),
    /// Destination MAC.
    Destination(Mac),
    /// Destination MAC has the group bit: multicast or broadcast.
    Group,
    /// EtherType, such as 0x0806.
    EtherType(u16),
    /// ARP operation: 1 request, 2 reply.
    ArpOperation(u16),
    /// ARP sender's protocol address.
    ArpSender(Ipv4Addr),
    /// ARP target's protocol address.
    ArpTarget(Ipv4Addr),
    /// Destination address, in this prefix.
    DestinationNet(IpNet),
    /// Transport protocol of IPv4 or IPv6.
    Protocol(u8),
    /// Destination port of TCP (6) or UDP (17): protocol, ports.
    DestinationPort(u8, PortRange),
    /// ICMPv6 type: 133 router solicitation, 134 router advertisement, 135 neighbour solicitation, 136 neighbour advertisement.
    Icmpv6Type(u8),
    /// Target address of a neighbour solicitation or advertisement; give the type as well.
    NeighbourTarget(Ipv6Addr),
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameAction {
    /// Counts packets and bytes; `nft list ruleset` shows them.
    Count,
    /// Sets the source MAC.
    SetSource(Mac),
    /// Sets the destination MAC.
    SetDestination(Mac),
    /// Verdict: discards the frame.
    Drop,
    /// Verdict: leaves this chain; later chains of the hook still run.
    Accept,
}

impl NetdevRule {
    /// A rule for every frame that does `actions`.
    pub fn does(actions: impl IntoIterator<Item = FrameAction>) -> Self {
        Self { matches: Vec::new(), actions: actions.into_iter().collect() }
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, what: FrameMatch) -> Self {
        self.matches.push(what);
        self
    }
}

/// EtherType of ARP.
const ARP: u16 = 0x0806;
/// EtherType of IPv4.
const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
const IPV6: u16 = 0x86dd;
/// ICMPv6 as a transport protocol.
const ICMPV6: u8 = 58;
/// Group bit of a MAC's first byte.
const GROUP: u8 = 0x01;

/// Removes a table with all that is in it.
///
/// # Errors
/// [`NftError::Refused`] when the kernel does not take it, as when there is no such table.
pub fn delete_table(socket: &Socket, table: &ForeignTable) -> Result<(), NftError> {
    let mut transaction = Transaction::begin(None);
    transaction.delete_table(table.family, &table.name, &Cause::Table(table.name.clone()));
    transaction.commit(socket)
}

/// The table of what a namespace's stack does not see.
const HIDDEN: &str = "dvrlab-hidden";
/// NF_INET_LOCAL_IN
const LOCAL_IN: u32 = 1;
/// Before every other filter, behind the translation of addresses back to what they were.
const BEFORE_FILTERS: i32 = -10;

/// Drops IP packets for a namespace's own stack that match one of these, beside its other rules; see [`remove_input`].
///
/// # Errors
/// [`NftError::Refused`] when the kernel does not take it.
pub fn drop_input(socket: &Socket, matches: &[FrameMatch]) -> Result<(), NftError> {
    let mut transaction = Transaction::begin(None);
    let place = (HIDDEN, "input");
    let (table, chain) = (Cause::Table(HIDDEN.to_owned()), Cause::Chain("input".to_owned()));
    transaction.new_table(INET, HIDDEN, &table);
    let base = Base { kind: "filter", hook: LOCAL_IN, priority: BEFORE_FILTERS, device: None };
    transaction.new_chain(INET, place, Some(base), &chain);
    for (position, what) in matches.iter().enumerate() {
        let rule = NetdevRule::does([FrameAction::Drop]).when(what.clone());
        let cause = Cause::Rule("input".to_owned(), position);
        transaction.new_rule(INET, place, (&rule.expressions(), None), Place::End, &cause);
    }
    transaction.commit(socket)
}

/// Ends what [`drop_input`] began.
///
/// # Errors
/// [`NftError::Refused`] when there is nothing of it.
pub fn remove_input(socket: &Socket) -> Result<(), NftError> {
    let mut transaction = Transaction::begin(None);
    transaction.delete_table(INET, HIDDEN, &Cause::Table(HIDDEN.to_owned()));
    transaction.commit(socket)
}

/// Puts a table of family netdev in place of the one of that name, or just makes it, all at once; without chains it is
/// removed. Name it `dvrlab-...`: such tables are no part of what [`super::read()`] shows.
///
/// # Errors
/// [`NftError::Refused`] when the kernel does not take it; then the old table still stands.
pub fn replace_netdev(socket: &Socket, table: &str, chains: &[NetdevChain]) -> Result<(), NftError> {
    let cause = Cause::Table(table.to_owned());
    let mut transaction = Transaction::begin(None);
    // Deleting what is not there is an error, so it is made first.
    transaction.new_table(NETDEV, table, &cause);
    transaction.delete_table(NETDEV, table, &cause);
    if !chains.is_empty() {
        transaction.new_table(NETDEV, table, &cause);
    }
    for chain in chains {
        let place = (table, chain.name.as_str());
        let hook = match chain.hook {
            NetdevHook::Ingress => 0,
            NetdevHook::Egress => 1,
        };
        let base = Base { kind: "filter", hook, priority: chain.priority, device: Some(chain.device.as_str()) };
        transaction.new_chain(NETDEV, place, Some(base), &Cause::Chain(chain.name.clone()));
        for (position, rule) in chain.rules.iter().enumerate() {
            let cause = Cause::Rule(chain.name.clone(), position);
            transaction.new_rule(NETDEV, place, (&rule.expressions(), None), Place::End, &cause);
        }
    }
    transaction.commit(socket)
}

impl NetdevRule {
    fn expressions(&self) -> Vec<Expression> {
        let matches = self.matches.iter().flat_map(FrameMatch::expressions);
        matches.chain(self.actions.iter().flat_map(FrameAction::expressions)).collect()
    }
}

fn equal(base: u32, offset: u32, value: &[u8]) -> [Expression; 2] {
    let length = u32::try_from(value.len()).expect("a header field is short");
    [Expression::Payload { base, offset, length }, Expression::Compare { not: false, value: value.to_vec() }]
}

fn meta(key: u32, value: &[u8]) -> [Expression; 2] {
    [Expression::Meta(key), Expression::Compare { not: false, value: value.to_vec() }]
}

fn arp(offset: u32, value: &[u8]) -> Vec<Expression> {
    [meta(META_PROTOCOL, &ARP.to_be_bytes()), equal(NETWORK_HEADER, offset, value)].concat()
}

fn icmpv6(offset: u32, value: &[u8]) -> Vec<Expression> {
    [meta(META_L4PROTO, &[ICMPV6]), equal(TRANSPORT_HEADER, offset, value)].concat()
}

fn destination(net: &IpNet) -> Vec<Expression> {
    let (ether_type, offset, mask, value) = match net {
        IpNet::V4(net) => (IPV4, 16, net.netmask().octets().to_vec(), net.network().octets().to_vec()),
        IpNet::V6(net) => (IPV6, 24, net.netmask().octets().to_vec(), net.network().octets().to_vec()),
    };
    let [load, compare] = equal(NETWORK_HEADER, offset, &value);
    [&meta(META_PROTOCOL, &u16::to_be_bytes(ether_type))[..], &[load, Expression::And(mask), compare]].concat()
}

impl FrameMatch {
    fn expressions(&self) -> Vec<Expression> {
        match self {
            Self::Destination(mac) => equal(LINK_HEADER, 0, &mac.0).to_vec(),
            Self::Source(mac) => equal(LINK_HEADER, 6, &mac.0).to_vec(),
            Self::Group => vec![
                Expression::Payload { base: LINK_HEADER, offset: 0, length: 1 },
                Expression::And(vec![GROUP]),
                Expression::Compare { not: false, value: vec![GROUP] },
            ],
            Self::EtherType(number) => meta(META_PROTOCOL, &number.to_be_bytes()).to_vec(),
            Self::ArpOperation(number) => arp(6, &number.to_be_bytes()),
            Self::ArpSender(address) => arp(14, &address.octets()),
            Self::ArpTarget(address) => arp(24, &address.octets()),
            Self::DestinationNet(net) => destination(net),
            Self::Protocol(number) => meta(META_L4PROTO, &[*number]).to_vec(),
            Self::DestinationPort(protocol, ports) => {
                let (from, to) = (ports.first.to_be_bytes().to_vec(), ports.last.to_be_bytes().to_vec());
                let [load, compare] = equal(TRANSPORT_HEADER, 2, &from);
                let test = if from == to { compare } else { Expression::Range { not: false, from, to } };
                [&meta(META_L4PROTO, &[*protocol])[..], &[load, test]].concat()
            }
            Self::Icmpv6Type(number) => icmpv6(0, &[*number]),
            Self::NeighbourTarget(address) => icmpv6(8, &address.octets()),
        }
    }
}

impl FrameAction {
    fn expressions(&self) -> Vec<Expression> {
        let write = |mac: &Mac, offset| {
            vec![Expression::Load(mac.0.to_vec()), Expression::Write { base: LINK_HEADER, offset, length: 6 }]
        };
        match self {
            Self::Count => vec![Expression::Counter],
            Self::SetDestination(mac) => write(mac, 0),
            Self::SetSource(mac) => write(mac, 6),
            Self::Drop => vec![Expression::Verdict(Verdict::Drop)],
            Self::Accept => vec![Expression::Verdict(Verdict::Accept)],
        }
    }
}
