//! Programs inside a network namespace: the only place besides the sandbox that starts a process.
//!
//! In: a namespace, the names that `ip netns` is to show there, and a command line. Out: its exit status and what it wrote.
//! Never: the record stream as its standard output, nor the control pipe as its standard input.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::rc::Rc;

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, mount, mount_bind};

use super::Netns;
use super::netns::NetnsError;
use super::sandbox::NETNS;
use super::sandbox::children::Owned;
use crate::name::NamespaceName;

/// What became of a program.
#[derive(Debug)]
pub struct Finished {
    /// How it ended. Processes that it left behind may run on, until the sandbox ends.
    pub status: ExitStatus,
    /// What it and its children wrote to standard output and standard error until then.
    pub output: String,
}

/// Why a program could not be run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The names could not be put in place.
    #[error("name the host's namespaces in {NETNS}")]
    Names(#[source] io::Error),
    /// There is no such program, or it could not be started or waited for.
    #[error("run {program}")]
    Run {
        /// The program.
        program: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// Runs a program in `netns` and waits for it. In its own mount namespace `/run/netns` has exactly `names`, so that
/// `ip netns exec NAME` finds the namespaces of one host.
///
/// # Errors
/// [`CommandError`]; a program that ran and failed is none.
pub fn run(
    netns: &Netns,
    names: &BTreeMap<NamespaceName, Rc<Netns>>,
    program: &str,
    arguments: &[String],
) -> Result<Finished, CommandError> {
    let running = |source| CommandError::Run { program: program.to_owned(), source };
    // A file, not a pipe: what the program leaves behind may hold it open for ever.
    let mut output = tempfile::tempfile().map_err(running)?;
    let named: Vec<(&NamespaceName, i32)> =
        names.iter().map(|(name, netns)| (name, netns.as_fd().as_raw_fd())).collect();
    let child = netns.run_apart(|| {
        furnish(&named).map_err(CommandError::Names)?;
        start(program, arguments, &output).map_err(running)
    })??;
    let status = child.wait().map_err(running)?;
    let mut bytes = Vec::new();
    output.rewind().and_then(|()| output.read_to_end(&mut bytes)).map_err(running)?;
    Ok(Finished { status, output: String::from_utf8_lossy(&bytes).into_owned() })
}

/// Gives the calling thread a mount namespace of its own, with these names.
fn furnish(names: &[(&NamespaceName, i32)]) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "on a thread that ends with the program's start")]
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).map_err(io::Error::from)?;
    mount("tmpfs", NETNS, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None)?;
    for (name, fd) in names {
        let target = Path::new(NETNS).join(name.as_str());
        File::create(&target)?;
        mount_bind(format!("/proc/self/fd/{fd}"), &target)?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the place that starts programs")]
fn start(program: &str, arguments: &[String], output: &File) -> io::Result<Owned> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
    Owned::spawn(&mut command)
}
