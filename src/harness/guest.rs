//! Sandboxes made of a program whose `main` is not ours: the test binaries of whoever uses this crate.
//!
//! In: the command line, before `main`. Out: none but a sandbox's own. Never: a word or a thread in a program that was not started
//! as a sandbox.
//!
//! A sandbox is begun by a process of one thread, and a test runs where there are several already. So the test's own binary is
//! started anew and acts as a sandbox before its `main`, of which the harness that Rust gives to tests leaves nothing to us.

use std::panic::catch_unwind;
use std::path::Path;
use std::process;

use crate::kernel::sandbox;

/// Exit status of a job that panicked. Source: that of a Rust program which panics.
const PANICKED: i32 = 101;

/// The program to make sandboxes of, in whichever program this crate is part of.
pub fn this_program() -> &'static Path {
    Path::new(sandbox::SELF)
}

/// Runs before `main`. In any other process it reads the command line and returns.
#[ctor::ctor]
fn guest() {
    let code = catch_unwind(|| sandbox::guest_entry(super::job)).unwrap_or(Some(PANICKED));
    if let Some(code) = code {
        process::exit(code);
    }
}
