//! (being written)

/// An open network namespace.
pub struct Netns;
