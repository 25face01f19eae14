//! What can be asked for, in the past tense: an event is a change that was made, or is refused.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::resource::{
    AgentMode, FloatingIp, Host, Instance, Network, Node, Port, PortForwarding, Router, Section, Settings, Subnet,
};
use crate::name::{HostName, Name};

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An object was created.
    Created(Object),
    /// An object was deleted.
    Deleted(ObjectKind),
    /// An interface was attached: router, subnet or port.
    InterfaceAttached(Name, Name),
    /// An interface was detached.
    InterfaceDetached(Name, Name),
    /// The gateway was set or changed; what is `None` stays as it is.
    GatewaySet {
        /// The router.
        router: Name,
        /// The external network.
        network: Option<Name>,
        /// Its addresses; empty: as they are, or the lowest free.
        addresses: Vec<IpAddr>,
        /// Source NAT on or off.
        snat: Option<super::Snat>,
        /// Where to schedule it; only where there was no gateway.
        host: Option<HostName>,
    },
    /// The gateway was cleared.
    GatewayCleared(Name),
    /// The gateway was moved to another host.
    GatewayMoved(Name, HostName),
    /// A floating IP was given to a port (allocated if need be; re-pointed if it had one).
    FloatingIpAssociated {
        /// Its address.
        floating_ip: IpAddr,
        /// The port.
        port: Name,
        /// Which of the port's addresses; the first unless told otherwise.
        fixed_address: Option<IpAddr>,
    },
    /// A floating IP was taken off; it stays allocated.
    FloatingIpDisassociated(IpAddr),
    /// An instance was started on a host.
    InstanceBooted(Name, HostName),
    /// An instance was moved to a host.
    InstanceMigrated(Name, HostName),
    /// A gateway's or an interface's agents were told to start anew. Nothing is asked of the API.
    AgentRestarted(HostName),
    /// Routes of an upstream router, or addresses, changed.
    NodeUpdated(Name, Node),
    /// A router's extra routes or another attribute changed (the whole object as it is to be).
    RouterUpdated(Name, Router),
    /// Address scopes or gateways of subnets changed, all in one call as subnets of one pool do (the whole objects as they
    /// are to be).
    SubnetsUpdated(BTreeMap<Name, Subnet>),
    /// The configured mode of a host's agent changed; it holds from the agent's next start.
    ModeConfigured(HostName, AgentMode),
    /// The configured options of all agents changed; they hold from each agent's next start.
    SettingsConfigured(Settings),
    /// A network's MTU or administrative state changed (the whole object as it is to be).
    NetworkUpdated(Name, Network),
    /// A port's addresses, address pairs or administrative state changed (the whole object as it is to be).
    PortUpdated(Name, Port),
    /// The port forwardings of a floating IP were replaced; the router, if one is named, is the one that carries them.
    PortForwardingsSet {
        /// Its address.
        floating_ip: IpAddr,
        /// The router, if it is named.
        router: Option<Name>,
        /// All of them.
        forwardings: Vec<PortForwarding>,
    },
    /// The target of a live migration was told to make ready for an instance.
    MigrationPrepared(Name, HostName),
    /// A live migration that was prepared came to its end: the instance runs on its target.
    MigrationCompleted(Name, HostName),
    /// A live migration that was prepared was given up.
    MigrationAborted(Name, HostName),
    /// What an instance's kernel owns or closes changed (the whole object as it is to be).
    InstanceUpdated(Name, Instance),
}

/// An object with its name, as created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A host.
    Host(HostName, Host),
    /// A network.
    Network(Name, Network),
    /// A subnet.
    Subnet(Name, Subnet),
    /// A router, without interfaces and gateway; those follow as events of their own.
    Router(Name, Router),
    /// A port; no addresses means the lowest free of its network's first subnet of each family.
    Port(Name, Port),
    /// An instance; its ports exist already.
    Instance(Name, Instance),
    /// A floating IP, not associated.
    FloatingIp(IpAddr, FloatingIp),
    /// A machine outside.
    Outside(Name, Node),
    /// Agent options.
    Settings(Settings),
    /// An address scope, which is a name and nothing else.
    AddressScope(Name),
}

/// An object by section and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A floating IP.
    FloatingIp(IpAddr),
    /// Anything else.
    Named(Section, Name),
}
