//! What `run` prints and writes, as its readers meet it: all is well, a failure, a leak, a mistake, a machine that cannot.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and the program itself is under test"
)]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use dvrlab::kernel::sandbox::Sandbox;

/// A small network whose only instance leaves by source NAT; then its name and its sentences.
const NETWORK: &str = "# One instance leaves by source NAT.
#
# Setup:   one router, one instance.
# Change:  none.
# Seen:    its source outside.
# Mirrors: nothing.
settings: { random_ports: false }
hosts:
  net1: { mode: dvr_snat }
  cmp1: { mode: dvr }
networks:
  public: { external: true }
  red:    {}
subnets:
  public4: { network: public, cidr: 203.0.113.0/24 }
  red4:    { network: red, cidr: 10.0.1.0/24 }
routers:
  r1: { interfaces: [red4], gateway: { network: public, address: 203.0.113.10 } }
instances:
  vm1: { host: cmp1, network: red, address: 10.0.1.11 }
outside:
  web: { behind: public, address: 198.51.100.2 }
steps:
";
const WELL: &str = "  - expect:\n      vm1 -> web: as 203.0.113.10 via net1\n";
const WRONG: &str = "  - name: wrong\n    expect:\n      vm1 -> web: as 203.0.113.99\n";
const NO_LEAK: &str = "  - name: leak\n    expect:\n      watch: tenant source from vm1\n";

/// A directory of scenarios, and what came of `run` there.
struct Ran {
    directory: tempfile::TempDir,
    output: Output,
}

impl Ran {
    fn new(scenarios: &[(&str, String)], arguments: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let _permit = common::Permit::wait();
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in scenarios {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let mut command = Command::new(common::program());
        command.arg("run").args(arguments).current_dir(directory.path()).env_remove("CI").env_remove("NO_COLOR");
        change(&mut command);
        let output = command.output().unwrap();
        Self { directory, output }
    }

    /// Exit code, then both streams.
    fn told(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (stdout, stderr) = (text(&self.output.stdout), text(&self.output.stderr));
        format!(
            "exit code {}\n{stdout}{}{stderr}",
            self.output.status.code().unwrap(),
            if stderr.is_empty() { "" } else { "-- standard error\n" }
        )
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap()
    }
}

fn holds(name: &str, told: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(common::project("snapshots/output"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, told));
}

fn scenario(steps: &str) -> String {
    format!("{NETWORK}{steps}")
}

#[test]
fn one_scenario_tells_all_and_several_a_line_each() {
    if common::labs_are_skipped() {
        return;
    }
    let one = Ran::new(&[("one.yaml", scenario(WELL))], &["one.yaml"], |_| {});
    holds("well", &one.told());
    let several = Ran::new(&[("one.yaml", scenario(WELL)), ("two.yaml", scenario(WELL))], &["."], |_| {});
    holds("several", &several.told());
    let files: Vec<_> = std::fs::read_dir(several.directory.path()).unwrap().collect();
    assert_eq!(files.len(), 2, "nothing is written when all is well: {files:?}");
}

/// The failure is at the end, in one sentence before any detail, and what there is of it is kept.
#[test]
fn a_failure_is_told_and_kept() {
    if common::labs_are_skipped() {
        return;
    }
    let scenarios = [("good.yaml", scenario(WELL)), ("wrong.yaml", scenario(WRONG))];
    let arguments = ["--bundle", "kept", "--junit", "junit.xml", "--markdown", "page.md", "good.yaml", "wrong.yaml"];
    let ran = Ran::new(&scenarios, &arguments, |_| {});
    holds("failure", &ran.told());
    holds("failure-markdown", &ran.file("page.md"));
    let mut untimed = String::new();
    for (n, part) in ran.file("junit.xml").split(" time=\"").enumerate() {
        untimed.push_str(if n == 0 { part } else { part.split_once('"').unwrap().1 });
    }
    holds("failure-junit", &untimed);
    let kept = ran.directory.path().join("kept");
    assert_eq!(std::fs::read_link(kept.join("latest")).unwrap(), Path::new("run-1"));
    let names = |place: &Path| {
        let mut names: Vec<_> =
            std::fs::read_dir(place).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&kept.join("latest")), ["wrong"], "what passed is not kept");
    assert_eq!(
        names(&kept.join("latest/wrong")),
        ["excerpt.pcapng", "plan.txt", "record.json", "scenario.yaml", "why.txt"]
    );
    let record: dvrlab::record::Record = serde_json::from_str(&ran.file("kept/latest/wrong/record.json")).unwrap();
    assert_eq!(record.scenario, "wrong");
    assert!(ran.file("kept/latest/wrong/why.txt").contains("\n    why: vm1 -> web"));
    assert!(ran.file("kept/latest/wrong/plan.txt").contains("cmp1/qrouter-r1"));
    let frames = std::fs::read(kept.join("latest/wrong/excerpt.pcapng")).unwrap();
    let has = |text: &str| frames.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("cmp1/qrouter-r1 qr-red4") && has("step 1 (wrong); probe "), "devices and comments");
    // The next run leaves this one as it is.
    let mut again = Command::new(common::program());
    again.args(["run", "-q", "--bundle", "kept", "wrong.yaml"]).current_dir(ran.directory.path());
    assert_eq!(again.output().unwrap().status.code(), Some(1));
    assert_eq!(std::fs::read_link(kept.join("latest")).unwrap(), Path::new("run-2"));
    assert_eq!(names(&kept), ["latest", "run-1", "run-2"]);
}

