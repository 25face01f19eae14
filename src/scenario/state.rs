//! Sentences about places: `cmp1/qrouter-r1: has 1 rule from 10.0.1.11 lookup 16`.

use super::expectation::{Quantity, StateExpectation, StatePlace};
use super::note::{Notes, Span, listed, nearest};
use super::words::{Word, Words};
use super::world::World;
use super::yaml::Entry;
use super::{course, frames};
use crate::api::Section;
use crate::flow::Place;
use crate::name::{HostName, Name, NamespaceName};
use crate::namespace::Kind;

/// Every kind with its word, in the order of the reference.
pub(super) const KINDS: [(&str, Kind); 18] = [
    ("namespace", Kind::Namespace),
    ("device", Kind::Device),
    ("address", Kind::Address),
    ("rule", Kind::Rule),
    ("rule6", Kind::Rule6),
    ("route", Kind::Route),
    ("route6", Kind::Route6),
    ("neighbour", Kind::Neighbour),
    ("nat", Kind::Nat),
    ("filter", Kind::Filter),
    ("mangle", Kind::Mangle),
    ("raw", Kind::Raw),
    ("nat6", Kind::Nat6),
    ("filter6", Kind::Filter6),
    ("mangle6", Kind::Mangle6),
    ("raw6", Kind::Raw6),
    ("conntrack", Kind::Conntrack),
    ("sysctl", Kind::Sysctl),
];

/// What a subject says that is every host.
pub(super) const EVERYWHERE: &str = "all";

/// Namespace prefixes with the section of what follows.
const NAMESPACES: [(&str, Section); 3] =
    [("qrouter-", Section::Routers), ("snat-", Section::Routers), ("fip-", Section::Networks)];

/// Reads the subject of a state line. What is wrong is noted.
pub(super) fn place(entry: &Entry, world: &World, notes: &mut Notes) -> Option<StatePlace> {
    let (key, span) = (entry.key.as_str(), &entry.key_span);
    if key == EVERYWHERE {
        return Some(StatePlace::All);
    }
    if key.contains(char::is_whitespace) {
        notes.error(span.clone(), format!("`{key}` is neither a flow nor a place")).help(
            "a flow is `SOURCE -> TARGET`, a place is `HOST`, `HOST/NAMESPACE`, a node, a network, `underlay` or `all`",
        );
        return None;
    }
    if let Some((host, inside)) = key.split_once('/') {
        return namespace(host, inside, span, world, notes)
            .map(|(host, namespace)| StatePlace::Namespace(host, namespace));
    }
    if NAMESPACES.iter().any(|(prefix, _)| key.starts_with(prefix)) && world.section_of(key).is_none() {
        notes.error(span.clone(), format!("`{key}` is on which host?")).help(format!("write `HOST/{key}`, or `all`"));
        return None;
    }
    if !world.resolve(key, &[Section::Hosts, Section::Instances, Section::Outside], span, notes) {
        return None;
    }
    match world.section_of(key) {
        Some(Section::Hosts) => HostName::new(key).ok().map(StatePlace::Host),
        Some(_) | None => Name::new(key).ok().map(StatePlace::Node),
    }
}

/// Reads a place that something is done at: a host, a node, or `HOST/NAMESPACE`. What is wrong is noted.
pub(super) fn site(text: &str, span: &Span, world: &World, notes: &mut Notes) -> Option<Place> {
    if let Some((host, inside)) = text.split_once('/') {
        let (host, namespace) = namespace(host, inside, span, world, notes)?;
        return Some(Place { host: Some(host), name: namespace.to_string() });
    }
    let known = world.resolve(text, &[Section::Hosts, Section::Instances, Section::Outside], span, notes);
    known.then(|| Place { host: None, name: text.to_owned() })
}

