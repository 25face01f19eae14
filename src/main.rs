//! The `dvrlab` program.

use std::process::ExitCode;

use dvrlab::kernel::sandbox;

fn main() -> ExitCode {
    match sandbox::entry(|_job, _record| 0) {
        Some(code) => u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from),
        None => ExitCode::SUCCESS,
    }
}
