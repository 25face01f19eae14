//! What namespaces remember of packets: read where a step asks for it, forgotten where it says so.
//!
//! In: a step. Out: the connections its sentences are about. Never: a look where nothing is asked, since it takes milliseconds.

use std::collections::{BTreeMap, BTreeSet};

use super::{Driver, dataplane_failure, failure, is_at};
use crate::api::Intent;
use crate::flow::Place;
use crate::memory::Connection;
use crate::namespace::Kind;
use crate::record::{FailureKind, StepRecord};
use crate::scenario::{Deed, Expected, Operation, StatePlace, Step};

impl Driver<'_> {
    /// Does what an operation does besides asking the API. `next` is in force after it.
    pub(super) fn do_deed(&mut self, operation: &Operation, next: &Intent, line: usize, record: &mut StepRecord) {
        match &operation.deed {
            None => {}
            Some(Deed::Agents(deed, hosts)) => self.do_agents(*deed, hosts),
            Some(Deed::Deliver { hosts, reversed }) => {
                for host in hosts {
                    self.agents.deliver(host, *reversed);
                }
            }
            Some(Deed::Hosts(on, hosts)) => self.do_power(*on, hosts),
            Some(Deed::Link { node, to, setting }) => self.do_link(node, to.as_ref(), *setting),
            Some(Deed::Partition(groups)) => self.links.partition(groups),
            Some(Deed::Heal) => self.links.heal(),
            Some(Deed::Sabotage(damage)) => self.do_damage(damage, line, record),
            Some(Deed::Tamper(place, wreck)) => self.do_tamper(place, wreck, line, record),
            Some(Deed::Exec(exec)) => self.do_exec(exec, line, record),
            Some(Deed::OpenFlow(open)) => self.ledger_open(open, next, record),
            Some(Deed::CloseFlow(name)) => self.ledger_close(name, record),
            Some(Deed::Flush(place, cache, address)) => {
                if let Err(error) = self.dataplane.flush(place, *cache, *address) {
                    record.failures.push(failure(FailureKind::OperationFailed, Some(line), error.to_string()));
                }
            }
        }
    }

    /// Reads the connections that sentences of the step are about.
    pub(super) fn read_connections(&self, step: &Step, record: &mut StepRecord) {
        let asked: BTreeSet<&StatePlace> = step
            .expectations
            .iter()
            .filter_map(|expectation| match &expectation.what {
                Expected::State(state) if state.kind == Kind::Conntrack => Some(&state.place),
                Expected::State(_)
                | Expected::Course(_)
                | Expected::Flow(_)
                | Expected::Watch(_)
                | Expected::Status(_)
                | Expected::Announced(_)
                | Expected::Frames(_) => None,
            })
            .collect();
        if asked.is_empty() {
            return;
        }
        let routers = self.observed.iter().flat_map(|(host, state)| {
            state.namespaces.keys().map(|name| Place { host: Some(host.clone()), name: name.to_string() })
        });
        let hosts = self.observed.keys().map(|host| Place { host: None, name: host.to_string() });
        let inside = routers.chain(hosts).filter(|place| asked.iter().any(|asked| is_at(&place.to_string(), asked)));
        let nodes = asked.iter().filter_map(|asked| match asked {
            StatePlace::Node(node) => Some(Place { host: None, name: node.to_string() }),
            StatePlace::All | StatePlace::Host(_) | StatePlace::Namespace(..) => None,
        });
        for place in inside.chain(nodes) {
            match self.dataplane.connections(&place) {
                Ok(connections) => drop(record.connections.insert(place.to_string(), connections)),
                Err(error) => record.failures.push(dataplane_failure(&error)),
            }
        }
    }

    /// The connections at a place, as they are printed. `all` is every host with its namespaces, but no node.
    pub(super) fn connections_at(&self, read: &BTreeMap<String, Vec<Connection>>, place: &StatePlace) -> Vec<String> {
        let of_host = |name: &str| self.observed.keys().any(|host| is_at(name, &StatePlace::Host(host.clone())));
        let inside = |name: &str| is_at(name, place) && (*place != StatePlace::All || of_host(name));
        let here = read.iter().filter(|(name, _)| inside(name));
        here.flat_map(|(_, connections)| connections).map(ToString::to_string).collect()
    }
}
