//! A comparison as a comment on a pull request: Markdown as GitHub and GitLab have it, details folded.

use super::text::{answer, conditions, deviations, flow, headline, leak, place, unmatched};
use super::{Comparison, Group, PlaceChange, ScenarioChange, Side};

/// Appends a formatted line to a `String`.
macro_rules! line {
    ($text:expr, $($argument:tt)*) => {{ $text.push_str(&format!($($argument)*)); $text.push('\n'); }};
}

/// How much of a comment is spent on rules: GitHub takes 65,536 characters, and behaviour comes first.
const RULES_MAX: usize = 40_000;

/// The whole comment.
pub fn markdown(comparison: &Comparison) -> String {
    let mut text = String::new();
    line!(text, "### {}", headline(comparison));
    for (what, names) in [("Only in base", &comparison.only_base), ("Only in head", &comparison.only_head)] {
        if !names.is_empty() {
            line!(text, "\n{what}: {}", names.iter().map(|name| code(name)).collect::<Vec<_>>().join(", "));
        }
    }
    if let Some(off) = &comparison.deviations_off {
        line!(text, "\n{}", escaped(&deviations(off)));
    }
    let mut left = RULES_MAX;
    let (different, alike): (Vec<_>, Vec<_>) = comparison.changed.iter().partition(|one| one.behaves_differently());
    for change in different {
        scenario(&mut text, change, &mut left);
    }
    if !alike.is_empty() {
        let mut inner = String::new();
        for change in &alike {
            line!(inner, "\n**{}**", escaped(&change.scenario));
            for one in &change.unmatched {
                line!(inner, "\n- {} ({})", escaped(&unmatched(one)), escaped(&one.steps.join(", ")));
            }
            rules(&mut inner, &change.rest, &mut left);
        }
        let count = alike.len();
        let scenarios = if count == 1 { "scenario behaves" } else { "scenarios behave" };
        folded(&mut text, &format!("{count} {scenarios} as before, though something else differs"), &inner);
    }
    text
}

fn scenario(text: &mut String, change: &ScenarioChange, left: &mut usize) {
    line!(text, "\n#### {}\n", escaped(&change.scenario));
    line!(text, "{}\n", escaped(&change.summary));
    for condition in conditions(change) {
        line!(text, "- {}", escaped(&condition));
    }
    for one in &change.leaks {
        let mark = if one.side == Side::Head { "**" } else { "" };
        line!(text, "- {mark}{}{mark} ({})", escaped(&leak(one)), escaped(&one.steps.join(", ")));
    }
    for one in &change.answers {
        line!(text, "- {} ({})", escaped(&answer(one)), escaped(&one.steps.join(", ")));
    }
    for one in &change.groups {
        group(text, one, left);
    }
    for one in &change.unmatched {
        line!(text, "- {} ({})", escaped(&unmatched(one)), escaped(&one.steps.join(", ")));
    }
    if !change.rest.is_empty() {
        let mut inner = String::new();
        rules(&mut inner, &change.rest, left);
        folded(text, "what differs where none of these flows came by", &inner);
    }
}

fn group(text: &mut String, group: &Group, left: &mut usize) {
    line!(text, "\n{}\n", escaped(&capital(&group.steps.join(", "))));
    let flows: Vec<String> = group.flows.iter().map(flow).collect();
    block(text, "", &flows);
    if !group.way.is_empty() {
        let mut inner = String::new();
        rules(&mut inner, &group.way, left);
        folded(text, "rules and routes that changed on their way", &inner);
    }
}

fn rules(text: &mut String, changes: &[PlaceChange], left: &mut usize) {
    for change in changes {
        line!(text, "\n{} ({})\n", escaped(&place(change)), escaped(&change.steps.join(", ")));
        let length: usize = change.lines.iter().map(|line| line.len() + 1).sum();
        if change.whole.is_some() || change.lines.is_empty() {
            continue;
        }
        if let Some(rest) = left.checked_sub(length) {
            *left = rest;
            block(text, "diff", &change.lines);
        } else {
            line!(text, "{} lines, left out: `dvrlab diff --all` shows them", change.lines.len());
        }
    }
}

fn folded(text: &mut String, summary: &str, inner: &str) {
    line!(text, "\n<details><summary>{}</summary>\n{inner}\n</details>", escaped(summary));
}

/// A fenced block, whose fence is longer than any in it.
fn block(text: &mut String, language: &str, lines: &[String]) {
    let longest = lines.iter().map(|line| longest_run(line)).max().unwrap_or(0);
    let fence = "`".repeat(3.max(longest + 1));
    line!(text, "{fence}{language}\n{}\n{fence}", lines.join("\n"));
}

fn longest_run(line: &str) -> usize {
    line.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

fn code(name: &str) -> String {
    format!("`{name}`")
}

/// What Markdown and HTML would take for their own is taken literally.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '~' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
