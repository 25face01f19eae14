//! Faults: named mutations of the router, each of which must turn its scenario red.
//!
//! In: the sentences below `faults`, and what the file's steps make and name. Out: [`Fault`]s. Never: a look at what will stand;
//! whether a fault touches anything shows when it is tried.

use std::net::IpAddr;

use super::Step;
use super::damage;
use super::deed::Thing;
use super::expectation::StatePlace;
use super::note::{Notes, Span, listed, nearest, position};
use super::state::{self, KINDS};
use super::values;
use super::words::{Word, Words};
use super::world::World;
use super::yaml::Node;
use crate::api::Section;
use crate::name::{HostName, NamespaceName};
use crate::namespace::Kind;

/// A sentence below `faults`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands in the file.
    pub span: Span,
    /// Its line, from 1.
    pub line: usize,
    /// The sentence, with single blanks.
    pub text: String,
    /// What is wrong with the router.
    pub what: Mutation,
}

/// What is wrong with a router that has a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mutation {
    /// Objects are not treated as they should be.
    Objects {
        /// How.
        how: Tamper,
        /// Of which kind.
        kind: Kind,
        /// Words of their printed line, in this order, gaps allowed; of the printed purge for connections.
        pattern: Vec<String>,
        /// Where.
        place: StatePlace,
    },
    /// An address is not announced.
    Unannounced {
        /// The address.
        address: IpAddr,
        /// Where.
        place: StatePlace,
    },
    /// A host does not hear of a step, by its number.
    Unheard(HostName, usize),
    /// A host's agent synchronises as if nothing stood there that holds a number.
    Forgetful(HostName),
    /// Every update deletes a namespace and builds it anew.
    Rebuilt(HostName, NamespaceName),
    /// The router wants an object besides, wherever the namespace stands.
    Besides(HostName, NamespaceName, Thing),
}

/// How objects are not treated as they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tamper {
    /// They are never made.
    Omit,
    /// They are never removed or altered; connections are not purged.
    Keep,
    /// Operations on them come last in their plan.
    Late,
    /// Operations on them come first in their plan.
    Early,
    /// They are made, but not a second time: once they are gone, nobody puts them back.
    Once,
}

/// The words that a fault begins with, and how it goes on.
const FORMS: [(&str, &str); 9] = [
    ("omit", "omit KIND TEXT at PLACE"),
    ("keep", "keep KIND TEXT at PLACE"),
    ("late", "late KIND TEXT at PLACE"),
    ("early", "early KIND TEXT at PLACE"),
    ("once", "once KIND TEXT at PLACE"),
    ("add", "add KIND TEXT at HOST/NAMESPACE"),
    ("lose", "lose notification to HOST in STEP"),
    ("forget", "forget allocations at HOST"),
    ("rebuild", "rebuild HOST/NAMESPACE"),
];

/// Reads all faults, when all steps are read: a fault may be about whatever stands at any time. What is wrong is noted.
pub(super) fn read(root: &Node, steps: &[Step], source: &str, world: &World, notes: &mut Notes) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    for item in root.get("faults").map(Node::items).unwrap_or_default() {
        let Some(words) = Words::of_value(item) else { continue };
        let text = words.all().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
        if let Some(first) = faults.iter().find(|fault| fault.text == text) {
            let first = first.span.clone();
            notes.error(item.span.clone(), "this fault is here twice").beside(first, "first here").help("remove one");
            continue;
        }
        let reader = Reader { steps, world, whole: &item.span };
        if let Some(what) = reader.fault(words, notes) {
            faults.push(Fault { line: position(source, item.span.start).0, span: item.span.clone(), text, what });
        }
    }
    faults
}

struct Reader<'a> {
    steps: &'a [Step],
    world: &'a World,
    whole: &'a Span,
}

