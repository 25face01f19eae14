//! What `run` prints, and the files it writes besides.
//!
//! In: news. Out: a line a scenario in the order of the files, failures at the end, the exit code. Never: a time in a pipe, where
//! the same run prints the same.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use super::super::files::Loaded;
use super::super::{Color, EXIT_BAD_INPUT, EXIT_BUG, EXIT_FAILED, EXIT_NO_LAB, EXIT_OK, err, out};
use super::bundle::Bundle;
use super::work::{Ended, News};
use super::{Arguments, chain, orders, worse};
use crate::harness::HarnessError;
use crate::record::{Outcome, Record};
use crate::report::{self, Detail, Entry, Proof, Trouble};
use crate::snapshot::{self, Difference};

/// Lines on a terminal are no longer.
const COLUMNS: usize = 100;
/// Puts the cursor at the beginning of an empty line.
const CLEAR: &str = "\r\x1b[K";
const RED: &str = "\x1b[1;31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

pub(super) struct Printer<'a> {
    arguments: &'a Arguments,
    loaded: &'a [Loaded],
    detail: Detail,
    color: bool,
    /// Standard output is a terminal, and not given to JSON.
    terminal: bool,
    /// Labs that stand, with the step that each has done last.
    standing: BTreeMap<usize, usize>,
    waiting: BTreeMap<usize, Ended>,
    entries: Vec<Entry>,
    /// Said once: the same for every scenario.
    no_lab: Option<String>,
    bundle: Bundle,
    /// Faults that were noticed, and all of them.
    proved: (usize, usize),
    code: i32,
}

impl<'a> Printer<'a> {
    pub(super) fn new(arguments: &'a Arguments, loaded: &'a [Loaded], color: Color) -> Self {
        let detail = match (arguments.quiet, arguments.verbose) {
            (true, _) => Detail::Failures,
            (false, true) => Detail::Operations,
            (false, false) if loaded.len() == 1 => Detail::Reach,
            (false, false) => Detail::Status,
        };
        let aloud = arguments.json.as_deref() != Some(Path::new("-"));
        let terminal = io::stdout().is_terminal() && aloud;
        Self {
            arguments,
            loaded,
            detail,
            color: color.wanted(terminal) && aloud,
            terminal,
            standing: BTreeMap::new(),
            waiting: BTreeMap::new(),
            entries: Vec::new(),
            no_lab: None,
            bundle: Bundle::new(arguments.bundle.as_deref()),
            proved: (0, 0),
            code: EXIT_OK,
        }
    }

    pub(super) fn news(&mut self, news: News) {
        match news {
            News::Step(index, number) => drop(self.standing.insert(index, number)),
            News::Ended(ended) => {
                self.standing.remove(&ended.index);
                self.waiting.insert(ended.index, *ended);
                while let Some(next) = self.waiting.remove(&self.entries.len()) {
                    self.scenario(next);
                }
            }
        }
        self.progress();
    }

    /// One line that says what is going on, on a terminal.
    fn progress(&self) {
        // Where somebody is asked, the line is that one's.
        if !self.terminal || self.arguments.pause_on_fail || self.arguments.pause_at.is_some() {
            return;
        }
        let now = self.standing.iter().filter_map(|(index, step)| {
            let scenario = &self.loaded.get(*index)?.scenario;
            // The taking down is no step of the file.
            let last = scenario.steps.len();
            Some(format!("{} {}/{last}", scenario.name, last.min(*step)))
        });
        let now: Vec<String> = now.collect();
        let done = self.entries.len() + self.waiting.len();
        let line = format!("  {done}/{} done  {}", self.loaded.len(), now.join("  "));
        out(&format!("{CLEAR}{}", line.chars().take(COLUMNS - 1).collect::<String>()));
    }

    fn print(&self, text: &str) {
        if self.arguments.json.as_deref() != Some(Path::new("-")) {
            let clear = if self.terminal { CLEAR } else { "" };
            out(&format!("{clear}{text}"));
        }
    }

