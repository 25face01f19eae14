//! What tests of namespaces need: a namespace, and the right to make one.
//!
//! In: the name of the running test, which the test harness gives to its thread. Out: whether the test ran elsewhere. Never:
//! a namespace that outlives its test.

use std::path::PathBuf;

use nix::sched::{CloneFlags, unshare};

use super::sandbox::Sandbox;

/// An argument of the test binary that started anew in a sandbox. No test has this name, so that skipping it does nothing.
const MARK: &str = "__in_a_sandbox";

/// Whether the tests that need a lab are to be left out, as `tests/common` has it.
fn skipped() -> bool {
    std::env::var_os("DVRLAB_SKIP_LABS").is_some_and(|value| value == "1")
}

/// Where this process may not make network namespaces, runs the calling test again in a sandbox, in which it is root, and
/// returns true: the test is then over. It panics if the test failed there.
pub(crate) fn done_in_a_sandbox() -> bool {
    if std::env::args().any(|argument| argument == MARK) {
        return false;
    }
    if skipped() {
        return true;
    }
    if may_unshare() {
        return false;
    }
    let test = std::thread::current().name().expect("a test runs on a thread of its name").to_owned();
    let binary = std::env::current_exe().unwrap();
    let command = [binary.to_str().unwrap(), "--exact", &test, "--nocapture", "--skip", MARK].map(str::to_owned);
    let mut sandbox = Sandbox::run(&program(), &command)
        .unwrap_or_else(|error| panic!("{error}\n{}", error.remedy().unwrap_or_default()));
    let mut said = String::new();
    while let Some(line) = sandbox.read_line().unwrap() {
        said.push_str(&line);
        said.push('\n');
    }
    let status = sandbox.finish().unwrap();
    assert!(said.contains("running 1 test\n"), "{test} did not run in the sandbox ({status}):\n{said}");
    assert!(status.success(), "{test} failed in the sandbox ({status}):\n{said}");
    true
}

/// Runs `body` in a new network namespace, which ends with it.
pub(crate) fn in_netns<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            leave().expect("a test that needs a namespace asks `done_in_a_sandbox` first");
            body()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn may_unshare() -> bool {
    std::thread::scope(|scope| scope.spawn(leave).join().is_ok_and(|left| left.is_ok()))
}

#[expect(clippy::disallowed_methods, reason = "only the calling thread moves, into a namespace that ends with it")]
fn leave() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)
}

/// The built program, which stands beside the directory of the test binary: `cargo test` builds it for the other tests.
fn program() -> PathBuf {
    let binary = std::env::current_exe().unwrap();
    let program = binary.ancestors().nth(2).expect("a test binary stands in target/PROFILE/deps").join("dvrlab");
    assert!(program.exists(), "{} is missing: run `cargo build` first", program.display());
    program
}
