//! What holds after every step, unasked: what stands is what should, and there is nothing left to do.
//!
//! In: what was observed and what each host was told. Out: failures, and for hosts that are not told all that is in force in
//! what they differ from it. Never: a verdict on a host whose agent had no say yet.

use std::collections::{BTreeMap, BTreeSet};

use similar::{ChangeTag, TextDiff};

use super::{Driver, dataplane_failure, failure, lines, matrix, scene};
use crate::name::{HostName, NamespaceName};
use crate::namespace::{self, HostState};
use crate::plan::{self, Plan};
use crate::record::{Failure, FailureKind, StepRecord};
use crate::router::{HostConfig, host_config};

impl Driver<'_> {
    /// Observes every host. Observed is desired, and there is nothing left to do, unless a host is exempt.
    pub(super) fn check(&mut self, record: &mut StepRecord) {
        for (host, config) in &self.agents.told {
            let observed = match self.dataplane.observe(host) {
                Ok(observed) => observed,
                Err(error) => {
                    record.failures.push(dataplane_failure(&error));
                    continue;
                }
            };
            if !self.agents.is_exempt(host) {
                match self.wanted(config, &observed) {
                    Ok(desired) => record.failures.extend(settled(config, &observed, &desired)),
                    Err(error) => record.failures.push(undesirable(host, &error)),
                }
            }
            self.observed.insert(host.clone(), observed);
        }
        self.observed.retain(|host, _| self.agents.told.contains_key(host));
        for host in self.agents.behind(&self.intent) {
            let Some(observed) = self.observed.get(&host) else { continue };
            match namespace::desired(&host_config(&self.intent, &host), observed) {
                Ok(intended) => {
                    let lines = unlike(observed, &intended);
                    if !lines.is_empty() {
                        record.stale.insert(host.to_string(), lines);
                    }
                }
                Err(error) => record.failures.push(undesirable(&host, &error)),
            }
        }
        self.macs.extend(lines::mac_owners(&self.topology, &self.observed));
        record.state = self.state();
        record.owners = matrix::owners(&self.intent);
        record.claimed = matrix::claimed(&self.intent, &self.observed);
        record.scene = scene::scene(&self.intent, &self.topology, &self.observed);
    }
}

/// In what a host differs from what is intended, a line each: `- ` stands and should not, `+ ` should and does not. A namespace
/// that only one of both has is one line.
fn unlike(observed: &HostState, intended: &HostState) -> Vec<String> {
    let mut all = Vec::new();
    for (name, lines) in different(observed, intended) {
        let there = (observed.namespaces.contains_key(&name), intended.namespaces.contains_key(&name));
        match there {
            (true, false) => all.push(format!("- namespace {name}")),
            (false, true) => all.push(format!("+ namespace {name}")),
            _ => all.extend(lines.into_iter().map(|line| {
                let (sign, text) = line.split_at_checked(2).unwrap_or(("", &line));
                let (kind, text) = text.split_once(' ').unwrap_or((text, ""));
                format!("{sign}{name} {} {text}", kind.to_lowercase())
            })),
        }
    }
    all
}

/// A configuration that nothing can be built of.
pub(super) fn undesirable(host: &HostName, error: &namespace::DesiredError) -> Failure {
    let mut text = format!("{host}: the configuration cannot be built: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    failure(FailureKind::NotConverged, None, text)
}

/// What a host has to do, with the deviations that it is configured with.
pub(super) fn planned(config: &HostConfig, observed: &HostState, desired: &HostState) -> Plan {
    plan::plan_with(observed, desired, config.options.deviations)
}

/// Observed is desired, and planning again gives nothing to do; else the failures.
fn settled(config: &HostConfig, observed: &HostState, desired: &HostState) -> Vec<Failure> {
    let host = &config.host;
    let mut failures = differences(host, observed, desired);
    let again = planned(config, observed, desired);
    if !again.is_empty() {
        let mut found = failure(FailureKind::NotStable, None, format!("{host}: a second plan is not empty"));
        found.details = again.ops.iter().map(|op| format!("{}: {op}", op.namespace)).collect();
        failures.push(found);
    }
    failures
}

/// Where observed is not desired, a failure a namespace, line by line.
fn differences(host: &HostName, observed: &HostState, desired: &HostState) -> Vec<Failure> {
    if observed == desired {
        return Vec::new();
    }
    let found = different(observed, desired).into_iter().map(|(name, details)| Failure {
        details,
        ..failure(
            FailureKind::NotConverged,
            None,
            format!("{host}/{name}: what stands there is not what should (- observed, + desired)"),
        )
    });
    found.collect()
}

/// The namespaces that are not the same, each with the lines that one of both has.
fn different(observed: &HostState, desired: &HostState) -> Vec<(NamespaceName, Vec<String>)> {
    let names: BTreeSet<_> = observed.namespaces.keys().chain(desired.namespaces.keys()).collect();
    let none = |_family| namespace::Ruleset::default();
    let mut all = Vec::new();
    for name in names {
        let (is, should) = (observed.namespaces.get(name), desired.namespaces.get(name));
        if is == should {
            continue;
        }
        let text = |state: Option<&namespace::NamespaceState>| match state {
            None => vec!["(no such namespace)".to_owned()],
            Some(state) => lines::lines(state, &BTreeMap::new(), &none)
                .iter()
                .map(|line| format!("{:?} {}", line.kind, line.text))
                .collect(),
        };
        let (is, should): (Vec<String>, Vec<String>) = (text(is), text(should));
        let (is, should): (Vec<&str>, Vec<&str>) =
            (is.iter().map(String::as_str).collect(), should.iter().map(String::as_str).collect());
        let mut found = Vec::new();
        for change in TextDiff::from_slices(&is, &should).iter_all_changes() {
            match change.tag() {
                ChangeTag::Equal => {}
                ChangeTag::Delete => found.push(format!("- {}", change.value())),
                ChangeTag::Insert => found.push(format!("+ {}", change.value())),
            }
        }
        all.push((name.clone(), found));
    }
    all
}
