//! Words of the language that this version does not have yet. An entry is removed when its word arrives.

/// Where, and which word. The places are the `context` of a record, or a part of a sentence.
const LATER: &[(&str, &str)] = &[
    // attributes
    ("instances", "behind"),
];

/// Whether `word` belongs to the language at that place, but to a later version of dvrlab.
pub(in crate::scenario) fn is_later(context: &str, word: &str) -> bool {
    LATER.contains(&(context, word))
}
