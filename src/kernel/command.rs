//! Programs inside a network namespace: the only place besides the sandbox that starts a process.
//!
//! In: a namespace, the names that `ip netns` is to show there, and a command line. Out: its exit status and what it wrote.
//! Never: the record stream as its standard output, nor the control pipe as its standard input.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
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
    /// Names that `ip netns` was shown and that stand for these namespaces no more: somebody deleted them, and may have made
    /// others of the same name, which end with the program's own mounts.
    pub gone: Vec<NamespaceName>,
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
    let inodes: Vec<(&NamespaceName, u64)> = names.iter().map(|(name, netns)| (name, netns.inode())).collect();
    let (status, gone) = netns.run_apart(|| {
        furnish(&named).map_err(CommandError::Names)?;
        let status = start(program, arguments, &output).and_then(Owned::wait).map_err(running)?;
        Ok::<_, CommandError>((status, gone(&inodes).map_err(CommandError::Names)?))
    })??;
    let mut bytes = Vec::new();
    output.rewind().and_then(|()| output.read_to_end(&mut bytes)).map_err(running)?;
    Ok(Finished { status, output: String::from_utf8_lossy(&bytes).into_owned(), gone })
}

/// Which of the names stand for other namespaces than they did, or for none.
fn gone(names: &[(&NamespaceName, u64)]) -> io::Result<Vec<NamespaceName>> {
    let mut gone = Vec::new();
    for (name, inode) in names {
        match fs::metadata(Path::new(NETNS).join(name.as_str())) {
            Ok(found) if found.ino() == *inode => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => gone.push((*name).clone()),
        }
    }
    Ok(gone)
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

/// Runs a program in `netns` on the terminal of this process, with `names` as [`run`] has them, and waits for it.
///
/// # Errors
/// [`CommandError`], also if there is no terminal; a program that ran and failed is none.
pub fn attached(
    netns: &Netns,
    names: &BTreeMap<NamespaceName, Rc<Netns>>,
    program: &str,
    arguments: &[String],
) -> Result<ExitStatus, CommandError> {
    let running = |source| CommandError::Run { program: program.to_owned(), source };
    let terminal = File::options().read(true).write(true).open("/dev/tty").map_err(running)?;
    let named: Vec<(&NamespaceName, i32)> =
        names.iter().map(|(name, netns)| (name, netns.as_fd().as_raw_fd())).collect();
    let child = netns.run_apart(|| {
        furnish(&named).map_err(CommandError::Names)?;
        start_attached(program, arguments, &terminal).map_err(running)
    })??;
    child.wait().map_err(running)
}

#[expect(clippy::disallowed_methods, reason = "the place that starts programs")]
fn start_attached(program: &str, arguments: &[String], terminal: &File) -> io::Result<Owned> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal.try_clone()?);
    Owned::spawn(&mut command)
}

#[expect(clippy::disallowed_methods, reason = "the place that starts programs")]
fn start(program: &str, arguments: &[String], output: &File) -> io::Result<Owned> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
    Owned::spawn(&mut command)
}

/// What became of a program that reads and writes.
#[derive(Debug)]
pub struct Filtered {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
}

/// Runs a program, in `netns` if one is given, with `input` as its standard input, and waits for it.
///
/// # Errors
/// [`CommandError`]; a program that ran and failed is none.
pub fn filter(netns: Option<&Netns>, program: &str, arguments: &[&str], input: &str) -> Result<Filtered, CommandError> {
    let running = |source| CommandError::Run { program: program.to_owned(), source };
    let mut given = tempfile::tempfile().map_err(running)?;
    given.write_all(input.as_bytes()).and_then(|()| given.rewind()).map_err(running)?;
    let mut written = [tempfile::tempfile().map_err(running)?, tempfile::tempfile().map_err(running)?];
    let [output, errors] = &written;
    let start = || {
        #[expect(clippy::disallowed_methods, reason = "the place that starts programs")]
        let mut command = Command::new(program);
        command.args(arguments).stdin(given).stdout(output.try_clone()?).stderr(errors.try_clone()?);
        Owned::spawn(&mut command)
    };
    let child = match netns {
        Some(netns) => netns.run_in(start)?,
        None => start(),
    };
    let status = child.and_then(Owned::wait).map_err(running)?;
    let [output, errors] = written.each_mut().map(|file| {
        let mut bytes = Vec::new();
        let read = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
        read.map(|_length| String::from_utf8_lossy(&bytes).into_owned())
    });
    Ok(Filtered { status, output: output.map_err(running)?, errors: errors.map_err(running)? })
}

/// Whether this machine has a program: a path that leads to a file, or a name found along `PATH`.
pub fn exists(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
