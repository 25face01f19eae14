//! The files in `snapshots/`: where they are, what is in them, how they differ. The bytes are those that insta writes, so
//! that `run --accept` and `INSTA_UPDATE=always cargo test` leave the same.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use similar::TextDiff;

use crate::record::Record;
use crate::report;

/// The head that insta gives a snapshot asserted in `tests/scenarios.rs` without an expression.
const HEAD: &str = "---\nsource: tests/scenarios.rs\n---\n";

/// One of a scenario's two snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its file.
    pub file: PathBuf,
    /// What the run gives.
    pub text: String,
}

/// Why a snapshot is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// There is no such file yet.
    Missing,
    /// The texts differ: a unified diff, `-` the file, `+` this run.
    Changed(String),
}

/// The snapshots of a record below `directory`.
pub fn of(record: &Record, directory: &Path) -> [Snapshot; 2] {
    [("reach", report::reach(record)), ("rules", report::rules(record))]
        .map(|(what, text)| Snapshot { file: directory.join(format!("{}.{what}.snap", record.scenario)), text })
}

/// `snapshots/` beside the `scenarios/` that `scenario` lies in, whether it stands or not; none if the scenario lies elsewhere.
pub fn place_of(scenario: &Path) -> Option<PathBuf> {
    let scenario = fs::canonicalize(scenario).ok()?;
    let scenarios = scenario.ancestors().find(|directory| directory.ends_with("scenarios"))?;
    Some(scenarios.parent()?.join("snapshots"))
}

/// As [`place_of`], if it stands.
pub fn directory_of(scenario: &Path) -> Option<PathBuf> {
    place_of(scenario).filter(|directory| directory.is_dir())
}

impl Snapshot {
    /// How the file differs from this run; none if it does not.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn difference(&self) -> io::Result<Option<Difference>> {
        let found = match fs::read_to_string(&self.file) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Difference::Missing)),
            Err(error) => return Err(error),
        };
        let old = body(&found);
        if old.trim_end() == self.text.trim_end() {
            return Ok(None);
        }
        let diff = TextDiff::from_lines(old.trim_end(), self.text.trim_end())
            .unified_diff()
            .context_radius(2)
            .missing_newline_hint(false)
            .to_string();
        Ok(Some(Difference::Changed(diff)))
    }

    /// Writes the file as insta would.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self) -> io::Result<()> {
        if let Some(directory) = self.file.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(&self.file, format!("{HEAD}{}\n", self.text.trim_end()))
    }
}

/// What stands below insta's head.
fn body(file: &str) -> &str {
    file.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")).map_or(file, |(_, body)| body)
}
