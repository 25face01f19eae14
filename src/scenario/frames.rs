//! Sentences about the frames on a segment: `red: has frame arp request 10.0.1.1 from vm1`.

use super::expectation::{FrameExpectation, Mismatch, Quantity};
use super::note::{Notes, nearest};
use super::pattern::matches;
use super::state;
use super::words::Words;
use super::world::World;
use super::yaml::Entry;
use crate::api::Section;
use crate::name::{Id, Name};
use crate::topology::Segment;

/// What a subject says that is about what joins the hosts.
pub(super) const UNDERLAY: &str = "underlay";
/// The only kind of object that a segment has.
pub(super) const KIND: &str = "frame";
/// So many frames are shown where none is as expected.
const SHOWN: usize = 8;

/// The segment that a subject names, if it names one.
pub(super) fn segment(entry: &Entry, world: &World) -> Option<Segment> {
    if entry.key == UNDERLAY {
        return Some(Segment::Underlay);
    }
    let name = Name::new(&entry.key).ok().filter(|name| name.as_str() != state::EVERYWHERE)?;
    let is_network = world.section_of(&entry.key) == Some(Section::Networks);
    is_network.then(|| Segment::Network(Id::from(&name)))
}

/// Reads one sentence about the frames on a segment. What is wrong is noted.
pub(super) fn read(on: &Segment, mut words: Words, notes: &mut Notes) -> Option<FrameExpectation> {
    let form = "write `has frame TEXT`, `has N frame TEXT` or `no frame TEXT`";
    let verb = words.take()?;
    if !state::counts(&verb) {
        let note = notes.error(verb.span, format!("`{}` begins no sentence about a segment", verb.text));
        match nearest(&verb.text, ["has", "no"]) {
            Some(near) => note.help(format!("did you mean `{near}`?")),
            None => note.help(form),
        };
        return None;
    }
    let quantity = state::quantity(&verb, &mut words, notes)?;
    let Some(kind) = words.take() else {
        notes.error(verb.span.clone(), format!("`{}` what?", verb.text)).help(form);
        return None;
    };
    if kind.text != KIND {
        notes
            .error(kind.span, format!("a segment has no `{}`: it has frames", kind.text))
            .help(format!("{form}, or name a host, a namespace or a node before the `:`"));
        return None;
    }
    let pattern = words.rest().into_iter().map(|word| word.text).collect();
    Some(FrameExpectation { on: on.clone(), quantity, pattern })
}

impl FrameExpectation {
    /// What does not hold. `all` are the frames that were on the segment, printed.
    pub fn judge(&self, all: &[String]) -> Option<Mismatch> {
        let found: Vec<&String> = all.iter().filter(|line| matches(&self.pattern, line)).collect();
        let what = std::iter::once(KIND).chain(self.pattern.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
        let on = match &self.on {
            Segment::Network(id) => id.as_str(),
            Segment::Underlay => UNDERLAY,
        };
        let sentence = match (self.quantity, found.len()) {
            (Quantity::None, 0) => return None,
            (Quantity::Some, count) if count > 0 => return None,
            (Quantity::Exactly(number), count) if count == number => return None,
            (Quantity::None, _) => format!("{on}: there was {what}:{}", listed(&found)),
            (Quantity::Exactly(number), count) if count > 0 => {
                format!("{on}: {count} match {what}, not {number}:{}", listed(&found))
            }
            (Quantity::Some | Quantity::Exactly(_), _) if all.is_empty() => {
                format!("{on}: there was no {what}, nor any other")
            }
            (Quantity::Some | Quantity::Exactly(_), _) => {
                format!("{on}: there was no {what}, but among {} others:{}", all.len(), listed(&self.most_alike(all)))
            }
        };
        Some(Mismatch { sentence, flow: None })
    }

    /// Those first that have most of the pattern's words.
    fn most_alike<'a>(&self, all: &'a [String]) -> Vec<&'a String> {
        let alike =
            |line: &String| self.pattern.iter().filter(|word| matches(std::slice::from_ref(word), line)).count();
        let mut sorted: Vec<&String> = all.iter().collect();
        sorted.sort_by_key(|line| std::cmp::Reverse(alike(line)));
        sorted
    }
}

/// A line each, those that are the same together.
fn listed(lines: &[&String]) -> String {
    let mut counts: Vec<(&String, usize)> = Vec::new();
    for line in lines {
        match counts.iter_mut().find(|(other, _)| other == line) {
            Some((_, count)) => *count += 1,
            None => counts.push((line, 1)),
        }
    }
    let shown = counts.iter().take(SHOWN).map(|(line, count)| match count {
        1 => format!("\n  {line}"),
        _ => format!("\n  {line} ({count} times)"),
    });
    let rest = counts.len().saturating_sub(SHOWN);
    shown.chain((rest > 0).then(|| format!("\n  and {rest} more"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(quantity: Quantity, pattern: &str) -> FrameExpectation {
        let pattern = pattern.split_whitespace().map(str::to_owned).collect();
        FrameExpectation { on: Segment::Underlay, quantity, pattern }
    }

    #[test]
    fn as_many_as_said_and_else_what_there_was() {
        let all =
            ["cmp1 > cmp2 red ip 10.0.1.11 > 10.0.2.11 icmp echo-request ttl 63", "arp request 10.0.1.1 from vm1"]
                .map(str::to_owned);
        assert_eq!(expected(Quantity::Some, "cmp1 > cmp2 red icmp ttl 63").judge(&all), None);
        assert_eq!(expected(Quantity::Exactly(1), "arp request").judge(&all), None);
        assert_eq!(expected(Quantity::None, "arp reply").judge(&all), None);
        let sentence = |quantity, pattern| expected(quantity, pattern).judge(&all).unwrap().sentence;
        assert_eq!(sentence(Quantity::None, "arp"), "underlay: there was frame arp:\n  arp request 10.0.1.1 from vm1");
        let nearest = sentence(Quantity::Some, "arp request 10.0.1.9");
        assert!(nearest.starts_with(
            "underlay: there was no frame arp request 10.0.1.9, but among 2 others:\n  arp request 10.0.1.1 from vm1\n"
        ));
        assert_eq!(
            expected(Quantity::Some, "arp").judge(&[]).unwrap().sentence,
            "underlay: there was no frame arp, nor any other"
        );
        let twice = [all[1].clone(), all[1].clone()];
        assert_eq!(
            expected(Quantity::Exactly(1), "arp").judge(&twice).unwrap().sentence,
            "underlay: 2 match frame arp, not 1:\n  arp request 10.0.1.1 from vm1 (2 times)"
        );
    }
}
