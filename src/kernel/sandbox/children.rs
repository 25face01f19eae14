//! The children of the first process: those that somebody here waits for, and orphans that nobody will.
//!
//! In: a command to start. Out: a child to wait for; orphans are reaped. Never: an exit status taken from whoever waits.

use std::collections::BTreeSet;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

/// Process ids that an [`Owned`] waits for. Held while a process is started, so that no child is unknown when it dies.
static OWNED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn owned() -> MutexGuard<'static, BTreeSet<u32>> {
    OWNED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child that is waited for here.
#[derive(Debug)]
pub(crate) struct Owned(Child);

impl Owned {
    /// Starts it.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut table = owned();
        let child = command.spawn()?;
        table.insert(child.id());
        Ok(Self(child))
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> io::Result<ExitStatus> {
        let status = self.0.wait();
        owned().remove(&self.0.id());
        // A dead child that is owned hides the orphans behind it from `reap`.
        reap()?;
        status
    }
}

/// Reaps every dead child that nobody waits for.
pub(crate) fn reap() -> io::Result<()> {
    let table = owned();
    loop {
        match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) if !is_owned(&table, pid) => {
                waitpid(pid, None)?;
            }
            Ok(_) | Err(Errno::ECHILD) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn is_owned(table: &BTreeSet<u32>, pid: Pid) -> bool {
    u32::try_from(pid.as_raw()).is_ok_and(|pid| table.contains(&pid))
}
