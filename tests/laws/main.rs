//! The agent's two functions, `namespace::desired` and `plan::plan`, held to their laws without a kernel: what stands in
//! namespaces for given configurations, and what a plan does to a model of the kernel at every point of it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod allocations;
mod builder;
mod flows;
mod kernel;
mod laws;
mod orders;
mod sabotage;
mod states;
