//! Does what was seen agree with what was expected? Pure; the words of a mismatch are those of the language.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::expectation::{
    Delivery, Failure, FlowExpectation, Mismatch, Outcome, Quantity, Reason, SeenAs, SeenPort, Source, Speaker,
    StateExpectation, StatePlace, Target,
};
use super::hops;
use super::pattern::matches;
use super::state::KINDS;
use crate::api::Intent;
use crate::flow::{Flow, Hop, Place, ProbeReport, Protocol, Seen, Verdict, through, via};
use crate::name::{HostName, Name};
use crate::namespace::Kind;
use crate::net::Family;

/// A node's addresses: an instance's fixed ones, a machine's own, then those that its kernel owns besides.
pub fn addresses_of(intent: &Intent, node: &Name) -> Vec<IpAddr> {
    let (own, also) = if let Some(instance) = intent.instances.get(node) {
        (intent.fixed_addresses(node), instance.also.as_slice())
    } else if let Some(machine) = intent.outside.get(node) {
        (machine.addresses.clone(), machine.also.as_slice())
    } else {
        (Vec::new(), [].as_slice())
    };
    let single = also.iter().filter(|net| net.prefix_len() == net.max_prefix_len()).map(ipnet::IpNet::addr);
    own.into_iter().chain(single).collect()
}

/// How many addresses a range has, both ends included.
pub(super) fn range_length(first: IpAddr, last: IpAddr) -> u32 {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => u32::from(last).saturating_sub(u32::from(first)).saturating_add(1),
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let distance = u128::from(last).saturating_sub(u128::from(first)).saturating_add(1);
            u32::try_from(distance).unwrap_or(u32::MAX)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => u32::MAX,
    }
}

/// A node's first address of a family.
pub(super) fn first_address(node: &Name, family: Family, intent: &Intent) -> Option<IpAddr> {
    addresses_of(intent, node).into_iter().find(|address| Family::of(*address) == family)
}

/// What a flow to a node by name goes over unless it says so: the sender's address's family if one is picked, IPv4 if both
/// have it, IPv6 if both have that; else what the target has, from where the answer will be that the sender has not.
fn common_family(source: &Source, target: &Name, intent: &Intent) -> Option<Family> {
    if let Some(address) = source.address {
        return Some(Family::of(address));
    }
    let has = |node: &Name, family| first_address(node, family, intent).is_some();
    // What a router's namespace has is known only when it sends.
    let sends = |family| source.place.node().is_none_or(|node| has(&node, family));
    let both = Family::BOTH.into_iter().find(|family| sends(*family) && has(target, *family));
    both.or_else(|| Family::BOTH.into_iter().find(|family| has(target, *family)))
}

/// A flow with the name that its target was given by.
pub(super) struct Pair {
    pub(super) flow: Flow,
    named: Option<Name>,
}

impl FlowExpectation {
    /// The flows of the line, sources before targets before protocols; no flow twice. A node does not send to itself by name.
    /// Where the sentence has hops, the same flow with each TTL is one more.
    pub fn flows(&self, intent: &Intent) -> Vec<Flow> {
        let hops = match &self.outcome {
            Outcome::Delivered(delivery) => delivery.hops.as_slice(),
            Outcome::Failed(_) => &[],
        };
        self.pairs(intent).into_iter().flat_map(|pair| hops::with_traced(pair.flow, hops)).collect()
    }

    /// As [`Self::flows`], with what the targets are called.
    pub(super) fn pairs(&self, intent: &Intent) -> Vec<Pair> {
        let mut ways: Vec<(&Source, &Target)> =
            self.sources.iter().flat_map(|source| self.targets.iter().map(move |target| (source, target))).collect();
        let senders: Vec<&Source> = self
            .targets
            .iter()
            .filter_map(|target| match target {
                Target::Node(node) => Some(node),
                Target::Address(_) | Target::Range(..) => None,
            })
            .collect();
        let back: Vec<Target> = self.sources.iter().cloned().map(Target::Node).collect();
        if self.both {
            ways.extend(senders.into_iter().flat_map(|source| back.iter().map(move |target| (source, target))));
        }
        let mut pairs = Vec::new();
        let mut known = BTreeSet::new();
        for (source, target) in ways {
            for pair in self.one_way(source, target, intent) {
                if known.insert(pair.flow.clone()) {
                    pairs.push(pair);
                }
            }
        }
        pairs
    }

