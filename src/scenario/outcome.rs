//! The sentence about a flow: `as 203.0.113.10 via net1`, `no neighbour at gw-public`.

use super::expectation::{Delivery, Failure, Outcome, SeenAs, SeenPort};
use super::note::{Notes, Span, nearest};
use super::subject::NODES;
use super::values::{self, Wrong};
use super::words::{RESERVED, Word, Words};
use super::world::World;
use crate::api::Section;
use crate::flow::Place;
use crate::name::{HostName, Name};

/// First words of clauses and failures, for suggestions.
const BEGINNINGS: [&str; 17] = [
    "as",
    "reaches",
    "via",
    "through",
    "ttl",
    "port",
    "reply",
    "no",
    "unreachable",
    "refused",
    "prohibited",
    "too",
    "expired",
    "dropped",
    "by",
    "at",
    "hops",
];

/// What the reading of one sentence shares.
pub(super) struct Reader<'a> {
    pub(super) words: Words,
    pub(super) world: &'a World,
    pub(super) notes: &'a mut Notes,
    pub(super) delivery: Delivery,
    /// The clauses so far, for repetitions and for what excludes each other.
    clauses: Vec<(String, Span)>,
    pub(super) failure: Option<(Failure, Span)>,
}

/// Reads a sentence. What is wrong is noted; `None` if anything is.
pub(super) fn read(words: Words, world: &World, notes: &mut Notes) -> Option<Outcome> {
    let whole = words.all().map(|word| word.span.clone()).reduce(|a, b| a.start.min(b.start)..a.end.max(b.end));
    let mut reader = Reader { words, world, notes, delivery: Delivery::default(), clauses: Vec::new(), failure: None };
    let mut good = true;
    while let Some(word) = reader.words.take() {
        if !reader.clause(&word) {
            good = false;
            break;
        }
    }
    if !good || !reader.is_comparable() {
        return None;
    }
    match reader.failure {
        Some((failure, _)) => Some(Outcome::Failed(failure)),
        None if reader.clauses.is_empty() => {
            reader
                .notes
                .error(whole.unwrap_or_default(), "this sentence is empty")
                .help("write `as ADDRESS`, `reaches NAME`, `unreachable` ...");
            None
        }
        None => Some(Outcome::Delivered(reader.delivery)),
    }
}

