//! What tenants and operators ask for: the Networking API's objects, the changes to them, and what is in force.
//!
//! In: an [`Event`]. Out: the changed [`Intent`], or [`Rejected`] with the API's own error type and nothing changed.
//! Never: a host's view; that is [`crate::router`].

mod event;
mod intent;
mod resource;

pub use event::{Event, Object, ObjectKind};
pub use intent::{Intent, Rejected, RejectedKind};
pub use resource::{
    AgentMode, FloatingIp, Gateway, Host, Instance, Network, Node, NodePlace, Port, Router, Section, ServerPort,
    Settings, Snat, StaticRoute, Subnet,
};
