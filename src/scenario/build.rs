//! From the checked tree to events: what the builder holds while a file is read from top to bottom.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::lower;
use super::note::{Notes, Span};
use super::values;
use super::world::World;
use super::yaml::{Node, Value};
use crate::api::{Event, Rejected, Section};

/// A file while it is read.
pub(super) struct Builder<'a> {
    pub(super) source: &'a str,
    pub(super) notes: Notes,
    pub(super) world: World,
    /// Events of the operation that is being read.
    pub(super) made: Vec<Event>,
    /// What the API refused of it, where, and in which node.
    pub(super) refusals: Vec<(Rejected, Span, Node)>,
}

/// A call to the API, with what it is about.
pub(super) struct Call<'a> {
    pub(super) events: Vec<Event>,
    /// Names that it needs.
    pub(super) needs: Vec<String>,
    /// Where it stands.
    pub(super) place: Span,
    pub(super) node: &'a Node,
}

impl<'a> Builder<'a> {
    pub(super) fn new(source: &'a str, notes: Notes) -> Self {
        Self { source, notes, world: World::default(), made: Vec::new(), refusals: Vec::new() }
    }

    /// What exists before step 1, as events. The world has it afterwards.
    pub(super) fn initial(&mut self, root: &Node) -> Vec<Event> {
        self.world.intent.reserved = reserved(root);
        self.announce(root);
        if let Some(settings) = root.get("settings") {
            self.call(Call {
                events: vec![lower::settings(settings)],
                needs: vec![],
                place: settings.span.clone(),
                node: settings,
            });
        }
        if let Some(deviations) = root.get("deviations") {
            let events = vec![lower::deviations(deviations, self.world.intent.settings)];
            self.call(Call { events, needs: vec![], place: deviations.span.clone(), node: deviations });
        }
        self.create(root);
        self.note_refusals(false);
        std::mem::take(&mut self.made)
    }

    fn announce(&mut self, root: &Node) {
        for (number, step) in numbered(root) {
            let together = step.get("together").map(Node::items).unwrap_or_default();
            for create in std::iter::once(step).chain(together).filter_map(|place| place.get("create")) {
                for name in create.entries().iter().flat_map(|section| section.value.entries()) {
                    self.world.announce(&name.key, number);
                }
            }
        }
    }
}

/// Floating IPs are known by their address in its one printed form.
pub(super) fn canonical(section: Section, key: &str) -> String {
    match section {
        Section::FloatingIps => values::address(key).map_or_else(|_| key.to_owned(), |address| address.to_string()),
        Section::Hosts
        | Section::Networks
        | Section::Subnets
        | Section::Routers
        | Section::Ports
        | Section::Instances
        | Section::Outside
        | Section::AddressScopes => key.to_owned(),
    }
}

pub(super) fn numbered(root: &Node) -> impl Iterator<Item = (usize, &Node)> {
    let steps = root.get("steps").map(Node::items).unwrap_or_default();
    steps.iter().enumerate().map(|(index, step)| (index + 1, step))
}

/// Every address that a section or an operation names, and that is therefore never given out automatically.
fn reserved(root: &Node) -> BTreeSet<IpAddr> {
    fn collect(node: &Node, found: &mut BTreeSet<IpAddr>) {
        match &node.value {
            Value::Text(text) => {
                found.extend(text.text.split_whitespace().filter_map(|word| word.parse::<IpAddr>().ok()));
            }
            Value::List(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Map(entries) => {
                let quoted = |key: &str| matches!(key, "expect" | "faults" | "probe" | "nat_profile" | "tags");
                for entry in entries.iter().filter(|entry| !quoted(&entry.key)) {
                    found.extend(entry.key.parse::<IpAddr>().ok());
                    collect(&entry.value, found);
                }
            }
            Value::Refused => {}
        }
    }
    let mut found = BTreeSet::new();
    collect(root, &mut found);
    found
}
