//! Each case from outside, and each of the bugs that are worst for a harness to miss, has a scenario which says so in its tags;
//! or stands here with the reason why it has none.

mod common;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use dvrlab::scenario::Scenario;

/// How many cases there are that a first release must pass, `MP-01` to `MP-40`.
const MUST_PASS: usize = 40;

/// Of those, the ones about routers with a standby: their scenarios end as unsupported.
const OF_A_STANDBY: [&str; 2] = ["MP-38", "MP-39"];

/// The catalog's thirty bugs that are worst to miss, by their lead, the worst first.
const WORST: [&str; 30] = [
    "CT-01", "ES-05", "SR-01", "AR-04", "FL-06", "FN-23", "CF-09", "CT-07", "ES-08", "SR-02", "GW-02", "ES-06",
    "FN-05", "AR-05", "RO-02", "AN-01", "HA-02", "HA-06", "FL-04", "ER-02", "MT-06", "MT-03", "CT-03", "IM-01",
    "SR-08", "CT-05", "IM-09", "IM-06", "FL-01", "LM-01",
];

/// Those of them that no scenario can show, and why.
const WITHOUT: [(&str, &str); 2] = [
    ("HA-02", "two reloads of keepalived in a row: there is no keepalived, and no router with a standby"),
    ("HA-06", "what a standby sends by itself: there is no router with a standby"),
];

/// Those of the library, and those that end as unsupported, which stand apart so that the library's runs end well.
fn scenarios() -> Vec<Scenario> {
    let apart = std::fs::read_dir(common::project("tests/unsupported")).expect("the directory is there");
    let files =
        common::scenario_files().into_iter().chain(apart.map(|entry| entry.expect("the directory can be read").path()));
    files.map(|file| table::read(&file).1).collect()
}

/// The names of the scenarios that cite an id in their tags, by id.
fn cited() -> BTreeMap<String, BTreeSet<String>> {
    let mut cited: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for scenario in scenarios() {
        for tag in scenario.tags {
            cited.entry(tag).or_default().insert(scenario.name.clone());
        }
    }
    cited
}

#[test]
fn each_case_has_a_scenario() {
    let cited = cited();
    let cases = (1..=MUST_PASS).map(|number| format!("MP-{number:02}"));
    let missing: Vec<String> = cases.filter(|case| !cited.contains_key(case)).collect();
    assert!(missing.is_empty(), "no scenario has it among its tags: {missing:?}");
}

#[test]
fn each_of_the_worst_bugs_has_a_scenario_or_a_reason() {
    let cited = cited();
    let reasons = BTreeMap::from(WITHOUT);
    let wrong: Vec<&str> =
        WORST.into_iter().filter(|bug| cited.contains_key(*bug) == reasons.contains_key(bug)).collect();
    assert!(wrong.is_empty(), "neither a scenario nor a reason, or both: {wrong:?}");
    assert!(reasons.keys().all(|bug| WORST.contains(bug)), "a reason for what is not asked: {reasons:?}");
}

/// What ends as unsupported stands for those cases alone for which that is agreed, and these by nothing else.
#[test]
fn only_cases_of_a_standby_are_unsupported() {
    for scenario in scenarios() {
        let of_a_standby = scenario.tags.iter().any(|tag| OF_A_STANDBY.contains(&tag.as_str()));
        assert_eq!(table::is_of_later(&scenario), of_a_standby, "{}", scenario.name);
    }
}

/// A tag that looks like a case is one: a wrong digit would cite nothing.
#[test]
fn no_tag_cites_a_case_that_is_not_there() {
    let number = |tag: &str| tag.strip_prefix("MP-")?.parse::<usize>().ok();
    for scenario in scenarios() {
        for tag in scenario.tags.iter().filter(|tag| tag.starts_with("MP-")) {
            let known = number(tag).is_some_and(|number| (1..=MUST_PASS).contains(&number) && tag.len() == 5);
            assert!(known, "{}: {tag}", scenario.name);
        }
    }
}
