//! `dvrlab run`.

mod pcap;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use super::files::{self, Loaded};
use super::{Color, EXIT_BUG, EXIT_FAILED, EXIT_NO_LAB, EXIT_NOTHING, EXIT_OK, err, out};
use crate::backend::RuleBackend;
use crate::deviation::Switches;
use crate::harness::{self, HarnessError, Job, Overrides};
use crate::record::{Outcome, Record};
use crate::report::{self, Detail, Proof};
use crate::snapshot::{self, Difference};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Arguments {
    /// Scenario files, or directories of them.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Print the operations of every host too, in the order in which they were done.
    #[arg(short, long)]
    verbose: bool,
    /// Print failures and the summary only.
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Labs at a time.
    #[arg(short, long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Start nothing more after the first failure.
    #[arg(long)]
    fail_fast: bool,
    /// Only scenarios whose name contains this, or that have it as a tag.
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// Only every Nth scenario, beginning with the Mth: `1/4`.
    #[arg(long, value_name = "M/N", value_parser = shard)]
    shard: Option<(usize, usize)>,
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
    /// Write the snapshots as this run gives them.
    #[arg(long)]
    accept: bool,
    /// Write the records of all scenarios to this file (`-`: standard output, and nothing else there).
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write every frame of every namespace to DIR/SCENARIO/NAMESPACE.pcapng, for Wireshark.
    #[arg(long, value_name = "DIR")]
    pcap: Option<PathBuf>,
    /// Print what happens inside, with spans run/step/host/namespace/op: `error`, `warn`, `info`, `debug` or `trace`.
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

fn shard(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(m, n)| Some((m.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((m, n)) if (1..=n).contains(&m) => Ok((m, n)),
        Some(_) | None => Err("write M/N with M from 1 to N".to_owned()),
    }
}

/// What came of one scenario.
struct Finished {
    index: usize,
    result: Result<Record, HarnessError>,
    /// The same with each of its faults, if that was asked for and it went well without.
    proofs: Vec<Result<Record, HarnessError>>,
    /// What kept the capture from being whole.
    complaints: Vec<String>,
}

pub(super) fn run(arguments: &Arguments, color: Color) -> i32 {
    if arguments.accept && std::env::var_os("CI").is_some_and(|value| value == "true") {
        err(
            "error: snapshots are not accepted under CI=true: run with --accept on your own machine and commit the result\n",
        );
        return super::EXIT_BAD_INPUT;
    }
    let loaded = match files::load(&arguments.paths, color) {
        Ok(loaded) => select(loaded, arguments),
        Err(code) => return code,
    };
    if loaded.is_empty() {
        err("error: no scenario is selected\n");
        return EXIT_NOTHING;
    }
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            err(&format!("error: this program cannot find itself: {error}\n"));
            return EXIT_BUG;
        }
    };
    let mut printer = Printer::new(arguments);
    carry_out(&loaded, arguments, &program, &mut printer);
    printer.end(&loaded)
}

fn select(loaded: Vec<Loaded>, arguments: &Arguments) -> Vec<Loaded> {
    let wanted = |one: &Loaded| {
        let scenario = &one.scenario;
        arguments.filter.is_empty()
            || arguments
                .filter
                .iter()
                .any(|text| scenario.name.contains(text) || scenario.tags.iter().any(|tag| tag == text))
    };
    let (first, every) = arguments.shard.unwrap_or((1, 1));
    loaded.into_iter().filter(wanted).enumerate().filter(|(n, _)| n % every == first - 1).map(|(_, one)| one).collect()
}

