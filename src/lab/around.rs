//! What stands around the routers.
//!
//! In: an instance, a machine outside or a host; what somebody does there. Out: what its kernel holds. Never: what the lab was
//! told that it should hold, and never a repair: the lab makes what it was told, once.

use std::rc::Rc;

use super::{Lab, host, make};
use crate::backend::RuleBackend;
use crate::dataplane::{Around, DataplaneError, Standing};
use crate::flow::Place;
use crate::kernel::apply::apply_op;
use crate::kernel::observe::{ObserveFailure, observe_namespace};
use crate::kernel::settle::settle;
use crate::kernel::{Netns, Plug, Surroundings, neighbours};
use crate::name::{HostName, Id, Name, NamespaceName};
use crate::namespace::NamespaceState;
use crate::plan::{Action, Op};
use crate::topology::NodeAttach;

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
            self.without_idle(place, &mut state);
            let resolved = neighbours::resolved(&netns).await.map_err(failed)?;
            Ok(Some(Standing { state, resolved }))
        })
    }

    fn tamper(&self, place: &Place, actions: &[Action]) -> Result<(), DataplaneError> {
        let failed = |doing: String, reason: String| DataplaneError::Place { place: place.clone(), doing, reason };
        let named = Name::new(place.name.as_str()).ok().zip(NamespaceName::new(place.name.as_str()).ok());
        let Some((netns, (own, name))) = self.netns(place).zip(named) else {
            return Err(failed("change it".to_owned(), "there is no such place now".to_owned()));
        };
        let (host, spot) = (self.owner(&own), Spot { lab: self, netns: Rc::clone(&netns) });
        for action in actions {
            let op = Op { namespace: name.clone(), action: action.clone() };
            let done = self.runtime.block_on(apply_op(&spot, self.runtime.handle(), &host, &op));
            done.map_err(|failure| failed(format!("do `{op}`"), failure.reason()))?;
        }
        self.rerouted();
        let settled = self.runtime.block_on(settle(&netns));
        settled.map_err(|error| failed("wait for its devices".to_owned(), make::reason(&error)))
    }
}

impl Lab {
    /// Leaves out what is kept on a host of networks that it has no part in any more.
    fn without_idle(&self, place: &Place, state: &mut NamespaceState) {
        let fabric = self.fabric.borrow();
        let host = Name::new(place.name.as_str()).ok().and_then(|name| fabric.hosts.get(&HostName::from(name)));
        for id in host.filter(|_| place.host.is_none()).iter().flat_map(|host| host.idle.keys()) {
            state.links.remove(&host::bridge_name(id));
            state.links.remove(&host::tunnel_name(id));
        }
    }

    /// The host that an instance runs on; a host's own name, and that of a machine outside, which no host has.
    fn owner(&self, name: &Name) -> HostName {
        let fabric = self.fabric.borrow();
        let ports = fabric.nodes.get(name).into_iter().flat_map(|node| &node.topology.ports);
        let mut hosts = ports.filter_map(|port| match &port.attach {
            NodeAttach::Tenant(host, _) => Some(host.clone()),
            NodeAttach::Segment(_) | NodeAttach::Node(..) => None,
        });
        hosts.next().unwrap_or_else(|| HostName::from(name.clone()))
    }
}

/// One namespace, as if it were the only one.
struct Spot<'a> {
    lab: &'a Lab,
    netns: Rc<Netns>,
}

impl Surroundings for Spot<'_> {
    fn namespace(&self, _host: &HostName, _name: &NamespaceName) -> Option<Rc<Netns>> {
        Some(Rc::clone(&self.netns))
    }

    fn insert(&self, _host: &HostName, _name: &NamespaceName, _netns: Rc<Netns>) {}

    fn remove(&self, _host: &HostName, _name: &NamespaceName) {}

    fn is_leaving(&self, _host: &HostName, _name: &NamespaceName) -> bool {
        false
    }

    fn plug(&self, host: &HostName, network: &Id) -> Option<Plug> {
        self.lab.plug(host, network)
    }

    fn new_index(&self) -> u32 {
        self.lab.new_index()
    }

    fn rules(&self) -> RuleBackend {
        Surroundings::rules(self.lab)
    }
}

/// Leaves out the far ends of others' devices, which are named after their own index: they are part of the wire.
fn without_ports(netns: &Netns, state: &mut NamespaceState) {
    let is_port = |name: &str, index: u32| name.strip_prefix('t').is_some_and(|number| number == index.to_string());
    state.links.retain(|device, _| !netns.known_index(device).is_some_and(|index| is_port(device.as_str(), index)));
}
