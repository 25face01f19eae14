//! Does what was seen agree with the patterns of an exchange?

use super::{Arrivals, Exchange, Facts, Pattern, ToSend, Unready, icmp_word};
use crate::name::Name;
use crate::net::Mac;
use crate::packet::{Body, Content, ErrorKind, Frame, Hardware, Load, NeighbourKind, Packet, Sighted, Template};

/// The MACs of a node's devices.
pub type MacsOf<'a> = &'a dyn Fn(&Name) -> Vec<Mac>;

/// How many frames are listed in a mismatch.
const LISTED: usize = 8;

impl Exchange {
    /// Whether all has been seen that must be.
    pub fn is_complete(&self, seen: &[Sighted], macs: MacsOf<'_>) -> bool {
        self.seen.iter().all(|pattern| pattern.found(seen, macs) >= pattern.count.unwrap_or(1))
    }

    /// What does not hold, in words.
    pub fn judge(&self, seen: &[Sighted], macs: MacsOf<'_>) -> Vec<String> {
        let missing = self.seen.iter().filter_map(|pattern| {
            let found = pattern.found(seen, macs);
            let holds = pattern.count.map_or(found > 0, |count| found == count);
            let wanted = pattern.count.map_or_else(String::new, |count| format!(" {found} times, not {count}"));
            let not = if found == 0 { "not " } else { "" };
            (!holds).then(|| format!("{not}seen{wanted} at {}: {}{}", pattern.at, pattern.text, listed(pattern, seen)))
        });
        let unwanted = self
            .not_seen
            .iter()
            .filter(|pattern| pattern.found(seen, macs) > 0)
            .map(|pattern| format!("seen at {}: {}{}", pattern.at, pattern.text, listed(pattern, seen)));
        missing.chain(unwanted).collect()
    }

    /// What was looked for and how it must be, a line each: `seen at vm1: { icmp: port-unreachable }`.
    pub fn lines(&self) -> Vec<String> {
        let line = |word: &str, pattern: &Pattern| {
            let count = match pattern.count {
                None => String::new(),
                Some(1) => " once".to_owned(),
                Some(count) => format!(" {count} times"),
            };
            format!("{word}{count} at {}: {}", pattern.at, pattern.text)
        };
        let seen = self.seen.iter().map(|pattern| line("seen", pattern));
        seen.chain(self.not_seen.iter().map(|pattern| line("not seen", pattern))).collect()
    }
}

/// What was seen at the place instead.
fn listed(pattern: &Pattern, seen: &[Sighted]) -> String {
    let here: Vec<String> =
        seen.iter().filter(|sighted| sighted.place == pattern.at).map(|sighted| sighted.frame.to_string()).collect();
    if here.is_empty() {
        return "\n  nothing was seen there".to_owned();
    }
    let more = here.len().saturating_sub(LISTED);
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    here.iter().take(LISTED).fold(String::new(), |text, line| text + "\n  " + line) + &more
}

impl Pattern {
    fn found(&self, seen: &[Sighted], macs: MacsOf<'_>) -> usize {
        let here = seen.iter().filter(|sighted| sighted.place == self.at);
        here.filter(|sighted| self.facts.fit(&sighted.frame, macs)).count()
    }
}

fn fits<T: PartialEq>(wanted: Option<&T>, is: Option<&T>) -> bool {
    wanted.is_none() || wanted == is
}

impl Facts {
    fn fit(&self, frame: &Frame, macs: MacsOf<'_>) -> bool {
        let is = |wanted: &Option<Hardware>, mac: Mac| match wanted {
            None => true,
            Some(Hardware::Mac(wanted)) => *wanted == mac,
            Some(Hardware::Of(node)) => macs(node).contains(&mac),
        };
        if !is(&self.mac, frame.source) || !is(&self.to_mac, frame.destination) {
            return false;
        }
        match &frame.body {
            Body::Ip(packet) => self.neighbour.is_none() && self.fit_packet(packet),
            Body::Neighbour(about) => {
                let kind = (about.wanted.is_ipv4(), about.kind);
                let source = if about.kind == NeighbourKind::Request { about.other } else { about.wanted };
                self.neighbour == Some(kind)
                    && (self.to.is_empty() || self.to.contains(&about.wanted))
                    && (self.source.is_empty() || self.source.contains(&source))
            }
        }
    }

