//! Is the tree built as the language says: known keys, right types, nothing missing. All mistakes are noted, none stops.

use super::deed::Hearing;
use super::language::{self, Choice, Key, Need, OPERATIONS, Record, STEP, TOGETHER_ENTRY, Table, Type};
use super::note::{Notes, Span, listed, nearest};
use super::values::{self, Wrong};
use super::words::RESERVED;
use super::yaml::{Entry, Node, Value};
use crate::api::{RejectedKind, Section};
use crate::name::Name;

/// Checks `node` against `ty`.
pub(super) fn check(node: &Node, ty: &Type, notes: &mut Notes) {
    if node.value == Value::Refused {
        return;
    }
    match ty {
        Type::Map(record) => check_record(node, record, &node.span, notes),
        Type::Table(table) => check_table(node, table, notes),
        Type::List(item) => check_list(node, item, notes),
        Type::OneOrMany(item) => match &node.value {
            Value::List(items) if items.is_empty() => {
                notes
                    .error(node.span.clone(), "this list is empty")
                    .help("write one value or several, or leave the key out");
            }
            Value::List(items) => items.iter().for_each(|node| check(node, item, notes)),
            Value::Text(_) | Value::Map(_) | Value::Refused => check(node, item, notes),
        },
        Type::OrNone(inner) => {
            if node.text() != Some("none") {
                check(node, inner, notes);
            }
        }
        Type::Steps => check_steps(node, notes),
        Type::Expect | Type::During => check_expect(node, ty, notes),
        Type::Notify => check_notify(node, notes),
        Type::Bool
        | Type::Fixed(_)
        | Type::Integer(..)
        | Type::Word
        | Type::Name(_)
        | Type::Address
        | Type::FloatingIp
        | Type::Prefix
        | Type::AddressOrPrefix
        | Type::Mac
        | Type::AddressPair
        | Type::Pool
        | Type::Route
        | Type::Closed
        | Type::Place
        | Type::Choice(_)
        | Type::Text
        | Type::Form(_)
        | Type::Refused => check_scalar(node, ty, notes),
    }
}

/// What a value of the type is called in messages.
fn expected(ty: &Type) -> &'static str {
    match ty {
        Type::Bool | Type::Fixed(_) => "`true` or `false`",
        Type::Integer(..) => "a number",
        Type::Word | Type::Choice(_) => "a word",
        Type::Text => "a text",
        Type::Name(_) => "a name",
        Type::Place => "a place",
        Type::Address | Type::FloatingIp => "an address",
        Type::Prefix => "a prefix",
        Type::AddressOrPrefix => "an address or prefix",
        Type::Mac => "a MAC address",
        Type::AddressPair => "an address pair, `ADDRESS` or `ADDRESS MAC`",
        Type::Pool => "a range of addresses, `A-B`",
        Type::Route => "a route, `DEST via NEXTHOP`",
        Type::Closed => "a protocol and port, `udp/9`",
        Type::Form(form) => form.noun,
        Type::Refused => "an error type of the API",
        Type::OrNone(inner) | Type::OneOrMany(inner) => expected(inner),
        Type::List(_) | Type::Steps => "a list",
        Type::Map(_) | Type::Table(_) | Type::Expect | Type::During | Type::Notify => "a map",
    }
}

