//! The authoring guide, `scenarios/README.md`, says what is true: its reference is what the language's tables say, every YAML block
//! runs, and every message that it explains exists.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::path::Path;

use dvrlab::report;
use dvrlab::scenario::{parse, reference, render, schema};

const BEGIN: &str = "<!-- reference: begin -->\n";
const END: &str = "<!-- reference: end -->\n";

fn guide() -> String {
    std::fs::read_to_string(common::project("scenarios/README.md")).unwrap()
}

#[test]
fn the_reference_is_what_the_code_says() {
    let guide = guide();
    let (before, rest) = guide.split_once(BEGIN).expect("the mark of the reference's beginning");
    let (written, after) = rest.split_once(END).expect("the mark of its end");
    let current = format!("\n{}\n", reference());
    if written == current {
        return;
    }
    if std::env::var_os("INSTA_UPDATE").is_some_and(|value| value == "always") {
        std::fs::write(common::project("scenarios/README.md"), format!("{before}{BEGIN}{current}{END}{after}"))
            .unwrap();
        return;
    }
    let odd = |here: &str, there: &str, sign: char| {
        let lines = here.lines().filter(|line| !there.contains(line)).map(|line| format!("{sign} {line}\n"));
        lines.collect::<String>()
    };
    panic!(
        "scenarios/README.md is not what the language's tables say; `scripts/bless`, or \
         `INSTA_UPDATE=always cargo test --test guide`, writes it:\n{}{}",
        odd(written, &current, '-'),
        odd(&current, written, '+')
    );
}

/// Every key that an editor is told of has a row.
#[test]
fn no_key_of_the_schema_is_missing() {
    fn keys(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) => {
                let title = map.get("title").and_then(serde_json::Value::as_str);
                found.extend(title.filter(|_| map.contains_key("description")).map(str::to_owned));
                map.values().for_each(|value| keys(value, found));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|value| keys(value, found)),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::String(_) => {}
        }
    }
    let (mut found, reference) = (Vec::new(), reference());
    keys(schema().get("properties").unwrap(), &mut found);
    assert!(found.len() > 100, "the schema has keys");
    let missing: Vec<&String> = found.iter().filter(|key| !reference.contains(&format!("\n| `{key}` | "))).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}

/// The YAML blocks with the lines where they begin. Those that are steps alone follow the last whole scenario before them.
fn blocks() -> Vec<(usize, String)> {
    let (mut blocks, mut frame, mut open) = (Vec::new(), String::new(), None::<(usize, String)>);
    for (number, line) in (1..).zip(guide().lines()) {
        match (&mut open, line) {
            (None, "```yaml") => open = Some((number, String::new())),
            (Some(_), "```") => {
                let (number, text) = open.take().unwrap();
                if let Some((objects, _)) = text.split_once("\nsteps:\n") {
                    objects.clone_into(&mut frame);
                    blocks.push((number, text));
                } else {
                    assert!(text.starts_with("- "), "the block at line {number} is neither a scenario nor steps");
                    blocks.push((number, format!("{frame}\nsteps:\n{text}")));
                }
            }
            (Some((_, text)), line) => *text = format!("{text}{line}\n"),
            (None, _) => {}
        }
    }
    blocks
}

#[test]
fn every_block_is_a_scenario() {
    let blocks = blocks();
    assert!(blocks.len() > 10, "there are blocks");
    for (line, text) in blocks {
        if let Err(notes) = parse("README.yaml", &text) {
            panic!("the block at line {line}:\n{}", render(&notes, &text, "README.yaml", false));
        }
    }
}

#[test]
fn every_block_holds_on_the_kernel() {
    if common::labs_are_skipped() {
        return;
    }
    let mut told = Vec::new();
    for (line, text) in blocks() {
        let record = common::record_of_text("README.yaml", text);
        if record.failures().next().is_some() {
            told.push(format!("the block at line {line}:\n{}", report::failures(&record)));
        }
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// All of a directory's text.
fn read(directory: &Path, all: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, all);
        } else {
            all.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
        }
    }
}

#[test]
fn every_message_explained_exists() {
    let guide = guide();
    let part = guide.split_once("\n## When something is wrong\n").unwrap().1.split_once("\n## ").unwrap().0;
    let mut all = String::new();
    read(&common::project("src"), &mut all);
    let mut rows = 0;
    for line in part.lines().filter(|line| line.starts_with("| `")) {
        let cell = line.split(" | ").next().unwrap().trim_start_matches("| ");
        let message = if cell.starts_with("``") { cell.trim_matches('`').trim() } else { cell.trim_matches('`') };
        let message = message.trim_start_matches("tenant source");
        assert!(all.contains(message), "nothing says `{message}`");
        rows += 1;
    }
    assert!(rows > 5, "there are messages");
}
