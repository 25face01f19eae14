//! The server's view of each host: an [`Intent`](crate::api::Intent) and a host name give the [`HostConfig`] that the host's
//! agent is sent, and the [`Topology`](crate::topology::Topology) that carries it.
//!
//! Never: a kernel word; those begin in [`crate::namespace`].

mod config;
mod host_config;
mod notice;
mod order;
mod placement;
#[cfg(test)]
mod tests;
mod topology;

pub use config::{
    AddressScopes, AgentOptions, FixedIp, FloatingIpConfig, HostConfig, NeighbourPort, PortConfig,
    PortForwardingConfig, RouteConfig, RouterConfig, SubnetConfig,
};
pub use host_config::host_config;
pub use notice::Notice;
pub use order::order;
pub use topology::topology;
