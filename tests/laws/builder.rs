//! Host configurations from a few choices.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use dvrlab::api::AgentMode;
use dvrlab::net::{IpNet, Mac};
use dvrlab::router::{
    AddressScopes, AgentOptions, FixedIp, FloatingIpConfig, HostConfig, NeighbourPort, PortConfig,
    PortForwardingConfig, RouteConfig, RouterConfig, SubnetConfig,
};

/// The host all configurations are for.
pub(crate) const HOST: &str = "host1";

/// The choices for one router.
#[derive(Debug, Clone, Default)]
pub(crate) struct RouterChoice {
    pub(crate) name: &'static str,
    pub(crate) interfaces: Vec<InterfaceChoice>,
    pub(crate) gateway: Option<GatewayChoice>,
    pub(crate) floating_ips: Vec<FloatingIpChoice>,
    pub(crate) routes: Vec<(&'static str, &'static str)>,
    /// Ports that a floating IP of its own forwards to instances of the first network.
    pub(crate) forwarded: Vec<u16>,
}

/// An internal port on network `netN`, 10.ROUTER.N.0/24.
#[derive(Debug, Clone)]
pub(crate) struct InterfaceChoice {
    pub(crate) net: u8,
    pub(crate) last_octet: u8,
    pub(crate) mtu: u32,
    pub(crate) scope: Option<&'static str>,
    /// An IPv6 address too, on fd00:ROUTER:N::/64.
    pub(crate) dual: bool,
}

/// The gateway on external network `extN`, 203.0.N.0/24.
#[derive(Debug, Clone)]
pub(crate) struct GatewayChoice {
    pub(crate) ext: u8,
    pub(crate) last_octet: u8,
    pub(crate) snat: bool,
    pub(crate) here: bool,
    pub(crate) scope: Option<&'static str>,
    /// An IPv6 address too, on 2001:db8:N::/64.
    pub(crate) dual: bool,
}

/// A floating IP for an instance on one of the router's networks.
#[derive(Debug, Clone)]
pub(crate) struct FloatingIpChoice {
    pub(crate) last_octet: u8,
    pub(crate) net: u8,
    pub(crate) instance: u8,
    pub(crate) centralised: bool,
    /// Where it is served, or is about to be: not on this host, or here once its instance has migrated.
    pub(crate) place: Place,
}

/// Where a floating IP that is not centralised is served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Place {
    #[default]
    Here,
    Elsewhere,
    Arriving,
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net24(a: u8, b: u8, c: u8) -> IpNet {
    IpNet::new(Ipv4Addr::new(a, b, c, 0).into(), 24).unwrap()
}

/// The address of an instance.
pub(crate) fn instance(router: u8, net: u8, number: u8) -> IpAddr {
    Ipv4Addr::new(10, router, net, number).into()
}

struct PortOf {
    id: String,
    network: String,
    address: IpAddr,
    cidr: IpNet,
    gateway: Option<IpAddr>,
}

fn port(of: &PortOf, mtu: u32, scope: Option<&str>) -> PortConfig {
    let subnet = format!("sub-{}", of.network);
    PortConfig {
        mac_address: Mac::derived("port", &of.id),
        id: of.id.parse().unwrap(),
        network_id: of.network.parse().unwrap(),
        mtu: Some(mtu),
        admin_state_up: true,
        fixed_ips: vec![FixedIp {
            subnet_id: subnet.parse().unwrap(),
            ip_address: of.address,
            prefixlen: Some(of.cidr.prefix_len()),
        }],
        subnets: Some(vec![SubnetConfig { id: subnet.parse().ok(), cidr: of.cidr, gateway_ip: of.gateway }]),
        extra_subnets: Vec::new(),
        address_scopes: scope.map(|scope| AddressScopes { v4: Some(scope.to_owned()), v6: None }),
    }
}

/// Another address of a port, on a subnet that it has or gets.
fn also(port: &mut PortConfig, subnet: &str, address: &str, cidr: &str, gateway: &str) {
    let (id, cidr): (dvrlab::name::Id, IpNet) = (subnet.parse().unwrap(), cidr.parse().unwrap());
    let prefixlen = Some(cidr.prefix_len());
    port.fixed_ips.push(FixedIp { subnet_id: id.clone(), ip_address: ip(address), prefixlen });
    let subnets = port.subnets.get_or_insert_default();
    if !subnets.iter().any(|known| known.id.as_ref() == Some(&id)) {
        subnets.push(SubnetConfig { id: Some(id), cidr, gateway_ip: Some(ip(gateway)) });
    }
}

fn forwarding(number: u8, gateway: &GatewayChoice, net: u8, port: u16) -> PortForwardingConfig {
    PortForwardingConfig {
        id: format!("{port:04}").parse().unwrap(),
        floating_ip_address: Ipv4Addr::new(203, 0, gateway.ext, 150 + number).into(),
        protocol: 6,
        external_ports: port.into(),
        internal_ip_address: instance(number, net, 11),
        internal_ports: 80.into(),
    }
}

