//! The watch over a run: which intents each host may be acting upon, and what was seen meanwhile.
//!
//! In: intents as they come into force and hosts as they converge. Out: classifications for the data plane, and the findings
//! of a step, held against what it expects. Never: a verdict that depends on a time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::proof::prove;
use super::{Driver, dataplane_failure, failure, matrix};
use crate::api::Intent;
use crate::name::HostName;
use crate::plan::Op;
use crate::record::{FailureKind, StepRecord};
use crate::scenario::{Expectation, Expected, Step, WatchExpectation};
use crate::watch::{self, Count, Evidence};

/// What the watch knows of a run.
#[derive(Default)]
pub(super) struct Watch {
    /// The intents that each host may be acting upon, the newest last.
    acting: BTreeMap<HostName, Vec<Intent>>,
    /// Names of addresses of this step, those of before its change too.
    owners: BTreeMap<IpAddr, String>,
    counts: Vec<Count>,
    evidence: RefCell<Vec<Evidence>>,
}

impl Driver<'_> {
    /// An intent comes into force; `told` are the hosts that will be told of it.
    pub(super) fn watch_change(&mut self, before: &Intent, told: &BTreeSet<&HostName>, record: &mut StepRecord) {
        let mut acting = BTreeMap::new();
        for host in &self.intent.host_order {
            let mut intents = self.watch.acting.remove(host).unwrap_or_default();
            if !told.contains(host) {
                intents.clear();
            } else if intents.is_empty() {
                intents.push(before.clone());
            }
            intents.push(self.intent.clone());
            acting.insert(host.clone(), intents);
        }
        self.watch.acting = acting;
        self.watch.owners = matrix::owners(before);
        self.classify(record);
        if let Err(error) = self.hear() {
            record.failures.push(dataplane_failure(&error));
        }
    }

    /// A host has converged: from now on it may send only what is legal under the newest intent.
    pub(super) fn watch_converged(&mut self, host: &HostName, record: &mut StepRecord) {
        self.watch.acting.insert(host.clone(), vec![self.intent.clone()]);
        self.classify(record);
    }

    fn classify(&self, record: &mut StepRecord) {
        let acting = self.watch.acting.iter().map(|(host, intents)| (host.clone(), intents.iter().collect()));
        let classification = watch::classification(&self.intent, &acting.collect());
        if let Err(error) = self.dataplane.watch(&classification) {
            record.failures.push(dataplane_failure(&error));
        }
    }

    /// Takes the frames captured up to now; `last` is the operation that was just done.
    pub(super) fn watch_op(&self, last: Option<(&HostName, &Op)>) -> Result<(), crate::dataplane::DataplaneError> {
        let caught = self.dataplane.caught()?;
        if !caught.is_empty() {
            let last = last.map(|(host, op)| (host.clone(), op.to_string()));
            self.watch.evidence.borrow_mut().extend(caught.into_iter().map(|one| (one, last.clone())));
        }
        Ok(())
    }

    /// Reads the counters, too.
    pub(super) fn watch_read(&mut self, record: &mut StepRecord) {
        let read = self.watch_op(None).and_then(|()| self.dataplane.counted());
        match read {
            Ok(counts) => self.watch.counts.extend(counts),
            Err(error) => record.failures.push(dataplane_failure(&error)),
        }
    }

    /// Ends a step: what was found goes into the record, and what was not expected is a failure. `step` is none for what is
    /// built before the first and taken down after the last.
    pub(super) fn watch_judge(&mut self, step: Option<&Step>, record: &mut StepRecord) {
        self.watch_read(record);
        let counts = std::mem::take(&mut self.watch.counts);
        let evidence = self.watch.evidence.take();
        let mut owners = std::mem::take(&mut self.watch.owners);
        owners.extend(matrix::owners(&self.intent));
        record.watch = watch::findings(&counts, &evidence, &owners);
        let mut failures = Vec::new();
        let expected: Vec<_> = step.into_iter().flat_map(expectations).collect();
        let all =
            || record.watch.iter().flat_map(|finding| finding.sentences().into_iter().map(move |one| (finding, one)));
        for (finding, (sighted, sentence)) in all() {
            if !expected.iter().any(|(_, expected)| expected.covers(finding, sighted)) {
                failures.push(failure(FailureKind::Watch, None, sentence));
            }
        }
        for (expectation, expected) in expected.iter().filter(|(_, expected)| expected.class.is_some()) {
            if !all().any(|(finding, (sighted, _))| expected.covers(finding, sighted)) {
                let text = format!("`{}`: the watch saw no such frame", expectation.text);
                failures.push(failure(FailureKind::Watch, Some(expectation.line), text));
            }
        }
        record.failures.extend(failures);
    }
}

impl Driver<'_> {
    /// If the run is to prove it: every frame that must be seen is.
    pub(super) fn watch_proof(&self, record: &mut StepRecord) {
        // A host that has not converged may still send what was legal before, and the frames say otherwise.
        let converged = self.watch.acting.values().all(|intents| intents.len() == 1);
        if !self.options.prove_watch || !converged {
            return;
        }
        match prove(self.dataplane, &self.intent) {
            Ok(proved) => {
                record.proved += proved.frames;
                let unseen = proved.unproved.into_iter();
                record.failures.extend(unseen.map(|text| failure(FailureKind::Unproved, None, text)));
            }
            Err(error) => record.failures.push(dataplane_failure(&error)),
        }
    }
}

/// What a step says of the watch.
fn expectations(step: &Step) -> impl Iterator<Item = (&Expectation, &WatchExpectation)> {
    step.expectations.iter().filter_map(|one| match &one.what {
        Expected::Watch(expected) => Some((one, expected)),
        Expected::Flow(_)
        | Expected::State(_)
        | Expected::Course(_)
        | Expected::Status(_)
        | Expected::Announced(_)
        | Expected::Frames(_) => None,
    })
}
