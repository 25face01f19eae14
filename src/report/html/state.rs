//! What stands in each namespace, with what each step brought and took away; and what was done on each host.

use std::collections::BTreeMap;

use maud::{Markup, html};
use similar::{ChangeTag, TextDiff};

use super::during;
use crate::record::{HostRecord, Line, StepRecord};
use crate::report::kind_word;
use crate::report::timeline::Spans;

/// A line with the steps it stands in.
type Standing = (String, Spans);

pub(super) fn namespaces(steps: &[&StepRecord]) -> Markup {
    let mut places: BTreeMap<&String, Vec<Standing>> = BTreeMap::new();
    for place in steps.iter().flat_map(|step| step.state.keys()) {
        if !places.contains_key(place) {
            places.insert(place, standing(place, steps));
        }
    }
    html! {
        @for (place, lines) in &places {
            @let changed = changes(lines);
            details.place {
                summary { code { (place) }
                    @for (step, (came, went)) in &changed {
                        span.moved data-on=(step) { " " @if *came > 0 { ins { "+" (came) } } " " @if *went > 0 { del { "−" (went) } } }
                    }
                }
                ol.lines { @for (text, spans) in lines {
                    @let at = during(spans);
                    li data-on=(at.on) data-new=[at.new] data-gone=[at.gone] { (text) }
                } }
            }
        }
        p.quiet { "What every such namespace has (the agent's own chains, sysctls, the kernel's rules) is left out." }
    }
}

/// The lines of a namespace in the order in which they stand, over all steps: what one step has beside the others stands
/// where it stood in that step.
fn standing(place: &str, steps: &[&StepRecord]) -> Vec<Standing> {
    let mut all: Vec<Standing> = Vec::new();
    let mut before: Option<usize> = None;
    for step in steps {
        let lines: Vec<String> =
            step.state.get(place).into_iter().flatten().filter(|line| !line.constant).map(shown).collect();
        let known: Vec<String> = all.iter().map(|(text, _)| text.clone()).collect();
        let (known, now): (Vec<&str>, Vec<&str>) =
            (known.iter().map(String::as_str).collect(), lines.iter().map(String::as_str).collect());
        let mut old = std::mem::take(&mut all).into_iter();
        for change in TextDiff::from_slices(&known, &now).iter_all_changes() {
            let mut one = match change.tag() {
                ChangeTag::Equal | ChangeTag::Delete => match old.next() {
                    Some(one) => one,
                    None => continue,
                },
                ChangeTag::Insert => (change.value().to_owned(), Spans::default()),
            };
            let stood = before.is_some_and(|before| one.1.on.last() == Some(&before));
            match change.tag() {
                ChangeTag::Delete if stood => one.1.gone.push(step.number),
                ChangeTag::Delete => {}
                ChangeTag::Equal | ChangeTag::Insert => {
                    one.1.on.push(step.number);
                    if before.is_some() && !stood {
                        one.1.new.push(step.number);
                    }
                }
            }
            all.push(one);
        }
        before = Some(step.number);
    }
    all
}

fn shown(line: &Line) -> String {
    format!("{} {}", kind_word(line.kind), line.text)
}

/// How many lines came and went, by step.
fn changes(lines: &[Standing]) -> BTreeMap<usize, (usize, usize)> {
    let mut counts: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (_, spans) in lines {
        for step in &spans.new {
            counts.entry(*step).or_default().0 += 1;
        }
        for step in &spans.gone {
            counts.entry(*step).or_default().1 += 1;
        }
    }
    counts
}

/// Host by host, in order. What built the lab before the first step is left out: it is all there is.
pub(super) fn operations(steps: &[&StepRecord]) -> Markup {
    html! {
        @for step in steps.iter().filter(|step| step.is_told()) {
            div data-on=(step.number) {
                @if step.hosts.is_empty() { p.quiet { "Nothing, on any host." } }
                @for host in &step.hosts { (host_operations(host)) }
            }
        }
    }
}

fn host_operations(host: &HostRecord) -> Markup {
    let count = host.ops.len();
    html! {
        details { summary { code { (host.host) } " " (count) " operation" @if count != 1 { "s" } }
            ol.lines { @for op in &host.ops { li { span.quiet { (op.namespace) } " " (op.command) } } } }
    }
}
