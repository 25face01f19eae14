//! The language as data: every section, operation and key with its type, its default and its meaning.
//!
//! One description, used to check files and to make the JSON schema that editors complete and explain by.

mod deeds;
mod machine;
mod operations;
mod packets;
mod sections;

pub(super) use deeds::CRASH_TYPE;
pub(super) use operations::{OPERATIONS, STEP, TOGETHER_ENTRY};
pub(super) use packets::ERRORS;
pub(super) use sections::{FILE, SECTIONS};

use super::values::Wrong;
use crate::api::Section;

/// A map with known keys.
#[derive(Debug)]
pub(super) struct Record {
    /// What it is called in messages: `subnet`, `gateway of a router`.
    pub(super) title: &'static str,
    /// Its place in the table of words of later versions.
    pub(super) context: &'static str,
    /// What it means.
    pub(super) doc: &'static str,
    /// Its keys, in the order of the reference.
    pub(super) keys: &'static [Key],
}

impl Record {
    /// The key of that name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// A key of a [`Record`].
#[derive(Debug)]
pub(super) struct Key {
    /// As written.
    pub(super) name: &'static str,
    /// What its value is.
    pub(super) ty: Type,
    /// Whether it may be left out.
    pub(super) need: Need,
    /// What it means.
    pub(super) doc: &'static str,
}

/// Whether a key may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// It must be there.
    Required,
    /// It may be left out and then means this.
    Default(&'static str),
    /// It may be left out, and then nothing is meant.
    Optional,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Type {
    /// `true` or `false`.
    Bool,
    /// Only this value yet; the other one belongs to a later version.
    Fixed(bool),
    /// A whole number between two others.
    Integer(u32, u32),
    /// Words of the author's choice, without blanks.
    Word,
    /// The name of an object of one of these sections.
    Name(&'static [Section]),
    /// An IP address.
    Address,
    /// A floating IP, by its address.
    FloatingIp,
    /// A prefix without host bits: `10.0.1.0/24`.
    Prefix,
    /// An address or a prefix.
    AddressOrPrefix,
    /// A MAC address.
    Mac,
    /// `ADDRESS` or `ADDRESS MAC`.
    AddressPair,
    /// `A-B`.
    Pool,
    /// `DEST via NEXTHOP`.
    Route,
    /// `PROTO/PORT`.
    Closed,
    /// A host, a node, or `HOST/NAMESPACE`.
    Place,
    /// One of these words.
    Choice(&'static [Choice]),
    /// The type, or the word `none`.
    OrNone(&'static Type),
    /// One or a list; the list has at least one.
    OneOrMany(&'static Type),
    /// A list.
    List(&'static Type),
    /// Text of a form of its own.
    Form(&'static Form),
    /// A map with known keys.
    Map(&'static Record),
    /// A section: names or addresses of objects, each with its attributes.
    Table(&'static Table),
    /// A list of steps.
    Steps,
    /// What is seen after a step.
    Expect,
    /// Flows that run through a change.
    During,
    /// How hosts hear of a change.
    Notify,
    /// Text of any kind on one line.
    Text,
    /// An error type of the API.
    Refused,
}

/// A form of text.
#[derive(Debug)]
pub(super) struct Form {
    /// What it is called in messages: `a node or an address`.
    pub(super) noun: &'static str,
    /// What is wrong with a text, if anything.
    pub(super) check: fn(&str) -> Result<(), Wrong>,
    /// What an editor can see of it, as a regular expression.
    pub(super) pattern: &'static str,
}

/// A word with its meaning.
#[derive(Debug)]
pub(super) struct Choice {
    /// As written.
    pub(super) word: &'static str,
    /// What it means.
    pub(super) doc: &'static str,
}

/// A section of a file.
#[derive(Debug)]
pub(super) struct Table {
    /// Which.
    pub(super) section: Section,
    /// What an entry's attributes are.
    pub(super) record: &'static Record,
}

/// The key of a section.
pub(super) fn section_key(section: Section) -> &'static str {
    match section {
        Section::Hosts => "hosts",
        Section::Networks => "networks",
        Section::Subnets => "subnets",
        Section::Routers => "routers",
        Section::Ports => "ports",
        Section::Instances => "instances",
        Section::FloatingIps => "floating_ips",
        Section::Outside => "outside",
        Section::AddressScopes => "address_scopes",
    }
}

/// One object of a section, in words.
pub(super) fn section_noun(section: Section) -> &'static str {
    match section {
        Section::Hosts => "host",
        Section::Networks => "network",
        Section::Subnets => "subnet",
        Section::Routers => "router",
        Section::Ports => "port",
        Section::Instances => "instance",
        Section::FloatingIps => "floating IP",
        Section::Outside => "machine outside",
        Section::AddressScopes => "address scope",
    }
}

/// Objects of several sections, in words: `host, instance or machine outside`.
pub(super) fn nouns(sections: &[Section]) -> String {
    let nouns: Vec<&str> = sections.iter().map(|section| section_noun(*section)).collect();
    match nouns.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        Some(_) | None => nouns.concat(),
    }
}

/// A noun with its article.
pub(super) fn with_article(noun: &str) -> String {
    if noun.starts_with('`') {
        return noun.to_owned();
    }
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}
