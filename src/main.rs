//! The `dvrlab` program.

fn main() {}
