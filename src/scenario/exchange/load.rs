//! What a packet to send carries, from its keys; and which keys do not go together.

use super::super::language::ERRORS;
use super::super::note::Notes;
use super::super::values;
use super::super::yaml::{Entry, Node};
use crate::packet::{ErrorKind, Load, NeighbourKind, flags_of};

/// Flags of TCP.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A number below a key.
pub(super) fn number<T: TryFrom<u32>>(node: &Node, key: &str) -> Option<T> {
    let text = node.get(key)?.text()?;
    values::integer(text, 0, u32::MAX).ok().and_then(|number| T::try_from(number).ok())
}

/// A number below a key, unless it has a sign: then it is counted from an open flow's.
pub(super) fn unsigned(node: &Node, key: &str) -> Option<u32> {
    let signed = node.get(key)?.text()?.starts_with(['+', '-']);
    if signed { None } else { number(node, key) }
}

/// What the keys of a packet say that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// Nothing says it.
    Unsaid,
    Udp,
    Tcp,
    Icmp,
    Neighbour,
}

fn entry<'a>(node: &'a Node, key: &str) -> Option<&'a Entry> {
    node.entries().iter().find(|entry| entry.key == key)
}

/// What a packet speaks by its keys. Keys that do not go together are noted.
pub(super) fn speaks(node: &Node, default: Speaks, notes: &mut Notes) -> Option<Speaks> {
    let mut said: Option<(Speaks, &Entry)> = None;
    let mut good = true;
    for entry in node.entries() {
        let speaks = match (entry.key.as_str(), entry.value.text()) {
            ("proto", Some("udp")) => Speaks::Udp,
            ("flags" | "seq" | "ack", _) | ("proto", Some("tcp")) => Speaks::Tcp,
            ("icmp" | "icmp_id" | "mtu" | "quoting" | "quoting_flow", _) | ("proto", Some("icmp")) => Speaks::Icmp,
            ("arp" | "nd", _) => Speaks::Neighbour,
            _ => continue,
        };
        match said {
            Some((other, first)) if other != speaks => {
                notes
                    .error(entry.key_span.clone(), format!("`{}` does not go with `{}`", entry.key, first.key))
                    .beside(first.key_span.clone(), "first here")
                    .help("a packet speaks one protocol: remove one of the two");
                good = false;
            }
            Some(_) => {}
            None => said = Some((speaks, entry)),
        }
    }
    if let (Some(arp), Some(nd)) = (entry(node, "arp"), entry(node, "nd")) {
        notes
            .error(nd.key_span.clone(), "`nd` does not go with `arp`")
            .beside(arp.key_span.clone(), "first here")
            .help("IPv4 asks for neighbours by `arp`, IPv6 by `nd`");
        good = false;
    }
    let speaks = said.map_or(default, |(speaks, _)| speaks);
    let portless = matches!(speaks, Speaks::Icmp | Speaks::Neighbour);
    for key in ["source_port", "port"].iter().filter_map(|key| entry(node, key)).filter(|_| portless) {
        notes
            .error(key.key_span.clone(), format!("`{}` is for `udp` and `tcp`", key.key))
            .help("remove it; an echo has `icmp_id`");
        good = false;
    }
    good.then_some(speaks)
}

/// Keys that only some ICMP messages have. What is wrong is noted.
pub(super) fn check_icmp(node: &Node, sent: bool, notes: &mut Notes) -> bool {
    let word = node.get("icmp").and_then(Node::text);
    let mut good = true;
    let mut wrong = |entry: Option<&Entry>, message: String, help: &str| {
        if let Some(entry) = entry {
            notes.error(entry.key_span.clone(), message).help(help);
            good = false;
        }
    };
    let echo = matches!(word, Some("echo-request" | "echo-reply") | None);
    let sized = matches!(word, Some("frag-needed" | "too-big"));
    let quotes = word.is_some_and(|word| ERRORS.contains(&word));
    if !echo {
        wrong(
            entry(node, "icmp_id"),
            "only an echo has an `icmp_id`".to_owned(),
            "remove it, or write `icmp: echo-request`",
        );
    }
    if !sized {
        wrong(entry(node, "mtu"), "only `frag-needed` and `too-big` tell an `mtu`".to_owned(), "remove it");
    }
    for key in ["quoting", "quoting_flow"].iter().filter(|_| !quotes) {
        wrong(
            entry(node, key),
            "only ICMP errors quote".to_owned(),
            "remove it, or name the error: `icmp: port-unreachable`",
        );
    }
    if node.get("quoting").is_some() {
        wrong(
            entry(node, "quoting_flow"),
            "an error quotes one packet".to_owned(),
            "remove `quoting` or `quoting_flow`",
        );
    }
    if sent && sized && node.get("mtu").is_none() {
        let message = format!("`{}` needs the MTU that it tells", word.unwrap_or_default());
        wrong(entry(node, "icmp"), message, "add `mtu: 1400`");
    }
    let about = ["quoting", "quoting_flow", "answers"];
    if sent && quotes && about.iter().all(|key| node.get(key).is_none()) {
        let message = format!("`{}` needs the packet that it is about", word.unwrap_or_default());
        wrong(
            entry(node, "icmp"),
            message,
            "add `quoting: { source: ..., source_port: ..., to: ... }`, `quoting_flow: NAME` or `answers: NAME`",
        );
    }
    good
}