/// How a value of the type is written.
fn example(ty: &Type) -> String {
    match ty {
        Type::Map(record) => match record.keys.first() {
            Some(key) => format!("write its keys below, like `{}: ...`", key.name),
            None => "write its keys below".to_owned(),
        },
        Type::Table(table) => match table.record.keys.first() {
            Some(key) => format!("write `NAME: {{ {}: ... }}`, one below the other", key.name),
            None => "write `NAME: {}`, one below the other".to_owned(),
        },
        Type::During => "write `SOURCE -> TARGET: sentence`, one below the other".to_owned(),
        Type::Expect => "write `SOURCE -> TARGET: sentence` or `PLACE: sentence`, one below the other".to_owned(),
        Type::Notify => "write `{ HOST: lost }`, or `{ all: split }`".to_owned(),
        Type::OrNone(inner) => format!("{}, or `none`", example(inner)),
        Type::OneOrMany(inner) => format!("{}, or a list", example(inner)),
        Type::List(_) | Type::Steps => "write each entry after a `-`".to_owned(),
        Type::Bool
        | Type::Fixed(_)
        | Type::Integer(..)
        | Type::Word
        | Type::Name(_)
        | Type::Address
        | Type::FloatingIp
        | Type::Prefix
        | Type::AddressOrPrefix
        | Type::Mac
        | Type::AddressPair
        | Type::Pool
        | Type::Route
        | Type::Closed
        | Type::Place
        | Type::Choice(_)
        | Type::Text
        | Type::Form(_)
        | Type::Refused => format!("write {} after the key", expected(ty)),
    }
}

fn mismatch(node: &Node, wanted: &str, help: &str, notes: &mut Notes) {
    let found = match &node.value {
        Value::Text(_) => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
        Value::Refused => return,
    };
    // A caret under a whole block says nothing; its first character does.
    let first = node.span.start..node.span.end.min(node.span.start + 1);
    let span = if matches!(node.value, Value::Text(_)) { node.span.clone() } else { first };
    notes.error(span, format!("here should be {wanted}, not {found}")).help(help);
}

fn check_scalar(node: &Node, ty: &Type, notes: &mut Notes) {
    let Value::Text(text) = &node.value else {
        mismatch(node, expected(ty), &example(ty), notes);
        return;
    };
    if let Err(wrong) = scalar(&text.text, ty) {
        notes.error(node.span.clone(), wrong.message).help(wrong.help);
    }
}

fn scalar(text: &str, ty: &Type) -> Result<(), Wrong> {
    match ty {
        Type::Bool | Type::Fixed(_) => values::boolean(text).map(drop),
        Type::Integer(min, max) => values::integer(text, *min, *max).map(drop),
        Type::Word => word(text),
        Type::Address => values::address(text).map(drop),
        Type::FloatingIp => values::floating_ip(text).map(drop),
        Type::Prefix => values::prefix(text).map(drop),
        Type::AddressOrPrefix => values::address_or_prefix(text).map(drop),
        Type::Mac => values::mac(text).map(drop),
        Type::AddressPair => values::address_pair(text).map(drop),
        Type::Pool => values::range(text).map(drop),
        Type::Route => values::route(text).map(drop),
        Type::Closed => values::closed(text).map(drop),
        Type::Choice(choices) => choice(text, choices),
        Type::Form(form) => (form.check)(text),
        Type::Refused => refused(text),
        Type::Name(_)
        | Type::Place
        | Type::Text
        | Type::OrNone(_)
        | Type::OneOrMany(_)
        | Type::List(_)
        | Type::Map(_)
        | Type::Table(_)
        | Type::Steps
        | Type::Expect
        | Type::During
        | Type::Notify => Ok(()),
    }
}

fn word(text: &str) -> Result<(), Wrong> {
    if text.contains(char::is_whitespace) {
        let joined = text.split_whitespace().collect::<Vec<_>>().join("-");
        return Err(Wrong { message: format!("`{text}` is more than one word"), help: format!("write `{joined}`") });
    }
    Ok(())
}

fn choice(text: &str, choices: &[Choice]) -> Result<(), Wrong> {
    if choices.iter().any(|choice| choice.word == text) {
        return Ok(());
    }
    let help = match nearest(text, choices.iter().map(|choice| choice.word)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write one of {}", listed(choices.iter().map(|choice| choice.word))),
    };
    Err(Wrong { message: format!("`{text}` is not possible here"), help })
}

fn refused(text: &str) -> Result<(), Wrong> {
    let all: Vec<String> = RejectedKind::ALL.iter().map(ToString::to_string).collect();
    if all.iter().any(|kind| kind == text) {
        return Ok(());
    }
    let near = all.iter().map(String::as_str).min_by_key(|kind| strsim::damerau_levenshtein(text, kind));
    let help = near.map_or_else(String::new, |near| format!("did you mean `{near}`?"));
    Err(Wrong { message: format!("`{text}` is not an error type of the API"), help })
}

