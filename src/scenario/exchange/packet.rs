//! One packet to send, one packet that is quoted, one pattern.

use std::net::{IpAddr, Ipv4Addr};

use super::load::{Speaks, check_icmp, error_kind, flags_in, load, neighbour_kind, number, speaks, spoken, unsigned};
use super::read::Reader;
use super::{Facts, Pattern, ToSend};
use crate::flow::Place;
use crate::net::Family;
use crate::packet::{Content, Load, Packet, Template};
use crate::scenario::note::{listed, nearest};
use crate::scenario::yaml::{Entry, Node, Value};

/// TTL of what a kernel sends; Linux's default.
const TTL: u8 = 64;
/// What stands for an address that follows from what is answered.
const OPEN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl Reader<'_> {
    /// A packet to send.
    pub(super) fn packet(&mut self, node: &Node) -> Option<ToSend> {
        let from = node.get("from").and_then(|from| self.place(from));
        let answered = self.answered(node);
        let load = self.load(node, answered.as_ref().ok().and_then(Option::as_ref));
        let ends = self.both_ends(node, from.as_ref(), answered == Ok(None));
        let macs = (self.hardware(node, "mac"), self.hardware(node, "to_mac"));
        let name = self.name(node, load.as_ref());
        let beside = self.beside(node);
        let (source, destination) = ends?;
        let answers = answered.ok()?.and_then(|_| node.get("answers")?.text().map(str::to_owned));
        let text = |key: &str| node.get(key).and_then(Node::text);
        let template = Template {
            from: from?,
            mac: macs.0.ok()?,
            to_mac: macs.1.ok()?,
            source,
            destination: destination.unwrap_or(OPEN),
            ttl: number(node, "ttl").unwrap_or(TTL),
            id: number(node, "ip_id"),
            dont_fragment: text("df") == Some("true"),
            load: load?,
            payload: text("payload").map(str::to_owned),
            size: number(node, "size").and_then(|size: u32| usize::try_from(size).ok()),
            fragment: number(node, "fragment").and_then(|bytes: u32| usize::try_from(bytes).ok()),
            good_checksum: text("checksum") != Some("bad"),
        };
        let quotes = answers.is_some() && node.get("quoting").is_none() && node.get("quoting_flow").is_none();
        Some(ToSend { name: name.ok()?, answers, quotes, beside: beside?, template })
    }

    /// What the packet answers; `Err` if there is no such packet.
    fn answered(&mut self, node: &Node) -> Result<Option<Load>, ()> {
        let Some(value) = node.get("answers") else { return Ok(None) };
        let name = value.text().ok_or(())?;
        match self.named.get(name) {
            Some((load, span)) if span.start < self.start => return Ok(Some(load.clone())),
            Some((_, span)) => {
                let span = span.clone();
                self.notes
                    .error(value.span.clone(), format!("`{name}` is sent by this same exchange"))
                    .beside(span, "here")
                    .help("what answers it goes into an exchange of its own, after it has arrived");
                return Err(());
            }
            None => {}
        }
        let note =
            self.notes.error(value.span.clone(), format!("no packet called `{name}` is sent before in this step"));
        let names = || self.named.keys().map(String::as_str);
        match nearest(name, names()) {
            Some(near) => note.help(format!("did you mean `{near}`?")),
            None if self.named.is_empty() => note.help("give the packet a `name`, in an exchange further up"),
            None => note.help(format!("there are {}", listed(names()))),
        };
        Err(())
    }

    /// The name, if there is one and it is free.
    fn name(&mut self, node: &Node, load: Option<&Load>) -> Result<Option<String>, ()> {
        let Some(value) = node.get("name") else { return Ok(None) };
        let name = value.text().ok_or(())?;
        if let Some((_, first)) = self.named.get(name) {
            let first = first.clone();
            self.notes
                .error(value.span.clone(), format!("two packets of this step are called `{name}`"))
                .beside(first, "first here")
                .help("choose another name");
            return Err(());
        }
        self.named.insert(name.to_owned(), (load.ok_or(())?.clone(), value.span.clone()));
        Ok(Some(name.to_owned()))
    }

    /// Source and destination, where they are said. They are of one family, and the packet goes somewhere.
    fn both_ends(
        &mut self,
        node: &Node,
        from: Option<&Place>,
        needs: bool,
    ) -> Option<(Option<IpAddr>, Option<IpAddr>)> {
        let family = self.family(node, from);
        let (source, to) = (self.end(node, "source", family), self.end(node, "to", family));
        let key = |key: &str| node.entries().iter().find(|entry| entry.key == key);
        match (key("to"), key("answers")) {
            (Some(to), Some(answers)) => {
                self.notes
                    .error(to.key_span.clone(), "`to` does not go with `answers`")
                    .beside(answers.key_span.clone(), "an answer goes back")
                    .help("remove one of the two");
                return None;
            }
            (None, None) if needs && matches!(node.value, Value::Map(_)) => {
                let span = key("from").map_or_else(|| node.span.clone(), Entry::span);
                self.notes
                    .error(span, "this packet goes nowhere")
                    .help("add `to`: a node or an address; or `answers`: a packet sent before");
                return None;
            }
            _ => {}
        }
        Some((source.ok()?, to.ok()?))
    }

    /// What the packet carries. Which keys do not go together is noted.
    fn load(&mut self, node: &Node, answered: Option<&Load>) -> Option<Load> {
        let speaks = speaks(node, answered.map_or(Speaks::Unsaid, spoken), self.notes)?;
        if !check_icmp(node, true, self.notes) {
            return None;
        }
        self.check_loadless(node, speaks)?;
        let Some(kind) = error_kind(node) else { return load(node, speaks, answered) };
        let quoted = match node.get("quoting") {
            Some(quoting) => self.quoted(quoting)?,
            // An answer quotes what it answers.
            None => Packet::new(OPEN, OPEN, TTL, Content::Other(0, Vec::new())),
        };
        Some(Load::Error(kind, Box::new(quoted)))
    }

    /// Keys that say how long a packet is, where that cannot be chosen.
    fn check_loadless(&mut self, node: &Node, speaks: Speaks) -> Option<()> {
        let fixed = speaks == Speaks::Neighbour || error_kind(node).is_some();
        let wrong = node.entries().iter().find(|entry| {
            fixed && matches!(entry.key.as_str(), "size" | "payload")
                || speaks == Speaks::Neighbour
                    && matches!(entry.key.as_str(), "fragment" | "checksum" | "df" | "ip_id" | "ttl")
        });
        let Some(entry) = wrong else { return Some(()) };
        self.notes
            .error(entry.key_span.clone(), format!("this packet has no `{}` to choose", entry.key))
            .help("remove it");
        None
    }

    /// The header that an error quotes: what its sender would have got.
    fn quoted(&mut self, node: &Node) -> Option<Packet> {
        let family = self.family(node, None);
        let (source, to) = (self.end(node, "source", family), self.end(node, "to", family));
        let speaks = speaks(node, Speaks::Udp, self.notes)?;
        if !check_icmp(node, false, self.notes) {
            return None;
        }
        let flow = |key: &str| node.get(key).and_then(Node::text).is_some_and(|text| text.starts_with("flow "));
        let signed = |key: &str| node.get(key).and_then(Node::text).is_some_and(|text| text.starts_with(['+', '-']));
        if flow("source_port") || flow("port") || signed("seq") || signed("ack") {
            self.notes
                .error(node.span.start..node.span.start + 1, "a packet to quote is told in numbers")
                .help("write numbers, or `quoting_flow: NAME` for the latest packet of an open flow");
            return None;
        }
        let mut missing = |key: &str, help: &str| {
            self.notes.error(node.span.start..node.span.start + 1, format!("a quoted packet needs `{key}`")).help(help);
        };
        match (&source, &to, speaks) {
            (Ok(None), ..) => missing("source", "add it: the address that the packet had where the error is made"),
            (_, Ok(None), _) => missing("to", "add it: a node or an address"),
            (.., Speaks::Udp | Speaks::Tcp | Speaks::Unsaid) if node.get("source_port").is_none() => {
                missing("source_port", "add it: the port that the packet had where the error is made");
                return None;
            }
            _ => {}
        }
        let (source, to) = (source.ok()??, to.ok()??);
        let content = match load(node, speaks, None)? {
            // What follows the header is cut off, as RFC 792 allows: eight bytes are quoted.
            Load::Udp(from, to) => Content::Udp { ports: (from?, to), payload: Vec::new() },
            Load::Tcp { source_port, port, sequence, acknowledgement, flags } => Content::Tcp {
                ports: (source_port?, port),
                sequence: sequence.unwrap_or_default(),
                acknowledgement,
                flags,
                payload: Vec::new(),
            },
            Load::Echo(reply, id) => Content::Echo { reply, id: id.unwrap_or_default(), payload: Vec::new() },
            Load::RouterAdvert | Load::Error(..) | Load::Neighbour(_) => return None,
        };
        let mut packet = Packet::new(source, to, number(node, "ttl").unwrap_or(TTL), content);
        packet.id = number(node, "ip_id").unwrap_or_default();
        Some(packet)
    }

    /// A pattern.
    pub(super) fn pattern(&mut self, node: &Node) -> Option<Pattern> {
        let at = node.get("at").and_then(|at| self.place(at));
        let facts = self.facts(node);
        let entries: Vec<Entry> =
            node.entries().iter().filter(|entry| !matches!(entry.key.as_str(), "at" | "count")).cloned().collect();
        let rest = Node { span: node.span.clone(), value: Value::Map(entries) };
        let count = number(node, "count").and_then(|count: u32| usize::try_from(count).ok());
        Some(Pattern { text: rest.one_line(), at: at?, facts: facts?, count })
    }

    fn facts(&mut self, node: &Node) -> Option<Facts> {
        let good = speaks(node, Speaks::Unsaid, self.notes).is_some() & check_icmp(node, false, self.notes);
        let (source, to) = (self.ends(node, "source"), self.ends(node, "to"));
        let macs = (self.hardware(node, "mac"), self.hardware(node, "to_mac"));
        let quoting = node.get("quoting").map(|quoting| self.facts(quoting));
        let beside = self.beside(node);
        let text = |key: &str| node.get(key).and_then(Node::text);
        let long = |key: &str| number(node, key).and_then(|bytes: u32| usize::try_from(bytes).ok());
        let same = |word: &str| if word == "frag-needed" { "too-big".to_owned() } else { word.to_owned() };
        let arp = self.family(node, None) == Family::V4;
        let facts = Facts {
            source: source?,
            to: to?,
            protocol: text("proto").map(str::to_owned),
            source_port: number(node, "source_port"),
            port: number(node, "port"),
            flags: flags_in(node),
            sequence: unsigned(node, "seq"),
            acknowledgement: unsigned(node, "ack"),
            icmp: text("icmp").map(same),
            mtu: number(node, "mtu"),
            quoting: match quoting {
                None => None,
                Some(quoting) => Some(Box::new(quoting?)),
            },
            neighbour: neighbour_kind(node).map(|kind| (arp, kind)),
            id: number(node, "ip_id"),
            icmp_id: number(node, "icmp_id"),
            ttl: number(node, "ttl"),
            dont_fragment: text("df").map(|df| df == "true"),
            size: long("size"),
            payload: text("payload").map(str::to_owned),
            fragment: long("fragment"),
            good_checksum: text("checksum").map(|word| word == "good"),
            mac: macs.0.ok()?,
            to_mac: macs.1.ok()?,
            beside: beside?,
        };
        good.then_some(facts)
    }
}
