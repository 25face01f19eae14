//! `dvrlab new`: what it writes has no mistakes, runs, and is turned red by its fault; what is there already stays as it is.
//! And `list`, which shows what there is.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::Path;
use std::process::Command;

const TOPOLOGIES: [&str; 5] = ["snat", "floating-ip", "east-west", "gateway-move", "ipv6"];

#[expect(clippy::disallowed_methods, reason = "the program itself is under test")]
fn dvrlab(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let _permit = common::Permit::wait();
    let mut command = Command::new(common::program());
    let output = command.args(arguments).current_dir(directory).env_remove("CI").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout) + &text(output.stderr))
}

#[test]
fn what_it_writes_runs_and_can_fail() {
    if common::labs_are_skipped() {
        return;
    }
    let kept = tempfile::tempdir().unwrap();
    for topology in TOPOLOGIES {
        let (code, told) = dvrlab(kept.path(), &["new", &format!("scenarios/{topology}"), "--topology", topology]);
        assert_eq!(code, Some(0), "{told}");
        assert!(told.starts_with(&format!("wrote scenarios/{topology}.yaml ({topology})\n")), "{told}");
    }
    let (code, told) = dvrlab(kept.path(), &["check", "scenarios"]);
    assert_eq!((code, told.as_str()), (Some(0), "5 scenarios without mistakes\n"), "no warnings either");
    let (code, told) = dvrlab(kept.path(), &["run", "--prove", "scenarios"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.ends_with("5 of 5 faults noticed\n5 passed, 0 failed\n"), "{told}");
}

/// Each is offered, with what it is about.
#[test]
fn its_help_lists_them() {
    let (code, told) = dvrlab(Path::new("/"), &["new", "--help"]);
    assert_eq!(code, Some(0), "{told}");
    for topology in TOPOLOGIES {
        assert!(told.contains(&format!("- {topology}: ")) || told.contains(&format!("- {topology}:  ")), "{told}");
    }
    let listed = told.lines().filter(|line| line.trim_start().starts_with("- ")).count();
    assert_eq!(listed, TOPOLOGIES.len() + 3, "those of --color, and no topology without a test: {told}");
}

#[test]
fn it_overwrites_nothing() {
    let kept = tempfile::tempdir().unwrap();
    std::fs::write(kept.path().join("mine.yaml"), "mine").unwrap();
    let (code, told) = dvrlab(kept.path(), &["new", "mine.yaml"]);
    assert_eq!((code, told.as_str()), (Some(2), "error: mine.yaml: it exists already, and is left as it is\n"));
    assert_eq!(std::fs::read_to_string(kept.path().join("mine.yaml")).unwrap(), "mine");
    // Neither would be found by `run`.
    for wrong in [".", "mine.txt"] {
        let (code, told) = dvrlab(kept.path(), &["new", wrong]);
        assert_eq!((code, told), (Some(2), format!("error: {wrong}: name a file `*.yaml` to write\n")));
    }
    assert_eq!(std::fs::read_dir(kept.path()).unwrap().count(), 1);
}

/// The example project's scenarios are such as `new` writes.
#[test]
fn the_example_began_with_it() {
    let kept = tempfile::tempdir().unwrap();
    for topology in ["snat", "floating-ip", "ipv6"] {
        assert_eq!(dvrlab(kept.path(), &["new", topology, "--topology", topology]).0, Some(0));
        let file = format!("{topology}.yaml");
        let example = common::project("examples/cargo-test/scenarios").join(&file);
        let written = std::fs::read_to_string(kept.path().join(&file)).unwrap();
        assert_eq!(std::fs::read_to_string(example).unwrap(), written, "{file}");
    }
}

/// By name, by tag, by either; and every shard's part, which make up the whole.
#[test]
fn lists_are_filtered_and_sharded() {
    let names = |arguments: &[&str]| -> Vec<String> {
        let (code, told) = dvrlab(&common::project(""), &[&["list", "scenarios"], arguments].concat());
        assert_eq!(code, Some(0), "{told}");
        told.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    };
    let all = names(&[]);
    assert_eq!(all.len(), common::scenario_files().len());
    assert_eq!(names(&["--filter", "floating-ip/in-out"]), ["floating-ip/in-out"]);
    assert!(names(&["--filter", "MP-15"]).contains(&"floating-ip/in-out".to_owned()), "a tag");
    let two = names(&["--filter", "ipv6/", "--filter", "gateway/clear"]);
    assert!(two.contains(&"gateway/clear".to_owned()) && two.iter().any(|name| name.starts_with("ipv6/")), "{two:?}");
    let shards: Vec<Vec<String>> = (1..=3).map(|m| names(&["--shard", &format!("{m}/3")])).collect();
    let mut together = shards.concat();
    together.sort();
    let mut whole = all.clone();
    whole.sort();
    assert_eq!(together, whole);
    assert!(shards.iter().all(|shard| shard.len() >= all.len() / 3), "even");
    for wrong in ["0/3", "4/3", "1"] {
        let (code, told) = dvrlab(&common::project(""), &["list", "scenarios", "--shard", wrong]);
        assert_eq!(code, Some(2));
        assert!(told.contains("write M/N with M from 1 to N"), "{told}");
    }
    let (code, told) = dvrlab(&common::project(""), &["list", "scenarios", "--filter", "no-such-thing"]);
    assert_eq!(code, Some(4), "{told}");
    let (_, told) = dvrlab(&common::project(""), &["list", "--filter", "floating-ip/in-out"]);
    assert!(told.ends_with("goes through the network node.  [MP-15, MP-16, floating-ip]\n"), "{told}");
}
