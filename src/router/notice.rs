//! What the server tells an agent of a change, and what the agent knows afterwards.
//!
//! In: what a host was told and what is in force. Out: notices, and the configuration after each. A router notice is a hint:
//! the agent fetches what is in force when it hears it. That a router is gone, and who became or ceased to be a neighbour,
//! are carried as they were when the notice was written. Reference: `neutron-local-side` 7.5 and 7.6.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::config::{HostConfig, NeighbourPort, RouterConfig};
use crate::name::Id;

/// One change, as one host hears of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notice {
    /// `routers_updated`: routers that the agent is to fetch.
    updated: BTreeSet<Id>,
    /// `router_deleted`, `router_removed_from_agent`.
    removed: BTreeSet<Id>,
    /// `del_arp_entry` and `add_arp_entry` by subnet: who ceased to be a neighbour, who became one.
    neighbours: BTreeMap<Id, (Vec<NeighbourPort>, Vec<NeighbourPort>)>,
}

impl Notice {
    /// What a host whose configuration changes from `before` to `after` is told.
    pub fn of(before: &HostConfig, after: &HostConfig) -> Self {
        let changed = |(id, router): &(&Id, &RouterConfig)| before.routers.get(*id) != Some(*router);
        let none = Vec::new();
        let subnets: BTreeSet<&Id> = before.ports_by_subnet.keys().chain(after.ports_by_subnet.keys()).collect();
        let neighbours = subnets.into_iter().filter_map(|subnet| {
            let old = before.ports_by_subnet.get(subnet).unwrap_or(&none);
            let new = after.ports_by_subnet.get(subnet).unwrap_or(&none);
            let only_in = |these: &Vec<NeighbourPort>, those: &Vec<NeighbourPort>| -> Vec<NeighbourPort> {
                these.iter().filter(|port| !those.contains(port)).cloned().collect()
            };
            (old != new).then(|| (subnet.clone(), (only_in(old, new), only_in(new, old))))
        });
        Self {
            updated: after.routers.iter().filter(changed).map(|(id, _)| id.clone()).collect(),
            removed: before.routers.keys().filter(|id| !after.routers.contains_key(*id)).cloned().collect(),
            neighbours: neighbours.collect(),
        }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.updated.is_empty() && self.removed.is_empty() && self.neighbours.is_empty()
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let updated = self.updated.iter().map(|id| format!("{id} updated"));
        let removed = self.removed.iter().map(|id| format!("{id} removed"));
        let neighbours = self.neighbours.iter().map(|(subnet, (gone, come))| {
            let names = |sign: char, ports: &[NeighbourPort]| -> Vec<String> {
                let addresses = ports.iter().flat_map(|port| &port.fixed_ips).map(|fixed| fixed.ip_address);
                addresses.map(|address| format!("{sign}{address}")).collect()
            };
            format!("{subnet} neighbours {}", [names('-', gone), names('+', come)].concat().join(" "))
        });
        f.write_str(&updated.chain(removed).chain(neighbours).collect::<Vec<_>>().join(" and "))
    }
}

impl HostConfig {
    /// What the agent knows after it heard of a change, while `in_force` is what the server answers.
    #[must_use]
    pub fn hearing(&self, notice: &Notice, in_force: &Self) -> Self {
        let mut next = self.clone();
        next.routers.retain(|id, _| !notice.removed.contains(id));
        for (subnet, (gone, come)) in &notice.neighbours {
            if let Some(ports) = next.ports_by_subnet.get_mut(subnet) {
                ports.retain(|port| !gone.contains(port) && !come.contains(port));
                ports.extend(come.iter().cloned());
            }
        }
        for id in &notice.updated {
            match in_force.routers.get(id) {
                Some(router) => {
                    for subnet in subnets(router) {
                        let ports = in_force.ports_by_subnet.get(subnet).cloned().unwrap_or_default();
                        next.ports_by_subnet.insert(subnet.clone(), ports);
                    }
                    next.routers.insert(id.clone(), router.clone());
                }
                None => drop(next.routers.remove(id)),
            }
        }
        let known: BTreeSet<Id> = next.routers.values().flat_map(subnets).cloned().collect();
        next.ports_by_subnet.retain(|subnet, _| known.contains(subnet));
        // The server lists ports in its own order, which nothing depends on.
        for (subnet, ports) in &mut next.ports_by_subnet {
            let order = in_force.ports_by_subnet.get(subnet);
            ports.sort_by_key(|port| order.and_then(|all| all.iter().position(|other| other == port)));
        }
        next
    }
}

/// The subnets that a router has a leg in.
fn subnets(router: &RouterConfig) -> impl Iterator<Item = &Id> {
    router.interfaces.iter().flat_map(|port| &port.fixed_ips).map(|fixed| &fixed.subnet_id)
}
