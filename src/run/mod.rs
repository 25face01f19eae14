//! Drives a scenario over a data plane, step by step.
//!
//! In: a checked [`Scenario`] and something that implements [`Dataplane`]. Out: a [`Record`]. One loop, `Driver::reconcile`,
//! serves creation, update, restart and repair: read what is there, work out what should be, do the difference.

mod act;
mod agents;
mod announced;
mod around;
mod background;
mod change;
mod check;
mod course;
mod damage;
mod end;
mod exchange;
mod exec;
mod fault;
mod frames;
mod ledger;
mod lines;
mod links;
mod matrix;
mod memory;
mod order;
mod profile;
mod proof;
mod repeat;
mod scene;
mod status;
mod watch;
mod why;
mod within;

pub use order::{Delivery, Orders};
pub use why::{names, stand, why};

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tracing::{info, info_span};

use crate::api::{Intent, NodePlace};
use crate::dataplane::{Dataplane, DataplaneError};
use crate::flow::{Flow, Place, ProbeReport, Verdict};
use crate::name::HostName;
use crate::namespace::{self, HostState, Kind};
use crate::net::Mac;
use crate::record::{FORMAT, Failure, FailureKind, HostRecord, Line, OpRecord, Outcome, Record, Scene, StepRecord};
use crate::scenario::{self, Expected, Operation, Scenario, StatePlace, Step};
use crate::topology::Topology;
use agents::Agents;
use check::undesirable;

pub use proof::{Proved, copies, prove};
pub use scene::planned_scene;

/// What a run does besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Before the first step and after the last, frames of every class are sent from every host's end of every provider
    /// segment: the watch must see each.
    pub prove_watch: bool,
    /// The router has this fault of the scenario, counted from 0.
    pub fault: Option<usize>,
    /// The run is over when this sentence has failed: nothing more is done then, nothing is taken down, and nobody asks why.
    pub until: Option<String>,
    /// How the notifications of every step arrive, if not as the file says.
    pub delivery: Option<Delivery>,
}

/// Runs a scenario to its end, telling each step as it is done.
pub fn run(
    scenario: &Scenario,
    options: Options,
    dataplane: &dyn Dataplane,
    told: &mut dyn FnMut(&StepRecord),
) -> Record {
    let _span = info_span!("run", scenario = %scenario.name).entered();
    let fault = options.fault.and_then(|number| scenario.faults.get(number));
    let until = options.until.clone();
    let over = |step: &StepRecord| {
        until.as_ref().is_some_and(|sentence| step.failures.iter().any(|failure| failure.is_of(sentence)))
    };
    let mut driver = Driver::new(scenario, options, dataplane);
    driver.faults = fault::Faults::new(fault);
    let mut steps = vec![driver.build()];
    told_last(&steps, told);
    if steps.iter().all(|step| step.failures.is_empty()) {
        for step in &scenario.steps {
            steps.push(driver.repeated(step));
            told_last(&steps, told);
            if steps.last().is_some_and(over) {
                break;
            }
        }
    }
    if !steps.last().is_some_and(over) {
        steps.push(driver.take_down(scenario.steps.len() + 1));
        told_last(&steps, told);
    }
    let failed = steps.iter().any(|step| !step.failures.is_empty());
    Record {
        format: FORMAT,
        scenario: scenario.name.clone(),
        path: scenario.path.clone(),
        summary: scenario.story.summary.clone(),
        story: scene::story(scenario),
        tags: scenario.tags.clone(),
        deviations_off: scene::deviations_off(scenario),
        outcome: if failed { Outcome::Failed } else { Outcome::Passed },
        fault: driver.faults.record(fault),
        steps,
    }
}

fn told_last(steps: &[StepRecord], told: &mut dyn FnMut(&StepRecord)) {
    if let Some(step) = steps.last() {
        told(step);
    }
}

