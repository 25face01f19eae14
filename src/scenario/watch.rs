//! Sentences about the watch: `silent`, or `tenant source from vm1 via net1 on public`.

use super::expectation::WatchExpectation;
use super::note::{Notes, Span, listed, nearest};
use super::subject::NODES;
use super::words::{Word, Words};
use super::world::World;
use crate::api::Section;
use crate::name::{HostName, Name};
use crate::watch::{Class, Finding, Sighted};

/// The subject.
pub(super) const SUBJECT: &str = "watch";
/// The sentence for no violation.
const SILENT: &str = "silent";

fn violations() -> impl Iterator<Item = Class> {
    Class::ALL.into_iter().filter(|class| class.is_violation())
}

/// Reads one sentence about the watch. What is wrong is noted.
pub(super) fn read(mut words: Words, world: &World, notes: &mut Notes) -> Option<WatchExpectation> {
    let first = words.take()?;
    if first.text == SILENT {
        let Some(more) = words.take() else { return Some(WatchExpectation::default()) };
        notes.error(more.span, "`silent` stands alone").help("write a violation to say what is seen");
        return None;
    }
    let mut expected =
        WatchExpectation { class: Some(class(&first, &mut words, notes)?), ..WatchExpectation::default() };
    while let Some(word) = words.take() {
        let free = match word.text.as_str() {
            "from" => expected.from.is_none(),
            "via" => expected.via.is_none(),
            "on" => expected.on.is_none(),
            text => {
                let note = notes.error(word.span, format!("`{text}` is no word about a violation"));
                match nearest(text, ["from", "via", "on"]) {
                    Some(near) => note.help(format!("did you mean `{near}`?")),
                    None => note.help("write `from NODE`, `via HOST` or `on NETWORK`"),
                };
                return None;
            }
        };
        if !free {
            notes.error(word.span, format!("`{}` is here twice", word.text)).help("write a list of sentences");
            return None;
        }
        argument(&word, &mut words, world, notes, &mut expected)?;
    }
    Some(expected)
}

fn class(first: &Word, words: &mut Words, notes: &mut Notes) -> Option<Class> {
    let second = words.take();
    let text = second.iter().fold(first.text.clone(), |text, word| format!("{text} {}", word.text));
    if let Some(found) = violations().find(|class| class.name() == text) {
        return Some(found);
    }
    let span = first.span.start..second.map_or(first.span.end, |word| word.span.end);
    let note = notes.error(span, format!("`{text}` is nothing that the watch sees"));
    match nearest(&text, violations().map(Class::name).chain([SILENT])) {
        Some(near) => note.help(format!("did you mean `{near}`?")),
        None => note.help(format!("write {} or `{SILENT}`", listed(violations().map(Class::name)))),
    };
    None
}

fn argument(
    clause: &Word,
    words: &mut Words,
    world: &World,
    notes: &mut Notes,
    expected: &mut WatchExpectation,
) -> Option<()> {
    let (sections, example): (&[Section], &str) = match clause.text.as_str() {
        "from" => (NODES, "from vm1"),
        "via" => (&[Section::Hosts], "via net1"),
        _ => (&[Section::Networks], "on public"),
    };
    let Some(name) = words.take() else {
        notes.error(clause.span.clone(), format!("`{}` needs a name", clause.text)).help(format!("write `{example}`"));
        return None;
    };
    if !known(&name.text, &name.span, sections, world, notes) {
        return None;
    }
    match clause.text.as_str() {
        "from" => expected.from = Name::new(name.text).ok(),
        "via" => expected.via = HostName::new(name.text).ok(),
        _ => expected.on = Name::new(name.text).ok(),
    }
    Some(())
}

/// What was deleted may still be seen.
fn known(name: &str, span: &Span, sections: &[Section], world: &World, notes: &mut Notes) -> bool {
    sections.iter().any(|section| world.was_ever(name, *section)) || world.resolve(name, sections, span, notes)
}

impl WatchExpectation {
    /// Whether this is what was found; `sighted` are those frames of it that are meant, none those that were only counted.
    pub fn covers(&self, finding: &Finding, sighted: Option<&Sighted>) -> bool {
        let from = match (&self.from, sighted) {
            (None, _) => true,
            (Some(from), Some(sighted)) => sighted.from.as_deref() == Some(from.as_str()),
            // Of what was only counted nobody knows the sender: it is taken for one that was seen in the same place.
            (Some(from), None) => finding.sighted.iter().any(|one| one.from.as_deref() == Some(from.as_str())),
        };
        self.class == Some(finding.class)
            && from
            && self.via.as_ref().is_none_or(|host| *host == finding.host)
            && self.on.as_ref().is_none_or(|network| network.as_str() == finding.network.as_str())
    }
}