    fn fit_packet(&self, packet: &Packet) -> bool {
        let ports = packet.ports().filter(|_| !matches!(packet.content, Content::Echo { .. }));
        (self.source.is_empty() || self.source.contains(&packet.source))
            && (self.to.is_empty() || self.to.contains(&packet.destination))
            && fits(self.source_port.as_ref(), ports.map(|(from, _)| from).as_ref())
            && fits(self.port.as_ref(), ports.map(|(_, to)| to).as_ref())
            && fits(self.ttl.as_ref(), Some(&packet.ttl))
            && fits(self.id.as_ref(), Some(&packet.id))
            && fits(self.dont_fragment.as_ref(), Some(&packet.dont_fragment))
            && fits(self.size.as_ref(), Some(&packet.size))
            && fits(self.good_checksum.as_ref(), Some(&packet.good_checksum))
            && fits(self.fragment.as_ref(), packet.fragment.as_ref().map(|fragment| &fragment.offset))
            && self.fit_content(&packet.content)
    }

    fn fit_content(&self, content: &Content) -> bool {
        let word = icmp_word(content);
        let protocol = match content {
            Content::Udp { .. } => Some("udp"),
            Content::Tcp { .. } => Some("tcp"),
            Content::Echo { .. } | Content::Error(..) | Content::RouterAdvert => Some("icmp"),
            Content::Other(..) => None,
        };
        let payload = match content {
            Content::Udp { payload, .. } | Content::Tcp { payload, .. } | Content::Echo { payload, .. } => {
                Some(payload)
            }
            Content::Error(..) | Content::RouterAdvert | Content::Other(..) => None,
        };
        let (sequence, acknowledgement, flags) = match content {
            Content::Tcp { sequence, acknowledgement, flags, .. } => {
                (Some(sequence), Some(acknowledgement), Some(flags))
            }
            Content::Udp { .. }
            | Content::Echo { .. }
            | Content::Error(..)
            | Content::RouterAdvert
            | Content::Other(..) => (None, None, None),
        };
        let id = if let Content::Echo { id, .. } = content { Some(id) } else { None };
        let (mtu, quoted) = match content {
            Content::Error(ErrorKind::TooBig(mtu), quoted) => (Some(mtu), quoted.as_deref()),
            Content::Error(_, quoted) => (None, quoted.as_deref()),
            Content::Udp { .. }
            | Content::Tcp { .. }
            | Content::Echo { .. }
            | Content::RouterAdvert
            | Content::Other(..) => (None, None),
        };
        fits(self.protocol.as_deref().as_ref(), protocol.as_ref())
            && fits(self.icmp.as_deref().as_ref(), word.as_ref())
            && fits(self.flags.as_ref(), flags)
            && fits(self.sequence.as_ref(), sequence)
            && fits(self.acknowledgement.as_ref(), acknowledgement)
            && fits(self.icmp_id.as_ref(), id)
            && fits(self.mtu.as_ref(), mtu)
            && fits(self.payload.as_ref().map(String::as_bytes).as_ref(), payload.map(Vec::as_slice).as_ref())
            && self.quoting.as_ref().is_none_or(|wanted| quoted.is_some_and(|quoted| wanted.fit_packet(quoted)))
    }
}

impl ToSend {
    /// What is sent, now that it is known what is answered.
    pub(super) fn template(&self, arrivals: &Arrivals) -> Result<Template, Unready> {
        let Some(name) = &self.answers else { return Ok(self.template.clone()) };
        let answered = arrivals.get(name).ok_or_else(|| Unready::NotArrived(name.clone()))?;
        let template = &self.template;
        let source = template.source.or(Some(answered.destination));
        let (from, to) = answered.ports().unwrap_or_default();
        let load = match &template.load {
            Load::Udp(port, _) => Load::Udp(port.or(Some(to)), from),
            Load::Tcp { source_port, sequence, acknowledgement, flags, .. } => Load::Tcp {
                source_port: source_port.or(Some(to)),
                port: from,
                sequence: *sequence,
                acknowledgement: if *acknowledgement == 0 { answered.acknowledged_by() } else { *acknowledgement },
                flags: *flags,
            },
            Load::Echo(reply, id) => Load::Echo(*reply, id.or(Some(from))),
            Load::Error(kind, _) if self.quotes => Load::Error(*kind, Box::new(answered.clone())),
            load @ (Load::Error(..) | Load::RouterAdvert | Load::Neighbour(_)) => load.clone(),
        };
        Ok(Template { source, destination: answered.source, load, ..template.clone() })
    }
}
