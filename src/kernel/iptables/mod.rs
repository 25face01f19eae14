//! iptables rules by the programs of that name.
//!
//! In: an open [`Netns`] and changes. Out: the programs' output, typed or as it is. Never: the programs of the old kernel
//! interface (`iptables-legacy`), whose rules would stand beside those of nf_tables.
//!
//! The programs change one table at a time: between two of them a packet meets new rules in the one and old in the other.
//! Plans stand that, since what forwards new traffic is steered after all rules are in and before any goes.

mod restore;
mod save;
#[cfg(test)]
mod tests;

use super::Netns;
use super::command::{self, CommandError, Filtered};
use crate::namespace::Ruleset;
use crate::net::Family;
use crate::plan::RuleChanges;

/// What every program of the new interface says of itself.
const INTERFACE: &str = "nf_tables";

/// Why the programs did not do it.
#[derive(Debug, thiserror::Error)]
pub enum IptablesError {
    /// A program could not be run.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A program ran and failed.
    #[error("{program}: {said}{}", line.as_ref().map(|line| format!(" (`{line}`)")).unwrap_or_default())]
    Refused {
        /// Which.
        program: &'static str,
        /// Its own words.
        said: String,
        /// The line of its input that it names.
        line: Option<String>,
    },
}

/// Why this back end cannot be had here.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// A program is not installed.
    #[error("{0} is not installed (package iptables)")]
    Missing(&'static str),
    /// It is that of the old interface.
    #[error("{program} is not that of nf_tables but {version}: choose it with update-alternatives")]
    Legacy {
        /// Which.
        program: &'static str,
        /// What it says of itself.
        version: String,
    },
    /// It does not even say what it is.
    #[error(transparent)]
    Iptables(#[from] IptablesError),
}

fn save_program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables-save",
        Family::V6 => "ip6tables-save",
    }
}

fn restore_program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables-restore",
        Family::V6 => "ip6tables-restore",
    }
}

/// Whether the programs are here and are those of nf_tables.
///
/// # Errors
/// [`Unavailable`] says what is missing.
pub fn available() -> Result<(), Unavailable> {
    for family in Family::BOTH {
        for program in [save_program(family), restore_program(family)] {
            if !command::exists(program) {
                return Err(Unavailable::Missing(program));
            }
            let version = finished(program, "", command::filter(None, program, &["--version"], ""))?;
            if !version.contains(INTERFACE) {
                return Err(Unavailable::Legacy { program, version: version.trim().to_owned() });
            }
        }
    }
    Ok(())
}

/// The rules of a family.
///
/// # Errors
/// [`IptablesError`].
pub fn read(netns: &Netns, family: Family) -> Result<Ruleset, IptablesError> {
    Ok(save::parse(&run(netns, save_program(family), &[], "")?))
}

/// The rules of a family as the program prints them, `TABLE RULE`, unparsed.
///
/// # Errors
/// [`IptablesError`].
pub fn saved_lines(netns: &Netns, family: Family) -> Result<Vec<String>, IptablesError> {
    Ok(save::plain_lines(&run(netns, save_program(family), &[], "")?))
}

/// Makes the changes, IPv4's first. Of those of one table all are made or none.
///
/// # Errors
/// [`IptablesError`]; tables before the one that failed have changed.
pub fn commit(netns: &Netns, changes: &RuleChanges) -> Result<(), IptablesError> {
    for family in Family::BOTH {
        if let Some(text) = restore::text(changes, family) {
            run(netns, restore_program(family), &["--noflush"], &text)?;
        }
    }
    Ok(())
}

fn run(netns: &Netns, program: &'static str, arguments: &[&str], input: &str) -> Result<String, IptablesError> {
    finished(program, input, command::filter(Some(netns), program, arguments, input))
}

/// What a program wrote, or why it failed.
fn finished(
    program: &'static str,
    input: &str,
    result: Result<Filtered, CommandError>,
) -> Result<String, IptablesError> {
    let Filtered { status, output, errors } = result?;
    if status.success() {
        return Ok(output);
    }
    let said = errors.lines().find(|line| !line.trim().is_empty()).unwrap_or("failed without a word").trim();
    let line = line_named(said).and_then(|number| input.lines().nth(number.checked_sub(1)?));
    let said = said.strip_prefix(program).unwrap_or(said).trim_start_matches([':', ' ']).to_owned();
    Err(IptablesError::Refused { program, said, line: line.map(str::to_owned) })
}

/// The number in `... line 5: RULE_INSERT failed` and in `Error occurred at line: 5`.
fn line_named(said: &str) -> Option<usize> {
    let (_, rest) = said.split_once("line")?;
    let rest = rest.trim_start_matches([':', ' ']);
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}