fn check_list(node: &Node, item: &Type, notes: &mut Notes) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|node| check(node, item, notes)),
        Value::Text(_) | Value::Map(_) => {
            let span = node.span.start..node.span.end.min(node.span.start + 1);
            let span = if node.text().is_some() { node.span.clone() } else { span };
            let note = notes.error(span, "here should be a list");
            if let Some(text) = node.text() {
                note.help(format!("write `[{text}]`"));
            }
        }
        Value::Refused => {}
    }
}

/// Checks the keys of a map; `owner` is where a missing key is reported.
fn check_record(node: &Node, record: &'static Record, owner: &Span, notes: &mut Notes) {
    let Value::Map(entries) = &node.value else {
        let wanted = format!("a map with the keys of {}", language::with_article(record.title));
        mismatch(node, &wanted, &example(&Type::Map(record)), notes);
        return;
    };
    for entry in entries {
        match record.key(&entry.key) {
            Some(Key { ty: Type::Fixed(only), .. }) => check_fixed(entry, *only, notes),
            Some(key) => check(&entry.value, &key.ty, notes),
            None => unknown_key(entry, record, &[], notes),
        }
    }
    missing(entries, record, owner, notes);
}

/// A key whose other value belongs to a later version.
fn check_fixed(entry: &Entry, only: bool, notes: &mut Notes) {
    match entry.value.text().map(values::boolean) {
        Some(Ok(value)) if value != only => {
            notes.later(entry.value.span.clone(), &format!("`{}: {value}`", entry.key));
        }
        Some(Ok(_)) => {}
        Some(Err(_)) | None => check_scalar(&entry.value, &Type::Fixed(only), notes),
    }
}

fn missing(entries: &[Entry], record: &'static Record, owner: &Span, notes: &mut Notes) {
    for key in record.keys.iter().filter(|key| key.need == Need::Required) {
        if !entries.iter().any(|entry| entry.key == key.name) {
            notes
                .error(
                    owner.clone(),
                    format!("`{}` is missing: {} needs it", key.name, language::with_article(record.title)),
                )
                .help(format!("add `{}`. {}", key.name, key.doc));
        }
    }
}

/// Notes a key that the record does not have. `more` are further keys that are allowed beside it.
fn unknown_key(entry: &Entry, record: &Record, more: &[Key], notes: &mut Notes) {
    let span = entry.key_span.clone();
    let key = entry.key.as_str();
    let known = || record.keys.iter().chain(more).map(|key| key.name);
    let note = notes.error(span, format!("{} has no key `{key}`", language::with_article(record.title)));
    if key.contains("->") {
        note.help("a flow stands below `expect:`, indented deeper");
    } else if let Some(near) = nearest(key, known()) {
        note.help(format!("did you mean `{near}`?"));
    } else if entry.value.value == Value::Refused {
        note.help("text with `,`, `[`, `]`, `{` or `}` goes on a line of its own or into quotes");
    } else if record.keys.is_empty() && more.is_empty() {
        note.help("it has none: write `{}`");
    } else {
        note.help(format!("its keys are {}", listed(known())));
    }
}

fn check_table(node: &Node, table: &'static Table, notes: &mut Notes) {
    let Value::Map(entries) = &node.value else {
        let noun = language::section_noun(table.section);
        let wanted = format!("a map from the name of {} to its attributes", language::with_article(noun));
        mismatch(node, &wanted, &example(&Type::Table(table)), notes);
        return;
    };
    for entry in entries {
        if table.section == Section::FloatingIps {
            match (values::address(&entry.key), values::floating_ip(&entry.key)) {
                (Ok(_), Ok(_)) => {}
                (Ok(_), Err(wrong)) => {
                    notes.error(entry.key_span.clone(), wrong.message).help(wrong.help);
                }
                (Err(wrong), _) => {
                    notes.error(entry.key_span.clone(), wrong.message).help("the name of a floating IP is its address");
                }
            }
        } else {
            check_new_name(entry, notes);
        }
        check_record(&entry.value, table.record, &entry.key_span, notes);
    }
}

