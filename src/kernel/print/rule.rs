//! `rule4 PRIORITY: from SRC[/LEN] [to DST] [fwmark M fwmask M] [iif DEV] [oif DEV] lookup TABLE`

use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::namespace::table_text;
use crate::net::{Family, IpNet, destination_text};

/// All bits: no limit on the length of the prefix that a rule may find, and a mask that leaves nothing out.
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
    let parts = parts(message);
    let not = if message.header.flags.contains(RuleFlags::Invert) { "not " } else { "" };
    let Parts { priority, from, to, mark, devices, more, .. } = &parts;
    let action = action(message.header.action, parts.table, parts.target);
    let line = format!("{word}  {priority}: {not}from {from}{to}{mark}{devices}{more} {action}");
    Some((family, *priority, line))
}

/// What a message says, each part with the space before it.
struct Parts {
    priority: u32,
    table: u32,
    from: String,
    to: String,
    mark: String,
    devices: String,
    more: String,
    target: u32,
}

fn parts(message: &RuleMessage) -> Parts {
    let header = &message.header;
    let net =
        |address, length| IpNet::new(address, length).map_or_else(|_| String::new(), |net| destination_text(&net));
    let mut parts = Parts {
        priority: 0,
        table: u32::from(header.table),
        from: "all".to_owned(),
        to: String::new(),
        mark: String::new(),
        devices: String::new(),
        more: String::new(),
        target: 0,
    };
    let mut mask = String::new();
    for attribute in &message.attributes {
        if let RuleAttribute::Priority(value) = attribute {
            parts.priority = *value;
        } else if let RuleAttribute::Table(value) = attribute {
            parts.table = *value;
        } else if let RuleAttribute::Source(address) = attribute {
            parts.from = net(*address, header.src_len);
        } else if let RuleAttribute::Destination(address) = attribute {
            parts.to = format!(" to {}", net(*address, header.dst_len));
        } else if let RuleAttribute::FwMark(value) = attribute {
            parts.mark = format!(" fwmark {value:#x}");
        } else if let RuleAttribute::FwMask(value) = attribute {
            mask = if *value == UNLIMITED { String::new() } else { format!(" fwmask {value:#x}") };
        } else if let RuleAttribute::Iifname(name) = attribute {
            parts.devices = format!(" iif {name}{}", parts.devices);
        } else if let RuleAttribute::Oifname(name) = attribute {
            parts.devices = format!("{} oif {name}", parts.devices);
        } else if let RuleAttribute::Goto(value) = attribute {
            parts.target = *value;
        } else {
            parts.more.extend(condition(attribute));
        }
    }
    if !parts.mark.is_empty() {
        parts.mark.push_str(&mask);
    }
    parts
}

/// Conditions that no agent sets.
fn condition(attribute: &RuleAttribute) -> Option<String> {
    if let RuleAttribute::SuppressPrefixLen(value) = attribute {
        (*value != UNLIMITED).then(|| format!(" suppress_prefixlength {value}"))
    } else if let RuleAttribute::IpProtocol(value) = attribute {
        Some(format!(" ipproto {value:?}"))
    } else if let RuleAttribute::SourcePortRange(range) = attribute {
        Some(format!(" sport {range:?}"))
    } else if let RuleAttribute::DestinationPortRange(range) = attribute {
        Some(format!(" dport {range:?}"))
    } else {
        None
    }
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
