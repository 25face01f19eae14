//! `dvrlab report`.

use std::path::PathBuf;

use super::{EXIT_BAD_INPUT, EXIT_OK, err, out, records};
use crate::report;

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Records: files that `run --json` wrote, or directories of them.
    #[arg(required = true, value_name = "RECORD")]
    records: Vec<PathBuf>,
    /// The file to write.
    #[arg(short, long, value_name = "FILE.html")]
    output: PathBuf,
}

/// Writes the page.
pub(super) fn report(arguments: &Arguments) -> i32 {
    let mut all = Vec::new();
    for path in &arguments.records {
        match records::load(path) {
            Ok(records) => all.extend(records),
            Err(code) => return code,
        }
    }
    all.sort_by(|one, other| one.scenario.cmp(&other.scenario));
    if let Some(twice) = all.windows(2).find_map(|pair| match pair {
        [one, other] if one.scenario == other.scenario => Some(&one.scenario),
        _ => None,
    }) {
        err(&format!("error: there are two records of {twice}\n"));
        return EXIT_BAD_INPUT;
    }
    match std::fs::write(&arguments.output, report::html(&all)) {
        Ok(()) => {
            out(&format!("wrote {}\n", arguments.output.display()));
            EXIT_OK
        }
        Err(error) => {
            err(&format!("error: {}: {error}\n", arguments.output.display()));
            EXIT_BAD_INPUT
        }
    }
}
