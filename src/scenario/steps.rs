//! Steps: their operations as calls to the API, each against what exists then, and what must be seen.

use core::time::Duration;

use super::build::{Builder, Call, numbered};
use super::deeds::listed;
use super::during::{self, During};
use super::exchange;
use super::expect;
use super::language::{self, OPERATIONS, SECTIONS};
use super::lower;
use super::note::{Span, position};
use super::profile;
use super::state;
use super::values;
use super::world::World;
use super::yaml::{Entry, Node};
use super::{Deed, Operation, Step};
use crate::api::{Event, RejectedKind, Section};
use crate::memory::Cache;
use crate::name::Name;

impl Builder<'_> {
    /// The steps, each against what exists then.
    pub(super) fn steps(&mut self, root: &Node) -> Vec<Step> {
        numbered(root).map(|(number, node)| self.step(number, node)).collect()
    }

    fn step(&mut self, number: usize, node: &Node) -> Step {
        let name = self.step_name(number, node);
        let before = self.world.clone();
        let operations = self.operations(number, node);
        let during = self.during(node, &before, operations.is_empty());
        let times =
            node.get("times").and_then(Node::text).and_then(|text| values::integer(text, 1, 1000).ok()).unwrap_or(1);
        if times > 1 {
            self.check_repeatable(&operations, node);
        }
        let hearings = self.hearings(node, operations.is_empty());
        let crash = self.crash(number, node, operations.is_empty());
        let modifying = node.entries().iter().filter(|entry| matches!(entry.key.as_str(), "notify" | "crash"));
        let modifiers = modifying.map(|entry| format!("{}: {}", entry.key, entry.value.one_line())).collect();
        let expectations =
            node.get("expect").map(|expect| expect::read(expect, self.source, &self.world, &mut self.notes));
        let expectations = expectations.unwrap_or_default();
        let exchanges = node
            .get("probe")
            .map(|list| exchange::Reader::new(self.source, &self.world, &mut self.notes).read(list))
            .unwrap_or_default();
        let within = self.within(node);
        self.world.running.pass(number, name.as_deref());
        let profile =
            node.get("nat_profile").and_then(|node| profile::read(node, self.source, &self.world, &mut self.notes));
        let idle = !node.entries().iter().any(|entry| {
            matches!(entry.key.as_str(), "expect" | "probe" | "nat_profile")
                || entry.key == "together"
                || OPERATIONS.key(&entry.key).is_some()
        });
        if idle && !node.entries().is_empty() && !self.notes.errors_in(&node.span) {
            self.notes.error(node.span.clone(), "this step does nothing").help("write an operation or `expect`");
        }
        Step {
            number,
            name,
            line: position(self.source, node.span.start).0,
            operations,
            hearings,
            modifiers,
            crash,
            times,
            exchanges,
            profile,
            during,
            expectations,
            within,
        }
    }

    /// How long `expect` may take.
    fn within(&mut self, node: &Node) -> Option<Duration> {
        let entry = node.entries().iter().find(|entry| entry.key == "within")?;
        if node.get("expect").is_none() && !self.notes.errors_in(&node.span) {
            self.notes
                .error(entry.key_span.clone(), "`within` is about `expect`, and this step has none")
                .help("write what may take that long below `expect`, or remove it");
        }
        let milliseconds = entry.value.text().and_then(values::milliseconds)?;
        Some(Duration::from_millis(milliseconds.into()))
    }

    /// The flows that run through the change, if there is one.
    fn during(&mut self, node: &Node, before: &World, idle: bool) -> Vec<During> {
        let Some(entry) = node.entries().iter().find(|entry| entry.key == "during") else { return Vec::new() };
        if idle && !self.notes.errors_in(&node.span) {
            self.notes
                .error(entry.key_span.clone(), "`during` is about a change, and this step has none")
                .help("write the operation, or put the flows below `expect`");
        }
        during::read(&entry.value, self.source, before, &self.world, &mut self.notes)
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
            (Some(verb), refused) => vec![self.operation(number, verb, refused)],
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

    /// Reads an operation and does it to the world, unless it is wrong or must be refused.
    fn operation(&mut self, number: usize, verb: &Entry, refused: Option<&Entry>) -> Operation {
        let before = self.world.clone();
        let (node, place) = (&verb.value, &verb.key_span);
        self.made.clear();
        self.refusals.clear();
        if verb.key == "create" {
            self.create(node);
        } else {
            self.change(number, verb);
        }
        let deed = if self.notes.errors_in(&verb.span()) {
            self.break_flow(verb);
            None
        } else {
            self.deed(number, verb)
        };
        let events = std::mem::take(&mut self.made);
        let refused_as = refused.and_then(|entry| refused_kind(&entry.value));
        if let Some(refused) = refused {
            self.check_refusal(refused, refused_as, place);
            self.world = before;
        } else {
            if !self.refusals.is_empty() {
                self.world.break_all(&before.names_in(node));
            }
            self.note_refusals(true);
        }
        let text = format!("{}: {}", verb.key, node.one_line());
        Operation { events, text, refused: refused_as, deed }
    }

    fn change(&mut self, number: usize, verb: &Entry) {
        let Some(key) = OPERATIONS.key(&verb.key) else { return };
        let node = &verb.value;
        let mut needs = self.world.resolve_all(node, &key.ty, &mut self.notes);
        if verb.key == "update" {
            needs.extend(self.updated_names(node));
            self.check_own_ports(node);
            self.check_back_end(node);
            for entry in node.get("floating_ips").map(Node::entries).unwrap_or_default() {
                self.check_forwardings(&entry.value, &entry.key_span);
            }
        }
        if verb.key == "migrate"
            && let Some(stage) = node.get("stage")
            && node.get("live").and_then(Node::text) != Some("true")
        {
            self.notes
                .error(stage.span.clone(), "only a live migration has stages")
                .help("write `live: true` beside it, or remove `stage`");
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
                for (host, _) in listed(node) {
                    self.world.running.gone(&host);
                }
                self.world.forget_missing(number);
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

    /// Reads `flush`. What is wrong is noted.
    pub(super) fn flush(&mut self, node: &Node) -> Option<Deed> {
        let at = node.get("at")?;
        let place = state::site(at.text()?, &at.span, &self.world, &mut self.notes)?;
        let cache = match node.get("cache")?.text()? {
            "conntrack" => Cache::Conntrack,
            "neighbours" => Cache::Neighbours,
            "paths" => {
                if let Some(address) = node.get("address") {
                    self.notes
                        .error(address.span.clone(), "of paths the kernel forgets all or none")
                        .help("remove `address`");
                    return None;
                }
                Cache::Paths
            }
            _ => return None,
        };
        let address = node.get("address").and_then(Node::text).and_then(|text| values::address(text).ok());
        Some(Deed::Flush(place, cache, address))
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

    /// What belongs to a port is updated where the port is declared.
    fn check_own_ports(&mut self, node: &Node) {
        for entry in node.get("instances").map(Node::entries).unwrap_or_default() {
            let declared_apart = self.world.intent.instances.contains_key(entry.key.as_str())
                && !self.world.intent.ports.contains_key(entry.key.as_str());
            let nested =
                self.world.intent.instances.get(entry.key.as_str()).is_some_and(|found| found.behind.is_some());
            let (whose, help) = if nested {
                ("the private link, which stays as it is", "delete the instance and create it anew")
            } else {
                ("the port, which is declared elsewhere", "write it under `ports`")
            };
            let keys = entry.value.entries().iter();
            for key in
                keys.filter(|key| declared_apart && matches!(key.key.as_str(), "address" | "allowed_address_pairs"))
            {
                self.notes.error(key.key_span.clone(), format!("`{}` belongs to {whose}", key.key)).help(help);
            }
        }
    }

    /// The lab is made with a back end, and keeps it.
    fn check_back_end(&mut self, node: &Node) {
        let settings = node.get("settings").map(Node::entries).unwrap_or_default();
        for key in settings.iter().filter(|key| key.key == "rules") {
            self.notes
                .error(key.key_span.clone(), "how rules get into the kernel cannot change during a run")
                .help("write it in `settings` at the top of the file, or `run --rules`");
        }
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

    /// A step that runs several times must be possible again.
    fn check_repeatable(&mut self, operations: &[Operation], node: &Node) {
        let events: Vec<Event> =
            operations.iter().filter(|o| o.refused.is_none()).flat_map(|o| o.events.clone()).collect();
        let Some(times) = node.get("times") else { return };
        if operations.iter().any(|operation| matches!(operation.deed, Some(Deed::OpenFlow(_) | Deed::CloseFlow(_)))) {
            self.notes
                .error(times.span.clone(), "this operation cannot be done a second time")
                .help("open and close the flow in steps of their own, and repeat what lies between");
            return;
        }
        if self.world.is_sound()
            && let Err(rejected) = self.world.clone().apply(&events)
        {
            self.notes
                .error(times.span.clone(), "this operation cannot be done a second time")
                .help(format!("the API would refuse: {}", rejected.reason));
        }
    }
}

fn refused_kind(node: &Node) -> Option<RejectedKind> {
    RejectedKind::ALL.into_iter().find(|kind| Some(kind.to_string().as_str()) == node.text())
}