    fn one_way(&self, source: &Source, target: &Target, intent: &Intent) -> Vec<Pair> {
        let (targets, named) = match target {
            Target::Node(node) if node.place == source.place => return Vec::new(),
            Target::Node(node) => {
                let named = node.place.node();
                let family = self.family.or_else(|| common_family(source, named.as_ref()?, intent));
                let first = || first_address(named.as_ref()?, family?, intent);
                (node.address.or_else(first).into_iter().collect(), named)
            }
            Target::Address(address) => (vec![*address], None),
            Target::Range(first, last) => (range(*first, *last), None),
        };
        let protocols = self.protocol.as_ref().map_or(Protocol::MATRIX.as_slice(), std::slice::from_ref);
        let flow = |to: IpAddr, protocol: Protocol, copy: u16| Flow {
            from: source.place.clone(),
            source: source.address,
            to,
            protocol,
            options: self.options.clone(),
            copy,
        };
        targets
            .into_iter()
            .flat_map(|to| protocols.iter().map(move |protocol| (to, *protocol)))
            .flat_map(|(to, protocol)| (0..self.count).map(move |copy| (to, protocol, copy)))
            .map(|(to, protocol, copy)| Pair { flow: flow(to, protocol, copy), named: named.clone() })
            .collect()
    }

    /// What does not hold of the line, given the reports of (at least) its flows; empty if all is as expected.
    pub fn judge(&self, reports: &[ProbeReport], intent: &Intent) -> Vec<Mismatch> {
        let by_flow: BTreeMap<&Flow, &ProbeReport> = reports.iter().map(|report| (&report.flow, report)).collect();
        let mut mismatches = Vec::new();
        let mut answered: Vec<(&Pair, &ProbeReport, &Seen)> = Vec::new();
        let pairs = self.pairs(intent);
        for pair in &pairs {
            let name = title(pair);
            let Some(report) = by_flow.get(&pair.flow) else {
                let sentence = format!("{name}: was not probed");
                mismatches.push(Mismatch { sentence, flow: Some(pair.flow.clone()) });
                continue;
            };
            let told = match &self.outcome {
                Outcome::Failed(failure) => failure.judge(report, intent),
                Outcome::Delivered(delivery) => delivery.judge(report, pair.named.as_ref(), intent),
            };
            if let Outcome::Delivered(delivery) = &self.outcome {
                mismatches.extend(hops::judge(pair, &delivery.hops, &|flow| by_flow.get(flow).copied(), intent));
            }
            mismatches.extend(
                told.into_iter()
                    .map(|what| Mismatch { sentence: format!("{name}: {what}"), flow: Some(pair.flow.clone()) }),
            );
            if let Some(seen) = &report.seen {
                answered.push((pair, report, seen));
            }
        }
        if let Outcome::Delivered(delivery) = &self.outcome {
            mismatches.extend(delivery.judge_together(&answered));
        }
        // What is sent alike fares alike more often than not.
        let mut told = BTreeSet::new();
        mismatches.retain(|mismatch| told.insert(mismatch.sentence.clone()));
        mismatches
    }
}

fn range(first: IpAddr, last: IpAddr) -> Vec<IpAddr> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            (u32::from(first)..=u32::from(last)).map(|bits| Ipv4Addr::from(bits).into()).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            (u128::from(first)..=u128::from(last)).map(|bits| Ipv6Addr::from(bits).into()).collect()
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Vec::new(),
    }
}

/// `udp/9000 vm1 -> web`.
pub(super) fn title(pair: &Pair) -> String {
    let flow = &pair.flow;
    let target = pair.named.as_ref().map_or_else(|| flow.to.to_string(), |name| format!("{name}{}", flow.over()));
    format!("{} {} -> {target}{}", flow.spoken(), flow.from, flow.options.suffix())
}

fn joined<T: Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "nothing".to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// What became of a flow, in the words of the language.
pub(super) fn described(report: &ProbeReport) -> String {
    let by = report.by.map_or_else(String::new, |by| format!(" by {by}"));
    let at = report.at.as_ref().map_or_else(String::new, |at| format!(" at {at}"));
    let seen = report
        .seen
        .as_ref()
        .map_or_else(String::new, |seen| format!(" as {} via {}", seen.source, joined(&via(&report.path))));
    match report.verdict {
        Verdict::Delivered => format!("delivered{seen}"),
        Verdict::NoAnswer => format!("arrived{seen}, but no answer came back"),
        Verdict::Refused => format!("refused{by}"),
        Verdict::NoRoute => format!("no route{by}{at}"),
        Verdict::NoNeighbour => format!("no neighbour{at}"),
        Verdict::Prohibited => format!("prohibited{by}{at}"),
        Verdict::TooBig(mtu) => format!("too big {mtu}{by}"),
        Verdict::Expired => format!("expired{by}"),
        Verdict::Dropped => format!("dropped{at}"),
        Verdict::Lost => "lost without any evidence, which is a defect of the harness".to_owned(),
    }
}

fn differs<T: PartialEq + Display>(clause: &str, seen: &T, expected: &T) -> Option<String> {
    (seen != expected).then(|| format!("{clause} {seen}, not {expected}"))
}

