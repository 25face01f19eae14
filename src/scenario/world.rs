//! What exists while a file is read from top to bottom: names, and the Intent behind them.
//!
//! A thing whose own line is wrong still exists here, as *broken*: what refers to it is not blamed for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::deeds::Running;
use super::language::{self, Type};
use super::note::{Notes, Span, nearest, write_one_of};
use super::yaml::{Node, Value};
use crate::api::{Event, Intent, Rejected, RejectedKind, Section};
use crate::name::Name;
use crate::net::IpNet;

/// An object's section and the place of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Declared {
    section: Section,
    span: Span,
}

/// Everything that exists at some point of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct World {
    /// What is in force.
    pub(super) intent: Intent,
    live: BTreeMap<String, Declared>,
    /// Created by a step further down: its number.
    coming: BTreeMap<String, usize>,
    /// Deleted by an earlier step: its number, and what it was.
    gone: BTreeMap<String, (usize, Section)>,
    broken: BTreeSet<String>,
    /// Numbers of named steps, for `since` and duplicates.
    pub(super) step_names: BTreeMap<String, Span>,
    /// What runs, and what is under way.
    pub(super) running: Running,
}

impl World {
    /// Makes a name known. `false` if it is taken, which is noted.
    pub(super) fn declare(&mut self, name: &str, section: Section, span: &Span, notes: &mut Notes) -> bool {
        if let Some(other) = self.live.get(name) {
            let noun = language::with_article(language::section_noun(other.section));
            notes
                .error(span.clone(), format!("`{name}` is the name of {noun} already"))
                .beside(other.span.clone(), "first here")
                .help("a name stands for one thing in the whole file");
            return false;
        }
        self.live.insert(name.to_owned(), Declared { section, span: span.clone() });
        self.gone.remove(name);
        true
    }

    /// What is in force, with nothing to come.
    pub(super) fn of(intent: &Intent, notes: &mut Notes) -> Self {
        let mut world = Self { intent: intent.clone(), ..Self::default() };
        let text = |name: &dyn ToString| name.to_string();
        let names = [
            (Section::Hosts, intent.hosts.keys().map(|name| text(name)).collect::<Vec<_>>()),
            (Section::Networks, intent.networks.keys().map(|name| text(name)).collect()),
            (Section::Subnets, intent.subnets.keys().map(|name| text(name)).collect()),
            (Section::Routers, intent.routers.keys().map(|name| text(name)).collect()),
            (Section::Instances, intent.instances.keys().map(|name| text(name)).collect()),
            (Section::Outside, intent.outside.keys().map(|name| text(name)).collect()),
        ];
        for (section, names) in names {
            for name in names {
                world.declare(&name, section, &(0..0), notes);
            }
        }
        world
    }

    /// A name that a step will create.
    pub(super) fn announce(&mut self, name: &str, step: usize) {
        self.coming.entry(name.to_owned()).or_insert(step);
    }

    /// A name that a step deleted.
    pub(super) fn forget(&mut self, name: &str, step: usize) {
        self.coming.remove(name);
        if let Some(declared) = self.live.remove(name) {
            self.gone.insert(name.to_owned(), (step, declared.section));
        }
    }

    /// Subnets that went with their network.
    pub(super) fn forget_missing(&mut self, step: usize) {
        let there = |name: &str| self.intent.subnets.keys().any(|subnet| subnet.as_str() == name);
        let gone = |(name, declared): (&String, &Declared)| {
            let missing = declared.section == Section::Subnets && !there(name) && !self.broken.contains(name);
            missing.then(|| name.clone())
        };
        let gone: Vec<String> = self.live.iter().filter_map(gone).collect();
        for name in &gone {
            self.forget(name, step);
        }
    }

    /// What a name stands for now.
    pub(super) fn section_of(&self, name: &str) -> Option<Section> {
        let automatic = || self.intent.outside.keys().any(|node| node.as_str() == name).then_some(Section::Outside);
        self.live.get(name).map(|declared| declared.section).or_else(automatic)
    }

    /// Whether the name stood for such an object at some point up to now.
    pub(super) fn was_ever(&self, name: &str, section: Section) -> bool {
        self.section_of(name) == Some(section) || self.gone.get(name).is_some_and(|(_, was)| *was == section)
    }

    /// Names of these sections that exist now.
    pub(super) fn names(&self, sections: &[Section]) -> Vec<&str> {
        let declared = self.live.iter().filter(|(_, d)| sections.contains(&d.section)).map(|(name, _)| name.as_str());
        let automatic = if sections.contains(&Section::Outside) { Some(&self.intent.outside) } else { None };
        let automatic = automatic.into_iter().flat_map(|nodes| nodes.keys().map(AsRef::as_ref));
        declared.chain(automatic).collect::<BTreeSet<&str>>().into_iter().collect()
    }

