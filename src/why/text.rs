//! An explanation in words.

use std::net::IpAddr;

use super::{Explanation, Names, RuleHit, Ruling, Sight, Stop};
use crate::flow::{Place, ProbeReport, Protocol, Verdict, via};
use crate::memory::{Connection, number_text};

/// What translation changes besides addresses.
const ECHO_ID: &str = "echo id";
const SOURCE_PORT: &str = "source port";
const DESTINATION_PORT: &str = "destination port";

/// Columns of what a line is about.
const LABEL: usize = 10;

/// The whole of it: every stop with everything that decided there.
pub fn text(explanation: &Explanation, names: &Names) -> String {
    let page = Page::of(explanation, names);
    let mut lines = vec![page.headline(explanation)];
    page.way(&mut lines, Way::There, &explanation.there);
    page.way(&mut lines, Way::Back, &explanation.back);
    page.way(&mut lines, Way::Error, &explanation.errors);
    lines.join("\n") + "\n"
}

/// A line a stop, and what ended it: what stands below a failed expectation. Protocols that went the same way, by the same
/// rules, to the same end, are told of together.
pub fn short(explanations: &[Explanation], names: &Names) -> Vec<String> {
    let mut told: Vec<(String, Vec<String>, String, Vec<String>)> = Vec::new();
    for explanation in explanations {
        let page = Page::of(explanation, names);
        let (ends, fate) = (page.ends(explanation), page.fate(explanation));
        let mut stops = Vec::new();
        let ways = [
            (Way::There, "there", &explanation.there),
            (Way::Back, "back", &explanation.back),
            (Way::Error, "error", &explanation.errors),
        ];
        for (way, word, passed) in ways {
            stops.extend(passed.iter().map(|stop| format!("  {word:<5} {}", page.stop_in_short(way, stop))));
        }
        let flow = &explanation.report.flow;
        let spoken = format!("{}{}", flow.spoken(), flow.options.suffix());
        match told.iter_mut().find(|one| (&one.0, &one.2, &one.3) == (&ends, &fate, &stops)) {
            Some((_, protocols, ..)) => protocols.push(spoken),
            None => told.push((ends, vec![spoken], fate, stops)),
        }
    }
    let mut lines = Vec::new();
    for (ends, protocols, fate, stops) in told {
        lines.push(format!("why: {ends} {}: {fate}", protocols.join(" ")));
        lines.extend(stops);
    }
    lines
}

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
    /// What an ICMP error about it does.
    Error,
}

/// What every line needs to be written.
struct Page<'a> {
    protocol: Protocol,
    /// The source port that was sent from.
    sent: u16,
    /// Connections told of on the way there.
    passed: Vec<(&'a Place, Connection)>,
    names: &'a Names,
}

impl<'a> Page<'a> {
    fn of(explanation: &'a Explanation, names: &'a Names) -> Self {
        let first = explanation.there.iter().find_map(|stop| stop.entered.as_ref().or(stop.left.as_ref()));
        let sent = first.map_or(0, |sight| sight.ports.0);
        let passed = explanation.there.iter().filter_map(|stop| Some((&stop.place, stop.after?))).collect();
        Self { protocol: explanation.report.flow.protocol, sent, passed, names }
    }

    /// `vm1 -> web udp/9000: delivered as 203.0.113.10 via net1`
    fn headline(&self, explanation: &Explanation) -> String {
        let flow = &explanation.report.flow;
        format!("{} {}{}: {}", self.ends(explanation), flow.spoken(), flow.options.suffix(), self.fate(explanation))
    }

    /// `vm1 -> web`
    fn ends(&self, explanation: &Explanation) -> String {
        let flow = &explanation.report.flow;
        format!("{} -> {}", flow.from, self.named(flow.to))
    }

    /// `delivered as 203.0.113.10 via net1`
    fn fate(&self, explanation: &Explanation) -> String {
        let report = &explanation.report;
        match explanation.there.last().and_then(|stop| end(stop, report)) {
            Some(reason) => format!("{}: {reason}", self.outcome(report)),
            None => self.outcome(report),
        }
    }

