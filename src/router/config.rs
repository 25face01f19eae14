//! The router dict that the server sends its agents, as a type. Reference: `neutron-local-side` section 8,
//! `neutron-snat-side` section 10. A payload captured from a real server deserialises into it; unknown keys are ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::api::AgentMode;
use crate::deviation::Deviations;
use crate::name::{HostName, Id};
use crate::net::{INGRESS_MARK, IpNet, METADATA_MARK, Mac, PortRange};

/// All that one agent has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// The agent's host name.
    pub host: HostName,
    /// Its mode.
    pub mode: AgentMode,
    /// Its options.
    pub options: AgentOptions,
    /// The routers it handles, by id.
    pub routers: BTreeMap<Id, RouterConfig>,
    /// What `get_ports_by_subnet` answers: who is a neighbour on which subnet.
    pub ports_by_subnet: BTreeMap<Id, Vec<NeighbourPort>>,
}

/// Agent options that change what it builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch in the agent's own configuration")]
pub struct AgentOptions {
    /// `use_random_fully`
    pub random_fully: bool,
    /// Metadata rules.
    pub metadata: bool,
    /// `metadata_port`
    pub metadata_port: u16,
    /// `metadata_access_mark`: of requests to the metadata service.
    pub metadata_mark: u32,
    /// `external_ingress_mark`: of what comes in by the gateway.
    pub ingress_mark: u32,
    /// `ipv6_gateway`: where IPv6 goes if the gateway's subnets do not say.
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// `handle_internal_only_routers`: routers without a gateway are built, too.
    pub internal_only: bool,
    /// `comment_iptables_rules`
    pub comments: bool,
    /// Where the router does better than the real agent; no option of the agent's.
    pub deviations: Deviations,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self {
            random_fully: true,
            metadata: true,
            metadata_port: 9697,
            metadata_mark: METADATA_MARK,
            ingress_mark: INGRESS_MARK,
            ipv6_gateway: None,
            internal_only: true,
            comments: true,
            deviations: Deviations::default(),
        }
    }
}

/// A port that gets a permanent neighbour entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighbourPort {
    /// `compute:nova`, `network:dhcp`, `network:router_centralized_snat` ...
    pub device_owner: String,
    /// MAC.
    pub mac: Mac,
    /// Addresses with their subnets.
    pub fixed_ips: Vec<FixedIp>,
}

/// One router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterConfig {
    /// Its id; a name in a scenario.
    pub id: Id,
    /// Always true for what this program handles.
    #[serde(default)]
    pub distributed: bool,
    /// `enable_snat`; absent means true.
    #[serde(default = "yes")]
    pub enable_snat: bool,
    /// The gateway port.
    #[serde(default, deserialize_with = "unless_empty")]
    pub gw_port: Option<PortConfig>,
    /// Where the gateway is scheduled.
    #[serde(default)]
    pub gw_port_host: Option<HostName>,
    /// Internal ports.
    #[serde(default, rename = "_interfaces")]
    pub interfaces: Vec<PortConfig>,
    /// SNAT ports.
    #[serde(default, rename = "_snat_router_interfaces")]
    pub snat_interfaces: Vec<PortConfig>,
    /// Floating-IP agent gateway ports of this agent.
    #[serde(default, rename = "_floatingip_agent_interfaces")]
    pub agent_gateways: Vec<PortConfig>,
    /// Floating IPs that concern this host.
    #[serde(default, rename = "_floatingips")]
    pub floating_ips: Vec<FloatingIpConfig>,
    /// Extra routes.
    #[serde(default)]
    pub routes: Vec<RouteConfig>,
    /// Port forwardings that this host serves. A real agent fetches them apart from the router dict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub port_forwardings: Vec<PortForwardingConfig>,
}

fn yes() -> bool {
    true
}

