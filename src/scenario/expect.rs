//! What stands below `expect`: flows and places, each with its sentences.

use std::collections::BTreeMap;

use super::expectation::{Delivery, Expectation, Expected, FlowExpectation, Outcome, Reason, SeenAs, SeenPort, Target};
use super::judge::{first_address, title};
use super::note::{Notes, Span, position};
use super::words::Words;
use super::world::World;
use super::yaml::{Entry, Node, Value};
use super::{announced, course, frames, outcome, state, status, subject, watch};
use crate::flow::{Flow, Protocol};
use crate::net::Family;

/// Reads the map below `expect`. What is wrong is noted and left out.
pub(super) fn read(node: &Node, source: &str, world: &World, notes: &mut Notes) -> Vec<Expectation> {
    let mut all = Vec::new();
    for entry in node.entries() {
        if entry.key.contains("->") {
            all.extend(flow(entry, source, world, notes));
        } else if entry.key == watch::SUBJECT {
            all.extend(watched(entry, source, world, notes));
        } else if let Ok(address) = entry.key.parse() {
            let about = (address, &entry.key_span);
            all.extend(sentences(entry, source, notes, |words, notes| {
                if announced::begins(&words) {
                    announced::read(address, words, world, notes).map(Expected::Announced)
                } else {
                    status::read(about, words, world, notes).map(Expected::Status)
                }
            }));
        } else if let Some(segment) = frames::segment(entry, world) {
            let read = |words, notes: &mut Notes| frames::read(&segment, words, notes).map(Expected::Frames);
            all.extend(sentences(entry, source, notes, read));
        } else {
            all.extend(states(entry, source, world, notes));
        }
    }
    check_overlap(&all, world, notes);
    all
}

/// With single blanks.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn expectation(entry: &Entry, value: &Node, source: &str, what: Expected) -> Expectation {
    let text = format!("{}: {}", one_line(&entry.key), one_line(value.text().unwrap_or_default()));
    let span = entry.key_span.start..value.span.end.max(entry.key_span.end);
    Expectation { span, line: position(source, value.span.start).0, text, what }
}

fn flow(entry: &Entry, source: &str, world: &World, notes: &mut Notes) -> Option<Expectation> {
    let mut words = Words::of_key(entry);
    let subject = subject::read_single(&mut words, world, notes);
    let sentence = match (&entry.value.value, Words::of_value(&entry.value)) {
        (Value::Refused, _) => return None,
        (_, Some(sentence)) => sentence,
        (_, None) => {
            notes
                .error(entry.key_span.clone(), "a flow has one sentence")
                .help("write all clauses in one line: `as 203.0.113.10 via net1`");
            return None;
        }
    };
    let outcome = outcome::read(sentence, world, notes);
    let (subject, outcome) = (subject?, outcome?);
    let flow = FlowExpectation {
        sources: subject.sources,
        targets: subject.targets,
        both: subject.both,
        protocol: subject.protocol,
        family: subject.family,
        options: subject.options,
        count: subject.count,
        outcome,
    };
    let sendable = check_running(&flow, entry, world, notes)
        && check_families(&flow, entry, world, notes)
        && check_itself(&flow, entry, notes)
        && check_comparable(&flow, entry, world, notes);
    sendable.then(|| expectation(entry, &entry.value, source, Expected::Flow(flow)))
}

/// Nobody sends whose host is off.
fn check_running(flow: &FlowExpectation, entry: &Entry, world: &World, notes: &mut Notes) -> bool {
    let nodes = flow.targets.iter().filter_map(|target| match target {
        Target::Node(source) if flow.both => Some(&source.place),
        Target::Node(_) | Target::Address(_) | Target::Range(..) => None,
    });
    for sender in flow.sources.iter().map(|source| &source.place).chain(nodes) {
        let Some(node) = sender.node() else { continue };
        let host = world.intent.host_of(&node);
        if let Some((host, step)) = host.and_then(|host| Some((host, world.running.off.get(host)?))) {
            let said = Words::of_key(entry).all().find(|word| word.text == node.as_str()).map(|word| word.span.clone());
            notes
                .error(
                    said.unwrap_or_else(|| entry.key_span.clone()),
                    format!("`{node}` sends nothing: it runs on `{host}`"),
                )
                .help(format!("`{host}` is off since step {step}; `start_host` switches it on"));
            return false;
        }
    }
    true
}

