//! Drives one host's agent by router dicts as a server sends them, and tells what stands in the kernel after each step.
//!
//! In: a [`Recording`] (read from JSON, mistakes told by their path) and a [`Bench`](crate::dataplane::Bench). Out: a
//! [`Replayed`] step after step, in the notation of the recordings. Never: a look at what the real agent left; comparing is
//! somebody else's.

mod check;
mod conf;
mod drive;
mod forwarding;
mod input;
mod text;
mod world;

pub use drive::{ReplayError, Replayed, replay};
pub use input::{Mistake, Recording, Step, StepKind, Unsaid, parse};
pub use text::{failures, step_text};
pub use world::World;
