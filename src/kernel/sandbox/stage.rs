//! The two stages, seen from inside.
//!
//! In: the command line and the control pipe (standard input). Out: the record stream (standard output) and an exit
//! status. Never: a thread in stage 1, for which the kernel has no place once it has left its process namespace.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{getegid, geteuid};

use super::{Hello, Mode, Step, children, mounts, trials};

/// First argument of stage 1.
pub(super) const STAGE1: &str = "__stage1";
/// First argument of stage 2.
const STAGE2: &str = "__stage2";
/// Exit status when a stage could not do its part. Source: sysexits(3), `EX_OSERR`.
const EX_OSERR: i32 = 71;
/// Exit status when the parent was not there any more to be told so. Source: sysexits(3).
const EX_IOERR: i32 = 74;
/// What a shell adds to the number of the signal that ended a program.
const SIGNALLED: i32 = 128;
/// A descriptor just below the usual limit, which is 1024.
const DESCRIPTORS: i32 = 1000;

/// Lines that the parent told after the job.
static TOLD: Mutex<Option<Receiver<String>>> = Mutex::new(None);

/// A refused step.
type Refused = (Step, io::Error);

/// Acts as a stage of a sandbox if the command line says so, and returns the exit status; none if it does not. To be called
/// first thing in `main`, before anything starts a thread. In stage 2 `job` runs, with the parent's text and the record
/// stream; what it returns is the exit status.
pub fn entry(job: impl FnOnce(&str, &mut dyn Write) -> i32) -> Option<i32> {
    let (stage, mode, rest) = asked()?;
    Some(acted(&stage, mode, &rest, job))
}

/// As [`entry`], for a program whose `main` is not ours and which was started by its own name ([`super::SELF`]): to be called before
/// `main`, while there is one thread. It leaves the stages that `entry` is for to `entry`.
pub fn guest_entry(job: impl FnOnce(&str, &mut dyn Write) -> i32) -> Option<i32> {
    let (stage, mode, rest) = asked()?;
    (mode == Mode::Guest).then(|| acted(&stage, mode, &rest, job))
}

/// The stage that the command line asks for, what it is to run, and what else it says.
fn asked() -> Option<(OsString, Mode, Vec<OsString>)> {
    let mut arguments = std::env::args_os().skip(1);
    let stage = arguments.next().filter(|stage| stage == STAGE1 || stage == STAGE2)?;
    let mode = arguments.next().and_then(|word| Mode::ALL.into_iter().find(|mode| word == mode.word()))?;
    Some((stage, mode, arguments.collect()))
}

/// Does a stage's part.
fn acted(stage: &OsStr, mode: Mode, rest: &[OsString], job: impl FnOnce(&str, &mut dyn Write) -> i32) -> i32 {
    let outcome = if stage == STAGE1 { stage1(mode) } else { stage2(mode, rest, job) };
    outcome.unwrap_or_else(|(step, error)| {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        say(&Hello::Failed { step, errno }).map_or(EX_IOERR, |()| EX_OSERR)
    })
}

fn say(hello: &Hello) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, hello)?;
    writeln!(out)?;
    out.flush()
}

/// Tags an error with the step that it belongs to.
fn at<E: Into<io::Error>>(step: Step) -> impl FnOnce(E) -> Refused {
    move |error| (step, error.into())
}

/// Blocks the signals that a terminal sends to all that is in its foreground. A program started later has them again; the first
/// process of a process namespace is spared them anyway.
pub(super) fn leave_interrupts() -> io::Result<()> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGINT);
    mask.add(Signal::SIGQUIT);
    Ok(mask.thread_block()?)
}

fn stage1(mode: Mode) -> Result<i32, Refused> {
    if mode == Mode::Terminal {
        leave_interrupts().map_err(at(Step::Watch))?;
    }
    leave()?;
    mounts::make_private().map_err(at(Step::PrivateMounts))?;
    let writable = mounts::make_read_only().map_err(at(Step::PrivateMounts))?;
    mounts::mount_run().map_err(at(Step::MountRun))?;
    let status = start_stage2(mode, &writable).map_err(at(Step::Init))?;
    Ok(exit_code(status))
}

/// Leaves the parent's namespaces and becomes root in the new ones. `unshare` does all or nothing, so that as root the way
/// without a user namespace can be tried after the way with one.
#[expect(clippy::disallowed_methods, reason = "stage 1 is what leaves the namespaces")]
fn leave() -> Result<(), Refused> {
    let (uid, gid) = (geteuid(), getegid());
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    match unshare(flags | CloneFlags::CLONE_NEWUSER) {
        Ok(()) => {}
        Err(refused) if uid.is_root() => {
            return unshare(flags)
                .map_err(|errno| at(Step::Unshare)(if errno == Errno::EPERM { refused } else { errno }));
        }
        Err(errno) => return Err(at(Step::Unshare)(errno)),
    }
    fs::write("/proc/self/setgroups", "deny").map_err(at(Step::Setgroups))?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1\n")).map_err(at(Step::UidMap))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1\n")).map_err(at(Step::GidMap))
}

