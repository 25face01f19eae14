//! A lab leaves nothing behind, wherever it stands when one of its processes is killed.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic, and starts the processes that it kills"
)]

mod common;
mod processes;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use dvrlab::harness::{Job, Overrides, run_scenario};
use dvrlab::kernel::sandbox::Sandbox;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use processes::{
    LIMIT, NOBODY, children_of, network_of, processes, processes_in, reachable, read_stage1, wait_for_the_last,
};
use rstest::rstest;
use serial_test::serial;

/// Tells [`parent`] that it is meant, and which program to start.
const PROGRAM: &str = "DVRLAB_TEST_PROGRAM";
/// Tells it the job. Without one it runs [`DETACHED`].
const JOB: &str = "DVRLAB_TEST_JOB";
/// A command with a child that has left its session, so that no signal to a group reaches it.
const DETACHED: &str = "PATH=/usr/bin:/bin; setsid sleep 1000 & echo started; exec sleep 1000";
/// How many points each process is killed at.
const POINTS: usize = 30;
/// The scenario that is cut short.
const SCENARIO: &str = include_str!("../scenarios/floating-ip/in-out.yaml");

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_dvrlab"))
}

fn job(hold: Option<u32>) -> Job {
    Job::Scenario {
        path: "in-out.yaml".to_owned(),
        text: SCENARIO.to_owned(),
        log: None,
        hold,
        overrides: Overrides::default(),
    }
}

/// No test: the process that others kill, or watch while its sandbox is killed.
#[test]
fn parent() {
    let Some(program) = std::env::var_os(PROGRAM) else { return };
    let program = Path::new(&program);
    let mut sandbox = match std::env::var(JOB) {
        Ok(job) => Sandbox::spawn(program, &job),
        Err(_none) => Sandbox::run(program, &["/bin/sh", "-c", DETACHED].map(str::to_owned)),
    }
    .unwrap();
    println!("\nstage 1 is {}", sandbox.stage1());
    // Until something is killed.
    while let Some(line) = sandbox.read_line().unwrap() {
        if line.starts_with("{\"held\"") || line == "started" {
            println!("{line}");
        }
    }
}

/// What of the machine a lab could leave something in.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    devices: Vec<String>,
    mounts: String,
    run: BTreeSet<OsString>,
    /// Those of `/tmp` that a lab may have made: others use the directory too.
    temporary: BTreeSet<OsString>,
    own: BTreeSet<OsString>,
}

impl Machine {
    /// As it is; `own` is the directory for temporary files that the lab was given.
    fn now(own: &Path) -> Self {
        let devices = fs::read_to_string("/proc/net/dev").unwrap();
        let names = devices.lines().filter_map(|line| line.split_once(':'));
        let list = |directory: &Path| -> BTreeSet<OsString> {
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect()
        };
        let mut temporary = list(Path::new("/tmp"));
        temporary.retain(|name| {
            ["dvrlab", "qrouter-", "snat-", "fip-"].iter().any(|part| name.to_string_lossy().contains(part))
        });
        Self {
            devices: names.map(|(name, _)| name.trim().to_owned()).collect(),
            mounts: fs::read_to_string("/proc/self/mountinfo").unwrap(),
            run: list(Path::new("/run")),
            temporary,
            own: list(own),
        }
    }
}

/// A directory that every user can write, and the programs as every user can reach them.
struct Place {
    directory: tempfile::TempDir,
    temporary: PathBuf,
    program: PathBuf,
    test: PathBuf,
}

impl Place {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let program = reachable(directory.path(), program());
        let test = reachable(directory.path(), &std::env::current_exe().unwrap());
        let temporary = directory.path().join("tmp");
        fs::create_dir(&temporary).unwrap();
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o777)).unwrap();
        Self { directory, temporary, program, test }
    }

    fn start(&self, mut command: Command, unprivileged: bool) -> Child {
        if unprivileged {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.current_dir(self.directory.path()).env("TMPDIR", &self.temporary);
        // Every process of the tree inherits standard error: it closes when the last one is gone.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn parent(&self, point: Point, unprivileged: bool) -> Child {
        let mut command = Command::new(&self.test);
        command.args(["--exact", "parent", "--nocapture"]).env(PROGRAM, &self.program);
        let job = match point {
            Point::Detached => None,
            Point::Begun => Some(job(None)),
            Point::Held(count) => Some(job(Some(count))),
        };
        if let Some(job) = job {
            command.env(JOB, serde_json::to_string(&job).unwrap());
        }
        self.start(command, unprivileged)
    }

    fn run(&self, scenario: &Path, unprivileged: bool) -> Child {
        heed_interrupts();
        let mut command = Command::new(&self.program);
        command.args(["run", "--quiet"]).arg(scenario);
        self.start(command, unprivileged)
    }
}

