//! The prompt of a run that stands still: look, ask, go on, go back.
//!
//! In: lines of standard input. Out: what they ask for, on standard output. Never: a line that ends the program by being wrong;
//! the end of the input ends the run.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::Path;

use super::super::files::Loaded;
use super::super::{Color, out, why};
use crate::flow::Flow;
use crate::harness::{Ask, Finish, HarnessError, Job, Next, Overrides, Pause, Paused, Reply, Told, run_paused};
use crate::record::{Record, StepRecord};
use crate::report::{self, Detail};
use crate::scenario::{self, Scenario};
use crate::why::text;

const HELP: &str = "\
  look [PLACE]        what stands at a host, a HOST/NAMESPACE or a machine; without one: the places
  step                what this step changed, and who reaches whom
  why FLOW            the way of a packet, there and back: `why vm1 -> web tcp/80`
  probe FLOW          what becomes of a flow
  run PLACE CMD...    a program there, reading nothing
  shell [PLACE]       a shell there, on a terminal
  continue (c)        go on to the next pause or the end
  next (n)            go on to the end of the next step
  back [STEP] (b)     build anew up to the step before, or to STEP
  quit (q)            end it here
";

/// What a person at the prompt decided.
enum Decision {
    Next(Next),
    Stay,
}

/// A run at whose pauses somebody is asked.
pub(super) struct Prompt<'a> {
    pub(super) source: &'a Loaded,
    pub(super) program: &'a Path,
    pub(super) color: Color,
}

impl Prompt<'_> {
    /// Runs a scenario, again and again if that is asked for, each time after `begin`.
    ///
    /// # Errors
    /// [`HarnessError::Stopped`] if it was ended by hand.
    pub(super) fn run(
        &self,
        pause: Pause,
        job: &dyn Fn(Pause) -> Job,
        begin: &mut dyn FnMut(),
        told: &mut Told<'_>,
    ) -> Result<Record, HarnessError> {
        let terminal = io::stdin().is_terminal();
        let mut pause = pause;
        loop {
            begin();
            let mut prompt = |paused: &mut Paused<'_>| self.ask(paused, terminal);
            match run_paused(self.program, &job(pause), terminal, told, &mut prompt)? {
                Finish::Record(record) => return Ok(*record),
                Finish::Back(step) => pause.at = Some(step),
                Finish::Quit => return Err(HarnessError::Stopped),
            }
        }
    }

    /// Shows where the run stands, and does what is asked for until it is to go on.
    fn ask(&self, paused: &mut Paused<'_>, terminal: bool) -> Result<Next, HarnessError> {
        let Some(here) = paused.steps.last().cloned() else { return Ok(Next::Go(None)) };
        let title = report::step_title(&here);
        out(&format!("\n{} stands after {title}; `help` lists what can be asked\n", self.source.scenario.name));
        for failure in &here.failures {
            out(&format!("  {}\n", failure.text));
        }
        let mut lines = io::stdin().lock();
        loop {
            out(&format!("{title}> "));
            let mut line = String::new();
            if lines.read_line(&mut line).map_err(HarnessError::Pipe)? == 0 {
                out("\n");
                return Ok(Next::Quit);
            }
            if !terminal {
                out(&line);
            }
            match self.obey(line.trim(), paused, &here, terminal)? {
                Decision::Next(next) => return Ok(next),
                Decision::Stay => {}
            }
        }
    }

    fn obey(
        &self,
        line: &str,
        paused: &mut Paused<'_>,
        here: &StepRecord,
        terminal: bool,
    ) -> Result<Decision, HarnessError> {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let scenario = &self.source.scenario;
        match word {
            "" => {}
            "help" | "h" | "?" => out(HELP),
            "look" | "l" => out(&look(here, rest)),
            "step" => {
                let before = paused.steps.len().checked_sub(2).and_then(|at| paused.steps.get(at));
                out(&report::step(here, before, Detail::Operations));
            }
            "continue" | "c" => return Ok(Decision::Next(Next::Go(None))),
            "next" | "n" => return Ok(Decision::Next(Next::Go(Some(here.number + 1)))),
            "quit" | "q" => return Ok(Decision::Next(Next::Quit)),
            "back" | "b" => match back(scenario, here, rest) {
                Ok(step) => return Ok(Decision::Next(Next::Back(step))),
                Err(told) => out(&format!("{told}\n")),
            },
            "why" | "probe" | "p" => match self.flows(rest, here) {
                Ok(flows) if word == "why" => Self::show(paused.ask(&Ask::Why(flows))?, here),
                Ok(flows) => Self::show(paused.ask(&Ask::Send(flows))?, here),
                Err(told) => out(&told),
            },
            "run" | "shell" => match program(word, rest, scenario, terminal) {
                Ok(ask) => Self::show(paused.ask(&ask)?, here),
                Err(told) => out(&format!("{told}\n")),
            },
            other => out(&format!("there is no `{other}`\n{HELP}")),
        }
        Ok(Decision::Stay)
    }

    fn flows(&self, text: &str, here: &StepRecord) -> Result<Vec<Flow>, String> {
        let intent = self.source.scenario.intent_after(here.number);
        let color = self.color.wanted(io::stdout().is_terminal());
        scenario::flows(text, &intent).map_err(|notes| scenario::render(&notes, text, "FLOW", color))
    }

    fn show(reply: Reply, here: &StepRecord) {
        match reply {
            Reply::Why(answer) => {
                let ways = answer.explanations.iter().map(|one| format!("{}\n", text(one, &answer.names)));
                out(&ways.collect::<String>());
            }
            Reply::Sent(reports) => {
                for report in &reports {
                    let (from, to) = report::ends(&report.flow, &here.owners);
                    let outcome = report::outcome_text(report, &here.owners);
                    out(&format!("  {}  {from} -> {to}: {outcome}\n", report.flow.spoken()));
                }
            }
            Reply::Ran(ran) => {
                out(&ran.output);
                if ran.code != 0 {
                    out(&format!("exit code {}\n", ran.code));
                }
            }
            Reply::Failed(told) => out(&format!("{told}\n")),
        }
    }
}