impl Reader<'_> {
    fn fault(&self, mut words: Words, notes: &mut Notes) -> Option<Mutation> {
        let verb = words.take()?;
        let how = match verb.text.as_str() {
            "omit" if words.peek_text() == Some("announcement") => return self.unannounced(words, notes),
            "omit" => Tamper::Omit,
            "keep" => Tamper::Keep,
            "late" => Tamper::Late,
            "early" => Tamper::Early,
            "once" => Tamper::Once,
            "add" => return self.besides(&verb, words, notes),
            "lose" => return self.unheard(words, notes),
            "forget" => return self.forgetful(words, notes),
            "rebuild" => return self.rebuilt(words, notes),
            other => {
                let note = notes.error(verb.span, format!("`{other}` begins no fault"));
                match nearest(other, FORMS.map(|(word, _)| word)) {
                    Some(near) => note.help(format!("did you mean `{near}`?")),
                    None => note.help(format!("faults are {}", listed(FORMS.map(|(_, form)| form)))),
                };
                return None;
            }
        };
        let kind = kind(&verb, &mut words, notes)?;
        if kind == Kind::Conntrack && matches!(how, Tamper::Omit | Tamper::Once) {
            notes
                .error(verb.span, "connections are not made by the router")
                .help("write `keep conntrack ...`: they are not purged");
            return None;
        }
        let (pattern, place) = self.pattern_at(&mut words, &verb.text, notes)?;
        Some(Mutation::Objects { how, kind, pattern, place })
    }

    /// `TEXT at PLACE`: the last two words are the place.
    fn pattern_at(&self, words: &mut Words, verb: &str, notes: &mut Notes) -> Option<(Vec<String>, StatePlace)> {
        let mut rest = words.rest();
        let (place, at) = (rest.pop(), rest.pop());
        let (Some(place), Some("at")) = (place, at.map(|word| word.text).as_deref()) else {
            let form = FORMS.iter().find(|(word, _)| *word == verb).map_or("", |(_, form)| form);
            notes.error(self.whole.clone(), "this fault says nowhere").help(format!("write `{form}`"));
            return None;
        };
        let place = self.place(&place, notes)?;
        Some((rest.into_iter().map(|word| word.text).collect(), place))
    }

    /// An object, written as it is printed, that the router wants besides.
    fn besides(&self, verb: &Word, mut words: Words, notes: &mut Notes) -> Option<Mutation> {
        let kind = kind(verb, &mut words, notes)?;
        let whole = matches!(kind, Kind::Namespace | Kind::Device | Kind::Sysctl | Kind::Conntrack);
        let (text, place) = self.pattern_at(&mut words, &verb.text, notes)?;
        let StatePlace::Namespace(host, namespace) = place else {
            notes.error(self.whole.clone(), "an object is added in one namespace").help("write `at HOST/NAMESPACE`");
            return None;
        };
        if whole {
            notes
                .error(self.whole.clone(), "this cannot stand in a namespace besides")
                .help("add an address, a rule, a route, a neighbour, or a rule of a table");
            return None;
        }
        let thing = damage::thing(damage::Put::Add, kind, &text.join(" "), self.whole, self.world, notes)?;
        Some(Mutation::Besides(host, namespace, thing))
    }

    fn place(&self, word: &Word, notes: &mut Notes) -> Option<StatePlace> {
        if word.text == "all" {
            return Some(StatePlace::All);
        }
        if let Some((host, inside)) = word.text.split_once('/') {
            let (host, namespace) = state::namespace(host, inside, &word.span, self.world, notes)?;
            return Some(StatePlace::Namespace(host, namespace));
        }
        self.host(word, notes).map(StatePlace::Host)
    }

    fn host(&self, word: &Word, notes: &mut Notes) -> Option<HostName> {
        let known = self.world.was_ever(&word.text, Section::Hosts)
            || self.world.resolve(&word.text, &[Section::Hosts], &word.span, notes);
        if known { HostName::new(word.text.as_str()).ok() } else { None }
    }

    fn unannounced(&self, mut words: Words, notes: &mut Notes) -> Option<Mutation> {
        let announcement = words.take()?;
        let form = "write `omit announcement ADDRESS at PLACE`";
        let Some(address) = words.take() else {
            notes.error(announcement.span, "an announcement of which address?").help(form);
            return None;
        };
        let value = match values::address(&address.text) {
            Ok(value) => value,
            Err(wrong) => {
                notes.error(address.span, wrong.message).help(form);
                return None;
            }
        };
        let (more, place) = self.pattern_at(&mut words, "omit", notes)?;
        if let Some(more) = more.first() {
            notes.error(self.whole.clone(), format!("`{more}` is too much here")).help(form);
            return None;
        }
        Some(Mutation::Unannounced { address: value, place })
    }

    /// The next word, or says how the sentence is written.
    fn next(&self, words: &mut Words, form: &str, notes: &mut Notes) -> Option<Word> {
        let next = words.take();
        if next.is_none() {
            notes.error(self.whole.clone(), "this fault is not complete").help(format!("write `{form}`"));
        }
        next
    }

    fn unheard(&self, mut words: Words, notes: &mut Notes) -> Option<Mutation> {
        let form = "lose notification to HOST in STEP";
        wanted(&mut words, "notification", form, notes)?;
        wanted(&mut words, "to", form, notes)?;
        let host = self.next(&mut words, form, notes)?;
        let host = self.host(&host, notes)?;
        wanted(&mut words, "in", form, notes)?;
        let step = self.next(&mut words, form, notes)?;
        end(&mut words, form, notes)?;
        let found = self.steps.iter().find(|one| one.label() == step.text || one.number.to_string() == step.text);
        let Some(found) = found else {
            let labels: Vec<String> = self.steps.iter().map(Step::label).collect();
            let note = notes.error(step.span, format!("there is no step `{}`", step.text));
            match nearest(&step.text, labels.iter().map(String::as_str)) {
                Some(near) => note.help(format!("did you mean `{near}`?")),
                None => note.help(format!("steps are {}", listed(labels.iter().map(String::as_str)))),
            };
            return None;
        };
        if found.operations.is_empty() {
            notes
                .error(step.span, format!("step {} changes nothing that a host would hear of", found.label()))
                .help("name a step with an operation");
            return None;
        }
        Some(Mutation::Unheard(host, found.number))
    }

    fn forgetful(&self, mut words: Words, notes: &mut Notes) -> Option<Mutation> {
        let form = "forget allocations at HOST";
        wanted(&mut words, "allocations", form, notes)?;
        wanted(&mut words, "at", form, notes)?;
        let host = self.next(&mut words, form, notes)?;
        end(&mut words, form, notes)?;
        self.host(&host, notes).map(Mutation::Forgetful)
    }

    fn rebuilt(&self, mut words: Words, notes: &mut Notes) -> Option<Mutation> {
        let form = "rebuild HOST/NAMESPACE";
        let place = self.next(&mut words, form, notes)?;
        end(&mut words, form, notes)?;
        let Some((host, inside)) = place.text.split_once('/') else {
            notes.error(place.span, format!("`{}` is no namespace", place.text)).help(format!("write `{form}`"));
            return None;
        };
        let (host, namespace) = state::namespace(host, inside, &place.span, self.world, notes)?;
        Some(Mutation::Rebuilt(host, namespace))
    }
}

