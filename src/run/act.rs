//! How an agent acts on what it hears, and how it dies meanwhile.
//!
//! In: a host and its messages, one after the other. Out: the operations in the record, and what the watch may hold the host to.

use super::agents::Message;
use super::{Driver, failure};
use crate::name::{HostName, Id, Name};
use crate::plan::Plan;
use crate::record::{FailureKind, StepRecord};
use crate::scenario::{AgentDeed, LinkSetting};

impl Driver<'_> {
    /// An agent acts on its messages, one after the other, until it dies or fails.
    pub(super) fn act(&mut self, host: &HostName, messages: Vec<Message>, record: &mut StepRecord) {
        if self.agents.has_given_up(host) {
            return;
        }
        for message in messages {
            self.agents.hear(host, &message, &self.intent);
            let done = self.reconcile(host, record);
            if !self.agents.is_stopped(host) {
                self.report_statuses(host, record);
            }
            if !done {
                self.agents.gave_up(host);
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

    /// Hosts are switched on or off, their agents with them.
    pub(super) fn do_power(&mut self, on: bool, hosts: &[HostName]) {
        for host in hosts {
            self.links.power(host, on);
            self.agents.happens(if on { AgentDeed::Start } else { AgentDeed::Stop }, host);
            if !on {
                self.agents.forget(host);
            }
        }
    }

    /// A link changes.
    pub(super) fn do_link(&mut self, node: &Name, to: Option<&Id>, setting: LinkSetting) {
        let host = HostName::from(node.clone());
        if self.intent.hosts.contains_key(&host) {
            self.links.uplink(&host, setting);
        } else {
            self.links.set(node, to, setting);
        }
    }

    /// Something happens to agents.
    pub(super) fn do_agents(&mut self, deed: AgentDeed, hosts: &[HostName]) {
        for host in hosts {
            self.agents.happens(deed, host);
        }
    }
}
