//! Operations on agents, hosts and messages: read and checked against what stands and runs at that point of the file.

use std::collections::{BTreeMap, BTreeSet};

use super::build::Builder;
use super::deed::{AgentDeed, Crash, CrashPoint, Deed, Hearing};
use super::lower;
use super::note::{Span, position};
use super::open::Flows;
use super::yaml::{Entry, Node};
use crate::api::Section;
use crate::name::HostName;

/// What of the lab's state decides which operations make sense.
#[derive(Debug, Clone, Default)]
pub(super) struct Running {
    /// Hosts whose agent does not run, and the step that ended it.
    stopped: BTreeMap<HostName, usize>,
    /// Hosts that are off, and the step that switched them off.
    pub(super) off: BTreeMap<HostName, usize>,
    /// Hosts for which notices are held back.
    held: BTreeSet<HostName>,
    /// Flows over several steps.
    pub(super) flows: Flows,
    /// The numbers of the steps so far, by number and by name.
    steps: BTreeMap<String, usize>,
}

impl Running {
    /// A step is over.
    pub(super) fn pass(&mut self, number: usize, name: Option<&str>) {
        self.steps.insert(number.to_string(), number);
        self.steps.extend(name.map(|name| (name.to_owned(), number)));
    }

    /// Something happens to an agent.
    pub(super) fn agent(&mut self, deed: AgentDeed, host: &HostName, number: usize) {
        match deed {
            AgentDeed::Stop => drop(self.stopped.insert(host.clone(), number)),
            AgentDeed::Start => drop(self.stopped.remove(host)),
            AgentDeed::Restart | AgentDeed::Resync => {}
        }
    }

    /// A host is gone, and whatever was the matter with it.
    pub(super) fn gone(&mut self, host: &HostName) {
        self.stopped.remove(host);
        self.off.remove(host);
        self.held.remove(host);
    }

    /// The number of an earlier step, by its name or number.
    pub(super) fn step(&self, label: &str) -> Option<usize> {
        self.steps.get(label).copied()
    }
}

/// A host that an operation names, with its place.
type Named<'a> = (HostName, &'a Node);