/// The job with what the prompt decides.
pub(super) fn with(job: Job, pause: Pause) -> Job {
    match job {
        Job::Scenario { path, text, log, hold, overrides } => {
            Job::Scenario { path, text, log, hold, overrides: Overrides { pause, ..overrides } }
        }
        other @ (Job::Replay { .. } | Job::Shell(_) | Job::Why { .. }) => other,
    }
}

/// What stands at a place, or which places there are.
fn look(here: &StepRecord, place: &str) -> String {
    let mut text = Vec::new();
    if place.is_empty() {
        let machines = here.scene.machines.keys().map(String::as_str);
        let all: Vec<&str> = here.state.keys().map(String::as_str).chain(machines).collect();
        return format!("  {}\n", all.join("\n  "));
    }
    let below = format!("{place}/");
    for (name, lines) in here.state.iter().filter(|(name, _)| *name == place || name.starts_with(&below)) {
        text.push(format!("  {name}"));
        let own = lines.iter().filter(|line| !line.constant);
        text.extend(own.map(|line| format!("    {:<9} {}", report::kind_word(line.kind), line.text)));
    }
    for plug in here.scene.machines.get(place).into_iter().flat_map(|machine| &machine.ports) {
        let on = plug.host.as_ref().map_or_else(String::new, |host| format!(" on {host}"));
        text.push(format!("  in {}{on}: {}", plug.into, plug.addresses.join(", ")));
    }
    if text.is_empty() {
        return format!("nothing stands at `{place}`\n{}", look(here, ""));
    }
    text.join("\n") + "\n"
}

/// The step to go back to.
fn back(scenario: &Scenario, here: &StepRecord, rest: &str) -> Result<usize, String> {
    match rest {
        "" => here.number.checked_sub(1).ok_or_else(|| "there is nothing before this".to_owned()),
        step => why::steps(scenario, Some(step)),
    }
}

/// A program at a place.
fn program(word: &str, rest: &str, scenario: &Scenario, terminal: bool) -> Result<Ask, String> {
    let mut words = rest.split_whitespace().map(str::to_owned);
    let first = scenario.intent.host_order.first().map(ToString::to_string);
    let place = words.next().or(first).ok_or_else(|| format!("write `{word} PLACE`: the scenario has no host"))?;
    if word == "shell" {
        if !terminal {
            return Err("a shell needs a terminal; `run PLACE CMD...` runs a program without one".to_owned());
        }
        let command = ["sh", "+m"].map(str::to_owned).to_vec();
        return Ok(Ask::Run { place, command, terminal });
    }
    let command: Vec<String> = words.filter(|word| word != "--").collect();
    if command.is_empty() {
        return Err("write `run PLACE CMD...`".to_owned());
    }
    Ok(Ask::Run { place, command, terminal: false })
}
