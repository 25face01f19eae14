//! The matrix: a cell for each pair of ends, with what became of its flows, and the way of each on demand.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, PreEscaped, html};
use serde::Serialize;

use super::during;
use crate::flow::{Hop, ProbeReport, Protocol, Verdict, via};
use crate::record::{Record, StepRecord};
use crate::report::timeline::timeline;
use crate::report::{ends, outcome_text};

/// Flows of a cell that fared alike.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fared {
    protocols: Vec<String>,
    /// In one word: for colour and sign.
    class: &'static str,
    /// `as 203.0.113.10`
    what: String,
    /// `via net1`
    by: String,
    /// Each differs from the others.
    ways: Vec<Way>,
}

/// What the script shows of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Way {
    /// `vm1 -> web`
    flow: String,
    /// `icmp tcp/80`
    protocols: Vec<String>,
    outcome: String,
    there: Vec<usize>,
    back: Vec<usize>,
}

/// All that is needed to show ways: hops are told once.
#[derive(Debug, Serialize)]
struct Told<'a> {
    path: &'a str,
    hops: &'a [[String; 6]],
    ways: &'a [Way],
}

/// Hops by their text.
#[derive(Debug, Default)]
struct Hops {
    all: Vec<[String; 6]>,
    known: BTreeMap<[String; 6], usize>,
}

impl Hops {
    fn numbers(&mut self, path: &[Hop]) -> Vec<usize> {
        let text = |device: &Option<_>| device.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut numbers = Vec::new();
        for hop in path {
            let row = [
                hop.place.to_string(),
                text(&hop.entered),
                text(&hop.left),
                hop.source.to_string(),
                hop.destination.to_string(),
                hop.ttl.to_string(),
            ];
            let next = self.all.len();
            let number = *self.known.entry(row.clone()).or_insert(next);
            if number == next {
                self.all.push(row);
            }
            numbers.push(number);
        }
        numbers
    }
}

pub(super) fn matrix(record: &Record, steps: &[&StepRecord]) -> Markup {
    let mut hops = Hops::default();
    let frames: Vec<_> =
        steps.iter().filter(|step| !step.probes.is_empty()).map(|step| (step.number, cells(step, &mut hops))).collect();
    let cells = timeline(&frames);
    let (mut senders, mut targets): (Vec<&String>, Vec<&String>) = (Vec::new(), Vec::new());
    for (from, to) in frames.iter().flat_map(|(_, frame)| frame.keys()) {
        if !senders.contains(&from) {
            senders.push(from);
        }
        if !targets.contains(&to) {
            targets.push(to);
        }
    }
    targets.sort_by_key(|target| (!senders.contains(target), (*target).clone()));
    let mut ways = Vec::new();
    let body = html! {
        @for from in &senders {
            tr {
                th scope="row" { (from) }
                @for to in &targets {
                    td {
                        @for (fared, spans) in cells.get(&((*from).clone(), (*to).clone())).into_iter().flatten() {
                            @let at = during(spans);
                            div.variant data-on=(at.on) data-new=[at.new] data-gone=[at.gone] { (cell(fared, &mut ways)) }
                        }
                    }
                }
            }
        }
    };
    let told = Told { path: &record.path, hops: &hops.all, ways: &ways };
    let json = serde_json::to_string(&told).expect("texts and numbers are JSON").replace('<', "\\u003c");
    html! {
        div.scroll tabindex="0" role="region" aria-label="Matrix" {
            table.matrix {
                thead { tr { td {} @for to in &targets { th scope="col" { (to) } } } }
                tbody { (body) }
            }
        }
        script type="application/json" { (PreEscaped(json)) }
        p.key { span.new { "changed by this step" } ", ✓ arrived, ⇄ arrived under another address, ✗ did not; a cell opens its way" }
    }
}

fn cell(fared: &[Fared], ways: &mut Vec<Way>) -> Markup {
    html! {
        @for one in fared {
            button type="button" class={ "cell " (one.class) } data-way=(numbers(ways, &one.ways)) aria-haspopup="dialog" {
                span.sign aria-hidden="true" { (sign(one.class)) } " "
                @if fared.len() > 1 { span.protocols { (one.protocols.join(" ")) } " " }
                span.what { (one.what) }
                @if !one.by.is_empty() { " " span.by { (one.by) } }
            }
        }
    }
}

