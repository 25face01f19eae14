//! A process tree in namespaces of its own, of which nothing is left when it ends, however it ends.
//!
//! In: the program to start (it calls [`entry`] first thing in `main`) and the text of a job. Out: the lines that the job
//! writes, and an exit status. Never: a privilege for the parent, a file written outside, a process that outlives it.
//!
//! The parent starts stage 1, which leaves the user, mount, network, process, host-name and IPC namespaces of the parent and
//! starts stage 2, the first process of the new process namespace. When stage 2 ends the kernel kills whatever else
//! lives there. It ends when the parent's end of the control pipe closes, for whatever reason, and when stage 1 dies.
//! The file system is remounted read-only. That guards against accidents, not against malice: a process in the sandbox is
//! root there and may remount it.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use serde::{Deserialize, Serialize};

pub(crate) mod children;
mod doctor;
mod error;
mod mounts;
mod stage;
mod trials;

pub use doctor::{Check, Outcome, examine};
pub use error::{Machine, SandboxError, Step};
pub(crate) use mounts::NETNS;
pub use stage::{entry, guest_entry, hear};

/// The running program, as [`Sandbox::spawn`] takes it from a program that does not call [`entry`] in a `main` of its own, such
/// as a test binary: [`guest_entry`], called before `main`, makes a sandbox of it.
pub const SELF: &str = "/proc/self/exe";

/// A running sandbox. Dropping it ends every process in it.
#[derive(Debug)]
pub struct Sandbox {
    stage1: Child,
    control: Option<ChildStdin>,
    record: BufReader<ChildStdout>,
    writable: Vec<PathBuf>,
}

/// What stage 2 is to run once the sandbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The function given to [`entry`].
    Job,
    /// The function given to [`guest_entry`].
    Guest,
    /// As `Job`, on the terminal of the parent: its interrupts are for what runs there.
    Terminal,
    /// A program; the job's text is its command line as a JSON list.
    Program,
    /// The checks of [`examine`].
    Examine,
}

impl Mode {
    const ALL: [Self; 5] = [Self::Job, Self::Guest, Self::Terminal, Self::Program, Self::Examine];

    fn word(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Guest => "guest",
            Self::Terminal => "terminal",
            Self::Program => "program",
            Self::Examine => "examine",
        }
    }
}

/// The first line of the record pipe, written by whichever stage got that far.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Hello {
    /// Stage 2 is ready for the job. Mounts that could not be made read-only are named.
    Ready { writable: Vec<PathBuf> },
    /// A step was refused.
    Failed { step: Step, errno: i32 },
}

impl Sandbox {
    /// Starts `program` as a sandbox and hands `job` to the function that it gave to [`entry`], or, if it is [`SELF`], to the one
    /// given to [`guest_entry`].
    ///
    /// # Errors
    /// [`SandboxError`] names the step that this machine refused, and the remedy.
    pub fn spawn(program: &Path, job: &str) -> Result<Self, SandboxError> {
        Self::start(program, if program == Path::new(SELF) { Mode::Guest } else { Mode::Job }, job)
    }

    /// As [`Sandbox::spawn`], and what runs in it may use the terminal of this process: it stays in the foreground with it, and
    /// an interrupt from there ends neither this thread nor the sandbox.
    ///
    /// # Errors
    /// As [`Sandbox::spawn`].
    pub fn attached(program: &Path, job: &str) -> Result<Self, SandboxError> {
        stage::leave_interrupts().map_err(SandboxError::Pipe)?;
        Self::start(program, Mode::Terminal, job)
    }

    /// Starts `program` as a sandbox and runs another program in it, with its standard output as the record stream and no
    /// standard input. The exit status is that program's.
    ///
    /// # Errors
    /// [`SandboxError`] as for [`Sandbox::spawn`].
    pub fn run(program: &Path, command: &[String]) -> Result<Self, SandboxError> {
        let command = serde_json::to_string(command).map_err(|error| SandboxError::Pipe(error.into()))?;
        Self::start(program, Mode::Program, &command)
    }