/// Has the programs that are started from now on end by ^C. What a shell runs in the background inherits that it is ignored, and
/// so would they; what is caught here is at its default again in a new program.
fn heed_interrupts() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    if ignored & (1 << (libc::SIGINT - 1)) == 0 {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _inside = runtime.enter();
    let _stream = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).unwrap();
}

/// The network namespaces of processes, without the one that this process is in.
fn networks_of(pids: &BTreeSet<i32>) -> BTreeSet<OsString> {
    let here = network_of(std::process::id().cast_signed());
    pids.iter().filter_map(|pid| network_of(*pid)).filter(|network| Some(network) != here.as_ref()).collect()
}

/// A process and all below it.
fn tree(root: i32) -> BTreeSet<i32> {
    let mut all = BTreeSet::from([root]);
    let mut new = vec![root];
    while let Some(one) = new.pop() {
        new.extend(children_of(one).into_iter().filter(|child| all.insert(*child)));
    }
    all
}

/// The network namespaces of a lab: those that its processes are in and those that they hold open.
fn namespaces_of(pids: &BTreeSet<i32>) -> BTreeSet<OsString> {
    let open = |pid: &i32| {
        let directory = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        let links: Vec<_> =
            directory.filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.into())).collect();
        links
    };
    let held = pids.iter().flat_map(open).filter(|link: &OsString| link.to_string_lossy().starts_with("net:["));
    held.chain(networks_of(pids)).collect()
}

/// Waits until none of the namespaces is anybody's. The kernel gives an inode number again, so a process counts only if it came
/// between `before` and `killed`.
fn wait_for_the_namespaces(namespaces: &BTreeSet<OsString>, (before, killed): (&BTreeSet<i32>, &BTreeSet<i32>)) {
    let start = Instant::now();
    let suspects: BTreeSet<i32> = killed.difference(before).copied().collect();
    loop {
        let left: BTreeSet<_> = namespaces_of(&suspects).intersection(namespaces).cloned().collect();
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < LIMIT, "left: {left:?}");
        std::thread::yield_now();
    }
}

/// Where a run stands when a process of it is killed.
#[derive(Debug, Clone, Copy)]
enum Point {
    /// A sandbox that has only just got its job.
    Begun,
    /// A sandbox that runs [`DETACHED`].
    Detached,
    /// A scenario, counted as [`Job::Scenario`] counts.
    Held(u32),
}

/// All points: the two without a scenario, and of a run after the first operation of each kind, and at the first and last
/// matrix. The numbers are spread over the run where there are fewer kinds than points.
fn points() -> Vec<Point> {
    let record = run_scenario(program(), &job(None), &mut |_step| {}).unwrap();
    let mut kinds: BTreeSet<String> = BTreeSet::new();
    let (mut firsts, mut matrices, mut count) = (Vec::new(), Vec::new(), 0);
    for step in &record.steps {
        for op in step.hosts.iter().flat_map(|host| &host.ops) {
            let words: Vec<&str> = op.command.split_whitespace().filter(|word| !word.starts_with('-')).collect();
            if kinds.insert(words[..2.min(words.len())].join(" ")) || op.command.contains(" del ") {
                firsts.push(count);
            }
            count += 1;
        }
        if !step.probes.is_empty() {
            matrices.push(count);
            count += 1;
        }
    }
    let ends = [matrices[0], *matrices.last().unwrap()];
    firsts.truncate(POINTS - 2 - ends.len());
    firsts.extend(ends);
    let spread = (1..40).map(|n| n * count / 40).filter(|n| !firsts.contains(n)).take(POINTS - 2 - firsts.len());
    let spread: Vec<u32> = spread.collect();
    firsts.extend(spread);
    let points: Vec<Point> =
        [Point::Begun, Point::Detached].into_iter().chain(firsts.into_iter().map(Point::Held)).collect();
    assert_eq!(points.len(), POINTS, "{points:?}");
    points
}

