//! An error with its causes, on one line.
//!
//! In: an error. Out: its text and that of each cause. Never: a line break of its own.

/// The error's text, then each cause's.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
