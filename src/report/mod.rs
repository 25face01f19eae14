//! A [`Record`](crate::record::Record) as text: the transcript of a run, the two snapshots a scenario has, a drawing of its
//! lab, and the page of many of them.
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

pub mod drawing;
mod html;
mod orders;
mod proof;
mod reach;
mod rules;
mod sheet;
mod timeline;
mod transcript;

pub use html::html;
pub use orders::{Reordered, reordered};
pub use proof::{Proof, proof, proof_text};
pub use reach::{ends, folded, outcome_text, reach, step_title, title_of};
pub use rules::{kind_word, rules};
pub use sheet::{Entry, Trouble, junit, markdown, wrong};
pub use transcript::{Detail, failures, plan, step, summary_line, wrapped};