fn kind(verb: &Word, words: &mut Words, notes: &mut Notes) -> Option<Kind> {
    let Some(word) = words.take() else {
        notes
            .error(verb.span.clone(), format!("`{}` needs a kind of object", verb.text))
            .help(format!("kinds are {}", listed(KINDS.map(|(word, _)| word))));
        return None;
    };
    if let Some((_, kind)) = KINDS.iter().find(|(text, _)| *text == word.text) {
        return Some(*kind);
    }
    let note = notes.error(word.span, format!("`{}` is no kind of object", word.text));
    match nearest(&word.text, KINDS.map(|(word, _)| word)) {
        Some(near) => note.help(format!("did you mean `{near}`?")),
        None => note.help(format!("kinds are {}", listed(KINDS.map(|(word, _)| word)))),
    };
    None
}

/// Takes these words, or says how the sentence is written.
fn wanted(words: &mut Words, word: &str, form: &str, notes: &mut Notes) -> Option<()> {
    if words.take_if(word).is_some() {
        return Some(());
    }
    notes.error(words.place(), format!("here should be `{word}`")).help(format!("write `{form}`"));
    None
}

/// Nothing may follow.
fn end(words: &mut Words, form: &str, notes: &mut Notes) -> Option<()> {
    let Some(more) = words.take() else { return Some(()) };
    notes.error(more.span, format!("`{}` is too much here", more.text)).help(format!("write `{form}`"));
    None
}
