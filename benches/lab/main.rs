//! How long labs take: built, read, probed, changed; beside the same objects made by bare requests and by a shell's means.
//! Run by `cargo bench`; `scripts/budgets` holds the figures against what they may be.
//!
//! In: nothing. Out: criterion's report, and for each case a line `figure NAME MILLISECONDS`, the median. Never: the end of a
//! lab in a measured part; the kernel takes its time with it, so that it is waited for before the next one.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a bench may panic, and prints")]

mod bare;
mod paced;
mod program;
mod reaped;
mod shell;
mod world;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BatchSize, Criterion, SamplingMode};
use dvrlab::kernel::sandbox::Sandbox;
use socket2::{Domain, Socket, Type};

use bare::Objects;
use reaped::Reaper;
use world::{MATRIX, MEASURED, Standing, WHOLE, event_set};

/// Set in a process inside a sandbox: which part it has.
const INSIDE: &str = "DVRLAB_BENCH_INSIDE";
/// It measures.
const MEASURE: &str = "measure";
/// It waits until the kernel is done with the labs before it.
const WAIT: &str = "wait";
/// One lab a sample, and few samples: the kernel needs a quarter of a second to get rid of each.
const SAMPLES: usize = 10;
/// Short, so that criterion plans one iteration a sample where an iteration is a whole lab.
const SHORT: Duration = Duration::from_millis(1);
/// For what costs no lab.
const LONG: Duration = Duration::from_secs(2);

fn main() {
    match std::env::var_os(INSIDE) {
        None => outside(),
        Some(part) if part == WAIT => Reaper::default().wait(),
        Some(_) => measure(),
    }
}

/// Measures in a sandbox what lives in one, and then what makes its own.
fn outside() {
    sandboxed(MEASURE);
    // Not if criterion was told to list, to test, or which case it is to run.
    if std::env::args().skip(1).all(|argument| argument == "--bench") {
        program::measure(&|| sandboxed(WAIT));
    }
}

/// Runs a part in a sandbox of its own.
fn sandboxed(part: &str) {
    let program = std::env::current_exe().expect("a running program has a path");
    let inside = format!("{INSIDE}={part}");
    let command = ["env", &inside, program.to_str().expect("the build directory's path is UTF-8")].map(str::to_owned);
    let command: Vec<String> = command.into_iter().chain(std::env::args().skip(1)).collect();
    let mut sandbox = Sandbox::run(Path::new(env!("CARGO_BIN_EXE_dvrlab")), &command).expect("a sandbox can be had");
    while let Some(line) = sandbox.read_line().expect("the measuring process writes lines") {
        println!("{line}");
    }
    let status = sandbox.finish().expect("the measuring process ends");
    assert!(status.success(), "the measuring process failed: {status}");
}

/// Runs all cases. The sandbox's only writable place takes what criterion keeps.
fn measure() {
    let directory = std::env::temp_dir().join("criterion");
    let mut criterion = Criterion::default().output_directory(&directory).without_plots().configure_from_args();
    built(&mut criterion);
    read(&mut criterion);
    probed(&mut criterion);
    changed(&mut criterion);
    program::empty();
    criterion.final_summary();
    paced::paced(&Standing::new(MATRIX));
    tell(&directory);
}

/// A whole lab by this program, by bare requests, and by `ip` and `iptables-restore`.
fn built(criterion: &mut Criterion) {
    let model = Standing::new(WHOLE);
    let objects = Objects::of(&model);
    println!("{objects}");
    let reaper = Reaper::default();
    drop(model);
    let mut group = criterion.benchmark_group("up");
    group.sample_size(SAMPLES).warm_up_time(SHORT).measurement_time(SHORT).sampling_mode(SamplingMode::Flat);
    group.bench_function("dvrlab", |bencher| {
        bencher.iter_batched(|| reaper.wait(), |()| Standing::new(WHOLE), BatchSize::PerIteration);
    });
    group.bench_function("bare", |bencher| {
        bencher.iter_batched(|| reaper.wait(), |()| objects.build(), BatchSize::PerIteration);
    });
    match shell::Programs::find() {
        Ok(programs) => {
            let scripts = shell::scripts(&objects);
            group.bench_function("shell", |bencher| {
                bencher.iter_batched(|| reaper.wait(), |()| programs.build(&scripts), BatchSize::PerIteration);
            });
        }
        Err(missing) => println!("left out: up/shell, since {missing} is missing"),
    }
    group.finish();
    reaper.wait();
}

/// Everything that stands in the router namespaces of all hosts.
fn read(criterion: &mut Criterion) {
    let standing = Standing::new(WHOLE);
    standing.check();
    let mut group = criterion.benchmark_group("observe");
    group.sample_size(SAMPLES).warm_up_time(LONG / 10).measurement_time(LONG);
    group.bench_function("lab", |bencher| bencher.iter(|| black_box(standing.observe())));
    group.finish();
}

/// Ten machines to each other, three protocols.
fn probed(criterion: &mut Criterion) {
    let standing = Standing::new(MATRIX);
    let flows = standing.matrix();
    println!("matrix: {} flows", flows.len());
    standing.send(&flows);
    let mut group = criterion.benchmark_group("matrix");
    group.sample_size(SAMPLES).warm_up_time(LONG / 10).measurement_time(LONG);
    group.bench_function("10x10", |bencher| bencher.iter(|| black_box(standing.send(&flows))));
    group.finish();
}

/// One change, from the event to the last operation: of the whole lab, one host after another, and of single hosts, which is what
/// an agent's time is of. It is taken back outside the measured part.
fn changed(criterion: &mut Criterion) {
    let mut standing = Standing::new(WHOLE);
    let mut group = criterion.benchmark_group("change");
    group.sample_size(SAMPLES).warm_up_time(SHORT).measurement_time(SHORT).sampling_mode(SamplingMode::Flat);
    for (name, [there, back]) in event_set() {
        if name == "gateway" {
            standing.release();
        }
        standing.ask(&there);
        for (case, _, host) in MEASURED.iter().filter(|(_, change, _)| *change == name) {
            group.bench_function(*case, |bencher| {
                bencher.iter_custom(|times| {
                    let mut took = Duration::ZERO;
                    for _ in 0..times {
                        standing.ask(&back);
                        standing.check();
                        rest();
                        let whole = standing.ask(&there);
                        took += host.map_or(whole, |host| standing.took(host));
                    }
                    took
                });
            });
        }
        standing.check();
    }
    group.finish();
}

/// Waits until the kernel is done with what was taken back: rules are freed an RCU grace period later, and the next transaction of
/// that namespace would wait for it (`nft_compat_wait_for_destructors` in linux/net/netfilter/nft_compat.c). Closing a packet
/// socket takes one; the first may have begun before.
fn rest() {
    for _ in 0..2 {
        drop(Socket::new(Domain::PACKET, Type::RAW, None).expect("a packet socket can be opened"));
    }
}

/// Prints the medians. There are none if criterion was told to list or to test only.
fn tell(directory: &Path) {
    let changes = MEASURED.map(|(case, _, _)| format!("change/{case}"));
    let others = ["up/dvrlab", "up/bare", "up/shell", "observe/lab", "matrix/10x10"].map(str::to_owned);
    for case in others.into_iter().chain(changes) {
        if let Some(median) = median(&directory.join(&case).join("new/estimates.json")) {
            println!("figure {case} {:.3}", median / 1e6);
        }
    }
}

/// In nanoseconds.
fn median(file: &PathBuf) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    let estimates: serde_json::Value = serde_json::from_str(&text).expect("criterion writes JSON");
    estimates.get("median")?.get("point_estimate")?.as_f64()
}
