//! The ledger's clock at load: four flows, ten thousand packets a second between them.
//!
//! In: a lab that stands. Out: how many packets were sent a second, and how many of them were not answered.

use dvrlab::dataplane::Dataplane as _;
use dvrlab::flow::{Flow, Protocol};
use dvrlab::ledger::{Course, Pace};

use super::world::Standing;

/// Packets a second and flow, how many flows, how long in milliseconds.
const RATE: u32 = 2_500;
const FLOWS: usize = 4;
const LONG: u32 = 2_000;

/// Paces flows between machines on different hosts and networks, and tells the figures.
pub(crate) fn paced(standing: &Standing) {
    let all = standing.matrix();
    let across = |flow: &&Flow| flow.protocol == Protocol::Udp(9000) && flow.from.name != "vm10";
    let mut senders = std::collections::BTreeSet::new();
    let apart = all.iter().rev().filter(across).filter(|flow| senders.insert(flow.from.clone()));
    let courses: Vec<Course> = (1..)
        .zip(apart.take(FLOWS).cloned())
        .map(|(number, flow)| Course { number, flow, quiet: true, pace: Some(Pace { rate: RATE, after: LONG }) })
        .collect();
    let lab = standing.lab();
    lab.pace(&courses).expect("flows can be paced");
    let figures = lab.paced().expect("flows have been paced");
    for (course, paced) in courses.iter().zip(figures.values()) {
        println!("paced: {} -> {}: {paced}", course.flow.from, course.flow.to);
    }
    let sum = |of: fn(&dvrlab::ledger::Paced) -> u32| figures.values().map(of).sum::<u32>();
    println!("figure paced/lost {}", sum(|paced| paced.lost));
    println!("figure paced/rate {}", sum(|paced| paced.reached));
}
