//! Every scenario file is a test: it runs as expected, its two snapshots are as committed, and each of its faults turns it red.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own files has failed")]

mod common;
mod table;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dvrlab::harness::Overrides;
use dvrlab::record::Outcome;
use dvrlab::report::{Proof, proof, proof_text};
use dvrlab::scenario::Scenario;
use dvrlab::{report, snapshot};
use rstest::rstest;

#[rstest]
fn scenario(
    #[files("scenarios/**/*.yaml")]
    #[files("tests/unsupported/*.yaml")]
    file: PathBuf,
) {
    if common::labs_are_skipped() {
        return;
    }
    let (text, scenario) = table::read(&file);
    if table::is_of_later(&scenario) {
        let told = common::unsupported(&file.to_string_lossy(), text);
        assert!(told.starts_with("it requires "), "{told}");
        return;
    }
    let record = common::record_of(&file);
    let (topic, name) = record.scenario.rsplit_once('/').unwrap_or(("", &record.scenario));
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(common::project("snapshots").join(topic));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        insta::assert_snapshot!(format!("{name}.reach"), report::reach(&record));
        insta::assert_snapshot!(format!("{name}.rules"), report::rules(&record));
    });
    assert!(record.failures().next().is_none(), "{}", report::failures(&record));
    assert_eq!(record.outcome, Outcome::Passed);
    each_fault_is_noticed(&file, &text, &scenario, &record);
}

/// Each fault turns the scenario, which is green without it, red by the sentence that `tests/faults.txt` names. What comes
/// after that sentence has failed is not run: it would be the faulty router's.
fn each_fault_is_noticed(file: &Path, text: &str, scenario: &Scenario, green: &dvrlab::record::Record) {
    let table = table::table();
    for (number, fault) in scenario.faults.iter().enumerate() {
        let sentence = table.get(&(scenario.name.clone(), fault.text.clone()));
        let overrides = Overrides { fault: Some(number), until: sentence.cloned(), ..Overrides::default() };
        let red = common::record_with(&file.to_string_lossy(), text.to_owned(), overrides);
        let proof = proof(green, &red);
        let told = proof_text(&red, &proof);
        let Proof::Noticed(noticed) = proof else { panic!("{told}") };
        let sentence = sentence.unwrap_or_else(|| panic!("tests/faults.txt does not have `{}`\n{told}", fault.text));
        assert!(noticed.iter().any(|one| one.is_of(sentence)), "`{sentence}` did not fail\n{told}");
        let touched = &red.fault.as_ref().unwrap().touched;
        assert_eq!(touched.len(), 1, "{}: a fault touches one object or operation: {touched:?}", fault.text);
    }
}

/// A snapshot without a scenario would never be compared again; a scenario without one compares nothing.
#[test]
fn snapshots_and_scenarios_belong_together() {
    let later = |name: &String| table::is_of_later(&table::read(&common::project(&format!("scenarios/{name}.yaml"))).1);
    let scenarios: BTreeSet<String> =
        files(&common::project("scenarios"), "yaml").into_iter().filter(|name| !later(name)).collect();
    let wanted: BTreeSet<String> =
        scenarios.iter().flat_map(|name| [format!("{name}.reach"), format!("{name}.rules")]).collect();
    let found: BTreeSet<String> =
        files(&common::project("snapshots"), "snap").into_iter().filter(|name| is_of_a_scenario(name)).collect();
    assert_eq!(found, wanted, "left: files in snapshots/, right: what the files in scenarios/ call for");
}

/// `run --accept` writes the bytes that insta writes.
#[test]
fn the_program_writes_snapshots_as_insta_does() {
    let snapshots = common::project("snapshots");
    for name in files(&snapshots, "snap").into_iter().filter(|name| is_of_a_scenario(name)) {
        let file = snapshots.join(format!("{name}.snap"));
        let bytes = std::fs::read_to_string(&file).unwrap();
        let body = bytes.splitn(3, "---\n").nth(2).expect("insta's head");
        let directory = tempfile::tempdir().unwrap();
        let copy = snapshot::Snapshot { file: directory.path().join("copy.snap"), text: body.to_owned() };
        copy.write().unwrap();
        assert_eq!(std::fs::read_to_string(&copy.file).unwrap(), bytes, "{name}");
    }
}

/// Those of mistakes, explanations, comparisons and drawings belong to other tests.
fn is_of_a_scenario(name: &str) -> bool {
    !["invalid/", "why/", "diff/", "graph/", "output/"].iter().any(|other| name.starts_with(other))
}

fn files(root: &Path, extension: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let name = path.strip_prefix(root).unwrap().with_extension("");
                names.insert(name.to_string_lossy().into_owned());
            }
        }
    }
    names
}
