//! The example files of the language's reference: each is a scenario, or is refused only for words of later versions.

use std::path::PathBuf;

use dvrlab::scenario::{Severity, parse, render};
use rstest::rstest;

#[rstest]
fn an_example_is_a_scenario_or_ahead_of_its_time(#[files("tests/language/*.yaml")] path: PathBuf) {
    let text = std::fs::read_to_string(&path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    match parse(&name, &text) {
        Ok(scenario) => assert!(scenario.warnings.is_empty(), "{}", render(&scenario.warnings, &text, &name, false)),
        Err(notes) => {
            let wrong: Vec<_> = notes.into_iter().filter(|n| !n.later || n.severity == Severity::Warning).collect();
            assert!(wrong.is_empty(), "{}", render(&wrong, &text, &name, false));
        }
    }
}
