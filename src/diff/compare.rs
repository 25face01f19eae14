//! One scenario, recorded twice.

use std::collections::{BTreeMap, BTreeSet};

use similar::{ChangeTag, TextDiff};

use super::fold::{self, Fold};
use super::phrase::{self, Told};
use super::places::Places;
use super::{FlowChange, Group, PlaceChange, ScenarioChange, Side};
use crate::flow::ProbeReport;
use crate::ledger::Account;
use crate::record::{FailureKind, Record, StepRecord};
use crate::report::{ends, step_title};
use crate::watch::Finding;

/// What differs; nothing if nothing does.
pub(super) fn scenario(base: &Record, head: &Record) -> Option<ScenarioChange> {
    let steps = matched(base, head);
    let mut unmatched = Fold::new();
    let mut leaks = Fold::new();
    let mut answers = Fold::new();
    let mut places = Places::new();
    let mut flows = Fold::new();
    let mut ways: Vec<(FlowChange, BTreeSet<String>)> = Vec::new();
    for (old, new) in &steps {
        match (old, new) {
            (Some(old), Some(new)) => {
                let step = title(new);
                leaks.add_unmatched(&found(old), &found(new), &step);
                answers.add_unmatched(&answered(old), &answered(new), &step);
                let changed = places.add(old, new, &step);
                for (flow, way) in flow_changes(old, new, &changed) {
                    match ways.iter_mut().find(|(known, _)| *known == flow) {
                        Some((_, all)) => all.extend(way),
                        None => ways.push((flow.clone(), way)),
                    }
                    flows.add(flow, &step);
                }
                for flow in during_changes(old, new) {
                    flows.add(flow, &step);
                }
                unmatched.add_unmatched(&senders(old, new), &senders(new, old), &step);
            }
            (Some(old), None) => unmatched.add((Side::Base, "the step".to_owned()), &title(old)),
            (None, Some(new)) => unmatched.add((Side::Head, "the step".to_owned()), &title(new)),
            (None, None) => {}
        }
    }
    let (groups, rest) = grouped(flows, &ways, &places.into_changes());
    let change = ScenarioChange {
        scenario: head.scenario.clone(),
        summary: head.summary.clone(),
        outcome: (base.outcome != head.outcome).then_some((base.outcome, head.outcome)),
        deviations_off: (base.deviations_off != head.deviations_off)
            .then(|| (base.deviations_off.clone(), head.deviations_off.clone())),
        leaks: leaks.into_sided(),
        groups,
        answers: answers.into_sided(),
        unmatched: unmatched.into_sided(),
        rest,
    };
    let differs = change.behaves_differently() || !change.unmatched.is_empty() || !change.rest.is_empty();
    differs.then_some(change)
}

/// `step 4 (on)`, or what the first and the last do.
fn title(step: &StepRecord) -> String {
    match (step.is_told(), step.number) {
        (true, _) => step_title(step),
        (false, 0) => "the building".to_owned(),
        (false, _) => "the taking down".to_owned(),
    }
}

/// Steps that stand for each other: by name, else by what they change, in order.
fn matched<'a>(base: &'a Record, head: &'a Record) -> Vec<(Option<&'a StepRecord>, Option<&'a StepRecord>)> {
    let key = |step: &StepRecord| match &step.name {
        Some(name) => name.clone(),
        None if step.is_told() => step.change.join("\n"),
        None => title(step),
    };
    let (old, new): (Vec<String>, Vec<String>) =
        (base.steps.iter().map(key).collect(), head.steps.iter().map(key).collect());
    let (old, new): (Vec<&str>, Vec<&str>) =
        (old.iter().map(String::as_str).collect(), new.iter().map(String::as_str).collect());
    let at = |record: &'a Record, index: Option<usize>| index.and_then(|index| record.steps.get(index));
    TextDiff::from_slices(&old, &new)
        .iter_all_changes()
        .map(|change| match change.tag() {
            ChangeTag::Equal => (at(base, change.old_index()), at(head, change.new_index())),
            ChangeTag::Delete => (at(base, change.old_index()), None),
            ChangeTag::Insert => (None, at(head, change.new_index())),
        })
        .collect()
}

/// What the watch found, in words without times.
fn found(step: &StepRecord) -> Vec<String> {
    step.watch.iter().flat_map(Finding::words).collect()
}

/// What failed, and what the API refused. What the watch has to say of that is told as a leak; of a sentence that does not
/// hold only itself is told, since the flows tell the rest.
fn answered(step: &StepRecord) -> Vec<String> {
    let failed = step.failures.iter().filter(|failure| failure.kind != FailureKind::Watch).map(|failure| {
        let sentence =
            failure.text.strip_prefix('`').and_then(|rest| rest.split_once('`')).map(|(sentence, _)| sentence);
        match sentence.filter(|_| failure.kind == FailureKind::Expectation) {
            Some(sentence) => format!("fails: `{sentence}`"),
            None => format!("fails: {}", failure.text.lines().next().unwrap_or_default()),
        }
    });
    failed.chain(step.refused.iter().map(|answer| format!("refused: {answer}"))).collect()
}

/// The ends and the protocol of a flow, by which it is known on both sides.
fn known(report: &ProbeReport, step: &StepRecord) -> (String, String, String) {
    let (from, to) = ends(&report.flow, &step.owners);
    let spoken = report.flow.spoken();
    // One of several that are sent alike.
    let spoken = if report.flow.copy == 0 { spoken } else { format!("{spoken} (number {})", report.flow.copy + 1) };
    (from, to, spoken)
}

