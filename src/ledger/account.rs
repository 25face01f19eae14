//! From packets to figures.

use std::collections::BTreeSet;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Course, Moment, Paced, Packet};
use crate::flow::{Flow, Place, Verdict, via};
use crate::name::HostName;

/// What a flow went through in one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// The flow.
    pub flow: Flow,
    /// Its name, if it is an open one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Packets from the sender.
    pub sent: u32,
    /// When those were sent that were never answered, or that a kernel held for want of a neighbour: a busy machine loses those,
    /// another one does not.
    pub lost: Vec<Moment>,
    /// Answered, but only after the next one was sent, though no kernel held them.
    pub late: u32,
    /// The longest time without service while operations were done.
    pub gap: Option<Gap>,
    /// Sources that the far end saw, in order.
    pub sources: Vec<Spell<IpAddr>>,
    /// Hosts passed, as in `via`, in order.
    pub via: Vec<Spell<Vec<HostName>>>,
    /// Who it came to, in order.
    pub reached: Vec<Spell<Place>>,
    /// How many different pairs of addresses and ports the far end saw, one after the other.
    pub pairs: u32,
    /// When packets of it left with a tenant source.
    pub bare: Vec<Moment>,
    /// After settling.
    pub settled: Settled,
    /// The first refusal, when and by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<(Verdict, IpAddr, Moment)>,
    /// What became of it in the end.
    pub fate: Fate,
    /// What became of its twin that a clock paced, if there was one: for reports only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paced: Option<Paced>,
}

/// Packets in a row for which one thing was the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Spell<T> {
    /// The thing.
    pub what: T,
    /// How many packets.
    pub packets: u32,
    /// When the first of them was sent.
    pub since: Moment,
}

/// Operations in a row after which a packet was not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// How many.
    pub ops: u32,
    /// The first.
    pub first: Moment,
    /// The last.
    pub last: Moment,
}

/// What came through after settling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Settled {
    /// Packets sent.
    pub sent: u32,
    /// That arrived at the far end.
    pub arrived: u32,
    /// That were answered.
    pub answered: u32,
    /// That came back without being an answer.
    pub returned: u32,
}

/// How a flow ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// One pair of addresses and ports all the time, and it works.
    Kept,
    /// It works, but as another one to the far end.
    Changed,
    /// Nothing of it arrives any more, in either direction; somebody said so.
    Refused,
    /// Nothing of it arrives any more, in either direction, and nobody said so.
    Dead,
    /// Something arrives, but nothing is answered.
    Crippled,
    /// Nothing of it ever arrived.
    Never,
}

impl Fate {
    /// Nothing of it arrives any more.
    pub fn is_cut(self) -> bool {
        match self {
            Self::Refused | Self::Dead | Self::Never => true,
            Self::Kept | Self::Changed | Self::Crippled => false,
        }
    }
}

/// A pair of addresses and ports at the far end: source, source port, destination.
type Pair = (IpAddr, Option<u16>, Option<IpAddr>);

/// What a flow has been through before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// As what it last came to the far end, if it ever did.
    pair: Option<Pair>,
    /// Somebody refused it.
    refused: bool,
}

impl Past {
    /// More of it is past.
    pub fn extend(&mut self, packets: &[Packet]) {
        self.pair = packets.iter().rev().find_map(pair).or(self.pair);
        self.refused |= packets.iter().any(|packet| packet.refused.is_some());
    }
}

fn pair(packet: &Packet) -> Option<Pair> {
    packet.seen.as_ref().map(|seen| (seen.source, seen.source_port, packet.reached_at))
}