    /// `web (198.51.100.2)`
    fn named(&self, address: IpAddr) -> String {
        match self.names.addresses.get(&address) {
            Some(name) => format!("{name} ({address})"),
            None => address.to_string(),
        }
    }

    fn outcome(&self, report: &ProbeReport) -> String {
        let by = report.by.map_or_else(String::new, |by| format!(" by {}", self.named(by)));
        let at = report.at.as_ref().map_or_else(String::new, |at| format!(" at {at}"));
        let seen = report.seen.as_ref().map_or_else(String::new, |seen| {
            let hosts: Vec<String> = via(&report.path).into_iter().map(ToString::to_string).collect();
            let hosts = if hosts.is_empty() { String::new() } else { format!(" via {}", hosts.join(" ")) };
            format!(" to {} as {}{hosts}", seen.responder, seen.source)
        });
        match &report.verdict {
            Verdict::Delivered => format!("delivered{seen}, and answered"),
            Verdict::NoAnswer => format!("delivered{seen}, but no answer came back"),
            Verdict::Refused => format!("refused{by}{at}"),
            Verdict::NoRoute => format!("no route{by}{at}"),
            Verdict::NoNeighbour => format!("no neighbour{at}"),
            Verdict::Prohibited => format!("prohibited{by}{at}"),
            Verdict::TooBig(mtu) => format!("too big {mtu}{by}{at}"),
            Verdict::Expired => format!("expired{by}{at}"),
            Verdict::Dropped => format!("dropped{at}"),
            Verdict::Lost => "lost, with no evidence of where".to_owned(),
        }
    }

    fn way(&self, lines: &mut Vec<String>, way: Way, stops: &[Stop]) {
        if stops.is_empty() {
            return;
        }
        lines.push(String::new());
        let title = match way {
            Way::There => "there",
            Way::Back => "back",
            Way::Error => "the error about it",
        };
        lines.push(title.to_owned());
        for stop in stops {
            lines.push(format!("  {}", stop.place));
            self.stop(lines, way, stop);
        }
    }

    fn stop(&self, lines: &mut Vec<String>, way: Way, stop: &Stop) {
        let mut put = |label: &str, text: String| lines.push(format!("    {label:<LABEL$} {text}"));
        if let Some(sight) = &stop.entered {
            put("in", self.sight(way, sight));
        }
        for hit in stop.rules.iter().filter(|hit| hit.before_routing && !hit.is_plumbing()) {
            put(&hit.table, hit_text(hit));
        }
        if let Some(routing) = &stop.routing {
            if let Some(rule) = &routing.rule {
                put("rule", rule.clone());
            }
            match &routing.route {
                Ok(route) => put("route", route.clone()),
                Err(why) => put("route", why.clone()),
            }
            if let Some(neighbour) = &routing.neighbour {
                put("neighbour", self.neighbour(neighbour));
            }
        }
        for hit in stop.rules.iter().filter(|hit| !hit.before_routing && !hit.is_plumbing()) {
            put(&hit.table, hit_text(hit));
        }
        let translated = self.translation(stop);
        if stop.routing.is_some() && !translated.is_empty() && !stop.rules.iter().any(|hit| hit.table == "nat") {
            put("nat", "by conntrack: the nat chains are walked by a flow's first packet only".to_owned());
        }
        match (&stop.before, &stop.after) {
            (None, None) => {}
            (_, Some(after)) if way != Way::There && self.passed.contains(&(&stop.place, *after)) => {
                put("conntrack", "as on the way there".to_owned());
            }
            (None, Some(after)) => put("conntrack", format!("new: {after}")),
            (Some(before), Some(after)) if before == after => put("conntrack", format!("as before: {after}")),
            (Some(before), Some(after)) => {
                put("conntrack", format!("before: {before}"));
                put("", format!("after: {after}"));
            }
            (Some(before), None) => put("conntrack", format!("gone: {before}")),
        }
        if let Some(sight) = &stop.left {
            put("out", self.sight(way, sight));
        }
        let mut changes = translated;
        if let (Some(entered), Some(left)) = (&stop.entered, &stop.left)
            && entered.ttl != left.ttl
        {
            changes.push(format!("ttl {} -> {}", entered.ttl, left.ttl));
        }
        if !changes.is_empty() {
            put("changed", changes.join(", "));
        }
    }

