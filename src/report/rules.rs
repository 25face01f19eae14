//! `<scenario>.rules.snap`: a namespace whole where it first appears, later the lines that went and came.

use std::collections::BTreeMap;

use similar::{ChangeTag, TextDiff};

use super::reach::step_title;
use crate::namespace::Kind;
use crate::record::{Line, Record};

/// The whole file's text.
pub fn rules(record: &Record) -> String {
    let mut text = format!("{}\n", record.summary);
    let mut before: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for step in record.steps.iter().filter(|step| step.is_told()) {
        let now: BTreeMap<String, Vec<String>> =
            step.state.iter().map(|(place, lines)| (place.clone(), shown(lines))).collect();
        let mut body = String::new();
        for (place, lines) in &now {
            match before.get(place) {
                None => whole(&mut body, place, lines),
                Some(old) => changed(&mut body, place, old, lines),
            }
        }
        for place in before.keys().filter(|place| !now.contains_key(*place)) {
            line!(body, "{place}  gone");
        }
        text.push('\n');
        text.push_str(&step_title(step));
        text.push('\n');
        for change in &step.change {
            line!(text, "  * {change}");
        }
        if body.is_empty() {
            text.push_str("nothing changed\n");
        }
        text.push_str(&body);
        for (host, lines) in &step.stale {
            line!(text, "{host} is stale (- stands there, + is intended)");
            for line in lines {
                line!(text, "  {line}");
            }
        }
        before = now;
    }
    text
}

fn whole(text: &mut String, place: &str, lines: &[String]) {
    line!(text, "{place}");
    for line in lines {
        line!(text, "    {line}");
    }
}

fn changed(text: &mut String, place: &str, old: &[String], new: &[String]) {
    let old: Vec<&str> = old.iter().map(String::as_str).collect();
    let new: Vec<&str> = new.iter().map(String::as_str).collect();
    let diff = TextDiff::from_slices(&old, &new);
    let mut first = true;
    for change in diff.iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Equal => continue,
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
        };
        if first {
            line!(text, "{place}");
            first = false;
        }
        line!(text, "  {sign} {}", change.value());
    }
}

/// The lines of a namespace that say something: what every such namespace has is one line at the end, unless it differs.
fn shown(lines: &[Line]) -> Vec<String> {
    let mut shown: Vec<String> = lines
        .iter()
        .filter(|line| !line.constant)
        .map(|line| format!("{} {}", kind_word(line.kind), line.text))
        .collect();
    if lines.iter().any(|line| line.constant) {
        shown.push("and what every such namespace has".to_owned());
    }
    shown
}

/// The word that a state sentence uses for a kind.
pub fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Namespace => "namespace",
        Kind::Device => "device",
        Kind::Address => "address",
        Kind::Rule => "rule",
        Kind::Rule6 => "rule6",
        Kind::Route => "route",
        Kind::Route6 => "route6",
        Kind::Neighbour => "neighbour",
        Kind::Sysctl => "sysctl",
        Kind::Raw => "raw",
        Kind::Mangle => "mangle",
        Kind::Nat => "nat",
        Kind::Filter => "filter",
        Kind::Raw6 => "raw6",
        Kind::Mangle6 => "mangle6",
        Kind::Nat6 => "nat6",
        Kind::Filter6 => "filter6",
        Kind::Conntrack => "conntrack",
    }
}
