//! What `tests/faults.txt` says, and the scenario files that it is about.

#![allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::path::Path;

use dvrlab::scenario::{Feature, Scenario, parse, render};

/// `SCENARIO | FAULT` to the sentence that must fail.
pub fn table() -> BTreeMap<(String, String), String> {
    let mut table = BTreeMap::new();
    for line in include_str!("../faults.txt").lines().filter(|line| !line.starts_with('#')) {
        let [scenario, fault, sentence] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("`{line}` is not `SCENARIO | FAULT | SENTENCE`")
        };
        let before = table.insert((scenario.to_owned(), fault.to_owned()), sentence.to_owned());
        assert_eq!(before, None, "twice: {line}");
    }
    table
}

/// A scenario file, and what it says.
pub fn read(file: &Path) -> (String, Scenario) {
    let text = std::fs::read_to_string(file).expect("the scenario can be read");
    let path = file.to_string_lossy();
    let scenario = parse(&path, &text).unwrap_or_else(|notes| panic!("{}", render(&notes, &text, &path, false)));
    (text, scenario)
}

/// It is about what no machine can show with this version.
pub fn is_of_later(scenario: &Scenario) -> bool {
    scenario.requires.contains(&Feature::Ha)
}
