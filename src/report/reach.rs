//! `<scenario>.reach.snap`: who reached whom, as which source, through which host.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::flow::{Flow, ProbeReport, Protocol, Verdict, through, via};
use crate::ledger::Account;
use crate::record::{Record, StepRecord};
use crate::watch::Finding;

/// One line of the table, for one or more protocols that fared alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// `icmp tcp udp`
    pub(super) protocols: String,
    /// `vm1 -> web`
    pub(super) ends: String,
    /// `as 203.0.113.10 via net1 ttl 61`
    pub(super) outcome: String,
    /// `cmp1/qrouter-r1 net1/snat-r1 gw-public`
    pub(super) path: String,
    /// Of a packet that only a sentence of the step asked for: with a source address, source port or TTL of its own.
    pub(super) asked: bool,
}

/// The whole file's text: the first step's table, then per step the change and the lines that changed.
pub fn reach(record: &Record) -> String {
    let mut text = format!("{}\n", record.summary);
    let mut before: BTreeMap<String, Row> = BTreeMap::new();
    for step in record.steps.iter().filter(|step| step.is_told()) {
        let rows = rows(step);
        text.push('\n');
        text.push_str(&step_title(step));
        text.push('\n');
        for change in &step.change {
            line!(text, "  * {change}");
        }
        for answer in &step.refused {
            line!(text, "    refused: {answer}");
        }
        let now: BTreeMap<String, Row> =
            rows.iter().map(|row| (format!("{}/{}", row.ends, row.protocols), row.clone())).collect();
        let changed: Vec<Row> = rows
            .into_iter()
            .filter(|row| before.get(&format!("{}/{}", row.ends, row.protocols)) != Some(row))
            .collect();
        if before.is_empty() || !changed.is_empty() {
            table(&mut text, &changed);
        } else {
            text.push_str("  nothing changed\n");
        }
        for found in exchanged(step) {
            line!(text, "  {found}");
        }
        for found in watched(step) {
            line!(text, "  {found}");
        }
        for flow in running(step) {
            line!(text, "  {flow}");
        }
        for host in step.stale.keys() {
            line!(text, "  {host}: stale");
        }
        for claim in claims(step) {
            line!(text, "  {claim}");
        }
        for (key, row) in &before {
            if row.asked {
                continue;
            }
            let claimed = step.claimed.keys().any(|address| row.ends.ends_with(&format!(" -> {address}")));
            if !claimed && !now.contains_key(key) && !now.values().any(|other| other.ends == row.ends) {
                line!(text, "  {:<12}  {}  no longer there", row.protocols, row.ends);
            }
        }
        before = now;
    }
    text
}

/// `step 2 (off), line 48`, without the line, which moves when a comment is edited.
pub fn step_title(step: &StepRecord) -> String {
    title_of(step.number, step.name.as_deref())
}

/// As [`step_title`], of a step that is not at hand.
pub fn title_of(number: usize, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("step {number} ({name})"),
        None => format!("step {number}"),
    }
}

/// What the watch found, as an expectation would say it: `watch: tenant source from vm1 via net1 on public`.
pub(super) fn watched(step: &StepRecord) -> impl Iterator<Item = String> {
    step.watch.iter().flat_map(Finding::words).map(|words| format!("watch: {words}"))
}

/// The exchanges of packets made to order, with what became of what was looked for, and the profile of a translator.
pub(super) fn exchanged(step: &StepRecord) -> impl Iterator<Item = String> {
    let exchanges = step.exchanges.iter().flat_map(|exchange| {
        let sent = format!("probe: {}", exchange.sent);
        std::iter::once(sent).chain(exchange.verdicts.iter().map(|verdict| format!("  {verdict}")))
    });
    let profile = step.profile.iter().flat_map(|profile| {
        let facts = profile.facts.iter().map(|(key, class)| format!("  {key}: {class}"));
        std::iter::once(format!("nat_profile of {}", profile.of)).chain(facts)
    });
    exchanges.chain(profile)
}

/// Addresses that several hosts have: `203.0.113.10: on net1/snat-r1 and net2/snat-r1, so who is reached is chance`.
pub(super) fn claims(step: &StepRecord) -> impl Iterator<Item = String> {
    let text = |(address, places): (&IpAddr, &Vec<String>)| {
        format!("{address}: on {}, so who is reached is chance", places.join(" and "))
    };
    step.claimed.iter().map(text)
}

/// What flows went through that ran through the step, without numbers: `during: udp/9000 vm2 -> web: no loss kept`.
pub(super) fn running(step: &StepRecord) -> impl Iterator<Item = String> {
    step.flows.iter().map(|account| format!("during: {}: {}", flow_title(step, account), account.verdict()))
}

/// `udp/9000 vm2 -> web`; of an open flow `ssh (tcp/22 web -> 203.0.113.101)`.
pub(super) fn flow_title(step: &StepRecord, account: &Account) -> String {
    let flow = &account.flow;
    let what = format!("{} {} -> {}", flow.spoken(), flow.from, called(flow.to, &step.owners));
    account.name.as_ref().map_or_else(|| what.clone(), |name| format!("{name} ({what})"))
}

