//! What stands differently in the namespaces of two runs, step by step.

use std::collections::{BTreeMap, BTreeSet};

use similar::{ChangeTag, TextDiff};

use super::fold::Fold;
use super::{PlaceChange, Side};
use crate::record::{Line, StepRecord};
use crate::report::kind_word;

/// A difference in a namespace, whatever the step.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Difference {
    place: String,
    whole: Option<Side>,
    lines: Vec<String>,
}

/// The differences of all steps, each told once.
#[derive(Debug)]
pub(super) struct Places {
    fold: Fold<Difference>,
}

impl Places {
    pub(super) fn new() -> Self {
        Self { fold: Fold::new() }
    }

    /// Adds the differences of a step; gives the namespaces that have one.
    pub(super) fn add(&mut self, base: &StepRecord, head: &StepRecord, step: &str) -> BTreeSet<String> {
        let found = differences(&base.state, &head.state);
        let places = found.iter().map(|one| one.place.clone()).collect();
        for one in found {
            self.fold.add(one, step);
        }
        places
    }

    /// All of them in order of their first step.
    pub(super) fn into_changes(self) -> Vec<PlaceChange> {
        let parts = self.fold.into_parts();
        let change = |(one, steps): (Difference, Vec<String>)| {
            let Difference { place, whole, lines } = one;
            PlaceChange { place, steps, whole, lines }
        };
        parts.into_iter().map(change).collect()
    }
}

fn differences(base: &BTreeMap<String, Vec<Line>>, head: &BTreeMap<String, Vec<Line>>) -> Vec<Difference> {
    let names: BTreeSet<&String> = base.keys().chain(head.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let (old, new) = (base.get(name), head.get(name));
        if old == new {
            continue;
        }
        let whole = match (old, new) {
            (Some(_), None) => Some(Side::Base),
            (None, Some(_)) => Some(Side::Head),
            (Some(_), Some(_)) | (None, None) => None,
        };
        let lines = changed(&shown(old), &shown(new));
        if whole.is_some() || !lines.is_empty() {
            found.push(Difference { place: name.clone(), whole, lines });
        }
    }
    found
}

fn shown(lines: Option<&Vec<Line>>) -> Vec<String> {
    lines.into_iter().flatten().map(|line| format!("{} {}", kind_word(line.kind), line.text)).collect()
}

fn changed(old: &[String], new: &[String]) -> Vec<String> {
    let old: Vec<&str> = old.iter().map(String::as_str).collect();
    let new: Vec<&str> = new.iter().map(String::as_str).collect();
    let mut lines = Vec::new();
    for change in TextDiff::from_slices(&old, &new).iter_all_changes() {
        match change.tag() {
            ChangeTag::Equal => {}
            ChangeTag::Delete => lines.push(format!("- {}", change.value())),
            ChangeTag::Insert => lines.push(format!("+ {}", change.value())),
        }
    }
    lines
}
