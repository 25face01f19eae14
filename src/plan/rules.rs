//! The iptables tables: the fewest deletions and insertions per chain, so that a rule that both states share is not touched.

use std::collections::BTreeMap;

use similar::{Algorithm, DiffTag, capture_diff_slices};

use super::op::{ChainChange, RuleChanges};
use crate::namespace::{Chain, ChainName, NamespaceState};
use crate::net::Family;

/// What turns the tables of `observed` into those of `desired`; nothing if they are the same.
pub fn changes(observed: &NamespaceState, desired: &NamespaceState) -> RuleChanges {
    let mut parts = Parts::default();
    let nothing = BTreeMap::new();
    for family in Family::BOTH {
        let (is, wanted) = (&observed.ruleset(family).tables, &desired.ruleset(family).tables);
        for table in crate::namespace::Table::ALL {
            let is = is.get(&table).unwrap_or(&nothing);
            let wanted = wanted.get(&table).unwrap_or(&nothing);
            let mut add = |part: Part, change| parts.of(part).push((family, table, change));
            for name in wanted.keys().filter(|name| matches!(name, ChainName::Own(_)) && !is.contains_key(*name)) {
                add(Part::Create, ChainChange::Create(name.clone()));
            }
            for name in is.keys().filter(|name| matches!(name, ChainName::Own(_)) && !wanted.contains_key(*name)) {
                add(Part::Remove, ChainChange::Remove(name.clone()));
            }
            let mut names: Vec<&ChainName> = is.keys().chain(wanted.keys()).collect();
            names.sort();
            names.dedup();
            let empty = Chain::default();
            for name in names {
                chain(name, is.get(name).unwrap_or(&empty), wanted.get(name).unwrap_or(&empty), &mut add);
            }
        }
    }
    RuleChanges { changes: [parts.create, parts.delete, parts.insert, parts.remove].concat() }
}

/// The order inside a transaction: chains before the rules that call them, and the other way round.
#[derive(Clone, Copy)]
enum Part {
    Create,
    Delete,
    Insert,
    Remove,
}

type Change = (Family, crate::namespace::Table, ChainChange);

#[derive(Default)]
struct Parts {
    create: Vec<Change>,
    delete: Vec<Change>,
    insert: Vec<Change>,
    remove: Vec<Change>,
}

impl Parts {
    fn of(&mut self, part: Part) -> &mut Vec<Change> {
        match part {
            Part::Create => &mut self.create,
            Part::Delete => &mut self.delete,
            Part::Insert => &mut self.insert,
            Part::Remove => &mut self.remove,
        }
    }
}

fn chain(name: &ChainName, is: &Chain, wanted: &Chain, add: &mut impl FnMut(Part, ChainChange)) {
    if is.policy_drop && !wanted.policy_drop {
        add(Part::Insert, ChainChange::PolicyAccept(name.clone()));
    }
    for piece in capture_diff_slices(Algorithm::Myers, &is.rules, &wanted.rules) {
        if piece.tag() == DiffTag::Equal {
            continue;
        }
        for (position, rule) in is.rules.iter().enumerate().take(piece.old_range().end).skip(piece.old_range().start) {
            add(Part::Delete, ChainChange::Delete(name.clone(), position, rule.clone()));
        }
        for (position, rule) in
            wanted.rules.iter().enumerate().take(piece.new_range().end).skip(piece.new_range().start)
        {
            add(Part::Insert, ChainChange::Insert(name.clone(), position, rule.clone()));
        }
    }
}
