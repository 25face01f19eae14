//! Which `ip rule` led to a table.

use std::net::IpAddr;

use crate::name::DeviceName;
use crate::namespace::PolicyRule;
use crate::net::Family;

/// What routing looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Source address, before source translation.
    pub source: IpAddr,
    /// Destination address, after destination translation.
    pub destination: IpAddr,
    /// The device it came in by; none if it is made here.
    pub input: Option<DeviceName>,
    /// The packet's mark.
    pub mark: u32,
}

/// The first rule, by priority, that selects the packet and looks up `table`: what decided, as tables before it had no route.
pub fn policy_rule<'a>(
    rules: impl IntoIterator<Item = &'a PolicyRule>,
    lookup: &Lookup,
    table: u32,
) -> Option<&'a PolicyRule> {
    let mut selecting: Vec<&PolicyRule> =
        rules.into_iter().filter(|rule| rule.table == table && selects(rule, lookup)).collect();
    selecting.sort_by_key(|rule| rule.priority);
    selecting.first().copied()
}

fn selects(rule: &PolicyRule, lookup: &Lookup) -> bool {
    rule.family == Family::of(lookup.destination)
        && rule.from.is_none_or(|net| net.contains(&lookup.source))
        && rule.to.is_none_or(|net| net.contains(&lookup.destination))
        && rule.iif.as_ref().is_none_or(|device| lookup.input.as_ref() == Some(device))
        && rule.oif.is_none()
        && rule.fwmark.is_none_or(|(value, mask)| lookup.mark & mask == value & mask)
}
