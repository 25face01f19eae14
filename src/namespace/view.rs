//! One router as one host sees it: the router dict together with what was allotted to it, asked the questions that several
//! namespaces ask.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::allocation::{self, Ends, Exhausted};
use super::state::HostState;
use crate::api::AgentMode;
use crate::deviation::Deviation;
use crate::name::{DeviceName, Id, NamespaceName};
use crate::net::{Family, IpNet, Mac, SCOPE_ID_MIN, family_of, host_net};
use crate::router::{AddressScopes, FixedIp, FloatingIpConfig, HostConfig, PortConfig, RouterConfig};

/// MTU of a device whose port says none. Linux: `ETH_DATA_LEN`.
const DEFAULT_MTU: u32 = 1500;

/// A router on a host.
pub(super) struct View<'a> {
    /// The host's configuration.
    pub(super) config: &'a HostConfig,
    /// The router's.
    pub(super) router: &'a RouterConfig,
    /// Its link to the fip namespace, if it has one here.
    pub(super) link: Option<&'a FipLink<'a>>,
    /// Ids of its address scopes.
    scopes: BTreeMap<String, u32>,
}

/// The pair of devices between a router and the fip namespace of its external network.
pub(super) struct FipLink<'a> {
    /// The host's own port on the external network.
    pub(super) agent_gateway: &'a PortConfig,
    /// The router's end and its address.
    pub(super) rfp: End,
    /// The fip namespace's end and its address.
    pub(super) fpr: End,
    /// Of both ends.
    pub(super) mtu: u32,
}

/// One end of the pair.
pub(super) struct End {
    /// Where it lives.
    pub(super) namespace: NamespaceName,
    /// Its name.
    pub(super) device: DeviceName,
    /// Its MAC.
    pub(super) mac: Mac,
    /// Its address out of the pair.
    pub(super) address: Ipv4Addr,
}

impl FipLink<'_> {
    /// The routing table of what comes in from the router, which is also its rule's priority.
    pub(super) fn table(&self) -> u32 {
        self.fpr.address.into()
    }
}

/// `qrouter-ID`
pub(super) fn qrouter(router: &Id) -> NamespaceName {
    NamespaceName::of("qrouter-", router)
}

/// `snat-ID`
pub(super) fn snat(router: &Id) -> NamespaceName {
    NamespaceName::of("snat-", router)
}

/// `fip-NETWORK`
pub(super) fn fip(network: &Id) -> NamespaceName {
    NamespaceName::of("fip-", network)
}

/// A port's device.
pub(super) fn device(prefix: &str, port: &PortConfig) -> DeviceName {
    DeviceName::cut(prefix, port.id.as_str())
}

/// A port's MTU.
pub(super) fn mtu(port: &PortConfig) -> u32 {
    port.mtu.filter(|mtu| *mtu > 0).unwrap_or(DEFAULT_MTU)
}

/// An address of a port with its prefix length.
pub(super) fn net_of(fixed: &FixedIp) -> IpNet {
    let host = host_net(fixed.ip_address);
    let length = fixed.prefixlen.unwrap_or(host.max_prefix_len());
    IpNet::new(fixed.ip_address, length).unwrap_or(host)
}

/// Whether a port has an address of a family.
pub(super) fn has_family(port: &PortConfig, family: Family) -> bool {
    port.fixed_ips.iter().any(|fixed| Family::of(fixed.ip_address) == family)
}

fn scope_of(scopes: Option<&AddressScopes>, family: Family) -> Option<&str> {
    match family {
        Family::V4 => scopes?.v4.as_deref(),
        Family::V6 => scopes?.v6.as_deref(),
    }
}

/// The links to the fip namespaces, by router.
pub(super) fn fip_links<'a>(
    config: &'a HostConfig,
    observed: &HostState,
) -> Result<BTreeMap<Id, FipLink<'a>>, (NamespaceName, Exhausted)> {
    let mut linked = Vec::new();
    for router in config.routers.values() {
        if let Some((gateway, agent_gateway)) = ports_of_link(config, router) {
            let outside = fip(&gateway.network_id);
            let ends = Ends {
                router: router.id.clone(),
                inside: (qrouter(&router.id), DeviceName::cut("rfp-", router.id.as_str())),
                outside: (outside, DeviceName::cut("fpr-", router.id.as_str())),
            };
            linked.push((ends, gateway, agent_gateway));
        }
    }
    let ends: Vec<&Ends> = linked.iter().map(|(ends, _, _)| ends).collect();
    let Some(last) = ends.last() else { return Ok(BTreeMap::new()) };
    let numbers = allocation::pairs(&ends, observed).map_err(|error| (last.outside.0.clone(), error))?;
    let mut links = BTreeMap::new();
    for (ends, gateway, agent_gateway) in linked {
        let Some(number) = numbers.get(&ends.router) else { continue };
        let (inside_address, outside_address) = allocation::pair(*number);
        let owner = format!("{}/{}", config.host, ends.router);
        let end = |purpose, (namespace, device): (NamespaceName, DeviceName), address| End {
            namespace,
            device,
            mac: Mac::derived(purpose, &owner),
            address,
        };
        let link = FipLink {
            agent_gateway,
            rfp: end("rfp", ends.inside, inside_address),
            fpr: end("fpr", ends.outside, outside_address),
            mtu: mtu(gateway),
        };
        links.insert(ends.router, link);
    }
    Ok(links)
}

