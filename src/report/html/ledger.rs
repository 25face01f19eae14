//! What the flows went through that ran through a step: operation by operation, what was lost and which source was seen.
//!
//! In: a step with its accounts. Out: a plot of each flow, on the operations of the step. Never: a scale of time: an operation is
//! as wide as any other.

use std::collections::BTreeSet;
use std::fmt::Display;

use maud::{Markup, html};

use crate::ledger::{Account, Moment, Spell};
use crate::record::StepRecord;
use crate::report::reach::flow_title;

/// Width of the whole plot, in its own units.
const WIDTH: usize = 900;
/// Room on the left for what a row is.
const LEFT: usize = 64;
/// Height of a row.
const ROW: usize = 22;
/// So many sources have a colour of their own.
const COLOURS: usize = 4;

/// When packets were sent in a step, in order: what else happened then is not plotted.
struct Axis {
    moments: Vec<(String, bool)>,
    keys: Vec<Moment>,
}

impl Axis {
    fn of(step: &StepRecord, account: &Account) -> Self {
        let mut keys = vec![Moment::Before, Moment::Shaped];
        for done in &step.hosts {
            let Ok(host) = crate::name::HostName::new(&done.host) else { continue };
            keys.extend(done.ops.iter().map(|op| Moment::After {
                host: host.clone(),
                namespace: op.namespace.clone(),
                op: op.command.clone(),
            }));
        }
        keys.extend((1..=account.settled.sent).map(Moment::Settled));
        let moments = keys.iter().map(|moment| (moment.to_string(), moment.is_of_change())).collect();
        Self { moments, keys }
    }

    /// Where moments are, each at or after the one before it: an operation that is done twice is two.
    fn places<'a>(&self, moments: impl Iterator<Item = &'a Moment>) -> Vec<usize> {
        let mut from = 0;
        let mut places = Vec::new();
        for moment in moments {
            let found = self.keys.iter().enumerate().skip(from).find(|(_, key)| *key == moment);
            if let Some((at, _)) = found {
                places.push(at);
                from = at + 1;
            }
        }
        places
    }

    fn left(&self, at: usize) -> usize {
        LEFT + at * (WIDTH - LEFT) / self.keys.len().max(1)
    }

    /// From the first to before the last: left edge and width, never too narrow to be seen.
    fn span(&self, from: usize, to: usize) -> (usize, usize) {
        let left = self.left(from);
        (left, self.left(to).saturating_sub(left).max(2))
    }
}

/// All flows that ran through a step.
pub(super) fn flows(step: &StepRecord) -> Markup {
    html! {
        @for account in &step.flows { (plot(step, account)) }
        @if !step.flows.is_empty() {
            p.key { "from left to right: before the change, after each operation, after settling; "
                span.lost { "lost" } " " span.gap { "longest gap" } " " span.bare { "left bare" } }
        }
    }
}

fn plot(step: &StepRecord, account: &Account) -> Markup {
    let axis = Axis::of(step, account);
    let title = account.name.clone().unwrap_or_else(|| flow_title(step, account));
    let label = format!("{title}: {}", account.figures());
    let height = 4 * ROW + 4;
    let view = format!("0 0 {WIDTH} {height}");
    html! {
        figure.ledger {
            figcaption { strong { (title) } " " (account.figures()) }
            svg viewBox=(view) role="img" aria-label=(label) {
                @for (at, (moment, changing)) in axis.moments.iter().enumerate() {
                    @let (x, width) = axis.span(at, at + 1);
                    rect.moment.changing[*changing] x=(x) y="0" width=(width) height=(height) { title { (moment) } }
                }
                (label_of(0, "loss"))
                (marks(&axis, "lost", 0, &account.lost))
                (marks(&axis, "bare", 0, &account.bare))
                (label_of(1, "gap"))
                @if let Some(gap) = &account.gap { (gap_bar(&axis, &gap.first, &gap.last, gap.ops)) }
                (label_of(2, "source"))
                (spells(&axis, 2, &account.sources, ToString::to_string))
                (label_of(3, "via"))
                (spells(&axis, 3, &account.via, |hosts| hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")))
            }
        }
    }
}

fn label_of(row: usize, text: &str) -> Markup {
    html! { text x="0" y=(row * ROW + ROW - 7) { (text) } }
}

/// A mark for each moment.
fn marks(axis: &Axis, class: &str, row: usize, moments: &[Moment]) -> Markup {
    html! {
        @for at in axis.places(moments.iter()) {
            @let (x, width) = axis.span(at, at + 1);
            rect class=(class) x=(x) y=(row * ROW + 3) width=(width) height=(ROW - 6) {
                title { (class) ": " (axis.moments.get(at).map_or("", |(text, _)| text)) }
            }
        }
    }
}

fn gap_bar(axis: &Axis, first: &Moment, last: &Moment, ops: u32) -> Markup {
    // Of moments that look alike the first, since a gap has no packet in it that says which.
    let Some(from) = axis.places(std::iter::once(first)).first().copied() else { return html! {} };
    let to = axis.places([first, last].into_iter()).get(1).copied().unwrap_or(from);
    let (x, width) = axis.span(from, to + 1);
    html! {
        rect.gap x=(x) y=(ROW + 3) width=(width) height=(ROW - 6) {
            title { "no service during " (ops) " operations: from " (first) " up to " (last) }
        }
    }
}

/// A bar for each spell, from its first packet to that of the next.
fn spells<T, D: Display>(axis: &Axis, row: usize, all: &[Spell<T>], text: impl Fn(&T) -> D) -> Markup {
    let begins = axis.places(all.iter().map(|spell| &spell.since));
    let mut seen: Vec<String> = Vec::new();
    let mut bars = Vec::new();
    let ends = begins.iter().skip(1).copied().chain([axis.keys.len()]);
    for ((spell, begin), end) in all.iter().zip(&begins).zip(ends) {
        let what = text(&spell.what).to_string();
        if !seen.contains(&what) {
            seen.push(what.clone());
        }
        let colour = seen.iter().position(|other| *other == what).unwrap_or(0) % COLOURS;
        bars.push((axis.span(*begin, end), what, colour, spell));
    }
    let told: BTreeSet<&str> = seen.iter().map(String::as_str).filter(|what| !what.is_empty()).collect();
    html! {
        @for ((x, width), what, colour, spell) in &bars {
            rect class={ "spell s" (colour) } x=(x) y=(row * ROW + 2) width=(width) height=(ROW - 4) {
                title { (what) ": " (spell.packets) " packets, since " (spell.since) }
            }
            @if told.contains(what.as_str()) && *width > what.len() * 7 {
                text.on x=(x + 4) y=(row * ROW + ROW - 7) { (what) }
            }
        }
    }
}
