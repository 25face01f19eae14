//! The `dvrlab` program.

use std::process::ExitCode;

use dvrlab::{cli, harness, kernel::sandbox};

fn main() -> ExitCode {
    // The stages of a sandbox come first: stage 1 may not have started a single thread.
    let code = sandbox::entry(harness::job).unwrap_or_else(cli::main);
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}
