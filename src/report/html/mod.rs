//! Records as one HTML file that needs nothing else: no server, no network.
//!
//! In: records. Out: the file's text, the same for the same records. Every scenario is an inert template that the page's
//! script brings to life when it is asked for; what its steps have in common stands there once, with the steps it is in.

mod ledger;
mod matrix;
mod scenario;
mod state;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::timeline::Spans;
use crate::record::{Outcome, Record, StepRecord};

const STYLE: &str = include_str!("style.css");
const DRAWING: &str = include_str!("../drawing/drawing.css");
const SCRIPT: &str = include_str!("script.js");
/// Nothing is loaded from anywhere.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// The whole file.
pub fn html(records: &[Record]) -> String {
    let failed = records.iter().filter(|record| record.outcome == Outcome::Failed).count();
    let title = format!("dvrlab: {} passed, {failed} failed", records.len() - failed);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) }
                style { (PreEscaped(DRAWING)) (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { a href="#" { "dvrlab" } } span.counts { (counts(records)) } }
                noscript { p.note { "This page shows its scenarios by a script of its own, which is switched off." } }
                main id="summary" tabindex="-1" { (summary(records)) }
                main id="scenario" tabindex="-1" hidden {}
                aside id="way" aria-label="The way of a flow" hidden {}
                footer { kbd { "←" } " " kbd { "→" } " step, " kbd { "[" } " " kbd { "]" } " scenario, " kbd { "/" } " search, "
                    kbd { "Esc" } " back" }
                @for record in records { template data-scenario=(record.scenario) { (scenario::page(record)) } }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn counts(records: &[Record]) -> Markup {
    let failed = records.iter().filter(|record| record.outcome == Outcome::Failed).count();
    let probes: usize = records.iter().flat_map(|record| &record.steps).map(|step| step.probes.len()).sum();
    html! {
        span.passed { (records.len() - failed) " passed" } ", "
        span.failed[failed > 0] { (failed) " failed" } ", " (probes) " probes"
    }
}

/// All scenarios, those that failed first.
fn summary(records: &[Record]) -> Markup {
    let mut order: Vec<&Record> = records.iter().collect();
    order.sort_by_key(|record| record.outcome == Outcome::Passed);
    html! {
        label.search { "Search " input id="search" type="search" autocomplete="off"; }
        table.summary {
            thead { tr { th scope="col" { "Outcome" } th scope="col" { "Scenario" } th scope="col" { "Shows" }
                th.number scope="col" { "Steps" } th.number scope="col" { "Probes" } th.number scope="col" { "Watch" } } }
            tbody { @for record in order { (row(record)) } }
        }
    }
}

fn row(record: &Record) -> Markup {
    let told = record.steps.iter().filter(|step| step.is_told()).count();
    let probes: usize = record.steps.iter().map(|step| step.probes.len()).sum();
    let found: usize = record.steps.iter().map(|step| step.watch.len()).sum();
    html! {
        tr data-text={ (record.scenario) " " (record.tags.join(" ")) " " (record.summary) } {
            td { (badge(record.outcome)) }
            th scope="row" { a href={ "#" (record.scenario) } { (record.scenario) } }
            td { (record.summary) @for (_, failure) in record.failures().take(1) { div.reason { (first_line(&failure.text)) } } }
            td.number { (told) }
            td.number { (probes) }
            td.number { @if found > 0 { (found) } @else { span.quiet { "–" } } }
        }
    }
}

fn badge(outcome: Outcome) -> Markup {
    match outcome {
        Outcome::Passed => html! { span.badge.passed { "✓ passed" } },
        Outcome::Failed => html! { span.badge.failed { "✗ failed" } },
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The steps that a page shows: those of the file, and what goes before and after them where something was wrong there.
fn shown(record: &Record) -> Vec<&StepRecord> {
    let wrong = |step: &&StepRecord| step.is_told() || !step.failures.is_empty() || !step.watch.is_empty();
    record.steps.iter().filter(wrong).collect()
}

/// Attributes of something that is there in some steps.
struct During {
    on: String,
    new: Option<String>,
    gone: Option<String>,
}

fn during(spans: &Spans) -> During {
    let list = |steps: &[usize]| (!steps.is_empty()).then(|| Spans::list(steps));
    During { on: Spans::list(&spans.on), new: list(&spans.new), gone: list(&spans.gone) }
}