fn list_differs<T: PartialEq + Display>(clause: &str, seen: &[&T], expected: &[T]) -> Option<String> {
    (!expected.is_empty() && !seen.iter().copied().eq(expected))
        .then(|| format!("{clause} {}, not {}", joined(seen), joined(expected)))
}

/// Whether a responder is what a name stands for: a node, or (for ARP and a router's own addresses) a host.
fn is_called(responder: &Place, name: &str) -> bool {
    responder.host.as_ref().map_or(responder.name.as_str(), HostName::as_str) == name
}

impl Delivery {
    fn judge(&self, report: &ProbeReport, named: Option<&Name>, intent: &Intent) -> Vec<String> {
        let wanted = if self.no_answer { Verdict::NoAnswer } else { Verdict::Delivered };
        let (true, Some(seen)) = (report.verdict == wanted, &report.seen) else {
            let hoped = if self.no_answer { ", not without an answer" } else { "" };
            return vec![format!("{}{hoped}", described(report))];
        };
        let flow = &report.flow;
        let of_node = || first_address(&flow.from.node()?, Family::of(flow.to), intent);
        let own = || flow.source.or_else(of_node);
        let source = match self.source {
            None => None,
            Some(SeenAs::Address(address)) => differs("as", &seen.source, &address),
            Some(SeenAs::Itself) => {
                let own = own();
                (Some(seen.source) != own)
                    .then(|| format!("as {}, not as itself ({})", seen.source, joined(own.as_slice())))
            }
        };
        let responder = match named {
            Some(name) if self.reaches.is_empty() => {
                (!is_called(&seen.responder, name.as_str())).then(|| format!("reaches {}, not {name}", seen.responder))
            }
            Some(_) | None => None,
        };
        [
            source,
            responder,
            list_differs("via", &via(&report.path), &self.via),
            list_differs("through", &through(&report.path), &self.through),
            self.ttl.and_then(|ttl| differs("ttl", &seen.ttl, &ttl)),
            self.judge_port(report.flow.options.source_port, seen.source_port),
            self.judge_reply(report),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn judge_port(&self, sent: Option<u16>, seen: Option<u16>) -> Option<String> {
        let holds = match (self.port?, seen) {
            (SeenPort::Distinct, _) => true,
            (_, None) => false,
            (SeenPort::Kept, seen) => seen == sent,
            (SeenPort::Changed, seen) => seen != sent,
            (SeenPort::Range(first, last), Some(seen)) => (first..=last).contains(&seen),
        };
        let text = |port: Option<u16>| port.map_or_else(|| "unknown".to_owned(), |port| port.to_string());
        (!holds).then(|| format!("port {} at the far end, {} sent", text(seen), text(sent)))
    }

    fn judge_reply(&self, report: &ProbeReport) -> Option<String> {
        let path: &[Hop] = &report.reply_path;
        list_differs("reply via", &via(path), &self.reply_via)
            .or_else(|| list_differs("reply through", &through(path), &self.reply_through))
            .or_else(|| {
                let wanted = self.reply_ttl?;
                match report.reply_ttl {
                    Some(ttl) => differs("reply ttl", &ttl, &wanted),
                    None => Some(format!("reply ttl unknown, not {wanted}")),
                }
            })
    }

    /// Clauses about all flows of the line together.
    fn judge_together(&self, answered: &[(&Pair, &ProbeReport, &Seen)]) -> Vec<Mismatch> {
        let mut mismatches = Vec::new();
        if !self.reaches.is_empty() {
            mismatches.extend(self.judge_responders(answered));
        }
        if self.port == Some(SeenPort::Distinct) {
            let mut users: BTreeMap<(Protocol, IpAddr, IpAddr, Option<u16>), String> = BTreeMap::new();
            for (pair, report, seen) in answered {
                let key = (report.flow.protocol, report.flow.to, seen.source, seen.source_port);
                if let Some(first) = users.insert(key, title(pair)) {
                    let port = seen.source_port.map_or_else(|| "unknown".to_owned(), |port| port.to_string());
                    let sentence = format!("{}: port {port}, the same as {first}", title(pair));
                    mismatches.push(Mismatch { sentence, flow: Some(pair.flow.clone()) });
                }
            }
        }
        mismatches
    }

    fn judge_responders(&self, answered: &[(&Pair, &ProbeReport, &Seen)]) -> Vec<Mismatch> {
        let mut mismatches = Vec::new();
        let mut owners: BTreeMap<(&Place, IpAddr), &Place> = BTreeMap::new();
        for (pair, report, seen) in answered {
            if !self.reaches.iter().any(|name| is_called(&seen.responder, name.as_str())) {
                let sentence = format!("{}: reaches {}, not {}", title(pair), seen.responder, joined(&self.reaches));
                mismatches.push(Mismatch { sentence, flow: Some(pair.flow.clone()) });
            }
            let first = owners.entry((&report.flow.from, report.flow.to)).or_insert(&seen.responder);
            if **first != seen.responder && self.reaches.len() > 1 {
                let sentence = format!(
                    "{}: reaches {}, another flow to {} reaches {first}",
                    title(pair),
                    seen.responder,
                    report.flow.to
                );
                mismatches.push(Mismatch { sentence, flow: Some(pair.flow.clone()) });
            }
        }
        for name in &self.reaches {
            if !answered.is_empty()
                && !answered.iter().any(|(_, _, seen)| is_called(&seen.responder, name.as_str()))
                && self.reaches.len() > 1
            {
                mismatches.push(Mismatch { sentence: format!("no flow of this line reaches {name}"), flow: None });
            }
        }
        mismatches
    }
}

impl Failure {
    fn judge(&self, report: &ProbeReport, intent: &Intent) -> Vec<String> {
        let holds = match (self.reason, &report.verdict) {
            (_, Verdict::Delivered | Verdict::NoAnswer | Verdict::Lost) => false,
            (Reason::Unreachable, _)
            | (Reason::Refused, Verdict::Refused)
            | (Reason::NoRoute, Verdict::NoRoute)
            | (Reason::NoNeighbour, Verdict::NoNeighbour)
            | (Reason::Prohibited, Verdict::Prohibited)
            | (Reason::Expired, Verdict::Expired)
            | (Reason::Dropped, Verdict::Dropped) => true,
            (Reason::TooBig(mtu), Verdict::TooBig(told)) => mtu == *told,
            (
                Reason::Refused
                | Reason::NoRoute
                | Reason::NoNeighbour
                | Reason::Prohibited
                | Reason::TooBig(_)
                | Reason::Expired
                | Reason::Dropped,
                _,
            ) => false,
        };
        if !holds {
            return vec![format!("{}, not {}", described(report), self.reason)];
        }
        let said = match &self.by {
            None => true,
            Some(Speaker::Address(address)) => report.by == Some(*address),
            Some(Speaker::Node(node)) => report.by.is_some_and(|by| addresses_of(intent, node).contains(&by)),
            Some(Speaker::Namespace(place)) => report.by.is_some() && report.at.as_ref() == Some(place),
        };
        let place = self.at.as_ref().is_none_or(|at| report.at.as_ref() == Some(at));
        match (said, place, &self.by, &self.at) {
            (false, _, Some(by), _) => vec![format!("{}, not by {by}", described(report))],
            (_, false, _, Some(at)) => {
                let was = report.at.as_ref().map_or_else(|| "an unknown place".to_owned(), Place::to_string);
                vec![format!("{}, last seen at {was}, not at {at}", described(report))]
            }
            _ => Vec::new(),
        }
    }
}

impl Display for Speaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Node(node) => write!(f, "{node}"),
            Self::Namespace(place) => write!(f, "{place}"),
        }
    }
}

