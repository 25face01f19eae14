//! Agents over a run: whether each runs, what it was last told, and what has not reached it.
//!
//! In: the intents of a step, one after each operation, and how each host is to hear of them. Out: what each agent acts upon,
//! in order. Never: a look at the kernel, nor a choice: who hears what follows from the scenario alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::api::Intent;
use crate::name::HostName;
use crate::router::{self, HostConfig, Notice, host_config};
use crate::scenario::{AgentDeed, Crash, Hearing};
use crate::topology::Topology;

/// What makes an agent act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// It hears of a change.
    Notice(Notice),
    /// It asks for everything.
    Synchronise,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Notice(notice) => notice.fmt(f),
            Self::Synchronise => f.write_str("everything"),
        }
    }
}

/// All agents.
#[derive(Debug, Default)]
pub(super) struct Agents {
    /// What each host was last told.
    pub(super) told: BTreeMap<HostName, HostConfig>,
    /// Hosts whose agent does not run.
    stopped: BTreeSet<HostName>,
    /// Hosts whose agent has not acted since it died or something was done behind its back.
    disturbed: BTreeSet<HostName>,
    /// Notices on their way, the oldest first.
    held: BTreeMap<HostName, Vec<Notice>>,
    /// Hosts whose agent synchronises in this step.
    synchronising: BTreeSet<HostName>,
    /// What of the notices held arrives in this step.
    delivered: BTreeMap<HostName, Vec<Notice>>,
    /// Who dies in this step, until it has happened.
    pub(super) crash: Option<Crash>,
    /// How many operations each host did in this step.
    done: BTreeMap<HostName, usize>,
    /// Hosts whose agent could not act upon a message of this step, and hears no more of it.
    failed: BTreeSet<HostName>,
}

impl Agents {
    /// A step begins.
    pub(super) fn begin(&mut self, crash: Option<Crash>) {
        self.synchronising.clear();
        self.delivered.clear();
        self.done.clear();
        self.failed.clear();
        self.crash = crash;
    }

    /// Something happens to an agent.
    pub(super) fn happens(&mut self, deed: AgentDeed, host: &HostName) {
        match deed {
            AgentDeed::Stop => {
                self.stopped.insert(host.clone());
                self.synchronising.remove(host);
            }
            AgentDeed::Start | AgentDeed::Restart | AgentDeed::Resync => {
                self.stopped.remove(host);
                self.synchronising.insert(host.clone());
            }
        }
    }

    /// What was held for a host arrives.
    pub(super) fn deliver(&mut self, host: &HostName, reversed: bool) {
        let mut notices = self.held.remove(host).unwrap_or_default();
        if reversed {
            notices.reverse();
        }
        self.delivered.entry(host.clone()).or_default().extend(notices);
    }

    /// What each agent acts upon when the intents of a step have come into force: the first is the one before. `unsaid` is how
    /// those hosts hear of it that `hearings` does not name.
    pub(super) fn mail(
        &mut self,
        stages: &[Intent],
        hearings: &BTreeMap<HostName, Hearing>,
        unsaid: Hearing,
    ) -> BTreeMap<HostName, Vec<Message>> {
        let (Some(first), Some(last)) = (stages.first(), stages.last()) else { return BTreeMap::new() };
        let mut mail = BTreeMap::new();
        for host in &last.host_order {
            let late = self.delivered.remove(host).unwrap_or_default();
            let new = !first.hosts.contains_key(host);
            let messages = if self.stopped.contains(host) {
                Vec::new()
            } else if new || self.synchronising.contains(host) {
                vec![Message::Synchronise]
            } else {
                let fresh = self.notices(host, stages, hearings.get(host).copied().unwrap_or(unsaid));
                late.into_iter().chain(fresh).map(Message::Notice).collect()
            };
            if !messages.is_empty() {
                mail.insert(host.clone(), messages);
            }
        }
        mail
    }

    /// The notices of a step that a host hears.
    fn notices(&mut self, host: &HostName, stages: &[Intent], hearing: Hearing) -> Vec<Notice> {
        let configs: Vec<HostConfig> = stages.iter().map(|intent| host_config(intent, host)).collect();
        let one_each = || -> Vec<Notice> {
            let pairs = configs.iter().zip(configs.iter().skip(1));
            pairs.map(|(before, after)| Notice::of(before, after)).filter(|notice| !notice.is_empty()).collect()
        };
        let whole = || configs.first().zip(configs.last()).map(|(before, after)| Notice::of(before, after));
        match hearing {
            Hearing::Merged => whole().filter(|notice| !notice.is_empty()).into_iter().collect(),
            Hearing::Split => one_each(),
            Hearing::Reversed => one_each().into_iter().rev().collect(),
            Hearing::Twice => whole().into_iter().flat_map(|notice| [notice.clone(), notice]).collect(),
            Hearing::Lost => Vec::new(),
            Hearing::Held => {
                self.held.entry(host.clone()).or_default().extend(one_each());
                Vec::new()
            }
        }
    }