struct Driver<'a> {
    scenario: &'a Scenario,
    dataplane: &'a dyn Dataplane,
    intent: Intent,
    topology: Topology,
    agents: Agents,
    observed: BTreeMap<HostName, HostState>,
    watch: watch::Watch,
    faults: fault::Faults<'a>,
    past: course::Past,
    links: links::Links,
    statuses: status::Statuses,
    heard: frames::Heard,
    /// Who owns which MAC, or did when it was last seen.
    macs: BTreeMap<Mac, String>,
    ledger: ledger::Ledger,
    options: Options,
    /// How the notifications of the step arrive, if not as usual.
    delivery: Option<Delivery>,
    /// Protocols and ports that nodes listen on.
    listen: BTreeSet<(u8, u16)>,
}

impl<'a> Driver<'a> {
    fn new(scenario: &'a Scenario, options: Options, dataplane: &'a dyn Dataplane) -> Self {
        Self {
            scenario,
            dataplane,
            intent: Intent::default(),
            topology: Topology::default(),
            agents: Agents::default(),
            observed: BTreeMap::new(),
            watch: watch::Watch::default(),
            faults: fault::Faults::default(),
            past: course::Past::new(scenario),
            links: links::Links::default(),
            statuses: status::Statuses::new(scenario),
            heard: frames::Heard::default(),
            macs: BTreeMap::new(),
            ledger: ledger::Ledger::default(),
            options,
            delivery: None,
            listen: scenario::ports_named(scenario),
        }
    }

    /// What exists before step 1, built as one change.
    fn build(&mut self) -> StepRecord {
        let mut record = blank(0, None, 0);
        let _span = info_span!("step", number = 0).entered();
        self.move_to(vec![self.intent.clone(), self.scenario.intent.clone()], &BTreeMap::new(), &mut record);
        self.check(&mut record);
        self.remember(&mut record);
        self.watch_judge(None, &mut record);
        self.watch_proof(&mut record);
        record
    }

    fn step(&mut self, step: &Step) -> StepRecord {
        let mut record = blank(step.number, step.name.clone(), step.line);
        let _span = info_span!("step", number = step.number).entered();
        self.listen(&mut record);
        self.hear_anew(step, &mut record);
        self.ledger_begin(step, &mut record);
        self.change(step, &mut record);
        self.judge_announced(step, &mut record);
        self.remember(&mut record);
        self.read_connections(step, &mut record);
        self.read_around(step, &mut record);
        self.exchanges(step, &mut record);
        self.profile(step, &mut record);
        self.look_until_true(step, &mut record);
        self.judge_frames(step, &mut record);
        self.ledger_judge(step, &mut record);
        self.watch_judge(Some(step), &mut record);
        record
    }

    /// Makes a step's change, and checks what holds after every one.
    fn change(&mut self, step: &Step, record: &mut StepRecord) {
        let mut next = self.intent.clone();
        let mut stages = vec![next.clone()];
        self.agents.begin(step.crash.clone());
        self.delivery = self.delivery_of(step);
        for operation in &step.operations {
            info!(operation = %operation.text, "asked");
            next = ask(next, operation, step.line, record);
            stages.push(next.clone());
            self.ask_again(&next, operation, step.line, record);
            self.do_deed(operation, &next, step.line, record);
        }
        record.change.extend(step.modifiers.iter().cloned());
        if !step.operations.is_empty() {
            let hearings = self.heard(step, &stages);
            self.move_to(stages, &hearings, record);
            self.judge_crash(record);
        }
        self.delivery = None;
        self.ledger_settle(record);
        self.check(record);
    }

