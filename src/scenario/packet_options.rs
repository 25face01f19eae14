//! What a subject asks of its packets: `from PORT`, `id N`, `ttl N`, `size N`, `bytes N`, `df`, `count N`.
//!
//! In: the option's word and those behind it. Out: the subject with it, or a note with its place. Never: an option that its
//! protocol does not have.

use super::note::Notes;
use super::subject::Subject;
use super::values;
use super::words::{Word, Words};
use crate::flow::Protocol;

/// The shortest packet that a `size` may ask for, in bytes: headers, and what probes are told apart by.
const SHORTEST: u32 = 80;
/// The shortest and the longest transfer.
const TRANSFERS: (u32, u32) = (100, 1_000_000);
/// The most packets of one flow.
const MOST: u32 = 1000;

/// Reads the option that begins with `option`. Whether it is right.
pub(super) fn read(option: &Word, words: &mut Words, subject: &mut Subject, notes: &mut Notes) -> bool {
    if !fits(option, subject, notes) {
        return false;
    }
    if matches!(option.text.as_str(), "size" | "bytes" | "df" | "count") {
        subject.single = Some(option.span.clone());
    }
    if option.text == "df" {
        subject.options.df = true;
        return true;
    }
    let Some(number) = number(option, words, notes) else { return false };
    let options = &mut subject.options;
    match option.text.as_str() {
        "ttl" => options.ttl = u8::try_from(number).ok(),
        "size" => options.size = u16::try_from(number).ok(),
        "bytes" => options.bytes = Some(number),
        "count" => subject.count = u16::try_from(number).unwrap_or(1),
        _ => options.source_port = u16::try_from(number).ok(),
    }
    true
}

/// Whether the protocol has such an option.
fn fits(option: &Word, subject: &Subject, notes: &mut Notes) -> bool {
    let (icmp, tcp, udp) = match subject.protocol {
        Some(Protocol::Icmp) => (true, false, false),
        Some(Protocol::Tcp(_)) => (false, true, false),
        Some(Protocol::Udp(_)) => (false, false, true),
        Some(Protocol::Arp) | None => (false, false, false),
    };
    let (wrong, help) = match option.text.as_str() {
        "from" if !tcp && !udp => (
            "`from` is a source port: it needs `tcp` or `udp` before it",
            "write `udp/9000 from 5555`; for icmp the id is `icmp id 5555`",
        ),
        "id" if !icmp => (
            "`id` is the echo id: it needs `icmp` before it",
            "write `icmp id 77`; the source port of tcp and udp is `from`",
        ),
        "ttl" if subject.protocol == Some(Protocol::Arp) => ("`arp` and `nd` have no ttl", "remove it"),
        "size" if !icmp && !udp => (
            "`size` is of one packet: it needs `icmp` or `udp` before it",
            "write `udp size 1400`; for tcp say `bytes`",
        ),
        "df" if !icmp && !udp => (
            "`df` is of one packet: it needs `icmp` or `udp` before it",
            "write `udp size 1400 df`; what tcp sends has it always",
        ),
        "bytes" if !tcp => ("`bytes` is a transfer: it needs `tcp` before it", "write `tcp bytes 100000`"),
        "count" if subject.protocol == Some(Protocol::Arp) => {
            ("`arp` and `nd` are asked once", "remove it, or write the line for several targets")
        }
        "count" if tcp && subject.options.source_port.is_some() => {
            ("several TCP connections cannot have one source port", "leave out `from`")
        }
        "from" if subject.count > 1 && tcp => {
            ("several TCP connections cannot have one source port", "leave out `count`, or `from`")
        }
        _ => return true,
    };
    notes.error(option.span.clone(), wrong).help(help);
    false
}

fn number(option: &Word, words: &mut Words, notes: &mut Notes) -> Option<u32> {
    let (least, most, example) = match option.text.as_str() {
        "ttl" => (1, 255, "ttl 3"),
        "size" => (SHORTEST, u32::from(u16::MAX), "size 1400"),
        "bytes" => (TRANSFERS.0, TRANSFERS.1, "bytes 100000"),
        "count" => (1, MOST, "count 20"),
        "id" => (1, u32::from(u16::MAX), "id 5555"),
        _ => (1, u32::from(u16::MAX), "from 5555"),
    };
    let Some(value) = words.take() else {
        notes
            .error(option.span.clone(), format!("`{}` needs a number", option.text))
            .help(format!("write `{example}`"));
        return None;
    };
    values::integer(&value.text, least, most)
        .map_err(|wrong| {
            notes.error(value.span, wrong.message).help(wrong.help);
        })
        .ok()
}