/// The upstream router leads the outside to the tenant, whose answers leave untranslated: the watch names them, and the frames that it
/// caught are kept.
#[test]
fn a_leak_is_told_and_its_frames_kept() {
    if common::labs_are_skipped() {
        return;
    }
    let isp = "  isp: { gateway_of: public, routes: [10.0.1.0/24 via 203.0.113.10] }\n  web:";
    let open = "deviations: { refuse-inbound: false }\nsettings:";
    let leaking = scenario(WELL).replace("  web:", isp).replace("settings:", open);
    let ran = Ran::new(&[("leak.yaml", leaking)], &["--bundle", "kept", "leak.yaml"], |_| {});
    // Its sentence ends with a time.
    let told = ran.told();
    let timed =
        |line: &str| line.split_once(", first ").map_or_else(|| line.to_owned(), |(before, _)| before.to_owned());
    holds("leak", &told.lines().map(timed).collect::<Vec<_>>().join("\n"));
    let frames = std::fs::read(ran.directory.path().join("kept/latest/leak/excerpt.pcapng")).unwrap();
    let has = |text: &str| frames.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("segment public net1") && has("step 1; the watch: tenant source from net1"), "devices and comments");
}

/// What the watch was told to see and did not, and colour when it is asked for.
#[test]
fn a_leak_that_does_not_come_is_told_in_colour() {
    if common::labs_are_skipped() {
        return;
    }
    let ran = Ran::new(&[("leak.yaml", scenario(NO_LEAK))], &["--color", "always", "-q", "leak.yaml"], |_| {});
    holds("no-leak", &ran.told());
    let plain = Ran::new(&[("leak.yaml", scenario(NO_LEAK))], &["-q", "leak.yaml"], |command| {
        command.env("NO_COLOR", "1");
    });
    assert!(!plain.told().contains('\x1b'), "{}", plain.told());
}

/// A machine on which no namespace can be made: said once, with the remedy, by the exit code, too.
#[test]
fn a_machine_that_cannot_run_labs_is_told() {
    if common::labs_are_skipped() {
        return;
    }
    let _permit = common::Permit::wait();
    let forbidden = "cd / && echo 0 >/proc/sys/user/max_user_namespaces && echo 0 >/proc/sys/user/max_net_namespaces && \
                     { \"$0\" run \"$1\" 2>&1; echo exit code $?; }";
    let (program, file) = (common::program(), common::project("scenarios/snat/basic.yaml"));
    let command = ["/bin/sh", "-c", forbidden, program.to_str().unwrap(), file.to_str().unwrap()].map(str::to_owned);
    let mut sandbox = Sandbox::run(program, &command).unwrap();
    let mut told = String::new();
    while let Some(line) = sandbox.read_line().unwrap() {
        told.push_str(&line);
        told.push('\n');
    }
    assert!(sandbox.finish().unwrap().success(), "{told}");
    holds("no-lab", &told);
}

#[test]
fn a_mistake_is_told_with_its_line() {
    let ran = Ran::new(&[("bad.yaml", scenario("  - expect:\n      vm1 -> wbe: dropped\n"))], &["bad.yaml"], |_| {});
    holds("mistake", &ran.told());
}

/// Rules by iptables where there is no iptables: unsupported, never passed.
#[test]
fn what_this_machine_cannot_run_is_told() {
    if common::labs_are_skipped() {
        return;
    }
    let scenarios = [("one.yaml", scenario(WELL))];
    let arguments = ["--rules", "iptables", "--junit", "junit.xml", "one.yaml"];
    let ran = Ran::new(&scenarios, &arguments, |command| {
        command.env("PATH", "");
    });
    holds("unsupported", &ran.told());
    assert!(ran.file("junit.xml").contains("<skipped message=\"rules by iptables: "), "{}", ran.file("junit.xml"));
}
