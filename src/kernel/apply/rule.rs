//! Policy rules.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::Handle;

use crate::kernel::extack::NetlinkError;
use crate::kernel::request::acknowledged;
use crate::namespace::PolicyRule;
use crate::net::Family;

pub(super) async fn add(handle: &Handle, rule: &PolicyRule) -> Result<(), NetlinkError> {
    acknowledged(handle, RouteNetlinkMessage::NewRule(encode(rule)), NLM_F_CREATE | NLM_F_EXCL).await
}

/// Removes the first rule with that priority, these selectors and that table. Table 0 stands for a rule that looks up no
/// table, and matches whatever it does instead.
pub(super) async fn delete(handle: &Handle, rule: &PolicyRule) -> Result<(), NetlinkError> {
    acknowledged(handle, RouteNetlinkMessage::DelRule(encode(rule)), 0).await
}

fn encode(rule: &PolicyRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match rule.family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Priority(rule.priority));
    if rule.table != 0 {
        message.header.action = RuleAction::ToTable;
        attributes.push(RuleAttribute::Table(rule.table));
    }
    if let Some(from) = &rule.from {
        message.header.src_len = from.prefix_len();
        attributes.push(RuleAttribute::Source(from.addr()));
    }
    if let Some(to) = &rule.to {
        message.header.dst_len = to.prefix_len();
        attributes.push(RuleAttribute::Destination(to.addr()));
    }
    attributes.extend(rule.iif.as_ref().map(|iif| RuleAttribute::Iifname(iif.as_str().to_owned())));
    attributes.extend(rule.oif.as_ref().map(|oif| RuleAttribute::Oifname(oif.as_str().to_owned())));
    if let Some((mark, mask)) = rule.fwmark {
        attributes.push(RuleAttribute::FwMark(mark));
        attributes.push(RuleAttribute::FwMask(mask));
    }
    message
}
