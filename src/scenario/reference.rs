//! The language as tables for readers: every key with its type, default, an example and its meaning.
//!
//! In: the tables of the language. Out: Markdown, the part of `scenarios/README.md` that a test keeps in step. Never: a word that
//! those tables do not have.

use std::ptr;

use serde_json::{Value, json};

use super::deed::Hearing;
use super::language::{
    FILE, Key, Need, OPERATIONS, Record, STEP, TOGETHER_ENTRY, Type, nouns, section_key, section_noun,
};
use super::state::KINDS;
use crate::api::{RejectedKind, Section};

/// The reference of every key of a scenario file, and of the kinds that expectations about places know.
pub fn reference() -> String {
    let mut text = String::new();
    for record in records() {
        table(&mut text, record);
    }
    kinds(&mut text);
    text
}

fn records() -> Vec<&'static Record> {
    let mut records: Vec<&'static Record> = vec![&FILE, &STEP, &OPERATIONS, &TOGETHER_ENTRY];
    let mut next = 0;
    while let Some(record) = records.get(next) {
        for found in record.keys.iter().filter_map(|key| inner(&key.ty)) {
            // Two maps of one form are one to the reader; the compiler may or may not keep them apart.
            if !records.iter().any(|known| ptr::eq(*known, found) || known.title == found.title) {
                records.push(found);
            }
        }
        next += 1;
    }
    records
}

fn inner(ty: &Type) -> Option<&'static Record> {
    match ty {
        Type::Map(record) => Some(record),
        Type::Table(table) => Some(table.record),
        Type::OrNone(ty) | Type::OneOrMany(ty) | Type::List(ty) => inner(ty),
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
        | Type::Form(_)
        | Type::Steps
        | Type::Expect
        | Type::During
        | Type::Notify
        | Type::Text
        | Type::Refused => None,
    }
}

fn table(text: &mut String, record: &Record) {
    let title = record.title.replace('`', "");
    let mut lines = format!("### Keys: {title}\n\n{}\n\n", record.doc);
    if record.keys.is_empty() {
        lines.push_str("It has no keys: write `{}`.\n\n");
    } else {
        lines.push_str("| key | value | default | example | meaning |\n|---|---|---|---|---|\n");
        for key in record.keys {
            lines.push_str(&row(record, key));
        }
        lines.push('\n');
    }
    text.push_str(&lines);
}

fn row(record: &Record, key: &Key) -> String {
    let default = match key.need {
        Need::Required => "required".to_owned(),
        Need::Default(default) => default.to_owned(),
        Need::Optional => String::new(),
    };
    let example = format!("{}: {}", key.name, written(&example(record, key)));
    let meaning = format!("{}{}", key.doc, words(&key.ty));
    let cells = [kind(&key.ty), default, format!("`{example}`"), meaning].map(|cell| cell.replace('|', "\\|"));
    format!("| `{}` | {} |\n", key.name, cells.join(" | "))
}

/// What each word of a choice means.
fn words(ty: &Type) -> String {
    let list = |pairs: Vec<(&str, &str)>| {
        let told: Vec<String> =
            pairs.iter().map(|(word, doc)| format!("`{word}`: {}", doc.trim_end_matches('.'))).collect();
        format!(" {}.", told.join("; "))
    };
    if let Type::Choice(choices) = ty {
        list(choices.iter().map(|choice| (choice.word, choice.doc)).collect())
    } else if let Type::Notify = ty {
        list(Hearing::ALL.iter().map(|(word, _, doc)| (*word, *doc)).collect())
    } else if let Type::Refused = ty {
        let all: Vec<String> = RejectedKind::ALL.iter().map(|kind| format!("`{kind}`")).collect();
        format!(" One of {}.", all.join(", "))
    } else {
        String::new()
    }
}

