//! `dvrlab diff`: what is told of two records, on records of real runs.
#![expect(clippy::expect_used, reason = "a test may panic")]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use rstest::rstest;

/// With `ipv6-redirect` off, IPv6 is led to the provider segment by the host that the instance is on.
const LEAKING: &str = "scenarios/ipv6/v6-only.yaml";

#[expect(clippy::disallowed_methods, reason = "the program itself is under test")]
fn dvrlab(arguments: &[&str]) -> Output {
    let _permit = common::Permit::wait();
    let mut command = Command::new(common::program());
    command.args(arguments).current_dir(common::project("")).env_remove("CI").output().expect("the program starts")
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("UTF-8")
}

/// Runs a scenario and keeps its record.
fn record(directory: &Path, name: &str, scenario: &str, more: &[&str]) -> String {
    let file = directory.join(name).to_string_lossy().into_owned();
    let arguments: Vec<&str> =
        ["run", "-q", "--json", &file, scenario].into_iter().chain(more.iter().copied()).collect();
    let output = dvrlab(&arguments);
    assert!(Path::new(&file).exists(), "{}{}", text(output.stdout), text(output.stderr));
    file
}

fn told(base: &str, head: &str, more: &[&str]) -> (Option<i32>, String) {
    let output = dvrlab(&["diff", base, head].into_iter().chain(more.iter().copied()).collect::<Vec<_>>());
    (output.status.code(), text(output.stdout) + &text(output.stderr))
}