impl Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable => f.write_str("unreachable"),
            Self::Refused => f.write_str("refused"),
            Self::NoRoute => f.write_str("no route"),
            Self::NoNeighbour => f.write_str("no neighbour"),
            Self::Prohibited => f.write_str("prohibited"),
            Self::TooBig(mtu) => write!(f, "too big {mtu}"),
            Self::Expired => f.write_str("expired"),
            Self::Dropped => f.write_str("dropped"),
        }
    }
}

impl StateExpectation {
    /// What does not hold. `lines` gives the printed objects of a kind at a place.
    pub fn judge(&self, lines: &dyn Fn(&StatePlace, Kind) -> Vec<String>) -> Option<Mismatch> {
        let all = lines(&self.place, self.kind);
        let found: Vec<&String> = all.iter().filter(|line| matches(&self.pattern, line)).collect();
        let holds = match self.quantity {
            Quantity::Some => !found.is_empty(),
            Quantity::Exactly(number) => found.len() == number,
            Quantity::None => found.is_empty(),
        };
        if holds {
            return None;
        }
        let kind = KINDS.iter().find(|(_, kind)| *kind == self.kind).map_or("object", |(word, _)| word);
        let what = if self.pattern.is_empty() { kind.to_owned() } else { format!("{kind} {}", self.pattern.join(" ")) };
        let list = |lines: &[&String]| lines.iter().fold(String::new(), |list, line| list + "\n  " + line);
        let place = &self.place;
        let sentence = match (self.quantity, found.len()) {
            (Quantity::None, _) => format!("{place}: there is {what}:{}", list(&found)),
            (Quantity::Exactly(number), count) if count > 0 => {
                format!("{place}: {count} match {what}, not {number}:{}", list(&found))
            }
            (Quantity::Some | Quantity::Exactly(_), _) => {
                format!("{place}: there is no {what} ({} of that kind)", all.len())
            }
        };
        Some(Mismatch { sentence, flow: None })
    }
}
