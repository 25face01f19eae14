//! The crate in somebody else's `cargo test`.
//!
//! In: a scenario, as a file or as text. Out: a [`Run`], or a failed test that says what went otherwise. Never: a lab in the process
//! of the test, a test that passes because this machine could not run it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::harness::{self, HarnessError, Job, Overrides};
use crate::record::{Outcome, Record};
use crate::report;
use crate::scenario;
use crate::snapshot::{self, Difference};

/// Runs a scenario file as the body of a test: its path is relative to the root of the package that the test is in.
///
/// Every sentence must hold, nothing may have leaked, and the two snapshots must be as committed, in `snapshots/` beside the
/// `scenarios/` that the file is in (beside the file itself, if it is in none). `INSTA_UPDATE=always cargo test` writes them. It
/// is an expression of type [`Run`], for a test that looks further.
///
/// ```no_run
/// #[test]
/// fn source_nat() {
///     dvrlab::scenario!("scenarios/snat.yaml");
/// }
/// ```
///
/// # Panics
/// If anything is otherwise, with the report that `dvrlab run` prints; where this machine cannot run labs, with the remedy.
#[macro_export]
macro_rules! scenario {
    ($path:expr) => {
        $crate::Test::file(::std::path::Path::new(::core::env!("CARGO_MANIFEST_DIR")).join($path)).check()
    };
}

/// A scenario that is to run as a test.
///
/// ```no_run
/// let run = dvrlab::Test::file("scenarios/snat.yaml").deviations("none").without_snapshots().check();
/// assert!(run.reach().contains("as 203.0.113.10 via net1"));
/// ```
#[derive(Debug, Clone)]
pub struct Test {
    path: PathBuf,
    /// Its text, if it is in no file.
    text: Option<String>,
    deviations: Option<String>,
    rules: Option<String>,
    prove_watch: bool,
    snapshots: Snapshots,
}

/// Where the snapshots of a test are.
#[derive(Debug, Clone)]
enum Snapshots {
    /// Beside the scenario.
    Beside,
    /// In this directory.
    In(PathBuf),
    /// There are none.
    None,
}

impl Test {
    /// A scenario file. Under `cargo test` a relative path begins at the root of the test's package.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let (deviations, rules) = (None, None);
        Self { path: path.into(), text: None, deviations, rules, prove_watch: false, snapshots: Snapshots::Beside }
    }

    /// A scenario given as text. `name` stands for the file's in messages; there are no snapshots unless
    /// [`snapshots`](Self::snapshots) says where.
    pub fn text(name: &str, yaml: &str) -> Self {
        Self { text: Some(yaml.to_owned()), snapshots: Snapshots::None, ..Self::file(name) }
    }

    /// Switches deviations from the real agent, over what the scenario says: `none`, or `drop-invalid=false,...`.
    #[must_use]
    pub fn deviations(mut self, list: &str) -> Self {
        self.deviations = Some(list.to_owned());
        self
    }

    /// How iptables rules are written and read, over what the scenario says: `nftables` (by netlink) or `iptables` (by its
    /// programs, which the machine must have).
    #[must_use]
    pub fn rules(mut self, way: &str) -> Self {
        self.rules = Some(way.to_owned());
        self
    }

    /// Has the watch for leaks prove itself: before the first step and after the last a frame of every class is sent from every
    /// host's end of every provider segment, and each must be seen.
    #[must_use]
    pub fn prove_watch(mut self) -> Self {
        self.prove_watch = true;
        self
    }

    /// Keeps the snapshots in this directory.
    #[must_use]
    pub fn snapshots(mut self, directory: impl Into<PathBuf>) -> Self {
        self.snapshots = Snapshots::In(directory.into());
        self
    }

    /// Compares with no snapshots: the scenario's own sentences and the watch must do.
    #[must_use]
    pub fn without_snapshots(mut self) -> Self {
        self.snapshots = Snapshots::None;
        self
    }

    /// Runs it in a sandbox of its own, at most two at a time in this process. Snapshots are left alone.
    ///
    /// # Errors
    /// [`TestError`] if it was not run to its end. A scenario that fails was: [`Run::passed`] tells.
    pub fn run(&self) -> Result<Run, TestError> {
        // In messages, as short as it can be.
        let here = std::env::current_dir().ok();
        let shown = here.and_then(|here| self.path.strip_prefix(here).ok()).unwrap_or(&self.path);
        let path = shown.to_string_lossy().into_owned();
        let text = match &self.text {
            Some(text) => text.clone(),
            None => {
                fs::read_to_string(&self.path).map_err(|source| TestError::File { path: self.path.clone(), source })?
            }
        };
        // Mistakes first, in full: they need no lab.
        scenario::parse(&path, &text)
            .map_err(|notes| TestError::Mistake(scenario::render(&notes, &text, &path, false)))?;
        let deviations = self.deviations.as_deref().map(str::parse).transpose();
        let rules = self.rules.as_deref().map(str::parse).transpose();
        let overrides = Overrides {
            deviations: deviations.map_err(|error| TestError::Option(format!("{error}")))?.unwrap_or_default(),
            rules: rules.map_err(|error: crate::backend::NoBackend| TestError::Option(error.to_string()))?,
            prove_watch: self.prove_watch,
            ..Overrides::default()
        };
        let _permit = Permit::wait();
        let job = Job::Scenario { path, text, log: None, hold: None, overrides };
        let record = harness::run_scenario(harness::this_program(), &job, &mut drop).map_err(no_record)?;
        Ok(Run { record })
    }

    /// Runs it, and compares with its snapshots.
    ///
    /// # Panics
    /// If it does not run, fails, or differs from its snapshots. With `INSTA_UPDATE=always` in the environment the snapshots are
    /// written instead.
    #[track_caller]
    pub fn check(&self) -> Run {
        let run = self.run().unwrap_or_else(|error| panic!("{error}"));
        let mut wrong = run.failures();
        if let Some(directory) = self.snapshot_directory() {
            let write = std::env::var_os("INSTA_UPDATE").is_some_and(|value| value == "always");
            wrong.push_str(&compared(&run.record, &directory, write));
        }
        assert!(wrong.is_empty() && run.passed(), "{}\n{wrong}", run.record.summary);
        run
    }

    fn snapshot_directory(&self) -> Option<PathBuf> {
        match &self.snapshots {
            Snapshots::Beside => Some(snapshot::place_of(&self.path).unwrap_or_else(|| {
                self.path.parent().map_or_else(|| PathBuf::from("snapshots"), |parent| parent.join("snapshots"))
            })),
            Snapshots::In(directory) => Some(directory.clone()),
            Snapshots::None => None,
        }
    }
}

