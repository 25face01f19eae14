//! The command line: the only place that prints and that decides an exit code.

mod check;
mod diff;
mod doctor;
mod files;
mod graph;
mod list;
mod manual;
mod new;
mod records;
mod replay;
mod report;
mod run;
mod shell;
mod why;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Everything as expected.
pub const EXIT_OK: i32 = 0;
/// An expectation, an invariant or a snapshot failed.
pub const EXIT_FAILED: i32 = 1;
/// The scenario or the arguments are wrong.
pub const EXIT_BAD_INPUT: i32 = 2;
/// This machine cannot run labs.
pub const EXIT_NO_LAB: i32 = 3;
/// Nothing was selected.
pub const EXIT_NOTHING: i32 = 4;
/// A bug of dvrlab.
pub const EXIT_BUG: i32 = 70;

/// Runs a distributed virtual router with source NAT in throwaway network namespaces, changes it by scenario files, and
/// records who reached whom, as which source address, through which host.
#[derive(Debug, Parser)]
#[command(name = "dvrlab", version, about, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Arguments {
    /// When to use colour.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "To begin with:
  dvrlab doctor                        whether this machine can run labs
  dvrlab new scenarios/first.yaml      a scenario, to be changed
  dvrlab run scenarios/first.yaml      what is reached from where
  dvrlab run                           all of scenarios/, compared with snapshots/

Exit codes: 0 as expected, 1 an expectation, an invariant or a snapshot failed, 2 a scenario or an
argument is wrong, 3 this machine cannot run labs, 4 nothing was selected, 70 a bug.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    fn wanted(self, terminal: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios and compare with their snapshots.
    Run(run::Arguments),
    /// Send a packet and tell its way: what decided at each stop, there and back.
    Why(why::Arguments),
    /// Build a scenario up to a step and give a shell at one of its nodes, or run a program there.
    Shell(shell::Arguments),
    /// Look for mistakes in scenarios, starting nothing.
    Check {
        /// Scenario files, or directories of them.
        #[arg(default_value = "scenarios")]
        paths: Vec<PathBuf>,
    },
    /// List scenarios with their tags and what they show.
    List(files::Selection),
    /// Write a scenario to begin with: one that runs, to be changed.
    New(new::Arguments),
    /// Compare two records by behaviour first: flows, leaks, then rules. Ends with 1 if behaviour changed.
    Diff(diff::Arguments),
    /// Write records as one HTML file: topology, matrix, ways and rules, step by step.
    Report(report::Arguments),
    /// Draw a scenario's topology, starting nothing.
    Graph(graph::Arguments),
    /// Replay router dicts as a server sends them to one agent, and print what then stands in the kernel.
    Replay(replay::Arguments),
    /// Try everything a lab needs by doing it, and say what is missing and what that costs.
    Doctor,
    /// Print a JSON schema: of scenarios (for editors), of the record that `run --json` writes, or of what `why --json` prints.
    Schema {
        /// Which one.
        #[arg(value_enum, default_value_t = Schema::Scenario)]
        of: Schema,
    },
    /// Print what makes a shell complete this program's arguments: `dvrlab completions bash > ~/.local/share/bash-completion/completions/dvrlab`.
    Completions {
        /// Which shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page of this program, or of one of its commands: `dvrlab man run | man -l -`.
    Man {
        /// Which command.
        command: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Schema {
    /// Scenario files.
    Scenario,
    /// Records.
    Record,
    /// Answers of `why`.
    Why,
}

/// Parses the arguments, does what they say and gives the exit code.
pub fn main() -> i32 {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { EXIT_BAD_INPUT } else { EXIT_OK };
            return if error.print().is_ok() { code } else { EXIT_BUG };
        }
    };
    let color = arguments.color;
    match arguments.command {
        Command::Run(run) => run::run(&run, color),
        Command::Why(arguments) => why::why(&arguments, color),
        Command::Shell(arguments) => shell::shell(&arguments, color),
        Command::Check { paths } => check::check(&paths, color),
        Command::List(selection) => list::list(&selection, color),
        Command::New(arguments) => new::new(&arguments),
        Command::Diff(arguments) => diff::diff(&arguments),
        Command::Report(arguments) => report::report(&arguments),
        Command::Graph(arguments) => graph::graph(&arguments, color),
        Command::Replay(arguments) => replay::replay(&arguments),
        Command::Doctor => doctor::doctor(),
        Command::Schema { of } => {
            let schema = match of {
                Schema::Scenario => crate::scenario::schema(),
                Schema::Record => crate::record::schema(),
                Schema::Why => crate::why::schema(),
            };
            out(&format!("{schema:#}\n"));
            EXIT_OK
        }
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { command } => manual::man(command.as_deref()),
    }
}

/// Writes to standard output. A reader that has gone away is no mistake of ours: the program ends quietly, as `head` expects.
fn out(text: &str) {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(EXIT_OK);
    }
}

/// Writes to standard error; if that fails there is nobody to tell.
#[expect(clippy::print_stderr, reason = "the command line is where messages are printed")]
fn err(text: &str) {
    eprint!("{text}");
}