/// What an error says, but for what it quotes.
pub(super) fn error_kind(node: &Node) -> Option<ErrorKind> {
    match node.get("icmp")?.text()? {
        "net-unreachable" => Some(ErrorKind::NetUnreachable),
        "host-unreachable" => Some(ErrorKind::HostUnreachable),
        "port-unreachable" => Some(ErrorKind::PortUnreachable),
        "frag-needed" | "too-big" => Some(ErrorKind::TooBig(number(node, "mtu").unwrap_or_default())),
        "prohibited" => Some(ErrorKind::Prohibited),
        "time-exceeded" => Some(ErrorKind::Expired),
        // The gateway is the sender's own address.
        "redirect" => Some(ErrorKind::Redirect(std::net::Ipv4Addr::UNSPECIFIED.into())),
        _ => None,
    }
}

/// What ARP or neighbour discovery says.
pub(super) fn neighbour_kind(node: &Node) -> Option<NeighbourKind> {
    match node.get("arp").or_else(|| node.get("nd"))?.text()? {
        "request" => Some(NeighbourKind::Request),
        "reply" => Some(NeighbourKind::Reply),
        "announce" => Some(NeighbourKind::Announce),
        _ => None,
    }
}

/// What the packet to send carries, but for an error. `answered` is what it answers.
pub(super) fn load(node: &Node, speaks: Speaks, answered: Option<&Load>) -> Option<Load> {
    let source_port = number(node, "source_port");
    let port = number(node, "port").unwrap_or(9000);
    match speaks {
        Speaks::Udp | Speaks::Unsaid => Some(Load::Udp(source_port, port)),
        Speaks::Tcp => Some(Load::Tcp {
            source_port,
            port,
            sequence: unsigned(node, "seq"),
            acknowledgement: unsigned(node, "ack").unwrap_or_default(),
            flags: flags_in(node).unwrap_or_else(|| flags_to(answered)),
        }),
        Speaks::Icmp => match node.get("icmp").and_then(Node::text) {
            Some("router-advert") => Some(Load::RouterAdvert),
            Some("echo-reply") => Some(Load::Echo(true, number(node, "icmp_id"))),
            Some("echo-request") => Some(Load::Echo(false, number(node, "icmp_id"))),
            None => Some(Load::Echo(matches!(answered, Some(Load::Echo(false, _))), number(node, "icmp_id"))),
            Some(_) => None,
        },
        Speaks::Neighbour => neighbour_kind(node).map(Load::Neighbour),
    }
}

/// The flags that a packet names.
pub(super) fn flags_in(node: &Node) -> Option<u8> {
    node.get("flags")?.text().and_then(flags_of)
}

/// The flags of a segment that says nothing of them: it opens a connection, or goes on with it.
fn flags_to(answered: Option<&Load>) -> u8 {
    match answered {
        None => SYN,
        Some(Load::Tcp { flags, .. }) if flags & (SYN | ACK) == SYN => SYN | ACK,
        Some(_) => ACK,
    }
}

/// What an answer speaks if it does not say it.
pub(super) fn spoken(load: &Load) -> Speaks {
    match load {
        Load::Udp(..) => Speaks::Udp,
        Load::Tcp { .. } => Speaks::Tcp,
        Load::Echo(..) | Load::Error(..) | Load::RouterAdvert => Speaks::Icmp,
        Load::Neighbour(_) => Speaks::Neighbour,
    }
}