    /// Whether the name stands for one of these sections' objects now; if not, that is noted at `span`.
    pub(super) fn resolve(&self, name: &str, sections: &[Section], span: &Span, notes: &mut Notes) -> bool {
        let found = self.section_of(name);
        if found.is_some_and(|section| sections.contains(&section)) {
            return true;
        }
        let wanted = language::nouns(sections);
        if let Some(section) = found {
            let noun = language::with_article(language::section_noun(section));
            let note = notes
                .error(span.clone(), format!("`{name}` is {noun}, here should be {}", language::with_article(&wanted)));
            if let Some(declared) = self.live.get(name) {
                note.beside(declared.span.clone(), "declared here");
            }
            let known = self.names(sections);
            if known.is_empty() {
                note.help(format!("the file declares no {wanted}"));
            } else {
                note.help(write_one_of(known));
            }
            return false;
        }
        let message = format!("there is no {wanted} `{name}`");
        if let Some((step, _)) = self.gone.get(name) {
            notes.error(span.clone(), message).help(format!("`{name}` was deleted in step {step}"));
        } else if let Some(step) = self.coming.get(name) {
            notes.error(span.clone(), message).help(format!("`{name}` is created in step {step}"));
        } else {
            let known = self.names(sections);
            let note = notes.error(span.clone(), message);
            match nearest(name, known.iter().copied()) {
                Some(near) => note.help(format!("did you mean `{near}`?")),
                None if known.is_empty() => note.help(format!("the file declares no {wanted}")),
                None => note.help(write_one_of(known)),
            };
        }
        false
    }

    /// Resolves every name inside `node`. Returns the names found.
    pub(super) fn resolve_all(&self, node: &Node, ty: &Type, notes: &mut Notes) -> Vec<String> {
        let mut names = Vec::new();
        references(node, ty, &mut |item, sections| {
            if let Some(name) = item.text()
                && self.resolve(name, sections, &item.span, notes)
            {
                names.push(name.to_owned());
            }
        });
        names
    }

    /// Whether an instance of that name runs nowhere: it can neither send nor answer.
    pub(super) fn is_idle(&self, name: &Name) -> bool {
        self.intent.instances.contains_key(name) && self.intent.host_of(name).is_none()
    }

    /// Every word inside `node` that is a name now.
    pub(super) fn names_in(&self, node: &Node) -> Vec<String> {
        let mut words = Vec::new();
        scalars(node, &mut words);
        words.into_iter().map(|(text, _)| text).filter(|text| self.section_of(text).is_some()).collect()
    }

    /// Marks names as broken.
    pub(super) fn break_all<'a>(&mut self, names: impl IntoIterator<Item = &'a String>) {
        self.broken.extend(names.into_iter().cloned());
    }

    /// Whether one of the names is broken.
    pub(super) fn any_broken(&self, names: &[String]) -> bool {
        names.iter().any(|name| self.broken.contains(name))
    }

    /// Whether anything is: then a refusal may be the consequence of what was noted already.
    pub(super) fn is_sound(&self) -> bool {
        self.broken.is_empty()
    }

    /// Whether no object of these sections is broken.
    pub(super) fn are_sound(&self, sections: &[Section]) -> bool {
        !self.broken.iter().any(|name| self.section_of(name).is_some_and(|section| sections.contains(&section)))
    }

    /// Applies events in order. The world is unchanged if one is refused.
    pub(super) fn apply(&mut self, events: &[Event]) -> Result<(), Rejected> {
        self.intent = events.iter().try_fold(self.intent.clone(), |intent, event| intent.apply(event))?;
        Ok(())
    }
}

/// Calls `found` for every name inside `node`.
fn references(node: &Node, ty: &Type, found: &mut dyn FnMut(&Node, &'static [Section])) {
    match ty {
        Type::Name(sections) => found(node, sections),
        Type::FloatingIp => found(node, &[Section::FloatingIps]),
        Type::OrNone(inner) => {
            if node.text() != Some("none") {
                references(node, inner, found);
            }
        }
        Type::OneOrMany(inner) | Type::List(inner) => {
            node.items().iter().for_each(|item| references(item, inner, found));
        }
        Type::Map(record) => {
            for entry in node.entries() {
                if let Some(key) = record.key(&entry.key) {
                    references(&entry.value, &key.ty, found);
                }
            }
        }
        Type::Table(table) => {
            for entry in node.entries() {
                references(&entry.value, &Type::Map(table.record), found);
            }
        }
        Type::Bool
        | Type::Fixed(_)
        | Type::Integer(..)
        | Type::Word
        | Type::Address
        | Type::Prefix
        | Type::AddressOrPrefix
        | Type::Mac
        | Type::AddressPair
        | Type::Pool
        | Type::Route
        | Type::Closed
        | Type::Choice(_)
        | Type::Form(_)
        | Type::Steps
        | Type::Expect
        | Type::During
        | Type::Notify
        | Type::Text
        | Type::Place
        | Type::Refused => {}
    }
}

/// Notes a refusal of the API at the word inside `node` that it is about: the first address of the reason that is written
/// there, else the last name. `in_step`: it may be what the scenario is about.
pub(super) fn note_rejected(rejected: &Rejected, place: &Span, node: &Node, in_step: bool, notes: &mut Notes) {
    let mut words = Vec::new();
    scalars(node, &mut words);
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok();
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '/' | '_');
    let named: Vec<&str> =
        rejected.reason.split(|c: char| !legal(c)).map(|word| word.trim_end_matches([':', '.'])).collect();
    let (addresses, names): (Vec<&str>, Vec<&str>) = named.into_iter().partition(|word| is_address(word));
    let written = |wanted: &&str| words.iter().rev().find(|(text, _)| text == wanted);
    let by_name = || words.iter().rev().find(|(text, _)| names.contains(&text.as_str()));
    let best = addresses.iter().find_map(written).or_else(by_name);
    let span = best.map_or_else(|| place.clone(), |(_, span)| span.clone());
    let note = notes.error(span, rejected.reason.clone());
    note.help(remedy(rejected));
    if in_step {
        note.help(format!("if the scenario is about this refusal, write `refused: {}` beside it", rejected.kind));
    }
}

