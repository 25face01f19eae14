//! What stands below `during`: flows that run through the change, each with a sentence of clauses.

use super::expect;
use super::expectation::FlowExpectation;
use super::note::{Notes, nearest, position};
use super::open::flow_of;
use super::subject::{self, NODES};
use super::values;
use super::words::{Word, Words};
use super::world::World;
use super::yaml::{Entry, Node};
use crate::api::Section;
use crate::flow::Protocol;
use crate::ledger::{Demand, Pace, Sight};
use crate::name::{HostName, Name};

/// First words of clauses, for suggestions.
const BEGINNINGS: [&str; 9] = ["no", "loss", "gap", "kept", "cut", "as", "via", "reaches", "never"];

/// One sentence below `during`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct During {
    /// Its line, from 1.
    pub line: usize,
    /// `SUBJECT: sentence`, with single blanks.
    pub text: String,
    /// What runs.
    pub runs: Runs,
    /// What must hold of each.
    pub demand: Demand,
}

/// What a sentence below `during` is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runs {
    /// Flows that begin with the step and end with it; only who sends what to whom counts. A clock may pace twins of them, too.
    Flows(Box<FlowExpectation>, Option<Pace>),
    /// The open flow of that name.
    Open(String),
}

impl Runs {
    /// The flows that the sentence itself names.
    pub fn flow(&self) -> Option<&FlowExpectation> {
        match self {
            Self::Flows(flow, _) => Some(flow.as_ref()),
            Self::Open(_) => None,
        }
    }
}

/// Reads the map below `during`. Flows are read against what exists before the change, sentences against all that is named.
pub(super) fn read(node: &Node, source: &str, before: &World, after: &World, notes: &mut Notes) -> Vec<During> {
    node.entries().iter().filter_map(|entry| one(entry, source, (before, after), notes)).collect()
}

fn one(entry: &Entry, source: &str, (before, after): (&World, &World), notes: &mut Notes) -> Option<During> {
    let runs = subject(entry, (before, after), notes);
    let Some(mut sentence) = Words::of_value(&entry.value) else {
        notes.error(entry.key_span.clone(), "a flow has one sentence").help("write all clauses in one line");
        return None;
    };
    let demand = demand(&mut sentence, entry, after, notes);
    let (runs, demand) = (runs?, demand?);
    let text =
        format!("{}: {}", expect::one_line(&entry.key), expect::one_line(entry.value.text().unwrap_or_default()));
    Some(During { line: position(source, entry.value.span.start).0, text, runs, demand })
}

fn subject(entry: &Entry, (before, after): (&World, &World), notes: &mut Notes) -> Option<Runs> {
    if !entry.key.contains("->") {
        if entry.key.trim().contains(char::is_whitespace) {
            notes
                .error(entry.key_span.clone(), "this is no flow")
                .help("write `SOURCE -> TARGET PROTOCOL`, or the name of a flow that `open_flow` opened");
            return None;
        }
        let name = entry.key.trim();
        return after.running.flows.resolve(name, &entry.key_span, notes).then(|| Runs::Open(name.to_owned()));
    }
    let mut words = Words::of_key(entry);
    let subject = subject::read_running(&mut words, before, notes)?;
    if subject.protocol == Some(Protocol::Arp) {
        notes
            .error(entry.key_span.clone(), "`arp` and `nd` are no flow that runs on")
            .help("write `icmp`, `tcp` or `udp`");
        return None;
    }
    let pace = subject.pace.as_ref().map(|(pace, _)| *pace);
    let flow = flow_of(subject);
    if flow.flows(&before.intent).is_empty() && before.is_sound() {
        notes
            .error(entry.key_span.clone(), "nothing would be sent")
            .help("a node does not send to itself by name; write its address to try that");
        return None;
    }
    Some(Runs::Flows(Box::new(flow), pace))
}

fn demand(words: &mut Words, entry: &Entry, world: &World, notes: &mut Notes) -> Option<Demand> {
    let mut demand = Demand::default();
    let mut said: Vec<String> = Vec::new();
    while let Some(word) = words.take() {
        // `no loss` and `loss N` are one clause.
        let clause = if word.text == "no" { "loss" } else { word.text.as_str() };
        if said.iter().any(|other| other == clause) {
            notes.error(word.span, format!("`{}` is here twice", word.text)).help("say it once");
            return None;
        }
        said.push(clause.to_owned());
        read_clause(&word, words, world, notes, &mut demand)?;
    }
    if said.is_empty() {
        notes
            .error(entry.value.span.clone(), "this sentence is empty")
            .help("write `no loss`, `gap N ops`, `kept`, `cut`, `as A then B` ...");
        return None;
    }
    if demand.kept && demand.cut {
        notes.error(entry.value.span.clone(), "`kept` and `cut` exclude each other").help("remove one of them");
        return None;
    }
    if demand.cut && demand.loss == Some(0) {
        notes.error(entry.value.span.clone(), "what is `cut` loses packets").help("remove `no loss`");
        return None;
    }
    Some(demand)
}

