//! What a user is told about a file that is wrong: every bad file below `tests/invalid` with its whole message.

use std::path::PathBuf;

use dvrlab::scenario::{parse, render};
use rstest::rstest;

#[rstest]
fn a_bad_file_is_explained(#[files("tests/invalid/*.yaml")] path: PathBuf) {
    let text = std::fs::read_to_string(&path).expect("the file can be read");
    let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
    let shown = format!("{name}.yaml");
    let notes = parse(&shown, &text).expect_err("a file below tests/invalid is wrong");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots/invalid"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, render(&notes, &text, &shown, false)));
}

#[test]
fn colour_only_adds_escapes() {
    let text = "hosts: [net1]\n";
    let notes = parse("a.yaml", text).expect_err("hosts is a map");
    let (plain, coloured) = (render(&notes, text, "a.yaml", false), render(&notes, text, "a.yaml", true));
    assert!(coloured.contains("\u{1b}["));
    let mut stripped = String::new();
    let mut inside = false;
    for character in coloured.chars() {
        match character {
            '\u{1b}' => inside = true,
            'm' if inside => inside = false,
            _ if inside => {}
            other => stripped.push(other),
        }
    }
    assert_eq!(stripped, plain);
}
