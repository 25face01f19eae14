//! What is kept of a run that failed: a directory for each scenario that did, and a link to the last run that had one.
//!
//! In: scenarios that failed, one by one. Out: `DIR/run-N/<scenario>/`, and `DIR/latest`. Never: a file of a run in which
//! all was well, nor of a scenario that was.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::super::files::Loaded;
use crate::capture::Section;
use crate::harness::StepCapture;
use crate::report::{self, Entry};

/// Name of the link.
const LATEST: &str = "latest";
/// Where bundles go unless told, if there is a build directory.
const BUILD: &str = "target";
const OWN: &str = "dvrlab";

/// The bundle of a run.
pub(super) struct Bundle {
    /// Where runs are kept; none if there is nowhere.
    root: Option<PathBuf>,
    /// This one's directory, once something failed.
    run: Option<PathBuf>,
}

impl Bundle {
    /// Below `asked`; else below `target/`, where cargo has made one; else nowhere.
    pub(super) fn new(asked: Option<&Path>) -> Self {
        let build = Path::new(BUILD);
        let root = asked.map(Path::to_owned).or_else(|| build.is_dir().then(|| build.join(OWN)));
        Self { root, run: None }
    }

    /// Where it is, if there is one.
    pub(super) fn directory(&self) -> Option<&Path> {
        self.run.as_deref()
    }

    /// Keeps what there is of a scenario that failed.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn keep(&mut self, source: &Loaded, entry: &Entry, captured: &[StepCapture]) -> io::Result<()> {
        let Some(root) = &self.root else { return Ok(()) };
        let run = match &self.run {
            Some(run) => run.clone(),
            None => self.run.insert(begin(root)?).clone(),
        };
        let place = run.join(&entry.name);
        fs::create_dir_all(&place)?;
        fs::write(place.join("scenario.yaml"), &source.text)?;
        if let Some(record) = &entry.record {
            fs::write(place.join("record.json"), serde_json::to_vec_pretty(record)?)?;
            fs::write(place.join("plan.txt"), report::plan(record))?;
        }
        fs::write(place.join("why.txt"), report::wrong(entry))?;
        if !captured.is_empty() {
            fs::write(place.join("excerpt.pcapng"), excerpt(entry, captured))?;
        }
        Ok(())
    }
}

/// Makes the next run's directory and has the link lead there.
fn begin(root: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(root)?;
    // What has another name is not ours.
    let number = |name: &OsStr| name.to_str()?.strip_prefix("run-")?.parse::<u32>().ok();
    let mut next: u64 = 1;
    for entry in fs::read_dir(root)? {
        let taken = number(&entry?.file_name()).map_or(0, u64::from);
        next = next.max(taken + 1);
    }
    let name = loop {
        let name = format!("run-{next}");
        match fs::create_dir(root.join(&name)) {
            Ok(()) => break name,
            // Another run has just taken it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => next += 1,
            Err(error) => return Err(error),
        }
    };
    let made = root.join(format!("{LATEST}-{next}"));
    symlink(&name, &made)?;
    fs::rename(made, root.join(LATEST))?;
    Ok(root.join(name))
}

/// All namespaces in one file, each device by its namespace and its name.
fn excerpt(entry: &Entry, captured: &[StepCapture]) -> Vec<u8> {
    let mut section = Section::new(&format!("{}: frames about what failed", entry.name));
    for step in captured {
        let title = report::title_of(step.number, step.name.as_deref());
        for frame in &step.capture.frames {
            let mut notes = vec![title.clone()];
            notes.extend(frame.notes.iter().cloned());
            section.add(&format!("{} {}", frame.place, frame.device), frame, &notes);
        }
    }
    section.take()
}