    /// As [`Self::print`], broken to fit a terminal.
    fn print_text(&self, text: &str) {
        if self.terminal { self.print(&report::wrapped(text, COLUMNS)) } else { self.print(text) }
    }

    fn painted(&self, color: &str, text: &str) -> String {
        if self.color { format!("{color}{text}{PLAIN}") } else { text.to_owned() }
    }

    /// `passed  [  0.412s]  floating-ip/in-out  3 steps, 152 probes`
    fn status(&self, word: &str, took: Duration, rest: &str) {
        let wanted = word == "unsupported" && !self.arguments.allow_unsupported;
        if self.detail >= Detail::Status || wanted {
            let color = match word {
                "passed" => GREEN,
                "FAILED" => RED,
                _ => YELLOW,
            };
            let word = self.painted(color, word);
            let time = if self.terminal { format!("  [{:>7.3}s]", took.as_secs_f64()) } else { String::new() };
            self.print(&format!("{word}{time}  {rest}\n"));
        }
    }

    fn scenario(&mut self, ended: Ended) {
        let Some(source) = self.loaded.get(ended.index) else { return };
        for complaint in &ended.complaints {
            err(&format!("warning: {complaint}\n"));
        }
        let mut entry = Entry {
            name: source.scenario.name.clone(),
            path: source.file.to_string_lossy().into_owned(),
            record: None,
            troubles: Vec::new(),
            unsupported: None,
            took_ms: milliseconds(ended.took),
            steps_ms: ended.steps.into_iter().map(milliseconds).collect(),
        };
        match ended.result {
            Ok(record) => {
                for with in &ended.proofs {
                    self.proof(&record, with, &mut entry);
                }
                if let Some(orders) = &ended.orders {
                    self.orders(orders, &mut entry);
                }
                self.record(source, record, ended.took, &mut entry);
            }
            Err(HarnessError::Stopped) => {
                self.code = worse(self.code, EXIT_FAILED);
                self.status("ended", ended.took, &format!("{}: by hand", entry.name));
                self.entries.push(entry);
                return;
            }
            Err(HarnessError::Unsupported(reason)) => {
                if !self.arguments.allow_unsupported {
                    self.code = worse(self.code, EXIT_NO_LAB);
                }
                self.status("unsupported", ended.took, &format!("{}: {reason}", entry.name));
                entry.unsupported = Some(reason);
            }
            Err(error) => self.broken(&error, ended.took, &mut entry),
        }
        if !entry.passed() && entry.unsupported.is_none() && self.no_lab.is_none() {
            let kept = self.bundle.keep(source, &entry, &ended.captured);
            if let Err(error) = kept {
                err(&format!("warning: what failed cannot be kept: {error} (`--bundle DIR` says where)\n"));
            }
        }
        self.entries.push(entry);
    }

    /// There is no record.
    fn broken(&mut self, error: &HarnessError, took: Duration, entry: &mut Entry) {
        let (text, details) = match error {
            HarnessError::Sandbox(sandbox) => {
                self.code = worse(self.code, EXIT_NO_LAB);
                (format!("this machine cannot run labs: {}", chain(sandbox)), sandbox.remedy())
            }
            HarnessError::Lab(_)
            | HarnessError::Unsupported(_)
            | HarnessError::Stopped
            | HarnessError::Ended { .. }
            | HarnessError::Pipe(_)
            | HarnessError::Garbled(_) => {
                self.code = worse(self.code, EXIT_BUG);
                (chain(error), None)
            }
        };
        let details: Vec<String> = details.iter().map(ToString::to_string).collect();
        if matches!(error, HarnessError::Sandbox(_)) {
            let remedy = details.first().map_or_else(String::new, |remedy| format!("\n  {remedy}"));
            self.no_lab.get_or_insert_with(|| format!("{text}{remedy}\n"));
        } else {
            self.status("broken", took, &entry.name);
        }
        entry.troubles.push(Trouble { text, details, broken: true });
    }

