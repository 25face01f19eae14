//! The objects. Each has a name; everything else refers to it by that name.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::backend::RuleBackend;
use crate::deviation::Deviations;
use crate::name::{HostName, Name};
use crate::net::{IpNet, Mac};

/// The sections of a scenario, which are the kinds of named objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// Compute and network nodes.
    Hosts,
    /// Layer-2 networks.
    Networks,
    /// Prefixes on networks.
    Subnets,
    /// Routers.
    Routers,
    /// Ports without an instance of their own.
    Ports,
    /// Virtual machines.
    Instances,
    /// Floating IPs, named by their address.
    FloatingIps,
    /// Machines outside.
    Outside,
    /// Address scopes.
    AddressScopes,
}

/// Neutron's `agent_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentMode {
    /// A compute host: its own floating IPs, no source NAT.
    Dvr,
    /// A network node: all of `dvr`, and gateways scheduled to it.
    DvrSnat,
    /// A compute host without external network.
    DvrNoExternal,
}

impl AgentMode {
    /// As in the configuration file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dvr => "dvr",
            Self::DvrSnat => "dvr_snat",
            Self::DvrNoExternal => "dvr_no_external",
        }
    }
}

/// A host with its L3 agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The mode in which its agent runs.
    pub mode: AgentMode,
    /// The mode that the agent's next start brings, if it is another.
    pub next_mode: Option<AgentMode>,
    /// The options with which its agent runs, if they have changed since its start.
    pub running: Option<Settings>,
}

impl Host {
    /// A host whose agent runs as it is configured.
    pub fn new(mode: AgentMode) -> Self {
        Self { mode, next_mode: None, running: None }
    }
}

/// MTU of a network that says none, in bytes. Linux: `ETH_DATA_LEN`.
const DEFAULT_MTU: u32 = 1500;

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// A provider segment with the outside on it.
    pub external: bool,
    /// In bytes.
    pub mtu: u32,
    /// VXLAN network identifier. The server chooses it, the lowest free from 1; in a request it is not looked at.
    pub vni: u32,
    /// Administratively down: machines' ports on it carry nothing. Agents do not look at it.
    pub admin_down: bool,
}

impl Network {
    /// A network that is up, with the usual MTU.
    pub fn new(external: bool) -> Self {
        Self { external, mtu: DEFAULT_MTU, vni: 0, admin_down: false }
    }
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Its network.
    pub network: Name,
    /// Its prefix, without host bits.
    pub cidr: IpNet,
    /// Tenant: what a router takes. External: the upstream router's address.
    pub gateway: Option<IpAddr>,
    /// Where automatic addresses come from, first to last, both included.
    pub pools: Vec<(IpAddr, IpAddr)>,
    /// Its address scope (in the API through its subnet pool).
    pub address_scope: Option<Name>,
    /// How machines get their IPv6 addresses.
    pub ipv6_mode: Ipv6Mode,
}

/// The API's `ipv6_address_mode` (and `ipv6_ra_mode`, which the language sets alike).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ipv6Mode {
    /// By hand.
    #[default]
    Static,
    /// From router advertisements.
    Slaac,
    /// From a DHCPv6 server.
    Dhcpv6Stateful,
    /// From router advertisements; only further options come from a DHCPv6 server.
    Dhcpv6Stateless,
}

impl Ipv6Mode {
    /// Every mode with its word.
    pub const ALL: [(&str, Self); 4] = [
        ("static", Self::Static),
        ("slaac", Self::Slaac),
        ("dhcpv6-stateful", Self::Dhcpv6Stateful),
        ("dhcpv6-stateless", Self::Dhcpv6Stateless),
    ];

    /// Whether a machine makes its address of its MAC. Neutron: `is_auto_address_subnet`.
    pub fn is_automatic(self) -> bool {
        match self {
            Self::Slaac | Self::Dhcpv6Stateless => true,
            Self::Static | Self::Dhcpv6Stateful => false,
        }
    }
}

/// A router.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Router {
    /// Subnets (the router takes their gateway address) and ports (that port's address), in order of attachment.
    pub interfaces: Vec<Name>,
    /// The way out.
    pub gateway: Option<Gateway>,
    /// Extra routes.
    pub routes: Vec<StaticRoute>,
    /// Administratively down: no agent is told of it.
    pub admin_down: bool,
}

/// A router's gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// The external network.
    pub network: Name,
    /// Addresses on it.
    pub addresses: Vec<IpAddr>,
    /// The API's `enable_snat`.
    pub snat: Snat,
    /// Where it is scheduled.
    pub host: Option<HostName>,
}