/// Adds rows in columns.
pub(super) fn table(text: &mut String, rows: &[Row]) {
    let width = |column: fn(&Row) -> &str| rows.iter().map(|row| column(row).chars().count()).max().unwrap_or(0);
    let (protocols, ends, outcome) = (width(|r| &r.protocols), width(|r| &r.ends), width(|r| &r.outcome));
    for row in rows {
        let line =
            format!("  {:<protocols$}  {:<ends$}  {:<outcome$}  {}", row.protocols, row.ends, row.outcome, row.path);
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// The probes of a step as rows, protocols that fared alike together.
pub(super) fn rows(step: &StepRecord) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for report in &step.probes {
        let row = row(report, &step.owners);
        match rows.iter_mut().find(|r| r.ends == row.ends && r.outcome == row.outcome && r.path == row.path) {
            Some(same) if !same.protocols.split(' ').any(|p| p == row.protocols) => {
                same.protocols = format!("{} {}", same.protocols, row.protocols);
            }
            Some(_same) => {}
            None => rows.push(row),
        }
    }
    rows
}

fn row(report: &ProbeReport, owners: &BTreeMap<IpAddr, String>) -> Row {
    let flow = &report.flow;
    let protocol = match flow.protocol {
        Protocol::Tcp(80) => "tcp".to_owned(),
        Protocol::Udp(9000) => "udp".to_owned(),
        Protocol::Icmp | Protocol::Tcp(_) | Protocol::Udp(_) | Protocol::Arp => flow.spoken(),
    };
    let (from, to) = ends(flow, owners);
    let path: Vec<String> = through(&report.path).into_iter().map(ToString::to_string).collect();
    let ends = format!("{from} -> {to}");
    let asked = flow.source.is_some() || !flow.options.suffix().is_empty();
    Row { protocols: protocol, ends, outcome: outcome_text(report, owners), path: folded(&path), asked }
}

/// Whose an address is, `vm1`; where it is one of several of that family, `vm1@10.0.5.11`; as it stands where it is nobody's.
fn called(address: IpAddr, owners: &BTreeMap<IpAddr, String>) -> String {
    let Some(name) = owners.get(&address) else { return address.to_string() };
    let own = owners.iter().filter(|(other, owner)| *owner == name && other.is_ipv6() == address.is_ipv6());
    if own.count() > 1 { format!("{name}@{address}") } else { name.clone() }
}

/// A flow's two ends as a scenario writes them: `vm1` and `web`, `vm1@10.0.1.100` and `203.0.113.101 from 5555`.
pub fn ends(flow: &Flow, owners: &BTreeMap<IpAddr, String>) -> (String, String) {
    let mut from = flow.from.to_string();
    if let Some(source) = flow.source {
        put!(from, "@{source}");
    }
    let mut to = called(flow.to, owners);
    to.push_str(&flow.options.suffix());
    if owners.contains_key(&flow.to) {
        to.push_str(flow.over());
    }
    (from, to)
}

/// A way, its going round in circles told once: `a b c b c b c` is `a (b c) x 3`.
pub fn folded(path: &[String]) -> String {
    for start in 0..path.len() {
        let Some(rest) = path.get(start..) else { break };
        for period in 1..=rest.len() / 3 {
            let rounds = rest.len() / period;
            let repeats = rest.iter().zip(rest.iter().skip(period)).all(|(one, next)| one == next);
            if repeats && let (Some(before), Some(round)) = (path.get(..start), rest.get(..period)) {
                let circle = format!("({}) x {rounds}", round.join(" "));
                return before.iter().cloned().chain([circle]).collect::<Vec<_>>().join(" ");
            }
        }
    }
    path.join(" ")
}

/// An outcome in the words of the scenario language: what could stand after the colon of an expectation.
pub fn outcome_text(report: &ProbeReport, owners: &BTreeMap<IpAddr, String>) -> String {
    let mut text = String::new();
    match &report.verdict {
        Verdict::Delivered | Verdict::NoAnswer => {
            if let Some(seen) = &report.seen {
                let responder = seen.responder.to_string();
                if report.flow.protocol == Protocol::Arp {
                    return format!("reaches {}", seen.responder.host.as_ref().map_or(responder, ToString::to_string));
                }
                if owners.get(&report.flow.to) != Some(&responder) {
                    put!(text, "reaches {responder} ");
                }
                let itself = owners.get(&seen.source).is_some_and(|owner| owner == report.flow.from.name.as_str());
                let source = if itself { "itself".to_owned() } else { seen.source.to_string() };
                put!(text, "as {source}");
                for (n, host) in via(&report.path).into_iter().enumerate() {
                    let word = if n == 0 { " via" } else { "" };
                    put!(text, "{word} {host}");
                }
                put!(text, " ttl {}", seen.ttl);
            }
            if report.verdict == Verdict::NoAnswer {
                text.push_str(" no answer");
            }
        }
        Verdict::Refused => text.push_str("refused"),
        Verdict::NoRoute => text.push_str("no route"),
        Verdict::NoNeighbour => text.push_str("no neighbour"),
        Verdict::Prohibited => text.push_str("prohibited"),
        Verdict::TooBig(mtu) => put!(text, "too big {mtu}"),
        Verdict::Expired => text.push_str("expired"),
        Verdict::Dropped => text.push_str("dropped"),
        Verdict::Lost => text.push_str("lost"),
    }
    if let Some(by) = report.by {
        let by = owners.get(&by).cloned().unwrap_or_else(|| by.to_string());
        put!(text, " by {by}");
    }
    if report.by.is_none()
        && let Some(at) = &report.at
    {
        put!(text, " at {at}");
    }
    text
}