    /// A fault must be noticed.
    fn proof(&mut self, without: &Record, with: &Result<Record, HarnessError>, entry: &mut Entry) {
        self.proved.1 += 1;
        let with = match with {
            Ok(with) => with,
            Err(error) => {
                self.code = worse(self.code, EXIT_BUG);
                entry.troubles.push(Trouble { text: chain(error), details: Vec::new(), broken: true });
                return;
            }
        };
        let proof = report::proof(without, with);
        let text = report::proof_text(with, &proof);
        if proof.holds() {
            self.proved.0 += 1;
            if self.detail >= Detail::Status {
                self.print_text(&text);
            }
            return;
        }
        let untouched = matches!(proof, Proof::Untouched(_));
        self.code = worse(self.code, if untouched { EXIT_BAD_INPUT } else { EXIT_FAILED });
        let mut lines = text.lines().map(|line| line.trim_start().to_owned());
        let text = lines.next().unwrap_or_default();
        entry.troubles.push(Trouble { text, details: lines.collect(), broken: false });
    }

    /// Every order must lead to one end.
    fn orders(&mut self, outcome: &orders::Outcome, entry: &mut Entry) {
        let (code, text, details) = match outcome {
            orders::Outcome::Alike(count) => {
                if self.detail >= Detail::Status {
                    let name = &entry.name;
                    let counted = if *count == 1 { "1 order".to_owned() } else { format!("{count} orders") };
                    self.print(&format!("alike   {name}: {counted} of notifications, and everything twice\n"));
                }
                return;
            }
            orders::Outcome::TooMany(count, step) => {
                let text = format!("{step} has {count} orders of notifications: try `--orders pairs`, or a number");
                (EXIT_BAD_INPUT, text, Vec::new())
            }
            orders::Outcome::Differs { usual, other } => {
                let text = format!("{} ends otherwise in another order of notifications", other.step);
                (EXIT_FAILED, text, orders::told(usual, other))
            }
            orders::Outcome::Broken(error) => (EXIT_BUG, chain(error), Vec::new()),
        };
        self.code = worse(self.code, code);
        entry.troubles.push(Trouble { text, details, broken: code == EXIT_BUG });
    }

    fn record(&mut self, source: &Loaded, record: Record, took: Duration, entry: &mut Entry) {
        if self.detail >= Detail::Reach {
            self.print_text(&format!("{}: {}\n", record.scenario, record.summary));
            let mut before = None;
            for step in &record.steps {
                self.print_text(&report::step(step, before, self.detail));
                before = Some(step);
            }
        }
        if record.is_of_no_use() {
            self.code = worse(self.code, EXIT_BUG);
        }
        let accepted = || self.arguments.accept.then(|| snapshot::place_of(&source.file)).flatten();
        if let Some(directory) = snapshot::directory_of(&source.file).or_else(accepted) {
            self.compare(&record, &directory, entry);
        } else if self.arguments.accept {
            let text =
                format!("{}: snapshots stand beside a directory `scenarios`, and it is in none", source.file.display());
            entry.troubles.push(Trouble { text, details: Vec::new(), broken: false });
        }
        let well = record.outcome == Outcome::Passed && entry.troubles.is_empty();
        if !well {
            self.code = worse(self.code, EXIT_FAILED);
        }
        self.status(if well { "passed" } else { "FAILED" }, took, &report::summary_line(&record));
        if self.detail >= Detail::Reach {
            self.print("\n");
        }
        entry.record = Some(record);
    }

