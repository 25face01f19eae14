//! A recording, replayed in a sandbox.
//!
//! In: a recording's text. Out: its steps as they are done. Never: a judgement.

use std::io::Write;
use std::path::Path;

use super::{HarnessError, Job, Said, chain, lab, listen, say};
use crate::backend::RuleBackend;
use crate::dataplane::ExecError;
use crate::deviation::{Deviations, Switches};
use crate::kernel::sandbox::Sandbox;
use crate::replay::{self, Recording, ReplayError, Replayed, Unsaid};

/// Replays a recording in a sandbox made by `program`, telling each step as it is done.
///
/// # Errors
/// [`HarnessError`] if it does not come to its end; a step that fails says so itself.
pub fn run_replay(program: &Path, job: &Job, told: &mut dyn FnMut(Replayed)) -> Result<(), HarnessError> {
    let job = serde_json::to_string(job).map_err(HarnessError::Garbled)?;
    let mut sandbox = Sandbox::spawn(program, &job)?;
    while let Some(line) = sandbox.read_line().map_err(HarnessError::Pipe)? {
        match serde_json::from_str(&line).map_err(HarnessError::Garbled)? {
            Said::Replayed(step) => told(*step),
            Said::ReplayEnd => return Ok(()),
            Said::Fault(text) => return Err(HarnessError::Lab(text)),
            Said::Unsupported(text) => return Err(HarnessError::Unsupported(text)),
            Said::Step(_)
            | Said::Captured(_)
            | Said::End(_)
            | Said::Held(_)
            | Said::Answer(_)
            | Said::Ran(_)
            | Said::Pause(_) => {}
        }
    }
    Err(HarnessError::Ended { exit: Some(sandbox.finish().map_err(HarnessError::Pipe)?) })
}

/// The child's side.
pub(super) fn replay_job(
    (text, unsaid): (&str, &Unsaid),
    deviations: &Switches,
    rules: RuleBackend,
    log: Option<&str>,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    listen(log);
    let mut recording: Recording = match replay::parse(text, unsaid) {
        Ok(recording) => recording,
        Err(mistakes) => {
            let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            return say(out, &Said::Fault(lines.join("\n")));
        }
    };
    recording.options.deviations = deviations.apply(Deviations::NONE);
    let lab = match lab(rules) {
        Ok(lab) => lab,
        Err(said) => return say(out, &said),
    };
    let mut broken = None;
    let ended = replay::replay(&recording, &lab, &mut |step| {
        if let Err(error) = say(out, &Said::Replayed(Box::new(step))) {
            broken = Some(error);
        }
    });
    match (broken, ended) {
        (Some(error), _) => Err(error),
        (None, Ok(())) => say(out, &Said::ReplayEnd),
        (None, Err(error @ ReplayError::Exec { source: ExecError::Missing(_), .. })) => {
            say(out, &Said::Unsupported(error.to_string()))
        }
        (None, Err(error)) => say(out, &Said::Fault(chain(&error))),
    }
}
