//! From the checked tree to a [`Scenario`]: objects, steps and expectations, each against what exists at its place.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::expect;
use super::language::{self, OPERATIONS, SECTIONS, Table, Type};
use super::lower;
use super::note::{Notes, Span, position};
use super::values;
use super::world::{World, note_rejected};
use super::yaml::{Entry, Node, Value};
use super::{Operation, Step};
use crate::api::{Event, Rejected, RejectedKind, Section};
use crate::name::Name;

/// A file while it is read.
pub(super) struct Builder<'a> {
    pub(super) source: &'a str,
    pub(super) notes: Notes,
    pub(super) world: World,
    /// Events of the operation that is being read.
    made: Vec<Event>,
    /// What the API refused of it, where, and in which node.
    refusals: Vec<(Rejected, Span, Node)>,
}

/// A call to the API, with what it is about.
struct Call<'a> {
    events: Vec<Event>,
    /// Names that it needs.
    needs: Vec<String>,
    /// Where it stands.
    place: Span,
    node: &'a Node,
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
        self.create(root);
        self.note_refusals();
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

    /// Objects of sections, those of the file or of `create`.
    fn create(&mut self, sections: &Node) {
        let tables: Vec<(&Table, &Node)> = SECTIONS
            .iter()
            .filter_map(|table| Some((*table, sections.get(language::section_key(table.section))?)))
            .collect();
        for (table, node) in &tables {
            for entry in node.entries() {
                let name = canonical(table.section, &entry.key);
                if !self.world.declare(&name, table.section, &entry.key_span, &mut self.notes) {
                    self.world.break_all([&name]);
                }
            }
        }
        for (table, node) in &tables {
            for entry in node.entries() {
                self.world.resolve_all(&entry.value, &Type::Map(table.record), &mut self.notes);
                self.check_complete(table.section, entry);
                if self.notes.errors_in(&entry.span()) {
                    self.world.break_all([&canonical(table.section, &entry.key)]);
                }
            }
        }
        let order =
            [Section::Hosts, Section::Networks, Section::Subnets, Section::Outside, Section::Routers, Section::Ports];
        for section in order {
            self.create_section(&tables, section);
        }
        self.for_each(&tables, Section::Routers, Self::link_router);
        self.create_section(&tables, Section::Instances);
        self.create_section(&tables, Section::FloatingIps);
        self.for_each(&tables, Section::FloatingIps, Self::associate_new);
    }

    fn for_each(&mut self, tables: &[(&Table, &Node)], section: Section, act: fn(&mut Self, &Table, &Entry)) {
        for (table, node) in tables.iter().filter(|(table, _)| table.section == section) {
            for entry in node.entries() {
                act(self, table, entry);
            }
        }
    }

    fn create_section(&mut self, tables: &[(&Table, &Node)], section: Section) {
        self.for_each(tables, section, |builder, table, entry| {
            let name = canonical(table.section, &entry.key);
            let Some(events) = lower::created(table.section, &entry.key, &entry.value, &builder.world.intent) else {
                builder.world.break_all([&name]);
                return;
            };
            // What hangs on a router is called for later, by `link_router`.
            let all = if table.section == Section::Routers { vec![] } else { builder.needs(&entry.value, table) };
            let needs = std::iter::once(name.clone()).chain(all).collect();
            if !builder.call(Call { events, needs, place: entry.key_span.clone(), node: &entry.value }) {
                builder.world.break_all([&name]);
            }
        });
    }

    /// Names inside a node that resolve.
    fn needs(&self, node: &Node, table: &Table) -> Vec<String> {
        self.world.resolve_all(node, &Type::Map(table.record), &mut Notes::default())
    }

    fn link_router(&mut self, _table: &Table, entry: &Entry) {
        let Ok(router) = Name::new(entry.key.as_str()) else { return };
        let mut whole = true;
        for (item, _, interface) in lower::interfaces(&router, &entry.value, "interfaces") {
            let needs = vec![entry.key.clone(), interface.to_string()];
            let events = vec![Event::InterfaceAttached(router.clone(), interface)];
            whole &= self.call(Call { events, needs, place: item.span.clone(), node: item });
        }
        if let Some(gateway) = entry.value.get("gateway").filter(|gateway| gateway.text().is_none()) {
            let mut needs: Vec<String> =
                ["network", "host"].iter().filter_map(|key| gateway.get(key)?.text()).map(str::to_owned).collect();
            needs.push(entry.key.clone());
            let events = vec![lower::gateway_set(router.clone(), gateway)];
            whole &= self.call(Call { events, needs, place: gateway.span.clone(), node: gateway });
            self.check_scheduled(&router, &gateway.span);
        }
        if let Some(routes) = entry.value.get("routes")
            && whole
        {
            let events = vec![lower::routes_set(&router, &entry.value, &self.world.intent)];
            whole &=
                self.call(Call { events, needs: vec![entry.key.clone()], place: routes.span.clone(), node: routes });
        }
        if !whole {
            self.world.break_all([&entry.key]);
        }
    }

    /// A gateway needs a host that can carry it.
    fn check_scheduled(&mut self, router: &Name, place: &Span) {
        let unscheduled =
            self.world.intent.routers.get(router).and_then(|r| r.gateway.as_ref()).is_some_and(|g| g.host.is_none());
        if unscheduled && self.world.is_sound() {
            self.notes
                .error(place.clone(), format!("no host can carry the gateway of router {router}"))
                .help("declare a host with `mode: dvr_snat`");
        }
    }

    fn associate_new(&mut self, table: &Table, entry: &Entry) {
        let Ok(address) = values::address(&entry.key) else { return };
        if let Some(event) = lower::associated(address, &entry.value, &self.world.intent) {
            let needs = std::iter::once(address.to_string()).chain(self.needs(&entry.value, table)).collect();
            self.call(Call { events: vec![event], needs, place: entry.key_span.clone(), node: &entry.value });
            self.check_centralised(address, &entry.span());
        }
    }

    fn check_centralised(&mut self, address: IpAddr, place: &Span) {
        let intent = &self.world.intent;
        if intent.floating_ips.get(&address).is_some_and(|floating_ip| floating_ip.target.is_some())
            && intent.served_centrally(address)
        {
            self.notes
                .later(place.clone(), &format!("a centralised floating IP ({address})"))
                .help("a port without a running instance, or on a `dvr_no_external` host, makes a floating IP centralised; use a `dvr` host");
        }
    }

    /// Attributes that exclude or need each other.
    fn check_complete(&mut self, section: Section, entry: &Entry) {
        let node = &entry.value;
        let count = |keys: &[&str]| keys.iter().filter(|key| node.get(key).is_some()).count();
        let place = entry.key_span.clone();
        match section {
            Section::Instances if count(&["network", "port"]) != 1 => {
                self.notes
                    .error(place, format!("`{}` needs `network` or `port`, one of them", entry.key))
                    .help("`network` gives it a port of its own, `port` names ports declared in `ports`");
            }
            Section::Instances if count(&["port"]) == 1 && count(&["address", "mac"]) > 0 => {
                self.notes
                    .error(place, "`address` and `mac` belong to the port, which is declared elsewhere")
                    .help("write them in `ports`");
            }
            Section::Outside if count(&["on", "behind", "gateway_of"]) != 1 => {
                self.notes
                    .error(place, format!("`{}` needs one of `on`, `behind` and `gateway_of`", entry.key))
                    .help("`on`: on the provider segment; `behind`: behind its upstream router; `gateway_of`: that router itself");
            }
            Section::Outside if count(&["gateway_of"]) == 0 && count(&["address"]) == 0 => {
                self.notes
                    .error(place, format!("`address` is missing: `{}` needs one", entry.key))
                    .help("write `address: ...`");
            }
            Section::Outside if count(&["gateway_of"]) == 1 && count(&["address"]) == 1 => {
                self.notes
                    .error(place, "an upstream router has the gateway addresses of its network's subnets")
                    .help("remove `address`; `gateway` of the subnet says which it is");
            }
            Section::Outside if count(&["gateway_of"]) == 0 && count(&["routes"]) == 1 => {
                self.notes
                    .error(place, "only an upstream router has `routes`")
                    .help("write them at the machine with `gateway_of`");
            }
            Section::FloatingIps => self.check_target(node, &place, false),
            Section::Hosts
            | Section::Networks
            | Section::Subnets
            | Section::Routers
            | Section::Ports
            | Section::Instances
            | Section::Outside => {}
        }
    }

    /// `instance` or `port`, not both; `required`: one of them.
    fn check_target(&mut self, node: &Node, place: &Span, required: bool) {
        let (instance, port) = (node.get("instance").is_some(), node.get("port").is_some());
        if instance && port || required && !instance && !port {
            self.notes
                .error(place.clone(), "a floating IP is for an `instance` or a `port`, one of them")
                .help("an instance stands for its first port");
        } else if node.get("fixed_address").is_some() && !instance && !port {
            self.notes
                .error(place.clone(), "`fixed_address` needs an `instance` or a `port`")
                .help("say whose address it is");
        }
    }

    /// Makes a call. `false` if it was refused, or if something that it needs is broken.
    fn call(&mut self, call: Call<'_>) -> bool {
        if self.world.any_broken(&call.needs) {
            return false;
        }
        let outcome = self.world.apply(&call.events);
        self.made.extend(call.events);
        match outcome {
            Ok(()) => true,
            Err(rejected) => {
                self.refusals.push((rejected, call.place, call.node.clone()));
                false
            }
        }
    }

    fn note_refusals(&mut self) {
        for (rejected, place, node) in std::mem::take(&mut self.refusals) {
            let follows = rejected.kind == RejectedKind::ExternalGatewayForFloatingIPNotFound && !self.world.is_sound();
            if !follows {
                note_rejected(&rejected, &place, &node, &mut self.notes);
            }
        }
    }

    /// The steps, each against what exists then.
    pub(super) fn steps(&mut self, root: &Node) -> Vec<Step> {
        numbered(root).map(|(number, node)| self.step(number, node)).collect()
    }

    fn step(&mut self, number: usize, node: &Node) -> Step {
        let name = self.step_name(number, node);
        let operations = self.operations(number, node);
        let times =
            node.get("times").and_then(Node::text).and_then(|text| values::integer(text, 1, 1000).ok()).unwrap_or(1);
        if times > 1 {
            self.check_repeatable(&operations, node);
        }
        self.check_notify(node, operations.is_empty());
        let expectations =
            node.get("expect").map(|expect| expect::read(expect, self.source, &self.world, &mut self.notes));
        let expectations = expectations.unwrap_or_default();
        let idle = !node
            .entries()
            .iter()
            .any(|entry| entry.key == "expect" || entry.key == "together" || OPERATIONS.key(&entry.key).is_some());
        if idle && !node.entries().is_empty() && !self.notes.errors_in(&node.span) {
            self.notes.error(node.span.clone(), "this step does nothing").help("write an operation or `expect`");
        }
        Step { number, name, line: position(self.source, node.span.start).0, operations, times, expectations }
    }

    fn step_name(&mut self, number: usize, node: &Node) -> Option<String> {
        let value = node.get("name")?;
        let name = value.text()?.to_owned();
        if name.chars().all(|c| c.is_ascii_digit()) && name != number.to_string() {
            self.notes
                .error(value.span.clone(), format!("`{name}` would be taken for the number of another step"))
                .help(format!("this is step {number}; choose a word"));
        }
        if let Some(first) = self.world.step_names.get(&name) {
            let first = first.clone();
            self.notes
                .error(value.span.clone(), format!("two steps are called `{name}`"))
                .beside(first, "first here")
                .help("choose another name");
        } else {
            self.world.step_names.insert(name.clone(), value.span.clone());
        }
        Some(name)
    }

    fn operations(&mut self, number: usize, node: &Node) -> Vec<Operation> {
        let mut verbs =
            node.entries().iter().filter(|entry| entry.key == "together" || OPERATIONS.key(&entry.key).is_some());
        let first = verbs.next();
        for extra in verbs {
            self.notes
                .error(extra.key_span.clone(), format!("a step has one operation, `{}` is the second", extra.key))
                .help("put both below `together`, each after a `-`, or make it a step of its own");
        }
        let refused = node.entries().iter().find(|entry| entry.key == "refused");
        match (first, refused) {
            (None, Some(refused)) => {
                self.notes
                    .error(refused.key_span.clone(), "`refused` is about an operation, and this step has none")
                    .help("write the operation beside it");
                Vec::new()
            }
            (None, None) => Vec::new(),
            (Some(together), refused) if together.key == "together" => {
                if let Some(refused) = refused {
                    self.notes
                        .error(
                            refused.key_span.clone(),
                            "with `together`, `refused` stands beside the operation that it is about",
                        )
                        .help("indent it below that operation");
                }
                together.value.items().iter().flat_map(|entry| self.operations_of_entry(number, entry)).collect()
            }
            (Some(verb), refused) => self.operation(number, verb, refused).into_iter().collect(),
        }
    }

    fn operations_of_entry(&mut self, number: usize, entry: &Node) -> Vec<Operation> {
        if entry.get("together").is_some() {
            return Vec::new();
        }
        let operations = self.operations(number, entry);
        if operations.is_empty() && !self.notes.errors_in(&entry.span) {
            self.notes
                .error(entry.span.clone(), "this entry has no operation")
                .help("write one, like `- attach: { router: r1, interface: red4 }`");
        }
        operations
    }

    /// Reads an operation and does it to the world; `None` if it is wrong.
    fn operation(&mut self, number: usize, verb: &Entry, refused: Option<&Entry>) -> Option<Operation> {
        let before = self.world.clone();
        let (node, place) = (&verb.value, &verb.key_span);
        self.made.clear();
        self.refusals.clear();
        if verb.key == "create" {
            self.create(node);
        } else {
            self.change(number, verb);
        }
        let events = std::mem::take(&mut self.made);
        let refused_as = refused.and_then(|entry| refused_kind(&entry.value));
        if let Some(refused) = refused {
            self.check_refusal(refused, refused_as, place);
            self.world = before;
        } else {
            if !self.refusals.is_empty() {
                self.world.break_all(&before.names_in(node));
            }
            self.note_refusals();
            self.check_all_local(&before, &verb.span());
        }
        let text = format!("{}: {}", verb.key, node.one_line());
        Some(Operation { events, text, refused: refused_as })
    }

    fn change(&mut self, number: usize, verb: &Entry) {
        let Some(key) = OPERATIONS.key(&verb.key) else { return };
        let node = &verb.value;
        let mut needs = self.world.resolve_all(node, &key.ty, &mut self.notes);
        if verb.key == "update" {
            needs.extend(self.updated_names(node));
        }
        if verb.key == "associate" {
            self.check_target(node, &verb.key_span, true);
        }
        if self.notes.errors_in(&verb.span()) {
            self.world.break_all(&needs);
            return;
        }
        let Some(events) = lower::operation(&verb.key, node, &self.world.intent) else { return };
        if !self.call(Call { events, needs, place: verb.key_span.clone(), node }) {
            return;
        }
        match verb.key.as_str() {
            "delete" => {
                for item in node.entries().iter().flat_map(|list| list.value.items()).filter_map(Node::text) {
                    self.world.forget(item, number);
                }
            }
            "associate" => {
                if let Some(address) =
                    node.get("floating_ip").and_then(Node::text).filter(|text| self.world.section_of(text).is_none())
                {
                    let span =
                        node.get("floating_ip").map_or_else(|| verb.key_span.clone(), |value| value.span.clone());
                    self.world.declare(address, Section::FloatingIps, &span, &mut self.notes);
                }
            }
            "set_gateway" => {
                if let Some(router) = node.get("router").and_then(Node::text).and_then(|text| Name::new(text).ok()) {
                    self.check_scheduled(&router, &verb.key_span);
                }
            }
            _ => {}
        }
    }

    /// The keys below the sections of `update` are names too.
    fn updated_names(&mut self, node: &Node) -> Vec<String> {
        let mut names = Vec::new();
        for table in SECTIONS {
            for entry in node.get(language::section_key(table.section)).map(Node::entries).unwrap_or_default() {
                if self.world.resolve(&entry.key, &[table.section], &entry.key_span, &mut self.notes) {
                    names.push(entry.key.clone());
                }
            }
        }
        names
    }

    fn check_refusal(&mut self, refused: &Entry, expected: Option<RejectedKind>, place: &Span) {
        let refusals = std::mem::take(&mut self.refusals);
        let (Some(expected), true) = (expected, self.world.is_sound()) else { return };
        match refusals.first() {
            None if self.notes.errors_in(place) => {}
            None => {
                self.notes
                    .error(refused.value.span.clone(), "the API does not refuse this")
                    .help("remove `refused`, or change the operation");
            }
            Some((rejected, ..)) if rejected.kind == expected => {}
            Some((rejected, ..)) => {
                self.notes
                    .error(refused.value.span.clone(), format!("the API refuses this as `{}`", rejected.kind))
                    .help(format!("its reason: {}", rejected.reason));
            }
        }
    }

    /// No floating IP that this operation touched may have become centralised.
    fn check_all_local(&mut self, before: &World, place: &Span) {
        let addresses: Vec<IpAddr> = self.world.intent.floating_ips.keys().copied().collect();
        for address in addresses {
            let was = before.intent.floating_ips.get(&address).is_some_and(|f| f.target.is_some())
                && before.intent.served_centrally(address);
            if !was {
                self.check_centralised(address, place);
            }
        }
    }

    /// A step that runs several times must be possible again.
    fn check_repeatable(&mut self, operations: &[Operation], node: &Node) {
        let events: Vec<Event> =
            operations.iter().filter(|o| o.refused.is_none()).flat_map(|o| o.events.clone()).collect();
        let Some(times) = node.get("times") else { return };
        if self.world.is_sound()
            && let Err(rejected) = self.world.clone().apply(&events)
        {
            self.notes
                .error(times.span.clone(), "this operation cannot be done a second time")
                .help(format!("the API would refuse: {}", rejected.reason));
        }
    }

    fn check_notify(&mut self, node: &Node, idle: bool) {
        let Some(notify) = node.entries().iter().find(|entry| entry.key == "notify") else { return };
        for entry in notify.value.entries() {
            if entry.key != "all" {
                self.world.resolve(&entry.key, &[Section::Hosts], &entry.key_span, &mut self.notes);
            }
        }
        if idle && !self.notes.errors_in(&node.span) {
            self.notes
                .error(notify.key_span.clone(), "`notify` is about a change, and this step has none")
                .help("remove it, or write the operation");
        }
    }
}

