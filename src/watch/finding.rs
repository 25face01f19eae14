//! What was found in a step: counters and evidence brought together, with a sentence for a reviewer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Captured, Class, Count, decode};
use crate::name::{HostName, Id};

/// Frames of one class that must not be there, from one host onto one segment, within a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The provider segment.
    pub network: Id,
    /// The host that sent them.
    pub host: HostName,
    /// What they are.
    pub class: Class,
    /// How many there were, by the kernel's count.
    pub frames: u64,
    /// How many of them were captured; the others were counted only.
    pub captured: u64,
    /// Who they came from, as far as captured; in order of their first frames.
    pub sighted: Vec<Sighted>,
}

/// Frames of a finding from one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sighted {
    /// Who has that address, if anybody.
    pub from: Option<String>,
    /// The source address.
    pub source: IpAddr,
    /// Who has the first frame's destination, if anybody.
    pub to: Option<String>,
    /// The first frame's destination.
    pub destination: IpAddr,
    /// What the first frame was: `udp/9000`, `arp reply`.
    pub what: String,
    /// How many frames were captured.
    pub frames: u64,
    /// The operation that was the last before the first frame was read, and its host; none before the first operation and
    /// when all were done.
    pub op: Option<(HostName, String)>,
    /// Microseconds from the beginning of the change to the reading of the first frame. For reports only.
    pub after_us: u64,
}

/// Evidence with the operation that was the last before it was read.
pub type Evidence = (Captured, Option<(HostName, String)>);

/// Brings counts and evidence together. `owners` says whose an address is.
pub fn findings(counts: &[Count], evidence: &[Evidence], owners: &BTreeMap<IpAddr, String>) -> Vec<Finding> {
    let mut found: BTreeMap<(&Id, &HostName, Class), Finding> = BTreeMap::new();
    for count in counts.iter().filter(|count| count.class.is_violation()) {
        let finding = entry(&mut found, &count.network, &count.host, count.class);
        finding.frames += count.frames;
    }
    for (captured, op) in evidence {
        let finding = entry(&mut found, &captured.network, &captured.host, captured.class);
        finding.captured += 1;
        let Some(decoded) = decode(&captured.frame) else { continue };
        match finding.sighted.iter_mut().find(|one| one.source == decoded.source) {
            Some(sighted) => sighted.frames += 1,
            None => finding.sighted.push(Sighted {
                from: owners.get(&decoded.source).cloned(),
                source: decoded.source,
                to: owners.get(&decoded.destination).cloned(),
                destination: decoded.destination,
                what: decoded.what,
                frames: 1,
                op: op.clone(),
                after_us: captured.after_us,
            }),
        }
    }
    found.into_values().collect()
}

fn entry<'a, 'b>(
    found: &'b mut BTreeMap<(&'a Id, &'a HostName, Class), Finding>,
    network: &'a Id,
    host: &'a HostName,
    class: Class,
) -> &'b mut Finding {
    found.entry((network, host, class)).or_insert_with(|| Finding {
        network: network.clone(),
        host: host.clone(),
        class,
        frames: 0,
        captured: 0,
        sighted: Vec::new(),
    })
}

impl Finding {
    /// One sentence for each sender:
    /// `tenant source left: vm1 10.0.1.11 -> web 198.51.100.2 udp/9000 on public, from net1, 3 frames, first 1.8 ms after "ip
    /// route add default ..." on cmp1`. What was counted but not captured is the last one.
    pub fn sentences(&self) -> Vec<(Option<&Sighted>, String)> {
        let place = format!("on {}, from {}", self.network, self.host);
        let sentence = |one: &Sighted| format!("{} {one} {place}{}", self.verb(), one.tail());
        let mut all: Vec<_> = self.sighted.iter().map(|one| (Some(one), sentence(one))).collect();
        let missed = self.frames.saturating_sub(self.captured);
        if missed > 0 {
            all.push((None, format!("{} {place}: {}, counted but not captured", self.verb(), frames(missed))));
        }
        let unread = self.captured.saturating_sub(self.sighted.iter().map(|one| one.frames).sum());
        if unread > 0 {
            all.push((None, format!("{} {place}: {}, captured but cut short", self.verb(), frames(unread))));
        }
        all
    }

    /// What was found in the words of the scenario language, without number and time, in order: `tenant source from vm1 via net1
    /// on public`.
    pub fn words(&self) -> BTreeSet<String> {
        let Self { network, host, class, .. } = self;
        if self.sighted.is_empty() {
            return [format!("{class} via {host} on {network}")].into();
        }
        let from = |one: &Sighted| one.from.clone().unwrap_or_else(|| one.source.to_string());
        self.sighted.iter().map(|one| format!("{class} from {} via {host} on {network}", from(one))).collect()
    }

