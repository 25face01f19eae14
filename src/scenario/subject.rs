//! The subject of a flow line: `vm1, vm2 -> web udp/9000 from 5555`.

use std::net::IpAddr;

use super::expectation::{Source, Target};
use super::judge::{addresses_of, range_length};
use super::note::{Notes, Span, nearest};
use super::pace;
use super::packet_options;
use super::state;
use super::values;
use super::words::{Word, Words};
use super::world::World;
use crate::api::Section;
use crate::flow::{PacketOptions, Protocol};
use crate::ledger::Pace;
use crate::name::Name;
use crate::net::Family;

/// Sections whose things can send.
pub(super) const NODES: &[Section] = &[Section::Instances, Section::Outside];

/// A parsed subject.
pub(super) struct Subject {
    pub(super) sources: Vec<Source>,
    pub(super) targets: Vec<Target>,
    pub(super) both: bool,
    pub(super) protocol: Option<Protocol>,
    pub(super) family: Option<Family>,
    pub(super) options: PacketOptions,
    /// How many are sent alike.
    pub(super) count: u16,
    /// Where an option stands that only single packets have: `size`, `bytes`, `df`, `count`.
    pub(super) single: Option<Span>,
    /// `at RATE`, `for TIME`, and where that stands.
    pub(super) pace: Option<(Pace, Span)>,
}

/// Words after the target, for suggestions.
const AFTER_TARGET: [&str; 13] =
    ["icmp", "arp", "nd", "tcp", "udp", "from", "id", "ttl", "size", "bytes", "df", "count", "over"];

/// Reads a subject. What is wrong is noted; `None` if it is not usable.
fn read(words: &mut Words, world: &World, notes: &mut Notes) -> Option<Subject> {
    let mut good = true;
    let mut sources = Vec::new();
    for word in ends(words, true, notes)? {
        match source(&word, world, notes) {
            Some(source) => sources.push(source),
            None => good = false,
        }
    }
    let arrow = words.take()?;
    let both = arrow.text == "<->";
    let mut targets = Vec::new();
    for word in ends(words, false, notes)? {
        match target(&word, world, notes) {
            Some(Target::Address(_) | Target::Range(..)) if both => {
                notes
                    .error(word.span, "`<->` needs a node on both sides")
                    .help("an address cannot send; use `->`, or the node's name");
                good = false;
            }
            Some(target) => targets.push(target),
            None => good = false,
        }
    }
    let mut subject = Subject {
        sources,
        targets,
        both,
        protocol: None,
        family: None,
        options: PacketOptions::default(),
        count: 1,
        single: None,
        pace: None,
    };
    good &= options(words, &mut subject, world, notes);
    good.then_some(subject).filter(|subject| check_namespaces(subject, &arrow, notes))
}

/// A namespace sends single short packets, by its own kernel.
fn check_namespaces(subject: &Subject, arrow: &Word, notes: &mut Notes) -> bool {
    let Some(sender) = subject.sources.iter().map(|source| &source.place).find(|place| place.host.is_some()) else {
        return true;
    };
    let options = &subject.options;
    let message = if subject.both {
        format!("`{sender}` is no target, so `<->` needs a node in its place")
    } else if subject.protocol == Some(Protocol::Arp) {
        format!("`{sender}` asks for neighbours when it needs them, nodes ask when told to")
    } else if options.size.is_some() || options.bytes.is_some() || options.df {
        format!("`{sender}` sends short packets: `size`, `bytes` and `df` are for nodes")
    } else {
        return true;
    };
    notes.error(arrow.span.clone(), message).help("name a node as the sender");
    false
}

/// Reads a subject that runs on: its packets are as short as they get.
pub(super) fn read_running(words: &mut Words, world: &World, notes: &mut Notes) -> Option<Subject> {
    let place = words.place();
    let subject = read(words, world, notes)?;
    if let Some(sender) = subject.sources.iter().map(|source| &source.place).find(|place| place.host.is_some()) {
        notes
            .error(place, format!("`{sender}` sends single packets, below `expect`; what runs on is sent by nodes"))
            .help("name a node as the sender");
        return None;
    }
    let Some(span) = &subject.single else { return Some(subject) };
    notes
        .error(span.clone(), "a flow that runs on has no say in how many packets it has and how long they are")
        .help("`size`, `bytes`, `df` and `count` are for flows below `expect`, and of `dvrlab why`");
    None
}

