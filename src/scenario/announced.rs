//! Sentences about who announces an address: `203.0.113.101: announced by cmp2 1 times`.

use std::net::IpAddr;

use super::note::{Notes, Span};
use super::values;
use super::words::Words;
use super::world::World;
use crate::api::Section;
use crate::name::HostName;

/// What must be seen of announcements of an address in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnouncedExpectation {
    /// Which.
    pub address: IpAddr,
    /// By whom; none: by nobody.
    pub by: Option<Announcer>,
}

/// Who announces an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcer {
    /// The host, and no other.
    pub host: HostName,
    /// How often; none: at least once.
    pub times: Option<usize>,
}

/// More than that many announcements in a step are not counted out.
const MOST: u32 = 1000;

/// Whether a sentence is one of these.
pub(super) fn begins(words: &Words) -> bool {
    matches!(words.peek_text(), Some("announced" | "not"))
}

/// Reads one sentence about the address. What is wrong is noted.
pub(super) fn read(
    address: IpAddr,
    mut words: Words,
    world: &World,
    notes: &mut Notes,
) -> Option<AnnouncedExpectation> {
    let form = "write `announced by HOST`, `announced by HOST 1 times` or `not announced`";
    let first = words.take()?;
    let by = if first.text == "not" {
        if words.take_if("announced").is_none() {
            notes.error(first.span, "not what?").help(form);
            return None;
        }
        None
    } else {
        Some(announcer(&first.span, &mut words, world, notes, form)?)
    };
    if let Some(more) = words.take() {
        notes.error(more.span, format!("`{}` does not belong here", more.text)).help(form);
        return None;
    }
    Some(AnnouncedExpectation { address, by })
}

fn announcer(first: &Span, words: &mut Words, world: &World, notes: &mut Notes, form: &str) -> Option<Announcer> {
    let named = words.take_if("by").and_then(|_| words.take());
    let Some(named) = named else {
        notes.error(first.clone(), "`announced` needs who does it").help(form);
        return None;
    };
    if !world.resolve(&named.text, &[Section::Hosts], &named.span, notes) {
        return None;
    }
    let host = HostName::new(&named.text).ok()?;
    let Some(number) = words.take() else { return Some(Announcer { host, times: None }) };
    let times = match values::integer(&number.text, 1, MOST) {
        Ok(times) => times,
        Err(wrong) => {
            notes.error(number.span, wrong.message).help(wrong.help);
            return None;
        }
    };
    if words.take_if("times").is_none() {
        notes.error(number.span, "after a number `times` is missing").help(form);
        return None;
    }
    Some(Announcer { host, times: usize::try_from(times).ok() })
}
