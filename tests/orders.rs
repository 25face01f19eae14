//! `dvrlab run --orders`: whatever the order of its notifications, and with everything twice, a step ends alike; and where it
//! does not, both orders are told with what differs.
#![expect(clippy::expect_used, reason = "a test may panic")]

mod common;

use std::process::Command;

use dvrlab::{record, report};
use rstest::rstest;

/// Exit code, and what was printed.
#[expect(clippy::disallowed_methods, reason = "the program itself is under test")]
fn run(orders: &str, scenario: &str) -> (Option<i32>, String) {
    let _permit = common::Permit::wait();
    let kept = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(common::program());
    command.args(["run", "--orders", orders, "--bundle"]).arg(kept.path()).arg(common::project(scenario));
    let output = command.output().expect("the program starts");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
    )
}

/// Several changes in one, by several hosts: tenants come and go, floating IPs share a namespace, a gateway and an instance move.
#[rstest]
#[case("pairs", "scenarios/routing/life.yaml", 7)]
#[case("all", "scenarios/floating-ip/shared-namespace.yaml", 6)]
#[case("4", "scenarios/gateway/move-host.yaml", 4)]
#[case("all", "scenarios/instance/live-migration.yaml", 2)]
fn every_order_ends_alike(#[case] orders: &str, #[case] scenario: &str, #[case] count: usize) {
    if common::labs_are_skipped() {
        return;
    }
    let (code, text) = run(orders, scenario);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&format!(": {count} orders of notifications, and everything twice")), "{text}");
}

/// A router's removal carries its content: heard last, it takes away what has come back since.
#[test]
fn an_order_that_ends_otherwise_is_told() {
    if common::labs_are_skipped() {
        return;
    }
    let (code, text) = run("pairs", "tests/orders/away-and-back.yaml");
    assert_eq!(code, Some(1), "{text}");
    for line in [
        "step 1 (away-and-back) ends otherwise in another order of notifications",
        "    - as asked: ",
        "    + this time: ",
        "    - cmp2/qrouter-r1: namespace",
        "    + cmp2: stale: + namespace qrouter-r1",
    ] {
        assert!(
            text.lines().any(|other| other.trim_end().ends_with(line) || other.starts_with(line)),
            "no `{line}` in\n{text}"
        );
    }
    let order = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).expect("an order");
        line.find("cmp2 hears r1 removed") < line.find("cmp2 hears r1 updated")
    };
    assert_eq!((order("- as asked"), order("+ this time")), (true, false), "{text}");
}

/// Whichever of two runs is the shorter one.
#[test]
fn a_step_that_one_run_alone_has_is_a_difference() {
    let text = std::fs::read_to_string(common::project("tests/records/format-1.json")).expect("a record");
    let whole = record::read(&text).expect("a record").remove(0);
    let mut shorter = whole.clone();
    shorter.steps.pop();
    let told = |base, with| report::reordered(base, with).map(|found| found.lines);
    assert_eq!(told(&whole, &whole), None);
    assert_eq!(told(&shorter, &whole), Some(vec!["+ the step".to_owned()]));
    assert_eq!(told(&whole, &shorter), Some(vec!["- the step".to_owned()]));
}