/// Reads `HOST/NAMESPACE`. What is wrong is noted.
pub(super) fn namespace(
    host: &str,
    namespace: &str,
    span: &Span,
    world: &World,
    notes: &mut Notes,
) -> Option<(HostName, NamespaceName)> {
    if !world.resolve(host, &[Section::Hosts], span, notes) {
        return None;
    }
    let split = NAMESPACES.iter().find_map(|(prefix, section)| Some((*section, namespace.strip_prefix(prefix)?)));
    let Some((section, owner)) = split else {
        let note = notes.error(span.clone(), format!("`{namespace}` is no router namespace"));
        match nearest(namespace.split('-').next().unwrap_or(namespace), ["qrouter", "snat", "fip"]) {
            Some(near) => {
                let owner = namespace.split_once('-').map_or("NAME", |(_, owner)| owner);
                note.help(format!("did you mean `{host}/{near}-{owner}`?"))
            }
            None => note.help("they are `qrouter-ROUTER`, `snat-ROUTER` and `fip-NETWORK`"),
        };
        return None;
    };
    // What was deleted may be asked for too: that nothing of it is left.
    if !world.was_ever(owner, section) && !world.resolve(owner, &[section], span, notes) {
        return None;
    }
    Some((HostName::new(host).ok()?, NamespaceName::new(namespace).ok()?))
}

/// Reads one sentence about a place. What is wrong is noted.
pub(super) fn read(place: &StatePlace, mut words: Words, notes: &mut Notes) -> Option<StateExpectation> {
    let verb = words.take()?;
    if !counts(&verb) {
        unknown(&verb, notes);
        return None;
    }
    let quantity = quantity(&verb, &mut words, notes)?;
    let kind = kind(&verb, &mut words, notes)?;
    if let (StatePlace::Node(node), true) = (place, kind == Kind::Namespace) {
        notes.error(verb.span, format!("`{node}` has no router namespaces")).help("write a host instead");
        return None;
    }
    let pattern = words.rest().into_iter().map(|word| word.text).collect();
    Some(StateExpectation { place: place.clone(), quantity, kind, pattern })
}

/// Whether a sentence that begins thus says how many there are of something.
pub(super) fn counts(verb: &Word) -> bool {
    ["has", "no"].contains(&verb.text.as_str())
}

/// How many a sentence wants that begins `has`, `has N` or `no`. What is wrong is noted.
pub(super) fn quantity(verb: &Word, words: &mut Words, notes: &mut Notes) -> Option<Quantity> {
    if verb.text == "no" {
        return Some(Quantity::None);
    }
    match words.peek_text().map(str::parse::<usize>) {
        Some(Ok(0)) => {
            notes.error(words.place(), "`has 0` is `no`").help("write `no KIND TEXT`");
            None
        }
        Some(Ok(number)) => {
            words.take();
            Some(Quantity::Exactly(number))
        }
        Some(Err(_)) | None => Some(Quantity::Some),
    }
}

fn unknown(verb: &Word, notes: &mut Notes) {
    let text = verb.text.as_str();
    let flow = ["as", "reaches", "via", "through", "unreachable", "refused", "dropped", "expired", "prohibited"];
    let note = notes.error(verb.span.clone(), format!("`{text}` begins no sentence about a place"));
    if flow.contains(&text) {
        note.help("that is about a flow: the subject would be `SOURCE -> TARGET`");
    } else if let Some(near) = nearest(text, ["has", "no"].into_iter().chain(course::FIRST)) {
        note.help(format!("did you mean `{near}`?"));
    } else if nearest(text, KINDS.map(|(word, _)| word)).is_some() {
        note.help(format!("write `has {text} ...` or `no {text} ...`"));
    } else {
        note.help("write `has KIND TEXT`, `has N KIND TEXT` or `no KIND TEXT`");
    }
}

pub(super) fn kind(verb: &Word, words: &mut Words, notes: &mut Notes) -> Option<Kind> {
    let Some(word) = words.take() else {
        notes
            .error(verb.span.clone(), format!("`{}` needs a kind of object", verb.text))
            .help(format!("kinds are {}", listed(KINDS.map(|(word, _)| word))));
        return None;
    };
    if let Some((_, kind)) = KINDS.iter().find(|(text, _)| *text == word.text) {
        return Some(*kind);
    }
    if word.text == frames::KIND {
        notes.error(word.span, "frames are on segments, not at this place").help(
            "name a network or `underlay` before the `:`; the packets of one namespace are seen by `probe` and `why`",
        );
        return None;
    }
    let note = notes.error(word.span, format!("`{}` is no kind of object", word.text));
    match nearest(&word.text, KINDS.map(|(word, _)| word)) {
        Some(near) => note.help(format!("did you mean `{near}`?")),
        None => note.help(format!("kinds are {}", listed(KINDS.map(|(word, _)| word)))),
    };
    None
}