/// Reads a subject of which one packet is sent: it has no rate.
pub(super) fn read_single(words: &mut Words, world: &World, notes: &mut Notes) -> Option<Subject> {
    let subject = read(words, world, notes)?;
    let Some((_, span)) = &subject.pace else { return Some(subject) };
    notes
        .error(span.clone(), "one packet of this flow is sent, so it has no rate")
        .help("`at RATE` and `for TIME` are for flows below `during` and of `open_flow`");
    None
}

/// `A, B, C`, up to the arrow or to what follows the target.
fn ends(words: &mut Words, before_arrow: bool, notes: &mut Notes) -> Option<Vec<Word>> {
    let mut list = Vec::new();
    loop {
        let place = words.place();
        match words.take() {
            Some(word) if !matches!(word.text.as_str(), "," | "->" | "<->") => list.push(word),
            Some(_) | None => {
                notes
                    .error(place, "here a node or an address is missing")
                    .help("write `SOURCE, SOURCE -> TARGET, TARGET`");
                return None;
            }
        }
        if words.take_if(",").is_none() {
            break;
        }
    }
    if before_arrow && let Some(word) = list.iter().find(|word| word.text.contains("->")) {
        notes.error(word.span.clone(), "the arrow needs a blank on each side").help("write it like `vm1, vm2 -> web`");
        return None;
    }
    if before_arrow && !matches!(words.peek_text(), Some("->" | "<->")) {
        notes
            .error(words.place(), "here `->` or `<->` is missing")
            .help("several nodes are parted by `,`, and the arrow has a blank on each side: `vm1, vm2 -> web`");
        return None;
    }
    Some(list)
}

fn source(word: &Word, world: &World, notes: &mut Notes) -> Option<Source> {
    let (name, at) = match word.text.split_once('@') {
        Some((name, at)) => (name, Some(at)),
        None => (word.text.as_str(), None),
    };
    if name.parse::<IpAddr>().is_ok() {
        let note = notes.error(word.span.clone(), "an address cannot send, a node can");
        match owner(name, world) {
            Some(node) => note.help(format!("write `{node}@{name}`")),
            None => note.help("write the name of an instance or a machine outside, or `NAME@ADDRESS`"),
        };
        return None;
    }
    if name.contains('/') {
        let place = state::site(name, &word.span, world, notes)?;
        let address = match at {
            None => None,
            Some(at) => Some(address(at, word, notes)?),
        };
        return Some(Source { place, address });
    }
    if !world.resolve(name, NODES, &word.span, notes) {
        return None;
    }
    let node = Name::new(name).ok()?;
    let address = match at {
        None => None,
        Some(at) => Some(address(at, word, notes)?),
    };
    let own = addresses_of(&world.intent, &node);
    if let Some(address) = address.filter(|address| !own.contains(address)) {
        if !world.any_broken(&[name.to_owned()]) {
            let own: Vec<String> = own.iter().map(ToString::to_string).collect();
            notes
                .error(word.span.clone(), format!("{address} is not an address of `{name}`"))
                .help(format!("it has {}", super::note::listed(own.iter().map(String::as_str))));
        }
        return None;
    }
    if world.is_idle(&node) {
        notes
            .error(word.span.clone(), format!("`{name}` is not booted, so it can neither send nor answer"))
            .help("`boot` it before, or name its address as the target");
        return None;
    }
    Some(Source { place: node.into(), address })
}

/// The address of `NODE@ADDRESS`.
fn address(text: &str, word: &Word, notes: &mut Notes) -> Option<IpAddr> {
    match values::address(text) {
        Ok(address) => Some(address),
        Err(wrong) => {
            notes.error(word.span.clone(), wrong.message).help(wrong.help);
            None
        }
    }
}

fn owner(address: &str, world: &World) -> Option<Name> {
    let address: IpAddr = address.parse().ok()?;
    let names = world.intent.instances.keys().chain(world.intent.outside.keys());
    names.into_iter().find(|name| addresses_of(&world.intent, name).contains(&address)).cloned()
}

fn target(word: &Word, world: &World, notes: &mut Notes) -> Option<Target> {
    if let Ok(address) = word.text.parse::<IpAddr>() {
        return Some(Target::Address(address));
    }
    // Names have no colon.
    let looks_like_address = word.text.starts_with(|c: char| c.is_ascii_digit()) || word.text.contains(':');
    let looks_like_range = looks_like_address && word.text.contains('-');
    if looks_like_range {
        return match values::range(&word.text) {
            Ok((first, last)) if range_length(first, last) <= 256 => Some(Target::Range(first, last)),
            Ok(_) => {
                notes
                    .error(word.span.clone(), "this range has more than 256 addresses")
                    .help("each one is probed; write a shorter one");
                None
            }
            Err(wrong) => {
                notes.error(word.span.clone(), wrong.message).help(wrong.help);
                None
            }
        };
    }
    if looks_like_address && !word.text.contains('@') {
        let help = "a target is a node, an address or a range `A-B`";
        let message = values::address(&word.text).err().map_or_else(String::new, |wrong| wrong.message);
        notes.error(word.span.clone(), message).help(help);
        return None;
    }
    if word.text.contains('/') {
        notes.error(word.span.clone(), "a namespace is no target, an address is").help(format!(
            "write an address that it has, and `reaches` who answers for it: `203.0.113.10: reaches {}`",
            word.text.split('/').next().unwrap_or("net1")
        ));
        return None;
    }
    source(word, world, notes).map(Target::Node)
}

