//! The drawing of a lab: hosts as columns, provider segments above them, tenant networks across them.
//!
//! In: the scenes of one step or several. Out: SVG, Mermaid, DOT. Never: rules or routes; a place for anything by chance: the
//! same scenes give the same drawing, and what several steps have stands in the same place in all of them.

mod layout;
mod model;
mod svg;
mod words;

pub(crate) use svg::markup;
pub use svg::standalone;
pub use words::{dot, mermaid};
