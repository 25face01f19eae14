//! Sentences about what a place has been through: `cmp1: stale`, `cmp1/qrouter-r1: keeps rule from 10.0.1.11 since down`.

use super::expectation::{Course, CourseExpectation, StatePlace};
use super::note::Notes;
use super::state;
use super::words::{Word, Words};
use super::world::World;
use crate::namespace::Kind;

/// Words that such sentences begin with.
pub(super) const FIRST: [&str; 4] = ["stale", "in", "unchanged", "keeps"];

/// Whether it is such a sentence.
pub(super) fn begins(words: &Words) -> bool {
    words.peek_text().is_some_and(|word| FIRST.contains(&word))
}

/// Reads one sentence. What is wrong is noted.
pub(super) fn read(
    place: &StatePlace,
    mut words: Words,
    world: &World,
    notes: &mut Notes,
) -> Option<CourseExpectation> {
    let first = words.take()?;
    if matches!(first.text.as_str(), "unchanged" | "keeps") {
        return history(place, &first, words, world, notes);
    }
    let what = if first.text == "stale" {
        Course::Stale
    } else if words.take_if("sync").is_some() {
        Course::InSync
    } else {
        notes.error(words.place(), "`in` begins `in sync`").help("write `in sync`");
        return None;
    };
    if let Some(more) = words.take() {
        notes.error(more.span, format!("`{}` does not belong here", more.text)).help(format!("`{what}` stands alone"));
        return None;
    }
    if matches!(place, StatePlace::Namespace(..) | StatePlace::Node(_)) {
        notes
            .error(first.span, format!("`{place}` has no agent that could be told anything"))
            .help("the subject is a host, or `all`");
        return None;
    }
    Some(CourseExpectation { place: place.clone(), what })
}

/// Reads `unchanged [since STEP]` or `keeps KIND TEXT [since STEP]`.
fn history(
    place: &StatePlace,
    first: &Word,
    mut words: Words,
    world: &World,
    notes: &mut Notes,
) -> Option<CourseExpectation> {
    if first.text == "unchanged" {
        let since = since(&words.rest(), world, notes).ok()?;
        return Some(CourseExpectation { place: place.clone(), what: Course::Unchanged(since) });
    }
    let kind = state::kind(first, &mut words, notes)?;
    if kind == Kind::Conntrack {
        notes
            .error(first.span.clone(), "connections come and go by themselves")
            .help("write `has conntrack TEXT` or `no conntrack TEXT`");
        return None;
    }
    let rest = words.rest();
    let ended = rest.iter().rposition(|word| word.text == "since").unwrap_or(rest.len());
    let (pattern, end) = rest.split_at_checked(ended)?;
    let since = since(end, world, notes).ok()?;
    let pattern = pattern.iter().map(|word| word.text.clone()).collect();
    Some(CourseExpectation { place: place.clone(), what: Course::Keeps { kind, pattern, since } })
}

/// Something was wrong, and is noted.
struct Noted;

/// Reads `since STEP`, or nothing. What is wrong is noted, and then there is an error.
fn since(words: &[Word], world: &World, notes: &mut Notes) -> Result<Option<usize>, Noted> {
    match words {
        [] => Ok(None),
        [since, step] if since.text == "since" => {
            let found = world.running.step(&step.text);
            if found.is_none() {
                notes
                    .error(step.span.clone(), format!("there is no earlier step `{}`", step.text))
                    .help("write the name or the number of a step further up");
            }
            found.map(Some).ok_or(Noted)
        }
        [since] if since.text == "since" => {
            notes.error(since.span.clone(), "`since` needs a step").help("write its name or its number");
            Err(Noted)
        }
        [word, ..] => {
            notes
                .error(word.span.clone(), format!("`{}` does not belong here", word.text))
                .help("the sentence may end with `since STEP`");
            Err(Noted)
        }
    }
}
