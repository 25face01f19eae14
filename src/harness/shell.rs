//! A program, or a shell, in the lab of a scenario.
//!
//! In: a scenario, how far to go in it, and what is to run where. Out: how that ended. Never: a judgement.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{HarnessError, Job, Overrides, Said, chain, lab, parsed};
use crate::kernel::sandbox::Sandbox;
use crate::run;

/// What to build, and what to run in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shell {
    /// The file's name, for messages.
    pub path: String,
    /// Its text.
    pub text: String,
    /// How many of its steps are done first.
    pub steps: usize,
    /// Where: an instance, a machine outside, a host, or `HOST/NAMESPACE`.
    pub place: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Whether it reads and writes on the terminal.
    pub terminal: bool,
    /// What the command line decides over the scenario's own word.
    #[serde(default)]
    pub overrides: Overrides,
}

/// How a program ended that was run in a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Its exit code, 128 and the signal's number if one ended it.
    pub code: i32,
    /// What it wrote; nothing of a program on the terminal.
    pub output: String,
    /// What went wrong while the scenario was built.
    pub failures: Vec<String>,
}

/// Builds the scenario in a sandbox made by `program` and runs what is to run there. What is on the terminal stays there.
///
/// # Errors
/// [`HarnessError`] if the program was not run.
pub fn shell(program: &Path, shell: &Shell) -> Result<Ran, HarnessError> {
    let job = serde_json::to_string(&Job::Shell(shell.clone())).map_err(HarnessError::Garbled)?;
    let mut sandbox = if shell.terminal { Sandbox::attached(program, &job)? } else { Sandbox::spawn(program, &job)? };
    while let Some(line) = sandbox.read_line().map_err(HarnessError::Pipe)? {
        match serde_json::from_str(&line).map_err(HarnessError::Garbled)? {
            Said::Ran(ran) => return Ok(ran),
            Said::Fault(text) => return Err(HarnessError::Lab(text)),
            Said::Unsupported(text) => return Err(HarnessError::Unsupported(text)),
            Said::Step(_)
            | Said::Captured(_)
            | Said::End(_)
            | Said::Held(_)
            | Said::Replayed(_)
            | Said::ReplayEnd
            | Said::Answer(_)
            | Said::Pause(_) => {}
        }
    }
    Err(HarnessError::Ended { exit: Some(sandbox.finish().map_err(HarnessError::Pipe)?) })
}

/// The child's side.
pub(super) fn ran(shell: &Shell) -> Result<Ran, Said> {
    let scenario = parsed((&shell.path, &shell.text), &shell.overrides)?;
    let lab = lab(scenario.intent.settings.rules)?;
    let failures = run::stand(&scenario, &lab, shell.steps);
    let ended = lab.run_at(&shell.place, &shell.command, shell.terminal);
    let ended = ended.map_err(|error| Said::Unsupported(chain(&error)))?;
    Ok(Ran { code: ended.code, output: ended.output, failures })
}