/// How the snapshots differ, in words; nothing if they do not, or are written.
fn compared(record: &Record, directory: &Path, write: bool) -> String {
    let mut wrong = String::new();
    for one in snapshot::of(record, directory) {
        let file = one.file.display();
        let told = match one.difference() {
            Ok(None) => continue,
            Ok(Some(_)) if write => match one.write() {
                Ok(()) => continue,
                Err(error) => format!("{file}: {error}"),
            },
            Ok(Some(Difference::Missing)) => {
                format!("{file} does not exist: `INSTA_UPDATE=always cargo test` writes it")
            }
            Ok(Some(Difference::Changed(diff))) => {
                format!(
                    "{file} differs (- snapshot, + this run; `INSTA_UPDATE=always cargo test` takes this run)\n{diff}"
                )
            }
            Err(error) => format!("{file}: {error}"),
        };
        wrong.push_str(&told);
        wrong.push('\n');
    }
    wrong
}

/// What came of a scenario.
#[derive(Debug, Clone)]
pub struct Run {
    record: Record,
}

impl Run {
    /// Whether every sentence held, nothing leaked, the kernel held what it should, and nothing was left at the end.
    pub fn passed(&self) -> bool {
        self.record.outcome == Outcome::Passed
    }

    /// What did not, each with the way of a packet that shows it; empty if it passed.
    pub fn failures(&self) -> String {
        report::failures(&self.record)
    }

    /// Who reached whom, as which source, through which host: after the first step, then the lines that each later step changed.
    /// It is the text of the snapshot `NAME.reach.snap`.
    pub fn reach(&self) -> String {
        report::reach(&self.record)
    }

    /// What stood in each namespace, and what each step changed of it, as `NAME.rules.snap` has it.
    pub fn rules(&self) -> String {
        report::rules(&self.record)
    }

    /// The record as JSON, of the schema that `dvrlab schema record` prints.
    ///
    /// # Errors
    /// None of a record that a run gave; the signature is `serde_json`'s.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(&self.record)
    }
}

/// Why a scenario was not run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The scenario has mistakes: all of them, with their places.
    #[error("{0}")]
    Mistake(String),
    /// There is no such deviation, or no such way of writing rules.
    #[error("{0}")]
    Option(String),
    /// This machine cannot run labs.
    #[error("{reason}\n{remedy}")]
    NoLab {
        /// What it refused.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// This machine lacks what this scenario needs.
    #[error("{0}")]
    Unsupported(String),
    /// The lab did not come to the scenario's end.
    #[error("{0}")]
    Lab(String),
}

/// Why there is no record, to those who know nothing of harnesses.
fn no_record(error: HarnessError) -> TestError {
    match error {
        HarnessError::Sandbox(error) => {
            TestError::NoLab { reason: error.to_string(), remedy: error.remedy().unwrap_or_default() }
        }
        HarnessError::Unsupported(text) => TestError::Unsupported(text),
        HarnessError::Lab(_)
        | HarnessError::Stopped
        | HarnessError::Ended { .. }
        | HarnessError::Pipe(_)
        | HarnessError::Garbled(_) => TestError::Lab(error.to_string()),
    }
}

/// Labs that stand at once in a process: the kernel takes labs down one by one, so that more only wait for each other.
const LABS: usize = 2;

static STANDING: Mutex<usize> = Mutex::new(0);
static GONE: Condvar = Condvar::new();

/// The right to one lab.
struct Permit;

impl Permit {
    fn wait() -> Self {
        let standing = GONE.wait_while(standing(), |standing| *standing >= LABS);
        *standing.unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *standing() -= 1;
        GONE.notify_one();
    }
}

fn standing() -> MutexGuard<'static, usize> {
    STANDING.lock().unwrap_or_else(PoisonError::into_inner)
}
