//! What of a packet follows from an open flow: ports, numbers, what an error quotes.
//!
//! In: exchanges, and how the open flows stand when they are done. Out: exchanges that say it in numbers. Never: a guess; a
//! flow that is not as far as a packet needs it is an error.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::read::Reader;
use super::{Exchange, Facts, Pattern, ToSend, Unready};
use crate::packet::{Load, Numbers, Template, Tuple, UnderWay};
use crate::scenario::yaml::Node;

/// Open flows, by their names.
pub type UnderWays = BTreeMap<String, UnderWay>;

/// The flag of TCP that says that the acknowledgement number counts.
const ACK: u8 = 0x10;

/// What of a packet is said beside an open flow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beside {
    /// `quoting_flow: NAME`.
    pub quotes: Option<String>,
    /// `source_port: flow NAME`.
    pub source_port: Option<String>,
    /// `port: flow NAME`.
    pub port: Option<String>,
    /// `seq: +N` or `-N`.
    pub sequence: Option<i64>,
    /// `ack: +N` or `-N`.
    pub acknowledgement: Option<i64>,
}

impl Reader<'_> {
    /// What a packet says beside open flows. Flows that are not open are noted.
    pub(super) fn beside(&mut self, node: &Node) -> Option<Beside> {
        let mut good = true;
        let mut flow = |key: &str, prefix: &str| {
            let value = node.get(key)?;
            let name = value.text()?.strip_prefix(prefix)?.trim();
            good &= self.world.running.flows.resolve(name, &value.span, self.notes);
            Some(name.to_owned())
        };
        let quotes = flow("quoting_flow", "");
        let (source_port, port) = (flow("source_port", "flow "), flow("port", "flow "));
        let relative = |key: &str| {
            let text = node.get(key)?.text()?;
            text.starts_with(['+', '-']).then(|| text.parse().ok()).flatten()
        };
        let (sequence, acknowledgement) = (relative("seq"), relative("ack"));
        let keys = node.entries().iter();
        let answers = keys.clone().find(|entry| entry.key == "answers");
        let number = keys.clone().find(|entry| matches!(entry.key.as_str(), "seq" | "ack"));
        if let (Some(answers), Some(number), true) = (answers, number, sequence.or(acknowledgement).is_some()) {
            self.notes
                .error(number.key_span.clone(), "numbers beside a flow do not go with `answers`")
                .beside(answers.key_span.clone(), "an answer has the numbers that fit")
                .help("write addresses and ports of the flow instead, or numbers without a sign");
            good = false;
        }
        good.then_some(Beside { quotes, source_port, port, sequence, acknowledgement })
    }
}

impl Exchange {
    /// The exchange with what follows from open flows filled in.
    ///
    /// # Errors
    /// [`Unready`] if a flow is not as far as a packet needs it.
    pub fn beside(&self, flows: &UnderWays) -> Result<Self, Unready> {
        let patterns = |all: &[Pattern]| {
            let one = |pattern: &Pattern| Ok(Pattern { facts: pattern.facts.beside(flows)?, ..pattern.clone() });
            all.iter().map(one).collect::<Result<Vec<_>, Unready>>()
        };
        Ok(Self {
            send: self.send.iter().map(|one| one.beside(flows)).collect::<Result<_, _>>()?,
            seen: patterns(&self.seen)?,
            not_seen: patterns(&self.not_seen)?,
            ..self.clone()
        })
    }
}

/// What is known of the addresses and ports of a packet; what is empty may be anything.
struct Known<'a> {
    source: &'a [IpAddr],
    to: &'a [IpAddr],
    source_port: Option<u16>,
    port: Option<u16>,
}

impl Known<'_> {
    fn fits(&self, tuple: Tuple) -> bool {
        (self.source.is_empty() || self.source.contains(&tuple.source))
            && (self.to.is_empty() || self.to.contains(&tuple.destination))
            && self.source_port.is_none_or(|port| port == tuple.source_port)
            && self.port.is_none_or(|port| port == tuple.port)
    }

    /// The tuple of the one flow that has these, and the numbers of whoever sends such a packet.
    fn numbers(&self, flows: &UnderWays) -> Result<(Tuple, Numbers), Unready> {
        let mut found: Vec<(Tuple, Numbers)> = Vec::new();
        for flow in flows.values() {
            for tuple in [flow.near, flow.far].into_iter().flatten() {
                let ways = [(tuple, flow.sender), (tuple.reversed(), flow.receiver)];
                let fitting = ways.into_iter().filter_map(|(tuple, numbers)| Some((tuple, numbers?)));
                found.extend(fitting.filter(|(tuple, _)| self.fits(*tuple)));
            }
        }
        let first = found.first().copied().ok_or(Unready::NoConnection)?;
        if found.iter().any(|(_, numbers)| *numbers != first.1) {
            return Err(Unready::SeveralConnections);
        }
        Ok(first)
    }
}