    /// Reads what is there, works out what should be, does the difference. Says whether that went well.
    fn reconcile(&mut self, host: &HostName, record: &mut StepRecord) -> bool {
        let _span = info_span!("host", %host).entered();
        let Some(config) = self.agents.told.get(host) else { return true };
        let (mut dies, mut ops) = (false, Vec::new());
        let mut watched = Ok(());
        let failures = record.failures.len();
        let result = self.dataplane.observe(host).and_then(|observed| match self.wanted_now(config, &observed) {
            Ok(desired) => self.dataplane.apply(
                host,
                &self.cut(host, self.plan(config, &observed, &desired), &mut dies),
                &mut |op| {
                    ops.push(OpRecord { namespace: op.namespace.to_string(), command: op.to_string() });
                    if watched.is_ok() {
                        // Before the watch looks, so that what the flows show is this operation's.
                        watched = self
                            .ledger_op(host, op)
                            .and_then(|()| self.watch_op(Some((host, op))))
                            .and_then(|()| self.hear());
                    }
                },
            ),
            Err(error) => {
                record.failures.push(undesirable(host, &error));
                Ok(())
            }
        });
        self.agents.did(host, ops.len());
        if dies {
            self.agents.died(host);
        }
        if !ops.is_empty() || result.is_err() {
            record.hosts.push(HostRecord { host: host.to_string(), ops });
        }
        record
            .failures
            .extend([result, watched].into_iter().filter_map(Result::err).map(|error| dataplane_failure(&error)));
        record.failures.len() == failures && !dies
    }

    fn state(&self) -> BTreeMap<String, Vec<Line>> {
        let macs = &self.macs;
        let mut state = BTreeMap::new();
        for (host, observed) in &self.observed {
            for (name, content) in &observed.namespaces {
                let all = lines::lines(content, macs, &|family| namespace::skeleton(name, family));
                state.insert(format!("{host}/{name}"), all);
            }
        }
        state
    }

    /// Sends the matrix and the flows of the expectations, all at once, and holds the outcomes against the sentences. A namespace
    /// that is gone sends nothing, which is what is told of its sentences; the others are judged all the same.
    fn probe(&self, step: &Step, record: &mut StepRecord) {
        let mut flows: Vec<Flow> = matrix::flows(&self.intent, &|host| !self.links.is_off(host), &record.claimed);
        for expectation in &step.expectations {
            let Expected::Flow(expected) = &expectation.what else { continue };
            for flow in expected.flows(&self.intent) {
                if !flows.contains(&flow) && self.is_there(&flow.from) {
                    flows.push(flow);
                }
            }
        }
        let reports = match self.dataplane.send(&flows) {
            Ok(reports) => reports,
            Err(error) => {
                record.failures.push(dataplane_failure(&error));
                return;
            }
        };
        for lost in reports.iter().filter(|report| report.verdict == Verdict::Lost) {
            let flow = &lost.flow;
            record.failures.push(failure(
                FailureKind::NoEvidence,
                None,
                format!(
                    "{} -> {} {}: lost: no tap saw it and nothing refused it, a defect of dvrlab, not of the router",
                    flow.from,
                    flow.to,
                    flow.spoken()
                ),
            ));
        }
        self.judge_flows(step, &reports, record);
        record.probes = reports;
    }

    /// Whether a namespace of a router that is to send stands on its host. Machines do.
    fn is_there(&self, sender: &Place) -> bool {
        let Some(host) = &sender.host else { return true };
        let stands = |state: &HostState| state.namespaces.keys().any(|name| name.to_string() == sender.name);
        self.observed.get(host).is_some_and(stands)
    }

    fn judge_flows(&self, step: &Step, reports: &[ProbeReport], record: &mut StepRecord) {
        let mut explained = if self.options.until.is_some() { why::EXPLAINED } else { 0 };
        for expectation in &step.expectations {
            let Expected::Flow(expected) = &expectation.what else { continue };
            let wanted = expected.flows(&self.intent);
            let mine: Vec<ProbeReport> =
                wanted.iter().filter_map(|flow| reports.iter().find(|report| report.flow == *flow)).cloned().collect();
            for found in why::folded(expected.judge(&mine, &self.intent)) {
                let gone = found.flows.iter().map(|flow| &flow.from).find(|sender| !self.is_there(sender));
                let reason = gone.map(|sender| format!(": {sender} is not there")).unwrap_or_default();
                let text = format!("`{}`: {}{reason}", expectation.text, found.sentence);
                let mut failure = failure(FailureKind::Expectation, Some(expectation.line), text);
                if gone.is_none() && !found.flows.is_empty() && explained < why::EXPLAINED {
                    failure.details = self.explained(&found.flows);
                    explained += 1;
                }
                record.failures.push(failure);
            }
        }
    }