fn check_new_name(entry: &Entry, notes: &mut Notes) {
    let name = entry.key.as_str();
    if let Err(error) = Name::new(name) {
        notes.error(entry.key_span.clone(), error.to_string()).help(
            "device names are made of names, so they are short: a-z, then a-z, 0-9 and `-`, 11 characters at most",
        );
    } else if RESERVED.contains(&name) {
        notes
            .error(entry.key_span.clone(), format!("`{name}` is a word of the language and cannot be a name"))
            .help("choose another name, or add a number: a sentence could not tell it from its own words");
    }
}

fn check_steps(node: &Node, notes: &mut Notes) {
    let Value::List(steps) = &node.value else {
        check_list(node, &Type::Word, notes);
        return;
    };
    if steps.is_empty() {
        notes
            .error(node.span.clone(), "there are no steps")
            .help("a scenario has at least one: `- expect:` and flows below");
    }
    for step in steps {
        check_step(step, &STEP, notes);
    }
}

/// Checks a step, or an entry of `together`.
fn check_step(step: &Node, record: &'static Record, notes: &mut Notes) {
    let Value::Map(entries) = &step.value else {
        mismatch(step, "a map with the keys of a step", "write an operation or `expect`, with its value", notes);
        return;
    };
    if entries.is_empty() {
        notes.error(step.span.clone(), "this step does nothing").help("write an operation or `expect`");
    }
    for entry in entries {
        match (record.key(&entry.key), OPERATIONS.key(&entry.key)) {
            (Some(key), _) if key.name == "together" => check_together(&entry.value, notes),
            (Some(key), _) | (None, Some(key)) => check(&entry.value, &key.ty, notes),
            (None, None) if STEP.key(&entry.key).is_some() => {
                notes
                    .error(
                        entry.key_span.clone(),
                        format!("`{}` belongs to the step, not to an entry of `together`", entry.key),
                    )
                    .help("indent it as `together` is");
            }
            (None, None) => unknown_key(entry, record, OPERATIONS.keys, notes),
        }
    }
}

fn check_together(node: &Node, notes: &mut Notes) {
    let Value::List(entries) = &node.value else {
        check_list(node, &Type::Word, notes);
        return;
    };
    if entries.is_empty() {
        notes.error(node.span.clone(), "this list is empty").help("write operations, each after a `-`");
    }
    for entry in entries {
        check_step(entry, &TOGETHER_ENTRY, notes);
    }
}

fn check_expect(node: &Node, ty: &Type, notes: &mut Notes) {
    match &node.value {
        Value::Map(entries) if entries.is_empty() => {
            notes
                .error(node.span.clone(), "nothing is expected")
                .help("write flows or places with a sentence, or remove the key");
        }
        Value::Map(_) | Value::Refused => {}
        Value::Text(_) | Value::List(_) => {
            mismatch(node, "a map from a flow or a place to a sentence", &example(ty), notes);
        }
    }
}

fn check_notify(node: &Node, notes: &mut Notes) {
    let Value::Map(entries) = &node.value else {
        mismatch(node, "a map from a host or `all` to a delivery", &example(&Type::Notify), notes);
        return;
    };
    if entries.is_empty() {
        notes.error(node.span.clone(), "nobody is notified").help(example(&Type::Notify));
    }
    let ways = || Hearing::ALL.iter().map(|(word, ..)| *word);
    for entry in entries {
        match entry.value.text() {
            Some(word) if ways().any(|known| known == word) => {}
            Some(word) => {
                let note = notes.error(entry.value.span.clone(), format!("`{word}` is no way to deliver"));
                match nearest(word, ways()) {
                    Some(near) => note.help(format!("did you mean `{near}`?")),
                    None => note.help(format!("write one of {}", listed(ways()))),
                };
            }
            None => mismatch(&entry.value, "a word", &format!("write one of {}", listed(ways())), notes),
        }
    }
}
