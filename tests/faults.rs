//! Every fault of every scenario turns it red, by the sentence that `tests/faults.txt` names, and without it the scenario is green.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own files has failed")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use dvrlab::harness::Overrides;
use dvrlab::record::{FailureKind, Outcome};
use dvrlab::report::{Proof, failures, proof, proof_text};
use dvrlab::scenario::{Scenario, parse, render};
use rstest::rstest;

/// No fault text serves more scenarios than this: a fault is its scenario's own.
const SHARED: usize = 3;

/// `SCENARIO | FAULT` to the sentence that must fail.
fn table() -> BTreeMap<(String, String), String> {
    let mut table = BTreeMap::new();
    for line in include_str!("faults.txt").lines().filter(|line| !line.starts_with('#')) {
        let [scenario, fault, sentence] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("`{line}` is not `SCENARIO | FAULT | SENTENCE`")
        };
        let before = table.insert((scenario.to_owned(), fault.to_owned()), sentence.to_owned());
        assert_eq!(before, None, "twice: {line}");
    }
    table
}

fn read(file: &PathBuf) -> (String, Scenario) {
    let text = std::fs::read_to_string(file).unwrap();
    let path = file.to_string_lossy();
    let scenario = parse(&path, &text).unwrap_or_else(|notes| panic!("{}", render(&notes, &text, &path, false)));
    (text, scenario)
}

#[rstest]
fn each_fault_is_noticed(#[files("scenarios/**/*.yaml")] file: PathBuf) {
    let (text, scenario) = read(&file);
    if common::labs_are_skipped() || scenario.faults.is_empty() {
        return;
    }
    let table = table();
    let run = |fault| {
        let overrides = Overrides { fault, ..Overrides::default() };
        common::record_with(&file.to_string_lossy(), text.clone(), overrides)
    };
    let green = run(None);
    assert_eq!(green.outcome, Outcome::Passed, "{}", failures(&green));
    for (number, fault) in scenario.faults.iter().enumerate() {
        let red = run(Some(number));
        let proof = proof(&green, &red);
        let told = proof_text(&red, &proof);
        let Proof::Noticed(noticed) = proof else { panic!("{told}") };
        let sentence = table.get(&(scenario.name.clone(), fault.text.clone()));
        let sentence = sentence.unwrap_or_else(|| panic!("tests/faults.txt does not have `{}`\n{told}", fault.text));
        let named = |text: &str| text.starts_with(&format!("`{sentence}`:")) || text == sentence;
        let own = |kind| matches!(kind, FailureKind::Expectation | FailureKind::Watch);
        assert!(noticed.iter().any(|one| own(one.kind) && named(&one.text)), "`{sentence}` did not fail\n{told}");
        let touched = &red.fault.as_ref().unwrap().touched;
        assert_eq!(touched.len(), 1, "{}: a fault touches one object or operation: {touched:?}", fault.text);
    }
}

/// The table has all faults there are, and no others.
#[test]
fn the_table_is_complete() {
    let mut wanted = BTreeSet::new();
    let mut by_text: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in common::scenario_files() {
        let (_, scenario) = read(&file);
        for fault in scenario.faults {
            wanted.insert((scenario.name.clone(), fault.text.clone()));
            by_text.entry(fault.text).or_default().insert(scenario.name.clone());
        }
    }
    let found: BTreeSet<_> = table().into_keys().collect();
    assert_eq!(found, wanted, "left: tests/faults.txt, right: the faults in scenarios/");
    for (text, scenarios) in by_text {
        assert!(scenarios.len() <= SHARED, "`{text}` serves {scenarios:?}");
    }
}