/// Keeps ways; gives their numbers.
fn numbers(all: &mut Vec<Way>, ways: &[Way]) -> String {
    let first = all.len();
    all.extend(ways.iter().cloned());
    (first..all.len()).map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
}

fn sign(class: &str) -> &'static str {
    match class {
        "itself" => "✓",
        "translated" => "⇄",
        "leak" => "⚠",
        _ => "✗",
    }
}

impl Fared {
    /// Another protocol fared alike; its way may be another, as an answer's by another protocol is.
    fn join(&mut self, other: Self) {
        self.protocols.extend(other.protocols);
        for way in other.ways {
            let alike =
                |known: &&mut Way| (&known.there, &known.back, &known.outcome) == (&way.there, &way.back, &way.outcome);
            match self.ways.iter_mut().find(alike) {
                Some(known) => known.protocols.extend(way.protocols),
                None => self.ways.push(way),
            }
        }
    }
}

type Cells = BTreeMap<(String, String), Vec<Fared>>;

fn cells(step: &StepRecord, hops: &mut Hops) -> Cells {
    let leaking: BTreeSet<&str> =
        step.watch.iter().flat_map(|found| &found.sighted).filter_map(|one| one.from.as_deref()).collect();
    let mut cells = Cells::new();
    for report in &step.probes {
        let mut one = fared(report, step, hops);
        if one.class == "itself" && leaking.contains(report.flow.from.name.as_str()) && crosses_border(report) {
            one.class = "leak";
        }
        let cell = cells.entry(ends(&report.flow, &step.owners)).or_default();
        let alike = |other: &&mut Fared| (other.class, &other.what, &other.by) == (one.class, &one.what, &one.by);
        match cell.iter_mut().find(alike) {
            Some(same) => same.join(one),
            None => cell.push(one),
        }
    }
    cells
}

/// It left by a device on a provider segment.
fn crosses_border(report: &ProbeReport) -> bool {
    let outward = |name: &str| name.starts_with("qg-") || name.starts_with("fg-");
    report.path.iter().any(|hop| hop.left.as_ref().is_some_and(|device| outward(device.as_str())))
}

fn fared(report: &ProbeReport, step: &StepRecord, hops: &mut Hops) -> Fared {
    let owners = &step.owners;
    let (from, to) = ends(&report.flow, owners);
    let spoken = report.flow.spoken();
    let protocol = match report.flow.protocol {
        Protocol::Tcp(80) => "tcp".to_owned(),
        Protocol::Udp(9000) => "udp".to_owned(),
        Protocol::Icmp | Protocol::Tcp(_) | Protocol::Udp(_) | Protocol::Arp => spoken.clone(),
    };
    let outcome = outcome_text(report, owners);
    let arrived = report.verdict == Verdict::Delivered;
    let seen = report.seen.as_ref().filter(|_| arrived && report.flow.protocol != Protocol::Arp);
    let (class, what, by) = match seen {
        None if arrived => ("itself", outcome.clone(), String::new()),
        None => ("not", outcome.clone(), String::new()),
        Some(seen) => {
            let itself = owners.get(&seen.source).is_some_and(|owner| owner == report.flow.from.name.as_str());
            let responder = seen.responder.to_string();
            let other = owners.get(&report.flow.to) != Some(&responder);
            let source = if itself { "itself".to_owned() } else { seen.source.to_string() };
            let what = if other { format!("{responder} as {source}") } else { format!("as {source}") };
            let hosts: Vec<String> = via(&report.path).into_iter().map(ToString::to_string).collect();
            let by = if hosts.is_empty() { String::new() } else { format!("via {}", hosts.join(" ")) };
            (if itself { "itself" } else { "translated" }, what, by)
        }
    };
    let way = Way {
        flow: format!("{from} -> {to}"),
        protocols: vec![spoken],
        outcome,
        there: hops.numbers(&report.path),
        back: hops.numbers(&report.reply_path),
    };
    Fared { protocols: vec![protocol], class, what, by, ways: vec![way] }
}
