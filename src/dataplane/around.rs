//! What is around the routers: instances, machines outside, hosts' own namespaces.
//!
//! In: a place. Out: what stands there. Never: a comparison with what is desired, for nobody desires it; what somebody does
//! there stays.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::DataplaneError;
use crate::flow::Place;
use crate::name::DeviceName;
use crate::namespace::NamespaceState;
use crate::net::Mac;
use crate::plan::Action;

/// Looks at the places around the routers, and lays hands on them.
pub trait Around {
    /// What stands at an instance, a machine outside or in a host's own namespace; none where there is no such place now.
    ///
    /// # Errors
    /// [`DataplaneError::Place`].
    fn standing(&self, place: &Place) -> Result<Option<Standing>, DataplaneError>;

    /// Does something there, as somebody at the machine would; returns when it has settled.
    ///
    /// # Errors
    /// [`DataplaneError::Place`] with the first that the kernel refuses, also if there is no such place now.
    fn tamper(&self, place: &Place, actions: &[Action]) -> Result<(), DataplaneError>;
}

/// What stands at a place that is no router.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// What somebody set up. Of a host without the ports that machines and routers are plugged into.
    pub state: NamespaceState,
    /// Neighbours that its kernel has found out and believes in, also where that is no longer so; permanent ones are in `state`.
    pub resolved: BTreeMap<(DeviceName, IpAddr), Mac>,
}
