//! What several test binaries share: the built program, and a limit to the labs that stand side by side.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::print_stderr,
    reason = "each test binary uses its own part"
)]

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use dvrlab::harness::{Job, Overrides, run_scenario};
use dvrlab::record::Record;

/// The part that many scenarios have in common: a router with one subnet, its gateway on `net1`, and a compute host.
pub const ONE_ROUTER: &str = "hosts:
  net1: { mode: dvr_snat }
  cmp1: { mode: dvr }
networks:
  public: { external: true }
  red:    {}
subnets:
  public4: { network: public, cidr: 203.0.113.0/24 }
  red4:    { network: red, cidr: 10.0.1.0/24 }
routers:
  r1: { interfaces: [red4], gateway: { network: public, address: 203.0.113.10 } }
";

/// The built program.
pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_dvrlab"))
}

/// A file or directory of the project.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Every scenario file.
pub fn scenario_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![project("scenarios")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).expect("scenarios/ can be read") {
            let path = entry.expect("scenarios/ can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == "yaml") {
                files.push(path);
            }
        }
    }
    files
}

/// True if the author of this run has asked for the tests that need labs to be left out. Nothing else leaves them out: where
/// no lab can be made they fail and say how to get one.
pub fn labs_are_skipped() -> bool {
    let skipped = std::env::var_os("DVRLAB_SKIP_LABS").is_some_and(|value| value == "1");
    if skipped {
        eprintln!("left out, since DVRLAB_SKIP_LABS=1: tests that need a lab");
    }
    skipped
}

/// Runs a scenario file and gives its record; panics with the remedy where no lab can be had.
pub fn record_of(file: &Path) -> Record {
    let text = std::fs::read_to_string(file).expect("the scenario can be read");
    record_of_text(&file.to_string_lossy(), text)
}

/// Runs a scenario given as text.
pub fn record_of_text(path: &str, text: String) -> Record {
    record_with(path, text, Overrides::default())
}

/// Runs a scenario given as text, with what a command line may decide.
pub fn record_with(path: &str, text: String, overrides: Overrides) -> Record {
    let _permit = Permit::wait();
    let job = Job::Scenario { path: path.to_owned(), text, log: None, hold: None, overrides };
    match run_scenario(program(), &job, &mut |_step| {}) {
        Ok(record) => record,
        Err(dvrlab::harness::HarnessError::Sandbox(error)) => panic!("{error}\n{}", error.remedy().unwrap_or_default()),
        Err(error) => panic!("{path}: {error}"),
    }
}

/// Runs a scenario that must end as unsupported, and gives the reason.
pub fn unsupported(path: &str, text: String) -> String {
    let job = Job::Scenario { path: path.to_owned(), text, log: None, hold: None, overrides: Overrides::default() };
    match run_scenario(program(), &job, &mut |_step| {}) {
        Err(dvrlab::harness::HarnessError::Unsupported(told)) => told,
        Err(error) => panic!("{path}: {error}"),
        Ok(_) => panic!("{path} ran"),
    }
}

/// Labs that stand at once within a test binary: more than two only wait for each other in the kernel.
const LABS: usize = 2;

static STANDING: Mutex<usize> = Mutex::new(0);
static GONE: Condvar = Condvar::new();

/// The right to one lab.
pub struct Permit;

impl Permit {
    /// Waits for it.
    pub fn wait() -> Self {
        let mut standing =
            GONE.wait_while(lock(), |standing| *standing >= LABS).unwrap_or_else(PoisonError::into_inner);
        *standing += 1;
        Self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *lock() -= 1;
        GONE.notify_one();
    }
}

fn lock() -> MutexGuard<'static, usize> {
    STANDING.lock().unwrap_or_else(PoisonError::into_inner)
}