impl Builder<'_> {
    /// What an operation does besides asking the API. What is wrong is noted.
    pub(super) fn deed(&mut self, number: usize, verb: &Entry) -> Option<Deed> {
        let agents = |deed| Some((deed, named(&verb.value)));
        let (deed, hosts) = match verb.key.as_str() {
            "flush" => return self.flush(&verb.value),
            "exec" => return self.exec(&verb.value),
            "stop_host" => return Some(self.power(number, &verb.value, false)),
            "start_host" => return Some(self.power(number, &verb.value, true)),
            "set_link" => return self.link(verb),
            "partition" => return self.partition(&verb.value),
            "heal" => return Some(Deed::Heal),
            "open_flow" => return self.open_flow(verb),
            "close_flow" => return self.close_flow(number, &verb.value),
            "sabotage" => return self.sabotage(&verb.value, &verb.key_span),
            "deliver" => return Some(self.deliver(&verb.value)),
            "stop_agent" => agents(AgentDeed::Stop),
            "start_agent" => agents(AgentDeed::Start),
            "restart_agent" => agents(AgentDeed::Restart),
            "resync_agent" => agents(AgentDeed::Resync),
            _ => None,
        }?;
        for (host, node) in &hosts {
            self.check_agent(deed, host, &node.span);
            self.world.running.agent(deed, host, number);
        }
        Some(Deed::Agents(deed, hosts.into_iter().map(|(host, _)| host).collect()))
    }

    /// An agent that runs cannot be started, one that does not run can do nothing else.
    fn check_agent(&mut self, deed: AgentDeed, host: &HostName, span: &Span) {
        if let Some(step) = self.world.running.off.get(host) {
            self.notes
                .error(span.clone(), format!("`{host}` is off since step {step}"))
                .help("`start_host` switches it on, and its agent with it");
            return;
        }
        let stopped = self.world.running.stopped.get(host);
        let (message, help) = match (deed, stopped) {
            (AgentDeed::Start, None) => {
                (format!("the agent of `{host}` runs already"), "`restart_agent` ends it and starts it anew".to_owned())
            }
            (AgentDeed::Stop | AgentDeed::Restart | AgentDeed::Resync, Some(step)) => {
                (format!("the agent of `{host}` does not run since step {step}"), "`start_agent` starts it".to_owned())
            }
            (AgentDeed::Start, Some(_)) | (AgentDeed::Stop | AgentDeed::Restart | AgentDeed::Resync, None) => return,
        };
        self.notes.error(span.clone(), message).help(help);
    }

    fn deliver(&mut self, node: &Node) -> Deed {
        let hosts = named(node);
        for (host, at) in &hosts {
            if let Some(step) = self.world.running.stopped.get(host) {
                self.notes
                    .error(at.span.clone(), format!("the agent of `{host}` does not run since step {step}"))
                    .help("`start_agent` starts it; it then learns everything by itself");
            } else if !self.world.running.held.remove(host) {
                self.notes
                    .error(at.span.clone(), format!("nothing is held back for `{host}`"))
                    .help(format!("an earlier step holds it: `notify: {{ {host}: held }}`"));
            }
        }
        let reversed = node.get("order").and_then(Node::text) == Some("reversed");
        Deed::Deliver { hosts: hosts.into_iter().map(|(host, _)| host).collect(), reversed }
    }

    /// Reads `notify`. What is wrong is noted.
    pub(super) fn hearings(&mut self, node: &Node, idle: bool) -> BTreeMap<HostName, Hearing> {
        let mut hearings = BTreeMap::new();
        let Some(notify) = node.entries().iter().find(|entry| entry.key == "notify") else { return hearings };
        for entry in notify.value.entries() {
            let found = Hearing::ALL.iter().find(|(word, ..)| entry.value.text() == Some(word));
            let Some((word, hearing, _)) = found else { continue };
            let hosts = if entry.key == "all" {
                self.world.intent.host_order.clone()
            } else if self.world.resolve(&entry.key, &[Section::Hosts], &entry.key_span, &mut self.notes) {
                HostName::new(entry.key.as_str()).into_iter().collect()
            } else {
                continue;
            };
            for host in hosts {
                let stopped = self.world.running.stopped.get(&host);
                if let (Some(step), true) = (stopped, entry.key != "all") {
                    self.notes
                        .error(entry.key_span.clone(), format!("the agent of `{host}` does not run since step {step}"))
                        .help(format!("it hears nothing, so there is nothing to be {word}; leave it out"));
                }
                if *hearing == Hearing::Held && stopped.is_none() {
                    self.world.running.held.insert(host.clone());
                }
                // A host's own word counts before that of `all`, in whichever order they stand.
                if entry.key == "all" {
                    hearings.entry(host).or_insert(*hearing);
                } else {
                    hearings.insert(host, *hearing);
                }
            }
        }
        if idle && !self.notes.errors_in(&node.span) {
            self.notes
                .error(notify.key_span.clone(), "`notify` is about a change, and this step has none")
                .help("remove it, or write the operation");
        }
        hearings
    }

    /// Reads `crash`. What is wrong is noted.
    pub(super) fn crash(&mut self, number: usize, node: &Node, idle: bool) -> Option<Crash> {
        let crash = node.entries().iter().find(|entry| entry.key == "crash")?;
        if idle {
            self.notes
                .error(crash.key_span.clone(), "`crash` is inside a change, and this step has none")
                .help("write the operation beside it, or `stop_agent` to end an agent that does nothing");
            return None;
        }
        self.world.resolve_all(&crash.value, &super::language::CRASH_TYPE, &mut self.notes);
        let (host, at) = (lower::named(&crash.value, "host")?, crash.value.get("at")?);
        let host = HostName::from(host);
        if let Some(step) = self.world.running.stopped.get(&host) {
            self.notes
                .error(crash.value.span.clone(), format!("the agent of `{host}` does not run since step {step}"))
                .help("only an agent that runs can die; `start_agent` starts it");
            return None;
        }
        let point = match at.text()?.parse::<usize>() {
            Ok(0) => {
                self.notes
                    .error(at.span.clone(), "before the first operation is no point inside a plan")
                    .help("count from 1, or write `stop_agent` in an earlier step");
                return None;
            }
            Ok(count) => CrashPoint::After(count),
            Err(_) => CrashPoint::Containing(at.text()?.to_owned()),
        };
        self.world.running.stopped.insert(host.clone(), number);
        Some(Crash { host, at: point, line: position(self.source, crash.key_span.start).0 })
    }
}

/// The hosts below `host`, each with its node.
pub(super) fn named(node: &Node) -> Vec<Named<'_>> {
    hosts_below(node, "host")
}

/// The hosts in the section of `delete`, each with its node.
pub(super) fn listed(node: &Node) -> Vec<Named<'_>> {
    hosts_below(node, "hosts")
}

fn hosts_below<'a>(node: &'a Node, key: &str) -> Vec<Named<'a>> {
    let items = node.get(key).map(Node::items).unwrap_or_default();
    items.iter().filter_map(|item| Some((HostName::new(item.text()?).ok()?, item))).collect()
}
