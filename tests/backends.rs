//! The whole library of scenarios gives the same snapshots by `iptables` as by netlink.
#![expect(clippy::expect_used, clippy::disallowed_methods, reason = "a test may panic, and runs the program itself")]

mod common;

use std::process::Command;

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(common::program())
        .args(arguments)
        .current_dir(common::project(""))
        .output()
        .expect("the program starts");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn snapshots_are_the_same_by_iptables() {
    if common::labs_are_skipped() {
        return;
    }
    let installed = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|place| place.join("iptables-restore").exists()));
    let _permit = common::Permit::wait();
    if installed {
        let (code, text) = run(&["run", "-q", "--rules", "iptables", "--allow-unsupported", "scenarios"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(" passed, 0 failed"), "{text}");
        assert!(!text.contains("rules by iptables"), "{text}");
    } else {
        let (code, text) = run(&["run", "-q", "--rules", "iptables", "scenarios"]);
        // Left out, as the last lines of the tests say; but it has to say so itself.
        assert_eq!(code, Some(3), "{text}");
        assert!(text.contains("rules by iptables: iptables-save is not installed"), "{text}");
        let (code, text) = run(&["run", "-q", "--rules", "iptables", "--allow-unsupported", "scenarios"]);
        assert_eq!(code, Some(0), "{text}");
    }
}
