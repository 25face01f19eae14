//! Reads all tables of a namespace in one consistent piece.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;

use netlink_bindings::nftables::{
    ChainAttrs, ExprListAttrs, GenAttrs, IterableChainAttrs, IterableRuleAttrs, RuleAttrs, TableAttrs,
};
use netlink_sys::Socket;

use super::decode::decode;
use super::error::NftError;
use super::expression::Expression;
use super::message::{Base, EVERY_FAMILY, GET_CHAIN, GET_GENERATION, GET_RULE, GET_TABLE, POLICY_ACCEPT};
use crate::kernel::nfnetlink::{DUMP, Message, NfnetlinkError, ask};
use crate::namespace::{ChainName, ForeignTable, Hook, Rule, Ruleset, Table};
use crate::net::Family;

/// How often a reading is begun again because somebody changed the rules meanwhile.
const ATTEMPTS: usize = 10;
/// Tables with such names are the lab's own and no part of the router's rules.
pub const OWN_PREFIX: &str = "dvrlab-";

/// The iptables tables of both families as they stood at one moment, and what is needed to change them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// IPv4. Built-in chains without rules and with policy ACCEPT are left out, and tables without chains.
    pub v4: Ruleset,
    /// IPv6.
    pub v6: Ruleset,
    /// What is neither an iptables table nor the lab's own, such as `table inet other`. A base chain in an iptables table that
    /// iptables would not make is shown as an own chain of that name.
    pub foreign: BTreeSet<ForeignTable>,
    /// The handles of every chain's rules; every chain that exists is there.
    pub(super) handles: BTreeMap<(Family, Table, ChainName), Vec<u64>>,
    pub(super) generation: u32,
}