/// Runs all scenarios, several at a time, and hands what came of them to the printer in the order of the files.
fn carry_out(loaded: &[Loaded], arguments: &Arguments, program: &Path, printer: &mut Printer<'_>) {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = loaded.get(index) else { break };
                    let mut files =
                        arguments.pcap.as_deref().map(|directory| pcap::Files::new(directory, &one.scenario.name));
                    let result = harness::run_captured(program, &job(one, arguments, None), &mut drop, &mut |step| {
                        if let Some(files) = &mut files {
                            files.add(&step);
                        }
                    });
                    let complaints = files.map(|files| files.complaints).unwrap_or_default();
                    let failed = !matches!(&result, Ok(record) if record.outcome == Outcome::Passed);
                    let no_lab = matches!(&result, Err(HarnessError::Sandbox(_)));
                    if no_lab || (failed && arguments.fail_fast) {
                        stop.store(true, Ordering::Relaxed);
                    }
                    let faults = if arguments.prove && !failed { one.scenario.faults.len() } else { 0 };
                    let faulty = |fault| harness::run_scenario(program, &job(one, arguments, Some(fault)), &mut drop);
                    let proofs = (0..faults).map(faulty).collect();
                    if sender.send(Finished { index, result, complaints, proofs }).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting: Vec<Finished> = Vec::new();
        let mut turn = 0;
        for finished in receiver {
            waiting.push(finished);
            while let Some(at) = waiting.iter().position(|one| one.index == turn) {
                let one = waiting.swap_remove(at);
                for complaint in &one.complaints {
                    err(&format!("warning: {complaint}\n"));
                }
                if let Some(source) = loaded.get(one.index) {
                    printer.scenario(source, one.result, one.proofs);
                }
                turn += 1;
            }
        }
    });
}

/// A run of a scenario, with one of its faults or none.
fn job(one: &Loaded, arguments: &Arguments, fault: Option<usize>) -> Job {
    Job::Scenario {
        path: one.file.to_string_lossy().into_owned(),
        text: one.text.clone(),
        log: arguments.log.clone(),
        hold: None,
        overrides: Overrides {
            deviations: arguments.deviations.clone().unwrap_or_default(),
            rules: arguments.rules,
            prove_watch: arguments.prove_watch,
            // A fault is meant to fail: its packets are nobody's evidence.
            pcap: arguments.pcap.is_some() && fault.is_none(),
            fault,
        },
    }
}

struct Printer<'a> {
    arguments: &'a Arguments,
    detail: Detail,
    records: Vec<Record>,
    passed: usize,
    unsupported: usize,
    failed: Vec<String>,
    /// Faults that were noticed, and all of them.
    proved: (usize, usize),
    code: i32,
}

