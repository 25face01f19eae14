//! Who sends, where to, and with which addresses: the names in a packet's keys as what they stand for.

use std::net::IpAddr;

use super::read::Reader;
use crate::api::Section;
use crate::flow::Place;
use crate::name::Name;
use crate::net::{Family, Mac};
use crate::packet::Hardware;
use crate::scenario::judge::{addresses_of, first_address};
use crate::scenario::state;
use crate::scenario::subject::NODES;
use crate::scenario::values;
use crate::scenario::yaml::Node;

impl Reader<'_> {
    /// A node or `HOST/NAMESPACE`.
    pub(super) fn place(&mut self, node: &Node) -> Option<Place> {
        let text = node.text()?;
        if text.contains('/') {
            return state::site(text, &node.span, self.world, self.notes);
        }
        if self.world.section_of(text) == Some(Section::Hosts) {
            self.notes
                .error(node.span.clone(), format!("`{text}` is a host: packets are sent and seen in its namespaces"))
                .help(format!("write one of them, like `{text}/qrouter-r1`"));
            return None;
        }
        if !self.world.resolve(text, NODES, &node.span, self.notes) {
            return None;
        }
        let name = Name::new(text).ok()?;
        if self.world.is_idle(&name) {
            self.notes
                .error(node.span.clone(), format!("`{text}` is not booted, so it can neither send nor see"))
                .help("`boot` it before");
            return None;
        }
        Some(Place { host: None, name: text.to_owned() })
    }

    /// What family a packet is of by its keys: an address says it, `arp` and `nd` do, else IPv4 where all nodes have it.
    pub(super) fn family(&self, node: &Node, from: Option<&Place>) -> Family {
        let text = |key: &str| node.get(key).and_then(Node::text);
        if text("arp").is_some() {
            return Family::V4;
        }
        if text("nd").is_some() {
            return Family::V6;
        }
        let address = |key: &str| text(key).and_then(|text| text.parse::<IpAddr>().ok());
        if let Some(address) = address("to").or_else(|| address("source")) {
            return Family::of(address);
        }
        let sender = from.filter(|from| from.host.is_none()).map(|from| from.name.as_str());
        let names: Vec<Name> =
            [sender, text("to")].into_iter().flatten().filter_map(|name| Name::new(name).ok()).collect();
        let has = |family| names.iter().all(|name| first_address(name, family, &self.world.intent).is_some());
        if !has(Family::V4) && has(Family::V6) { Family::V6 } else { Family::V4 }
    }

    /// The address that a key means, of a node its first one; `Err` if it cannot be said.
    pub(super) fn end(&mut self, node: &Node, key: &str, family: Family) -> Result<Option<IpAddr>, ()> {
        let Some(value) = node.get(key) else { return Ok(None) };
        let text = value.text().ok_or(())?;
        if let Ok(address) = text.parse::<IpAddr>() {
            if Family::of(address) == family {
                return Ok(Some(address));
            }
            self.notes
                .error(value.span.clone(), format!("{address} is of the other family than this packet"))
                .help("a packet has addresses of one family");
            return Err(());
        }
        let name = self.node_name(value).ok_or(())?;
        let first = first_address(&name, family, &self.world.intent);
        if first.is_none() {
            let family = if family == Family::V4 { "IPv4" } else { "IPv6" };
            self.notes
                .error(value.span.clone(), format!("`{name}` has no {family} address"))
                .help("write an address of the packet's family");
        }
        first.map(Some).ok_or(())
    }

    /// The addresses that a key of a pattern means: all of a node.
    pub(super) fn ends(&mut self, node: &Node, key: &str) -> Option<Vec<IpAddr>> {
        let Some(value) = node.get(key) else { return Some(Vec::new()) };
        match value.text()?.parse::<IpAddr>() {
            Ok(address) => Some(vec![address]),
            Err(_no_address) => self.node_name(value).map(|name| addresses_of(&self.world.intent, &name)),
        }
    }

    fn node_name(&mut self, value: &Node) -> Option<Name> {
        let text = value.text()?;
        if text.starts_with(|c: char| c.is_ascii_digit()) || text.contains(':') {
            let wrong = values::address(text).err()?;
            self.notes.error(value.span.clone(), wrong.message).help("write an address, or the name of a node");
            return None;
        }
        let known = self.world.resolve(text, NODES, &value.span, self.notes);
        if known { Name::new(text).ok() } else { None }
    }

    /// The MAC that a key means; `Err` if there is none.
    pub(super) fn hardware(&mut self, node: &Node, key: &str) -> Result<Option<Hardware>, ()> {
        let Some(value) = node.get(key) else { return Ok(None) };
        let text = value.text().ok_or(())?;
        if let Ok(mac) = text.parse::<Mac>() {
            return Ok(Some(Hardware::Mac(mac)));
        }
        self.node_name(value).map(|name| Some(Hardware::Of(name))).ok_or(())
    }
}
