//! Every console block of the README is what its commands print, from the first line to the last but where it says `...`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::path::Path;
use std::process::Command;

use rstest::rstest;

/// A command and the lines below it.
type Shown = (String, Vec<String>);

/// The console blocks of a file: the lines where they begin, and their commands.
fn blocks(readme: &str) -> Vec<(usize, Vec<Shown>)> {
    let (mut blocks, mut open) = (Vec::new(), None::<(usize, Vec<Shown>)>);
    for (number, line) in (1..).zip(readme.lines()) {
        match (&mut open, line) {
            (None, "```console") => open = Some((number, Vec::new())),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some((_, shown)), line) => match line.strip_prefix("$ ") {
                Some(command) => shown.push((command.to_owned(), Vec::new())),
                None => shown.last_mut().expect("a command comes first").1.push(line.to_owned()),
            },
            (None, _) => {}
        }
    }
    blocks
}

/// Copies a scenario that a command names, and its snapshots, to where the command will run.
fn furnish(directory: &Path, command: &str) {
    for word in command.split_whitespace() {
        let file = word.split('@').next().unwrap();
        let Some(name) = file.strip_prefix("scenarios/").and_then(|name| name.strip_suffix(".yaml")) else { continue };
        if !common::project(file).exists() {
            continue;
        }
        let mut wanted = vec![file.to_owned()];
        wanted.extend(["reach", "rules"].map(|what| format!("snapshots/{name}.{what}.snap")));
        for file in wanted {
            let copy = directory.join(&file);
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            std::fs::copy(common::project(&file), copy).unwrap();
        }
    }
    if command.split_whitespace().any(|word| word == "scenarios") {
        let link = directory.join("scenarios");
        if !link.exists() {
            std::os::unix::fs::symlink(common::project("scenarios"), link).unwrap();
        }
    }
}

/// Lines from the first on, `...` standing for any number of them.
fn matches(shown: &[String], told: &[&str]) -> bool {
    match shown.split_first() {
        None => told.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=told.len()).any(|skipped| told.get(skipped..).is_some_and(|left| matches(rest, left)))
        }
        Some((first, rest)) => told.split_first().is_some_and(|(line, others)| first == line && matches(rest, others)),
    }
}

#[rstest]
#[case("README.md", 7)]
#[case("examples/cargo-test/README.md", 1)]
fn console_blocks_are_what_is_printed(#[case] file: &str, #[case] at_least: usize) {
    if common::labs_are_skipped() {
        return;
    }
    let blocks = blocks(&std::fs::read_to_string(common::project(file)).unwrap());
    assert!(blocks.len() >= at_least, "{} blocks", blocks.len());
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", common::program().parent().unwrap().display());
    let mut wrong = Vec::new();
    for (number, commands) in blocks {
        let directory = tempfile::tempdir().unwrap();
        for (command, shown) in commands {
            let _permit = common::Permit::wait();
            furnish(directory.path(), &command);
            #[expect(clippy::disallowed_methods, reason = "what a reader would type")]
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", &command]).current_dir(directory.path()).env("PATH", &path).env_remove("CI");
            let output = shell.output().unwrap();
            let mut told = String::from_utf8(output.stdout).unwrap();
            told.push_str(&String::from_utf8(output.stderr).unwrap());
            if !matches(&shown, &told.lines().collect::<Vec<_>>()) {
                wrong.push(format!("{file}:{number}: `{command}` prints\n{told}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A file that the README leads to is there.
#[test]
fn links_lead_somewhere() {
    let readme = std::fs::read_to_string(common::project("README.md")).unwrap();
    let links = readme.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    let missing: Vec<&str> =
        links.filter(|link| !link.starts_with("https://") && !common::project(link).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
    for path in
        [".github/workflows/scenarios.yml", "tests/parity.rs", "tests/recordings", "tests/walk", "src/deviation.rs"]
    {
        assert!(readme.contains(path) && common::project(path).exists(), "{path}");
    }
}

/// The commands and flags of the example workflow exist.
#[test]
fn the_workflow_is_current() {
    let workflow = std::fs::read_to_string(common::project(".github/workflows/scenarios.yml")).unwrap();
    let mut lines = 0;
    for line in workflow.lines() {
        let Some((_, command)) = line.split_once("run: dvrlab ").or_else(|| line.split_once("--release -- ")) else {
            continue;
        };
        let mut words = command.split_whitespace();
        let verb = words.next().unwrap();
        #[expect(clippy::disallowed_methods, reason = "the program itself is under test")]
        let help = Command::new(common::program()).args([verb, "--help"]).output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        assert!(help.contains(&format!("Usage: dvrlab {verb}")), "{line}");
        for flag in words.filter(|word| word.starts_with("--")) {
            assert!(help.contains(&format!("{flag} ")), "{flag}: {line}");
        }
        lines += 1;
    }
    assert!(lines > 4, "it runs the program");
}

/// The matcher can fail.
#[test]
fn a_line_too_many_is_noticed() {
    let shown = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(matches(&shown("a\n...\nd"), &["a", "b", "c", "d"]));
    assert!(matches(&shown("a\n..."), &["a"]));
    for (wrong, told) in [("a", vec!["a", "b"]), ("...\nb", vec!["a"]), ("a\nc", vec!["a", "b", "c"]), ("b", vec![])] {
        assert!(!matches(&shown(wrong), &told), "{wrong}");
    }
}