    /// Compares with the snapshots, or writes them.
    fn compare(&self, record: &Record, directory: &Path, entry: &mut Entry) {
        let mut trouble = |text, details| entry.troubles.push(Trouble { text, details, broken: false });
        for snapshot in snapshot::of(record, directory) {
            let below = snapshot.file.strip_prefix(directory).unwrap_or(&snapshot.file);
            let name = format!("snapshots/{}", below.display());
            let difference = match snapshot.difference() {
                Ok(None) => continue,
                Ok(Some(difference)) => difference,
                Err(error) => {
                    trouble(format!("{name}: {error}"), Vec::new());
                    continue;
                }
            };
            match difference {
                _ if self.arguments.accept => match snapshot.write() {
                    Ok(()) => self.print(&format!("  wrote {name}\n")),
                    Err(error) => trouble(format!("{name}: {error}"), Vec::new()),
                },
                Difference::Missing => trouble(format!("{name} does not exist: `--accept` writes it"), Vec::new()),
                Difference::Changed(diff) => trouble(
                    format!("{name} differs (- snapshot, + this run; `--accept` takes this run)"),
                    diff.lines().map(str::to_owned).collect(),
                ),
            }
        }
    }

    /// Everything that was wrong; what is the same for every scenario once.
    fn failures(&self) -> String {
        let said = |entry: &&Entry| self.no_lab.is_some() && entry.record.is_none();
        let all = self.entries.iter().filter(|entry| !said(entry)).map(report::wrong);
        self.no_lab.iter().cloned().chain(all).collect()
    }

    /// The summary, failures repeated first; gives the exit code.
    pub(super) fn end(mut self) -> i32 {
        self.write();
        let failures = self.failures();
        if !failures.is_empty() {
            let gap = if self.detail == Detail::Status { "\n" } else { "" };
            self.print(&format!("{gap}{}:\n", self.painted(RED, "failures")));
            self.print_text(&failures);
            if let Some(directory) = self.bundle.directory() {
                self.print(&format!("\nkept: {} (record, plan, why, frames)\n", directory.display()));
            }
            self.print("\n");
        }
        let count = |wanted: fn(&Entry) -> bool| self.entries.iter().filter(|entry| wanted(entry)).count();
        let passed = count(Entry::passed);
        let failed = count(|entry| entry.record.is_some() && !entry.passed());
        let unsupported = count(|entry| entry.unsupported.is_some());
        let counted = |count: usize, what: &str| if count == 0 { String::new() } else { format!(", {count} {what}") };
        let not_run = self.loaded.len() - passed - failed - unsupported;
        let rest = counted(unsupported, "unsupported") + &counted(not_run, "not run");
        let color = if self.code == EXIT_OK { GREEN } else { RED };
        if self.arguments.prove {
            let (noticed, all) = self.proved;
            let without = self.loaded.iter().filter(|one| one.scenario.faults.is_empty()).count();
            self.print(&format!("{noticed} of {all} faults noticed{}\n", counted(without, "scenarios without any")));
        }
        self.print(&format!("{}{rest}\n", self.painted(color, &format!("{passed} passed, {failed} failed"))));
        self.code
    }

    /// The files that were asked for.
    fn write(&mut self) {
        let records: Vec<&Record> = self.entries.iter().filter_map(|entry| entry.record.as_ref()).collect();
        let mut written = Vec::new();
        if let Some(file) = &self.arguments.json {
            let text = serde_json::to_string_pretty(&records).map_err(io::Error::from);
            written.push((file, text.and_then(|text| put(file, &text))));
        }
        if let Some(file) = &self.arguments.junit {
            let text = report::junit(&self.entries).map_err(io::Error::other);
            written.push((file, text.and_then(|text| put(file, &text))));
        }
        if let Some(file) = &self.arguments.markdown {
            written.push((file, append(file, &report::markdown(&self.entries))));
        }
        for (file, result) in written {
            if let Err(error) = result {
                err(&format!("error: {}: {error}\n", file.display()));
                self.code = worse(self.code, EXIT_BAD_INPUT);
            }
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Writes a file; `-` is standard output.
fn put(file: &Path, text: &str) -> io::Result<()> {
    if file == Path::new("-") {
        out(&format!("{text}\n"));
        return Ok(());
    }
    std::fs::write(file, text)
}

/// Adds to a file, which may have what other jobs have said.
fn append(file: &Path, text: &str) -> io::Result<()> {
    if file == Path::new("-") {
        return put(file, text);
    }
    std::fs::OpenOptions::new().create(true).append(true).open(file)?.write_all(text.as_bytes())
}
