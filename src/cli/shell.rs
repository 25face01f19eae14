//! `dvrlab shell`.

use std::io::IsTerminal as _;

use super::{Color, EXIT_BAD_INPUT, EXIT_BUG, EXIT_NO_LAB, err, files, out, run, why};
use crate::deviation::Switches;
use crate::harness::{self, HarnessError, Overrides, Shell};

const EXAMPLES: &str = "Examples:
  dvrlab shell scenarios/floating-ip/in-out.yaml@given cmp1
  dvrlab shell scenarios/floating-ip/in-out.yaml vm1 -- cat /proc/net/arp
  dvrlab shell scenarios/floating-ip/in-out.yaml@given cmp1/qrouter-r1 -- ip rule";

/// Arguments of `shell`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// A scenario file; with `@STEP` up to that step, by number or name (`0`: before the first one), else to its end.
    #[arg(value_name = "SCENARIO[@STEP]")]
    scenario: String,
    /// Where: an instance, a machine outside, a host, or `HOST/NAMESPACE` [default: the first host].
    node: Option<String>,
    /// What to run instead of a shell; its exit code is this program's. It reads nothing.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
    /// Switch deviations from the real agent, over what the scenario says: `none`, or `drop-invalid=false,...`.
    #[arg(long, value_name = "LIST")]
    deviations: Option<Switches>,
}

/// Builds the scenario up to a step and runs a program in it.
pub(super) fn shell(arguments: &Arguments, color: Color) -> i32 {
    let (file, step) = why::parted(&arguments.scenario);
    let mut loaded = match files::load(&[file], color) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let (Some(one), true) = (loaded.pop(), loaded.is_empty()) else {
        return mistaken("this is a directory: name one scenario");
    };
    let steps = match why::steps(&one.scenario, step.as_deref()) {
        Ok(steps) => steps,
        Err(told) => return mistaken(&told),
    };
    let first = one.scenario.intent.host_order.first().map(ToString::to_string);
    let Some(place) = arguments.node.clone().or(first) else {
        return mistaken("the scenario has no host: name a node");
    };
    let terminal = arguments.command.is_empty();
    if terminal && !std::io::stdin().is_terminal() {
        return mistaken("a shell needs a terminal; `-- CMD` runs a program without one");
    }
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            err(&format!("error: this program cannot find itself: {error}\n"));
            return EXIT_BUG;
        }
    };
    // Without job control: the terminal's foreground is a group of a process namespace outside, which a shell could not give back.
    let command = if terminal { ["sh", "+m"].map(str::to_owned).to_vec() } else { arguments.command.clone() };
    let job = Shell {
        path: one.file.to_string_lossy().into_owned(),
        text: one.text,
        steps,
        place,
        command,
        terminal,
        overrides: Overrides { deviations: arguments.deviations.clone().unwrap_or_default(), ..Overrides::default() },
    };
    match harness::shell(&program, &job) {
        Ok(ran) => {
            for failure in &ran.failures {
                err(&format!("warning: {failure}\n"));
            }
            out(&ran.output);
            ran.code
        }
        Err(HarnessError::Sandbox(error)) => {
            let remedy = error.remedy().map(|remedy| format!("\n  {remedy}")).unwrap_or_default();
            err(&format!("this machine cannot run labs: {}{remedy}\n", run::chain(&error)));
            EXIT_NO_LAB
        }
        Err(HarnessError::Unsupported(told)) => mistaken(&told),
        Err(error) => {
            err(&format!("error: {}\n", run::chain(&error)));
            EXIT_BUG
        }
    }
}

fn mistaken(told: &str) -> i32 {
    err(&format!("error: {told}\n"));
    EXIT_BAD_INPUT
}
