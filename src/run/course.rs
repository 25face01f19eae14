//! What places have been through: what stood after each step, and what was touched in it.
//!
//! In: the steps as they are done. Out: whether sentences about the course of a place hold. Never: anybody listening where no
//! sentence asks for it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Driver, around, dataplane_failure, failure, is_at};
use crate::dataplane::Touched;
use crate::name::HostName;
use crate::namespace::Kind;
use crate::record::{FailureKind, Line, StepRecord};
use crate::scenario::{Course, CourseExpectation, Expected, Scenario, StatePlace, Step, matches};

/// The past of a run.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Some sentence asks for it.
    wanted: bool,
    /// The instances and machines outside that sentences ask for.
    nodes: BTreeSet<String>,
    /// By step.
    steps: BTreeMap<usize, Moment>,
}

/// One step, looked back at.
#[derive(Debug, Default)]
struct Moment {
    state: BTreeMap<String, Vec<Line>>,
    /// By namespace; one that was made in the step is absent.
    touched: BTreeMap<String, Vec<Touched>>,
}

impl Past {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let all = scenario.steps.iter().flat_map(|step| &step.expectations);
        let wanted = all.filter_map(|expectation| match &expectation.what {
            Expected::Course(course) => Some(&course.what),
            Expected::Flow(_)
            | Expected::State(_)
            | Expected::Watch(_)
            | Expected::Status(_)
            | Expected::Announced(_)
            | Expected::Frames(_) => None,
        });
        let wanted = wanted.into_iter().any(|what| matches!(what, Course::Unchanged(_) | Course::Keeps { .. }));
        Self { wanted, nodes: around::followed(scenario), steps: BTreeMap::new() }
    }

    fn state(&self, step: usize) -> Option<&BTreeMap<String, Vec<Line>>> {
        self.steps.get(&step).map(|moment| &moment.state)
    }

    /// The lines of a namespace that were touched in the steps after one, up to another; all of them if it was made anew.
    fn touched<'a>(&'a self, place: &str, lines: &'a [Line], after: usize, upto: usize) -> Vec<&'a Line> {
        let mut found: BTreeSet<&Line> = BTreeSet::new();
        for moment in self.steps.range(after + 1..=upto).map(|(_, moment)| moment) {
            match moment.touched.get(place) {
                // Nobody listens at nodes: of them only what stands is known.
                None if self.nodes.contains(place) => {}
                None => found.extend(lines),
                Some(touched) => found.extend(lines.iter().filter(|line| touched.iter().any(|one| is_it(one, line)))),
            }
        }
        found.into_iter().collect()
    }
}

fn is_it(touched: &Touched, line: &Line) -> bool {
    touched.kind == line.kind && line.text.starts_with(&touched.line)
}

/// Whether it is a neighbour that a kernel has found out by itself, and will forget as it likes.
fn is_remembered(line: &Line) -> bool {
    line.kind == Kind::Neighbour && !line.text.ends_with(" permanent")
}