impl Tables {
    /// The tables of a family.
    pub fn of(&self, family: Family) -> &Ruleset {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// The rule with that handle, if it is one of the iptables tables'.
    pub fn rule(&self, family: Family, table: &str, chain: &str, handle: u64) -> Option<(Table, &Rule)> {
        let table = Table::ALL.into_iter().find(|known| known.name() == table)?;
        let chains = self.handles.iter().filter(|((of, in_table, _), _)| (*of, *in_table) == (family, table));
        let (key, handles) = chains.into_iter().find(|((_, _, name), _)| name.to_string() == chain)?;
        let position = handles.iter().position(|known| *known == handle)?;
        Some((table, self.of(family).tables.get(&table)?.get(&key.2)?.rules.get(position)?))
    }

    /// Every rule of the iptables tables with the kernel's number of it, which is one of its table.
    pub fn numbered(&self) -> impl Iterator<Item = (u64, Family, Table, &ChainName, &Rule)> {
        self.handles.iter().flat_map(|((family, table, chain), handles)| {
            let rules = self.of(*family).tables.get(table).and_then(|chains| chains.get(chain));
            let rules = rules.into_iter().flat_map(|chain| &chain.rules);
            handles.iter().zip(rules).map(move |(handle, rule)| (*handle, *family, *table, chain, rule))
        })
    }

    fn of_mut(&mut self, family: Family) -> &mut Ruleset {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// The kernel's number of a family.
pub(super) fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

fn family_of(number_: u8) -> Option<Family> {
    Family::BOTH.into_iter().find(|family| number(*family) == number_)
}

/// The type, hook and priority that iptables gives a built-in chain; none if the table has no such chain.
pub(super) fn base_of(table: Table, hook: Hook) -> Option<Base<'static>> {
    let (kind, priority) = match (table, hook) {
        (Table::Raw, Hook::Prerouting | Hook::Output) => ("filter", -300),
        (Table::Mangle, Hook::Output) => ("route", -150),
        (Table::Mangle, Hook::Prerouting | Hook::Input | Hook::Forward | Hook::Postrouting) => ("filter", -150),
        (Table::Nat, Hook::Prerouting | Hook::Output) => ("nat", -100),
        (Table::Nat, Hook::Input | Hook::Postrouting) => ("nat", 100),
        (Table::Filter, Hook::Input | Hook::Forward | Hook::Output) => ("filter", 0),
        (Table::Raw, Hook::Input | Hook::Forward | Hook::Postrouting)
        | (Table::Nat, Hook::Forward)
        | (Table::Filter, Hook::Prerouting | Hook::Postrouting) => return None,
    };
    let hook = match hook {
        Hook::Prerouting => 0,
        Hook::Input => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    };
    Some(Base { kind, hook, priority, device: None })
}

/// Reads the tables of the namespace in which the socket stands.
///
/// # Errors
/// [`NftError::Restless`] when the rules do not hold still, [`NftError::Exchange`] when the kernel cannot be asked.
pub fn read(socket: &Socket) -> Result<Tables, NftError> {
    for _ in 0..ATTEMPTS {
        if let Some(tables) = attempt(socket)? {
            return Ok(tables);
        }
    }
    Err(NftError::Restless(ATTEMPTS))
}

fn malformed(what: &'static str) -> NfnetlinkError {
    NfnetlinkError::Malformed(what)
}

fn text(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}

fn generation(socket: &Socket) -> Result<u32, NfnetlinkError> {
    let mut found = None;
    ask(
        socket,
        (GET_GENERATION, 0),
        EVERY_FAMILY,
        |_| {},
        |message| {
            found = GenAttrs::new(message.attributes).get_id().ok();
            Ok(())
        },
    )?;
    found.ok_or(malformed("a generation without its number"))
}

/// One reading; nothing if the rules changed meanwhile.
fn attempt(socket: &Socket) -> Result<Option<Tables>, NftError> {
    let mut tables = Tables { generation: generation(socket)?, ..Tables::default() };
    // Every message carries the lower half of its generation.
    let [_, _, low, last] = tables.generation.to_be_bytes();
    let current = u16::from_be_bytes([low, last]);
    let mut steady = true;
    let readers: [(u16, Reader); 3] = [(GET_TABLE, table), (GET_CHAIN, chain), (GET_RULE, rule)];
    for (kind, reader) in readers {
        steady &= ask(
            socket,
            (kind, DUMP),
            EVERY_FAMILY,
            |_| {},
            |message| {
                steady &= message.resource == current;
                reader(&mut tables, message)
            },
        )?;
        if !steady {
            return Ok(None);
        }
    }
    if generation(socket)? != tables.generation {
        return Ok(None);
    }
    for family in Family::BOTH {
        let ruleset = tables.of_mut(family);
        for chains in ruleset.tables.values_mut() {
            chains.retain(|name, chain| match name {
                ChainName::Builtin(_) => chain.policy_drop || !chain.rules.is_empty(),
                ChainName::Own(_) => true,
            });
        }
        ruleset.tables.retain(|_, chains| !chains.is_empty());
    }
    Ok(Some(tables))
}

type Reader = fn(&mut Tables, &Message<'_>) -> Result<(), NfnetlinkError>;

/// The iptables table of that name in a family that has one.
fn ours(family: u8, name: &CStr) -> Option<(Family, Table)> {
    let table = Table::ALL.into_iter().find(|table| table.name().as_bytes() == name.to_bytes())?;
    Some((family_of(family)?, table))
}

fn table(tables: &mut Tables, message: &Message<'_>) -> Result<(), NfnetlinkError> {
    let name =
        TableAttrs::new(message.attributes).get_name().map_err(|_shape| malformed("a table without its name"))?;
    if ours(message.family, name).is_none() && !name.to_bytes().starts_with(OWN_PREFIX.as_bytes()) {
        tables.foreign.insert(ForeignTable { family: message.family, name: text(name) });
    }
    Ok(())
}

fn chain(tables: &mut Tables, message: &Message<'_>) -> Result<(), NfnetlinkError> {
    let attributes = ChainAttrs::new(message.attributes);
    let (Ok(table_name), Ok(name)) = (attributes.get_table(), attributes.get_name()) else {
        return Err(malformed("a chain without its name"));
    };
    let Some((family, table)) = ours(message.family, table_name) else { return Ok(()) };
    let hooked = attributes.get_hook().is_ok();
    let builtin = hook_named(name).filter(|hook| hooked && fits(&attributes, table, *hook));
    let chain_name = builtin.map_or_else(|| ChainName::Own(text(name)), ChainName::Builtin);
    let policy_drop = hooked && attributes.get_policy().is_ok_and(|policy| policy != POLICY_ACCEPT);
    let chains = tables.of_mut(family).tables.entry(table).or_default();
    chains.entry(chain_name.clone()).or_default().policy_drop = policy_drop;
    tables.handles.insert((family, table, chain_name), Vec::new());
    Ok(())
}

fn hook_named(name: &CStr) -> Option<Hook> {
    Hook::ALL.into_iter().find(|hook| hook.name().as_bytes() == name.to_bytes())
}

/// Whether a base chain is the one that iptables makes.
fn fits(attributes: &IterableChainAttrs<'_>, table: Table, hook: Hook) -> bool {
    let Some(base) = base_of(table, hook) else { return false };
    let Ok(found) = attributes.get_hook() else { return false };
    attributes.get_type().is_ok_and(|kind| kind.to_bytes() == base.kind.as_bytes())
        && found.get_num().is_ok_and(|number| number == base.hook)
        && found.get_priority().is_ok_and(|priority| priority == base.priority)
}

fn rule(tables: &mut Tables, message: &Message<'_>) -> Result<(), NfnetlinkError> {
    let attributes = RuleAttrs::new(message.attributes);
    let (Ok(table_name), Ok(name), Ok(handle)) =
        (attributes.get_table(), attributes.get_chain(), attributes.get_handle())
    else {
        return Err(malformed("a rule without its place"));
    };
    let Some((family, table)) = ours(message.family, table_name) else { return Ok(()) };
    let builtin = hook_named(name).map(ChainName::Builtin);
    let own = ChainName::Own(text(name));
    let chain_name = builtin.filter(|name| tables.handles.contains_key(&(family, table, name.clone()))).unwrap_or(own);
    let decoded = decode(expressions(&attributes)?, family);
    let chain = tables.of_mut(family).tables.get_mut(&table).and_then(|chains| chains.get_mut(&chain_name));
    chain.ok_or(malformed("a rule of an unknown chain"))?.rules.push(decoded);
    tables.handles.entry((family, table, chain_name)).or_default().push(handle);
    Ok(())
}

/// A rule without expressions has no list.
fn expressions(attributes: &IterableRuleAttrs<'_>) -> Result<Vec<Expression>, NfnetlinkError> {
    let Ok(list) = attributes.get_expressions() else { return Ok(Vec::new()) };
    list.map(|element| match element {
        Ok(ExprListAttrs::Elem(attributes)) => Ok(Expression::read(&attributes)),
        Err(_shape) => Err(malformed("a rule whose expressions are cut short")),
    })
    .collect()
}
