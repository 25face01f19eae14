//! Runs one scenario in a sandbox of its own and brings its record back.
//!
//! The parent ([`run_scenario`]) holds no privilege and touches no namespace; the child ([`job`]) builds the lab, runs, and
//! writes what it has to say as lines of JSON. Command line, tests and library all come this way.

mod cause;
mod guest;
mod hold;
mod pause;
mod replaying;
mod requires;
mod shell;

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use cause::chain;
pub use guest::this_program;
use hold::HoldAt;
pub use pause::{Ask, Finish, Next, Pause, Paused, Reply, Told, run_paused};
use replaying::replay_job;
pub use replaying::run_replay;
pub use shell::{Ran, Shell, shell};

use crate::backend::RuleBackend;
use crate::capture::Capture;
use crate::deviation::Switches;
use crate::flow::Flow;
use crate::kernel::sandbox::{Sandbox, SandboxError};
use crate::lab::Lab;
use crate::record::{Record, StepRecord};
use crate::replay::{Replayed, Unsaid};
use crate::scenario::Scenario;
use crate::why::Answer;
use crate::{run, scenario};

/// What the child is told to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Run this scenario.
    Scenario {
        /// The file's name, for messages.
        path: String,
        /// Its text.
        text: String,
        /// A `tracing` filter (`info`, `dvrlab=debug`), none for silence.
        log: Option<String>,
        /// Stand still for ever after so many operations and matrices: for tests that end a lab at a chosen point.
        #[serde(default)]
        hold: Option<u32>,
        /// What the command line decides over the scenario's own word.
        #[serde(default)]
        overrides: Overrides,
    },
    /// Replay this recording.
    Replay {
        /// Its text.
        text: String,
        /// What router dicts alone do not say.
        unsaid: Unsaid,
        /// Deviations from the real agent to switch on: all are off unless it says so.
        deviations: Switches,
        /// How iptables rules are written and read.
        rules: RuleBackend,
        /// As for a scenario.
        log: Option<String>,
    },
    /// Build a scenario up to a step and run a program in it.
    Shell(Shell),
    /// Build this scenario up to a step and tell the ways of flows.
    Why {
        /// The file's name, for messages.
        path: String,
        /// Its text.
        text: String,
        /// How many of its steps are done first.
        steps: usize,
        /// What is sent.
        flows: Vec<Flow>,
        /// What the command line decides over the scenario's own word.
        #[serde(default)]
        overrides: Overrides,
    },
}

/// What the command line decides over a scenario's own word.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// Deviations from the real agent.
    pub deviations: Switches,
    /// How iptables rules are written and read.
    pub rules: Option<RuleBackend>,
    /// Prove that the watch sees, before the first step and after the last.
    pub prove_watch: bool,
    /// The router has this fault of the scenario, counted from 0.
    pub fault: Option<usize>,
    /// The run is over when this sentence has failed.
    pub until: Option<String>,
    /// How the notifications of every step arrive.
    pub delivery: Option<run::Delivery>,
    /// Where it stands still.
    pub pause: Pause,
    /// Capture every frame of every namespace; else only those that a failure calls for.
    pub pcap: bool,
}

