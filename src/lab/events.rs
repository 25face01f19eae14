//! What happens to the objects of the router namespaces.
//!
//! In: a question. Out: what was deleted or written anew since the last one. Never: a namespace held that was removed.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::{Lab, make, router_place};
use crate::dataplane::{DataplaneError, Touched};
use crate::flow::Place;
use crate::kernel::events::{Ear, EventsError};
use crate::name::{HostName, NamespaceName};

/// Who listens where, with the inode of the namespace: one of the same name may be another.
#[derive(Default)]
pub(super) struct Ears(RefCell<BTreeMap<(HostName, NamespaceName), (u64, Ear)>>);

impl Ears {
    /// Nobody listens there any more.
    pub(super) fn close(&self, host: &HostName, name: &NamespaceName) {
        self.0.borrow_mut().remove(&(host.clone(), name.clone()));
    }

    /// Nobody listens on other hosts any more.
    pub(super) fn retain(&self, stays: impl Fn(&HostName) -> bool) {
        self.0.borrow_mut().retain(|(host, _), _| stays(host));
    }
}

impl Lab {
    /// What happened since this was last asked; from now on somebody listens in every router namespace.
    pub(super) fn heard(&self) -> Result<BTreeMap<Place, Vec<Touched>>, DataplaneError> {
        let mut all = BTreeMap::new();
        let mut ears = self.ears.0.borrow_mut();
        for ((host, name), netns) in &*self.routers.borrow() {
            let failed = |error: EventsError| DataplaneError::Observe {
                host: host.clone(),
                namespace: name.clone(),
                what: "what happens to its objects",
                reason: make::reason(&error),
            };
            let key = (host.clone(), name.clone());
            if let Some((_, ear)) = ears.get_mut(&key).filter(|(inode, _)| *inode == netns.inode()) {
                let heard = self.runtime.block_on(ear.heard(netns)).map_err(failed)?;
                let touched = heard.into_iter().map(|(kind, line)| Touched { kind, line }).collect();
                all.insert(router_place(host, name), touched);
            } else {
                let ear = self.runtime.block_on(Ear::open(netns)).map_err(failed)?;
                ears.insert(key, (netns.inode(), ear));
            }
        }
        Ok(all)
    }
}