fn read_clause(word: &Word, words: &mut Words, world: &World, notes: &mut Notes, demand: &mut Demand) -> Option<()> {
    match word.text.as_str() {
        "no" => demand.loss = follows(word, "loss", words, notes).map(|()| Some(0))?,
        "loss" => demand.loss = Some(number(word, words, notes)?),
        "gap" => {
            demand.gap = Some(number(word, words, notes)?);
            follows(word, "ops", words, notes)?;
        }
        "kept" => demand.kept = true,
        "cut" => demand.cut = true,
        "never" => {
            follows(word, "bare", words, notes)?;
            demand.never_bare = true;
        }
        "as" => demand.sources = values_of(word, words, notes, |word, _, notes| sight(word, notes))?,
        "via" => {
            demand.via = values_of(word, words, notes, |first, words, notes| way(first, words, world, notes))?;
        }
        "reaches" => {
            let sections = [NODES, &[Section::Hosts]].concat();
            demand.reaches = values_of(word, words, notes, |word, _, notes| {
                known(&word, &sections, world, notes).and_then(|()| Name::new(word.text).ok())
            })?;
        }
        text => {
            let note = notes.error(word.span.clone(), format!("`{text}` is no clause about a flow during a change"));
            match nearest(text, BEGINNINGS) {
                Some(near) => note.help(format!("did you mean `{near}`?")),
                None => note.help(
                    "write `no loss`, `loss N`, `gap N ops`, `kept`, `cut`, `as A then B`, `via A then B`, \
                     `reaches A then B` or `never bare`; what holds after the change stands below `expect`",
                ),
            };
            return None;
        }
    }
    Some(())
}

/// The second word of a clause of two.
fn follows(clause: &Word, second: &str, words: &mut Words, notes: &mut Notes) -> Option<()> {
    if words.take_if(second).is_some() {
        return Some(());
    }
    notes
        .error(words.place(), format!("after `{}` here should be `{second}`", clause.text))
        .help("clauses are `no loss`, `gap N ops`, `never bare`");
    None
}

fn number(clause: &Word, words: &mut Words, notes: &mut Notes) -> Option<u32> {
    let Some(value) = words.take() else {
        notes.error(clause.span.clone(), format!("`{}` needs a number", clause.text)).help("write it after it");
        return None;
    };
    match values::integer(&value.text, 0, 100_000) {
        Ok(number) => Some(number),
        Err(wrong) => {
            notes.error(value.span, wrong.message).help(wrong.help);
            None
        }
    }
}

/// `A`, or `A then B`.
fn values_of<T>(
    clause: &Word,
    words: &mut Words,
    notes: &mut Notes,
    read: impl Fn(Word, &mut Words, &mut Notes) -> Option<T>,
) -> Option<Vec<T>> {
    let mut values = Vec::new();
    loop {
        let Some(word) = words.take() else {
            notes
                .error(clause.span.clone(), format!("`{}` needs a value", clause.text))
                .help(format!("write `{0} A` or `{0} A then B`", clause.text));
            return None;
        };
        values.push(read(word, words, notes)?);
        if values.len() == 2 || words.take_if("then").is_none() {
            return Some(values);
        }
    }
}

/// The hosts of one way, in order: a way between floating IPs crosses the external legs of two.
fn way(first: Word, words: &mut Words, world: &World, notes: &mut Notes) -> Option<Vec<HostName>> {
    let mut hosts = Vec::new();
    let mut next = Some(first);
    while let Some(word) = next {
        known(&word, &[Section::Hosts], world, notes)?;
        hosts.push(HostName::new(word.text).ok()?);
        let ends = words.peek_text().is_none_or(|text| text == "then" || BEGINNINGS.contains(&text));
        next = if ends { None } else { words.take() };
    }
    Some(hosts)
}

fn sight(word: Word, notes: &mut Notes) -> Option<Sight> {
    if word.text == "itself" {
        return Some(Sight::Itself);
    }
    match values::address(&word.text) {
        Ok(address) => Some(Sight::Address(address)),
        Err(wrong) => {
            notes.error(word.span, wrong.message).help(wrong.help);
            None
        }
    }
}

/// What the change deleted may still have been passed.
fn known(word: &Word, sections: &[Section], world: &World, notes: &mut Notes) -> Option<()> {
    let was = sections.iter().any(|section| world.was_ever(&word.text, *section));
    (was || world.resolve(&word.text, sections, &word.span, notes)).then_some(())
}
