//! Policy rules of a dump.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::name::DeviceName;
use crate::namespace::PolicyRule;
use crate::net::{Family, IpNet};

/// The rules of both families. The dump has those of multicast routing too, which have families of their own.
pub(super) fn rules(answers: &[RouteNetlinkMessage]) -> BTreeSet<PolicyRule> {
    let mut rules = BTreeSet::new();
    for answer in answers {
        if let RouteNetlinkMessage::NewRule(message) = answer
            && let Some(mut rule) = decode(message)
        {
            while !rules.insert(rule.clone()) {
                rule.odd = format!("again {}", rule.odd).trim_end().into();
            }
        }
    }
    rules
}

/// One rule; with table 0 if it looks up none.
fn decode(message: &RuleMessage) -> Option<PolicyRule> {
    let family = if message.header.family == AddressFamily::Inet {
        Family::V4
    } else if message.header.family == AddressFamily::Inet6 {
        Family::V6
    } else {
        return None;
    };
    let looks_up = message.header.action == RuleAction::ToTable;
    let mut rule = PolicyRule::new(family, 0, if looks_up { u32::from(message.header.table) } else { 0 });
    let mut words = Vec::new();
    if message.header.flags.contains(RuleFlags::Invert) {
        words.push("not".to_owned());
    }
    if !looks_up {
        words.push(format!("action {}", u8::from(message.header.action)));
    }
    if message.header.tos != 0 {
        words.push(format!("tos {:#x}", message.header.tos));
    }
    let mut mark = None;
    let mut mask = None;
    let net = |address: &IpAddr, length: u8| IpNet::new(*address, length).ok();
    for attribute in &message.attributes {
        if let RuleAttribute::Priority(priority) = attribute {
            rule.priority = *priority;
        } else if let RuleAttribute::Table(table) = attribute {
            rule.table = if looks_up { *table } else { 0 };
        } else if let RuleAttribute::Source(address) = attribute {
            rule.from = net(address, message.header.src_len);
        } else if let RuleAttribute::Destination(address) = attribute {
            rule.to = net(address, message.header.dst_len);
        } else if let RuleAttribute::Iifname(name) = attribute {
            rule.iif = DeviceName::new(name.as_str()).ok();
        } else if let RuleAttribute::Oifname(name) = attribute {
            rule.oif = DeviceName::new(name.as_str()).ok();
        } else if let RuleAttribute::FwMark(value) = attribute {
            mark = Some(*value);
        } else if let RuleAttribute::FwMask(value) = attribute {
            mask = Some(*value);
        } else {
            words.extend(condition(attribute));
        }
    }
    rule.odd = words.join(" ");
    if mark.is_some() || mask.is_some() {
        rule.fwmark = Some((mark.unwrap_or(0), mask.unwrap_or(u32::MAX)));
    }
    Some(rule)
}

/// A condition that no agent sets.
fn condition(attribute: &RuleAttribute) -> Option<String> {
    /// No limit.
    const UNLIMITED: u32 = u32::MAX;
    if let RuleAttribute::SuppressPrefixLen(value) = attribute {
        (*value != UNLIMITED).then(|| format!("suppress_prefixlength {value}"))
    } else if let RuleAttribute::SuppressIfGroup(value) = attribute {
        (*value != UNLIMITED).then(|| format!("suppress_ifgroup {value}"))
    } else if let RuleAttribute::IpProtocol(value) = attribute {
        Some(format!("ipproto {value:?}"))
    } else if let RuleAttribute::SourcePortRange(range) = attribute {
        Some(format!("sport {range:?}"))
    } else if let RuleAttribute::DestinationPortRange(range) = attribute {
        Some(format!("dport {range:?}"))
    } else if let RuleAttribute::UidRange(range) = attribute {
        Some(format!("uidrange {range:?}"))
    } else if let RuleAttribute::TunId(id) = attribute {
        (*id != 0).then(|| format!("tun_id {id}"))
    } else if let RuleAttribute::Realm(realm) = attribute {
        Some(format!("realms {realm:?}"))
    } else {
        None
    }
}