/// What was captured in a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCapture {
    /// The step's number.
    pub number: usize,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The frames.
    pub capture: Capture,
}

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    /// A step is done.
    Step(Box<StepRecord>),
    /// What was captured in the step that is told of next.
    Captured(Box<StepCapture>),
    /// All steps are.
    End(Box<Record>),
    /// The ways of the flows that were asked for.
    Answer(Box<Answer>),
    /// The program that was asked for has ended.
    Ran(Ran),
    /// Of a run that can stand still.
    Pause(pause::Word),
    /// The lab could not be had.
    Fault(String),
    /// A step of a replay is done.
    Replayed(Box<Replayed>),
    /// All of them are.
    ReplayEnd,
    /// A step of the replay needs what this machine does not have.
    Unsupported(String),
    /// The chosen point is reached: the operation just done, or `matrix`.
    Held(String),
}

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// This machine cannot run labs.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The lab could not be set up inside the sandbox.
    #[error("the lab could not be set up: {0}")]
    Lab(String),
    /// A step needs what this machine does not have.
    #[error("{0}")]
    Unsupported(String),
    /// Somebody ended the run where it stood still.
    #[error("ended by hand")]
    Stopped,
    /// The child ended without a record.
    #[error("the lab's process ended before its scenario did{}", exit.as_ref().map(|status| format!(" ({status})")).unwrap_or_default())]
    Ended {
        /// How it ended.
        exit: Option<std::process::ExitStatus>,
    },
    /// The pipe to the child failed.
    #[error("failed to read from the lab's process")]
    Pipe(#[source] std::io::Error),
    /// The child said something that is no record.
    #[error("failed to understand the lab's process")]
    Garbled(#[source] serde_json::Error),
}

/// Runs a scenario in a sandbox made by `program` (the `dvrlab` binary), telling each step as it is done. When it returns the
/// lab is about to end, which the kernel does by itself.
///
/// # Errors
/// [`HarnessError`] if there is no record; a scenario that fails has one.
pub fn run_scenario(program: &Path, job: &Job, told: &mut dyn FnMut(StepRecord)) -> Result<Record, HarnessError> {
    run_captured(program, job, told, &mut drop)
}

/// As [`run_scenario`], and hands over what was captured in a step before the step is told.
///
/// # Errors
/// As [`run_scenario`].
pub fn run_captured(
    program: &Path,
    job: &Job,
    told: &mut dyn FnMut(StepRecord),
    captured: &mut dyn FnMut(StepCapture),
) -> Result<Record, HarnessError> {
    let job = serde_json::to_string(job).map_err(HarnessError::Garbled)?;
    let mut sandbox = Sandbox::spawn(program, &job)?;
    let mut record = None;
    while let Some(line) = sandbox.read_line().map_err(HarnessError::Pipe)? {
        match serde_json::from_str(&line).map_err(HarnessError::Garbled)? {
            Said::Step(step) => told(*step),
            Said::Captured(frames) => captured(*frames),
            Said::End(end) => {
                record = Some(*end);
                break;
            }
            Said::Fault(text) => return Err(HarnessError::Lab(text)),
            Said::Unsupported(text) => return Err(HarnessError::Unsupported(text)),
            Said::Held(_) | Said::Replayed(_) | Said::ReplayEnd | Said::Answer(_) | Said::Ran(_) | Said::Pause(_) => {}
        }
    }
    match record {
        Some(record) => {
            sandbox.leave();
            Ok(record)
        }
        None => Err(HarnessError::Ended { exit: Some(sandbox.finish().map_err(HarnessError::Pipe)?) }),
    }
}

/// Has a job of the kind [`Job::Why`] done in a sandbox made by `program`.
///
/// # Errors
/// [`HarnessError`] if there is no answer.
pub fn why(program: &Path, job: &Job) -> Result<Answer, HarnessError> {
    let job = serde_json::to_string(job).map_err(HarnessError::Garbled)?;
    let mut sandbox = Sandbox::spawn(program, &job)?;
    while let Some(line) = sandbox.read_line().map_err(HarnessError::Pipe)? {
        match serde_json::from_str(&line).map_err(HarnessError::Garbled)? {
            Said::Answer(answer) => return Ok(*answer),
            Said::Fault(text) => return Err(HarnessError::Lab(text)),
            Said::Unsupported(text) => return Err(HarnessError::Unsupported(text)),
            Said::Step(_)
            | Said::Captured(_)
            | Said::End(_)
            | Said::Held(_)
            | Said::Replayed(_)
            | Said::ReplayEnd
            | Said::Ran(_)
            | Said::Pause(_) => {}
        }
    }
    Err(HarnessError::Ended { exit: Some(sandbox.finish().map_err(HarnessError::Pipe)?) })
}

/// The child's side: what pid 1 of a sandbox runs. Gives its exit status.
pub fn job(text: &str, out: &mut dyn Write) -> i32 {
    let result = serde_json::from_str(text).map_err(std::io::Error::from).and_then(|job: Job| match job {
        Job::Scenario { path, text, log, hold, overrides } => {
            scenario_job((&path, &text), log.as_deref(), hold, &overrides, out)
        }
        Job::Replay { text, unsaid, deviations, rules, log } => {
            replay_job((&text, &unsaid), &deviations, rules, log.as_deref(), out)
        }
        Job::Shell(shell) => say(out, &shell::ran(&shell).map_or_else(|said| said, Said::Ran)),
        Job::Why { path, text, steps, flows, overrides } => {
            let answer = parsed((&path, &text), &overrides).and_then(|scenario| {
                let lab = lab(scenario.intent.settings.rules)?;
                Ok(run::why(&scenario, &lab, steps, &flows))
            });
            say(out, &answer.map_or_else(|said| said, |answer| Said::Answer(Box::new(answer))))
        }
    });
    match result {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(%error, "the record could not be written");
            70
        }
    }
}

