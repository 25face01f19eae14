//! Rule changes of all tables and both families as one transaction.

use std::collections::{BTreeMap, BTreeSet};

use netlink_sys::Socket;

use super::encode::{EncodeError, Encoded, encode, legal_chain_name};
use super::error::{Cause, Misfit, NftError};
use super::message::{Place, Transaction};
use super::read::{Tables, base_of, number};
use crate::namespace::{ChainName, Hook, Rule, Table};
use crate::net::Family;
use crate::plan::{ChainChange, RuleChanges};

/// Makes all changes or none.
///
/// `current` is what [`super::read()`] gave and what the changes were computed for. Chains are made first, then rules
/// deleted, then inserted, then chains removed, whatever the order of `changes`. Built-in chains and tables are made when
/// a rule goes into them, as iptables makes them, and stay.
///
/// # Errors
/// [`NftError::Stale`] when the rules are no longer those of `current`, [`NftError::Refused`] when the kernel does not take
/// a change, [`NftError::Misfit`] and [`NftError::Encode`] when a change makes no sense. Nothing has changed then.
pub fn commit(socket: &Socket, changes: &RuleChanges, current: &Tables) -> Result<(), NftError> {
    if changes.changes.is_empty() {
        return Ok(());
    }
    let mut batch = Batch {
        current,
        transaction: Transaction::begin(Some(current.generation)),
        tables: BTreeSet::new(),
        builtins: BTreeSet::new(),
    };
    batch.make_chains(changes)?;
    batch.delete_rules(changes)?;
    batch.insert_rules(changes)?;
    batch.remove_chains(changes)?;
    batch.transaction.commit(socket)
}

type ChainKey = (Family, Table, ChainName);

struct Batch<'a> {
    current: &'a Tables,
    transaction: Transaction,
    /// Tables that this transaction made sure of.
    tables: BTreeSet<(Family, Table)>,
    /// Built-in chains that this transaction made sure of.
    builtins: BTreeSet<(Family, Table, Hook)>,
}

fn misfit(cause: Cause, reason: Misfit) -> NftError {
    NftError::Misfit { cause: Box::new(cause), reason }
}

fn cause(one: &(Family, Table, ChainChange)) -> Cause {
    Cause::Change(one.0, one.1, one.2.clone())
}