/// What a value is, in words.
fn kind(ty: &Type) -> String {
    match ty {
        Type::Bool => "`true` or `false`".to_owned(),
        Type::Fixed(only) => format!("`{only}`"),
        Type::Integer(min, max) => format!("{min} to {max}"),
        Type::Word => "word".to_owned(),
        Type::Name(sections) => format!("name of {}", nouns(sections)),
        Type::Address => "address".to_owned(),
        Type::FloatingIp => "address of a floating IP".to_owned(),
        Type::Prefix => "prefix".to_owned(),
        Type::AddressOrPrefix => "address or prefix".to_owned(),
        Type::Mac => "MAC".to_owned(),
        Type::AddressPair => "`ADDRESS` or `ADDRESS MAC`".to_owned(),
        Type::Pool => "`A-B`".to_owned(),
        Type::Route => "`DEST via NEXTHOP`".to_owned(),
        Type::Closed => "`PROTO/PORT`".to_owned(),
        Type::Place => "place".to_owned(),
        Type::Choice(_) => "one of the words".to_owned(),
        Type::OrNone(inner) => format!("{} or `none`", kind(inner)),
        Type::OneOrMany(inner) => format!("{}, one or a list", kind(inner)),
        Type::List(inner) => format!("list of: {}", kind(inner)),
        Type::Form(form) => form.noun.to_owned(),
        Type::Map(record) => format!("map: {}", record.title.replace('`', "")),
        Type::Table(table) => format!("map of names to: {}", section_noun(table.section)),
        Type::Steps => "list of steps".to_owned(),
        Type::Expect => "map of subjects to sentences".to_owned(),
        Type::During => "map of flows to sentences".to_owned(),
        Type::Notify => "map of hosts to a word".to_owned(),
        Type::Text => "text".to_owned(),
        Type::Refused => "error type".to_owned(),
    }
}