    /// `qr-red4 10.0.1.11:free > 198.51.100.2:9000 ttl 64, mac vm1 > qr-red4`
    fn sight(&self, way: Way, sight: &Sight) -> String {
        // Only the port that the probe was sent from may be translated to one that is picked by chance.
        let chosen = |port: u16| port.to_string();
        let free = |port| number_text(self.sent, port);
        let ports = match way {
            Way::There => (free(sight.ports.0), chosen(sight.ports.1)),
            Way::Back => (chosen(sight.ports.0), free(sight.ports.1)),
            Way::Error => return self.error_sight(sight, &free(sight.ports.0)),
        };
        let id = if self.protocol == Protocol::Icmp { format!(" id {}", free(sight.ports.0)) } else { String::new() };
        let (source, destination) = (self.end_text(sight.source, &ports.0), self.end_text(sight.destination, &ports.1));
        let macs = self.macs(sight);
        format!("{} {source} > {destination}{id} ttl {}, {macs}", sight.device, sight.ttl)
    }

    /// `qr-red4 10.0.1.1 > 10.0.1.11 ttl 64, mac qr-red4 > vm1, about 10.0.1.11:free > 198.51.100.2:9000`
    fn error_sight(&self, sight: &Sight, sender: &str) -> String {
        let Sight { device, source, destination, ttl, ports, about, .. } = sight;
        let about = about.map_or_else(String::new, |(from, to)| {
            let (from, to) = (self.end_text(from, sender), self.end_text(to, &ports.1.to_string()));
            format!(", about {from} > {to}")
        });
        format!("{device} {source} > {destination} ttl {ttl}, {}{about}", self.macs(sight))
    }

    fn macs(&self, sight: &Sight) -> String {
        let mac = |mac| self.names.macs.get(mac).cloned().unwrap_or_else(|| mac.to_string());
        format!("mac {} > {}", mac(&sight.macs.0), mac(&sight.macs.1))
    }

    fn end_text(&self, address: IpAddr, port: &str) -> String {
        match (self.protocol, address) {
            (Protocol::Icmp | Protocol::Arp, _) => address.to_string(),
            (Protocol::Tcp(_) | Protocol::Udp(_), IpAddr::V4(v4)) => format!("{v4}:{port}"),
            (Protocol::Tcp(_) | Protocol::Udp(_), IpAddr::V6(v6)) => format!("[{v6}]:{port}"),
        }
    }

    fn neighbour(&self, neighbour: &super::Neighbour) -> String {
        let place = format!("{} dev {}", neighbour.address, neighbour.device);
        match &neighbour.mac {
            None => format!("{place} unresolved"),
            Some(mac) => {
                let owner = self.names.macs.get(mac).cloned().unwrap_or_else(|| mac.to_string());
                format!("{place} lladdr {owner}{}", if neighbour.permanent { " permanent" } else { "" })
            }
        }
    }

    /// What translation changed: addresses, then ports or the echo id.
    fn translation(&self, stop: &Stop) -> Vec<String> {
        let (Some(entered), Some(left)) = (&stop.entered, &stop.left) else { return Vec::new() };
        let mut changes = Vec::new();
        for (word, was, is) in
            [("source", entered.source, left.source), ("destination", entered.destination, left.destination)]
        {
            if was != is {
                changes.push(format!("{word} {was} -> {is}"));
            }
        }
        if let (Some(was), Some(is)) = (entered.about, left.about) {
            for (word, was, is) in [("quoted source", was.0, is.0), ("quoted destination", was.1, is.1)] {
                changes.extend((was != is).then(|| format!("{word} {was} -> {is}")));
            }
            return changes;
        }
        let (was, is) = (entered.ports, left.ports);
        if self.protocol == Protocol::Icmp {
            changes.extend((was != is).then(|| ECHO_ID.to_owned()));
        } else {
            changes.extend((was.0 != is.0).then(|| SOURCE_PORT.to_owned()));
            changes.extend((was.1 != is.1).then(|| DESTINATION_PORT.to_owned()));
        }
        changes
    }