fn golden(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(common::project("snapshots/diff"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Of a node with several addresses each is a target of its own, though all have one name.
#[test]
fn a_record_differs_in_nothing_from_itself() {
    if common::labs_are_skipped() {
        return;
    }
    let kept = tempfile::tempdir().expect("a directory");
    let record = record(kept.path(), "record.json", "scenarios/ports/several.yaml", &[]);
    let (code, told) = told(&record, &record, &[]);
    assert_eq!(code, Some(0), "{told}");
}

/// A leak that is gained, in each form; and lost the other way round.
#[test]
fn a_leak_comes_first() {
    if common::labs_are_skipped() {
        return;
    }
    let kept = tempfile::tempdir().expect("a directory");
    let base = record(kept.path(), "base.json", LEAKING, &[]);
    let head = record(kept.path(), "head.json", LEAKING, &["--deviations", "ipv6-redirect=false"]);
    for (name, more) in [("leak", &[][..]), ("leak-all", &["--all"]), ("leak-markdown", &["--format", "markdown"])] {
        let (code, told) = told(&base, &head, more);
        assert_eq!(code, Some(1), "{told}");
        golden(name, &told);
    }
    let (code, back) = told(&head, &base, &[]);
    assert_eq!(code, Some(1), "{back}");
    assert!(back.starts_with("behaviour changed: ") && back.contains(" lost, in 1 of 1 scenario\n"), "{back}");
    let (code, json) = told(&base, &head, &["--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, &json["behaviour_changed"]), (Some(1), &serde_json::json!(true)));
    assert_eq!(json["deviations_off"], serde_json::json!([[], ["ipv6-redirect"]]));
    assert_eq!(json["changed"][0]["leaks"][0]["side"], "head");
}

/// What flows went through that ran through a change: who lost how much, and for how long.
#[test]
fn a_gap_that_grew_is_told() {
    if common::labs_are_skipped() {
        return;
    }
    let kept = tempfile::tempdir().expect("a directory");
    let base = record(kept.path(), "base.json", "scenarios/floating-ip/gap.yaml", &[]);
    let written = std::fs::read_to_string(&base).expect("a record");
    let mut value: serde_json::Value = serde_json::from_str(&written).expect("JSON");
    let flow = &mut value[0]["steps"][1]["flows"][0];
    let gap = flow["gap"]["ops"].as_u64().expect("this flow has a gap");
    flow["gap"]["ops"] = (gap + 1).into();
    let head = kept.path().join("head.json").to_string_lossy().into_owned();
    std::fs::write(&head, value.to_string()).expect("a file");
    let (code, same) = told(&base, &head, &[]);
    assert_eq!(code, Some(0), "a gap of one operation more is none of behaviour: {same}");
    value[0]["steps"][1]["flows"][0]["gap"]["ops"] = 30.into();
    value[0]["steps"][2]["flows"][1]["lost"] = serde_json::json!([{ "settled": 1 }]);
    std::fs::write(&head, value.to_string()).expect("a file");
    let (code, told) = told(&base, &head, &[]);
    assert_eq!(code, Some(1), "{told}");
    golden("gap", &told);
}

/// The same scenario behaves the same: nothing in a record differs that a comparison looks at.
#[rstest]
#[case("scenarios/floating-ip/hairpin.yaml")]
#[case("scenarios/gateway/move-host.yaml")]
fn a_scenario_behaves_as_it_did(#[case] scenario: &str) {
    if common::labs_are_skipped() {
        return;
    }
    let kept = tempfile::tempdir().expect("a directory");
    let base = record(kept.path(), "base.json", scenario, &[]);
    let head = record(kept.path(), "head.json", scenario, &[]);
    assert_eq!(told(&base, &head, &["--all"]), (Some(0), "behaviour as before in 1 scenario\n".to_owned()));
}

/// Other sources and hosts without a leak, a step more, a flow less, and a scenario on one side only.
#[test]
fn what_was_written_otherwise_is_told() {
    if common::labs_are_skipped() {
        return;
    }
    let kept = tempfile::tempdir().expect("a directory");
    let (base, head) = (kept.path().join("base"), kept.path().join("head"));
    for directory in [&base, &head] {
        std::fs::create_dir(directory).expect("a directory");
    }
    let scenario = kept.path().join("in-out.yaml").to_string_lossy().into_owned();
    let written = std::fs::read_to_string(common::project("scenarios/floating-ip/in-out.yaml")).expect("a scenario");
    std::fs::write(&scenario, &written).expect("a scenario");
    record(&base, "in-out.json", &scenario, &[]);
    record(&base, "basic.json", "scenarios/snat/basic.yaml", &[]);
    let machine = "  vm2: { host: cmp2, network: red, address: 10.0.1.12 }\n";
    let other = written
        .replace("instance: vm1 }", "instance: vm2 }")
        .replace(machine, &format!("{machine}  vm3: {{ host: cmp2, network: red, address: 10.0.1.13 }}\n"))
        + "  - name: back\n    associate: { floating_ip: 203.0.113.101, instance: vm1 }\n";
    std::fs::write(&scenario, &other).expect("a scenario");
    record(&head, "in-out.json", &scenario, &[]);
    let (code, told) = told(&base.to_string_lossy(), &head.to_string_lossy(), &[]);
    assert_eq!(code, Some(1), "{told}");
    golden("other-instance", &told);
}

/// The format before this one is read; what it lacks is no difference.
#[test]
fn a_record_of_the_format_before_is_read() {
    let old = common::project("tests/records/format-1.json").to_string_lossy().into_owned();
    assert_eq!(told(&old, &old, &["--all"]), (Some(0), "behaviour as before in 1 scenario\n".to_owned()));
}

#[test]
fn what_is_no_record_ends_with_2_or_4() {
    let kept = tempfile::tempdir().expect("a directory");
    let empty = kept.path().to_string_lossy().into_owned();
    let later = kept.path().join("later.json").to_string_lossy().into_owned();
    let old = common::project("tests/records/format-1.json").to_string_lossy().into_owned();
    let (code, complaint) = told(&empty, &old, &[]);
    assert_eq!(code, Some(4), "{complaint}");
    std::fs::write(&later, "[{\"format\": 99}]").expect("a file");
    let (code, complaint) = told(&old, &later, &[]);
    assert_eq!(code, Some(2), "{complaint}");
    assert!(complaint.contains("later.json: format 99: this version of dvrlab reads 1 to 2"), "{complaint}");
    std::fs::write(&later, std::fs::read(&old).expect("a record")).expect("a file");
    std::fs::copy(&old, kept.path().join("again.json")).expect("a file");
    let (code, complaint) = told(&old, &empty, &[]);
    assert_eq!(code, Some(2), "{complaint}");
    assert!(complaint.contains("there are two records of snat/basic"), "{complaint}");
}