impl<'a> Printer<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        let detail = match (arguments.quiet, arguments.verbose) {
            (true, _) => Detail::Failures,
            (false, true) => Detail::Operations,
            (false, false) => Detail::Reach,
        };
        Self {
            arguments,
            detail,
            records: Vec::new(),
            passed: 0,
            unsupported: 0,
            failed: Vec::new(),
            proved: (0, 0),
            code: EXIT_OK,
        }
    }

    fn print(&self, text: &str) {
        if self.arguments.json.as_deref() != Some(Path::new("-")) {
            out(text);
        }
    }

    fn scenario(
        &mut self,
        source: &Loaded,
        result: Result<Record, HarnessError>,
        proofs: Vec<Result<Record, HarnessError>>,
    ) {
        match result {
            Ok(record) => {
                for with in proofs {
                    self.proof(source, &record, with);
                }
                self.record(source, record);
            }
            Err(HarnessError::Sandbox(error)) => {
                // The same for every scenario, so said once.
                self.code = worse(self.code, EXIT_NO_LAB);
                let remedy = error.remedy().map(|remedy| format!("\n  {remedy}")).unwrap_or_default();
                let text = format!("this machine cannot run labs: {}{remedy}\n", chain(&error));
                if !self.failed.contains(&text) {
                    self.failed.push(text);
                }
            }
            Err(HarnessError::Unsupported(reason)) => {
                self.unsupported += 1;
                if !self.arguments.allow_unsupported {
                    self.code = worse(self.code, EXIT_NO_LAB);
                }
                self.print(&format!("unsupported  {}: {reason}\n", source.scenario.name));
            }
            Err(error) => {
                self.code = worse(self.code, EXIT_BUG);
                self.failed.push(format!("{}: {}\n", source.file.display(), chain(&error)));
            }
        }
    }

    /// A fault must be noticed.
    fn proof(&mut self, source: &Loaded, without: &Record, with: Result<Record, HarnessError>) {
        self.proved.1 += 1;
        let with = match with {
            Ok(with) => with,
            Err(error) => {
                self.code = worse(self.code, EXIT_BUG);
                self.failed.push(format!("{}: {}\n", source.file.display(), chain(&error)));
                return;
            }
        };
        let proof = report::proof(without, &with);
        let text = report::proof_text(&with, &proof);
        if proof.holds() {
            self.proved.0 += 1;
            if self.detail >= Detail::Reach {
                self.print(&text);
            }
            return;
        }
        let untouched = matches!(proof, Proof::Untouched(_));
        self.code = worse(self.code, if untouched { super::EXIT_BAD_INPUT } else { EXIT_FAILED });
        self.failed.push(text);
    }

    fn record(&mut self, source: &Loaded, record: Record) {
        if self.detail >= Detail::Reach {
            self.print(&format!("{}: {}\n", record.scenario, record.summary));
        }
        let mut before = None;
        for step in &record.steps {
            self.print(&report::step(step, before, self.detail));
            before = Some(step);
        }
        let mut bad = record.outcome == Outcome::Failed;
        if bad {
            self.failed.push(report::failures(&record));
        }
        if let Some(directory) = snapshot::directory_of(&source.file) {
            bad |= self.compare(&record, &directory);
        }
        if bad {
            self.code = worse(self.code, EXIT_FAILED);
        } else {
            self.passed += 1;
        }
        if self.detail >= Detail::Reach {
            self.print(&format!("{}\n\n", report::summary_line(&record)));
        }
        self.records.push(record);
    }

    /// Compares with the snapshots, or writes them; true if they differ.
    fn compare(&mut self, record: &Record, directory: &Path) -> bool {
        let mut bad = false;
        for snapshot in snapshot::of(record, directory) {
            let name = snapshot.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let difference = match snapshot.difference() {
                Ok(None) => continue,
                Ok(Some(difference)) => difference,
                Err(error) => {
                    self.failed.push(format!("{name}: {error}\n"));
                    bad = true;
                    continue;
                }
            };
            if self.arguments.accept {
                match snapshot.write() {
                    Ok(()) => self.print(&format!("  wrote snapshots/{}.snap\n", name.trim_end_matches(".snap"))),
                    Err(error) => {
                        self.failed.push(format!("{name}: {error}\n"));
                        bad = true;
                    }
                }
                continue;
            }
            bad = true;
            self.failed.push(match difference {
                Difference::Missing => {
                    format!("{}: snapshots/{name} does not exist: `--accept` writes it\n", record.path)
                }
                Difference::Changed(diff) => format!(
                    "{}: snapshots/{name} differs (- snapshot, + this run; `--accept` takes this run):\n{diff}\n",
                    record.path
                ),
            });
        }
        bad
    }

    /// The summary, failures repeated first; gives the exit code.
    fn end(mut self, loaded: &[Loaded]) -> i32 {
        if let Some(file) = &self.arguments.json {
            let written = serde_json::to_string_pretty(&self.records).map_err(std::io::Error::from).and_then(|text| {
                if file == Path::new("-") {
                    out(&format!("{text}\n"));
                    Ok(())
                } else {
                    std::fs::write(file, text)
                }
            });
            if let Err(error) = written {
                err(&format!("error: {}: {error}\n", file.display()));
                self.code = worse(self.code, EXIT_BUG);
            }
        }
        if !self.failed.is_empty() {
            self.print("failures:\n");
            for text in &self.failed {
                self.print(&format!("{text}\n"));
            }
        }
        let not_run = loaded.len() - self.records.len() - self.unsupported;
        let failed = self.records.len() - self.passed;
        let counted = |count: usize, what: &str| if count == 0 { String::new() } else { format!(", {count} {what}") };
        let rest = counted(self.unsupported, "unsupported") + &counted(not_run, "not run");
        if self.arguments.prove {
            let (noticed, all) = self.proved;
            let without = loaded.iter().filter(|one| one.scenario.faults.is_empty()).count();
            self.print(&format!("{noticed} of {all} faults noticed{}\n", counted(without, "scenarios without any")));
        }
        self.print(&format!("{} passed, {failed} failed{rest}\n", self.passed));
        self.code
    }
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
