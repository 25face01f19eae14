//! A [`Record`](crate::record::Record) as text: the transcript of a run, and the two snapshots a scenario has.
//!
//! In: a record. Out: text, the same for the same record. Never: a look at the lab, the clock or the terminal.

/// Appends formatted text to a `String`.
macro_rules! put {
    ($text:expr, $($argument:tt)*) => { $text.push_str(&format!($($argument)*)) };
}
/// Appends a formatted line to a `String`.
macro_rules! line {
    ($text:expr, $($argument:tt)*) => {{ $text.push_str(&format!($($argument)*)); $text.push('\n'); }};
}

mod proof;
mod reach;
mod rules;
mod transcript;

pub use proof::{Proof, proof, proof_text};
pub use reach::{ends, folded, outcome_text, reach, step_title, title_of};
pub use rules::{kind_word, rules};
pub use transcript::{Detail, failures, step, summary_line};