/// Both ends of each flow have an address of its family.
fn check_families(flow: &FlowExpectation, entry: &Entry, world: &World, notes: &mut Notes) -> bool {
    if !world.is_sound() {
        return true;
    }
    let mut wrong = |word: &str, message: String, help: &str| {
        let said = Words::of_key(entry).all().find(|w| w.text == word).map(|w| w.span.clone());
        notes.error(said.unwrap_or_else(|| entry.key_span.clone()), message).help(help);
        false
    };
    for target in &flow.targets {
        let (address, node) = match target {
            Target::Address(address) | Target::Range(address, _) => (Some(*address), None),
            Target::Node(node) => (node.address, node.place.node()),
        };
        let Some(family) = flow.family else { continue };
        if let Some(address) = address.filter(|address| Family::of(*address) != family) {
            let text = node.as_ref().map_or_else(|| address.to_string(), |node| format!("{node}@{address}"));
            let help = "name an address of that family, or change what the flow goes over";
            return wrong(&text, format!("{address} is no {} address", family_text(family)), help);
        }
        if let (None, Some(node)) = (address, node)
            && first_address(&node, family, &world.intent).is_none()
        {
            let message = format!("`{node}` has no {} address", family_text(family));
            return wrong(node.as_str(), message, "give it one, or change what the flow goes over");
        }
    }
    for pair in flow.pairs(&world.intent) {
        let (sender, family) = (&pair.flow.from, Family::of(pair.flow.to));
        match pair.flow.source {
            Some(source) if Family::of(source) != family => {
                let message = format!("{source} cannot reach {}: they are of different families", pair.flow.to);
                return wrong(&format!("{sender}@{source}"), message, "pick an address of the target's family");
            }
            None if sender.node().is_some_and(|node| first_address(&node, family, &world.intent).is_none()) => {
                let message = format!("`{sender}` has no {} address to send from", family_text(family));
                return wrong(&sender.name, message, "give it one, or change what the flow goes over");
            }
            Some(_) | None => {}
        }
    }
    true
}

fn family_text(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// A namespace of routers has no address of its own by which it is called.
fn check_itself(flow: &FlowExpectation, entry: &Entry, notes: &mut Notes) -> bool {
    let namespace = flow.sources.iter().map(|source| &source.place).find(|place| place.host.is_some());
    let Outcome::Delivered(Delivery { source: Some(SeenAs::Itself), .. }) = &flow.outcome else { return true };
    let Some(namespace) = namespace else { return true };
    let said = Words::of_value(&entry.value)
        .and_then(|words| words.all().find(|w| w.text == "itself").map(|w| w.span.clone()));
    notes
        .error(
            said.unwrap_or_else(|| entry.value.span.clone()),
            format!("`{namespace}` has several addresses, and its routing picks one"),
        )
        .help("write the address: `as 203.0.113.10`");
    false
}

/// Subject and sentence must fit each other.
fn check_comparable(flow: &FlowExpectation, entry: &Entry, world: &World, notes: &mut Notes) -> bool {
    let word = |text: &str| {
        Words::of_value(&entry.value).and_then(|words| words.all().find(|w| w.text == text).map(|w| w.span.clone()))
    };
    let place = |text: &str| word(text).unwrap_or_else(|| entry.value.span.clone());
    let mut wrong = |span: Span, message: String, help: &str| {
        notes.error(span, message).help(help);
        false
    };
    match &flow.outcome {
        Outcome::Delivered(delivery) => {
            if flow.protocol == Some(Protocol::Arp)
                && let Some(clause) = beyond_arp(delivery)
            {
                return wrong(
                    place(clause),
                    format!("`{clause}` can never be compared: ARP goes no further than the segment"),
                    "write `reaches NAME`, or use another protocol",
                );
            }
            if !delivery.hops.is_empty() && flow.options.ttl.is_some() {
                return wrong(
                    place("hops"),
                    "`hops` sends the flow with every TTL up to the target's".to_owned(),
                    "remove `ttl N` before the `:`",
                );
            }
            if matches!(delivery.port, Some(SeenPort::Kept | SeenPort::Changed)) && flow.options.source_port.is_none() {
                return wrong(
                    place("port"),
                    "this needs a known source port".to_owned(),
                    "write `from PORT` (icmp: `id N`) after the protocol",
                );
            }
            for target in &flow.targets {
                if let Target::Node(node) = target
                    && !delivery.reaches.is_empty()
                    && !delivery.reaches.iter().any(|name| node.place.is(name))
                {
                    return wrong(
                        place("reaches"),
                        format!("`{}` must answer itself, since it is named as the target", node.place),
                        "write its address as the target, or remove `reaches`",
                    );
                }
            }
        }
        Outcome::Failed(failure) => {
            if flow.protocol == Some(Protocol::Arp)
                && !matches!(failure.reason, Reason::Unreachable | Reason::NoNeighbour)
            {
                return wrong(
                    entry.value.span.clone(),
                    "ARP is answered or not, nothing else can be seen".to_owned(),
                    "write `unreachable` or `no neighbour`",
                );
            }
        }
    }
    if flow.flows(&world.intent).is_empty() && world.is_sound() {
        return wrong(
            entry.key_span.clone(),
            "nothing would be sent".to_owned(),
            "a node does not send to itself by name; write its address to try that",
        );
    }
    true
}

/// The first clause that says more than who answered.
fn beyond_arp(delivery: &Delivery) -> Option<&'static str> {
    [
        ("as", delivery.source.is_some()),
        ("via", !delivery.via.is_empty()),
        ("through", !delivery.through.is_empty()),
        ("hops", !delivery.hops.is_empty()),
        ("ttl", delivery.ttl.is_some()),
        ("port", delivery.port.is_some()),
        ("reply", !delivery.reply_via.is_empty() || !delivery.reply_through.is_empty() || delivery.reply_ttl.is_some()),
        ("no", delivery.no_answer),
    ]
    .into_iter()
    .find_map(|(clause, there)| there.then_some(clause))
}

