//! What the tests of netfilter need: a socket, states from lines, changes between two states.

use std::collections::BTreeMap;
use std::sync::Once;

use netlink_sys::Socket;

use super::{NftError, Tables, commit, read};
use crate::kernel::command;
use crate::namespace::{Chain, ChainName, Hook, Rule, Ruleset, Table, Target};
use crate::net::Family;
use crate::plan::{ChainChange, RuleChanges};

/// NETLINK_NETFILTER
const NETLINK_NETFILTER: isize = 12;

pub(crate) fn socket() -> Socket {
    Socket::new(NETLINK_NETFILTER).expect("a netfilter socket")
}

/// Brings the loopback device up.
pub(crate) fn loopback_up() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        let up = rtnetlink::LinkUnspec::new_with_index(1).up().build();
        handle.link().set(up).execute().await.unwrap();
    });
}

pub(crate) fn chain_name(name: &str) -> ChainName {
    match Hook::ALL.into_iter().find(|hook| hook.name() == name) {
        Some(hook) => ChainName::Builtin(hook),
        None => ChainName::Own(name.to_owned()),
    }
}

pub(crate) fn table_named(name: &str) -> Table {
    Table::ALL.into_iter().find(|table| table.name() == name).expect("a table")
}

/// States of both families.
pub(crate) type Desired = BTreeMap<Family, Ruleset>;

/// A state from `ip4 TABLE -A CHAIN RULE` lines. Chains that are jumped to exist.
pub(crate) fn desired(lines: &str) -> Desired {
    let mut all = Desired::new();
    for line in lines.lines() {
        let [family, table, _, chain, rule] = line.splitn(5, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let family = if family == "ip4" { Family::V4 } else { Family::V6 };
        let rule: Rule = rule.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
        let chains = all.entry(family).or_default().tables.entry(table_named(table)).or_default();
        if let Target::Jump(to) = &rule.target {
            chains.entry(ChainName::Own(to.clone())).or_default();
        }
        chains.entry(chain_name(chain)).or_default().rules.push(rule);
    }
    all
}

/// The longest common subsequence, as pairs of positions.
fn common(old: &[Rule], new: &[Rule]) -> Vec<(usize, usize)> {
    let mut lengths = vec![vec![0; new.len() + 1]; old.len() + 1];
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            lengths[i][j] = if a == b { lengths[i + 1][j + 1] + 1 } else { lengths[i + 1][j].max(lengths[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < old.len() && j < new.len() {
        if old[i] == new[j] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if lengths[i + 1][j] >= lengths[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

/// What turns one state into another, in no particular order.
pub(crate) fn changes(from: &Tables, to: &Desired) -> RuleChanges {
    let nothing = (Ruleset::default(), BTreeMap::new(), Chain::default());
    let mut changes = Vec::new();
    for family in Family::BOTH {
        let wanted = to.get(&family).unwrap_or(&nothing.0);
        for table in Table::ALL {
            let old = from.of(family).tables.get(&table).unwrap_or(&nothing.1);
            let new = wanted.tables.get(&table).unwrap_or(&nothing.1);
            let mut push = |change| changes.push((family, table, change));
            for name in old.keys().filter(|name| !new.contains_key(name)) {
                if matches!(name, ChainName::Own(_)) {
                    push(ChainChange::Remove(name.clone()));
                }
            }
            for name in new.keys().filter(|name| !old.contains_key(name)) {
                if matches!(name, ChainName::Own(_)) {
                    push(ChainChange::Create(name.clone()));
                }
            }
            for name in old.keys().chain(new.keys().filter(|name| !old.contains_key(name))) {
                let (before, after) = (old.get(name).unwrap_or(&nothing.2), new.get(name).unwrap_or(&nothing.2));
                if before.policy_drop && !after.policy_drop {
                    push(ChainChange::PolicyAccept(name.clone()));
                }
                let kept = common(&before.rules, &after.rules);
                for (at, rule) in after.rules.iter().enumerate().rev() {
                    if !kept.iter().any(|(_, stays)| *stays == at) {
                        push(ChainChange::Insert(name.clone(), at, rule.clone()));
                    }
                }
                for (at, rule) in before.rules.iter().enumerate() {
                    if !kept.iter().any(|(stays, _)| *stays == at) {
                        push(ChainChange::Delete(name.clone(), at, rule.clone()));
                    }
                }
            }
        }
    }
    RuleChanges { changes }
}

/// Makes a state and reads it back.
pub(crate) fn make(socket: &Socket, to: &Desired) -> Result<Tables, NftError> {
    let current = read(socket)?;
    commit(socket, &changes(&current, to), &current)?;
    read(socket)
}

/// A state with what is absent in a reading left out.
pub(crate) fn assert_is(found: &Tables, wanted: &Desired) {
    for family in Family::BOTH {
        let mut wanted = wanted.get(&family).cloned().unwrap_or_default();
        for chains in wanted.tables.values_mut() {
            chains.retain(|name, chain| matches!(name, ChainName::Own(_)) || !chain.rules.is_empty());
        }
        wanted.tables.retain(|_, chains| !chains.is_empty());
        pretty(found.of(family), &wanted);
    }
}

fn pretty(found: &Ruleset, wanted: &Ruleset) {
    assert_eq!(lines(found), lines(wanted));
    assert_eq!(found, wanted);
}

/// Lines of own chains and rules by table and chain, as `iptables-save` prints them.
pub(crate) fn lines(ruleset: &Ruleset) -> BTreeMap<(String, String), Vec<String>> {
    let mut all = BTreeMap::new();
    for (table, chains) in &ruleset.tables {
        for (name, chain) in chains {
            let rules = chain.rules.iter().map(|rule| format!("-A {name} {rule}").trim_end().to_owned()).collect();
            all.insert((table.name().to_owned(), name.to_string()), rules);
        }
    }
    all
}

/// Runs a program that has to succeed and returns what it prints; nothing if it is not installed.
///
/// Started as the product starts its own: pid 1 of the sandbox, where these tests run, reaps whatever nobody owns.
pub(crate) fn succeed(program: &str, arguments: &str, input: &str) -> Option<String> {
    let line = format!("{program} {arguments}");
    let run = command::filter(None, "/bin/sh", &["-c", &line], input).expect("a shell");
    if run.status.code() == Some(127) {
        static SAID: Once = Once::new();
        SAID.call_once(|| eprintln!("{program} is not installed: comparing with it was left out"));
        return None;
    }
    assert!(run.status.success(), "{line}: {}", run.errors);
    Some(run.output)
}
