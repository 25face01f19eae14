//! Every scenario file is a test: it runs as expected, and its two snapshots are as committed.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own files has failed")]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dvrlab::{report, snapshot};
use rstest::rstest;

#[rstest]
fn scenario(#[files("scenarios/**/*.yaml")] file: PathBuf) {
    if common::labs_are_skipped() {
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
}

/// A snapshot without a scenario would never be compared again; a scenario without one compares nothing.
#[test]
fn snapshots_and_scenarios_belong_together() {
    let scenarios = files(&common::project("scenarios"), "yaml");
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