fn router(number: u8, choice: &RouterChoice) -> RouterConfig {
    let name = choice.name;
    let internal = |prefix: &str, interface: &InterfaceChoice, last: u8| {
        let of = PortOf {
            id: format!("{prefix}{number}{}", interface.net),
            network: format!("net{number}{}", interface.net),
            address: instance(number, interface.net, last),
            cidr: net24(10, number, interface.net),
            gateway: Some(instance(number, interface.net, 1)),
        };
        let mut port = port(&of, interface.mtu, interface.scope);
        let net = interface.net;
        if interface.dual {
            let prefix = format!("fd00:{number}:{net}::");
            let address = format!("{prefix}{last}");
            also(&mut port, &format!("sub6-{number}{net}"), &address, &format!("{prefix}/64"), &format!("{prefix}1"));
        }
        port
    };
    let external = |id: String, ext: u8, last: u8, scope: Option<&str>, dual: bool| {
        let address = |last| IpAddr::from(Ipv4Addr::new(203, 0, ext, last));
        let cidr = net24(203, 0, ext);
        let of = PortOf { id, network: format!("ext{ext}"), address: address(last), cidr, gateway: Some(address(1)) };
        let mut port = port(&of, 1500, scope);
        if dual {
            let prefix = format!("2001:db8:{ext}::");
            let address = format!("{prefix}{last}");
            also(&mut port, &format!("sub6-ext{ext}"), &address, &format!("{prefix}/64"), &format!("{prefix}1"));
        }
        port
    };
    let gateway = choice.gateway.as_ref();
    RouterConfig {
        port_forwardings: gateway
            .into_iter()
            .zip(choice.interfaces.first())
            .flat_map(|(gateway, inside)| {
                choice.forwarded.iter().map(|port| forwarding(number, gateway, inside.net, *port))
            })
            .collect(),
        id: name.parse().unwrap(),
        distributed: true,
        enable_snat: gateway.is_none_or(|gateway| gateway.snat),
        gw_port: gateway.map(|g| external(format!("gw-{name}"), g.ext, g.last_octet, g.scope, g.dual)),
        gw_port_host: gateway.map(|g| if g.here { HOST } else { "elsewhere" }.parse().unwrap()),
        interfaces: choice.interfaces.iter().map(|i| internal("if", i, i.last_octet)).collect(),
        snat_interfaces: gateway.iter().flat_map(|_| choice.interfaces.iter().map(|i| internal("sn", i, 2))).collect(),
        agent_gateways: gateway
            .map(|g| external(format!("fg{}", g.ext), g.ext, 200, None, g.dual))
            .into_iter()
            .collect(),
        floating_ips: choice.floating_ips.iter().filter_map(|fip| Some(floating_ip(number, gateway?, fip))).collect(),
        routes: choice
            .routes
            .iter()
            .map(|(destination, nexthop)| RouteConfig {
                destination: destination.parse().unwrap(),
                nexthop: ip(nexthop),
            })
            .collect(),
    }
}

fn floating_ip(number: u8, gateway: &GatewayChoice, choice: &FloatingIpChoice) -> FloatingIpConfig {
    FloatingIpConfig {
        id: format!("fip{}", choice.last_octet).parse().unwrap(),
        floating_ip_address: Ipv4Addr::new(203, 0, gateway.ext, choice.last_octet).into(),
        fixed_ip_address: Some(instance(number, choice.net, choice.instance)),
        host: Some(
            match choice.place {
                _ if choice.centralised => "FLOATING_IP_HOST_NEEDS_BINDING",
                Place::Here => HOST,
                Place::Elsewhere | Place::Arriving => "elsewhere",
            }
            .to_owned(),
        ),
        dest_host: (choice.place == Place::Arriving).then(|| HOST.to_owned()),
        dvr_snat_bound: choice.centralised,
        fixed_ip_address_scope: None,
    }
}

/// The configuration of [`HOST`]. Every network has the instances 11 and 12.
pub(crate) fn host(mode: AgentMode, choices: &[RouterChoice]) -> HostConfig {
    let mut ports_by_subnet = BTreeMap::new();
    let mut routers = BTreeMap::new();
    for (choice, number) in choices.iter().zip(1..) {
        let router = router(number, choice);
        for interface in &choice.interfaces {
            let subnet = format!("sub-net{number}{}", interface.net).parse().unwrap();
            let ports = [11, 12].map(|last| NeighbourPort {
                device_owner: "compute:nova".to_owned(),
                mac: Mac::derived("instance", &format!("{number}.{}.{last}", interface.net)),
                fixed_ips: vec![FixedIp {
                    subnet_id: format!("sub-net{number}{}", interface.net).parse().unwrap(),
                    ip_address: instance(number, interface.net, last),
                    prefixlen: None,
                }],
            });
            ports_by_subnet.insert(subnet, ports.to_vec());
        }
        routers.insert(router.id.clone(), router);
    }
    HostConfig { host: HOST.parse().unwrap(), mode, options: AgentOptions::default(), routers, ports_by_subnet }
}

/// An interface as it usually is.
pub(crate) fn interface(net: u8) -> InterfaceChoice {
    InterfaceChoice { net, last_octet: 1, mtu: 1450, scope: None, dual: false }
}

/// A gateway on `ext1`, with SNAT.
pub(crate) fn gateway(here: bool) -> GatewayChoice {
    GatewayChoice { ext: 1, last_octet: 10, snat: true, here, scope: None, dual: false }
}
