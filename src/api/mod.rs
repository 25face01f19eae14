//! What tenants and operators ask for: the Networking API's objects, the changes to them, and what is in force.
//!
//! In: an [`Event`]. Out: the changed [`Intent`], or [`Rejected`] with the API's own error type and nothing changed.
//! Never: a host's view; that is [`crate::router`].

mod address;
mod create;
mod delete;
mod event;
mod floating_ip;
mod gateway;
mod host;
mod instance;
mod intent;
mod lookup;
mod port;
mod port_forwarding;
mod resource;
mod router;
#[cfg(test)]
pub(crate) mod sample;
mod server_ports;
mod subnet;
#[cfg(test)]
mod tests;

pub(crate) use address::{behind_prefix, link_hop};
pub use event::{Event, Object, ObjectKind};
pub use intent::{Intent, Rejected, RejectedKind};
pub use lookup::{Owner, RouterPort};
pub use resource::{
    AddressPair, AgentMode, FloatingIp, Gateway, Host, Instance, Ipv6Mode, Nested, Network, Node, NodePlace, Port,
    PortForwarding, Router, Section, ServerPort, Settings, Snat, StaticRoute, Subnet,
};
