//! How an agent acts on what it hears, and how it dies meanwhile.
//!
//! In: a host and its messages, one after the other. Out: the operations in the record, and what the watch may hold the host to.

use std::collections::BTreeSet;

use super::agents::Message;
use super::{Driver, failure};
use crate::name::HostName;
use crate::plan::Plan;
use crate::record::{FailureKind, StepRecord};
use crate::scenario::{AgentDeed, Course, CourseExpectation, Expected, StatePlace, Step};

impl Driver<'_> {
    /// An agent acts on its messages, one after the other, until it dies or fails.
    pub(super) fn act(&mut self, host: &HostName, messages: Vec<Message>, record: &mut StepRecord) {
        for message in messages {
            self.agents.hear(host, &message, &self.intent);
            if !self.reconcile(host, record) {
                return;
            }
            self.agents.acted(host);
        }
        if !self.agents.behind(&self.intent).contains(host) {
            self.watch_converged(host, record);
        }
    }

    /// The part of a plan that an agent does before it dies, if it dies.
    pub(super) fn cut(&self, host: &HostName, mut plan: Plan, dies: &mut bool) -> Plan {
        let commands: Vec<String> = plan.ops.iter().map(ToString::to_string).collect();
        if let Some(done) = self.agents.dies_after(host, commands.iter().map(String::as_str)) {
            plan.ops.truncate(done);
            *dies = true;
        }
        plan
    }

    /// An agent that was to die and did not is a mistake of the scenario.
    pub(super) fn judge_crash(&mut self, record: &mut StepRecord) {
        let Some(crash) = self.agents.crash.take() else { return };
        let text = format!("the agent of {} should die after {}, but does no such operation", crash.host, crash.at);
        let mut missed = failure(FailureKind::Expectation, Some(crash.line), text);
        let own = record.hosts.iter().filter(|done| done.host == crash.host.as_str());
        missed.details = own.flat_map(|done| &done.ops).map(|op| format!("{}: {}", op.namespace, op.command)).collect();
        record.failures.push(missed);
    }

    /// Something happens to agents.
    pub(super) fn do_agents(&mut self, deed: AgentDeed, hosts: &[HostName]) {
        for host in hosts {
            self.agents.happens(deed, host);
        }
    }

    /// Holds what hosts have been through against the sentences about it.
    pub(super) fn judge_course(&self, step: &Step, record: &mut StepRecord) {
        let mut failures = Vec::new();
        for expectation in &step.expectations {
            let Expected::Course(CourseExpectation { place, what }) = &expectation.what else { continue };
            let stale = |host: &HostName| record.stale.contains_key(host.as_str());
            let hosts = self.hosts_at(place);
            let (wrong, why): (Vec<&HostName>, &str) = match what {
                Course::Stale => (hosts.into_iter().filter(|host| !stale(host)).collect(), "is in sync"),
                Course::InSync => (hosts.into_iter().filter(|host| stale(host)).collect(), "is stale"),
            };
            for host in wrong {
                let text = format!("`{}`: {host} {why}", expectation.text);
                let mut found = failure(FailureKind::Expectation, Some(expectation.line), text);
                found.details = record.stale.get(host.as_str()).cloned().unwrap_or_default();
                failures.push(found);
            }
        }
        record.failures.extend(failures);
    }

    fn hosts_at(&self, place: &StatePlace) -> BTreeSet<&HostName> {
        let here = |host: &&HostName| match place {
            StatePlace::All => true,
            StatePlace::Host(named) | StatePlace::Namespace(named, _) => named == *host,
            StatePlace::Node(_) => false,
        };
        self.intent.host_order.iter().filter(here).collect()
    }
}
