//! `dvrlab run`.

mod again;
mod bundle;
mod orders;
mod outputs;
mod pause;
mod pcap;
mod print;
mod work;

use std::convert::Infallible;
use std::path::PathBuf;

use self::print::Printer;
use super::files::{Loaded, Selection};
use super::{Color, EXIT_BUG, EXIT_FAILED, EXIT_NO_LAB, err, out};
use crate::backend::RuleBackend;
use crate::deviation::Switches;
use crate::harness::Pause;
use crate::run::Orders;

const EXAMPLES: &str = "Examples:
  dvrlab run                                        all of scenarios/, a line each
  dvrlab run scenarios/snat/basic.yaml              one, with all that it found
  dvrlab run --accept scenarios/snat/basic.yaml     take what it found as its snapshots
  dvrlab run -v --pcap frames --filter floating-ip  every operation, every frame
  dvrlab run -q --json record.json                  for `dvrlab diff` and `dvrlab report`";

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Print what each step changed, who reaches whom then, and the operations of every host in the order in which they were
    /// done. All but the operations is printed anyway where a single scenario runs.
    #[arg(short, long)]
    verbose: bool,
    /// Print failures and the count only.
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// After a step that fails stand still and ask what to look at: the state, the way of a packet, a program or a shell at a node;
    /// then go on, or back. `help` lists it. One lab at a time.
    #[arg(long, conflicts_with_all = ["accept", "prove", "orders"])]
    pause_on_fail: bool,
    /// The same after this step of a single scenario, by name or number.
    #[arg(long, value_name = "STEP", conflicts_with_all = ["accept", "prove", "orders"])]
    pause_at: Option<String>,
    /// Labs at a time.
    #[arg(short, long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Then wait, and run again each scenario whose file is saved, until interrupted.
    #[arg(long, conflicts_with_all = ["shard", "pause_on_fail", "pause_at"])]
    watch_files: bool,
    /// Start nothing more after the first failure.
    #[arg(long)]
    fail_fast: bool,
    /// Switch deviations from the real agent, over what the scenarios say: `none`, or `drop-invalid=false,...`.
    #[arg(long, value_name = "LIST")]
    deviations: Option<Switches>,
    /// How iptables rules get into the kernel, over what the scenarios say: `nftables` or `iptables`.
    #[arg(long, value_name = "WAY")]
    rules: Option<RuleBackend>,
    /// A scenario that this machine cannot run is counted, and is no reason for exit code 3.
    #[arg(long)]
    allow_unsupported: bool,
    /// Before the first step and after the last, prove that the watch sees: send a frame of every class from every host's end of every
    /// provider segment.
    #[arg(long)]
    prove_watch: bool,
    /// Run each scenario once more with each of its faults: each must be noticed, by what the scenario says.
    #[arg(long, conflicts_with = "accept")]
    prove: bool,
    /// Run each scenario once more in every order of its notifications: `all` there are, `pairs` (each two having changed places), or
    /// so many, evenly spread; and once with every change asked for and told twice. Each step must end alike.
    #[arg(long, value_name = "ORDERS", conflicts_with = "accept")]
    orders: Option<Orders>,
    /// Write the snapshots as this run gives them.
    #[arg(long)]
    accept: bool,
    /// Write the records of all scenarios to this file (`-`: standard output, and nothing else there).
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write JUnit XML to this file: a case for each scenario and step.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Add a summary in Markdown to this file, as `$GITHUB_STEP_SUMMARY` wants it.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Keep record, plan, explanation and frames of what fails in DIR/run-N, with a link DIR/latest [default: target/dvrlab, where
    /// there is a target/].
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Write every frame of every namespace to DIR/SCENARIO/NAMESPACE.pcapng, for Wireshark.
    #[arg(long, value_name = "DIR")]
    pcap: Option<PathBuf>,
    /// Print what happens inside, with spans run/step/host/namespace/op: `error`, `warn`, `info`, `debug` or `trace`.
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

pub(super) fn run(arguments: &Arguments, color: Color) -> i32 {
    if arguments.accept && std::env::var_os("CI").is_some_and(|value| value == "true") {
        err(
            "error: snapshots are not accepted under CI=true: run with --accept on your own machine and commit the result\n",
        );
        return super::EXIT_BAD_INPUT;
    }
    if let Err(told) = outputs::check(arguments) {
        err(&format!("error: {told}\n"));
        return super::EXIT_BAD_INPUT;
    }
    if arguments.watch_files {
        return match again(arguments, color) {
            Ok(never) => match never {},
            Err(error) => {
                err(&format!("error: files cannot be watched: {error}\n"));
                super::EXIT_BAD_INPUT
            }
        };
    }
    match arguments.selection.load(color) {
        Ok(loaded) => once(arguments, color, &loaded),
        Err(code) => code,
    }
}

/// Runs all, then what is saved, for as long as the program is let. What is wrong with a file is printed, and its next save waited for.
fn again(arguments: &Arguments, color: Color) -> std::io::Result<Infallible> {
    let mut watched = again::Watched::new(arguments.selection.paths())?;
    let mut loaded = arguments.selection.load(color);
    loop {
        // What is saved may be no scenario, or none that was asked for.
        let nothing = loaded.as_ref().is_ok_and(Vec::is_empty);
        if let Ok(loaded) = &loaded
            && !nothing
        {
            once(arguments, color, loaded);
        }
        if !nothing {
            out("watching: a scenario that is saved is run again, Ctrl-C ends\n");
        }
        loaded = arguments.selection.load_touched(&watched.wait()?, color);
    }
}

/// Runs scenarios and gives the exit code.
fn once(arguments: &Arguments, color: Color, loaded: &[Loaded]) -> i32 {
    let pause = match pause(loaded, arguments) {
        Ok(pause) => pause,
        Err(told) => {
            err(&format!("error: {told}\n"));
            return super::EXIT_BAD_INPUT;
        }
    };
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            err(&format!("error: this program cannot find itself: {error}\n"));
            return EXIT_BUG;
        }
    };
    let mut printer = Printer::new(arguments, loaded, color);
    let way = work::Way { arguments, program: &program, pause, color };
    work::carry_out(loaded, &way, &mut |news| printer.news(news));
    printer.end()
}

/// Where the run stands still, if it does.
fn pause(loaded: &[Loaded], arguments: &Arguments) -> Result<Option<Pause>, String> {
    let at = match (&arguments.pause_at, loaded) {
        (None, _) => None,
        (Some(step), [one]) => Some(super::why::steps(&one.scenario, Some(step))?),
        (Some(_), _) => return Err("`--pause-at` is for a single scenario".to_owned()),
    };
    let pause = Pause { on_fail: arguments.pause_on_fail, at };
    Ok((pause != Pause::default()).then_some(pause))
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// A bug tells before a failure, a failure before a machine that cannot.
fn worse(one: i32, other: i32) -> i32 {
    let rank = |code: i32| match code {
        EXIT_BUG => 4,
        super::EXIT_BAD_INPUT => 3,
        EXIT_FAILED => 2,
        EXIT_NO_LAB => 1,
        _ => 0,
    };
    if rank(other) > rank(one) { other } else { one }
}