fn scalars(node: &Node, words: &mut Vec<(String, Span)>) {
    match &node.value {
        Value::Text(text) => {
            words.push((text.text.clone(), node.span.clone()));
            for part in text.text.split_whitespace().filter(|part| *part != text.text) {
                words.push((part.to_owned(), node.span.clone()));
            }
        }
        Value::List(items) => items.iter().for_each(|item| scalars(item, words)),
        Value::Map(entries) => {
            for entry in entries {
                words.push((entry.key.clone(), entry.key_span.clone()));
                scalars(&entry.value, words);
            }
        }
        Value::Refused => {}
    }
}

fn remedy(rejected: &Rejected) -> &'static str {
    match rejected.kind {
        RejectedKind::SubnetInUse
        | RejectedKind::NetworkInUse
        | RejectedKind::PortInUse
        | RejectedKind::ServicePortInUse => "delete or detach what uses it first",
        RejectedKind::IpAddressInUse => "choose another address",
        RejectedKind::InvalidIpForSubnet => "choose an address inside the subnet",
        RejectedKind::InvalidIpForNetwork => "choose an address inside a subnet of the network",
        RejectedKind::IpAddressGenerationFailure => "make the prefix or the pools larger, or name addresses",
        RejectedKind::BadRequest | RejectedKind::InvalidInput => remedy_by_reason(&rejected.reason),
        RejectedKind::InvalidRoutes => "a next hop must be on a subnet that the router is attached to",
        RejectedKind::RouterInUse => "detach its interfaces first",
        RejectedKind::RouterInterfaceInUseByFloatingIP | RejectedKind::RouterExternalGatewayInUseByFloatingIp => {
            "take the floating IP off first"
        }
        RejectedKind::RouterInterfaceInUseByRoute => "remove the route first",
        RejectedKind::ExternalGatewayForFloatingIPNotFound => {
            "its subnet needs a router whose gateway is on the floating IP's network"
        }
        RejectedKind::FloatingIPPortAlreadyAssociated => "take the other floating IP off first",
        RejectedKind::AddressScopeInUse => "take the subnets out of it first",
        RejectedKind::NetworkAddressScopeAffinityError => {
            "give all subnets of the network and family the same `address_scope`, in one `update`"
        }
        RejectedKind::FipInUseByPortForwarding => "take its port forwardings away first: `port_forwardings: []`",
        RejectedKind::PortHasPortForwarding => "take the port forwardings that lead to it away first",
        RejectedKind::GatewayIpInUse => "detach the subnet, or choose a router port",
    }
}

/// The API has one error type for many mistakes; its words tell them apart. Words that are not known here get the general
/// advice.
fn remedy_by_reason(reason: &str) -> &'static str {
    const REMEDIES: [(&str, &str); 12] = [
        ("overlaps with", "choose prefixes that have no address in common"),
        ("lies outside its cidr", "choose an address inside the cidr"),
        ("needs dvr_snat", "choose a host with `mode: dvr_snat`, or change its mode"),
        ("no gateway address", "give the subnet a `gateway`, or attach a port"),
        ("is not external", "declare the network with `external: true`, or choose another"),
        ("is external", "choose a tenant network; machines on an external one stand in `outside`"),
        ("already has a port", "name it once"),
        ("has the MAC", "choose another MAC address"),
        ("does not have the address", "choose one of the port's addresses"),
        ("take it off first", "disassociate the floating IP first, or leave the port that address"),
        ("detach it first", "detach the port from the router first"),
        ("already", "remove one of the two"),
    ];
    let found = REMEDIES.iter().find(|(words, _)| reason.contains(words));
    found.map_or("the API refuses this: change what is asked for", |(_, remedy)| remedy)
}
