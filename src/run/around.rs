//! What stands around the routers: at instances, at machines outside, in hosts' own namespaces.
//!
//! In: a step. Out: the lines of the places that its sentences are about, as they were before its probes. Never: a look where
//! nothing is asked, and never a verdict: nobody desires what stands there.

use std::collections::{BTreeMap, BTreeSet};

use super::{Driver, dataplane_failure, is_at, lines};
use crate::dataplane::DataplaneError;
use crate::flow::Place;
use crate::namespace::{Kind, Ruleset};
use crate::record::{Line, StepRecord};
use crate::scenario::{CourseExpectation, Expected, Scenario, StatePlace, Step};

/// The instances and machines outside of whose course some sentence of a scenario speaks.
pub(super) fn followed(scenario: &Scenario) -> BTreeSet<String> {
    let all = scenario.steps.iter().flat_map(|step| &step.expectations);
    let nodes = all.filter_map(|expectation| match &expectation.what {
        Expected::Course(CourseExpectation { place: StatePlace::Node(node), .. }) => Some(node.to_string()),
        Expected::Course(_)
        | Expected::Flow(_)
        | Expected::State(_)
        | Expected::Watch(_)
        | Expected::Status(_)
        | Expected::Announced(_)
        | Expected::Frames(_) => None,
    });
    nodes.collect()
}

impl Driver<'_> {
    /// Reads the places that sentences of the step are about.
    pub(super) fn read_around(&self, step: &Step, record: &mut StepRecord) {
        let asked: BTreeSet<&StatePlace> = step
            .expectations
            .iter()
            .filter_map(|expectation| match &expectation.what {
                Expected::State(state) if !matches!(state.kind, Kind::Conntrack | Kind::Namespace) => {
                    Some(&state.place)
                }
                Expected::State(_)
                | Expected::Course(_)
                | Expected::Flow(_)
                | Expected::Watch(_)
                | Expected::Status(_)
                | Expected::Announced(_)
                | Expected::Frames(_) => None,
            })
            .collect();
        let hosts = self.observed.keys().map(ToString::to_string);
        let hosts = hosts.filter(|host| asked.iter().any(|place| is_at(host, place)));
        let nodes = asked.iter().filter_map(|place| match place {
            StatePlace::Node(node) => Some(node.to_string()),
            StatePlace::All | StatePlace::Host(_) | StatePlace::Namespace(..) => None,
        });
        let places: BTreeSet<String> = hosts.chain(nodes).collect();
        self.read_places(&places, record);
    }

    /// Reads these places, but for those that were.
    pub(super) fn read_places(&self, places: &BTreeSet<String>, record: &mut StepRecord) {
        for name in places {
            if !record.around.contains_key(name) {
                match self.lines_of(name) {
                    Ok(lines) => drop(record.around.insert(name.clone(), lines)),
                    Err(error) => record.failures.push(dataplane_failure(&error)),
                }
            }
        }
    }

    /// Everything that stands at a place; nothing where there is no such place now.
    pub(super) fn lines_of(&self, name: &str) -> Result<Vec<Line>, DataplaneError> {
        let place = Place { host: None, name: name.to_owned() };
        let Some(standing) = self.dataplane.around().standing(&place)? else { return Ok(Vec::new()) };
        let mut all = lines::lines(&standing.state, &self.macs, &|_family| Ruleset::default());
        for ((device, address), mac) in &standing.resolved {
            let owner = self.macs.get(mac).cloned().unwrap_or_else(|| mac.to_string());
            let text = lines::resolved_text(*address, device, &owner);
            all.push(Line { kind: Kind::Neighbour, text, constant: false });
        }
        Ok(all)
    }

    /// The lines of a kind at a place that is no router namespace. `all` is every host, but no node.
    pub(super) fn around_at(
        &self,
        read: &BTreeMap<String, Vec<Line>>,
        place: &StatePlace,
        kind: Kind,
    ) -> impl Iterator<Item = String> {
        let is_host = |name: &str| self.observed.keys().any(|host| host.as_str() == name);
        let here = read.iter().filter(|(name, _)| is_at(name, place) && (*place != StatePlace::All || is_host(name)));
        let found: Vec<String> =
            here.flat_map(|(_, lines)| lines).filter(|line| line.kind == kind).map(|line| line.text.clone()).collect();
        found.into_iter()
    }
}
