//! Runs a test's body in a sandbox of its own, where it is root and the network is empty.

use std::path::Path;

use dvrlab::kernel::sandbox::Sandbox;

/// An argument of the test binary that runs the body. No test has this name, so that skipping it does nothing.
const MARK: &str = "__in_a_sandbox";

/// Starts this test again, alone, in a sandbox, and runs `body` there. The test harness names its threads after tests.
#[expect(clippy::print_stdout, reason = "what the test says there is said here")]
pub(crate) fn inside(body: impl FnOnce()) {
    if std::env::args().any(|argument| argument == MARK) {
        return body();
    }
    if std::env::var_os("DVRLAB_SKIP_LABS").is_some_and(|value| value == "1") {
        return;
    }
    let test = std::thread::current().name().expect("a test runs on a thread of its name").to_owned();
    let program = std::env::current_exe().unwrap();
    let command = [program.to_str().unwrap(), "--exact", &test, "--nocapture", "--skip", MARK].map(str::to_owned);
    let mut sandbox = Sandbox::run(Path::new(env!("CARGO_BIN_EXE_dvrlab")), &command)
        .unwrap_or_else(|error| panic!("{error}\n{}", error.remedy().unwrap_or_default()));
    let mut ran = false;
    while let Some(line) = sandbox.read_line().unwrap() {
        ran |= line == "running 1 test";
        println!("{line}");
    }
    assert!(ran, "{test} did not run in the sandbox");
    assert!(sandbox.finish().unwrap().success(), "{test} failed in the sandbox");
}