fn scenario_job(
    (path, text): (&str, &str),
    log: Option<&str>,
    hold: Option<u32>,
    overrides: &Overrides,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    listen(log);
    let scenario = match parsed((path, text), overrides) {
        Ok(scenario) => scenario,
        Err(said) => return say(out, &said),
    };
    let lab = match lab(scenario.intent.settings.rules) {
        Ok(lab) => lab,
        Err(said) => return say(out, &said),
    };
    if overrides.pcap {
        lab.capture();
    }
    let out = RefCell::new(out);
    let broken = Cell::new(None);
    let dataplane = HoldAt { lab, left: Cell::new(hold), out: &out };
    let options = run::Options {
        prove_watch: overrides.prove_watch,
        fault: overrides.fault,
        until: overrides.until.clone(),
        delivery: overrides.delivery,
    };
    let stand = pause::Stand::new(overrides.pause, &scenario);
    let record = run::run(&scenario, options, &dataplane, &mut |step| {
        let capture = dataplane.lab.captured();
        let frames =
            (!capture.is_empty()).then(|| StepCapture { number: step.number, name: step.name.clone(), capture });
        let captured = frames.map(|frames| Said::Captured(Box::new(frames)));
        for said in captured.into_iter().chain([Said::Step(Box::new(step.clone()))]) {
            if let Err(error) = say(*out.borrow_mut(), &said) {
                broken.set(Some(error));
            }
        }
        if let Err(error) = stand.step(step, &dataplane.lab, &out) {
            broken.set(Some(error));
        }
    });
    let (broken, out) = (broken.into_inner(), out.into_inner());
    match broken {
        Some(error) => Err(error),
        None => say(out, &Said::End(Box::new(record))),
    }
}

/// An empty lab with this back end, or what to say of there being none.
fn lab(rules: RuleBackend) -> Result<Lab, Said> {
    let lab = Lab::with_rules(rules).map_err(|error| Said::Fault(error.to_string()))?;
    match lab.rules_available() {
        Ok(()) => Ok(lab),
        Err(error) => Err(Said::Unsupported(format!("rules by {rules}: {}", chain(&error)))),
    }
}

/// Prints what happens inside, if asked to.
fn listen(log: Option<&str>) {
    if let Some(filter) = log {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .without_time()
            .init();
    }
}

/// A scenario with what the command line decides; else what is wrong with it, or what it misses here, in words.
fn parsed((path, text): (&str, &str), overrides: &Overrides) -> Result<Scenario, Said> {
    let mut scenario =
        scenario::parse(path, text).map_err(|notes| Said::Fault(scenario::render(&notes, text, path, false)))?;
    if let Some(missing) = requires::missing(&scenario.requires) {
        return Err(Said::Unsupported(missing));
    }
    let settings = &mut scenario.intent.settings;
    settings.deviations = overrides.deviations.apply(settings.deviations);
    settings.rules = overrides.rules.unwrap_or(settings.rules);
    Ok(scenario)
}

/// In one piece: standard output hands a line on in parts of a kilobyte, and a record has hundreds.
fn say(out: &mut dyn Write, said: &Said) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}