fn refused_kind(node: &Node) -> Option<RejectedKind> {
    RejectedKind::ALL.into_iter().find(|kind| Some(kind.to_string().as_str()) == node.text())
}

/// Floating IPs are known by their address in its one printed form.
fn canonical(section: Section, key: &str) -> String {
    match section {
        Section::FloatingIps => values::address(key).map_or_else(|_| key.to_owned(), |address| address.to_string()),
        Section::Hosts
        | Section::Networks
        | Section::Subnets
        | Section::Routers
        | Section::Ports
        | Section::Instances
        | Section::Outside => key.to_owned(),
    }
}

fn numbered(root: &Node) -> impl Iterator<Item = (usize, &Node)> {
    let steps = root.get("steps").map(Node::items).unwrap_or_default();
    steps.iter().enumerate().map(|(index, step)| (index + 1, step))
}

/// Every address that a section or an operation names, and that is therefore never given out automatically.
fn reserved(root: &Node) -> BTreeSet<IpAddr> {
    fn collect(node: &Node, found: &mut BTreeSet<IpAddr>) {
        match &node.value {
            Value::Text(text) => {
                found.extend(text.text.split_whitespace().filter_map(|word| word.parse::<IpAddr>().ok()))
            }
            Value::List(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Map(entries) => {
                for entry in entries.iter().filter(|entry| entry.key != "expect" && entry.key != "tags") {
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
