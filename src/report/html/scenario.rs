//! The page of one scenario.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{badge, ledger, matrix, shown, state};
use crate::record::{Record, Scene, StepRecord};
use crate::report::reach::{claims, exchanged};
use crate::report::{drawing, step_title};

pub(super) fn page(record: &Record) -> Markup {
    let steps = shown(record);
    html! {
        article {
            nav.where aria-label="Scenario" {
                a href="#" { "All scenarios" } " " span.quiet { "/" } " " strong { (record.scenario) } " " (badge(record.outcome))
                span.turn { a.before href="#" { "← before" } " " a.after href="#" { "next →" } }
            }
            h2 { (record.summary) }
            (story(record))
            nav.steps aria-label="Steps" {
                @for step in &steps {
                    a href={ "#" (record.scenario) "/" (step.number) } data-step=(step.number)
                        class=[mark(step)] { (short(step)) }
                }
            }
            @for step in &steps { (told(step)) }
            section.drawn { h3 { "Topology" } (drawn(record, &steps)) }
            section.reach { h3 { "Who reaches whom" } (matrix::matrix(record, &steps)) }
            section.state { h3 { "What stands in the namespaces" } (state::namespaces(&steps)) }
            section.done { h3 { "What was done" } (state::operations(&steps)) }
        }
    }
}

fn story(record: &Record) -> Markup {
    let story = &record.story;
    let parts =
        [("Setup", &story.setup), ("Change", &story.change), ("Seen", &story.seen), ("Mirrors", &story.mirrors)];
    html! {
        dl.story {
            @for (name, text) in parts.into_iter().filter(|(_, text)| !text.is_empty()) { dt { (name) } dd { (text) } }
            @if !record.tags.is_empty() { dt { "Tags" } dd { (record.tags.join(", ")) } }
            @if !record.deviations_off.is_empty() { dt { "Off" } dd { "deviations " (record.deviations_off.join(", ")) } }
            dt { "File" } dd { code { (record.path) } }
        }
    }
}

fn mark(step: &StepRecord) -> Option<&'static str> {
    match (step.failures.is_empty(), step.watch.is_empty()) {
        (false, _) => Some("failed"),
        (true, false) => Some("watched"),
        (true, true) => None,
    }
}

/// `4 on`, or what goes before and after the file's steps.
fn short(step: &StepRecord) -> String {
    match (step.is_told(), &step.name) {
        (true, Some(name)) => format!("{} {name}", step.number),
        (true, None) => step.number.to_string(),
        (false, _) if step.number == 0 => "building".to_owned(),
        (false, _) => "taking down".to_owned(),
    }
}

/// What a step changed, what was wrong, and what the watch found.
fn told(step: &StepRecord) -> Markup {
    let title = if step.is_told() { step_title(step) } else { short(step) };
    html! {
        section.told data-on=(step.number) {
            h3 { (title) }
            @if step.change.is_empty() { p.quiet { "Changes nothing, and looks." } }
            @for change in &step.change { pre.change { (change) } }
            @for answer in &step.refused { p.refused { "The API refused: " (answer) } }
            @for failure in &step.failures {
                div.failure {
                    p { strong { "✗ " } @if let Some(line) = failure.line { "line " (line) ": " } (failure.text) }
                    @if !failure.details.is_empty() { pre { (failure.details.join("\n")) } }
                }
            }
            @for finding in &step.watch {
                @for (_, sentence) in finding.sentences() { p.finding { strong { "watch " } (sentence) } }
            }
            (found(step))
            (ledger::flows(step))
        }
    }
}

/// What packets made to order came to, whose address is whose no longer, and hosts that have not heard of all.
fn found(step: &StepRecord) -> Markup {
    let exchanged: Vec<String> = exchanged(step).collect();
    html! {
        @if !exchanged.is_empty() { pre.found { (exchanged.join("\n")) } }
        @for claim in claims(step) { p.finding { (claim) } }
        @for (host, lines) in &step.stale {
            details.stale {
                summary { (host) " is stale: it differs from what is asked for by " (lines.len()) @if lines.len() == 1 { " line" } @else { " lines" } }
                ol.lines { @for line in lines { li { (line) } } }
            }
        }
    }
}

/// The steps in which anything that stands in a namespace changed, the first one left out.
fn changed(steps: &[&StepRecord]) -> BTreeMap<String, Vec<usize>> {
    let mut changed: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (before, step) in steps.iter().zip(steps.iter().skip(1)) {
        for (place, _) in step.state.iter().filter(|(place, lines)| before.state.get(*place) != Some(*lines)) {
            changed.entry(place.clone()).or_default().push(step.number);
        }
    }
    changed
}

fn drawn(record: &Record, steps: &[&StepRecord]) -> Markup {
    let scenes: Vec<(usize, &Scene)> =
        steps.iter().filter(|step| !step.scene.is_empty()).map(|step| (step.number, &step.scene)).collect();
    if scenes.is_empty() {
        return html! { p.quiet { "This record is of an older format, which does not tell." } };
    }
    let title = format!("Topology of {}", record.scenario);
    html! {
        div.scroll tabindex="0" role="region" aria-label=(title) { (drawing::markup(&title, &scenes, &changed(steps))) }
        p.key { span.new { "brought or changed by this step" } " " span.gone { "taken away by it" } }
    }
}
