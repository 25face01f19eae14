//! `open_flow` and `close_flow`: flows that run over several steps.
//!
//! In: an operation, and what exists and runs at that point of the file. Out: the flow under its name. Never: more than one
//! flow under a name, since sentences and packets refer to *the* connection.

use std::collections::{BTreeMap, BTreeSet};

use super::build::Builder;
use super::deed::Deed;
use super::expectation::{Delivery, FlowExpectation, Outcome};
use super::note::{Notes, Span, listed, nearest};
use super::subject::{self, Subject};
use super::words::Words;
use super::yaml::{Entry, Node};
use crate::flow::Protocol;
use crate::ledger::Pace;

/// A flow that runs from here on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFlow {
    /// What it is called.
    pub name: String,
    /// One flow; only who sends what to whom counts.
    pub flow: FlowExpectation,
    /// A clock paces a twin of it, too.
    pub pace: Option<Pace>,
}

/// The flows that are open at some point of the file, and which steps closed others.
#[derive(Debug, Clone, Default)]
pub(super) struct Flows {
    open: BTreeMap<String, Span>,
    closed: BTreeMap<String, usize>,
    /// Names of flows that could not be read: what refers to them is not blamed for it.
    broken: BTreeSet<String>,
}

impl Flows {
    /// Whether there is an open flow of that name; if not, that is noted at `span`.
    pub(super) fn resolve(&self, name: &str, span: &Span, notes: &mut Notes) -> bool {
        if self.open.contains_key(name) || self.broken.contains(name) {
            return true;
        }
        let names = || self.open.keys().map(String::as_str);
        let note = notes.error(span.clone(), format!("no flow called `{name}` is open here"));
        match (self.closed.get(name), nearest(name, names())) {
            (Some(step), _) => note.help(format!("step {step} closes it")),
            (None, Some(near)) => note.help(format!("did you mean `{near}`?")),
            (None, None) if self.open.is_empty() => note
                .help(format!("a step further up opens it: `open_flow: {{ name: {name}, flow: vm1 -> web tcp/80 }}`")),
            (None, None) => note.help(format!("there are {}", listed(names()))),
        };
        false
    }
}

/// What a flow says of itself, without what must become of it.
pub(super) fn flow_of(subject: Subject) -> FlowExpectation {
    FlowExpectation {
        sources: subject.sources,
        targets: subject.targets,
        both: subject.both,
        protocol: subject.protocol,
        family: subject.family,
        options: subject.options,
        count: subject.count,
        outcome: Outcome::Delivered(Delivery::default()),
    }
}

impl Builder<'_> {
    /// Reads `open_flow`. What is wrong is noted.
    pub(super) fn open_flow(&mut self, verb: &Entry) -> Option<Deed> {
        let deed = self.opened(verb);
        if deed.is_none() {
            self.break_flow(verb);
        }
        deed
    }

    /// The operation is wrong.
    pub(super) fn break_flow(&mut self, verb: &Entry) {
        let name = verb.value.get("name").and_then(Node::text).filter(|_| verb.key == "open_flow");
        self.world.running.flows.broken.extend(name.map(str::to_owned));
    }

    fn opened(&mut self, verb: &Entry) -> Option<Deed> {
        let (name, flow) = (verb.value.get("name")?, verb.value.get("flow")?);
        let called = name.text()?.to_owned();
        if let Some(first) = self.world.running.flows.open.get(&called) {
            let first = first.clone();
            self.notes
                .error(name.span.clone(), format!("a flow called `{called}` is open already"))
                .beside(first, "opened here")
                .help("choose another name, or `close_flow` the other one before");
            return None;
        }
        let mut words = Words::of_flow(flow)?;
        let subject = subject::read_running(&mut words, &self.world, &mut self.notes)?;
        let (protocol, pace) = (subject.protocol, subject.pace.as_ref().map(|(pace, _)| *pace));
        let asked = flow_of(subject);
        let count = asked.flows(&self.world.intent).len();
        let wrong = match (protocol, count) {
            (None, _) => Some("an open flow speaks one protocol"),
            (Some(Protocol::Arp), _) => Some("`arp` and `nd` are no flow that runs on"),
            (Some(Protocol::Icmp | Protocol::Tcp(_) | Protocol::Udp(_)), 0) => Some("nothing would be sent"),
            (Some(Protocol::Icmp | Protocol::Tcp(_) | Protocol::Udp(_)), 1) => None,
            (Some(Protocol::Icmp | Protocol::Tcp(_) | Protocol::Udp(_)), _) => {
                Some("an open flow has one sender and one target")
            }
        };
        if let Some(wrong) = wrong {
            if self.world.is_sound() {
                self.notes.error(flow.span.clone(), wrong).help("write it like `vm1 -> web tcp/80`");
            }
            return None;
        }
        self.world.running.flows.open.insert(called.clone(), name.span.clone());
        Some(Deed::OpenFlow(OpenFlow { name: called, flow: asked, pace }))
    }

    /// Reads `close_flow`. What is wrong is noted.
    pub(super) fn close_flow(&mut self, number: usize, node: &Node) -> Option<Deed> {
        let value = node.get("name")?;
        let name = value.text()?;
        if !self.world.running.flows.resolve(name, &value.span, &mut self.notes) {
            return None;
        }
        self.world.running.flows.open.remove(name);
        self.world.running.flows.closed.insert(name.to_owned(), number);
        Some(Deed::CloseFlow(name.to_owned()))
    }
}
