//! What became of a flow, in the words that a reviewer reads: `203.0.113.10 via net1`, `10.0.1.12 bare via cmp2`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::flow::{Hop, ProbeReport, Protocol, Verdict, through, via};
use crate::report::{folded, outcome_text};

type Owners = BTreeMap<IpAddr, String>;

/// A report and whose addresses are in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) report: &'a ProbeReport,
    pub(super) owners: &'a Owners,
}

/// How two reports of one flow differ, base and head; nothing if they do not.
pub(super) fn difference(base: Told<'_>, head: Told<'_>) -> Option<(String, String)> {
    let (one, other) = (base.phrase(), head.phrase());
    if one != other {
        return Some((one, other));
    }
    let further: [fn(&Told<'_>) -> String; 3] = [
        |told| format!("through {}", way(&told.report.path)),
        |told| format!("answered through {}", way(&told.report.reply_path)),
        |told| told.report.seen.as_ref().map_or(String::new(), |seen| format!("ttl {}", seen.ttl)),
    ];
    let mut differing = further.iter().map(|what| (what(&base), what(&head))).filter(|(one, other)| one != other);
    let (before, after) = differing.next()?;
    Some((format!("{one} {before}"), format!("{other} {after}")))
}

/// Router namespaces in order, circles told once; machines only if it passed none.
fn way(path: &[Hop]) -> String {
    let namespaces: Vec<String> = through(path).into_iter().map(ToString::to_string).collect();
    if namespaces.is_empty() { "no router".to_owned() } else { folded(&namespaces) }
}

impl Told<'_> {
    /// Its packets kept their own address and crossed the border to a provider segment.
    pub(super) fn is_bare(&self) -> bool {
        self.is_own_source() && self.report.path.iter().any(crosses_border)
    }

    fn is_own_source(&self) -> bool {
        let Some(seen) = &self.report.seen else { return false };
        self.owners.get(&seen.source).is_some_and(|owner| *owner == self.report.flow.from.name.as_str())
    }

    fn phrase(&self) -> String {
        let report = self.report;
        let seen = match (&report.verdict, &report.seen) {
            (Verdict::Delivered | Verdict::NoAnswer, Some(seen)) if report.flow.protocol != Protocol::Arp => seen,
            _ => return outcome_text(report, self.owners),
        };
        let responder = seen.responder.to_string();
        let mut words = Vec::new();
        if self.owners.get(&report.flow.to) != Some(&responder) {
            words.extend(["reaches".to_owned(), responder, "as".to_owned()]);
        }
        words.push(seen.source.to_string());
        if self.is_bare() {
            words.push("bare".to_owned());
        }
        let hosts = via(&report.path);
        if !hosts.is_empty() {
            words.push("via".to_owned());
            words.extend(hosts.into_iter().map(ToString::to_string));
        }
        if report.verdict == Verdict::NoAnswer {
            words.push("no answer".to_owned());
        }
        words.join(" ")
    }
}

/// It left a host by a device on a provider segment.
fn crosses_border(hop: &Hop) -> bool {
    hop.left.as_ref().is_some_and(|device| device.as_str().starts_with("qg-") || device.as_str().starts_with("fg-"))
}
