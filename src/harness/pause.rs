//! A run that stands still after a step, so that somebody can look around in the lab as it is then.
//!
//! In: where to stand still, and what is asked for there. Out: answers, from the lab itself. Never: a change of the lab's
//! configuration by itself; packets that are asked for are not held against the scenario.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{HarnessError, Job, Ran, Said, StepCapture, chain, say};
use crate::dataplane::{Dataplane, DataplaneError};
use crate::flow::{Flow, ProbeReport};
use crate::kernel::sandbox::{self, Sandbox};
use crate::lab::Lab;
use crate::record::{Record, StepRecord};
use crate::run;
use crate::scenario::Scenario;
use crate::why::Answer;

/// Where a run stands still.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// After a step in which anything failed.
    pub on_fail: bool,
    /// After the step of this number.
    pub at: Option<usize>,
}

/// What is asked for while a run stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// The ways of these flows.
    Why(Vec<Flow>),
    /// What becomes of these flows.
    Send(Vec<Flow>),
    /// A program at a place, on the terminal or not.
    Run {
        /// As for `shell`.
        place: String,
        /// The program and its arguments.
        command: Vec<String>,
        /// Whether it reads and writes on the terminal.
        terminal: bool,
    },
    /// Go on; stand still after this step, too.
    Go(Option<usize>),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The ways.
    Why(Box<Answer>),
    /// What became of the flows, in their order.
    Sent(Vec<ProbeReport>),
    /// How the program ended.
    Ran(Ran),
    /// It could not be done.
    Failed(String),
}

/// What a child that can stand still says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// It stands still after the step of this number.
    Paused(usize),
    /// An answer.
    Reply(Reply),
}

/// What to do next with a run that stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Go on, up to the end of this step if it is one that comes.
    Go(Option<usize>),
    /// Build everything anew up to the end of this step, and stand still there.
    Back(usize),
    /// End it.
    Quit,
}

/// How a run ended that could stand still.
#[derive(Debug)]
pub enum Finish {
    /// With its record.
    Record(Box<Record>),
    /// It is to be built anew up to this step.
    Back(usize),
    /// Somebody had enough.
    Quit,
}

/// What is told while a run goes on: its steps, and before each what was captured in it.
pub struct Told<'a> {
    /// A step is done.
    pub step: &'a mut dyn FnMut(&StepRecord),
    /// Something was captured in the step told of next.
    pub captured: &'a mut dyn FnMut(StepCapture),
}

/// A run that stands still.
#[derive(Debug)]
pub struct Paused<'a> {
    sandbox: &'a mut Sandbox,
    /// The steps done so far; the last one is where it stands.
    pub steps: &'a [StepRecord],
}

impl Paused<'_> {
    /// Asks for something, and waits for the answer.
    ///
    /// # Errors
    /// [`HarnessError`] if the lab's process is gone.
    pub fn ask(&mut self, ask: &Ask) -> Result<Reply, HarnessError> {
        tell(self.sandbox, ask)?;
        while let Some(line) = self.sandbox.read_line().map_err(HarnessError::Pipe)? {
            if let Said::Pause(Word::Reply(reply)) = serde_json::from_str(&line).map_err(HarnessError::Garbled)? {
                return Ok(reply);
            }
        }
        Err(HarnessError::Ended { exit: None })
    }
}

fn tell(sandbox: &mut Sandbox, ask: &Ask) -> Result<(), HarnessError> {
    let line = serde_json::to_string(ask).map_err(HarnessError::Garbled)?;
    sandbox.tell_line(&line).map_err(HarnessError::Pipe)
}

