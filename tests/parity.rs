//! Every recording of the real agent, replayed with all deviations off: after every step each namespace holds what an agent
//! leaves that was started on an empty machine, line for line. What may differ stands in `tests/recordings/differences.txt`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic, and runs the built program"
)]

mod common;
mod recorded;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use recorded::{Namespaces, differences, lines_of, name, steps};
use rstest::rstest;
use serde_json::Value;

/// Faults of the real agent's steady state, which alone may be the reason of an entry. Source: the recordings' own notes.
const FAULTS: std::ops::RangeInclusive<u32> = 11..=17;

/// A difference that is known: recording, step (from 1), line.
type Known = (String, usize, String);

/// The table of known differences.
fn table() -> BTreeSet<Known> {
    let text = std::fs::read_to_string(common::project("tests/recordings/differences.txt")).unwrap();
    let mut known = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let [recording, step, difference, why] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("not `RECORDING | STEP | NAMESPACE: -LINE | fault N: WHY`: {line}");
        };
        let fault = why.strip_prefix("fault ").and_then(|rest| rest.split(':').next()).and_then(|n| n.parse().ok());
        assert!(fault.is_some_and(|fault| FAULTS.contains(&fault)), "no fault that may be left as it is: {line}");
        assert!(known.insert((recording.to_owned(), step.parse().unwrap(), difference.to_owned())), "twice: {line}");
    }
    known
}

/// What stands after each step.
struct Replay {
    steps: Vec<Namespaces>,
    /// The program that was not there when a step needed it.
    missing: bool,
}

fn replayed(file: &Path) -> Replay {
    let _permit = common::Permit::wait();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out.json");
    let run = Command::new(common::program()).arg("replay").arg(file).arg("--json").arg(&out).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    let missing = run.status.code() == Some(3) && said.contains("there is no program");
    assert!(run.status.success() || missing, "{}: {}\n{said}", file.display(), run.status);
    let value: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    let namespaces = |step: &Value| {
        step["namespaces"].as_object().unwrap().iter().map(|(name, lines)| (name.clone(), lines_of(lines))).collect()
    };
    Replay { steps: value["steps"].as_array().unwrap().iter().map(namespaces).collect(), missing }
}

#[rstest]
fn recording(
    #[files("tests/recordings/*.json")]
    #[files("tests/payloads/*.json")]
    file: PathBuf,
) {
    if common::labs_are_skipped() {
        return;
    }
    let (recorded, replay) = (steps(&file), replayed(&file));
    let recording = name(&file);
    if replay.missing {
        eprintln!("{recording}: left out from step {}: programs are missing", replay.steps.len() + 1);
    } else {
        assert_eq!(replay.steps.len(), recorded.len(), "{recording}");
    }
    let mut found = BTreeSet::new();
    for (n, (real, ours)) in recorded.iter().zip(&replay.steps).enumerate() {
        if real.failed {
            continue;
        }
        assert!(!ours.is_empty() || real.fresh.is_empty(), "{recording}, step {}: nothing stands there", n + 1);
        found.extend(differences(&real.fresh, ours).into_iter().map(|line| (recording.clone(), n + 1, line)));
    }
    let known: BTreeSet<Known> = table()
        .into_iter()
        .filter(|(of, step, _)| of == &recording && (!replay.missing || *step <= replay.steps.len()))
        .collect();
    let mut wrong = Vec::new();
    for (_, step, line) in found.difference(&known) {
        wrong.push(format!("step {step} ({}): differs: {line}", recorded[step - 1].title));
    }
    for (_, step, line) in known.difference(&found) {
        wrong.push(format!("step {step}: stands in differences.txt and does not differ any more: {line}"));
    }
    assert!(wrong.is_empty(), "{recording} (- the real agent, + this one):\n{}", wrong.join("\n"));
}

#[test]
fn every_entry_belongs_to_a_step_of_a_recording() {
    let files = recorded::files();
    for (recording, step, line) in table() {
        let file = files.iter().find(|file| name(file) == recording);
        let many = file.map_or(0, |file| steps(file).len());
        assert!((1..=many).contains(&step), "differences.txt: {recording} has no step {step} ({line})");
    }
}

/// The figures of the real agent are there to be compared with.
#[test]
fn recordings_say_how_long_the_real_agent_took() {
    for file in recorded::files() {
        assert!(steps(&file).iter().all(|step| step.wall_s > 0.0), "{}", file.display());
    }
}
