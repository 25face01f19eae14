//! `dvrlab graph` and `dvrlab completions`: golden texts.
#![expect(clippy::expect_used, reason = "a test may panic")]

mod common;

use std::process::{Command, Output};

use rstest::rstest;

#[expect(clippy::disallowed_methods, reason = "the program itself is under test")]
fn dvrlab(arguments: &[&str]) -> Output {
    let mut command = Command::new(common::program());
    command.args(arguments).current_dir(common::project("")).output().expect("the program starts")
}

#[rstest]
#[case("svg", "scenarios/floating-ip/in-out.yaml@given")]
#[case("mermaid", "scenarios/floating-ip/in-out.yaml@given")]
#[case("dot", "scenarios/floating-ip/in-out.yaml@given")]
fn a_topology_is_drawn(#[case] format: &str, #[case] scenario: &str) {
    let output = dvrlab(&["graph", scenario, "--format", format]);
    assert_eq!(output.status.code(), Some(0));
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(common::project("snapshots/graph"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(format, String::from_utf8(output.stdout).expect("UTF-8")));
}

/// Every scenario can be drawn at its end, without a lab.
#[test]
fn every_scenario_can_be_drawn() {
    let mut open = vec![common::project("scenarios")];
    let mut drawn = 0;
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a scenario");
            let scenario = dvrlab::scenario::parse(&path.to_string_lossy(), &text).expect("a scenario");
            let scene = dvrlab::run::planned_scene(&scenario, scenario.steps.len()).expect("a scene");
            let svg = dvrlab::report::drawing::standalone("it", &scene);
            assert!(scene.machines.keys().all(|name| svg.contains(&format!(">{name}</text>"))), "{}", path.display());
            drawn += 1;
        }
    }
    assert!(drawn > 30, "{drawn}");
}

#[test]
fn a_step_that_there_is_not_ends_with_2() {
    let output = dvrlab(&["graph", "scenarios/floating-ip/in-out.yaml@nowhere"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_shell_completes_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = dvrlab(&["completions", shell]);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.success() && text.contains("replay") && text.contains("graph"), "{shell}");
    }
}