/// Flows of a step that the other side's has not, one line a pair of ends.
fn senders(step: &StepRecord, other: &StepRecord) -> Vec<String> {
    let others: BTreeSet<_> = other.probes.iter().map(|report| known(report, other)).collect();
    let alone = step.probes.iter().map(|report| known(report, step)).filter(|flow| !others.contains(flow));
    let mut lines: Vec<String> = alone.map(|(from, to, _)| format!("{from} -> {to}")).collect();
    lines.dedup();
    lines
}

/// Flows that changed, each with the namespaces on its way where something differs.
fn flow_changes(old: &StepRecord, new: &StepRecord, changed: &BTreeSet<String>) -> Vec<(FlowChange, BTreeSet<String>)> {
    let before: BTreeMap<_, &ProbeReport> = old.probes.iter().map(|report| (known(report, old), report)).collect();
    let mut all = Vec::new();
    for report in &new.probes {
        let key = known(report, new);
        let Some(&was) = before.get(&key) else { continue };
        let (base, head) = (Told { report: was, owners: &old.owners }, Told { report, owners: &new.owners });
        let Some((one, other)) = phrase::difference(base, head) else { continue };
        let leak = match (leaks(old, base), leaks(new, head)) {
            (false, true) => Some(Side::Head),
            (true, false) => Some(Side::Base),
            (true, true) | (false, false) => None,
        };
        let (from, to, protocol) = key;
        let way = places(was).chain(places(report)).filter(|place| changed.contains(place)).collect();
        let change = FlowChange { from, to: vec![to], protocols: vec![protocol], base: one, head: other, leak };
        all.push((change, way));
    }
    all
}

/// Flows that ran through the change and fared otherwise than on the other side. Their numbers are no behaviour, since some of them
/// depend on how busy the machine is; of how many operations a gap lasted only the order of magnitude is.
fn during_changes(old: &StepRecord, new: &StepRecord) -> Vec<FlowChange> {
    let told = |step: &StepRecord, account: &Account| {
        let flow = &account.flow;
        let name = account.name.as_ref().map_or_else(String::new, |name| format!("{name}, "));
        let (from, to) = ends(flow, &step.owners);
        ((from, to, format!("({name}{} during the change)", flow.spoken())), fared(account))
    };
    let before: BTreeMap<_, String> = old.flows.iter().map(|account| told(old, account)).collect();
    let now = new.flows.iter().map(|account| told(new, account));
    let changed = now.filter_map(|(key, head)| {
        let base = before.get(&key).filter(|base| **base != head)?.clone();
        let (from, to, protocol) = key;
        Some(FlowChange { from, to: vec![to], protocols: vec![protocol], base, head, leak: None })
    });
    changed.collect()
}

/// `loss as 203.0.113.10 via net1, gap of 10 to 99 operations`
fn fared(account: &Account) -> String {
    let gap = match account.gap.as_ref().map_or(0, |gap| gap.ops) {
        0 => "",
        1..=9 => ", gap of 1 to 9 operations",
        10..=99 => ", gap of 10 to 99 operations",
        100.. => ", gap of 100 operations or more",
    };
    format!("{}{gap}", account.verdict())
}

/// It went out bare, and the watch found its sender there.
fn leaks(step: &StepRecord, told: Told<'_>) -> bool {
    let from = told.report.flow.from.name.as_str();
    let sighted = step.watch.iter().flat_map(|finding| &finding.sighted);
    told.is_bare() && sighted.filter_map(|one| one.from.as_deref()).any(|found| found == from)
}

/// The router namespaces that a probe and its answer passed, or ended in.
fn places(report: &ProbeReport) -> impl Iterator<Item = String> {
    let hops = report.path.iter().chain(&report.reply_path).map(|hop| &hop.place);
    hops.chain(&report.at).filter(|place| place.host.is_some()).map(ToString::to_string)
}

/// Flows together that have the same steps and the same ways; and what no way passes.
fn grouped(
    flows: Fold<FlowChange>,
    ways: &[(FlowChange, BTreeSet<String>)],
    changes: &[PlaceChange],
) -> (Vec<Group>, Vec<PlaceChange>) {
    let mut groups: Vec<(Vec<String>, BTreeSet<String>, Vec<FlowChange>)> = Vec::new();
    for (flow, steps) in flows.into_parts() {
        let found = ways.iter().find(|(known, _)| *known == flow);
        let way = found.map(|(_, way)| way.clone()).unwrap_or_default();
        match groups.iter_mut().find(|(of, along, _)| *of == steps && *along == way) {
            Some((.., flows)) => flows.push(flow),
            None => groups.push((steps, way, vec![flow])),
        }
    }
    let is_of = |change: &PlaceChange, steps: &[String], way: &BTreeSet<String>| {
        way.contains(&change.place) && steps.iter().any(|step| change.steps.contains(step))
    };
    let rest = changes.iter().filter(|change| !groups.iter().any(|(steps, way, _)| is_of(change, steps, way)));
    let rest = rest.cloned().collect();
    let groups = groups.into_iter().map(|(steps, way, flows)| Group {
        way: changes.iter().filter(|change| is_of(change, &steps, &way)).cloned().collect(),
        flows: fold::flows(flows),
        steps,
    });
    (groups.collect(), rest)
}