    fn verb(&self) -> String {
        let verb = if self.class == Class::TwoOwners { "seen" } else { "left" };
        format!("{} {verb}:", self.class)
    }
}

fn frames(number: u64) -> String {
    if number == 1 { "1 frame".to_owned() } else { format!("{number} frames") }
}

impl std::fmt::Display for Sighted {
    /// `vm1 10.0.1.11 -> web 198.51.100.2 udp/9000`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = |name: &Option<String>, address: IpAddr| match name {
            Some(name) => format!("{name} {address}"),
            None => address.to_string(),
        };
        let (from, to) = (end(&self.from, self.source), end(&self.to, self.destination));
        write!(f, "{from} -> {to} {}", self.what)
    }
}

impl Sighted {
    /// `, 3 frames, first 1.8 ms after "..." on cmp1`
    fn tail(&self) -> String {
        let first = match &self.op {
            Some((host, op)) => {
                let (whole, part) = (self.after_us / 1000, self.after_us % 1000 / 100);
                // An operation may be of many lines, of which the first says which it is.
                let op = op.lines().next().unwrap_or_default();
                format!("first {whole}.{part} ms into the change, after \"{op}\" on {host}")
            }
            None => "after everything had settled".to_owned(),
        };
        format!(", {}, {first}", frames(self.frames))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(class: Class, frames: u64) -> Count {
        Count { network: Id::new("public").unwrap(), host: HostName::new("net1").unwrap(), class, frames }
    }

    fn captured(class: Class, source: u8) -> Captured {
        let head = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 1, source, 198, 51, 100, 2, 0, 9, 0x23, 0x28];
        let frame = [&[2; 12][..], &[8, 0], &head].concat();
        let Count { network, host, class, .. } = count(class, 0);
        Captured { network, host, class, frame, after_us: 1_850 }
    }

    fn sentences(counts: &[Count], evidence: &[Evidence]) -> Vec<String> {
        let owners = [("10.0.1.11", "vm1"), ("198.51.100.2", "web")];
        let owners = owners.map(|(address, name)| (address.parse().unwrap(), name.to_owned())).into();
        let found = findings(counts, evidence, &owners);
        found.iter().flat_map(Finding::sentences).map(|(_, sentence)| sentence).collect()
    }

    #[test]
    fn a_finding_says_who_what_where_how_often_and_when() {
        let op = (HostName::new("cmp1").unwrap(), "ip route replace default dev rfp-r1\nmore".to_owned());
        let class = Class::TenantSource;
        let evidence = [
            (captured(class, 11), Some(op)),
            (captured(class, 11), None),
            (captured(class, 12), None),
            (Captured { frame: vec![0; 14], ..captured(class, 12) }, None),
        ];
        let counts = [count(class, 8), count(Class::GatewaySnat, 3)];
        let op = "first 1.8 ms into the change, after \"ip route replace default dev rfp-r1\" on cmp1";
        let place = "on public, from net1";
        assert_eq!(
            sentences(&counts, &evidence),
            [
                format!("tenant source left: vm1 10.0.1.11 -> web 198.51.100.2 udp/9000 {place}, 2 frames, {op}"),
                format!(
                    "tenant source left: 10.0.1.12 -> web 198.51.100.2 udp/9000 {place}, 1 frame, after everything had settled"
                ),
                format!("tenant source left: {place}: 4 frames, counted but not captured"),
                format!("tenant source left: {place}: 1 frame, captured but cut short"),
            ]
        );
    }

    #[test]
    fn in_the_words_of_the_language_there_is_neither_number_nor_time() {
        let class = Class::TwoOwners;
        let evidence = [(captured(class, 12), None), (captured(class, 11), None), (captured(class, 11), None)];
        let owners = BTreeMap::from([("10.0.1.11".parse().unwrap(), "vm1".to_owned())]);
        let words = |evidence: &[Evidence]| findings(&[count(class, 9)], evidence, &owners)[0].words();
        let told = ["two owners from 10.0.1.12 via net1 on public", "two owners from vm1 via net1 on public"];
        assert_eq!(words(&evidence).into_iter().collect::<Vec<_>>(), told);
        assert_eq!(words(&[]).into_iter().collect::<Vec<_>>(), ["two owners via net1 on public"]);
    }
}