impl Reader<'_> {
    pub(super) fn wrong(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) -> bool {
        self.notes.error(span, message).help(help);
        false
    }

    pub(super) fn bad_value(&mut self, span: Span, wrong: Wrong) -> bool {
        self.wrong(span, wrong.message, wrong.help)
    }

    fn clause(&mut self, word: &Word) -> bool {
        if let Some((_, first)) =
            self.clauses.iter().find(|(text, _)| *text == word.text && word.text != "reply" && word.text != "no")
        {
            let first = first.clone();
            self.notes
                .error(word.span.clone(), format!("`{}` is here twice", word.text))
                .beside(first, "first here")
                .help("say it once");
            return false;
        }
        let clause = word.text.as_str();
        match clause {
            "unreachable" | "refused" | "prohibited" | "too" | "expired" | "dropped" => return self.failure(word),
            "no" if matches!(self.words.peek_text(), Some("route" | "neighbour")) => return self.failure(word),
            "by" => return self.by(word),
            "at" => return self.at(word),
            "lost" => {
                return self.wrong(
                    word.span.clone(),
                    "`lost` is a defect of the harness and never expected",
                    "say what is expected: `unreachable` takes any reason",
                );
            }
            _ => {}
        }
        self.clauses.push((word.text.clone(), word.span.clone()));
        match clause {
            "as" => self.seen_as(word),
            "reaches" => self.reaches(word),
            "via" => self.hosts(word).is_some_and(|hosts| {
                self.delivery.via = hosts;
                true
            }),
            "through" => self.namespaces(word).is_some_and(|places| {
                self.delivery.through = places;
                true
            }),
            "hops" => self.hops(word),
            "ttl" => self.hop_limit(word).is_some_and(|ttl| {
                self.delivery.ttl = Some(ttl);
                true
            }),
            "port" => self.port(word),
            "reply" => self.reply(word),
            "no" => self.no_answer(word),
            _ => self.unknown(word),
        }
    }

    fn unknown(&mut self, word: &Word) -> bool {
        let text = word.text.as_str();
        let place = match text {
            "loss" | "gap" | "kept" | "cut" | "never" | "then" => {
                Some("that belongs below `during`, beside the operation")
            }
            "has" | "keeps" | "unchanged" => {
                Some("that is about a place, like `cmp1/qrouter-r1: has rule from 10.0.1.11`, not about a flow")
            }
            "announced" | "status" => Some("that is about an address, not about a flow"),
            "from" | "id" | "icmp" | "tcp" | "udp" | "arp" | "over" | "size" | "df" | "count" => {
                Some("that belongs before the `:`, after the target")
            }
            _ => None,
        };
        let help = match (place, nearest(text, BEGINNINGS)) {
            (Some(place), _) => place.to_owned(),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => "a flow arrives `as`, `reaches`, `via`, `through`, `hops`, `ttl`, `port`, `reply`, `no answer`; or it is `unreachable`, `refused`, \
                 `no route`, `no neighbour`, `prohibited`, `too big N`, `expired`, `dropped`"
                .to_owned(),
        };
        self.wrong(word.span.clone(), format!("`{text}` is no clause about a flow"), help)
    }

    /// The word after a clause's own, unless another clause begins there.
    pub(super) fn argument(&mut self, clause: &Word, wanted: &str) -> Option<Word> {
        match self.words.peek_text() {
            Some(text) if text == "itself" || !RESERVED.contains(&text) => self.words.take(),
            Some(_) | None => {
                self.wrong(
                    clause.span.clone(),
                    format!("`{}` needs {wanted}", clause.text),
                    format!("write {wanted} after it"),
                );
                None
            }
        }
    }

    /// Words up to the next clause.
    pub(super) fn arguments(&mut self, clause: &Word, wanted: &str) -> Option<Vec<Word>> {
        let mut list = vec![self.argument(clause, wanted)?];
        while self.words.peek_text().is_some_and(|text| !RESERVED.contains(&text)) {
            list.extend(self.words.take());
        }
        Some(list)
    }

    fn seen_as(&mut self, clause: &Word) -> bool {
        let Some(word) = self.argument(clause, "an address or `itself`") else { return false };
        if word.text == "itself" {
            self.delivery.source = Some(SeenAs::Itself);
            return true;
        }
        match values::address(&word.text) {
            Ok(address) => {
                self.delivery.source = Some(SeenAs::Address(address));
                true
            }
            Err(_) if self.world.section_of(&word.text).is_some() => {
                self.wrong(word.span, "`as` needs an address or `itself`", "the far end sees an address, not a name")
            }
            Err(wrong) => self.bad_value(word.span, wrong),
        }
    }

    fn reaches(&mut self, clause: &Word) -> bool {
        let Some(words) = self.arguments(clause, "a name") else { return false };
        let sections = [NODES, &[Section::Hosts]].concat();
        let mut good = true;
        for word in words {
            good &= self.resolve(&word, &sections);
            self.delivery.reaches.extend(Name::new(word.text).ok());
        }
        good
    }

    /// As [`World::resolve`], but a misspelt clause is taken for one.
    pub(super) fn resolve(&mut self, word: &Word, sections: &[Section]) -> bool {
        let known = self.world.names(sections);
        let near_name = nearest(&word.text, known);
        if self.world.section_of(&word.text).is_none()
            && near_name.is_none()
            && let Some(clause) = nearest(&word.text, BEGINNINGS)
        {
            return self.wrong(
                word.span.clone(),
                format!("`{}` is neither a name nor a clause", word.text),
                format!("did you mean `{clause}`?"),
            );
        }
        self.world.resolve(&word.text, sections, &word.span, self.notes)
    }

    fn hosts(&mut self, clause: &Word) -> Option<Vec<HostName>> {
        let words = self.arguments(clause, "a host")?;
        let resolved: Vec<bool> = words.iter().map(|word| self.resolve(word, &[Section::Hosts])).collect();
        resolved
            .into_iter()
            .all(|good| good)
            .then(|| words.into_iter().filter_map(|word| HostName::new(word.text).ok()).collect())
    }

    fn namespaces(&mut self, clause: &Word) -> Option<Vec<Place>> {
        let words = self.arguments(clause, "`HOST/NAMESPACE`")?;
        let mut places = Vec::new();
        for word in &words {
            places.push(self.namespace(word)?);
        }
        Some(places)
    }

    pub(super) fn namespace(&mut self, word: &Word) -> Option<Place> {
        let Some((host, namespace)) = word.text.split_once('/') else {
            self.wrong(
                word.span.clone(),
                format!("`{}` is no `HOST/NAMESPACE`", word.text),
                "write it like `cmp1/qrouter-r1`",
            );
            return None;
        };
        super::state::namespace(host, namespace, &word.span, self.world, self.notes)
            .map(|(host, namespace)| Place { host: Some(host), name: namespace.to_string() })
    }

    fn hop_limit(&mut self, clause: &Word) -> Option<u8> {
        let word = self.argument(clause, "a number")?;
        match values::integer(&word.text, 1, 255) {
            Ok(number) => u8::try_from(number).ok(),
            Err(wrong) => {
                self.bad_value(word.span, wrong);
                None
            }
        }
    }

    fn port(&mut self, clause: &Word) -> bool {
        let Some(word) = self.words.take() else {
            return self.wrong(
                clause.span.clone(),
                "`port` needs a word",
                "write `port kept`, `port changed`, `port distinct`, `port 1024` or `port 1024-65535`",
            );
        };
        let (first, last) = word.text.split_once('-').unwrap_or((&word.text, &word.text));
        let seen = match (word.text.as_str(), values::port(first), values::port(last)) {
            ("kept", ..) => SeenPort::Kept,
            ("changed", ..) => SeenPort::Changed,
            ("distinct", ..) => SeenPort::Distinct,
            (_, Ok(first), Ok(last)) if first <= last => SeenPort::Range(first, last),
            _ => {
                return self.wrong(
                    word.span.clone(),
                    format!("`{}` says nothing about a port", word.text),
                    "write `port kept`, `port changed`, `port distinct`, `port 1024` or `port 1024-65535`",
                );
            }
        };
        self.delivery.port = Some(seen);
        true
    }

    fn reply(&mut self, clause: &Word) -> bool {
        let Some(word) = self.words.take() else {
            return self.wrong(
                clause.span.clone(),
                "`reply` needs a clause",
                "write `reply via HOST`, `reply through HOST/NAMESPACE` or `reply ttl N`",
            );
        };
        match word.text.as_str() {
            "via" => self.hosts(&word).is_some_and(|hosts| {
                self.delivery.reply_via = hosts;
                true
            }),
            "through" => self.namespaces(&word).is_some_and(|places| {
                self.delivery.reply_through = places;
                true
            }),
            "ttl" => self.hop_limit(&word).is_some_and(|ttl| {
                self.delivery.reply_ttl = Some(ttl);
                true
            }),
            other => {
                let message = format!("`{other}` cannot be said about a reply");
                self.wrong(
                    word.span.clone(),
                    message,
                    "write `reply via HOST`, `reply through HOST/NAMESPACE` or `reply ttl N`",
                )
            }
        }
    }

    fn no_answer(&mut self, clause: &Word) -> bool {
        if self.words.take_if("answer").is_some() {
            self.delivery.no_answer = true;
            return true;
        }
        let span = self.words.peek().map_or_else(|| clause.span.clone(), |word| word.span.clone());
        let near = self.words.peek_text().and_then(|text| nearest(text, ["answer", "route", "neighbour"]));
        let help = near.map_or_else(
            || "write `no answer`, `no route` or `no neighbour`".to_owned(),
            |near| format!("did you mean `no {near}`?"),
        );
        self.wrong(span, "`no` is followed by `answer`, `route` or `neighbour`", help)
    }

    /// What excludes each other cannot be compared.
    fn is_comparable(&mut self) -> bool {
        if let (Some((_, failed)), Some((clause, span))) = (self.failure.clone(), self.clauses.first().cloned()) {
            self.notes
                .error(span, format!("`{clause}` can never be compared: nothing arrives"))
                .beside(failed, "not delivered")
                .help("a flow is either delivered, with clauses, or not, with one reason");
            return false;
        }
        let reply = self.clauses.iter().find(|(clause, _)| clause == "reply").map(|(_, span)| span.clone());
        match reply {
            Some(span) if self.delivery.no_answer => {
                self.wrong(span, "`reply` can never be compared: there is no answer", "remove one of the two")
            }
            Some(_) | None => true,
        }
    }
}