/// The gateway port and the host's own port on its network, where both are fit for a fip namespace.
fn ports_of_link<'a>(config: &HostConfig, router: &'a RouterConfig) -> Option<(&'a PortConfig, &'a PortConfig)> {
    if config.mode == AgentMode::DvrNoExternal {
        return None;
    }
    let gateway = router.gw_port.as_ref()?;
    // The server tells the subnets of ports that have addresses, and without a word of them the agent gives up.
    let on_network = |port: &&PortConfig| port.network_id == gateway.network_id && port.subnets.is_some();
    Some((gateway, router.agent_gateways.iter().find(on_network)?))
}

impl<'a> View<'a> {
    /// With the marks of its address scopes as they are observed, or new ones.
    pub(super) fn new(
        config: &'a HostConfig,
        router: &'a RouterConfig,
        link: Option<&'a FipLink<'a>>,
        observed: &HostState,
    ) -> Result<Self, Exhausted> {
        let mut view = Self { config, router, link, scopes: BTreeMap::new() };
        let states = [qrouter(&router.id), snat(&router.id)];
        let states: Vec<_> = states.iter().filter_map(|name| observed.namespaces.get(name)).collect();
        let mut scope_of_device = BTreeMap::new();
        for family in Family::BOTH {
            let inside = view.qrouter_devices(family);
            for (device, scope) in inside.into_iter().chain(view.snat_devices(family)) {
                scope_of_device.extend(scope.map(|scope| ((family, device), scope)));
            }
        }
        view.scopes = allocation::scopes(&view.asked_scopes(), &scope_of_device, states)?;
        Ok(view)
    }

