//! `at 200/s` and `for 300ms`: a flow's twin that a clock paces.

use super::note::{Notes, Span};
use super::values;
use super::words::{Word, Words};
use crate::ledger::{AFTER, Pace};

/// The highest rate.
const FASTEST: u32 = 10_000;

/// Reads what follows `at` or `for`. What is wrong is noted.
pub(super) fn read(option: &Word, words: &mut Words, pace: &mut Option<(Pace, Span)>, notes: &mut Notes) -> bool {
    let example = if option.text == "at" { "at 200/s" } else { "for 300ms" };
    let value = words.take();
    let Some(value) = value else {
        notes.error(option.span.clone(), format!("`{}` needs a value", option.text)).help(format!("write `{example}`"));
        return false;
    };
    let number = if option.text == "at" { rate(&value.text) } else { values::milliseconds(&value.text) };
    let Some(number) = number else {
        let limit = if option.text == "at" { "a rate is `1/s` to `10000/s`" } else { "a time is `1ms` to `60s`" };
        notes.error(value.span, format!("`{}` does not go with `{}`", value.text, option.text)).help(limit);
        return false;
    };
    match (option.text.as_str(), pace.as_mut()) {
        ("at", None) => *pace = Some((Pace { rate: number, after: AFTER }, option.span.clone())),
        ("at", Some(_)) => {
            notes.error(option.span.clone(), "a flow has one rate").help("remove one of the two");
            return false;
        }
        (_, Some((pace, _))) => pace.after = number,
        (_, None) => {
            notes
                .error(option.span.clone(), "`for` says how long a clock paces, and there is no rate before it")
                .help("write `at 200/s for 300ms`");
            return false;
        }
    }
    true
}

/// Packets a second.
fn rate(text: &str) -> Option<u32> {
    values::integer(text.strip_suffix("/s")?, 1, FASTEST).ok()
}
