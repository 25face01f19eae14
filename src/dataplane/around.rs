//! What is around the routers: instances, machines outside, hosts' own namespaces. Nobody desires what stands there; it is
//! only looked at.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::DataplaneError;
use crate::flow::Place;
use crate::name::DeviceName;
use crate::namespace::NamespaceState;
use crate::net::Mac;

/// Looks at the places around the routers.
pub trait Around {
    /// What stands at an instance, a machine outside or in a host's own namespace; none where there is no such place now.
    ///
    /// # Errors
    /// [`DataplaneError::Place`].
    fn standing(&self, place: &Place) -> Result<Option<Standing>, DataplaneError>;
}

/// What stands at a place that is no router.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// What somebody set up. Of a host without the ports that machines and routers are plugged into.
    pub state: NamespaceState,
    /// Neighbours that its kernel has found out and believes in, also where that is no longer so; permanent ones are in `state`.
    pub resolved: BTreeMap<(DeviceName, IpAddr), Mac>,
}
