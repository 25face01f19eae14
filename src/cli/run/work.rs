//! The labs of a run, several at a time.
//!
//! In: scenarios. Out: what happens, as it happens ([`News`]). Never: a line printed.

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use super::super::Color;
use super::super::files::Loaded;
use super::pause::{self, Prompt};
use super::{Arguments, orders, pcap};
use crate::harness::{self, HarnessError, Job, Overrides, Pause, StepCapture, Told};
use crate::kernel;
use crate::record::{Outcome, Record, StepRecord};
use crate::run::Delivery;

/// Something that has happened.
pub(super) enum News {
    /// A step of a scenario is done; its number.
    Step(usize, usize),
    /// A scenario has ended.
    Ended(Box<Ended>),
}

/// A scenario that has ended.
pub(super) struct Ended {
    /// Its position among those that were to run.
    pub(super) index: usize,
    pub(super) result: Result<Record, HarnessError>,
    /// The same with each of its faults, if that was asked for and it went well without.
    pub(super) proofs: Vec<Result<Record, HarnessError>>,
    /// What came of other orders of its notifications, if that was asked for and it went well without.
    pub(super) orders: Option<orders::Outcome>,
    /// What kept the capture from being whole.
    pub(super) complaints: Vec<String>,
    /// Frames kept for a failure.
    pub(super) captured: Vec<StepCapture>,
    pub(super) took: Duration,
    /// How long each step took.
    pub(super) steps: Vec<Duration>,
}

/// How the scenarios of a run are run.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) program: &'a Path,
    /// Where somebody is asked, one lab at a time.
    pub(super) pause: Option<Pause>,
    pub(super) color: Color,
}

/// Runs all scenarios and hands on the news.
pub(super) fn carry_out(loaded: &[Loaded], way: &Way<'_>, told: &mut dyn FnMut(News)) {
    let jobs = if way.pause.is_some() { 1 } else { way.arguments.jobs };
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = loaded.get(index) else { break };
                    let ended = run_one(index, one, way, &sender);
                    let failed = !matches!(&ended.result, Ok(record) if record.outcome == Outcome::Passed);
                    let no_lab = matches!(&ended.result, Err(HarnessError::Sandbox(_) | HarnessError::Stopped));
                    if no_lab || (failed && way.arguments.fail_fast) {
                        stop.store(true, Ordering::Relaxed);
                    }
                    if sender.send(News::Ended(Box::new(ended))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        receiver.into_iter().for_each(told);
    });
}

/// A run of a scenario, with one of its faults or none.
fn job(one: &Loaded, arguments: &Arguments, fault: Option<usize>, delivery: Option<Delivery>) -> Job {
    Job::Scenario {
        path: one.file.to_string_lossy().into_owned(),
        text: one.text.clone(),
        log: arguments.log.clone(),
        hold: None,
        overrides: Overrides {
            deviations: arguments.deviations.clone().unwrap_or_default(),
            rules: arguments.rules,
            prove_watch: arguments.prove_watch,
            // A fault is meant to fail: its packets are nobody's evidence.
            pcap: arguments.pcap.is_some() && fault.is_none() && delivery.is_none(),
            fault,
            until: None,
            delivery,
            pause: Pause::default(),
        },
    }
}

fn run_one(index: usize, one: &Loaded, way: &Way<'_>, sender: &Sender<News>) -> Ended {
    let Way { arguments, program, .. } = *way;
    let mut files = arguments.pcap.as_deref().map(|directory| pcap::Files::new(directory, &one.scenario.name));
    // Told first, and kept if the step then turns out to have failed.
    let captured: RefCell<Vec<StepCapture>> = RefCell::default();
    let steps = RefCell::new(Vec::new());
    let began = kernel::now();
    let mut step_began: Instant = began;
    let mut deaf = false;
    let mut done = |step: &StepRecord| {
        let now = kernel::now();
        steps.borrow_mut().push(now.duration_since(step_began));
        step_began = now;
        if step.failures.is_empty() {
            captured.borrow_mut().retain(|kept| kept.number != step.number);
        }
        deaf = deaf || sender.send(News::Step(index, step.number)).is_err();
    };
    let mut frames = |step: StepCapture| {
        if let Some(files) = &mut files {
            files.add(&step);
        }
        captured.borrow_mut().push(step);
    };
    let usual = job(one, arguments, None, None);
    let result = match way.pause {
        None => harness::run_captured(program, &usual, &mut |step| done(&step), &mut frames),
        Some(first) => {
            let anew = |pause| pause::with(job(one, arguments, None, None), pause);
            let mut begin = || {
                steps.borrow_mut().clear();
                captured.borrow_mut().clear();
            };
            let prompt = Prompt { source: one, program, color: way.color };
            prompt.run(first, &anew, &mut begin, &mut Told { step: &mut done, captured: &mut frames })
        }
    };
    let complaints = files.map(|files| files.complaints).unwrap_or_default();
    let took = kernel::now().duration_since(began);
    let passed = matches!(&result, Ok(record) if record.outcome == Outcome::Passed);
    let faults = if arguments.prove && passed { one.scenario.faults.len() } else { 0 };
    let faulty = |fault| harness::run_scenario(program, &job(one, arguments, Some(fault), None), &mut drop);
    let ordered = |delivery| harness::run_scenario(program, &job(one, arguments, None, Some(delivery)), &mut drop);
    let orders = match (&result, arguments.orders) {
        (Ok(base), Some(wanted)) if passed => Some(orders::all(wanted, base, &ordered)),
        (Ok(_) | Err(_), _) => None,
    };
    Ended {
        index,
        orders,
        result,
        proofs: (0..faults).map(faulty).collect(),
        complaints,
        captured: captured.into_inner(),
        took,
        steps: steps.into_inner(),
    }
}