    /// What an agent knows after a message.
    pub(super) fn hear(&mut self, host: &HostName, message: &Message, intent: &Intent) {
        let in_force = host_config(intent, host);
        let known = match (message, self.told.get(host)) {
            (Message::Notice(notice), Some(told)) => told.hearing(notice, &in_force),
            (Message::Notice(_), None) | (Message::Synchronise, _) => in_force,
        };
        self.told.insert(host.clone(), known);
    }

    /// The hosts that act, those that lose something first.
    pub(super) fn order(&self, mail: &BTreeMap<HostName, Vec<Message>>, intent: &Intent) -> Vec<HostName> {
        let nothing = |host: &HostName| host_config(&Intent::default(), host);
        let acting = intent.host_order.iter().filter_map(|host| Some((host, mail.get(host)?)));
        let changes: Vec<(HostConfig, HostConfig)> = acting
            .map(|(host, messages)| {
                let before = self.told.get(host).cloned().unwrap_or_else(|| nothing(host));
                let in_force = host_config(intent, host);
                let after = messages.iter().fold(before.clone(), |known, message| match message {
                    Message::Notice(notice) => known.hearing(notice, &in_force),
                    Message::Synchronise => in_force.clone(),
                });
                (before, after)
            })
            .collect();
        router::order(&changes)
    }

    /// A host that is off knows nothing, and nothing of it is left that could be another than it should.
    pub(super) fn forget(&mut self, host: &HostName) {
        self.told.remove(host);
        self.disturbed.remove(host);
    }

    /// Hosts that are gone know nothing any more, and one that comes in the place of such a one begins anew.
    pub(super) fn retain(&mut self, intent: &Intent) {
        self.told.retain(|host, _| intent.hosts.contains_key(host));
        self.held.retain(|host, _| intent.hosts.contains_key(host));
        self.stopped.retain(|host| intent.hosts.contains_key(host));
        self.disturbed.retain(|host| intent.hosts.contains_key(host));
    }

    /// Hosts whose agent was not told all that is in force, and those that did not act upon it.
    pub(super) fn behind(&self, intent: &Intent) -> BTreeSet<HostName> {
        let all = intent.host_order.iter();
        all.filter(|host| self.is_exempt(host) || !self.was_told(host, intent)).cloned().collect()
    }

    fn was_told(&self, host: &HostName, intent: &Intent) -> bool {
        self.told.get(host).is_some_and(|told| *told == host_config(intent, host))
    }

    /// Whether nothing can be said of what should stand on a host: its agent does not run, or has not acted since it died or
    /// something was done behind its back.
    pub(super) fn is_exempt(&self, host: &HostName) -> bool {
        self.stopped.contains(host) || self.disturbed.contains(host)
    }

    /// Whether an agent does not run.
    pub(super) fn is_stopped(&self, host: &HostName) -> bool {
        self.stopped.contains(host)
    }

    /// Somebody did something on a host behind its agent's back.
    pub(super) fn disturb(&mut self, host: &HostName) {
        self.disturbed.insert(host.clone());
    }

    /// An agent acted upon all it knows.
    pub(super) fn acted(&mut self, host: &HostName) {
        self.disturbed.remove(host);
    }

    /// An agent did so many more operations.
    pub(super) fn did(&mut self, host: &HostName, operations: usize) {
        *self.done.entry(host.clone()).or_default() += operations;
    }

    /// How many of these operations an agent does before it dies, if it does.
    pub(super) fn dies_after<'a>(&self, host: &HostName, commands: impl Iterator<Item = &'a str>) -> Option<usize> {
        let crash = self.crash.as_ref().filter(|crash| crash.host == *host)?;
        crash.at.reached(self.done.get(host).copied().unwrap_or_default(), commands)
    }

    /// An agent could not act upon a message.
    pub(super) fn gave_up(&mut self, host: &HostName) {
        self.failed.insert(host.clone());
    }

    /// Whether an agent hears no more in this step.
    pub(super) fn has_given_up(&self, host: &HostName) -> bool {
        self.failed.contains(host)
    }

    /// Whether an agent asks for everything in this step.
    pub(super) fn is_synchronising(&self, host: &HostName) -> bool {
        self.synchronising.contains(host)
    }

    /// An agent has died.
    pub(super) fn died(&mut self, host: &HostName) {
        self.crash = None;
        self.stopped.insert(host.clone());
        self.disturbed.insert(host.clone());
    }

    /// Everything that is under way ends: agents run, nothing is held back.
    pub(super) fn revive(&mut self, intent: &Intent) {
        self.stopped.clear();
        self.held.clear();
        self.begin(None);
        self.synchronising.extend(intent.host_order.iter().cloned());
    }

    /// The layer 2 that hosts need which did not act upon all that is in force: what they are plugged into stays.
    pub(super) fn keep(&self, wanted: &Topology, before: &Topology, intent: &Intent) -> Topology {
        wanted.keeping(before, &self.behind(intent))
    }
}
