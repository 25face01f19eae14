//! Numbers out of a pool: the /31 pair of a router in a fip namespace, the priority of a floating IP's rule, the mark of an
//! address scope.
//!
//! In: who needs a number, and who is seen to hold which. Out: one number each. What is held stays, a number that two hold
//! goes to the first, new ones are the lowest free. There is no memory besides what is observed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use super::iptables::{DevicePattern, Table, Target, What};
use super::skeleton::own;
use super::state::{HostState, NamespaceState};
use crate::name::{DeviceName, Id, NamespaceName};
use crate::net::{
    FIP_PRIORITY_END, FIP_PRIORITY_FIRST, FIP_TABLE, Family, LINK_LOCAL_POOL, SCOPE_ID_END, SCOPE_ID_MIN, SCOPE_MASK,
};

/// What can run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The /31 pairs out of [`LINK_LOCAL_POOL`], 8192 for a host.
    LinkLocalPair,
    /// Priorities of rules to [`FIP_TABLE`], 40000 for a router.
    FipPriority,
    /// Ids of address scopes, 1023 for a router besides the one that means "no scope".
    AddressScope,
}

impl Pool {
    fn range(self) -> Range<u32> {
        match self {
            Self::LinkLocalPair => 0..1 << (31 - LINK_LOCAL_POOL.1),
            Self::FipPriority => FIP_PRIORITY_FIRST..FIP_PRIORITY_END,
            Self::AddressScope => SCOPE_ID_MIN + 1..SCOPE_ID_END,
        }
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinkLocalPair => "link-local pairs",
            Self::FipPriority => "floating IP rule priorities",
            Self::AddressScope => "address scope marks",
        })
    }
}

/// More are needed than the pool has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{needed} {pool} are needed, there are {}", pool.range().len())]
pub struct Exhausted {
    /// The pool.
    pub pool: Pool,
    /// How many are needed.
    pub needed: usize,
}

/// One number for each of `wanted`. Of `held`, the first claim to a number counts, and the first number of a claimant. New
/// numbers are given in the order of `wanted`.
pub(super) fn assign<K: Ord + Clone>(
    pool: Pool,
    wanted: &[K],
    held: impl IntoIterator<Item = (K, u32)>,
) -> Result<BTreeMap<K, u32>, Exhausted> {
    let mut numbers = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (key, number) in held {
        let fits = wanted.contains(&key) && !numbers.contains_key(&key) && pool.range().contains(&number);
        if fits && taken.insert(number) {
            numbers.insert(key, number);
        }
    }
    let mut free = pool.range().filter(|number| !taken.contains(number));
    for key in wanted {
        if !numbers.contains_key(key) {
            let needed = || wanted.iter().collect::<BTreeSet<_>>().len();
            let number = free.next().ok_or_else(|| Exhausted { pool, needed: needed() })?;
            numbers.insert(key.clone(), number);
        }
    }
    Ok(numbers)
}

/// The two addresses of the pair with this number: the router's end, the fip namespace's end.
pub(super) fn pair(number: u32) -> (Ipv4Addr, Ipv4Addr) {
    let first = u32::from(LINK_LOCAL_POOL.0) + 2 * number;
    (Ipv4Addr::from(first), Ipv4Addr::from(first + 1))
}

fn pair_number(address: Ipv4Addr) -> Option<u32> {
    u32::from(address).checked_sub(u32::from(LINK_LOCAL_POOL.0)).map(|offset| offset / 2)
}

/// A router's ends of its link to the fip namespace.
pub(super) struct Ends {
    /// The router.
    pub(super) router: Id,
    /// Its namespace and the device there.
    pub(super) inside: (NamespaceName, DeviceName),
    /// The fip namespace and the device there.
    pub(super) outside: (NamespaceName, DeviceName),
}

/// The number of the pair of each router, different ones in different fip namespaces too, as in the agent, which has one file
/// of them for all.
pub(super) fn pairs(ends: &[&Ends], observed: &HostState) -> Result<BTreeMap<Id, u32>, Exhausted> {
    let address_of = |(namespace, device): &(NamespaceName, DeviceName)| {
        let state = observed.namespaces.get(namespace)?;
        state.addresses.iter().filter(|address| &address.device == device).find_map(|address| {
            match address.net.addr() {
                IpAddr::V4(v4) => pair_number(v4).filter(|number| pair(*number).0 == v4 || pair(*number).1 == v4),
                IpAddr::V6(_) => None,
            }
        })
    };
    // Whoever is in its fip namespace already comes before one who brings a number along from another.
    let there = ends.iter().filter_map(|end| Some((end.router.clone(), address_of(&end.outside)?)));
    let brought = ends.iter().filter_map(|end| Some((end.router.clone(), address_of(&end.inside)?)));
    let held: Vec<(Id, u32)> = there.chain(brought).collect();
    let wanted: Vec<Id> = ends.iter().map(|end| end.router.clone()).collect();
    assign(Pool::LinkLocalPair, &wanted, held)
}

