//! The sandbox leaves nothing behind, whoever of its processes is killed.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic, and starts the processes that it kills"
)]

mod common;
mod processes;

use std::io::BufReader;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use dvrlab::kernel::sandbox::{Outcome, Sandbox, examine};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use processes::{NOBODY, children_of, network_of, processes_in, reachable, read_stage1, wait_for_the_last};
use rstest::rstest;

/// Tells [`parent`] that it is meant, and which program to start.
const PROGRAM: &str = "DVRLAB_TEST_PROGRAM";

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_dvrlab"))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A shell that finds the usual programs, whatever the caller's search path is.
fn shell(script: &str) -> Vec<String> {
    words(&["/bin/sh", "-c", &format!("PATH=/usr/bin:/bin; {script}")])
}

#[test]
fn a_program_runs_as_root_in_an_empty_network_and_its_status_comes_back() {
    if common::labs_are_skipped() {
        return;
    }
    let script = "id -u; ls /run; cat /proc/net/dev | wc -l; exit 7";
    let mut sandbox = Sandbox::run(program(), &shell(script)).unwrap();
    let mut lines = Vec::new();
    while let Some(line) = sandbox.read_line().unwrap() {
        lines.push(line);
    }
    assert_eq!(lines, ["0", "home", "netns", "tmp", "3"]);
    assert_eq!(sandbox.finish().unwrap().code(), Some(7));
}

#[test]
fn the_file_system_is_read_only_but_for_run() {
    if common::labs_are_skipped() {
        return;
    }
    let marker = std::env::temp_dir().join("dvrlab-sandbox-wrote-this");
    let script =
        format!("touch {} 2>&1 | tail -c 22; touch /run/tmp/x && echo run; echo $TMPDIR $HOME", marker.display());
    let mut sandbox = Sandbox::run(program(), &shell(&script)).unwrap();
    let mut text = String::new();
    while let Some(line) = sandbox.read_line().unwrap() {
        text = format!("{text}{line}\n");
    }
    assert_eq!(text, "Read-only file system\nrun\n/run/tmp /run/home\n");
    assert!(!marker.exists());
}

#[test]
fn orphans_are_reaped_and_waited_children_are_not_stolen() {
    if common::labs_are_skipped() {
        return;
    }
    // The subshell's child becomes an orphan, is reaped, and its process id is gone for the last test of the script.
    let script = "(true & echo $! > /run/tmp/orphan); i=0; while [ -e /proc/$(cat /run/tmp/orphan) ] && [ $i -lt 100000 ]; do i=$((i+1)); done; \
                  [ ! -e /proc/$(cat /run/tmp/orphan) ] && exit 5";
    let sandbox = Sandbox::run(program(), &shell(script)).unwrap();
    assert_eq!(sandbox.finish().unwrap().code(), Some(5));
}

#[test]
fn a_program_that_is_no_sandbox_is_told_apart() {
    let error = Sandbox::run(Path::new("/bin/echo"), &words(&["true"])).unwrap_err();
    assert_eq!(error.to_string(), "the program does not act as a sandbox; its first line is `__stage1 program`");
    assert!(error.remedy().is_some());
    assert!(Sandbox::spawn(Path::new("/nonexistent"), "").is_err());
}

#[test]
fn examining_tries_every_thing_here() {
    if common::labs_are_skipped() {
        return;
    }
    let checks = examine(program());
    assert!(checks.len() > 12, "{checks:?}");
    let missing: Vec<_> = checks.iter().filter(|check| check.outcome != Outcome::Works).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// No test: the process that [`nothing_is_left`] kills, or watches while its sandbox is killed.
#[test]
fn parent() {
    let Some(program) = std::env::var_os(PROGRAM) else { return };
    let script = "setsid sleep 1000 & setsid sleep 1000 & echo started; exec sleep 1000";
    let mut sandbox = Sandbox::run(Path::new(&program), &shell(script)).unwrap();
    assert_eq!(sandbox.read_line().unwrap().as_deref(), Some("started"));
    println!("\nstage 1 is {}", sandbox.stage1());
    // Until something is killed.
    assert_eq!(sandbox.read_line().unwrap(), None);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Parent,
    Stage1,
    Init,
}

#[rstest]
#[case::parent(Victim::Parent)]
#[case::stage1(Victim::Stage1)]
#[case::init(Victim::Init)]
fn nothing_is_left(#[case] victim: Victim, #[values(false, true)] unprivileged: bool) {
    if common::labs_are_skipped() {
        return;
    }
    if unprivileged && !geteuid().is_root() {
        return;
    }
    let copies = tempfile::tempdir().unwrap();
    let mut command = Command::new(reachable(copies.path(), &std::env::current_exe().unwrap()));
    command.args(["--exact", "parent", "--nocapture"]).env(PROGRAM, reachable(copies.path(), program()));
    if unprivileged {
        command.uid(NOBODY).gid(NOBODY);
    }
    // Every process of the tree inherits standard error: it closes when the last one is gone.
    let mut parent = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(parent.stdout.take().unwrap());
    let stage1 = read_stage1(&mut said);
    let init = children_of(stage1).pop_first().expect("stage 1 has a child");
    let inside = network_of(init).expect("the sandbox has a network namespace");
    assert!(processes_in(&inside).len() >= 4, "stage 1 and 2 and the sleepers: {:?}", processes_in(&inside));

    let target = match victim {
        Victim::Parent => i32::try_from(parent.id()).unwrap(),
        Victim::Stage1 => stage1,
        Victim::Init => init,
    };
    kill(Pid::from_raw(target), Signal::SIGKILL).unwrap();
    wait_for_the_last(&mut parent, &inside);
    parent.wait().unwrap();
}
