//! What is in force: every object, and the ports that the server made by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::event::{Event, ObjectKind};
use super::gateway::GatewayRequest;
use super::resource::{FloatingIp, Host, Instance, Network, Node, Port, Router, ServerPort, Settings, Subnet};
use crate::name::{HostName, Name};

/// Everything asked for so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intent {
    /// Hosts in order of declaration.
    pub host_order: Vec<HostName>,
    /// Hosts.
    pub hosts: BTreeMap<HostName, Host>,
    /// Networks.
    pub networks: BTreeMap<Name, Network>,
    /// Subnets.
    pub subnets: BTreeMap<Name, Subnet>,
    /// Subnets in order of creation ("the network's first subnet").
    pub subnet_order: Vec<Name>,
    /// Routers.
    pub routers: BTreeMap<Name, Router>,
    /// Tenant ports.
    pub ports: BTreeMap<Name, Port>,
    /// Instances.
    pub instances: BTreeMap<Name, Instance>,
    /// Floating IPs.
    pub floating_ips: BTreeMap<IpAddr, FloatingIp>,
    /// Machines outside. Every external network with a gateway address has an upstream router here (`gw-NETWORK` unless named).
    pub outside: BTreeMap<Name, Node>,
    /// Agent options.
    pub settings: Settings,
    /// `network:router_centralized_snat` ports by router and interface; present while the router has a gateway.
    pub snat_ports: BTreeMap<(Name, Name), ServerPort>,
    /// `network:floatingip_agent_gateway` ports by external network and host.
    pub agent_gateways: BTreeMap<(Name, HostName), ServerPort>,
    /// Addresses that the scenario names anywhere: never given out automatically.
    pub reserved: BTreeSet<IpAddr>,
    /// Address scopes.
    pub address_scopes: BTreeSet<Name>,
}

/// The API refused. Its error types are those of Neutron (`NeutronError.type`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {reason}")]
pub struct Rejected {
    /// The type.
    pub kind: RejectedKind,
    /// In words, with names.
    pub reason: String,
}

/// Neutron's error types, as a scenario expects them under `refused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectedKind {
    /// The subnet has ports.
    SubnetInUse,
    /// The network has ports or subnets in use.
    NetworkInUse,
    /// The port has an owner.
    PortInUse,
    /// The port belongs to the server.
    ServicePortInUse,
    /// The address is taken.
    IpAddressInUse,
    /// The address is outside the subnet.
    InvalidIpForSubnet,
    /// The address is outside every subnet of the network.
    InvalidIpForNetwork,
    /// No address left.
    IpAddressGenerationFailure,
    /// The request makes no sense in this state.
    BadRequest,
    /// A value is wrong.
    InvalidInput,
    /// A route's next hop is not on any connected subnet.
    InvalidRoutes,
    /// The router has interfaces.
    RouterInUse,
    /// A floating IP needs this interface.
    RouterInterfaceInUseByFloatingIP,
    /// A route needs this interface.
    RouterInterfaceInUseByRoute,
    /// A floating IP needs this gateway.
    RouterExternalGatewayInUseByFloatingIp,
    /// No router leads from the port to the floating IP's network.
    ExternalGatewayForFloatingIPNotFound,
    /// The fixed address has a floating IP already.
    FloatingIPPortAlreadyAssociated,
    /// A subnet has the address scope.
    AddressScopeInUse,
    /// Subnets of one network would have different address scopes.
    NetworkAddressScopeAffinityError,
    /// A router has the subnet's gateway address.
    GatewayIpInUse,
    /// The floating IP has port forwardings.
    FipInUseByPortForwarding,
    /// A port forwarding leads to the port.
    PortHasPortForwarding,
}

impl RejectedKind {
    /// Every kind, in the order of the language's reference.
    pub const ALL: [Self; 22] = [
        Self::SubnetInUse,
        Self::NetworkInUse,
        Self::PortInUse,
        Self::ServicePortInUse,
        Self::IpAddressInUse,
        Self::InvalidIpForSubnet,
        Self::InvalidIpForNetwork,
        Self::IpAddressGenerationFailure,
        Self::BadRequest,
        Self::InvalidInput,
        Self::InvalidRoutes,
        Self::RouterInUse,
        Self::RouterInterfaceInUseByFloatingIP,
        Self::RouterInterfaceInUseByRoute,
        Self::RouterExternalGatewayInUseByFloatingIp,
        Self::ExternalGatewayForFloatingIPNotFound,
        Self::FloatingIPPortAlreadyAssociated,
        Self::AddressScopeInUse,
        Self::NetworkAddressScopeAffinityError,
        Self::GatewayIpInUse,
        Self::FipInUseByPortForwarding,
        Self::PortHasPortForwarding,
    ];
}

impl std::fmt::Display for RejectedKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

impl Rejected {
    /// A refusal with its reason.
    pub(super) fn new(kind: RejectedKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }
}

impl Intent {
    /// What is in force after `event`, the ports that the server makes by itself included.
    ///
    /// # Errors
    /// [`Rejected`] with the type that Neutron answers; the intent is unchanged.
    pub fn apply(&self, event: &Event) -> Result<Self, Rejected> {
        let mut next = self.clone();
        next.change(event)?;
        next.settle()?;
        Ok(next)
    }

    fn change(&mut self, event: &Event) -> Result<(), Rejected> {
        match event {
            Event::Created(object) => self.create(object),
            Event::Deleted(ObjectKind::FloatingIp(address)) => self.delete_floating_ip(*address),
            Event::Deleted(ObjectKind::Named(section, name)) => self.delete(*section, name),
            Event::InterfaceAttached(router, interface) => self.attach(router, interface),
            Event::InterfaceDetached(router, interface) => self.detach(router, interface),
            Event::GatewaySet { router, network, addresses, snat, host } => {
                let (network, host) = (network.as_ref(), host.as_ref());
                self.set_gateway(&GatewayRequest { router, network, addresses, snat: *snat, host })
            }
            Event::GatewayCleared(router) => self.clear_gateway(router),
            Event::GatewayMoved(router, host) => self.move_gateway(router, host),
            Event::FloatingIpAssociated { floating_ip, port, fixed_address } => {
                self.associate(*floating_ip, port, *fixed_address)
            }
            Event::FloatingIpDisassociated(address) => self.disassociate(*address),
            Event::InstanceBooted(instance, host) => self.boot(instance, host),
            Event::InstanceMigrated(instance, host) => self.migrate(instance, host),
            Event::AgentRestarted(host) => self.restart_agent(host),
            Event::NodeUpdated(name, node) => self.update_node(name, node),
            Event::RouterUpdated(name, router) => self.update_router(name, router),
            Event::SubnetsUpdated(subnets) => self.update_subnets(subnets),
            Event::PortForwardingsSet { floating_ip, router, forwardings } => {
                self.set_port_forwardings(*floating_ip, router.as_ref(), forwardings)
            }
            Event::MigrationPrepared(instance, host) => self.prepare_migration(instance, host),
            Event::MigrationCompleted(instance, host) => self.complete_migration(instance, host),
            Event::MigrationAborted(instance, host) => self.abort_migration(instance, host),
            Event::NetworkUpdated(name, network) => self.update_network(name, network),
            Event::PortUpdated(name, port) => self.update_port(name, port),
            Event::InstanceUpdated(name, instance) => self.update_instance(name, instance),
            Event::ModeConfigured(host, mode) => self.configure_mode(host, *mode),
            Event::SettingsConfigured(settings) => {
                self.configure(*settings);
                Ok(())
            }
        }
    }
}