/// Whether instances without a floating IP are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snat {
    /// To the gateway address.
    Enabled,
    /// Not at all.
    Disabled,
}

/// `DEST via NEXTHOP`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StaticRoute {
    /// Where to.
    pub destination: IpNet,
    /// By whom.
    pub next_hop: IpAddr,
}

/// A tenant port (of an instance, or not yet).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its network.
    pub network: Name,
    /// Fixed addresses.
    pub addresses: Vec<IpAddr>,
    /// MAC.
    pub mac: Mac,
    /// Addresses that it may use besides: each with the MAC that has it, the port's own if none.
    pub pairs: Vec<AddressPair>,
    /// Administratively down: it carries nothing.
    pub admin_down: bool,
}

impl Port {
    /// A port that is up and has no address pairs.
    pub fn new(network: Name, addresses: Vec<IpAddr>, mac: Mac) -> Self {
        Self { network, addresses, mac, pairs: Vec::new(), admin_down: false }
    }
}

/// An allowed address pair.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressPair {
    /// An address, or a prefix of which all are allowed.
    pub address: IpNet,
    /// Whose it is; the port's own if none.
    pub mac: Option<Mac>,
}

/// An instance: a machine with a kernel of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Where it runs; none before it is booted.
    pub host: Option<HostName>,
    /// Where a live migration that is prepared would bring it.
    pub migrating_to: Option<HostName>,
    /// Its ports, the first being `eth0`. The port of `network:` shorthand has the instance's name.
    pub ports: Vec<Name>,
    /// Instead of a host and ports of its own: it is on a private link behind another instance.
    pub behind: Option<Nested>,
    /// More addresses and prefixes that its kernel owns and answers for.
    pub also: Vec<IpNet>,
    /// Closed ports: protocol number and port.
    pub closed: BTreeSet<(u8, u16)>,
}

impl Instance {
    /// An instance with these ports that owns nothing besides and closes no port.
    pub fn new(host: Option<HostName>, ports: Vec<Name>) -> Self {
        Self { host, migrating_to: None, ports, behind: None, also: Vec::new(), closed: BTreeSet::new() }
    }
}

/// A private link behind an instance, which forwards for whoever is on it. The Networking API does not know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nested {
    /// The instance. It has the first address of each prefix.
    pub instance: Name,
    /// Addresses on the link, with prefix lengths.
    pub addresses: Vec<IpNet>,
    /// MAC on the link.
    pub mac: Mac,
}

/// A machine outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it stands.
    pub place: NodePlace,
    /// Its addresses; an upstream router's are the gateway addresses of the network's subnets.
    pub addresses: Vec<IpAddr>,
    /// An upstream router's routes back to tenant networks.
    pub routes: Vec<StaticRoute>,
    /// More addresses and prefixes that its kernel owns and answers for.
    pub also: Vec<IpNet>,
    /// Closed ports: protocol number and port.
    pub closed: BTreeSet<(u8, u16)>,
}

/// Where a machine outside stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodePlace {
    /// On the provider segment itself.
    On(Name),
    /// Behind the upstream router of that network.
    Behind(Name),
    /// It is the upstream router of that network.
    GatewayOf(Name),
}

/// A floating IP; its key is its address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FloatingIp {
    /// The port and fixed address it stands for, if associated.
    pub target: Option<(Name, IpAddr)>,
    /// Or ports of it that are led to ports of several.
    pub forwardings: Vec<PortForwarding>,
}

/// A port of a floating IP that is led to a port of somebody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortForwarding {
    /// Protocol number: TCP or UDP.
    pub protocol: u8,
    /// The port of the floating IP.
    pub external_port: u16,
    /// Whose port it is led to.
    pub port: Name,
    /// Which of its addresses.
    pub address: IpAddr,
    /// The port there.
    pub internal_port: u16,
}

/// A port that the server makes by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPort {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// MAC.
    pub mac: Mac,
}

/// Agent options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The agent's `use_random_fully`.
    pub random_ports: bool,
    /// Metadata rules.
    pub metadata: bool,
    /// Where the router does better than the real agent.
    pub deviations: Deviations,
    /// How iptables rules are written and read.
    pub rules: RuleBackend,
}

impl Default for Settings {
    fn default() -> Self {
        Self { random_ports: true, metadata: true, deviations: Deviations::default(), rules: RuleBackend::default() }
    }
}
