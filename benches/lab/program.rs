//! The program as one uses it: a scenario of six steps, and the whole library beside the same labs with nothing in them.
//!
//! In: the built program and the library of scenarios. Out: lines `figure NAME MILLISECONDS`. Never: a figure of a run that did
//! not pass.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock, and runs the program that it measures")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitPidFlag, waitpid};

use crate::reaped::{LIMIT, Reaper};
use crate::world::{Standing, intent};

/// How often the scenario of six steps is run; the median counts.
const RUNS: usize = 9;
/// How often the library and the empty labs are; the least counts, since only other work makes a run longer.
const ROUNDS: usize = 2;

/// Six steps with a matrix each, three of them with flows that run through the change.
const SIX: &str = "# A router's life in six steps.
#
# Setup:   a router with two networks, an instance on each of two hosts.
# Change:  a floating IP comes and goes, an instance moves, an agent starts anew, the gateway goes.
# Seen:    nothing is lost.
# Mirrors: nothing; it is measured.
hosts:
  net1: { mode: dvr_snat }
  cmp1: { mode: dvr }
  cmp2: { mode: dvr }
networks:
  public: { external: true }
  red:    {}
  blue:   {}
subnets:
  public4: { network: public, cidr: 203.0.113.0/24 }
  red4:    { network: red, cidr: 10.0.1.0/24 }
  blue4:   { network: blue, cidr: 10.0.2.0/24 }
routers:
  r1: { interfaces: [red4, blue4], gateway: { network: public, address: 203.0.113.10 } }
instances:
  vm1: { host: cmp1, network: red, address: 10.0.1.11 }
  vm2: { host: cmp2, network: blue, address: 10.0.2.12 }
floating_ips:
  203.0.113.101: {}
outside:
  web: { on: public, address: 203.0.113.2 }
steps:
  - expect: { vm1 -> web: as 203.0.113.10 via net1 }
  - associate: { floating_ip: 203.0.113.101, instance: vm1 }
    during: { vm1 -> vm2 udp: no loss, vm2 -> web udp: no loss }
    expect: { vm1 -> web: as 203.0.113.101 via cmp1 }
  - migrate: { instance: vm2, to: cmp1 }
    expect: { vm1 -> vm2: as itself }
  - disassociate: { floating_ip: 203.0.113.101 }
    during: { vm1 -> vm2 tcp: kept no loss, vm2 -> web udp: no loss }
    expect: { vm1 -> web: as 203.0.113.10 via net1 }
  - restart_agent: { host: cmp1 }
    during: { vm1 -> vm2 udp: no loss, vm2 -> web udp: no loss }
  - clear_gateway: { router: r1 }
    expect: { vm1 -> vm2: as itself }
";

/// The program's part of the figures. `done` waits until the kernel is done with what was there before: what is measured is a
/// scenario, not the end of the lab before it.
pub(crate) fn measure(done: &dyn Fn()) {
    set_child_subreaper(true).expect("a process may take orphans over");
    let directory = tempfile::tempdir().expect("a directory can be made");
    let six = directory.path().join("six.yaml");
    std::fs::write(&six, SIX).expect("a file can be written");
    let alone = |what: &Path| {
        done();
        run(what)
    };
    let mut times: Vec<Duration> = (0..RUNS).map(|_| alone(&six)).collect();
    times.sort_unstable();
    if let Some(median) = times.get(RUNS / 2) {
        tell("program/six-steps", *median);
    }
    if let Some(least) = (0..ROUNDS).map(|_| alone(&library())).min() {
        tell("program/library", least);
    }
}

/// Builds the library's labs without anything in them, one after another, and waits until the kernel is done with the last.
pub(crate) fn empty() {
    let mut files = Vec::new();
    scenarios(&library(), &mut files);
    files.sort_unstable();
    let texts = files.iter().map(|file| std::fs::read_to_string(file).expect("a scenario can be read"));
    let intents: Vec<_> = texts.map(|text| intent(&text)).collect();
    let reaper = Reaper::default();
    let round = || {
        reaper.wait();
        let start = Instant::now();
        for intent in &intents {
            drop(Standing::empty(intent));
        }
        reaper.wait();
        start.elapsed()
    };
    if let Some(least) = (0..ROUNDS).map(|_| round()).min() {
        tell("program/empty", least);
    }
}

fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

fn scenarios(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("the library can be read") {
        let path = entry.expect("the library can be read").path();
        if path.is_dir() {
            scenarios(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
}

/// One run, from the start of the process to its end. The processes of its last lab end a little later, and only then does the
/// kernel begin with its namespaces: they become children of this process, which waits for them.
fn run(what: &Path) -> Duration {
    let start = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dvrlab"));
    command.args(["run", "--quiet", "--allow-unsupported"]).arg(what).stdout(Stdio::null());
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(command.status().expect("the program can be run").success(), "{} does not pass", what.display());
    let took = start.elapsed();
    let limit = Instant::now() + LIMIT;
    while waitpid(None, Some(WaitPidFlag::WNOHANG)) != Err(Errno::ECHILD) {
        assert!(Instant::now() < limit, "processes of a lab stay");
        std::thread::yield_now();
    }
    took
}

fn tell(case: &str, took: Duration) {
    println!("figure {case} {:.3}", took.as_secs_f64() * 1e3);
}
