//! A replay for people: each step with the lines that went and came.

use similar::{ChangeTag, TextDiff};

use super::drive::Replayed;

/// A step: its title, what it took, and what changed since the one before.
pub fn step_text(number: usize, step: &Replayed, before: Option<&Replayed>) -> String {
    let plural = if step.operations == 1 { "" } else { "s" };
    let mut text = format!(
        "step {number}: {}  ({} operation{plural}, {:.1} ms)\n",
        step.title,
        step.operations,
        step.wall_s * 1e3
    );
    for note in &step.notes {
        text.extend([format!("  note: {note}\n")]);
    }
    for (name, lines) in &step.namespaces {
        match before.and_then(|before| before.namespaces.get(name)) {
            None => {
                text.extend([format!("  + {name}\n")]);
                text.extend(lines.iter().map(|line| format!("      {line}\n")));
            }
            Some(old) => text.push_str(&changes(name.as_str(), old, lines)),
        }
    }
    for name in before.iter().flat_map(|before| before.namespaces.keys()) {
        if !step.namespaces.contains_key(name) {
            text.extend([format!("  - {name}\n")]);
        }
    }
    text.push_str(&failures(step));
    text
}

fn changes(name: &str, old: &[String], new: &[String]) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) =
        (old.iter().map(String::as_str).collect(), new.iter().map(String::as_str).collect());
    let mut text = String::new();
    for change in TextDiff::from_slices(&old, &new).iter_all_changes() {
        match change.tag() {
            ChangeTag::Equal => {}
            ChangeTag::Delete => text.extend([format!("    - {}\n", change.value())]),
            ChangeTag::Insert => text.extend([format!("    + {}\n", change.value())]),
        }
    }
    if text.is_empty() { text } else { format!("  {name}\n{text}") }
}

/// What was not as it should be.
pub fn failures(step: &Replayed) -> String {
    let mut text = String::new();
    text.extend(step.failures.iter().map(|failure| format!("  FAILED: {failure}\n")));
    text
}