fn states(entry: &Entry, source: &str, world: &World, notes: &mut Notes) -> Vec<Expectation> {
    let Some(place) = state::place(entry, world, notes) else { return Vec::new() };
    sentences(entry, source, notes, |words, notes| {
        if course::begins(&words) {
            course::read(&place, words, world, notes).map(Expected::Course)
        } else {
            state::read(&place, words, notes).map(Expected::State)
        }
    })
}

fn watched(entry: &Entry, source: &str, world: &World, notes: &mut Notes) -> Vec<Expectation> {
    let all = sentences(entry, source, notes, |words, notes| watch::read(words, world, notes).map(Expected::Watch));
    let silent = |one: &&Expectation| matches!(&one.what, Expected::Watch(watch) if watch.class.is_none());
    if let (Some(silent), true) = (all.iter().find(silent), all.len() > 1) {
        notes.error(silent.span.clone(), "`silent` stands alone").help("leave it out where a violation is expected");
    }
    all
}

/// One sentence, or a list of them.
fn sentences(
    entry: &Entry,
    source: &str,
    notes: &mut Notes,
    mut read: impl FnMut(Words, &mut Notes) -> Option<Expected>,
) -> Vec<Expectation> {
    if matches!(&entry.value.value, Value::List(items) if items.is_empty()) {
        notes
            .error(entry.value.span.clone(), "this list is empty")
            .help("write a sentence, like `no namespace snat-r1`");
    }
    let mut all = Vec::new();
    for item in entry.value.items() {
        if let Some(words) = Words::of_value(item) {
            let what = read(words, notes);
            all.extend(what.map(|what| expectation(entry, item, source, what)));
        } else {
            let first = item.span.start..item.span.end.min(item.span.start + 1);
            notes
                .error(first, "here should be a sentence")
                .help("write it in one line; text with `,` or `: ` goes into quotes inside `[ ]`");
        }
    }
    all
}

/// No flow may be listed twice.
fn check_overlap(all: &[Expectation], world: &World, notes: &mut Notes) {
    let mut seen: BTreeMap<Flow, &Expectation> = BTreeMap::new();
    for expectation in all {
        let Expected::Flow(line) = &expectation.what else { continue };
        let mut twice = None;
        for pair in line.pairs(&world.intent) {
            if let Some(first) = seen.get(&pair.flow) {
                twice.get_or_insert((title(&pair), *first));
            } else {
                seen.insert(pair.flow, expectation);
            }
        }
        if let Some((title, first)) = twice {
            let message = format!("`{title}` is expected twice in this step");
            notes
                .error(expectation.span.clone(), message)
                .beside(first.span.clone(), "first here")
                .help("list each source and target once, or say the protocol on both lines");
        }
    }
}