    #[expect(clippy::disallowed_methods, reason = "the sandbox is itself a process of ours")]
    fn start(program: &Path, mode: Mode, job: &str) -> Result<Self, SandboxError> {
        // A group of its own: an interrupt from the terminal reaches the parent alone, which ends the sandbox when it likes.
        // No death signal here: it would follow the thread that spawns, which under a test harness is short-lived.
        let mut command = Command::new(program);
        command.args([OsStr::new(stage::STAGE1), OsStr::new(mode.word())]);
        if mode != Mode::Terminal {
            command.process_group(0);
        }
        let mut stage1 = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| SandboxError::Start { program: program.to_owned(), source })?;
        let (Some(control), Some(record)) = (stage1.stdin.take(), stage1.stdout.take()) else {
            return Err(SandboxError::Pipe(io::ErrorKind::BrokenPipe.into()));
        };
        let mut sandbox = Self { stage1, control: Some(control), record: BufReader::new(record), writable: Vec::new() };
        sandbox.writable = sandbox.greet()?;
        sandbox.hand_over(job).map_err(SandboxError::Pipe)?;
        Ok(sandbox)
    }

    /// Reads how far the stages got. Mounts left writable are the good answer.
    fn greet(&mut self) -> Result<Vec<PathBuf>, SandboxError> {
        let Some(line) = self.read_line().map_err(SandboxError::Pipe)? else {
            self.control = None;
            let status = self.stage1.wait().map_err(SandboxError::Pipe)?;
            return Err(SandboxError::Ended { status });
        };
        match serde_json::from_str(&line) {
            Ok(Hello::Ready { writable }) => Ok(writable),
            Ok(Hello::Failed { step, errno }) => {
                Err(SandboxError::Step { step, source: io::Error::from_raw_os_error(errno) })
            }
            Err(_other_program) => Err(SandboxError::NotASandbox { line }),
        }
    }

    /// The job goes as its length in bytes, a line break, and the text: it may hold line breaks itself.
    fn hand_over(&mut self, job: &str) -> io::Result<()> {
        match &mut self.control {
            Some(control) => write!(control, "{}\n{job}", job.len()).and_then(|()| control.flush()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// The next line that the job wrote, without its line break; none at the end.
    ///
    /// # Errors
    /// As reading a pipe has them.
    pub fn read_line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        if self.record.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line.ends_with('\n') {
            line.pop();
        }
        Ok(Some(line))
    }

    /// Tells the job a line, which it gets from [`hear`]. To be told only when it says that it listens.
    ///
    /// # Errors
    /// As writing to a pipe has them.
    pub fn tell_line(&mut self, line: &str) -> io::Result<()> {
        match &mut self.control {
            Some(control) => writeln!(control, "{line}").and_then(|()| control.flush()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Waits for the job's end. Lines not read yet are lost.
    ///
    /// # Errors
    /// As waiting for a child has them.
    pub fn finish(mut self) -> io::Result<ExitStatus> {
        io::copy(&mut self.record, &mut io::sink())?;
        self.stage1.wait()
    }

    /// Ends every process in it, and waits for none: the kernel takes tens of milliseconds for a lab.
    pub fn leave(mut self) {
        self.control = None;
        // Only so that no zombie stays as long as this process lives.
        match std::thread::Builder::new().spawn(move || drop(self)) {
            Ok(thread) => drop(thread),
            Err(error) => tracing::debug!(%error, "no thread to wait for a sandbox on: it was waited for here"),
        }
    }

    /// Process id of stage 1, the parent's only child; stage 2 is stage 1's only child.
    pub fn stage1(&self) -> u32 {
        self.stage1.id()
    }

    /// Mounts that the kernel would not make read-only.
    pub fn writable(&self) -> &[PathBuf] {
        &self.writable
    }
}

impl Drop for Sandbox {
    /// Closes the control pipe, at which stage 2 ends, and waits for stage 1, which ends right after.
    fn drop(&mut self) {
        self.control = None;
        if let Err(error) = self.stage1.wait() {
            tracing::warn!(%error, "failed to wait for the sandbox to end");
        }
    }
}
