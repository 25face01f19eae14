//! How a change of the intent reaches the lab.
//!
//! In: the stages of the intent in a step. Out: fabric that fits, and hosts that have heard of it. Never: fabric removed that a
//! router is still plugged into.

use std::collections::{BTreeMap, BTreeSet};

use super::agents::Message;
use super::{Driver, failure};
use crate::api::Intent;
use crate::name::HostName;
use crate::record::{FailureKind, StepRecord};
use crate::router;
use crate::scenario::Hearing;
use crate::topology::Topology;

/// What is about to happen.
pub(super) struct Coming {
    /// What was in force.
    before: Intent,
    topology: Topology,
    /// Hosts that may have to do something.
    concerned: BTreeSet<HostName>,
    deliveries: Vec<(HostName, Vec<Message>)>,
}

impl Driver<'_> {
    /// Brings the lab from what is in force to the last of `stages`: fabric first, then each host in turn as it hears of it,
    /// then what fabric is no longer needed.
    pub(super) fn move_to(
        &mut self,
        stages: Vec<Intent>,
        hearings: &BTreeMap<HostName, Hearing>,
        record: &mut StepRecord,
    ) {
        let Some(coming) = self.coming(stages, hearings, record) else { return };
        let topology = coming.topology.clone();
        if let Err(error) = self.dataplane.shape(&topology.while_leaving(&self.topology)) {
            record.failures.push(failure(FailureKind::OperationFailed, None, error.to_string()));
            return;
        }
        self.follow(coming, record);
        let topology = self.agents.keep(&topology, &self.topology, &self.intent);
        if let Err(error) = self.dataplane.shape(&topology) {
            record.failures.push(failure(FailureKind::OperationFailed, None, error.to_string()));
        }
        self.topology = topology;
    }

    /// Puts the last of `stages` in force, and works out what each host hears of it. Nothing is done yet.
    pub(super) fn coming(
        &mut self,
        stages: Vec<Intent>,
        hearings: &BTreeMap<HostName, Hearing>,
        record: &mut StepRecord,
    ) -> Option<Coming> {
        let unsaid = self.delivery.map_or(Hearing::Merged, |_| Hearing::Split);
        let mail = self.agents.mail(&stages, hearings, unsaid);
        let next = stages.into_iter().next_back()?;
        self.links.retain(&next);
        let mut topology = router::topology(&next);
        self.links.adjust(&mut topology);
        for node in topology.nodes.values_mut() {
            node.listen.extend(&self.listen);
        }
        let concerned: Vec<HostName> = mail.keys().cloned().collect();
        let deliveries = self.deliveries(mail, &next, hearings, record);
        let before = std::mem::replace(&mut self.intent, next);
        self.agents.retain(&self.intent);
        self.statuses.retain(&self.intent);
        let concerned = concerned.into_iter().chain(self.agents.behind(&self.intent)).collect();
        Some(Coming { before, topology, concerned, deliveries })
    }

    /// Each host in turn acts on what it hears.
    pub(super) fn follow(&mut self, coming: Coming, record: &mut StepRecord) {
        self.watch_change(&coming.before, &coming.concerned.iter().collect(), record);
        self.ledger_shaped(record);
        for (host, messages) in coming.deliveries {
            self.act(&host, messages, record);
        }
        // A segment that goes takes its counters along.
        self.watch_read(record);
    }
}
