//! Every scenario has a fault, and `tests/faults.txt` has them all. That each turns its scenario red is shown beside the run
//! without it, in `tests/scenarios.rs`.

mod common;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use table::{is_of_later, read, table};

/// No fault text serves more scenarios than this: a fault is its scenario's own.
const SHARED: usize = 3;

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
    let only = |one: &BTreeSet<_>, other| one.difference(other).cloned().collect::<Vec<(String, String)>>();
    let (gone, new) = (only(&found, &wanted), only(&wanted, &found));
    assert!(gone.is_empty() && new.is_empty(), "only in tests/faults.txt: {gone:?}; only in scenarios/: {new:?}");
    for (text, scenarios) in by_text {
        assert!(scenarios.len() <= SHARED, "`{text}` serves {scenarios:?}");
    }
}

/// A scenario that nothing turns red shows nothing.
#[test]
fn every_scenario_has_a_fault() {
    let scenarios = common::scenario_files().into_iter().map(|file| read(&file).1);
    let without: Vec<String> = scenarios
        .filter(|scenario| scenario.faults.is_empty() && !is_of_later(scenario))
        .map(|scenario| scenario.name)
        .collect();
    assert!(without.is_empty(), "no `faults`: {without:?}");
}