/// A port, unless there is none, which servers write in three ways: `null`, `{}` and `""`.
fn unless_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PortConfig>, D::Error> {
    struct Port;
    impl<'de> Visitor<'de> for Port {
        type Value = Option<PortConfig>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a port, or none")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            if text.is_empty() { Ok(None) } else { Err(E::invalid_type(Unexpected::Str(text), &self)) }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            if map.size_hint() == Some(0) {
                return Ok(None);
            }
            PortConfig::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_any(Port)
}

/// A port of a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortConfig {
    /// Its id; it names the device.
    pub id: Id,
    /// Its network.
    pub network_id: Id,
    /// MAC.
    pub mac_address: Mac,
    /// In bytes; absent where the port has no addresses.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Administrative state.
    #[serde(default = "yes")]
    pub admin_state_up: bool,
    /// Addresses.
    #[serde(default)]
    pub fixed_ips: Vec<FixedIp>,
    /// Subnets it has an address on; absent where the port has no addresses.
    #[serde(default)]
    pub subnets: Option<Vec<SubnetConfig>>,
    /// Other subnets of the network.
    #[serde(default)]
    pub extra_subnets: Vec<SubnetConfig>,
    /// Address scopes by family.
    #[serde(default)]
    pub address_scopes: Option<AddressScopes>,
}

impl PortConfig {
    /// Subnets it has an address on.
    pub fn subnets(&self) -> &[SubnetConfig] {
        self.subnets.as_deref().unwrap_or_default()
    }
}

/// An address of a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedIp {
    /// Its subnet.
    pub subnet_id: Id,
    /// The address.
    pub ip_address: IpAddr,
    /// Absent means a host's.
    #[serde(default)]
    pub prefixlen: Option<u8>,
}

/// A subnet as a port shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetConfig {
    /// Its id (absent in extra subnets of some servers).
    #[serde(default)]
    pub id: Option<Id>,
    /// Prefix.
    pub cidr: IpNet,
    /// Gateway.
    #[serde(default)]
    pub gateway_ip: Option<IpAddr>,
}

/// Address scope of each family; absent means none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressScopes {
    /// IPv4.
    #[serde(default, rename = "4")]
    pub v4: Option<String>,
    /// IPv6.
    #[serde(default, rename = "6")]
    pub v6: Option<String>,
}

/// A floating IP as the server annotates it for one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatingIpConfig {
    /// Its id.
    pub id: Id,
    /// The address outside.
    pub floating_ip_address: IpAddr,
    /// The address inside; absent means not associated.
    #[serde(default)]
    pub fixed_ip_address: Option<IpAddr>,
    /// Where the fixed port is bound, or one of the server's two markers.
    #[serde(default)]
    pub host: Option<String>,
    /// Target of a live migration.
    #[serde(default)]
    pub dest_host: Option<String>,
    /// Served centrally.
    #[serde(default)]
    pub dvr_snat_bound: bool,
    /// Address scope of the fixed address.
    #[serde(default)]
    pub fixed_ip_address_scope: Option<String>,
}

/// A port forwarding. Reference: `neutron-snat-side` 9.6.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortForwardingConfig {
    /// Its id; the first eight characters name its chain.
    pub id: Id,
    /// The address outside.
    pub floating_ip_address: IpAddr,
    /// Protocol number: TCP or UDP.
    pub protocol: u8,
    /// The ports outside.
    pub external_ports: PortRange,
    /// The address inside.
    pub internal_ip_address: IpAddr,
    /// The ports inside: as many, in the same order, or a single one for all.
    pub internal_ports: PortRange,
}

/// An extra route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RouteConfig {
    /// Where to.
    pub destination: IpNet,
    /// By whom.
    pub nexthop: IpAddr,
}

impl HostConfig {
    /// External networks that some router of this host has its gateway on.
    pub fn external_networks(&self) -> BTreeSet<&Id> {
        self.routers.values().filter_map(|r| r.gw_port.as_ref()).map(|p| &p.network_id).collect()
    }
}