fn wait_until_held(said: &mut impl BufRead) -> String {
    said.lines()
        .map(Result::unwrap)
        .find(|line| line.starts_with("{\"held\"") || line == "started")
        .expect("the lab gets to the point where it is to be held")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Parent,
    Stage1,
    Init,
}

#[rstest]
#[case::parent(Victim::Parent)]
#[case::stage1(Victim::Stage1)]
#[case::init(Victim::Init)]
#[serial]
fn nothing_is_left_when_killed(#[case] victim: Victim, #[values(false, true)] unprivileged: bool) {
    if common::labs_are_skipped() {
        return;
    }
    if unprivileged && !geteuid().is_root() {
        return;
    }
    let place = Place::new();
    for point in points() {
        let (before, others) = (Machine::now(&place.temporary), processes().collect());
        let mut parent = place.parent(point, unprivileged);
        let mut said = BufReader::new(parent.stdout.take().unwrap());
        let stage1 = read_stage1(&mut said);
        let init = children_of(stage1).pop_first().expect("stage 1 has a child");
        // Stage 1 stays where it is; below it the lab goes in and out of its namespaces.
        let inside = network_of(stage1).expect("the sandbox has a network namespace");
        let held = match point {
            Point::Begun => None,
            Point::Detached | Point::Held(_) => Some(wait_until_held(&mut said)),
        };
        let namespaces = namespaces_of(&tree(parent.id().cast_signed()));
        assert!(namespaces.contains(&inside), "{namespaces:?}");
        let many = matches!(&held, Some(held) if held.contains("matrix"));
        assert!(!many || namespaces.len() > 5 || !geteuid().is_root(), "the lab's are seen: {namespaces:?}");
        let killed = processes().collect();
        let target = match victim {
            Victim::Parent => parent.id().cast_signed(),
            Victim::Stage1 => stage1,
            Victim::Init => init,
        };
        kill(Pid::from_raw(target), Signal::SIGKILL).unwrap();
        wait_for_the_last(&mut parent, &inside);
        wait_for_the_namespaces(&namespaces, (&others, &killed));
        parent.wait().unwrap();
        assert_eq!(Machine::now(&place.temporary), before, "killed at {held:?}");
    }
}

/// The network namespaces of a running program, once it has a sandbox.
fn wait_for_a_sandbox(parent: &Child) -> BTreeSet<OsString> {
    let start = Instant::now();
    loop {
        let networks = networks_of(&tree(parent.id().cast_signed()));
        if !networks.is_empty() {
            return networks;
        }
        assert!(start.elapsed() < LIMIT, "no sandbox was made");
        std::thread::yield_now();
    }
}

#[rstest]
#[serial]
fn nothing_is_left_when_interrupted(#[values(false, true)] unprivileged: bool) {
    if common::labs_are_skipped() {
        return;
    }
    if unprivileged && !geteuid().is_root() {
        return;
    }
    let place = Place::new();
    let scenario = place.directory.path().join("in-out.yaml");
    fs::write(&scenario, SCENARIO).unwrap();
    let before = Machine::now(&place.temporary);
    let mut parent = place.run(&scenario, unprivileged);
    let networks = wait_for_a_sandbox(&parent);
    kill(Pid::from_raw(parent.id().cast_signed()), Signal::SIGINT).unwrap();
    wait_for_the_last(&mut parent, networks.first().unwrap());
    assert!(!parent.wait().unwrap().success());
    assert_eq!(Machine::now(&place.temporary), before);
}

#[rstest]
#[case::passes("vm1, vm2 -> web: as 203.0.113.10 via net1", 0)]
#[case::fails("vm1, vm2 -> web: as 203.0.113.99 via net1", 1)]
#[serial]
fn nothing_is_left_at_the_end(#[case] expectation: &str, #[case] code: i32) {
    if common::labs_are_skipped() {
        return;
    }
    let place = Place::new();
    let scenario = place.directory.path().join("end.yaml");
    fs::write(&scenario, SCENARIO.replace("vm1, vm2 -> web: as 203.0.113.10 via net1", expectation)).unwrap();
    let before = Machine::now(&place.temporary);
    let parent = place.run(&scenario, false);
    let networks = wait_for_a_sandbox(&parent);
    let output = parent.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stdout));
    for network in &networks {
        assert_eq!(processes_in(network), BTreeSet::new());
    }
    assert_eq!(Machine::now(&place.temporary), before);
    assert!(processes().count() > 0, "/proc can be read");
}
