//! `dvrlab run --watch-files`: what is saved is run again, by hand or by an editor that renames.
#![expect(clippy::expect_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

const SCENARIO: &str = "# A scenario that is saved again and again.
#
# Setup:   an instance.
# Change:  none.
# Seen:    nothing.
# Mirrors: nothing.
hosts:
  cmp1: { mode: dvr }
networks:
  red: {}
subnets:
  red4: { network: red, cidr: 10.0.1.0/24 }
instances:
  vm1: { host: cmp1, network: red, address: 10.0.1.11 }
  vm2: { host: cmp1, network: red, address: 10.0.1.12 }
steps:
  - expect: { vm1 -> vm2: as itself }
";

/// What a child says until it waits.
fn until_it_waits(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    let mut text = String::new();
    for line in lines {
        let line = line.expect("the program writes lines");
        if line.starts_with("watching: ") {
            return text;
        }
        text.push_str(&line);
        text.push('\n');
    }
    panic!("it ended: {text}");
}

#[expect(clippy::disallowed_methods, reason = "the program itself is under test")]
fn watching(directory: &Path) -> Child {
    let mut command = Command::new(common::program());
    command.args(["run", "--watch-files", "--accept", "scenarios"]).current_dir(directory).env_remove("CI");
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts")
}

#[test]
fn what_is_saved_is_run_again() {
    if common::labs_are_skipped() {
        return;
    }
    let _permit = common::Permit::wait();
    let directory = tempfile::tempdir().expect("a directory");
    let scenarios = directory.path().join("scenarios");
    fs::create_dir_all(scenarios.join("below")).expect("directories");
    for name in ["one.yaml", "below/two.yaml"] {
        fs::write(scenarios.join(name), SCENARIO).expect("a file");
    }
    let mut child = watching(directory.path());
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let first = until_it_waits(&mut lines);
    assert!(first.contains("2 passed, 0 failed"), "{first}");
    // In place; a file that is no scenario changes nothing.
    fs::write(scenarios.join("notes.txt"), "none").expect("a file");
    fs::write(scenarios.join("one.yaml"), SCENARIO.replace("as itself", "unreachable")).expect("a file");
    let failed = until_it_waits(&mut lines);
    assert!(failed.contains("FAILED  one") && failed.contains("0 passed, 1 failed"), "{failed}");
    // By renaming a copy.
    let copy = scenarios.join("below/.two.yaml.swp");
    fs::write(&copy, SCENARIO).expect("a file");
    fs::rename(&copy, scenarios.join("below/two.yaml")).expect("a file that can be renamed");
    let renamed = until_it_waits(&mut lines);
    assert!(renamed.contains("passed  below/two") && renamed.contains("1 passed, 0 failed"), "{renamed}");
    // A mistake ends nothing.
    fs::write(scenarios.join("one.yaml"), "steps: nonsense").expect("a file");
    assert_eq!(until_it_waits(&mut lines), "");
    // Nor does a directory that was not there before go unseen.
    fs::create_dir(scenarios.join("new")).expect("a directory");
    fs::write(scenarios.join("new/three.yaml"), SCENARIO).expect("a file");
    fs::write(scenarios.join("one.yaml"), SCENARIO).expect("a file");
    let mended = until_it_waits(&mut lines);
    assert!(mended.contains("passed  one"), "{mended}");
    fs::write(scenarios.join("new/three.yaml"), SCENARIO).expect("a file");
    let new = until_it_waits(&mut lines);
    assert!(new.contains("passed  new/three"), "{new}");
    // Not by an interrupt, which a program in the background may be told to ignore.
    child.kill().expect("a child that can be ended");
    child.wait().expect("a child that ends");
}
