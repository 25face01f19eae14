//! YAML text as a tree of nodes that know where they stand.
//!
//! Everything that the language leaves out of YAML is refused here: anchors, aliases, tags, merge keys, several
//! documents, keys that are no words, the same key twice, empty values.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle, Span as Marks, SpannedEventReceiver, StrInput};

use super::note::{Notes, Span};

/// Deepest nesting that is read; the language needs eight.
const DEPTH_MAX: usize = 32;

/// A value and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// From its first to past its last character.
    pub(super) span: Span,
    /// The value.
    pub(super) value: Value,
}

/// A YAML value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A scalar.
    Text(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in order of writing.
    Map(Vec<Entry>),
    /// Something that was refused already; nothing more is said about it.
    Refused,
}

/// A scalar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scalar {
    /// The characters, unquoted and unfolded.
    pub(super) text: String,
    /// The file has the same characters at the span, so that a caret can go under a word inside.
    pub(super) exact: bool,
    /// Without quotes, so that `true` is a boolean.
    pub(super) plain: bool,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// Where the key stands.
    pub(super) key_span: Span,
    /// A caret can go under a word inside the key.
    pub(super) key_exact: bool,
    /// The value.
    pub(super) value: Node,
}

impl Entry {
    /// Key and value.
    pub(super) fn span(&self) -> Span {
        self.key_span.start..self.value.span.end.max(self.key_span.end)
    }
}

impl Node {
    /// The scalar's text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(&text.text),
            Value::List(_) | Value::Map(_) | Value::Refused => None,
        }
    }

    /// The entries of a mapping; none of anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Text(_) | Value::List(_) | Value::Refused => &[],
        }
    }

    /// The items of a sequence, or the one value.
    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Text(_) | Value::Map(_) => std::slice::from_ref(self),
            Value::Refused => &[],
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// In one line, as flow YAML.
    pub(super) fn one_line(&self) -> String {
        match &self.value {
            Value::Text(text) => one_line_text(text),
            Value::List(items) => format!("[{}]", join(items.iter().map(Self::one_line))),
            Value::Map(entries) if entries.is_empty() => "{}".to_owned(),
            Value::Map(entries) => {
                format!(
                    "{{ {} }}",
                    join(entries.iter().map(|entry| format!("{}: {}", entry.key, entry.value.one_line())))
                )
            }
            Value::Refused => String::new(),
        }
    }
}

fn one_line_text(text: &Scalar) -> String {
    let special = text.text.contains([',', '[', ']', '{', '}']) || text.text.ends_with(':');
    if special { format!("\"{}\"", text.text) } else { text.text.clone() }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// Reads `text`. Without a node, the notes say why.
pub(super) fn read(text: &str, notes: &mut Notes) -> Option<Node> {
    let mut builder =
        Builder { text, lines: line_starts(text), notes, open: Vec::new(), root: None, documents: 0, lost: 0 };
    let outcome = Parser::new(StrInput::new(text)).load(&mut builder, true);
    let root = builder.root.take();
    if let Err(error) = outcome {
        let at = builder.byte(error.marker().line(), error.marker().col());
        let line_end = text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |end| at + end);
        let span = at..line_end.min(at + 1).max(at);
        builder.notes.error(span, format!("this is not YAML: {}", error.info())).help(
            "often a missing `:`, a `{` or `[` that is not closed, or an indentation that fits no line above; nothing was read",
        );
        return None;
    }
    if root.is_none() {
        notes
            .error(0..0, "the file says nothing")
            .help("a scenario is a map of sections: `hosts`, `networks`, `subnets`, ... and `steps`");
    }
    root
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

/// A collection that is not closed yet.
enum Open {
    List(usize, Vec<Node>),
    Map(usize, Vec<Entry>, Option<Key>),
}

/// A key that waits for its value.
struct Key {
    text: String,
    span: Span,
    exact: bool,
    refused: bool,
}

struct Builder<'a> {
    text: &'a str,
    lines: Vec<usize>,
    notes: &'a mut Notes,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    /// Levels below [`DEPTH_MAX`] or inside a refused document.
    lost: usize,
}