fn options(words: &mut Words, subject: &mut Subject, world: &World, notes: &mut Notes) -> bool {
    let mut good = true;
    while let Some(word) = words.take() {
        let done = match word.text.as_str() {
            "from" | "id" | "ttl" | "size" | "bytes" | "df" | "count" => {
                packet_options::read(&word, words, subject, notes)
            }
            "at" | "for" => pace::read(&word, words, &mut subject.pace, notes),
            "over" => over(&word.span, words, subject, notes),
            _ if world.section_of(&word.text).is_some() => {
                notes
                    .error(word.span, "here `,` is missing")
                    .help("several nodes are parted by `,`: `vm1 -> web, peer`");
                false
            }
            _ => match protocol(&word, notes) {
                Some(protocol) if subject.protocol.is_none() => {
                    subject.protocol = Some(protocol);
                    speaks(&word, subject, notes)
                }
                Some(_) => {
                    notes.error(word.span, "a flow has one protocol").help("write a second line for the other one");
                    false
                }
                None => false,
            },
        };
        good &= done;
        if !done {
            break;
        }
    }
    good
}

/// `arp` and `nd` say what they go over.
fn speaks(word: &Word, subject: &mut Subject, notes: &mut Notes) -> bool {
    let family = match word.text.as_str() {
        "arp" => Family::V4,
        "nd" => Family::V6,
        _ => return true,
    };
    let agrees = subject.family.is_none_or(|said| said == family);
    if !agrees {
        notes
            .error(word.span.clone(), format!("`{}` goes over the other family than this flow", word.text))
            .help("IPv4 asks for neighbours by `arp`, IPv6 by `nd`");
    }
    subject.family = Some(family);
    agrees
}

fn over(option: &Span, words: &mut Words, subject: &mut Subject, notes: &mut Notes) -> bool {
    let family = match words.peek_text() {
        Some("ipv4") => Family::V4,
        Some("ipv6") => Family::V6,
        Some(_) | None => {
            notes.error(option.clone(), "`over` needs `ipv4` or `ipv6`").help("write `over ipv6`");
            return false;
        }
    };
    let place = words.place();
    words.take();
    match subject.family.replace(family) {
        None => true,
        Some(said) if said == family => true,
        Some(_) => {
            notes
                .error(place, "this contradicts what stands before it")
                .help("`arp` is IPv4, `nd` is IPv6, and a flow goes over one of the two");
            false
        }
    }
}

fn protocol(word: &Word, notes: &mut Notes) -> Option<Protocol> {
    let (name, number) = match word.text.split_once('/') {
        Some((name, number)) => (name, Some(number)),
        None => (word.text.as_str(), None),
    };
    let port = |default: u16, notes: &mut Notes| match number.map(values::port) {
        None => Some(default),
        Some(Ok(port)) => Some(port),
        Some(Err(wrong)) => {
            notes.error(word.span.clone(), wrong.message).help(wrong.help);
            None
        }
    };
    match name {
        "tcp" => port(80, notes).map(Protocol::Tcp),
        "udp" => port(9000, notes).map(Protocol::Udp),
        "icmp" | "arp" | "nd" if number.is_some() => {
            notes.error(word.span.clone(), format!("`{name}` has no ports")).help(format!("write `{name}`"));
            None
        }
        "icmp" => Some(Protocol::Icmp),
        "arp" | "nd" => Some(Protocol::Arp),
        _ => {
            let note = notes
                .error(word.span.clone(), format!("`{}` is neither a protocol nor an option of a flow", word.text));
            match nearest(name, AFTER_TARGET) {
                Some(near) => note.help(format!("did you mean `{near}`?")),
                None => note.help("protocols are `icmp`, `tcp/PORT`, `udp/PORT`, `arp` and `nd`; options are `from PORT`, `id N`, `ttl N`, `size N`, `bytes N`, `df` and `count N`"),
            };
            None
        }
    }
}
