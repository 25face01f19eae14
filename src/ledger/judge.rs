//! What a sentence demands of a flow, and whether its account agrees.

use std::fmt::Display;
use std::net::IpAddr;

use super::{Account, Fate, Moment, Spell};
use crate::flow::Verdict;
use crate::name::{HostName, Name};

/// How many moments a sentence lists before it only counts.
const LISTED: usize = 3;

/// The clauses about a flow; what is absent is not judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    /// `no loss`, `loss N`: as many packets may go without an answer.
    pub loss: Option<u32>,
    /// `gap N ops`.
    pub gap: Option<u32>,
    /// `kept`.
    pub kept: bool,
    /// `cut`.
    pub cut: bool,
    /// `as A then B`.
    pub sources: Vec<Sight>,
    /// `via A then B C`: each way has one host or more.
    pub via: Vec<Vec<HostName>>,
    /// `reaches A then B`.
    pub reaches: Vec<Name>,
    /// `never bare`.
    pub never_bare: bool,
}

/// A source that the far end is to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// That address.
    Address(IpAddr),
    /// The sender's own fixed address.
    Itself,
}

impl Demand {
    /// What does not hold, in words. `own` is the address that the sender uses.
    pub fn judge(&self, account: &Account, own: Option<IpAddr>) -> Vec<String> {
        let sources: Vec<IpAddr> = self
            .sources
            .iter()
            .filter_map(|sight| match sight {
                Sight::Address(address) => Some(*address),
                Sight::Itself => own,
            })
            .collect();
        let reaches: Vec<String> = self.reaches.iter().map(ToString::to_string).collect();
        let hosts = |hosts: &Vec<HostName>| match hosts.as_slice() {
            [] => "nobody".to_owned(),
            all => all.iter().map(HostName::as_str).collect::<Vec<_>>().join(" "),
        };
        let reached: Vec<Spell<String>> = account
            .reached
            .iter()
            .map(|spell| Spell {
                what: spell.what.host.as_ref().map_or_else(|| spell.what.name.clone(), ToString::to_string),
                packets: spell.packets,
                since: spell.since.clone(),
            })
            .collect();
        let ends = self.cut;
        [
            self.loss.and_then(|most| lost(account, most)),
            self.gap.and_then(|most| gap(account, most)),
            self.kept.then(|| kept(account)).flatten(),
            self.cut.then(|| cut(account)).flatten(),
            in_order("as", &account.sources, &sources, ends, IpAddr::to_string),
            in_order("via", &account.via, &self.via, ends, hosts),
            in_order("reaches", &reached, &reaches, ends, String::clone),
            self.never_bare.then(|| bare(account)).flatten(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn packets(count: usize) -> String {
    if count == 1 { "1 packet".to_owned() } else { format!("{count} packets") }
}

fn listed(moments: &[Moment]) -> String {
    let shown: Vec<String> = moments.iter().take(LISTED).map(ToString::to_string).collect();
    let more = moments.len().saturating_sub(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

fn lost(account: &Account, most: u32) -> Option<String> {
    let limit = usize::try_from(most).unwrap_or(usize::MAX);
    let beyond = if most > 0 { format!(", at most {most} expected") } else { String::new() };
    let by = refusal(account);
    (account.lost.len() > limit).then(|| {
        format!("lost {} of {}{beyond}: {}{by}", packets(account.lost.len()), account.sent, listed(&account.lost))
    })
}

/// Who said so, to add to a sentence.
fn refusal(account: &Account) -> String {
    account.refused.as_ref().map_or_else(String::new, |(verdict, by, moment)| {
        let what = match verdict {
            Verdict::Refused => "refused",
            Verdict::NoRoute => "told of no route",
            Verdict::Prohibited => "told that it is prohibited",
            Verdict::Expired => "told that a packet's time ran out",
            Verdict::TooBig(_) => "told that a packet is too big",
            Verdict::Delivered | Verdict::NoAnswer | Verdict::NoNeighbour | Verdict::Dropped | Verdict::Lost => {
                "told off"
            }
        };
        format!("; {what} by {by} {moment}")
    })
}

fn gap(account: &Account, most: u32) -> Option<String> {
    let gap = account.gap.as_ref().filter(|gap| gap.ops > most)?;
    let ops = if gap.ops == 1 { "op" } else { "ops" };
    let span =
        if gap.first == gap.last { gap.first.to_string() } else { format!("from {} up to {}", gap.first, gap.last) };
    Some(format!("no service during {} {ops}, {most} expected: {span}", gap.ops))
}

fn kept(account: &Account) -> Option<String> {
    match account.fate {
        Fate::Kept => None,
        Fate::Changed => {
            let sources: Vec<String> = account.sources.iter().map(|spell| spell.what.to_string()).collect();
            let since = account.sources.get(1).map_or_else(String::new, |spell| format!(", since {}", spell.since));
            Some(format!("another pair of addresses and ports at the far end: as {}{since}", sources.join(", then ")))
        }
        Fate::Refused | Fate::Dead | Fate::Crippled | Fate::Never => Some(ended(account)),
    }
}

/// How a flow ended that did not go on.
fn ended(account: &Account) -> String {
    let first = account.lost.first().map_or_else(String::new, |moment| format!(", first {moment}"));
    match account.fate {
        Fate::Refused => format!("cut{}{first}", refusal(account)),
        Fate::Dead => format!("dead, and nobody said so{first}"),
        Fate::Crippled => format!("no answers any more{first}"),
        Fate::Never => format!("nothing of it ever arrived{}", refusal(account)),
        Fate::Kept | Fate::Changed => "it goes on".to_owned(),
    }
}

fn cut(account: &Account) -> Option<String> {
    if account.fate == Fate::Never {
        return Some(format!("{}, so nothing could be cut", ended(account)));
    }
    let settled = account.settled;
    let still = format!(
        "not cut: after settling {} of {} packets arrive, {} are answered, {} come back unasked",
        settled.arrived, settled.sent, settled.answered, settled.returned
    );
    (!account.fate.is_cut()).then_some(still)
}

/// Whether what was seen is what was expected, one after the other; the last at last, unless the flow `ends`.
fn in_order<T: PartialEq>(
    clause: &str,
    seen: &[Spell<T>],
    expected: &[T],
    ends: bool,
    text: impl Fn(&T) -> String,
) -> Option<String> {
    let wanted = || expected.iter().map(&text).collect::<Vec<_>>().join(" then ");
    let last = expected.last()?;
    let mut left = expected.iter();
    for spell in seen {
        if !left.any(|one| *one == spell.what) {
            let now = text(&spell.what);
            let count = packets(usize::try_from(spell.packets).unwrap_or(usize::MAX));
            return Some(format!("{clause} {now} ({count}, first {}), not {clause} {}", spell.since, wanted()));
        }
    }
    match seen.last() {
        None => Some(format!("{clause} nothing, since nothing arrived; not {clause} {}", wanted())),
        Some(spell) if spell.what != *last && !ends => {
            Some(format!("{clause} {} at last, not {clause} {}", text(&spell.what), wanted()))
        }
        Some(_) => None,
    }
}

fn bare(account: &Account) -> Option<String> {
    let count = account.bare.len();
    (count > 0).then(|| format!("{} left with a tenant source: {}", packets(count), listed(&account.bare)))
}

impl Account {
    /// Verdict and figures: `no loss kept as 203.0.113.10 via net1 (34 sent, 0 lost, 0 late)`.
    pub fn figures(&self) -> String {
        let end = match (self.fate, &self.refused) {
            (Fate::Refused, Some((_, by, moment))) => format!(", cut by {by} {moment}"),
            (Fate::Dead, _) => ", silently dead".to_owned(),
            (Fate::Refused | Fate::Kept | Fate::Changed | Fate::Crippled | Fate::Never, _) => String::new(),
        };
        let gap = self.gap.as_ref().map_or_else(String::new, |gap| format!(", gap {} ops", gap.ops));
        let paced = self.paced.as_ref().map_or_else(String::new, |paced| format!("; paced: {paced}"));
        format!(
            "{} ({} sent, {} lost, {} late{gap}{end}{paced})",
            self.verdict(),
            self.sent,
            self.lost.len(),
            self.late
        )
    }

    /// What can be said of it without a number, in the words of `during`: `no loss kept as 203.0.113.10 via net1`.
    pub fn verdict(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        words.push(if self.lost.is_empty() { "no loss".to_owned() } else { "loss".to_owned() });
        match self.fate {
            Fate::Kept => words.push("kept".to_owned()),
            Fate::Changed => {}
            // Who said so is a figure: kernels limit what they say to one sender by a clock.
            Fate::Refused | Fate::Dead => words.push("cut".to_owned()),
            Fate::Crippled => words.push("no answers any more".to_owned()),
            Fate::Never => words.push("nothing arrives".to_owned()),
        }
        words.extend(then("as", &self.sources, IpAddr::to_string));
        words.extend(then("via", &self.via, |hosts| hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(" ")));
        if self.reached.len() > 1 {
            words.extend(then("reaches", &self.reached, ToString::to_string));
        }
        if !self.bare.is_empty() {
            words.push("bare".to_owned());
        }
        words.join(" ")
    }
}

fn then<T, D: Display>(clause: &str, spells: &[Spell<T>], text: impl Fn(&T) -> D) -> Option<String> {
    let all: Vec<String> =
        spells.iter().map(|spell| text(&spell.what).to_string()).filter(|text| !text.is_empty()).collect();
    (!all.is_empty()).then(|| format!("{clause} {}", all.join(" then ")))
}
