//! `rule4 PRIORITY: from SRC[/LEN] [to DST] [fwmark M fwmask M] [iif DEV] [oif DEV] lookup TABLE`

use std::fmt::Write as _;

use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::namespace::table_text;
use crate::net::{Family, IpNet, destination_text};

/// No limit on the length of the prefix that a rule may find.
const UNLIMITED: u32 = u32::MAX;

/// Every rule of both families, in the order in which they are looked at.
pub(super) fn lines(answers: &[RouteNetlinkMessage]) -> Vec<String> {
    let mut lines: Vec<(Family, u32, String)> = Vec::new();
    for answer in answers {
        if let RouteNetlinkMessage::NewRule(message) = answer {
            lines.extend(line(message));
        }
    }
    // Stable: equal priorities keep the kernel's order.
    lines.sort_by_key(|(family, priority, _)| (*family, *priority));
    lines.into_iter().map(|(_, _, line)| line).collect()
}

/// The line with its family and priority.
pub(super) fn line(message: &RuleMessage) -> Option<(Family, u32, String)> {
    let (family, word) = if message.header.family == AddressFamily::Inet {
        (Family::V4, "rule4")
    } else if message.header.family == AddressFamily::Inet6 {
        (Family::V6, "rule6")
    } else {
        return None;
    };
    let mut priority = 0;
    let mut table = u32::from(message.header.table);
    let mut from = "all".to_owned();
    let mut to = None;
    let mut mark = None;
    let mut mask = UNLIMITED;
    let mut devices = String::new();
    let mut more = String::new();
    let mut target = 0;
    let net =
        |address, length| IpNet::new(address, length).map_or_else(|_| String::new(), |net| destination_text(&net));
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(value) => priority = *value,
            RuleAttribute::Table(value) => table = *value,
            RuleAttribute::Source(address) => from = net(*address, message.header.src_len),
            RuleAttribute::Destination(address) => to = Some(net(*address, message.header.dst_len)),
            RuleAttribute::FwMark(value) => mark = Some(*value),
            RuleAttribute::FwMask(value) => mask = *value,
            RuleAttribute::Iifname(name) => devices = format!(" iif {name}{devices}"),
            RuleAttribute::Oifname(name) => devices = format!("{devices} oif {name}"),
            RuleAttribute::Goto(value) => target = *value,
            RuleAttribute::SuppressPrefixLen(value) if *value != UNLIMITED => {
                more.push_str(&format!(" suppress_prefixlength {value}"));
            }
            RuleAttribute::IpProtocol(value) => more.push_str(&format!(" ipproto {value:?}")),
            RuleAttribute::SourcePortRange(range) => more.push_str(&format!(" sport {range:?}")),
            RuleAttribute::DestinationPortRange(range) => more.push_str(&format!(" dport {range:?}")),
            RuleAttribute::L3MDev(true) => more.push_str(" l3mdev"),
            _ => {}
        }
    }
    let not = if message.header.flags.contains(RuleFlags::Invert) { "not " } else { "" };
    let mut line = format!("{word}  {priority}: {not}from {from}");
    if let Some(to) = to {
        line.push_str(&format!(" to {to}"));
    }
    if let Some(mark) = mark {
        line.push_str(&format!(" fwmark {mark:#x}"));
        if mask != UNLIMITED {
            line.push_str(&format!(" fwmask {mask:#x}"));
        }
    }
    let action = action(message.header.action, table, target);
    write!(line, "{devices}{more} {action}").ok()?;
    Some((family, priority, line))
}

fn action(action: RuleAction, table: u32, target: u32) -> String {
    match action {
        RuleAction::ToTable => format!("lookup {}", table_text(table)),
        RuleAction::Goto => format!("goto {target}"),
        RuleAction::Nop => "nop".to_owned(),
        RuleAction::Blackhole => "blackhole".to_owned(),
        RuleAction::Unreachable => "unreachable".to_owned(),
        RuleAction::Prohibit => "prohibit".to_owned(),
        other @ (RuleAction::Unspec | RuleAction::Other(_) | _) => format!("{other:?}").to_lowercase(),
    }
}
