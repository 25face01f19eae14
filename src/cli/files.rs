//! Scenario files from paths.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Color, EXIT_BAD_INPUT, EXIT_NOTHING, err};
use crate::scenario::{self, Scenario};

/// Which scenarios.
#[derive(Debug, clap::Args)]
pub(super) struct Selection {
    /// Scenario files, or directories of them.
    #[arg(default_value = "scenarios")]
    paths: Vec<PathBuf>,
    /// Only scenarios whose name contains this, or that have it as a tag. May be given several times: any of them will do.
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// Only every Nth of what is left then, beginning with the Mth: `1/4`.
    #[arg(long, value_name = "M/N", value_parser = shard)]
    shard: Option<(usize, usize)>,
}

fn shard(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(m, n)| Some((m.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((m, n)) if (1..=n).contains(&m) => Ok((m, n)),
        Some(_) | None => Err("write M/N with M from 1 to N".to_owned()),
    }
}

impl Selection {
    /// Reads them; what is wrong, or that there are none, is printed before the exit code is given.
    pub(super) fn load(&self, color: Color) -> Result<Vec<Loaded>, i32> {
        let (first, every) = self.shard.unwrap_or((1, 1));
        let all = load(&self.paths, color)?.into_iter().filter(|one| self.wants(&one.scenario));
        let selected: Vec<Loaded> =
            all.enumerate().filter(|(n, _)| n % every == first - 1).map(|(_, one)| one).collect();
        if selected.is_empty() {
            err("error: no scenario is selected (`dvrlab list` shows names and tags)\n");
            return Err(EXIT_NOTHING);
        }
        Ok(selected)
    }

    /// Files and directories, as given.
    pub(super) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// As [`Self::load`], of those files only, by their real paths. Perhaps none of them is a scenario.
    pub(super) fn load_touched(&self, touched: &BTreeSet<PathBuf>, color: Color) -> Result<Vec<Loaded>, i32> {
        let is_touched = |file: &PathBuf| fs::canonicalize(file).is_ok_and(|real| touched.contains(&real));
        let files = collect(&self.paths)?.into_iter().filter(is_touched).collect();
        Ok(read(files, color)?.into_iter().filter(|one| self.wants(&one.scenario)).collect())
    }

    fn wants(&self, scenario: &Scenario) -> bool {
        let matches = |text: &String| scenario.name.contains(text) || scenario.tags.contains(text);
        self.filter.is_empty() || self.filter.iter().any(matches)
    }
}

/// A scenario with the file it came from.
pub(super) struct Loaded {
    pub(super) file: PathBuf,
    pub(super) text: String,
    pub(super) scenario: Scenario,
}

/// Reads all scenarios of `paths`; every mistake of every file is printed before the exit code is given.
pub(super) fn load(paths: &[PathBuf], color: Color) -> Result<Vec<Loaded>, i32> {
    read(collect(paths)?, color)
}

fn read(files: Vec<PathBuf>, color: Color) -> Result<Vec<Loaded>, i32> {
    let color = color.wanted(io::IsTerminal::is_terminal(&io::stderr()));
    let mut loaded = Vec::new();
    let mut bad = false;
    for file in files {
        let path = file.to_string_lossy().into_owned();
        match fs::read_to_string(&file) {
            Err(error) => {
                err(&format!("error: {path}: {error}\n"));
                bad = true;
            }
            Ok(text) => match scenario::parse(&path, &text) {
                Ok(scenario) => {
                    if !scenario.warnings.is_empty() {
                        err(&scenario::render(&scenario.warnings, &text, &path, color));
                    }
                    loaded.push(Loaded { file, text, scenario });
                }
                Err(notes) => {
                    err(&scenario::render(&notes, &text, &path, color));
                    bad = true;
                }
            },
        }
    }
    if bad { Err(EXIT_BAD_INPUT) } else { Ok(loaded) }
}

fn collect(paths: &[PathBuf]) -> Result<Vec<PathBuf>, i32> {
    let mut files = Vec::new();
    for path in paths {
        if let Err(error) = walk(path, true, &mut files) {
            err(&format!("error: {}: {error}\n", path.display()));
            return Err(EXIT_BAD_INPUT);
        }
    }
    if files.is_empty() {
        err("error: no scenario there (scenarios are files named *.yaml)\n");
        return Err(EXIT_NOTHING);
    }
    Ok(files)
}

/// A file as it is, a directory's `*.yaml` in order of name.
fn walk(path: &Path, named: bool, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if fs::metadata(path)?.is_dir() {
        let mut entries: Vec<PathBuf> =
            fs::read_dir(path)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
        entries.sort();
        for entry in entries {
            walk(&entry, false, files)?;
        }
    } else if named || path.extension().is_some_and(|extension| extension == "yaml") {
        files.push(path.to_owned());
    }
    Ok(())
}
