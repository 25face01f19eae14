//! A comparison for a terminal.

use std::collections::BTreeSet;

use super::{Comparison, FlowChange, Group, PlaceChange, ScenarioChange, Side, Sided};
use crate::deviation::Deviation;
use crate::record::Outcome;

/// Appends a formatted line to a `String`.
macro_rules! line {
    ($text:expr, $($argument:tt)*) => {{ $text.push_str(&format!($($argument)*)); $text.push('\n'); }};
}

/// Behaviour first, then the rules that went with it; what else stands differently is counted, or listed if `all` is asked for.
pub fn text(comparison: &Comparison, all: bool) -> String {
    let mut text = headline(comparison);
    text.push('\n');
    for (what, names) in [("only in base", &comparison.only_base), ("only in head", &comparison.only_head)] {
        if !names.is_empty() {
            line!(text, "{what}: {}", names.join(", "));
        }
    }
    if let Some(off) = &comparison.deviations_off {
        line!(text, "{}", deviations(off));
    }
    let (different, alike): (Vec<_>, Vec<_>) = comparison.changed.iter().partition(|one| one.behaves_differently());
    for change in different {
        text.push('\n');
        scenario(&mut text, change, all);
    }
    if all {
        for change in alike {
            text.push('\n');
            scenario(&mut text, change, all);
        }
    } else if !alike.is_empty() {
        let names: Vec<&str> = alike.iter().map(|one| one.scenario.as_str()).collect();
        line!(text, "\nbehave as before, though something else differs (--all shows it): {}", names.join(", "));
    }
    text
}

/// `behaviour changed: 3 flows, 1 leak gained, in 1 of 36 scenarios`
pub(super) fn headline(comparison: &Comparison) -> String {
    let of = counted(comparison.compared, "scenario");
    if !comparison.behaviour_changed {
        return format!("behaviour as before in {of}");
    }
    let total = |count: &dyn Fn(&ScenarioChange) -> usize| comparison.changed.iter().map(count).sum::<usize>();
    let flows = counted(total(&ScenarioChange::flows), "flow");
    let mut words = vec![format!("behaviour changed: {flows}")];
    for (side, word) in [(Side::Head, "gained"), (Side::Base, "lost")] {
        let leaks = total(&|one| one.leaks(side));
        if leaks > 0 {
            words.push(format!("{} {word}", counted(leaks, "leak")));
        }
    }
    let scenarios = total(&|one| usize::from(one.behaves_differently()));
    format!("{}, in {scenarios} of {of}", words.join(", "))
}

fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// `failed, was passed`, and what ran under other conditions.
pub(super) fn conditions(change: &ScenarioChange) -> Vec<String> {
    let word = |outcome: Outcome| match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "FAILED",
    };
    let mut lines = Vec::new();
    if let Some((base, head)) = change.outcome {
        lines.push(format!("{}  =>  {}", word(base), word(head)));
    }
    lines.extend(change.deviations_off.as_ref().map(deviations));
    lines
}

/// `deviations that are off: none  =>  drop-invalid`
pub(super) fn deviations((base, head): &(Vec<String>, Vec<String>)) -> String {
    let off = |names: &[String]| match names.len() {
        0 => "none".to_owned(),
        number if number == Deviation::ALL.len() => "all".to_owned(),
        _ => names.join(" "),
    };
    format!("deviations that are off: {}  =>  {}", off(base), off(head))
}

/// `vm2 -> web tcp/80: 203.0.113.10 via net1  =>  10.0.1.12 bare via cmp2 (LEAK)`
pub(super) fn flow(change: &FlowChange) -> String {
    let protocols =
        if change.protocols.is_empty() { String::new() } else { format!(" {}", change.protocols.join(" ")) };
    let mark = match change.leak {
        Some(Side::Head) => " (LEAK)",
        Some(Side::Base) => " (was a LEAK)",
        None => "",
    };
    format!("{} -> {}{protocols}: {}  =>  {}{mark}", change.from, change.to.join(", "), change.base, change.head)
}

/// `LEAK gained: tenant source from vm1 via net1 on public`
pub(super) fn leak(leak: &Sided) -> String {
    let word = match leak.side {
        Side::Head => "LEAK gained",
        Side::Base => "leak lost",
    };
    format!("{word}: {}", leak.text)
}

/// `now fails: ...`, `no longer refused: ...`
pub(super) fn answer(answer: &Sided) -> String {
    let word = match answer.side {
        Side::Head => "now",
        Side::Base => "no longer",
    };
    format!("{word} {}", answer.text)
}

/// `only in head: vm3 -> web`
pub(super) fn unmatched(one: &Sided) -> String {
    format!("only in {}: {}", side(one.side), one.text)
}

/// `net1/snat-r1`, and what more than lines is to be said of it.
pub(super) fn place(change: &PlaceChange) -> String {
    match change.whole {
        Some(which) => format!("{}  only in {}, {}", change.place, side(which), counted(change.lines.len(), "line")),
        None => change.place.clone(),
    }
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Base => "base",
        Side::Head => "head",
    }
}

fn scenario(text: &mut String, change: &ScenarioChange, all: bool) {
    line!(text, "{}: {}", change.scenario, change.summary);
    for condition in conditions(change) {
        line!(text, "  {condition}");
    }
    for one in &change.leaks {
        line!(text, "  {}  [{}]", leak(one), one.steps.join(", "));
    }
    for one in &change.answers {
        line!(text, "  {}  [{}]", answer(one), one.steps.join(", "));
    }
    let mut shown = BTreeSet::new();
    for one in &change.groups {
        group(text, one, &mut shown);
    }
    for one in &change.unmatched {
        line!(text, "  {}  [{}]", unmatched(one), one.steps.join(", "));
    }
    rest(text, change, all);
}

fn group<'a>(text: &mut String, group: &'a Group, shown: &mut BTreeSet<&'a PlaceChange>) {
    line!(text, "  {}", group.steps.join(", "));
    for change in &group.flows {
        line!(text, "    {}", flow(change));
    }
    for change in &group.way {
        let steps =
            if change.steps == group.steps { String::new() } else { format!("  [{}]", change.steps.join(", ")) };
        if shown.insert(change) {
            line!(text, "      {}{steps}", place(change));
            lines(text, change);
        } else {
            line!(text, "      {}  as above", change.place);
        }
    }
}

/// The lines of a namespace that is on both sides; one that is on one side only would be listed to its last line.
fn lines(text: &mut String, change: &PlaceChange) {
    if change.whole.is_none() {
        for line in &change.lines {
            line!(text, "        {line}");
        }
    }
}

fn rest(text: &mut String, change: &ScenarioChange, all: bool) {
    if change.rest.is_empty() {
        return;
    }
    if !all {
        let lines: usize = change.rest.iter().map(|one| one.lines.len()).sum();
        let places: BTreeSet<&str> = change.rest.iter().map(|one| one.place.as_str()).collect();
        let differ = if lines == 1 { "differs" } else { "differ" };
        let places = counted(places.len(), "namespace");
        line!(text, "  elsewhere: {} {differ} in {places} (--all shows them)", counted(lines, "line"));
        return;
    }
    line!(text, "  elsewhere");
    for one in &change.rest {
        line!(text, "      {}  [{}]", place(one), one.steps.join(", "));
        lines(text, one);
    }
}