    /// Address scopes in the order in which an agent that begins asks for their ids. It asks for both of a port, whichever
    /// families the port has.
    fn asked_scopes(&self) -> Vec<String> {
        let both = |port: &'a PortConfig| {
            Family::BOTH.into_iter().filter_map(|family| scope_of(port.address_scopes.as_ref(), family))
        };
        let gateway = || self.router.gw_port.iter();
        let outside = || self.external_scope(Family::V4);
        let crossing = self.router.floating_ips.iter().map(|fip| fip.fixed_ip_address_scope.as_deref());
        let crossing =
            crossing.filter(|scope| *scope != outside()).flat_map(|scope| outside().into_iter().chain(scope));
        let (snat, translates) = (self.is_snat_host(), self.is_snat_host() && self.router.enable_snat);
        let first = outside().filter(|_| translates).into_iter();
        let asked = first
            .chain(self.router.interfaces.iter().flat_map(both))
            .chain(gateway().filter(|_| self.link.is_some()).flat_map(both))
            .chain(crossing)
            .chain(self.router.snat_interfaces.iter().filter(|_| snat).flat_map(both))
            .chain(gateway().filter(|_| snat).flat_map(both));
        asked.map(str::to_owned).collect()
    }

    /// The gateway is on this host.
    pub(super) fn is_snat_host(&self) -> bool {
        self.config.mode == AgentMode::DvrSnat
            && self.router.gw_port.is_some()
            && self.router.gw_port_host.as_ref() == Some(&self.config.host)
    }

    /// Internal ports that are plugged.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = &'a PortConfig> {
        self.router.interfaces.iter().filter(|port| port.admin_state_up)
    }

    /// The SNAT port that serves an internal port: the first that shares a subnet.
    pub(super) fn snat_port_of(&self, interface: &PortConfig) -> Option<&'a PortConfig> {
        let on = |fixed: &FixedIp| interface.fixed_ips.iter().any(|own| own.subnet_id == fixed.subnet_id);
        self.router.snat_interfaces.iter().find(|port| port.fixed_ips.iter().any(on))
    }

    /// Traffic of an internal port leaves untranslated by the fip namespace, being in the gateway's address scope.
    /// A port with an IPv6 subnet never does.
    pub(super) fn leaves_directly(&self, interface: &PortConfig) -> bool {
        let Some(gateway) = self.router.gw_port.as_ref().filter(|_| self.config.mode != AgentMode::DvrNoExternal)
        else {
            return false;
        };
        if interface.subnets().iter().any(|subnet| family_of(&subnet.cidr) == Family::V6) {
            return false;
        }
        let inside = scope_of(interface.address_scopes.as_ref(), Family::V4);
        let outside = gateway.address_scopes.as_ref();
        inside.is_some() && Family::BOTH.iter().any(|family| scope_of(outside, *family) == inside)
    }

    /// The mark of a scope, in the upper half of the packet mark.
    pub(super) fn mark(&self, scope: Option<&str>) -> u32 {
        scope.and_then(|scope| self.scopes.get(scope)).copied().unwrap_or(SCOPE_ID_MIN) << 16
    }

    /// The gateway's scope.
    pub(super) fn external_scope(&self, family: Family) -> Option<&'a str> {
        scope_of(self.router.gw_port.as_ref()?.address_scopes.as_ref(), family)
    }

    /// Devices of the qrouter namespace that carry a family, with their scopes.
    pub(super) fn qrouter_devices(&self, family: Family) -> Vec<(DeviceName, Option<&'a str>)> {
        let mut devices: Vec<(DeviceName, Option<&str>)> = self
            .router
            .interfaces
            .iter()
            .filter(|port| has_family(port, family))
            .map(|port| (device("qr-", port), scope_of(port.address_scopes.as_ref(), family)))
            .collect();
        if let (Some(link), Some(gateway)) = (self.link, &self.router.gw_port)
            && has_family(gateway, family)
        {
            devices.push((link.rfp.device.clone(), self.external_scope(family)));
        }
        devices
    }

    /// Devices of the snat namespace that carry a family, with their scopes.
    pub(super) fn snat_devices(&self, family: Family) -> Vec<(DeviceName, Option<&'a str>)> {
        let inside = self.router.snat_interfaces.iter().map(|port| ("sg-", port));
        let outside = self.router.gw_port.iter().map(|port| ("qg-", port));
        inside
            .chain(outside)
            .filter(|(_, port)| has_family(port, family))
            .map(|(prefix, port)| (device(prefix, port), scope_of(port.address_scopes.as_ref(), family)))
            .collect()
    }

    /// The router's end of the link to the fip namespace, be there one or not.
    pub(super) fn rfp(&self) -> DeviceName {
        DeviceName::cut("rfp-", self.router.id.as_str())
    }

    /// Floating IPs that are translated in the qrouter namespace, with their fixed addresses: served on this host or not.
    pub(super) fn translated(&self) -> impl Iterator<Item = (&'a FloatingIpConfig, IpAddr)> {
        let outside = self.config.mode != AgentMode::DvrNoExternal && self.router.gw_port.is_some();
        let fips = self.router.floating_ips.iter().filter(move |fip| outside && !fip.dvr_snat_bound);
        fips.filter_map(|fip| Some((fip, fip.fixed_ip_address?)))
    }

    /// Floating IPs that this host serves in the qrouter namespace, with their fixed addresses.
    pub(super) fn distributed(&self) -> impl Iterator<Item = (&'a FloatingIpConfig, IpAddr)> {
        let host = self.config.host.as_str();
        let here =
            |fip: &FloatingIpConfig| [&fip.host, &fip.dest_host].into_iter().any(|on| on.as_deref() == Some(host));
        let linked = self.link.is_some();
        self.translated().filter(move |(fip, _)| linked && here(fip))
    }

    /// Floating IPs that this host answers for outside: of those that it serves, not yet the ones whose instances have still
    /// to come. Proxy ARP answers for what the fip namespace has a route to, and what is answered for is announced.
    pub(super) fn answered(&self) -> impl Iterator<Item = &'a FloatingIpConfig> {
        let host = self.config.host.as_str();
        let early = !self.config.options.deviations.has(Deviation::QuietTarget);
        self.distributed().map(|(fip, _)| fip).filter(move |fip| early || fip.host.as_deref() == Some(host))
    }

    /// Floating IPs that the snat namespace serves, with their fixed addresses.
    pub(super) fn centralised(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        let bound = self.router.floating_ips.iter().filter(|fip| fip.dvr_snat_bound);
        bound.filter_map(|fip| Some((fip.floating_ip_address, fip.fixed_ip_address?)))
    }
}
