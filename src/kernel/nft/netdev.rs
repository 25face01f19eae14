//! Rules of family netdev: what a device does with frames before the stack sees them, or last of all on the way out.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::name::DeviceName;
use crate::namespace::PortRange;
use crate::net::Mac;

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