/// As [`super::run_captured`], of a job with [`Pause`]: where it stands still `prompt` says how it goes on. `terminal` is whether
/// programs may be asked for on the terminal.
///
/// # Errors
/// As [`super::run_captured`], and what `prompt` gives.
pub fn run_paused(
    program: &Path,
    job: &Job,
    terminal: bool,
    told: &mut Told<'_>,
    prompt: &mut dyn FnMut(&mut Paused<'_>) -> Result<Next, HarnessError>,
) -> Result<Finish, HarnessError> {
    let job = serde_json::to_string(job).map_err(HarnessError::Garbled)?;
    let mut sandbox = if terminal { Sandbox::attached(program, &job)? } else { Sandbox::spawn(program, &job)? };
    let mut steps = Vec::new();
    while let Some(line) = sandbox.read_line().map_err(HarnessError::Pipe)? {
        match serde_json::from_str(&line).map_err(HarnessError::Garbled)? {
            Said::Step(step) => {
                (told.step)(&step);
                steps.push(*step);
            }
            Said::Captured(frames) => (told.captured)(*frames),
            Said::End(end) => return Ok(Finish::Record(end)),
            Said::Fault(text) => return Err(HarnessError::Lab(text)),
            Said::Unsupported(text) => return Err(HarnessError::Unsupported(text)),
            Said::Pause(Word::Paused(_)) => match prompt(&mut Paused { sandbox: &mut sandbox, steps: &steps })? {
                Next::Go(at) => tell(&mut sandbox, &Ask::Go(at))?,
                Next::Back(step) => return Ok(Finish::Back(step)),
                Next::Quit => return Ok(Finish::Quit),
            },
            Said::Pause(Word::Reply(_))
            | Said::Held(_)
            | Said::Replayed(_)
            | Said::ReplayEnd
            | Said::Answer(_)
            | Said::Ran(_) => {}
        }
    }
    Err(HarnessError::Ended { exit: Some(sandbox.finish().map_err(HarnessError::Pipe)?) })
}

/// The child's side of a pause.
pub(super) struct Stand<'a> {
    on_fail: bool,
    at: Cell<Option<usize>>,
    scenario: &'a Scenario,
}

impl<'a> Stand<'a> {
    pub(super) fn new(pause: Pause, scenario: &'a Scenario) -> Self {
        Self { on_fail: pause.on_fail, at: Cell::new(pause.at), scenario }
    }

    /// A step is done: stands still if it is to, and answers until it may go on.
    pub(super) fn step(&self, step: &StepRecord, lab: &Lab, out: &RefCell<&mut dyn Write>) -> io::Result<()> {
        let failed = self.on_fail && !step.failures.is_empty();
        if !failed && self.at.get() != Some(step.number) {
            return Ok(());
        }
        say(*out.borrow_mut(), &Said::Pause(Word::Paused(step.number)))?;
        let asked = loop {
            let Some(line) = sandbox::hear() else { return Err(io::ErrorKind::BrokenPipe.into()) };
            let reply = match serde_json::from_str(&line)? {
                Ask::Go(at) => break at,
                ask @ (Ask::Why(_) | Ask::Send(_) | Ask::Run { .. }) => self.answer(&ask, step.number, lab),
            };
            say(*out.borrow_mut(), &Said::Pause(Word::Reply(reply)))?;
        };
        self.at.set(asked);
        // What was sent by hand is none of the next step's.
        let seen = lab.caught().map(drop).and_then(|()| lab.counted().map(drop));
        seen.map_err(io::Error::other)?;
        drop(lab.captured());
        Ok(())
    }

    fn answer(&self, ask: &Ask, steps: usize, lab: &Lab) -> Reply {
        let failed = |error: DataplaneError| Reply::Failed(chain(&error));
        match ask {
            Ask::Why(flows) => {
                let names = run::names(self.scenario, lab, steps);
                let answers: Result<Vec<_>, _> = flows.iter().map(|flow| lab.explain(flow)).collect();
                answers.map_or_else(failed, |explanations| {
                    Reply::Why(Box::new(Answer { explanations, names, failures: Vec::new() }))
                })
            }
            Ask::Send(flows) => lab.send(flows).map_or_else(failed, Reply::Sent),
            Ask::Run { place, command, terminal } => match lab.run_at(place, command, *terminal) {
                Ok(ended) => Reply::Ran(Ran { code: ended.code, output: ended.output, failures: Vec::new() }),
                Err(error) => Reply::Failed(chain(&error)),
            },
            Ask::Go(_) => Reply::Failed("it goes on".to_owned()),
        }
    }
}