/// Numbers go round at 2^32.
fn shifted(number: u32, by: i64) -> u32 {
    u32::try_from((i64::from(number) + by).rem_euclid(1 << 32)).unwrap_or_default()
}

fn port_of(name: Option<&String>, flows: &UnderWays) -> Result<Option<u16>, Unready> {
    let Some(name) = name else { return Ok(None) };
    let far = flows.get(name).and_then(|flow| flow.far);
    far.map(|far| Some(far.source_port)).ok_or_else(|| Unready::NowhereYet(name.clone()))
}

impl ToSend {
    fn beside(&self, flows: &UnderWays) -> Result<Self, Unready> {
        let (ports, beside) = (
            (port_of(self.beside.source_port.as_ref(), flows)?, port_of(self.beside.port.as_ref(), flows)?),
            &self.beside,
        );
        let template = &self.template;
        let load = match &template.load {
            Load::Udp(from, to) => Load::Udp(ports.0.or(*from), ports.1.unwrap_or(*to)),
            Load::Tcp { source_port, port, sequence, acknowledgement, flags } => {
                let (source_port, port) = (ports.0.or(*source_port), ports.1.unwrap_or(*port));
                let told = Load::Tcp {
                    source_port,
                    port,
                    sequence: *sequence,
                    acknowledgement: *acknowledgement,
                    flags: *flags,
                };
                beside.numbered(told, template, flows)?
            }
            Load::Error(kind, quoted) => match &beside.quotes {
                None => Load::Error(*kind, quoted.clone()),
                Some(name) => Load::Error(*kind, Box::new(quoted_of(name, template, flows)?)),
            },
            load @ (Load::Echo(..) | Load::RouterAdvert | Load::Neighbour(_)) => load.clone(),
        };
        Ok(Self { template: Template { load, ..template.clone() }, ..self.clone() })
    }
}

impl Beside {
    fn numbered(&self, load: Load, template: &Template, flows: &UnderWays) -> Result<Load, Unready> {
        let Load::Tcp { source_port, port, sequence, acknowledgement, flags } = load else { return Ok(load) };
        if self.sequence.or(self.acknowledgement).is_none() {
            return Ok(load);
        }
        let source: Vec<IpAddr> = template.source.into_iter().collect();
        let known = Known { source: &source, to: &[template.destination], source_port, port: Some(port) };
        let (tuple, numbers) = known.numbers(flows)?;
        // A segment of the flow that says nothing of what it acknowledges does as the flow would.
        let silent = self.acknowledgement.is_none() && acknowledgement == 0 && flags & ACK != 0;
        let acknowledged = self.acknowledgement.or(silent.then_some(0));
        Ok(Load::Tcp {
            source_port: Some(tuple.source_port),
            port,
            sequence: self.sequence.map(|by| shifted(numbers.sequence, by)).or(sequence),
            acknowledgement: acknowledged.map_or(acknowledgement, |by| shifted(numbers.acknowledgement, by)),
            flags,
        })
    }
}

/// The latest packet of a flow as it came to who tells an error: that of whom the error goes to, if there is one.
fn quoted_of(name: &str, template: &Template, flows: &UnderWays) -> Result<crate::packet::Packet, Unready> {
    let came = flows.get(name).map(|flow| flow.came.as_slice()).unwrap_or_default();
    let here = || came.iter().filter(|(place, _)| *place == template.from).map(|(_, packet)| packet);
    let best = here().find(|packet| packet.source == template.destination).or_else(|| here().next());
    best.cloned().ok_or_else(|| Unready::NothingToQuote { flow: name.to_owned(), place: template.from.clone() })
}

impl Facts {
    fn beside(&self, flows: &UnderWays) -> Result<Self, Unready> {
        let beside = &self.beside;
        let mut facts = self.clone();
        facts.source_port = port_of(beside.source_port.as_ref(), flows)?.or(self.source_port);
        facts.port = port_of(beside.port.as_ref(), flows)?.or(self.port);
        if beside.sequence.or(beside.acknowledgement).is_some() {
            let known = Known { source: &self.source, to: &self.to, source_port: facts.source_port, port: facts.port };
            let (_, numbers) = known.numbers(flows)?;
            facts.sequence = beside.sequence.map(|by| shifted(numbers.sequence, by)).or(self.sequence);
            facts.acknowledgement =
                beside.acknowledgement.map(|by| shifted(numbers.acknowledgement, by)).or(self.acknowledgement);
        }
        facts.quoting = match &self.quoting {
            None => None,
            Some(quoting) => Some(Box::new(quoting.beside(flows)?)),
        };
        Ok(facts)
    }
}
