//! `dvrlab shell SCENARIO@STEP NODE -- CMD`: the step is done, the place is the right one, the exit code is the program's.

mod common;

use std::process::{Command, Output};

#[expect(clippy::disallowed_methods, reason = "the program itself is under test")]
fn shell(step: &str, place: &str, script: &str) -> Output {
    let _permit = common::Permit::wait();
    let scenario = format!("scenarios/floating-ip/in-out.yaml@{step}");
    let mut command = Command::new(common::program());
    command.args(["shell", &scenario, place, "--", "sh", "-c", script]).current_dir(common::project(""));
    command.output().expect("the program starts")
}

fn written(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_program_runs_at_its_place_and_its_exit_code_is_given_on() {
    if common::labs_are_skipped() {
        return;
    }
    let output = shell("given", "cmp1/qrouter-r1", "ls /run/netns; cut -d: -f1 /proc/net/dev; exit 7");
    let text = written(&output);
    assert_eq!(output.status.code(), Some(7), "{text}");
    let words: Vec<&str> = text.split_whitespace().collect();
    for expected in ["fip-public", "qrouter-r1", "qr-red4", "rfp-r1"] {
        assert!(words.contains(&expected), "no {expected} in {text}");
    }
    assert!(!words.contains(&"snat-r1"), "that is another host's: {text}");
}

#[test]
fn it_is_as_it_was_before_a_later_step() {
    if common::labs_are_skipped() {
        return;
    }
    for (step, given) in [("1", false), ("given", true)] {
        let output = shell(step, "cmp1/fip-public", "cat /proc/net/fib_trie");
        assert_eq!(output.status.code(), Some(0), "{}", written(&output));
        assert!(written(&output).contains("169.254.64."), "{}", written(&output));
        assert_eq!(written(&output).contains("203.0.113.101"), given, "step {step}: {}", written(&output));
    }
}

#[test]
fn a_signal_and_a_wrong_place_are_told() {
    if common::labs_are_skipped() {
        return;
    }
    assert_eq!(shell("0", "vm1", "kill -9 $$").status.code(), Some(137));
    let wrong = shell("0", "vm9", "true");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(written(&wrong).contains("there is no `vm9` now; there are cmp1, "), "{}", written(&wrong));
}
