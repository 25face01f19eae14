//! Sentences as words that know where they stand.

use super::note::Span;
use super::yaml::{Entry, Node, Value};

/// Words that cannot be names, so that lists in sentences end where they should.
pub(super) const RESERVED: &[&str] = &[
    "icmp",
    "arp",
    "nd",
    "tcp",
    "udp",
    "from",
    "id",
    "size",
    "bytes",
    "ttl",
    "count",
    "df",
    "over",
    "ipv4",
    "ipv6",
    "at",
    "for",
    "as",
    "itself",
    "reaches",
    "via",
    "through",
    "hops",
    "port",
    "kept",
    "changed",
    "distinct",
    "reply",
    "no",
    "answer",
    "by",
    "unreachable",
    "refused",
    "route",
    "neighbour",
    "prohibited",
    "too",
    "big",
    "expired",
    "dropped",
    "lost",
    "loss",
    "gap",
    "ops",
    "cut",
    "never",
    "bare",
    "then",
    "has",
    "keeps",
    "since",
    "unchanged",
    "stale",
    "in",
    "sync",
    "announced",
    "times",
    "not",
    "status",
    "silent",
    "on",
    "tenant",
    "source",
    "link-local",
    "transit",
    "wrong",
    "host",
    "withdrawn",
    "address",
    "two",
    "owners",
    "namespace",
    "device",
    "rule",
    "rule6",
    "route6",
    "nat",
    "filter",
    "mangle",
    "raw",
    "nat6",
    "filter6",
    "mangle6",
    "raw6",
    "conntrack",
    "sysctl",
    "frame",
    "omit",
    "keep",
    "late",
    "early",
    "announcement",
    "lose",
    "notification",
    "to",
    "forget",
    "allocations",
    "rebuild",
    "all",
    "none",
    "underlay",
    "watch",
];

/// A word of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// The word.
    pub(super) text: String,
    /// Where it stands; the whole value where YAML quoted or folded it.
    pub(super) span: Span,
}

/// Words, read one after the other.
#[derive(Debug, Clone)]
pub(super) struct Words {
    list: Vec<Word>,
    next: usize,
    end: Span,
}

impl Words {
    fn new(text: &str, span: &Span, exact: bool, commas: bool) -> Self {
        let mut list = Vec::new();
        let mut add = |from: usize, to: usize| {
            if let Some(word) = text.get(from..to).filter(|word| !word.is_empty()) {
                let place = if exact { span.start + from..span.start + to } else { span.clone() };
                list.push(Word { text: word.to_owned(), span: place });
            }
        };
        let mut start = 0;
        for (at, character) in text.char_indices() {
            let comma = commas && character == ',';
            if character.is_whitespace() || comma {
                add(start, at);
                start = at + character.len_utf8();
            }
            if comma {
                add(at, start);
            }
        }
        add(start, text.len());
        let end = if exact { span.end..span.end } else { span.clone() };
        Self { list, next: 0, end }
    }

    /// The words of a text of its own; a comma is a word.
    pub(super) fn of_text(text: &str) -> Self {
        Self::new(text, &(0..text.len()), true, true)
    }

    /// The words of a key; a comma is a word.
    pub(super) fn of_key(entry: &Entry) -> Self {
        Self::new(&entry.key, &entry.key_span, entry.key_exact, true)
    }

    /// The words of a scalar, commas as written; none if it is no scalar.
    pub(super) fn of_value(node: &Node) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(Self::new(&text.text, &node.span, text.exact, false)),
            Value::List(_) | Value::Map(_) | Value::Refused => None,
        }
    }

    /// The words of a scalar that is a flow; a comma is a word.
    pub(super) fn of_flow(node: &Node) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(Self::new(&text.text, &node.span, text.exact, true)),
            Value::List(_) | Value::Map(_) | Value::Refused => None,
        }
    }

    /// The next word, which stays.
    pub(super) fn peek(&self) -> Option<&Word> {
        self.list.get(self.next)
    }

    /// The text of the next word, which stays.
    pub(super) fn peek_text(&self) -> Option<&str> {
        self.peek().map(|word| word.text.as_str())
    }

    /// Takes the next word.
    pub(super) fn take(&mut self) -> Option<Word> {
        let word = self.list.get(self.next).cloned();
        self.next += usize::from(word.is_some());
        word
    }

    /// Takes the next word if it is this one.
    pub(super) fn take_if(&mut self, text: &str) -> Option<Span> {
        if self.peek_text() == Some(text) { self.take().map(|word| word.span) } else { None }
    }

    /// Where the next word stands, or where the sentence ends.
    pub(super) fn place(&self) -> Span {
        self.peek().map_or_else(|| self.end.clone(), |word| word.span.clone())
    }

    /// What is left.
    pub(super) fn rest(&mut self) -> Vec<Word> {
        let rest = self.list.get(self.next..).unwrap_or_default().to_vec();
        self.next = self.list.len();
        rest
    }

    /// All words.
    pub(super) fn all(&self) -> impl Iterator<Item = &Word> {
        self.list.iter()
    }
}
