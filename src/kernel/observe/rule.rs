//! Policy rules of a dump.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::name::DeviceName;
use crate::namespace::PolicyRule;
use crate::net::{Family, IpNet};

/// The rules of both families. The dump has those of multicast routing too, which have families of their own.
pub(super) fn rules(answers: &[RouteNetlinkMessage]) -> BTreeSet<PolicyRule> {
    let mut rules = BTreeSet::new();
    for answer in answers {
        if let RouteNetlinkMessage::NewRule(message) = answer {
            rules.extend(decode(message));
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
        }
    }
    if mark.is_some() || mask.is_some() {
        rule.fwmark = Some((mark.unwrap_or(0), mask.unwrap_or(u32::MAX)));
    }
    Some(rule)
}
