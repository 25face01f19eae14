//! Convergence on the kernel: from any state of any recording, or one that somebody has tampered with, one reconcile reaches
//! what a fresh build gives, a second does nothing, and what both states have alike is not touched.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and needs few of many messages"
)]

mod deeds;
#[path = "../inside/mod.rs"]
mod inside;
mod monitor;
mod random;
#[expect(dead_code, reason = "what the real agent left is compared with elsewhere")]
#[path = "../recorded/mod.rs"]
mod recorded;
mod stage;

use dvrlab::deviation::Deviations;

use inside::inside;
use random::Random;
use stage::{Stage, Walk};

/// Chosen once; `DVRLAB_SEED` chooses another.
const SEED: u64 = 20_261_123;

fn seed() -> u64 {
    std::env::var("DVRLAB_SEED").map_or(SEED, |text| text.parse().expect("DVRLAB_SEED is a number"))
}

/// Walks from configuration to configuration, `tampered` with in between or not.
#[expect(clippy::print_stdout, reason = "the seed has to be known to walk the same way again")]
fn walk(host: &str, transitions: usize, deviations: Deviations, tampered: bool) {
    inside(|| {
        let seed = seed();
        println!("DVRLAB_SEED={seed} {host}, {transitions} transitions, deviations {deviations:?}");
        let mut random = Random::new(seed);
        let stage = Stage::of(host, deviations);
        let mut walk = Walk::new(&stage);
        for number in 1..=transitions {
            let to = random.below(stage.configs.len());
            let deeds = if tampered { deeds::commit(&mut walk, &mut random) } else { Vec::new() };
            walk.go(number, to, &deeds);
        }
    });
}

#[test]
fn a_network_node_converges_as_the_real_agent_would_have_it() {
    walk("net-node-1", 80, Deviations::NONE, false);
}

#[test]
fn a_network_node_converges() {
    walk("net-node-1", 60, Deviations::all(), false);
}

#[test]
fn a_compute_host_converges() {
    walk("compute-1", 60, Deviations::all(), false);
}

#[test]
fn a_network_node_that_was_tampered_with_converges() {
    walk("net-node-1", 50, Deviations::NONE, true);
}

#[test]
fn a_compute_host_that_was_tampered_with_converges() {
    walk("compute-1", 50, Deviations::all(), true);
}
