//! What a clock tells of a flow: a twin of it that is sent at a rate.
//!
//! In: when packets of the twin were sent, and which were answered. Out: figures, for reports only: how long a change takes is
//! a property of the machine and of what else it does. Never: a judgement.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Packet;

/// How long a twin runs on after settling unless told otherwise, in milliseconds.
pub const AFTER: u32 = 200;
/// How fine a clock can pace, in microseconds: what wakes a sleeping thread counts in milliseconds.
const TICK: u64 = 1_000;
const MICROSECONDS: u64 = 1_000_000;

/// How a flow's twin is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pace {
    /// Packets a second, at least one.
    pub rate: u32,
    /// How long it runs on after settling, in milliseconds.
    pub after: u32,
}

/// What became of a twin. Times are in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Paced {
    /// Packets a second that were asked for.
    pub rate: u32,
    /// Packets a second that were sent.
    pub reached: u32,
    /// Packets sent.
    pub sent: u32,
    /// That were not answered.
    pub lost: u32,
    /// That were answered, but only after the next one was sent.
    pub late: u32,
    /// The longest time between two answered packets with one between them that was not; zero if there was none.
    pub gap: u64,
    /// No time is told finer than this.
    pub resolution: u64,
    /// The longest time by which a packet was sent later than the clock said.
    pub behind: u64,
    /// Frames that the harness had no room for: what was lost may have been answered.
    pub missed: u32,
}

impl Pace {
    /// Time between two packets, in microseconds.
    pub fn period(self) -> u64 {
        (MICROSECONDS / u64::from(self.rate.max(1))).max(1)
    }

    /// The figures of packets that were sent at these times, the last one `behind` at most.
    pub fn figures(self, sent: &[u64], packets: &[Packet], behind: u64, missed: u32) -> Paced {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let span = sent.last().zip(sent.first()).map_or(0, |(last, first)| last - first);
        let periods = u64::try_from(sent.len().saturating_sub(1)).unwrap_or_default();
        let reached = (periods * MICROSECONDS + span / 2).checked_div(span).unwrap_or_else(|| u64::from(self.rate));
        Paced {
            rate: self.rate,
            reached: u32::try_from(reached).unwrap_or(u32::MAX),
            sent: count(sent.len()),
            lost: count(packets.iter().filter(|packet| !packet.answered).count()),
            late: count(packets.iter().filter(|packet| packet.answered && packet.late).count()),
            gap: gap(sent, packets),
            resolution: self.period().max(TICK),
            behind,
            missed,
        }
    }
}

fn gap(sent: &[u64], packets: &[Packet]) -> u64 {
    let mut longest = 0;
    // When the last packet before a gap was sent, and whether one was lost since.
    let (mut since, mut open) = (sent.first().copied(), false);
    for (at, packet) in sent.iter().zip(packets) {
        if open {
            longest = longest.max(at - since.unwrap_or(*at));
        }
        if packet.answered {
            since = Some(*at);
        }
        open = !packet.answered;
    }
    longest
}

impl Paced {
    /// The machine did not let the harness send in time, so that times say more of the machine than of the router.
    pub fn is_starved(&self) -> bool {
        self.behind > 2 * self.resolution
    }
}

/// `61 sent at 200/s, 0 lost, 0 late, gap 0.0 ms (within 5.0 ms)`.
impl fmt::Display for Paced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |time: u64| format!("{}.{} ms", time / 1_000, time % 1_000 / 100);
        let Self { reached, sent, lost, late, gap, resolution, behind, missed, .. } = self;
        write!(f, "{sent} sent at {reached}/s, {lost} lost, {late} late, gap {} ", milliseconds(*gap))?;
        write!(f, "(within {})", milliseconds(*resolution))?;
        if self.is_starved() {
            write!(f, ", the machine was starved: up to {} behind", milliseconds(*behind))?;
        }
        if *missed > 0 {
            write!(f, ", {missed} frames not seen")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(answered: &[bool], sent: &[u64], behind: u64) -> Paced {
        let packets: Vec<Packet> =
            answered.iter().map(|answered| Packet { answered: *answered, ..Packet::default() }).collect();
        Pace { rate: 100, after: AFTER }.figures(sent, &packets, behind, 0)
    }

    #[test]
    fn a_gap_is_as_long_as_nobody_was_seen_to_answer() {
        let sent = [0, 10_000, 20_000, 30_000, 40_000];
        let good = told(&[true; 5], &sent, 3_000);
        assert_eq!(good.to_string(), "5 sent at 100/s, 0 lost, 0 late, gap 0.0 ms (within 10.0 ms)");
        let some = told(&[true, false, true, false, false], &sent, 25_000);
        assert_eq!((some.lost, some.gap, some.is_starved()), (3, 20_000, true));
        assert!(some.to_string().ends_with("the machine was starved: up to 25.0 ms behind"), "{some}");
        // One that never answers is missing from the first to the last packet.
        assert_eq!(told(&[false; 5], &sent, 0).gap, 40_000);
        assert_eq!(told(&[], &[], 0).gap, 0);
        // What came late was not lost.
        let late = Packet { answered: true, late: true, ..Packet::default() };
        let figures = Pace { rate: 100, after: AFTER }.figures(&[0], &[late], 0, 0);
        assert_eq!((figures.lost, figures.late), (0, 1));
    }
}
