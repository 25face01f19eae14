//! The program as its users meet it: exit codes, messages, and a README that tells the truth.

mod common;

use std::path::Path;
use std::process::{Command, Output};

#[expect(clippy::disallowed_methods, reason = "the program itself is under test")]
fn dvrlab(arguments: &[&str]) -> Output {
    let _permit = common::Permit::wait();
    let mut command = Command::new(common::program());
    command.args(arguments).current_dir(common::project("")).env_remove("CI").output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Writes a changed copy of a scenario where no snapshots stand beside it.
fn changed(from: &str, to: &str) -> (tempfile::TempDir, String) {
    let text = std::fs::read_to_string(common::project("scenarios/snat/basic.yaml")).expect("the scenario can be read");
    assert!(text.contains(from), "the scenario has `{from}`");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("changed.yaml");
    std::fs::write(&file, text.replace(from, to)).expect("the copy can be written");
    let path = file.to_string_lossy().into_owned();
    (directory, path)
}

#[test]
fn a_wrong_expectation_ends_with_1_and_names_its_line() {
    if common::labs_are_skipped() {
        return;
    }
    let (kept, file) = changed("vm2 -> web: as 203.0.113.10", "vm2 -> web: as 203.0.113.99");
    let output = dvrlab(&["run", "-q", "--bundle", &kept.path().to_string_lossy(), &file]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("changed.yaml:34: step 1: `vm2 -> web: as 203.0.113.99"), "{text}");
    assert!(text.contains("as 203.0.113.10, not 203.0.113.99"), "{text}");
    assert!(text.ends_with("0 passed, 1 failed\n"), "{text}");
}

#[test]
fn a_mistake_in_a_file_ends_with_2_and_starts_nothing() {
    let (_kept, file) = changed("network: red, address: 10.0.1.11", "network: redd, address: 10.0.1.11");
    let output = dvrlab(&["run", &file]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("changed.yaml:25:"), "{errors}");
    assert!(errors.contains("did you mean `red`?"), "{errors}");
    assert!(output.stdout.is_empty());
}

/// Before anything is built, so that no run is lost to it.
#[test]
fn what_cannot_be_written_ends_with_2_and_starts_nothing() {
    let kept = tempfile::tempdir().expect("a directory");
    let file = kept.path().join("file");
    std::fs::write(&file, "stays").expect("written");
    let inside = file.join("below").to_string_lossy().into_owned();
    for option in ["--json", "--junit", "--markdown", "--pcap", "--bundle"] {
        let output = dvrlab(&["run", option, &inside, "scenarios/snat/basic.yaml"]);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""), "{option}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(told, format!("error: {option} {inside}: Not a directory (os error 20)\n"));
    }
    assert_eq!(std::fs::read_dir(kept.path()).expect("a directory").count(), 1);
    assert_eq!(std::fs::read_to_string(&file).expect("read"), "stays");
}

#[test]
fn nothing_selected_ends_with_4() {
    let output = dvrlab(&["run", "--filter", "no-such-thing", "scenarios"]);
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn the_record_is_of_its_schema() {
    if common::labs_are_skipped() {
        return;
    }
    let output = dvrlab(&["run", "--json", "-", "scenarios/snat/basic.yaml"]);
    let records: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON and nothing else");
    let schema = dvrlab::record::schema();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let records = records.as_array().expect("a list of records");
    assert_eq!(records.len(), 1);
    for record in records {
        if let Err(error) = validator.validate(record) {
            panic!("{error} at {}", error.instance_path());
        }
    }
}

/// Every line of the README's scenario is in the file, in that order.
#[test]
fn the_readme_shows_a_scenario() {
    let readme = std::fs::read_to_string(common::project("README.md")).expect("the README can be read");
    let scenario = std::fs::read_to_string(common::project("scenarios/floating-ip/in-out.yaml")).expect("the scenario");
    in_order(block(&readme, "yaml"), &scenario);
}

#[test]
fn the_readme_lists_every_deviation() {
    let readme = std::fs::read_to_string(common::project("README.md")).expect("the README can be read");
    let rows = dvrlab::deviation::Deviation::ALL.map(|each| format!("\n| {} | `{each}` | ", each.number()));
    for row in rows {
        assert!(readme.contains(&row), "{row}");
    }
}

#[test]
fn a_deviation_that_there_is_not_is_told_with_those_that_there_are() {
    let output = dvrlab(&["run", "--deviations", "drop-all", "scenarios"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("there is no deviation `drop-all`; there are drop-invalid, "), "{errors}");
}

fn block<'a>(readme: &'a str, language: &str) -> &'a str {
    let start = readme.split_once(&format!("```{language}\n")).expect("a block of that language").1;
    start.split_once("\n```").expect("its end").0
}

fn in_order(shown: &str, whole: &str) {
    let mut rest = whole.lines();
    for line in shown.lines().filter(|line| *line != "...") {
        assert!(rest.any(|other| other == line), "not there, or not in this order: {line}");
    }
}

/// The commands of the README's first screen exist.
#[test]
fn every_command_has_help() {
    let commands = [
        "run",
        "why",
        "shell",
        "diff",
        "report",
        "graph",
        "new",
        "check",
        "list",
        "replay",
        "doctor",
        "schema",
        "completions",
        "man",
    ];
    for command in commands {
        assert_eq!(dvrlab(&[command, "--help"]).status.code(), Some(0), "{command}");
        let page = stdout(&dvrlab(&["man", command]));
        assert!(page.contains(&format!(".TH dvrlab-{command} 1")), "{page}");
        assert!(stdout(&dvrlab(&["man"])).contains(&format!("dvrlab\\-{command}(1)")), "{command}");
    }
    assert_eq!(dvrlab(&["man", "no-such-command"]).status.code(), Some(2));
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&dvrlab(&["completions", shell]));
        assert!(script.contains("prove-watch") && script.contains("completions"), "{shell}: {script}");
    }
    assert!(Path::new(common::program()).exists());
}
