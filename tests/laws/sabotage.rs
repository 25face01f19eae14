//! What somebody may do to namespaces behind the agent's back.

use dvrlab::name::NamespaceName;
use dvrlab::namespace::{Address, Attach, ForeignTable, HostState, Link, PolicyRule, Route};
use dvrlab::net::{Family, Mac, TABLE_MAIN};
use dvrlab::plan::{Action, ChainChange, Op, RuleChanges};
use proptest::prelude::*;

use crate::kernel;

/// One deed; its number chooses the namespace and the object there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Deed {
    DeleteNamespace,
    DeleteLink,
    DownLink,
    DeleteAddress,
    DeleteRoute,
    DeleteRule,
    DeleteNeighbour,
    DeleteTranslation,
    MoveNeighbour,
    ForeignLink,
    ForeignAddress,
    ForeignRoute,
    ForeignRule,
    ForeignChain,
    ForeignTable,
    Sysctl(&'static str, &'static str),
}

pub(crate) fn deeds() -> impl Strategy<Value = Vec<(Deed, usize)>> {
    let deed = prop::sample::select(vec![
        Deed::DeleteNamespace,
        Deed::DeleteLink,
        Deed::DownLink,
        Deed::DeleteAddress,
        Deed::DeleteRoute,
        Deed::DeleteRule,
        Deed::DeleteNeighbour,
        Deed::DeleteTranslation,
        Deed::MoveNeighbour,
        Deed::ForeignLink,
        Deed::ForeignAddress,
        Deed::ForeignRoute,
        Deed::ForeignRule,
        Deed::ForeignChain,
        Deed::ForeignTable,
        Deed::Sysctl("net.ipv4.ip_forward", "0"),
        Deed::Sysctl("net.ipv4.conf.all.rp_filter", "1"),
        Deed::Sysctl("net.ipv4.conf.all.promote_secondaries", "0"),
        Deed::Sysctl("net.ipv6.conf.all.forwarding", "0"),
        Deed::Sysctl("net.netfilter.nf_conntrack_tcp_loose", "0"),
    ]);
    prop::collection::vec((deed, 0..1000usize), 0..6)
}

/// Does it, if there is anything to do it to.
pub(crate) fn commit(host: &mut HostState, (deed, number): (Deed, usize)) {
    let Some(name) = host.namespaces.keys().cycle().nth(number % 7).cloned() else { return };
    if let (Deed::ForeignTable, Some(state)) = (deed, host.namespaces.get_mut(&name)) {
        state.foreign_tables.insert(ForeignTable { family: 1, name: "foreign".to_owned() });
        return;
    }
    if let Some(action) = action(host, &name, deed, number) {
        // What the kernel would refuse has not been done.
        let mut after = host.clone();
        if kernel::apply(&mut after, &Op { namespace: name, action }).is_ok() {
            *host = after;
        }
    }
}

fn nth<T: Clone>(mut items: impl Iterator<Item = T> + Clone, number: usize) -> Option<T> {
    let count = items.clone().count();
    if count == 0 { None } else { items.nth(number % count) }
}

fn action(host: &HostState, name: &NamespaceName, deed: Deed, number: usize) -> Option<Action> {
    let state = &host.namespaces[name];
    let device = nth(state.links.keys(), number).cloned();
    let foreign = || "192.0.2.7/24".parse().unwrap();
    Some(match deed {
        Deed::DeleteNamespace => Action::NamespaceDelete,
        Deed::DeleteLink => Action::LinkDelete(device?),
        Deed::DownLink => Action::LinkUp(device?, false),
        Deed::DeleteAddress => Action::AddressDelete(nth(state.addresses.iter(), number)?.clone()),
        Deed::DeleteRoute => Action::RouteDelete(nth(state.routes.iter(), number)?.clone()),
        Deed::DeleteRule => Action::RuleDelete(nth(state.rules.iter(), number)?.clone()),
        Deed::DeleteNeighbour => {
            let (device, address) = nth(state.neighbours.keys(), number)?.clone();
            Action::NeighbourDelete(device, address)
        }
        Deed::MoveNeighbour => {
            let (device, address) = nth(state.neighbours.keys(), number)?.clone();
            Action::NeighbourReplace(device, address, Mac::BROADCAST)
        }
        Deed::DeleteTranslation => {
            let tables = state.rules_v4.tables.iter();
            let rules =
                tables.flat_map(|(table, chains)| chains.iter().map(move |(name, chain)| (*table, name, chain)));
            let rules = rules.flat_map(|(table, name, chain)| {
                chain.rules.iter().enumerate().map(move |(at, rule)| (table, name.clone(), at, rule.clone()))
            });
            let (table, name, at, rule) = nth(rules, number)?;
            Action::Rules(RuleChanges { changes: vec![(Family::V4, table, ChainChange::Delete(name, at, rule))] })
        }
        Deed::ForeignLink => {
            let link = Link {
                mac: Mac::derived("foreign", "x"),
                mtu: 1500,
                up: true,
                attach: Attach::Foreign,
                odd: String::new(),
            };
            Action::LinkAdd { device: "foreign0".parse().unwrap(), link, peer: None }
        }
        Deed::ForeignAddress => Action::AddressAdd(Address::new(device?, foreign())),
        Deed::ForeignRoute => {
            Action::RouteReplace(Route::on_link("198.18.0.0/15".parse().unwrap(), device?, TABLE_MAIN))
        }
        Deed::ForeignRule => {
            Action::RuleAdd(PolicyRule { to: Some(foreign()), ..PolicyRule::new(Family::V4, 100, TABLE_MAIN) })
        }
        Deed::ForeignChain => {
            let table = *nth(state.rules_v4.tables.keys(), number)?;
            let name = dvrlab::namespace::ChainName::Own("foreign".to_owned());
            Action::Rules(RuleChanges { changes: vec![(Family::V4, table, ChainChange::Create(name))] })
        }
        Deed::ForeignTable => return None,
        Deed::Sysctl(key, value) => Action::SysctlSet(key.to_owned(), value.to_owned()),
    })
}