    fn judge_state(&self, step: &Step, record: &mut StepRecord) {
        let mut failures = Vec::new();
        for expectation in &step.expectations {
            let Expected::State(expected) = &expectation.what else { continue };
            let look = |place: &StatePlace, kind: Kind| {
                if kind == Kind::Conntrack {
                    return self.connections_at(&record.connections, place);
                }
                let around = self.around_at(&record.around, place, kind);
                lines_at(&record.state, place, kind).into_iter().chain(around).collect()
            };
            if let Some(found) = expected.judge(&look) {
                let text = format!("`{}`: {}", expectation.text, found.sentence);
                failures.push(failure(FailureKind::Expectation, Some(expectation.line), text));
            }
        }
        record.failures.extend(failures);
    }
}

/// Asks the API; what it refuses changes nothing.
fn ask(intent: Intent, operation: &Operation, line: usize, record: &mut StepRecord) -> Intent {
    record.change.push(operation.text.clone());
    match (operation.apply(&intent), operation.refused) {
        (Ok(next), None) => next,
        (Ok(next), Some(kind)) => {
            let text = format!("the API did not refuse it, but {kind} is expected");
            record.failures.push(failure(FailureKind::Api, Some(line), text));
            next
        }
        (Err(rejected), expected) => {
            if expected == Some(rejected.kind) {
                record.refused.push(rejected.to_string());
            } else {
                let text = format!("the API refused it: {rejected}");
                record.failures.push(failure(FailureKind::Api, Some(line), text));
            }
            intent
        }
    }
}

fn blank(number: usize, name: Option<String>, line: usize) -> StepRecord {
    StepRecord {
        number,
        name,
        line,
        change: Vec::new(),
        refused: Vec::new(),
        hosts: Vec::new(),
        probes: Vec::new(),
        owners: BTreeMap::new(),
        scene: Scene::default(),
        state: BTreeMap::new(),
        watch: Vec::new(),
        proved: 0,
        connections: BTreeMap::new(),
        around: BTreeMap::new(),
        stale: BTreeMap::new(),
        claimed: BTreeMap::new(),
        exchanges: Vec::new(),
        profile: None,
        delivery: None,
        flows: Vec::new(),
        failures: Vec::new(),
    }
}

fn failure(kind: FailureKind, line: Option<usize>, text: String) -> Failure {
    Failure { kind, line, text, details: Vec::new() }
}

fn dataplane_failure(error: &DataplaneError) -> Failure {
    let mut found = failure(FailureKind::OperationFailed, None, error.to_string());
    if let DataplaneError::Apply { host, failed } = error {
        found.details =
            failed.iter().map(|one| format!("{host}/{}: {}: {}", one.op.namespace, one.op, one.reason)).collect();
    }
    found
}

/// Whether what is at `name` is at a place: one namespace, a host with all its namespaces, or all.
fn is_at(name: &str, place: &StatePlace) -> bool {
    match place {
        StatePlace::All => true,
        StatePlace::Host(host) => name.split('/').next() == Some(host.as_str()),
        StatePlace::Namespace(..) | StatePlace::Node(_) => name == place.to_string(),
    }
}

/// The lines of a kind at a place.
fn lines_at(state: &BTreeMap<String, Vec<Line>>, place: &StatePlace, kind: Kind) -> Vec<String> {
    let here = state.iter().filter(|(name, _)| is_at(name, place));
    if kind == Kind::Namespace {
        return here.filter_map(|(name, _)| name.split_once('/').map(|(_, namespace)| namespace.to_owned())).collect();
    }
    here.flat_map(|(_, lines)| lines).filter(|line| line.kind == kind).map(|line| line.text.clone()).collect()
}

/// Addresses of an outside node or an instance that a probe may come from.
pub(crate) fn is_upstream(place: &NodePlace) -> bool {
    match place {
        NodePlace::GatewayOf(_) => true,
        NodePlace::On(_) | NodePlace::Behind(_) => false,
    }
}

/// Every address that stands for somebody.
pub(crate) type Owners = BTreeMap<IpAddr, String>;
