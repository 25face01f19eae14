//! What is wrong with a file: a message, the place, and what to write instead.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// A part of the file, in bytes.
pub type Span = Range<usize>;

/// How bad a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file cannot be run.
    Error,
    /// The file can be run, but something is missing for its readers.
    Warning,
}

/// One remark about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Where the caret goes.
    pub span: Span,
    /// Other places that matter, each with a few words.
    pub beside: Vec<(Span, String)>,
    /// What to write instead, or what is allowed; one entry a line.
    pub help: Vec<String>,
    /// It is right in the language, but this version of dvrlab does not have it yet.
    pub later: bool,
}

impl Note {
    fn new(severity: Severity, span: Span, message: String) -> Self {
        Self { severity, message, span, beside: Vec::new(), help: Vec::new(), later: false }
    }

    /// Points at another place as well.
    pub(super) fn beside(&mut self, span: Span, text: impl Into<String>) -> &mut Self {
        if span != self.span {
            self.beside.push((span, text.into()));
        }
        self
    }

    /// Adds a line of help.
    pub(super) fn help(&mut self, text: impl Into<String>) -> &mut Self {
        self.help.push(text.into());
        self
    }

    /// Line and column of the caret, both from 1, columns in characters.
    pub fn position(&self, text: &str) -> (usize, usize) {
        position(text, self.span.start)
    }
}

/// Line and column of a byte, both from 1, columns in characters.
pub(super) fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).map_or(0, |line| line.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}

/// The notes of a file, as they are found.
#[derive(Debug, Default)]
pub(super) struct Notes {
    list: Vec<Note>,
    spare: Option<Note>,
}

impl Notes {
    /// An error; what is returned takes label and help. A second error at the same place is not kept: it would be
    /// about the same word.
    pub(super) fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Note {
        self.add(Note::new(Severity::Error, span, message.into()))
    }

    /// A warning.
    pub(super) fn warning(&mut self, span: Span, message: impl Into<String>) -> &mut Note {
        self.add(Note::new(Severity::Warning, span, message.into()))
    }

    /// A word of the language that this version does not have yet.
    pub(super) fn later(&mut self, span: Span, what: &str) -> &mut Note {
        let message = format!("{what} is part of the language, but this version of dvrlab does not have it yet");
        let note = self.error(span, message);
        note.later = true;
        note.help("leave it out; `dvrlab schema` prints what this version has")
    }

    fn add(&mut self, note: Note) -> &mut Note {
        if self.list.iter().any(|other| other.span == note.span && other.severity == note.severity) {
            return self.spare.insert(note);
        }
        self.list.push(note);
        let spare = &mut self.spare;
        match self.list.last_mut() {
            Some(added) => added,
            None => spare.get_or_insert_with(|| Note::new(Severity::Error, 0..0, String::new())),
        }
    }

    /// Whether an error was found inside `span`.
    pub(super) fn errors_in(&self, span: &Span) -> bool {
        self.list
            .iter()
            .any(|note| note.severity == Severity::Error && span.start <= note.span.start && note.span.end <= span.end)
    }

    /// Errors and warnings about `text`, each in order of place. A span that ends inside a character takes all of it.
    pub(super) fn split(self, text: &str) -> (Vec<Note>, Vec<Note>) {
        let mut all = self.list;
        for note in &mut all {
            note.span.end = text.ceil_char_boundary(note.span.end);
        }
        all.sort_by_key(|note| (note.span.start, note.span.end));
        all.into_iter().partition(|note| note.severity == Severity::Error)
    }
}

/// Prints notes with `path:line:column`, the line, a caret under the word and the help text.
///
/// `text` is the file that the notes are about. With `color`, ANSI escapes set the parts off.
pub fn render(notes: &[Note], text: &str, path: &str, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii);
    let mut out = String::new();
    for note in notes {
        let level = match note.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let inside = |span: &Span| span.start.min(text.len())..span.end.min(text.len());
        let mut snippet = Snippet::source(text).path(path).annotation(AnnotationKind::Primary.span(inside(&note.span)));
        for (span, words) in &note.beside {
            snippet = snippet.annotation(AnnotationKind::Context.span(inside(span)).label(words.as_str()));
        }
        let mut group = level.primary_title(note.message.as_str()).element(snippet);
        for help in &note.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    out
}

/// The candidate nearest to `word`, if it is near enough to be what was meant.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = match word.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

/// What can be written, for help texts: `write ...` for one word, `write one of ...` for several.
pub(super) fn write_one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    let lead = if words.len() == 1 { "write" } else { "write one of" };
    format!("{lead} {}", listed(words))
}

/// `a, b, c` in backticks, for help texts.
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}