/// The account of a flow that has been through `past` before. It may have begun after some of the `moments`: its packets
/// belong to the last ones. `tenants` are addresses that must not leave.
pub fn account(
    course: &Course,
    past: &Past,
    packets: &[Packet],
    moments: &[Moment],
    tenants: &BTreeSet<IpAddr>,
) -> Account {
    let late = moments.len().saturating_sub(packets.len());
    let early = packets.len().saturating_sub(moments.len());
    let all = || packets.iter().skip(early).zip(moments.iter().skip(late));
    let arrived = || all().filter_map(|(packet, moment)| Some((packet, packet.seen.as_ref()?, moment)));
    let sources = spells(arrived().map(|(_, seen, moment)| (seen.source, moment)));
    let mut pairs: Vec<Pair> = past.pair.into_iter().chain(all().filter_map(|(packet, _)| pair(packet))).collect();
    pairs.dedup();
    let settled = settled(all());
    let refused = all().find_map(|(packet, moment)| {
        packet.refused.as_ref().map(|(verdict, by)| (verdict.clone(), *by, moment.clone()))
    });
    let pairs = u32::try_from(pairs.len()).unwrap_or(u32::MAX);
    Account {
        flow: course.flow.clone(),
        name: None,
        sent: count(all().filter(|(packet, _)| !packet.rested)),
        lost: all()
            .filter(|(packet, _)| !packet.is_served() && !packet.rested)
            .map(|(_, moment)| moment.clone())
            .collect(),
        late: count(all().filter(|(packet, _)| packet.late && packet.is_served())),
        gap: gap(all()),
        fate: fate(pairs, settled, past.refused || refused.is_some()),
        sources,
        via: spells(
            arrived()
                .filter(|(packet, ..)| !packet.path.is_empty())
                .map(|(packet, _, moment)| (via(&packet.path).into_iter().cloned().collect(), moment)),
        ),
        reached: spells(arrived().map(|(_, seen, moment)| (seen.responder.clone(), moment))),
        pairs,
        bare: all().filter(|(packet, _)| packet.is_bare(tenants)).map(|(_, moment)| moment.clone()).collect(),
        settled,
        refused,
        paced: None,
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

fn spells<'a, T: PartialEq>(items: impl Iterator<Item = (T, &'a Moment)>) -> Vec<Spell<T>> {
    let mut spells: Vec<Spell<T>> = Vec::new();
    for (what, moment) in items {
        match spells.last_mut().filter(|last| last.what == what) {
            Some(last) => last.packets += 1,
            None => spells.push(Spell { what, packets: 1, since: moment.clone() }),
        }
    }
    spells
}

fn settled<'a>(all: impl Iterator<Item = (&'a Packet, &'a Moment)>) -> Settled {
    let mut settled = Settled::default();
    for (packet, _) in all.filter(|(_, moment)| matches!(moment, Moment::Settled(_))) {
        settled.sent += 1;
        settled.arrived += u32::from(packet.seen.is_some());
        settled.answered += u32::from(packet.answered);
        settled.returned += u32::from(packet.returned);
    }
    settled
}

fn gap<'a>(all: impl Iterator<Item = (&'a Packet, &'a Moment)>) -> Option<Gap> {
    let mut gaps: Vec<Gap> = Vec::new();
    let mut open = false;
    for (packet, moment) in all {
        let missing = !packet.is_served() && moment.is_of_change();
        match gaps.last_mut().filter(|_| open && missing) {
            Some(gap) => {
                gap.ops += 1;
                gap.last = moment.clone();
            }
            None if missing => gaps.push(Gap { ops: 1, first: moment.clone(), last: moment.clone() }),
            None => {}
        }
        open = missing;
    }
    // Of gaps of one length the first.
    gaps.into_iter().rev().max_by_key(|gap| gap.ops)
}

fn fate(pairs: u32, settled: Settled, refused: bool) -> Fate {
    let nothing = settled.arrived == 0 && settled.answered == 0 && settled.returned == 0;
    match (nothing, pairs) {
        (true, 0) => Fate::Never,
        (true, _) if refused => Fate::Refused,
        (true, _) => Fate::Dead,
        (false, _) if settled.answered == 0 => Fate::Crippled,
        (false, 0 | 1) => Fate::Kept,
        (false, _) => Fate::Changed,
    }
}