impl Driver<'_> {
    /// A step begins: what happened up to now is none of it.
    pub(super) fn listen(&mut self, record: &mut StepRecord) {
        if self.past.wanted
            && let Err(error) = self.dataplane.touched()
        {
            record.failures.push(dataplane_failure(&error));
        }
        // What kernels have found out since: the probes of the step before made them ask.
        for name in self.past.nodes.clone() {
            match self.lines_of(&name) {
                Ok(lines) => {
                    let before = self.past.steps.entry(record.number.saturating_sub(1)).or_default();
                    before.state.insert(name, lines);
                }
                Err(error) => record.failures.push(dataplane_failure(&error)),
            }
        }
    }

    /// The change of a step is done.
    pub(super) fn remember(&mut self, record: &mut StepRecord) {
        if !self.past.wanted {
            return;
        }
        match self.dataplane.touched() {
            Ok(touched) => {
                let touched = touched.into_iter().map(|(place, all)| (place.to_string(), all)).collect();
                self.read_places(&self.past.nodes, record);
                let mut state = record.state.clone();
                let of_node = |name: &String| self.past.nodes.contains(name);
                state.extend(
                    record
                        .around
                        .iter()
                        .filter(|(name, _)| of_node(name))
                        .map(|(name, lines)| (name.clone(), lines.clone())),
                );
                self.past.steps.insert(record.number, Moment { state, touched });
            }
            Err(error) => record.failures.push(dataplane_failure(&error)),
        }
    }

    /// Holds what places have been through against the sentences about it.
    pub(super) fn judge_course(&self, step: &Step, record: &mut StepRecord) {
        let mut failures = Vec::new();
        let now = self.past.state(step.number).unwrap_or(&record.state);
        for expectation in &step.expectations {
            let Expected::Course(CourseExpectation { place, what }) = &expectation.what else { continue };
            let before = step.number.saturating_sub(1);
            let wrong = match what {
                Course::Stale => self.not_so(place, "is in sync", |host| !record.stale.contains_key(host.as_str())),
                Course::InSync => {
                    let mut wrong = self.not_so(place, "is stale", |host| record.stale.contains_key(host.as_str()));
                    let lines = |host: &&HostName| record.stale.get(host.as_str()).cloned().unwrap_or_default();
                    let details = self.hosts_at(place).iter().flat_map(lines).collect::<Vec<_>>();
                    wrong.iter_mut().take(1).for_each(|(_, own)| own.extend(details.clone()));
                    wrong
                }
                Course::Unchanged(None) => self.changes(place, now, (before, step.number), true),
                Course::Unchanged(Some(since)) => self.changes(place, now, (*since, step.number), false),
                Course::Keeps { kind, pattern, since } => {
                    self.losses(place, (*kind, pattern), now, (since.unwrap_or(before), step.number))
                }
            };
            for (text, details) in wrong {
                let text = format!("`{}`: {text}", expectation.text);
                let mut found = failure(FailureKind::Expectation, Some(expectation.line), text);
                found.details = details;
                failures.push(found);
            }
        }
        record.failures.extend(failures);
    }

    /// Whether it is at the place; `all` is every host, but no node.
    fn is_meant(&self, name: &str, place: &StatePlace) -> bool {
        is_at(name, place) && (*place != StatePlace::All || !self.past.nodes.contains(name))
    }

    fn hosts_at(&self, place: &StatePlace) -> BTreeSet<&HostName> {
        let here = |host: &&HostName| match place {
            StatePlace::All => true,
            StatePlace::Host(named) | StatePlace::Namespace(named, _) => named == *host,
            StatePlace::Node(_) => false,
        };
        self.intent.host_order.iter().filter(here).collect()
    }

    fn not_so(&self, place: &StatePlace, why: &str, wrong: impl Fn(&HostName) -> bool) -> Vec<Wrong> {
        let hosts = self.hosts_at(place).into_iter().filter(|host| wrong(host));
        hosts.map(|host| (format!("{host} {why}"), Vec::new())).collect()
    }

    /// What is not as it was after a step; with `touches` also what went and came back, or was written anew.
    fn changes(
        &self,
        place: &StatePlace,
        now: &BTreeMap<String, Vec<Line>>,
        (after, upto): (usize, usize),
        touches: bool,
    ) -> Vec<Wrong> {
        let Some(then) = self.past.state(after) else { return Vec::new() };
        let names: BTreeSet<&String> =
            then.keys().chain(now.keys()).filter(|name| self.is_meant(name, place)).collect();
        let mut wrong = Vec::new();
        for name in names {
            let fixed = |state: &BTreeMap<String, Vec<Line>>| -> Vec<Line> {
                state.get(name).into_iter().flatten().filter(|line| !is_remembered(line)).cloned().collect()
            };
            let (old, new) = (&fixed(then), &fixed(now));
            let shown = |sign: &str, line: &Line| format!("{sign} {:?} {}", line.kind, line.text);
            let mut details: Vec<String> =
                old.iter().filter(|line| !new.contains(line)).map(|line| shown("-", line)).collect();
            details.extend(new.iter().filter(|line| !old.contains(line)).map(|line| shown("+", line)));
            if touches {
                let touched = self.past.touched(name, old, after, upto);
                let back = touched.into_iter().filter(|line| new.contains(line));
                details.extend(back.map(|line| shown("written anew:", line)));
            }
            if !details.is_empty() {
                wrong.push((format!("{name} has changed"), details));
            }
        }
        wrong
    }

    /// What matched after a step and does not match now, or was touched since; and what matches and did not.
    fn losses(
        &self,
        place: &StatePlace,
        (kind, pattern): (Kind, &[String]),
        now: &BTreeMap<String, Vec<Line>>,
        (after, upto): (usize, usize),
    ) -> Vec<Wrong> {
        let Some(then) = self.past.state(after) else { return Vec::new() };
        let mut wrong = Vec::new();
        let mut any = false;
        let names: BTreeSet<&String> =
            then.keys().chain(now.keys()).filter(|name| self.is_meant(name, place)).collect();
        for name in names {
            let hits = |state: &BTreeMap<String, Vec<Line>>| -> Vec<Line> {
                let all = state.get(name).cloned().unwrap_or_default();
                if kind == Kind::Namespace {
                    let own = name.split_once('/').map_or("", |(_, own)| own);
                    let line = Line { kind, text: own.to_owned(), constant: false };
                    let there = state.contains_key(name) && matches(pattern, own);
                    return there.then_some(line).into_iter().collect();
                }
                all.into_iter().filter(|line| line.kind == kind && matches(pattern, &line.text)).collect()
            };
            let (old, new) = (hits(then), hits(now));
            any |= !old.is_empty();
            let mut details: Vec<String> = Vec::new();
            details.extend(old.iter().filter(|line| !new.contains(line)).map(|line| format!("- {}", line.text)));
            details.extend(new.iter().filter(|line| !old.contains(line)).map(|line| format!("+ {}", line.text)));
            let touched = self.past.touched(name, &old, after, upto);
            let back = touched.into_iter().filter(|line| new.contains(line));
            details.extend(back.map(|line| format!("written anew: {}", line.text)));
            if !details.is_empty() {
                wrong.push((format!("{name} does not keep it"), details));
            }
        }
        if !any {
            wrong.push((format!("{place} had nothing that matches"), Vec::new()));
        }
        wrong
    }
}

/// What does not hold, and in what.
type Wrong = (String, Vec<String>);
