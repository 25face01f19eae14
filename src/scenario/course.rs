//! Sentences about what a place has been through: `cmp1: stale`.

use super::expectation::{Course, CourseExpectation, StatePlace};
use super::note::Notes;
use super::words::Words;

/// Words that such sentences begin with.
pub(super) const FIRST: [&str; 2] = ["stale", "in"];

/// Whether it is such a sentence.
pub(super) fn begins(words: &Words) -> bool {
    words.peek_text().is_some_and(|word| FIRST.contains(&word))
}

/// Reads one sentence. What is wrong is noted.
pub(super) fn read(place: &StatePlace, mut words: Words, notes: &mut Notes) -> Option<CourseExpectation> {
    let first = words.take()?;
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
