//! The crate as somebody else's tests use it: a lab comes from this very binary, which has the `main` that Rust gives to tests.
//! What goes well is shown by `examples/cargo-test`, which `cargo test` runs, too.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::Command;

use dvrlab::{Test, TestError};

/// Where a test that is run anew finds its scenario.
const FILE: &str = "DVRLAB_LIBRARY_TEST";

/// A project with one scenario.
fn project(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("scenarios")).unwrap();
    let file = directory.path().join("scenarios/one.yaml");
    std::fs::write(&file, text).unwrap();
    (directory, file)
}

fn basic() -> String {
    std::fs::read_to_string(common::project("scenarios/snat/basic.yaml")).unwrap()
}

/// What a test that fails prints.
fn panicked(test: &Test) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| test.check())).expect_err("the test must fail");
    panic.downcast_ref::<String>().cloned().expect("a formatted message")
}

#[test]
fn mistakes_need_no_lab() {
    let error = Test::text("mine.yaml", &basic().replace("vm1 -> web:", "vm1 -> wbe:")).run().unwrap_err();
    assert!(matches!(error, TestError::Mistake(_)), "{error:?}");
    assert!(
        error.to_string().contains("mine.yaml:33:") && error.to_string().contains("did you mean `web`?"),
        "{error}"
    );
    for wrong in [Test::text("a", &basic()).deviations("drop-all"), Test::text("a", &basic()).rules("ipfw")] {
        let error = wrong.run().unwrap_err();
        assert!(matches!(error, TestError::Option(_)), "{error:?}");
    }
    let error = Test::file("no/such/file.yaml").run().unwrap_err();
    assert!(error.to_string().starts_with("no/such/file.yaml: "), "{error}");
}

/// The sentence that did not hold, its line, and the packet's way.
#[test]
fn a_failure_says_what_went_otherwise() {
    if common::labs_are_skipped() {
        return;
    }
    let wrong = Test::text("mine.yaml", &basic().replace("vm2 -> web: as 203.0.113.10", "vm2 -> web: as 203.0.113.99"));
    let told = panicked(&wrong);
    assert!(told.contains("mine.yaml:34: step 1: `vm2 -> web: as 203.0.113.99"), "{told}");
    assert!(told.contains("there net1/snat-r1: "), "{told}");
    let run = wrong.run().unwrap();
    assert!(!run.passed() && told.contains(&run.failures()), "{told}");
    assert!(run.reach().contains("as 203.0.113.10 via net1") && run.rules().contains("--to-source 203.0.113.10"));
    let record: serde_json::Value = serde_json::from_str(&run.json().unwrap()).unwrap();
    let schema = dvrlab::record::schema();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&record));
}

/// Missing, written when asked for, then equal, also to what the program writes, then altered.
#[test]
fn snapshots_are_missed_written_and_compared() {
    if common::labs_are_skipped() {
        return;
    }
    let (kept, file) = project(&basic());
    let test = Test::file(&file);
    let snapshot = kept.path().join("snapshots/one.reach.snap");
    let told = panicked(&test);
    assert!(told.contains("one.reach.snap does not exist: `INSTA_UPDATE=always cargo test` writes it"), "{told}");
    assert!(!snapshot.exists(), "nobody asked for it");

    #[expect(clippy::disallowed_methods, reason = "this test itself, in another environment")]
    let again = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "run_anew", "--nocapture"])
        .env("INSTA_UPDATE", "always")
        .env(FILE, &file)
        .output()
        .unwrap();
    assert!(again.status.success(), "{again:?}");
    let written = std::fs::read_to_string(&snapshot).unwrap();
    test.check();

    #[expect(clippy::disallowed_methods, reason = "the program itself is under test")]
    let accepted =
        Command::new(common::program()).args(["run", "-q", "--accept"]).arg(&file).env_remove("CI").output().unwrap();
    assert!(accepted.status.success(), "{accepted:?}");
    assert_eq!(std::fs::read_to_string(&snapshot).unwrap(), written);

    std::fs::write(&snapshot, written.replace("203.0.113.10 via net1", "203.0.113.77 via net1")).unwrap();
    let told = panicked(&test);
    assert!(told.contains("one.reach.snap differs") && told.contains("203.0.113.77"), "{told}");
    test.without_snapshots().check();
}

/// The part of the test above that is run with another environment.
#[test]
fn run_anew() {
    if let Some(file) = std::env::var_os(FILE) {
        Test::file(PathBuf::from(file)).check();
    }
}

/// `run --accept` makes the place for snapshots, and says so where there can be none.
#[test]
fn the_program_makes_the_place_for_snapshots() {
    if common::labs_are_skipped() {
        return;
    }
    let (kept, file) = project(&basic());
    let stray = kept.path().join("stray.yaml");
    std::fs::copy(&file, &stray).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the program itself is under test")]
    let run = |path: &PathBuf| {
        let output =
            Command::new(common::program()).args(["run", "-q", "--accept"]).arg(path).env_remove("CI").output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(run(&file).0, Some(0));
    assert!(kept.path().join("snapshots/one.rules.snap").exists());
    let (code, told) = run(&stray);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("snapshots stand beside a directory `scenarios`, and it is in none"), "{told}");
}
