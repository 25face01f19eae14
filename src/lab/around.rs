//! What stands around the routers.
//!
//! In: an instance, a machine outside or a host. Out: what its kernel holds. Never: what the lab was told that it should hold.

use super::{Lab, make};
use crate::dataplane::{Around, DataplaneError, Standing};
use crate::flow::Place;
use crate::kernel::Netns;
use crate::kernel::neighbours;
use crate::kernel::observe::{ObserveFailure, observe_namespace};
use crate::namespace::NamespaceState;

impl Around for Lab {
    fn standing(&self, place: &Place) -> Result<Option<Standing>, DataplaneError> {
        let Some(netns) = self.netns(place) else { return Ok(None) };
        let failed = |failure: ObserveFailure| DataplaneError::Place {
            place: place.clone(),
            doing: failure.to_string(),
            reason: make::reason(&failure.cause),
        };
        self.runtime.block_on(async {
            let mut state = observe_namespace(&netns, &self.baseline, self.rules).await.map_err(failed)?;
            without_ports(&netns, &mut state);
            let resolved = neighbours::resolved(&netns).await.map_err(failed)?;
            Ok(Some(Standing { state, resolved }))
        })
    }
}

/// Leaves out the far ends of others' devices, which are named after their own index: they are part of the wire.
fn without_ports(netns: &Netns, state: &mut NamespaceState) {
    let is_port = |name: &str, index: u32| name.strip_prefix('t').is_some_and(|number| number == index.to_string());
    state.links.retain(|device, _| !netns.known_index(device).is_some_and(|index| is_port(device.as_str(), index)));
}
