//! Runs a test's body in a sandbox of its own, where it is root and the network is empty.

use std::path::Path;

use dvrlab::kernel::sandbox::Sandbox;

/// Set in the process that runs the body.
const INSIDE: &str = "DVRLAB_TEST_INSIDE";

/// Starts this test again, alone, in a sandbox, and runs `body` there. The test harness names its threads after tests.
pub(crate) fn inside(body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let test = std::thread::current().name().expect("a test runs on a thread of its name").to_owned();
    let program = std::env::current_exe().unwrap();
    let command = ["env", &format!("{INSIDE}=1"), program.to_str().unwrap(), "--exact", &test, "--nocapture"];
    let command = command.map(str::to_owned);
    let mut sandbox = Sandbox::run(Path::new(env!("CARGO_BIN_EXE_dvrlab")), &command).unwrap();
    let mut said = String::new();
    while let Some(line) = sandbox.read_line().unwrap() {
        said = format!("{said}{line}\n");
    }
    assert!(said.contains("running 1 test\n"), "{test} did not run in the sandbox: {said}");
    assert!(sandbox.finish().unwrap().success(), "{test} failed in the sandbox: {said}");
}