/// Where the type alone does not tell a sensible value.
const TELLING: &[(&str, &str, &str)] = &[
    ("crash", "at", "nat --to-source"),
    ("sabotage", "delete", "route default"),
    ("sabotage", "add", "address 10.0.9.1/24 dev qr-red4"),
    ("sabotage", "set", "sysctl net.ipv4.ip_forward=0"),
    ("sabotage", "replace", "route default"),
    ("sabotage", "with", "default via 203.0.113.9 dev qg-r1"),
    ("associate", "floating_ip", "203.0.113.101"),
    ("gateway", "address", "203.0.113.10"),
    ("set_gateway", "address", "203.0.113.10"),
    ("subnets", "gateway", "10.0.1.1"),
    ("outside", "address", "198.51.100.2"),
    ("sent", "answers", "syn"),
    ("sent", "name", "syn"),
    ("sent", "flags", "SA"),
    ("seen", "flags", "SA"),
    ("set_link", "to", "underlay"),
    ("file", "requires", "program tcpdump"),
    ("step", "update", r#"{ "routers": { "r1": { "routes": ["198.18.7.0/24 via 10.0.1.12"] } } }"#),
    ("file", "faults", "omit rule from 10.0.1.11 at cmp1/qrouter-r1"),
    ("step", "name", "given"),
    ("gateway", "network", "public"),
    ("set_gateway", "network", "public"),
    ("outside", "on", "public"),
    ("outside", "behind", "public"),
    ("outside", "gateway_of", "public"),
];

fn example(record: &Record, key: &Key) -> Value {
    let telling = TELLING.iter().find(|(context, name, _)| (*context, *name) == (record.context, key.name));
    match (telling, &key.ty) {
        (Some((.., value)), Type::List(_)) => json!([value]),
        // What is no text is written as JSON.
        (Some((.., value)), Type::Map(_)) => serde_json::from_str(value).unwrap_or_else(|_error| json!(value)),
        (Some((.., value)), _) => json!(value),
        (None, Type::Bool) => json!(key.need != Need::Default("true")),
        (None, ty) => of(ty),
    }
}

fn of(ty: &Type) -> Value {
    match ty {
        Type::Bool => json!(true),
        Type::Fixed(only) => json!(only),
        Type::Integer(min, max) => json!(if *min <= 9000 && 9000 <= *max {
            9000
        } else if *min >= 68 {
            1400
        } else {
            3_u32.clamp(*min, *max)
        }),
        Type::Word => json!("snat"),
        Type::Name(sections) => json!(sections.first().map_or("vm1", |section| named(*section))),
        Type::Address => json!("10.0.1.11"),
        Type::FloatingIp => json!("203.0.113.101"),
        Type::Prefix => json!("10.0.1.0/24"),
        Type::Mac => json!("fa:16:3e:00:00:11"),
        Type::AddressOrPrefix | Type::AddressPair => json!("10.0.1.100"),
        Type::Pool => json!("10.0.1.100-10.0.1.199"),
        Type::Route => json!("198.18.7.0/24 via 10.0.1.12"),
        Type::Closed => json!("udp/9"),
        Type::Place => json!("net1/snat-r1"),
        Type::Choice(choices) => json!(choices.last().map_or("", |choice| choice.word)),
        Type::OrNone(inner) | Type::OneOrMany(inner) => of(inner),
        Type::List(inner) => json!([of(inner)]),
        Type::Form(form) => ["vm1", "10.0.1.11", "S", "8", "vm1 -> web tcp/80", "2s"]
            .iter()
            .find(|text| (form.check)(text).is_ok())
            .map_or(json!(""), |text| json!(text)),
        Type::Map(record) => map(record),
        Type::Table(table) => json!({ named(table.section): map(table.record) }),
        Type::Steps => json!([{ "heal": {} }]),
        Type::Expect => json!({ "vm1 -> web": "as 203.0.113.10 via net1" }),
        Type::During => json!({ "vm1 -> web tcp": "kept no loss" }),
        Type::Notify => json!({ "cmp1": "lost" }),
        Type::Text => json!("text"),
        Type::Refused => json!(RejectedKind::ALL.first().map(ToString::to_string)),
    }
}

/// What must be there; where that is little, the first key that may be.
fn map(record: &Record) -> Value {
    let (mut shown, others): (Vec<&Key>, Vec<&Key>) = record.keys.iter().partition(|key| key.need == Need::Required);
    let meaningful = others.iter().find(|key| shown.is_empty() || key.need == Need::Optional);
    if shown.len() < 2 {
        shown.extend(meaningful);
    }
    Value::Object(shown.into_iter().map(|key| (key.name.to_owned(), example(record, key))).collect())
}

fn named(section: Section) -> &'static str {
    match section {
        Section::Hosts => "cmp1",
        Section::Networks => "red",
        Section::Subnets => "red4",
        Section::Routers => "r1",
        Section::Ports => "p1",
        Section::Instances => "vm1",
        Section::FloatingIps => "203.0.113.101",
        Section::Outside => "web",
        Section::AddressScopes => "s1",
    }
}

/// A value as YAML on one line.
fn written(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", ")),
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(key, value)| format!("{key}: {}", written(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn kinds(text: &mut String) {
    let listed: Vec<String> = KINDS.iter().map(|(word, _)| format!("`{word}`")).collect();
    let sections: Vec<String> =
        super::language::SECTIONS.iter().map(|table| format!("`{}`", section_key(table.section))).collect();
    let (listed, sections) = (listed.join(", "), sections.join(", "));
    text.push_str(
        "### Kinds\n\nAn expectation about a place, `sabotage` and `faults` name what stands there by its kind: ",
    );
    text.push_str(
        &[&listed, ". On a segment there is `frame`.\n\nObjects are made in this order: ", &sections, ".\n"].concat(),
    );
}

#[cfg(test)]
mod tests {
    use super::super::schema::typed;
    use super::*;

    #[test]
    fn every_example_is_a_value_of_its_key() {
        for record in records() {
            for key in record.keys {
                let (value, schema) = (example(record, key), typed(&key.ty));
                let schema = jsonschema::validator_for(&schema).unwrap();
                assert!(schema.is_valid(&value), "{} of {}: {}", key.name, record.title, written(&value));
            }
        }
    }
}
