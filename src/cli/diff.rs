//! `dvrlab diff`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::{EXIT_BUG, EXIT_FAILED, EXIT_OK, err, out, records};
use crate::diff;

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The record before: a file that `run --json` wrote, or a directory of them.
    base: PathBuf,
    /// The record after.
    head: PathBuf,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// List what differs where no flow that changed came by, too.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a terminal.
    Text,
    /// For a comment on a pull request.
    Markdown,
    /// For programs.
    Json,
}

/// Says how behaviour differs: exit code 1 if it does.
pub(super) fn diff(arguments: &Arguments) -> i32 {
    let (base, head) = match (records::load(&arguments.base), records::load(&arguments.head)) {
        (Ok(base), Ok(head)) => (base, head),
        (Err(code), _) | (_, Err(code)) => return code,
    };
    let comparison = diff::compare(&base, &head);
    match arguments.format {
        Format::Text => out(&diff::text(&comparison, arguments.all)),
        Format::Markdown => out(&diff::markdown(&comparison)),
        Format::Json => match serde_json::to_string_pretty(&comparison) {
            Ok(text) => out(&format!("{text}\n")),
            Err(error) => {
                err(&format!("error: {error}\n"));
                return EXIT_BUG;
            }
        },
    }
    if comparison.behaviour_changed { EXIT_FAILED } else { EXIT_OK }
}
