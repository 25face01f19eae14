//! Tests of the API: what it refuses, what the server adds, and what holds after any changes.

mod invariants;
mod refusals;
mod server;
