//! `dvrlab run --pause-on-fail` and `--pause-at`: a prompt in the lab as it stands, driven through a pipe.
#![expect(clippy::expect_used, reason = "a test may panic")]

mod common;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

/// Exit code, and what was printed, after these lines were typed.
#[expect(clippy::disallowed_methods, reason = "the program itself is under test")]
fn asked(arguments: &[&str], file: &Path, typed: &str) -> (Option<i32>, String) {
    let _permit = common::Permit::wait();
    let kept = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(common::program());
    command.arg("run").args(arguments).arg("--bundle").arg(kept.path()).arg(file);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(typed.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
    )
}

/// The lines appear one after the other.
fn in_order(text: &str, lines: &[&str]) {
    let mut rest = text;
    for line in lines {
        let at = rest.find(line).unwrap_or_else(|| panic!("no `{line}` there, or not in this order:\n{text}"));
        rest = &rest[at + line.len()..];
    }
}

#[test]
fn somebody_looks_asks_and_goes_on() {
    if common::labs_are_skipped() {
        return;
    }
    let typed = "look cmp1/fip-public\nwhy vm1 -> web icmp\nprobe vm1 -> web tcp/80\nrun cmp1/qrouter-r1 cat /proc/net/dev\nrun vm9 true\n\
                 shell cmp1\nnonsense\nwhy vm9 -> web\nlook vm9\ncontinue\n";
    let (code, text) = asked(&["--pause-at", "given"], &common::project("scenarios/floating-ip/in-out.yaml"), typed);
    assert_eq!(code, Some(0), "{text}");
    let wanted = [
        "floating-ip/in-out stands after step 2 (given)",
        "(given)> look cmp1/fip-public",
        "device    fg-public",
        "(given)> why vm1 -> web icmp",
        "cmp1/qrouter-r1",
        "(given)> probe",
        "tcp/80  vm1 -> web: as 203.0.113.101 via cmp1",
        "(given)> run",
        "rfp-r1",
        "there is no `vm9` now",
        "a shell needs a terminal",
        "there is no `nonsense`",
        "vm9",
        "nothing stands at `vm9`",
        "(given)> continue",
        "1 passed, 0 failed",
    ];
    in_order(&text, &wanted);
}

/// Back builds anew: what stood before the step stands again, and the step can be done once more.
#[test]
fn somebody_goes_back_and_forth() {
    if common::labs_are_skipped() {
        return;
    }
    let typed = "back\nprobe vm1 -> web icmp\nnext\nprobe vm1 -> web icmp\nquit\n";
    let (code, text) = asked(&["--pause-at", "given"], &common::project("scenarios/floating-ip/in-out.yaml"), typed);
    assert_eq!(code, Some(1), "{text}");
    let wanted = [
        "stands after step 2 (given)",
        "stands after step 1",
        "vm1 -> web: as 203.0.113.10 via",
        "> next",
        "stands after step 2 (given)",
        "vm1 -> web: as 203.0.113.101 via cmp1",
        "ended  floating-ip/in-out: by hand",
        "0 passed, 0 failed, 1 not run",
    ];
    in_order(&text, &wanted);
}

/// What fails is told at the prompt; the end of the input ends the run.
#[test]
fn a_step_that_fails_is_stood_still_at() {
    if common::labs_are_skipped() {
        return;
    }
    let kept = tempfile::tempdir().expect("a directory");
    let file = kept.path().join("wrong.yaml");
    let text = std::fs::read_to_string(common::project("scenarios/floating-ip/in-out.yaml")).expect("a scenario");
    std::fs::write(&file, text + "\n  - name: wrong\n    expect:\n      vm1 -> web: as 203.0.113.99\n")
        .expect("a file");
    let (code, text) = asked(&["--pause-on-fail"], &file, "why vm1 -> web icmp\n");
    assert_eq!(code, Some(1), "{text}");
    in_order(
        &text,
        &[
            "(wrong); `help`",
            "as 203.0.113.10, not 203.0.113.99",
            "(wrong)> why",
            "cmp1/qrouter-r1",
            "ended  wrong: by hand",
        ],
    );
    let (code, text) = asked(&["--pause-at", "nowhere"], &file, "");
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("there is no step `nowhere`"), "{text}");
}

/// What is typed at a terminal, and what stands there.
struct Terminal {
    keys: ChildStdin,
    screen: ChildStdout,
    shown: String,
    /// How far it was read.
    read: usize,
}

impl Terminal {
    /// Reads until this stands there, after what was read before.
    fn until(&mut self, wanted: &str) {
        let mut bytes = [0; 4096];
        loop {
            if let Some(at) = self.shown[self.read..].find(wanted) {
                self.read += at + wanted.len();
                return;
            }
            let count = self.screen.read(&mut bytes).expect("a screen");
            assert!(count > 0, "it ended before `{wanted}` stood there:\n{}", self.shown);
            self.shown.push_str(&String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()));
        }
    }

    fn types(&mut self, line: &str) {
        writeln!(self.keys, "{line}").and_then(|()| self.keys.flush()).expect("keys");
    }
}

/// On a terminal `shell` gives one at the node, and the prompt comes back after it. Where no `script` makes a terminal the last lines of
/// `cargo test` say so (`tests/zz_left_out.rs`).
#[test]
#[expect(clippy::disallowed_methods, reason = "the program itself is under test")]
fn a_shell_is_had_at_a_node() {
    let places = std::env::var_os("PATH").unwrap_or_default();
    if common::labs_are_skipped() || !std::env::split_paths(&places).any(|place| place.join("script").exists()) {
        return;
    }
    let _permit = common::Permit::wait();
    let kept = tempfile::tempdir().expect("a directory");
    let line = format!(
        "{} run --color never --pause-at given --bundle {} {}",
        common::program().display(),
        kept.path().display(),
        common::project("scenarios/floating-ip/in-out.yaml").display()
    );
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-c", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("`script` starts");
    let keys = child.stdin.take().expect("its input");
    let screen = child.stdout.take().expect("its output");
    let mut terminal = Terminal { keys, screen, shown: String::new(), read: 0 };
    terminal.until("(given)> ");
    terminal.types("shell vm1");
    terminal.until("# ");
    // What is typed is echoed, so what is looked for is not in it.
    terminal.types("echo here''-is $(grep -c eth0 /proc/net/dev); exit 3");
    terminal.until("here-is 1");
    terminal.until("exit code 3");
    terminal.until("(given)> ");
    terminal.types("continue");
    terminal.until("1 passed, 0 failed");
    assert!(child.wait().expect("a child that ends").success(), "{}", terminal.shown);
}
