//! Objects of sections, those of the file and those of `create`: declared, resolved, completed, created in the API's order.

use super::build::{Builder, Call, canonical};
use super::language::{self, SECTIONS, Table, Type};
use super::lower;
use super::note::{Notes, Span};
use super::values;
use super::world::note_rejected;
use super::yaml::{Entry, Node, Value};
use crate::api::{Event, RejectedKind, Section};
use crate::name::Name;

impl Builder<'_> {
    /// Objects of sections, those of the file or of `create`.
    pub(super) fn create(&mut self, sections: &Node) {
        let tables: Vec<(&Table, &Node)> = SECTIONS
            .iter()
            .filter_map(|table| Some((*table, sections.get(language::section_key(table.section))?)))
            .collect();
        for (table, node) in &tables {
            for entry in named(table, node) {
                let name = canonical(table.section, &entry.key);
                if !self.world.declare(&name, table.section, &entry.key_span, &mut self.notes) {
                    self.world.break_all([&name]);
                }
            }
        }
        for (table, node) in &tables {
            for entry in named(table, node) {
                self.world.resolve_all(&entry.value, &Type::Map(table.record), &mut self.notes);
                self.check_complete(table.section, entry);
                if self.notes.errors_in(&entry.span()) {
                    self.world.break_all([&canonical(table.section, &entry.key)]);
                }
            }
        }
        let order = [
            Section::Hosts,
            Section::Networks,
            Section::AddressScopes,
            Section::Subnets,
            Section::Outside,
            Section::Routers,
            Section::Ports,
        ];
        for section in order {
            self.create_section(&tables, section);
        }
        self.for_each(&tables, Section::Routers, Self::link_router);
        self.create_some(&tables, Section::Instances, |node| node.get("behind").is_none());
        self.create_some(&tables, Section::Instances, |node| node.get("behind").is_some());
        self.create_section(&tables, Section::FloatingIps);
        self.for_each(&tables, Section::FloatingIps, Self::associate_new);
    }

    fn for_each(&mut self, tables: &[(&Table, &Node)], section: Section, act: impl Fn(&mut Self, &Table, &Entry)) {
        for (table, node) in tables.iter().filter(|(table, _)| table.section == section) {
            for entry in named(table, node) {
                act(self, table, entry);
            }
        }
    }

    fn create_section(&mut self, tables: &[(&Table, &Node)], section: Section) {
        self.create_some(tables, section, |_| true);
    }

    fn create_some(&mut self, tables: &[(&Table, &Node)], section: Section, which: fn(&Node) -> bool) {
        self.for_each(tables, section, |builder, table, entry| {
            if !which(&entry.value) {
                return;
            }
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
    pub(super) fn check_scheduled(&mut self, router: &Name, place: &Span) {
        let unscheduled =
            self.world.intent.routers.get(router).and_then(|r| r.gateway.as_ref()).is_some_and(|g| g.host.is_none());
        if unscheduled && self.world.are_sound(&[Section::Hosts]) {
            self.notes
                .error(place.clone(), format!("no host can carry the gateway of router {router}"))
                .help("declare a host with `mode: dvr_snat`");
        }
    }

    fn associate_new(&mut self, table: &Table, entry: &Entry) {
        let Ok(address) = values::address(&entry.key) else { return };
        let intent = &self.world.intent;
        let associated = lower::associated(address, &entry.value, intent);
        let events: Vec<Event> =
            associated.into_iter().chain(lower::port_forwardings(address, &entry.value, intent)).collect();
        if !events.is_empty() {
            let needs = std::iter::once(address.to_string()).chain(self.needs(&entry.value, table)).collect();
            self.call(Call { events, needs, place: entry.key_span.clone(), node: &entry.value });
        }
    }

    /// Attributes that exclude or need each other.
    fn check_complete(&mut self, section: Section, entry: &Entry) {
        let node = &entry.value;
        if !matches!(node.value, Value::Map(_)) {
            return;
        }
        let count = |keys: &[&str]| keys.iter().filter(|key| node.get(key).is_some()).count();
        let place = entry.key_span.clone();
        match section {
            Section::Instances if count(&["network", "port", "behind"]) != 1 => {
                self.notes
                    .error(place, format!("`{}` needs one of `network`, `port` and `behind`", entry.key))
                    .help("`network` gives it a port of its own, `port` names ports declared in `ports`, `behind` puts it behind an instance");
            }
            Section::Instances if count(&["behind"]) == 1 && count(&["host", "allowed_address_pairs"]) > 0 => {
                self.notes
                    .error(place, "`host` and `allowed_address_pairs` belong to the instance that it is behind")
                    .help("it runs where that instance runs, and has no port on a network");
            }
            Section::Instances if !has_lengths(node, count(&["behind"]) == 1) => self.note_lengths(node, &place),
            Section::Instances if count(&["port"]) == 1 && count(&["address", "mac", "allowed_address_pairs"]) > 0 => {
                self.notes
                    .error(
                        place,
                        "`address`, `mac` and `allowed_address_pairs` belong to the port, which is declared elsewhere",
                    )
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
            Section::FloatingIps => {
                self.check_target(node, &place, false);
                self.check_forwardings(node, &place);
            }
            Section::Hosts
            | Section::Networks
            | Section::Subnets
            | Section::Routers
            | Section::Ports
            | Section::Instances
            | Section::Outside
            | Section::AddressScopes => {}
        }
    }

    /// Addresses have prefix lengths on a private link, and only there.
    fn note_lengths(&mut self, node: &Node, place: &Span) {
        let behind = node.get("behind").is_some();
        let items = node.get("address").map(Node::items).unwrap_or_default();
        let wrong = items.iter().find(|item| item.text().is_some_and(|text| text.contains('/') != behind));
        let place = wrong.map_or_else(|| place.clone(), |item| item.span.clone());
        if behind {
            self.notes
                .error(place, "on a private link an address needs its prefix length")
                .help("write it like `address: 172.16.0.5/24`; the instance has the first address, 172.16.0.1");
        } else {
            self.notes
                .error(place, "the prefix length of an address is that of its subnet")
                .help("write the address alone; only with `behind` it has a prefix length");
        }
    }

    /// Each port forwarding has one target, and a router is named for port forwardings alone.
    pub(super) fn check_forwardings(&mut self, node: &Node, place: &Span) {
        for item in node.get("port_forwardings").map(Node::items).unwrap_or_default() {
            let first = item.span.start..item.span.end.min(item.span.start + 1);
            let one = item.get("instance").is_some() != item.get("port").is_some();
            if !one && matches!(item.value, Value::Map(_)) {
                self.notes
                    .error(first, "a port forwarding leads to an `instance` or a `port`, one of them")
                    .help("an instance stands for its first port");
            }
        }
        if node.get("router").is_some() && node.get("port_forwardings").is_none() {
            self.notes
                .error(place.clone(), "`router` is for `port_forwardings`")
                .help("remove it: the router of an associated floating IP follows from its port");
        }
    }

    /// `instance` or `port`, not both; `required`: one of them.
    pub(super) fn check_target(&mut self, node: &Node, place: &Span, required: bool) {
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
    pub(super) fn call(&mut self, call: Call<'_>) -> bool {
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

    pub(super) fn note_refusals(&mut self, in_step: bool) {
        for (rejected, place, node) in std::mem::take(&mut self.refusals) {
            let connected = self.world.are_sound(&[Section::Networks, Section::Subnets, Section::Routers]);
            let follows = rejected.kind == RejectedKind::ExternalGatewayForFloatingIPNotFound && !connected;
            if !follows {
                note_rejected(&rejected, &place, &node, in_step, &mut self.notes);
            }
        }
    }
}

/// The entries of a section whose key can be a name at all.
fn named<'a>(table: &Table, node: &'a Node) -> impl Iterator<Item = &'a Entry> {
    let address = table.section == Section::FloatingIps;
    node.entries().iter().filter(move |entry| !address || values::address(&entry.key).is_ok())
}

/// Whether an instance's addresses have prefix lengths where they need them, and an address where there is no subnet to take
/// one from.
fn has_lengths(node: &Node, behind: bool) -> bool {
    let items = node.get("address").map(Node::items).unwrap_or_default();
    let agree = items.iter().all(|item| item.text().is_none_or(|text| text.contains('/') == behind));
    agree && (!behind || !items.is_empty())
}