/// The priorities of `from FIXED lookup 16`, one for each floating IP of a fixed address, seen in the router's namespace.
/// `fixed`: how many floating IPs each fixed address has.
pub(super) fn priorities(
    fixed: &BTreeMap<IpAddr, usize>,
    observed: Option<&NamespaceState>,
) -> Result<BTreeMap<(IpAddr, usize), u32>, Exhausted> {
    let pool = Pool::FipPriority;
    let mut seen: BTreeMap<IpAddr, usize> = BTreeMap::new();
    let held = observed.into_iter().flat_map(|state| &state.rules).filter_map(|rule| {
        let from = rule.from.filter(|net| net.prefix_len() == net.max_prefix_len())?.addr();
        let fits = rule.family == Family::V4 && rule.table == FIP_TABLE && pool.range().contains(&rule.priority);
        fits.then(|| {
            let many = seen.entry(from).or_default();
            *many += 1;
            ((from, *many), rule.priority)
        })
    });
    let wanted: Vec<_> =
        fixed.iter().flat_map(|(address, many)| (1..=*many).map(|number| (*address, number))).collect();
    assign(pool, &wanted, held)
}

/// The id of each address scope in `wanted`, seen as the mark that the traffic of a device in that scope gets.
pub(super) fn scopes<'a>(
    wanted: &[String],
    scope_of: &BTreeMap<(Family, DeviceName), &'a str>,
    observed: impl IntoIterator<Item = &'a NamespaceState>,
) -> Result<BTreeMap<String, u32>, Exhausted> {
    let mut held = Vec::new();
    for state in observed {
        for family in Family::BOTH {
            let tables = &state.ruleset(family).tables;
            let chain = tables.get(&Table::Mangle).and_then(|chains| chains.get(&own("scope")));
            for rule in chain.into_iter().flat_map(|chain| &chain.rules) {
                let Target::Mark(value, SCOPE_MASK) = &rule.target else { continue };
                for condition in &rule.matches {
                    let What::InDevice(DevicePattern::Name(device)) = &condition.what else { continue };
                    let scope = scope_of.get(&(family, device.clone()));
                    held.extend(scope.map(|scope| ((*scope).to_owned(), value >> 16)));
                }
            }
        }
    }
    assign(Pool::AddressScope, wanted, held)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    fn held(claims: &[(&str, u32)]) -> Vec<(String, u32)> {
        claims.iter().map(|(key, number)| ((*key).to_owned(), *number)).collect()
    }

    #[test]
    fn new_numbers_are_the_lowest_free() {
        let numbers =
            assign(Pool::FipPriority, &list(&["a", "b", "c"]), held(&[("b", 32_768), ("z", 32_769)])).unwrap();
        assert_eq!(numbers.into_values().collect::<Vec<_>>(), [32_769, 32_768, 32_770]);
    }

    #[test]
    fn new_numbers_are_given_in_the_order_of_what_is_wanted() {
        let numbers = assign(Pool::AddressScope, &list(&["b", "a", "b"]), held(&[])).unwrap();
        assert_eq!((numbers.get("a"), numbers.get("b")), (Some(&1026), Some(&1025)));
    }

    #[test]
    fn a_number_that_two_hold_stays_with_the_first() {
        let numbers = assign(Pool::FipPriority, &list(&["a", "b"]), held(&[("b", 40_000), ("a", 40_000)])).unwrap();
        assert_eq!(numbers.get("b"), Some(&40_000));
        assert_eq!(numbers.get("a"), Some(&32_768));
    }

    #[test]
    fn a_number_outside_the_pool_is_not_kept() {
        let numbers = assign(Pool::AddressScope, &list(&["a"]), held(&[("a", 1024)])).unwrap();
        assert_eq!(numbers.get("a"), Some(&1025));
    }

    #[test]
    fn running_out_says_so() {
        let wanted: Vec<u32> = (0..8193).collect();
        assert_eq!(
            assign(Pool::LinkLocalPair, &wanted, []).unwrap_err().to_string(),
            "8193 link-local pairs are needed, there are 8192"
        );
    }

    #[test]
    fn pairs_are_even_then_odd() {
        assert_eq!(pair(0), (Ipv4Addr::new(169, 254, 64, 0), Ipv4Addr::new(169, 254, 64, 1)));
        assert_eq!(pair(8191).1, Ipv4Addr::new(169, 254, 127, 255));
        assert_eq!(pair_number(Ipv4Addr::new(169, 254, 88, 135)), pair_number(Ipv4Addr::new(169, 254, 88, 134)));
    }
}