#[expect(clippy::disallowed_methods, reason = "stage 2 has to be a new process: the first of its namespace")]
fn start_stage2(mode: Mode, writable: &[PathBuf]) -> io::Result<ExitStatus> {
    Command::new("/proc/self/exe")
        .args([OsStr::new(STAGE2), OsStr::new(mode.word())])
        .args(writable)
        .env("TMPDIR", mounts::TEMPORARY)
        .env("HOME", mounts::HOME)
        .status()
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| SIGNALLED + signal)).unwrap_or(EX_OSERR)
}

fn stage2(mode: Mode, writable: &[OsString], job: impl FnOnce(&str, &mut dyn Write) -> i32) -> Result<i32, Refused> {
    set_pdeathsig(Signal::SIGKILL).map_err(at(Step::DeathSignal))?;
    // Where a container hides parts of /proc the kernel refuses a new one. The old one does, if sysctls can be written.
    if mounts::mount_proc().is_err() {
        mounts::try_sysctl().map_err(at(Step::Sysctl))?;
    }
    let children = child_signals().map_err(at(Step::Watch))?;
    say(&Hello::Ready { writable: writable.iter().map(PathBuf::from).collect() }).map_err(at(Step::Watch))?;
    let Some(text) = read_job().map_err(at(Step::Watch))? else { return Ok(EX_OSERR) };
    make_room();
    let (tell, told) = mpsc::channel();
    *TOLD.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
    thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || watch(&children, &tell))
        .map_err(at(Step::Watch))?;
    let mut record = io::stdout().lock();
    let code = match mode {
        Mode::Job | Mode::Guest | Mode::Terminal => job(&text, &mut record),
        Mode::Program => run(&text).map_err(at(Step::Init))?,
        Mode::Examine => trials::inside(&mut record),
    };
    record.flush().map_err(at(Step::Watch))?;
    Ok(code)
}

/// Has the kernel make the table of descriptors large at once. Once threads share it, each time that it grows they wait for an RCU
/// grace period (`expand_fdtable` in linux/fs/file.c). Where the limit is lower, it grows as it must.
fn make_room() {
    if let Err(error) = rustix::io::fcntl_dupfd_cloexec(io::stdin(), DESCRIPTORS) {
        tracing::debug!(%error, "the table of descriptors stays small");
    }
}

/// Blocks the signal for every thread made later and gets it as something to wait for.
fn child_signals() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// The parent's text; none if the parent went away before it had sent it all.
fn read_job() -> io::Result<Option<String>> {
    let mut control = io::stdin().lock();
    let mut length = String::new();
    control.read_line(&mut length)?;
    let Ok(length) = length.trim_end().parse::<u64>() else { return Ok(None) };
    let mut text = String::new();
    let read = control.take(length).read_to_string(&mut text)?;
    Ok((u64::try_from(read) == Ok(length)).then_some(text))
}

/// Waits for the next line that the parent tells by [`super::Sandbox::tell_line`]; none outside a sandbox. Where the parent goes away the
/// process ends.
pub fn hear() -> Option<String> {
    let told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    told.as_ref()?.recv().ok()
}

/// Hands on one line from the control pipe. Says whether there was one.
fn pass_on(tell: &Sender<String>) -> bool {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    matches!(read, Ok(length) if length > 0) && tell.send(line).is_ok()
}

/// Reaps orphans and hands on what the parent tells until the control pipe closes, and then ends the process, and with it
/// everything in the sandbox.
fn watch(children: &SignalFd, tell: &Sender<String>) {
    let stdin = io::stdin();
    loop {
        let mut waiting =
            [PollFd::new(stdin.as_fd(), PollFlags::POLLIN), PollFd::new(children.as_fd(), PollFlags::POLLIN)];
        let woken = poll(&mut waiting, PollTimeout::NONE);
        let [control, child] = waiting;
        match woken {
            Ok(_) if control.any() != Some(false) => {
                if !pass_on(tell) {
                    process::exit(EX_OSERR);
                }
            }
            Ok(_) if child.any() != Some(false) => {
                let drained = children.read_signal().map_err(io::Error::from).and_then(|_signal| children::reap());
                if let Err(error) = drained {
                    tracing::warn!(%error, "failed to reap an orphan");
                }
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => process::exit(EX_OSERR),
        }
    }
}

/// Runs the program named by the job.
#[expect(clippy::disallowed_methods, reason = "the sandbox starts what it was asked to start")]
fn run(text: &str) -> io::Result<i32> {
    let arguments: Vec<String> = serde_json::from_str(text)?;
    let Some((program, arguments)) = arguments.split_first() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let child = children::Owned::spawn(Command::new(program).args(arguments).stdin(Stdio::null()))?;
    child.wait().map(exit_code)
}
