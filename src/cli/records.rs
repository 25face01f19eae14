//! Records from paths.

use std::fs;
use std::path::{Path, PathBuf};

use super::{EXIT_BAD_INPUT, EXIT_NOTHING, err, run};
use crate::record::{self, Record};

/// Reads all records of a file, or of the `*.json` in a directory; what is wrong is printed before the exit code is given.
pub(super) fn load(path: &Path) -> Result<Vec<Record>, i32> {
    let told = |file: &Path, error: &dyn std::error::Error| {
        err(&format!("error: {}: {}\n", file.display(), run::chain(error)));
        EXIT_BAD_INPUT
    };
    let files = files(path).map_err(|error| told(path, &error))?;
    let mut records: Vec<Record> = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| told(&file, &error))?;
        for record in record::read(&text).map_err(|error| told(&file, &error))? {
            if records.iter().any(|one| one.scenario == record.scenario) {
                err(&format!("error: {}: there are two records of {}\n", path.display(), record.scenario));
                return Err(EXIT_BAD_INPUT);
            }
            records.push(record);
        }
    }
    if records.is_empty() {
        err(&format!("error: {}: no record there (records are what `run --json` writes)\n", path.display()));
        return Err(EXIT_NOTHING);
    }
    Ok(records)
}

fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries: Vec<PathBuf> =
        fs::read_dir(path)?.map(|entry| entry.map(|found| found.path())).collect::<Result<_, _>>()?;
    let mut files: Vec<PathBuf> =
        entries.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "json")).collect();
    files.sort();
    Ok(files)
}
