//! A namespace's state as lines, one an object, in the notation of `ip`, `sysctl` and `iptables-save`.

use std::collections::BTreeMap;

use super::iptables::{ChainName, Ruleset};
use super::state::{Address, Link, NamespaceState, PolicyRule, Route};
use crate::name::DeviceName;
use crate::net::Family;

/// Every object of a namespace: links, addresses, policy rules, routes, neighbours, sysctls, then both families' tables.
pub fn lines(state: &NamespaceState) -> Vec<String> {
    let mut lines: Vec<String> = state.links.iter().map(|(device, link)| link_line(device, link)).collect();
    lines.extend(state.addresses.iter().map(address_line));
    for family in Family::BOTH {
        lines.extend(state.rules.iter().filter(|rule| rule.family == family).map(rule_line));
    }
    for family in Family::BOTH {
        lines.extend(state.routes.iter().filter(|route| route.family() == family).map(route_line));
    }
    for ((device, address), mac) in &state.neighbours {
        lines.push(format!("neigh  {address} lladdr {mac} dev {device} PERMANENT"));
    }
    lines.extend(state.proxies.iter().map(|(device, address)| format!("neigh  {address} dev {device} proxy")));
    lines.extend(state.sysctls.iter().map(|(key, value)| format!("sysctl {key} = {value}")));
    lines.extend(table_lines("ip4t", &state.rules_v4));
    lines.extend(table_lines("ip6t", &state.rules_v6));
    lines.extend(state.foreign_tables.iter().map(|table| format!("nft    {table}")));
    lines
}

fn link_line(device: &DeviceName, link: &Link) -> String {
    let flags = if link.up { "LOWER_UP,UP" } else { "" };
    format!("link   {device} mtu {} {} {flags}", link.mtu, link.mac).trim_end().to_owned()
}

fn address_line(address: &Address) -> String {
    let mut line = format!("addr   {} {} scope global", address.device, address.net);
    if let Some(broadcast) = address.broadcast() {
        line.push_str(" broadcast ");
        line.push_str(&broadcast.to_string());
    }
    line
}

fn rule_line(rule: &PolicyRule) -> String {
    format!("{:<6} {rule}", number("rule", rule.family))
}

fn route_line(route: &Route) -> String {
    let preference = if route.family() == Family::V6 { " pref medium" } else { "" };
    format!("{:<6} {route}{preference}", number("route", route.family()))
}

fn number(word: &str, family: Family) -> String {
    match family {
        Family::V4 => format!("{word}4"),
        Family::V6 => format!("{word}6"),
    }
}

/// The lines of one family's tables as `iptables-save` has them without counters, `word` before each: own chains, and
/// built-in ones whose policy is not ACCEPT, then the rules in order.
pub fn table_lines(word: &str, rules: &Ruleset) -> Vec<String> {
    let mut lines = Vec::new();
    let tables: BTreeMap<&str, _> = rules.tables.iter().map(|(table, chains)| (table.name(), chains)).collect();
    for (table, chains) in tables {
        for (name, chain) in chains {
            match name {
                ChainName::Builtin(_) if chain.policy_drop => lines.push(format!("{word}  {table} :{name} DROP")),
                ChainName::Builtin(_) => {}
                ChainName::Own(_) => lines.push(format!("{word}  {table} :{name} -")),
            }
        }
        for (name, chain) in chains {
            lines.extend(
                chain.rules.iter().map(|rule| format!("{word}  {table} -A {name} {rule}").trim_end().to_owned()),
            );
        }
    }
    lines
}