impl Batch<'_> {
    fn make_chains(&mut self, changes: &RuleChanges) -> Result<(), NftError> {
        for one in &changes.changes {
            let (family, table, change) = (one.0, one.1, &one.2);
            match change {
                ChainChange::Create(ChainName::Own(name)) if legal_chain_name(name) => {
                    self.table(family, table, one);
                    self.transaction.new_chain(number(family), (table.name(), name), None, &cause(one));
                }
                ChainChange::Create(ChainName::Own(name)) => {
                    let source = EncodeError::Text(name.clone());
                    return Err(NftError::Encode { cause: Box::new(cause(one)), source });
                }
                ChainChange::PolicyAccept(ChainName::Builtin(hook)) => {
                    self.builtin(family, table, *hook, one)?;
                }
                ChainChange::Create(ChainName::Builtin(_)) | ChainChange::PolicyAccept(ChainName::Own(_)) => {
                    return Err(misfit(cause(one), Misfit::WrongKind));
                }
                ChainChange::Insert(ChainName::Builtin(hook), ..) => {
                    let key = (family, table, ChainName::Builtin(*hook));
                    if !self.current.handles.contains_key(&key) && !self.builtins.contains(&(family, table, *hook)) {
                        self.builtin(family, table, *hook, one)?;
                    }
                }
                ChainChange::Insert(ChainName::Own(_), ..) | ChainChange::Remove(_) | ChainChange::Delete(..) => {}
            }
        }
        Ok(())
    }

    fn table(&mut self, family: Family, table: Table, one: &(Family, Table, ChainChange)) {
        if self.tables.insert((family, table)) {
            self.transaction.new_table(number(family), table.name(), &cause(one));
        }
    }

    /// Makes a built-in chain with policy ACCEPT, or sets the policy of an existing one.
    fn builtin(
        &mut self,
        family: Family,
        table: Table,
        hook: Hook,
        one: &(Family, Table, ChainChange),
    ) -> Result<(), NftError> {
        let base = base_of(table, hook).ok_or_else(|| misfit(cause(one), Misfit::NoSuchChain))?;
        self.table(family, table, one);
        self.builtins.insert((family, table, hook));
        self.transaction.new_chain(number(family), (table.name(), hook.name()), Some(base), &cause(one));
        Ok(())
    }

    fn delete_rules(&mut self, changes: &RuleChanges) -> Result<(), NftError> {
        for one in &changes.changes {
            let (family, table) = (one.0, one.1);
            if let ChainChange::Delete(chain, position, rule) = &one.2 {
                let handle = self.handle(family, table, chain, *position, rule);
                let handle = handle.ok_or_else(|| misfit(cause(one), Misfit::NoSuchRule))?;
                let place = (table.name(), chain.to_string());
                self.transaction.delete_rule(number(family), (place.0, &place.1), Some(handle), &cause(one));
            }
        }
        Ok(())
    }

    /// The handle of a rule, if it stands where it is said to stand.
    fn handle(&self, family: Family, table: Table, chain: &ChainName, position: usize, rule: &Rule) -> Option<u64> {
        let found = self.current.of(family).tables.get(&table)?.get(chain)?.rules.get(position)?;
        let handles = self.current.handles.get(&(family, table, chain.clone()))?;
        (found == rule).then(|| handles.get(position).copied()).flatten()
    }

    fn insert_rules(&mut self, changes: &RuleChanges) -> Result<(), NftError> {
        let mut inserts: BTreeMap<ChainKey, Vec<Insert<'_>>> = BTreeMap::new();
        let mut deleted: BTreeMap<ChainKey, BTreeSet<usize>> = BTreeMap::new();
        for one in &changes.changes {
            match &one.2 {
                ChainChange::Insert(chain, position, rule) => {
                    let cause = cause(one);
                    inserts.entry((one.0, one.1, chain.clone())).or_default().push(Insert {
                        position: *position,
                        rule,
                        cause,
                    });
                }
                ChainChange::Delete(chain, position, _) => {
                    deleted.entry((one.0, one.1, chain.clone())).or_default().insert(*position);
                }
                ChainChange::Create(_) | ChainChange::Remove(_) | ChainChange::PolicyAccept(_) => {}
            }
        }
        for (key, mut inserts) in inserts {
            let handles = self.current.handles.get(&key).map(Vec::as_slice).unwrap_or_default();
            let gone = deleted.remove(&key).unwrap_or_default();
            let kept = handles.iter().enumerate().filter(|(position, _)| !gone.contains(position));
            let kept: Vec<u64> = kept.map(|(_, handle)| *handle).collect();
            inserts.sort_by_key(|insert| insert.position);
            let (family, table, chain) = (key.0, key.1, key.2.to_string());
            for (insert, place) in places(inserts, &kept)? {
                let encoded = encode(insert.rule, family);
                let Encoded { expressions, protocol } =
                    encoded.map_err(|source| NftError::Encode { cause: Box::new(insert.cause.clone()), source })?;
                let compat = protocol.unwrap_or((0, false));
                let content = (expressions.as_slice(), Some(compat));
                self.transaction.new_rule(number(family), (table.name(), &chain), content, place, &insert.cause);
            }
        }
        Ok(())
    }

    /// Jumps between chains that go at the same time do not hold each other: all are emptied before the first goes.
    fn remove_chains(&mut self, changes: &RuleChanges) -> Result<(), NftError> {
        let removed = || changes.changes.iter().filter(|one| matches!(one.2, ChainChange::Remove(_)));
        for emptied in [true, false] {
            for one in removed() {
                let ChainChange::Remove(chain) = &one.2 else { continue };
                let ChainName::Own(name) = chain else { return Err(misfit(cause(one), Misfit::WrongKind)) };
                let place = (one.1.name(), name.as_str());
                if emptied {
                    self.transaction.delete_rule(number(one.0), place, None, &cause(one));
                } else {
                    self.transaction.delete_chain(number(one.0), place, &cause(one));
                }
            }
        }
        Ok(())
    }
}

struct Insert<'a> {
    position: usize,
    rule: &'a Rule,
    cause: Cause,
}

/// Where each new rule goes, when sent in this order: in front of the next rule that stays, or to the end.
/// `inserts` are sorted by their position in the final chain, `kept` are the handles of those that stay.
fn places<'a>(inserts: Vec<Insert<'a>>, kept: &[u64]) -> Result<Vec<(Insert<'a>, Place)>, NftError> {
    let total = inserts.len() + kept.len();
    let mut placed = Vec::with_capacity(inserts.len());
    let mut previous = None;
    for (before, insert) in inserts.into_iter().enumerate() {
        if insert.position >= total || previous == Some(insert.position) {
            return Err(misfit(insert.cause, Misfit::Position));
        }
        previous = Some(insert.position);
        // Positions are distinct and ascending, so `before` new rules stand in front of this one, and the others are kept ones.
        let place = match kept.get(insert.position - before) {
            Some(handle) => Place::Before(*handle),
            None => Place::End,
        };
        placed.push((insert, place));
    }
    Ok(placed)
}
