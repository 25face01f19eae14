//! `dvrlab why`.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use super::{Color, EXIT_BAD_INPUT, EXIT_BUG, EXIT_FAILED, EXIT_NO_LAB, EXIT_OK, err, files, out, run};
use crate::deviation::Switches;
use crate::harness::{self, HarnessError, Job, Overrides};
use crate::scenario::{self, Scenario};
use crate::why::{Answer, text};

const EXAMPLES: &str = "Examples:
  dvrlab why scenarios/floating-ip/in-out.yaml@given 'vm1 -> web tcp/80'
  dvrlab why scenarios/snat/basic.yaml 'web -> 203.0.113.10 icmp'";

/// Arguments of `why`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// A scenario file; with `@STEP` up to that step, by number or name (`0`: before the first one), else to its end.
    #[arg(value_name = "SCENARIO[@STEP]")]
    scenario: String,
    /// A flow as a scenario writes it: `vm1 -> web tcp/80`.
    flow: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Switch deviations from the real agent, over what the scenario says: `none`, or `drop-invalid=false,...`.
    #[arg(long, value_name = "LIST")]
    deviations: Option<Switches>,
}

pub(super) fn why(arguments: &Arguments, color: Color) -> i32 {
    let (file, step) = parted(&arguments.scenario);
    let mut loaded = match files::load(&[file], color) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let (Some(one), true) = (loaded.pop(), loaded.is_empty()) else {
        err("error: this is a directory: name one scenario\n");
        return EXIT_BAD_INPUT;
    };
    let steps = match steps(&one.scenario, step.as_deref()) {
        Ok(steps) => steps,
        Err(told) => {
            err(&format!("error: {told}\n"));
            return EXIT_BAD_INPUT;
        }
    };
    let flows = match scenario::flows(&arguments.flow, &one.scenario.intent_after(steps)) {
        Ok(flows) => flows,
        Err(notes) => {
            let color = color.wanted(io::stderr().is_terminal());
            err(&scenario::render(&notes, &arguments.flow, "FLOW", color));
            return EXIT_BAD_INPUT;
        }
    };
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            err(&format!("error: this program cannot find itself: {error}\n"));
            return EXIT_BUG;
        }
    };
    let job = Job::Why {
        path: one.file.to_string_lossy().into_owned(),
        text: one.text,
        steps,
        flows,
        overrides: Overrides { deviations: arguments.deviations.clone().unwrap_or_default(), ..Overrides::default() },
    };
    match harness::why(&program, &job) {
        Ok(answer) => print(&answer, arguments.json),
        Err(HarnessError::Sandbox(error)) => {
            let remedy = error.remedy().map(|remedy| format!("\n  {remedy}")).unwrap_or_default();
            err(&format!("this machine cannot run labs: {}{remedy}\n", run::chain(&error)));
            EXIT_NO_LAB
        }
        Err(error) => {
            err(&format!("error: {}\n", run::chain(&error)));
            EXIT_BUG
        }
    }
}

/// What is asked for is told whatever became of the packet; only what kept it from being told is a failure.
fn print(answer: &Answer, json: bool) -> i32 {
    for failure in &answer.failures {
        err(&format!("warning: {failure}\n"));
    }
    if json {
        match serde_json::to_string_pretty(answer) {
            Ok(text) => out(&format!("{text}\n")),
            Err(error) => {
                err(&format!("error: {error}\n"));
                return EXIT_BUG;
            }
        }
    } else {
        let texts: Vec<String> = answer.explanations.iter().map(|one| text(one, &answer.names)).collect();
        out(&texts.join("\n"));
    }
    if answer.failures.is_empty() { EXIT_OK } else { EXIT_FAILED }
}

/// File and step. A file that has an `@` in its name is found as well.
pub(super) fn parted(text: &str) -> (PathBuf, Option<String>) {
    match text.rsplit_once('@') {
        Some((file, step)) if !Path::new(text).exists() => (PathBuf::from(file), Some(step.to_owned())),
        Some(_) | None => (PathBuf::from(text), None),
    }
}

/// How many steps are done first.
pub(super) fn steps(scenario: &Scenario, step: Option<&str>) -> Result<usize, String> {
    let last = scenario.steps.len();
    let Some(step) = step else { return Ok(last) };
    if let Some(named) = scenario.steps.iter().find(|one| one.label() == step) {
        return Ok(named.number);
    }
    match step.parse::<usize>() {
        Ok(number) if number <= last => Ok(number),
        Ok(_) | Err(_) => {
            let labels: Vec<String> = scenario.steps.iter().map(scenario::Step::label).collect();
            Err(format!("there is no step `{step}`; there are 0, {}", labels.join(", ")))
        }
    }
}
