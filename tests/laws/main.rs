//! The agent's two functions, `namespace::desired` and `plan::plan`, held to their laws without a kernel: what stands in
//! namespaces for given configurations, and what a plan does to a model of the kernel at every point of it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    clippy::needless_pass_by_value,
    clippy::format_collect,
    clippy::struct_field_names,
    reason = "generators and models of a test: what they are given they made themselves"
)]

mod builder;
mod flows;
mod kernel;
mod laws;
mod sabotage;
mod states;
