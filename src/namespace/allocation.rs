//! Values drawn from a pool, as a function of what is wanted and of what already stands in the kernel.
//!
//! There are no state files: the pair of a router is on its `rfp-` device, the priority of a floating IP on its rule. What is
//! there and still wanted stays; new ones are the lowest free.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::state::HostState;
use crate::name::{DeviceName, Id, NamespaceName};
use crate::net::{FIP_PRIORITY_END, FIP_PRIORITY_FIRST, FIP_TABLE, LINK_LOCAL_POOL};
use crate::router::{HostConfig, RouterConfig};

/// What one host's agent has allocated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Allocations {
    /// The first address of each router's /31: `rfp-` has it, `fpr-` the next.
    pairs: BTreeMap<Id, Ipv4Addr>,
    /// Priority of the rule of each fixed address with a floating IP here, by router.
    priorities: BTreeMap<(Id, IpAddr), u32>,
}

impl Allocations {
    /// Allocates for every router of `config`.
    pub(super) fn of(config: &HostConfig, observed: &HostState) -> Self {
        let mut allocations = Self::default();
        allocations.pairs(config, observed);
        for router in config.routers.values() {
            allocations.priorities(config, router, observed);
        }
        allocations
    }

    /// A router's pair; none when the pool is exhausted.
    pub(super) fn pair(&self, router: &Id) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let first = *self.pairs.get(router)?;
        Some((first, Ipv4Addr::from(u32::from(first) + 1)))
    }

    /// A fixed address's rule priority; none when the pool is exhausted.
    pub(super) fn priority(&self, router: &Id, fixed: IpAddr) -> Option<u32> {
        self.priorities.get(&(router.clone(), fixed)).copied()
    }

    fn pairs(&mut self, config: &HostConfig, observed: &HostState) {
        let wanting: Vec<&RouterConfig> = config.routers.values().filter(|router| router.gw_port.is_some()).collect();
        let mut taken = BTreeSet::new();
        for router in &wanting {
            if let Some(first) = standing_pair(router, observed)
                && taken.insert(first)
            {
                self.pairs.insert(router.id.clone(), first);
            }
        }
        let mut free = pool().filter(|first| !taken.contains(first));
        for router in wanting {
            if !self.pairs.contains_key(&router.id)
                && let Some(first) = free.next()
            {
                self.pairs.insert(router.id.clone(), first);
            }
        }
    }

    fn priorities(&mut self, config: &HostConfig, router: &RouterConfig, observed: &HostState) {
        let wanting: BTreeSet<IpAddr> = router
            .floating_ips
            .iter()
            .filter(|one| super::qrouter::is_here(config, one))
            .filter_map(|one| one.fixed_ip_address)
            .collect();
        let name = NamespaceName::of("qrouter-", &router.id);
        let mut taken: BTreeMap<u32, IpAddr> = BTreeMap::new();
        for rule in observed.namespaces.get(&name).into_iter().flat_map(|state| &state.rules) {
            let pool = FIP_PRIORITY_FIRST..FIP_PRIORITY_END;
            if let Some(from) = rule.from
                && rule.table == FIP_TABLE
                && pool.contains(&rule.priority)
                && wanting.contains(&from.addr())
                && !taken.values().any(|fixed| *fixed == from.addr())
            {
                taken.entry(rule.priority).or_insert_with(|| from.addr());
            }
        }
        for (priority, fixed) in &taken {
            self.priorities.insert((router.id.clone(), *fixed), *priority);
        }
        let mut free = (FIP_PRIORITY_FIRST..FIP_PRIORITY_END).filter(|priority| !taken.contains_key(priority));
        for fixed in wanting {
            if let std::collections::btree_map::Entry::Vacant(slot) = self.priorities.entry((router.id.clone(), fixed))
                && let Some(priority) = free.next()
            {
                slot.insert(priority);
            }
        }
    }
}

/// First addresses of all /31s of the pool, lowest first.
fn pool() -> impl Iterator<Item = Ipv4Addr> {
    let (start, length) = LINK_LOCAL_POOL;
    let first = u32::from(start);
    let size = 1_u32 << (32 - u32::from(length));
    (first..first + size).step_by(2).map(Ipv4Addr::from)
}

/// The pair that stands on the router's `rfp-` device, if it is one of the pool.
fn standing_pair(router: &RouterConfig, observed: &HostState) -> Option<Ipv4Addr> {
    let name = NamespaceName::of("qrouter-", &router.id);
    let device = DeviceName::cut("rfp-", router.id.as_str());
    let state = observed.namespaces.get(&name)?;
    let address = state.addresses.iter().find(|address| address.device == device && address.net.prefix_len() == 31)?;
    let IpAddr::V4(first) = address.net.addr() else { return None };
    pool().any(|one| one == first).then_some(first)
}
