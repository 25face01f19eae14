//! Sentences about an address: `203.0.113.101: status ACTIVE`.

use std::net::IpAddr;

use super::note::{Notes, Span, nearest};
use super::words::Words;
use super::world::World;
use crate::api::Section;

/// What the API shows of a floating IP. It is what agents report: an agent that does not run reports nothing, and one that
/// lost a floating IP reports that even where another serves it by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// An agent serves it.
    Active,
    /// None does, or none has said so.
    Down,
    /// An agent was to serve it and could not.
    Error,
}

impl Status {
    /// Every status, in the order of the reference.
    pub const ALL: [Self; 3] = [Self::Active, Self::Down, Self::Error];

    /// The API's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Down => "DOWN",
            Self::Error => "ERROR",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// What the API must show of a floating IP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusExpectation {
    /// The floating IP.
    pub address: IpAddr,
    /// Its status.
    pub status: Status,
}

/// Reads one sentence about the address that stands at `span`. What is wrong is noted.
pub(super) fn read(
    (address, span): (IpAddr, &Span),
    mut words: Words,
    world: &World,
    notes: &mut Notes,
) -> Option<StatusExpectation> {
    let first = words.take()?;
    if first.text != "status" {
        let message = format!("`{}` begins no sentence about an address", first.text);
        let help = match nearest(&first.text, ["status", "announced", "not"]) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write `status ACTIVE`, `announced by HOST` or `not announced`".to_owned(),
        };
        notes.error(first.span, message).help(help);
        return None;
    }
    if !world.resolve(&address.to_string(), &[Section::FloatingIps], span, notes) {
        return None;
    }
    let Some(word) = words.take() else {
        notes.error(first.span, "`status` needs a status").help("write `ACTIVE`, `DOWN` or `ERROR`");
        return None;
    };
    let Some(status) = Status::ALL.into_iter().find(|status| status.word() == word.text) else {
        let note = notes.error(word.span, format!("`{}` is no status of a floating IP", word.text));
        match nearest(&word.text.to_uppercase(), Status::ALL.map(Status::word)) {
            Some(near) => note.help(format!("did you mean `{near}`?")),
            None => note.help("write `ACTIVE`, `DOWN` or `ERROR`"),
        };
        return None;
    };
    if let Some(more) = words.take() {
        notes.error(more.span, format!("`{}` does not belong here", more.text)).help("a status is one word");
        return None;
    }
    Some(StatusExpectation { address, status })
}