impl Builder<'_> {
    /// Byte offset of a line (from 1) and a column (characters, from 0).
    fn byte(&self, line: usize, column: usize) -> usize {
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(self.text.len());
        let rest = self.text.get(start..).unwrap_or_default();
        rest.char_indices().nth(column).map_or(self.text.len(), |(offset, _)| start + offset)
    }

    fn span(&self, marks: Marks) -> Span {
        let start = self.byte(marks.start.line(), marks.start.col());
        let end = self.byte(marks.end.line(), marks.end.col()).max(start);
        let raw = self.text.get(start..end).unwrap_or_default();
        start..start + raw.trim_end().len()
    }

    fn refuse_extras(&mut self, span: &Span, anchor: usize, tagged: bool) {
        if tagged {
            self.notes
                .error(span.clone(), "a scenario has no YAML tags")
                .help("remove the word that begins with `!`; every value's type is known from its key");
        } else if anchor != 0 {
            self.notes
                .error(span.clone(), "a scenario has no YAML anchors and aliases")
                .help("write the value out where it is needed: a file is read from top to bottom");
        }
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, items)) => {
                if is_empty(&node) {
                    self.notes
                        .error(node.span.clone(), "this entry is empty")
                        .help("write a value after the `-`, or remove the line");
                    return;
                }
                items.push(node);
            }
            Some(Open::Map(_, entries, waiting)) => match waiting.take() {
                None => *waiting = Some(key_of(node, self.notes)),
                Some(key) => add_entry(self.text, entries, key, node, self.notes),
            },
        }
    }

    fn close(&mut self, end: usize) {
        let node = match self.open.pop() {
            Some(Open::List(start, items)) => Node { span: start..end.max(start), value: Value::List(items) },
            Some(Open::Map(start, entries, _)) => Node { span: start..end.max(start), value: Value::Map(entries) },
            None => return,
        };
        let last = match &node.value {
            Value::List(items) => items.last().map(|item| item.span.end),
            Value::Map(entries) => entries.last().map(|entry| entry.span().end),
            Value::Text(_) | Value::Refused => None,
        };
        // A block collection ends where the next line begins; its last value is the better end.
        let closed = self.text.get(..end).is_some_and(|text| text.ends_with([']', '}']));
        let end = if closed { end } else { last.unwrap_or(end) };
        self.place(Node { span: node.span.start..end.max(node.span.start), value: node.value });
    }

    fn begin(&mut self, open: Open, span: Span) {
        if self.open.len() >= DEPTH_MAX || self.lost > 0 {
            if self.lost == 0 {
                self.notes.error(span.clone(), "this is nested deeper than anything in a scenario");
                self.place(Node { span, value: Value::Refused });
            }
            self.lost += 1;
        } else {
            self.open.push(open);
        }
    }

    fn end(&mut self, end: usize) {
        if self.lost > 0 {
            self.lost -= 1;
        } else {
            self.close(end);
        }
    }
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Text(text) => text.plain && matches!(text.text.as_str(), "" | "~" | "null"),
        Value::List(_) | Value::Map(_) | Value::Refused => false,
    }
}

fn key_of(node: Node, notes: &mut Notes) -> Key {
    match node.value {
        Value::Text(text) if !text.text.is_empty() => {
            let merge = text.plain && text.text == "<<";
            if merge {
                notes
                    .error(node.span.clone(), "a scenario has no merge keys")
                    .help("write the keys out: a file is read from top to bottom");
            }
            Key { text: text.text, span: node.span, exact: text.exact, refused: merge }
        }
        Value::Text(_) | Value::List(_) | Value::Map(_) => {
            notes.error(node.span.clone(), "a key must be a word");
            Key { text: String::new(), span: node.span, exact: false, refused: true }
        }
        Value::Refused => Key { text: String::new(), span: node.span, exact: false, refused: true },
    }
}

fn add_entry(source: &str, entries: &mut Vec<Entry>, key: Key, value: Node, notes: &mut Notes) {
    if key.refused {
        return;
    }
    if let Some(first) = entries.iter().find(|entry| entry.key == key.text) {
        let help = match value.value {
            Value::Map(_) => "write all of it in one place",
            Value::Text(_) | Value::List(_) | Value::Refused => {
                "say it once; several sentences about one place are a list"
            }
        };
        let message = format!("`{}` is here twice", key.text);
        notes.error(key.span, message).beside(first.key_span.clone(), "first here").help(help);
        return;
    }
    if is_empty(&value) {
        let note = notes.error(key.span.clone(), format!("`{}` has no value", key.text));
        let colon = source.get(key.span.end..).is_some_and(|rest| rest.trim_start().starts_with(':'));
        if key.text == "expect" {
            note.help("what is expected is indented deeper than `expect:`");
        } else if !colon {
            note.help(
                "inside `{ }` and `[ ]` a `,` ends a value: put text with `,` on a line of its own or into quotes",
            );
        } else {
            note.help("write a value, or remove the key; a thing without attributes is `{}`");
        }
        let refused = Node { span: key.span.clone(), value: Value::Refused };
        entries.push(Entry { key: key.text, key_span: key.span, key_exact: key.exact, value: refused });
        return;
    }
    entries.push(Entry { key: key.text, key_span: key.span, key_exact: key.exact, value });
}

impl<'input> SpannedEventReceiver<'input> for Builder<'_> {
    fn on_event(&mut self, event: Event<'input>, marks: Marks) {
        let span = self.span(marks);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    if self.documents == 2 {
                        self.notes
                            .error(span, "a file holds one scenario")
                            .help("remove the `---`, or put what follows into a file of its own");
                    }
                    self.lost += 1;
                }
            }
            Event::Alias(_) => {
                self.refuse_extras(&span, 1, false);
                if self.lost == 0 {
                    self.place(Node { span, value: Value::Refused });
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_extras(&span, anchor, tag.is_some());
                if self.lost == 0 {
                    let node = scalar(self.text, span, text, style);
                    self.place(node);
                }
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(&span, anchor, tag.is_some());
                self.begin(Open::List(span.start, Vec::new()), span);
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(&span, anchor, tag.is_some());
                self.begin(Open::Map(span.start, Vec::new(), None), span);
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span.end),
        }
    }
}

fn scalar(source: &str, span: Span, text: Cow<'_, str>, style: ScalarStyle) -> Node {
    let plain = style == ScalarStyle::Plain;
    let exact = source.get(span.clone()) == Some(&*text);
    Node { span, value: Value::Text(Scalar { text: text.into_owned(), exact, plain }) }
}