    fn stop_in_short(&self, way: Way, stop: &Stop) -> String {
        let mut text = stop.place.to_string();
        if let Some(routing) = &stop.routing {
            // The rules that every namespace is born with say nothing.
            let own = |rule: &&str| !["0:", "32766:", "32767:"].iter().any(|priority| rule.starts_with(priority));
            let rule = routing.rule.as_deref().filter(own).map_or_else(String::new, |rule| format!(" by rule {rule}"));
            match &routing.route {
                Ok(route) => text = format!("{text}: {route}{rule}"),
                Err(why) => text = format!("{text}: {why}"),
            }
        }
        if let Some(hit) = stop.dropped_by() {
            text = format!("{text}; dropped by {} {}", hit.table, rule_text(hit));
        }
        let mut changes = self.translation(stop);
        // Which number was picked for a sender's port or echo id says nothing of the way.
        let picked = if way == Way::Back { DESTINATION_PORT } else { SOURCE_PORT };
        changes.retain(|change| change != ECHO_ID && change != picked);
        if changes.is_empty() {
            return text;
        }
        let translating = stop.rules.iter().find(|hit| hit.table == "nat" && !hit.is_plumbing());
        let by = translating.map_or_else(String::new, |hit| format!(" by nat {}", rule_text(hit)));
        format!("{text}; {}{by}", changes.join(", "))
    }
}

/// What ended a packet's way at a stop; nothing where it arrived.
fn end(stop: &Stop, report: &ProbeReport) -> Option<String> {
    if let Some(hit) = stop.dropped_by() {
        return Some(format!("by {} {}", hit.table, rule_text(hit)));
    }
    let refused = stop.routing.as_ref().and_then(|routing| routing.route.as_ref().err().cloned());
    let arrived = matches!(report.verdict, Verdict::Delivered | Verdict::NoAnswer);
    match refused {
        Some(why) if !arrived => Some(why),
        None if report.verdict == Verdict::Dropped && stop.left.is_none() => {
            Some("no rule dropped it and routing knows a way, so the kernel discarded it by itself".to_owned())
        }
        None if report.verdict == Verdict::Dropped => {
            let device = stop.left.as_ref().map_or("", |sight| sight.device.as_str());
            Some(format!("it left by {device}, and nobody behind that took it"))
        }
        None if report.verdict == Verdict::NoNeighbour => stop.left.as_ref().map(|left| {
            let (device, mac) = (&left.device, left.macs.1);
            let entry = match stop.routing.as_ref().and_then(|routing| routing.neighbour.as_ref()) {
                Some(entry) if entry.permanent => {
                    format!(": the permanent neighbour entry of {} is wrong", entry.address)
                }
                Some(entry) => format!(" any more: the neighbour entry of {} is stale", entry.address),
                None => String::new(),
            };
            format!("it left by {device} for MAC {mac}, which nobody has{entry}")
        }),
        Some(_) | None => None,
    }
}

/// `-A FORWARD -i qr-red4 -j DROP`
fn rule_text(hit: &RuleHit) -> String {
    match &hit.rule {
        Some(rule) => format!("-A {} {rule}", hit.chain),
        None => format!("-P {} DROP", hit.chain),
    }
}

/// The rule and what followed, where its target does not say that already.
fn hit_text(hit: &RuleHit) -> String {
    let verdict = match &hit.verdict {
        Ruling::Accept => "accept".to_owned(),
        Ruling::Drop => "drop".to_owned(),
        Ruling::Continue => "continue".to_owned(),
        Ruling::Jump(chain) => format!("jump {chain}"),
        Ruling::Return => "return".to_owned(),
        Ruling::Other(number) => format!("verdict {number}"),
    };
    format!("{}  => {verdict}", rule_text(hit))
}
