//! Operations on hosts and links: read and checked against what stands and runs at that point of the file.

use std::collections::BTreeSet;

use super::build::Builder;
use super::deed::{AgentDeed, Deed, LinkSetting};
use super::deeds::named;
use super::note::{Span, listed};
use super::values;
use super::yaml::{Entry, Node};
use crate::name::{HostName, Id, Name};

/// The word for what joins the hosts.
const UNDERLAY: &str = "underlay";

/// The longest IP packet that a machine's link carries, in bytes.
const LONGEST: u32 = 1500;

impl Builder<'_> {
    /// Reads `stop_host` or `start_host`. What is wrong is noted.
    pub(super) fn power(&mut self, number: usize, node: &Node, on: bool) -> Deed {
        let hosts = named(node);
        for (host, at) in &hosts {
            let off = self.world.running.off.get(host).copied();
            match (on, off) {
                (true, None) => {
                    self.notes
                        .error(at.span.clone(), format!("`{host}` is on already"))
                        .help("`restart_agent` starts only its agent anew");
                }
                (false, Some(step)) => {
                    self.notes
                        .error(at.span.clone(), format!("`{host}` is off since step {step}"))
                        .help("`start_host` switches it on");
                }
                (true, Some(_)) => {
                    self.world.running.off.remove(host);
                    self.world.running.agent(AgentDeed::Start, host, number);
                }
                (false, None) => {
                    self.world.running.off.insert(host.clone(), number);
                    self.world.running.agent(AgentDeed::Stop, host, number);
                }
            }
        }
        Deed::Hosts(on, hosts.into_iter().map(|(host, _)| host).collect())
    }

    /// Reads `set_link`. What is wrong is noted.
    pub(super) fn link(&mut self, verb: &Entry) -> Option<Deed> {
        let node = &verb.value;
        let (value, name) = (node.get("node")?, Name::new(node.get("node")?.text()?).ok()?);
        let to = node.get("to");
        let setting = LinkSetting {
            up: node.get("up").and_then(Node::text).and_then(|text| values::boolean(text).ok()),
            mtu: node.get("mtu").and_then(Node::text).and_then(|text| values::integer(text, 0, u32::MAX).ok()),
        };
        if setting == LinkSetting::default() {
            self.notes.error(verb.key_span.clone(), "this sets nothing").help("write `up` or `mtu`");
            return None;
        }
        if self.world.intent.hosts.contains_key(name.as_str()) {
            if let Some(other) = to.filter(|to| to.text() != Some(UNDERLAY)) {
                self.notes
                    .error(other.span.clone(), "of a host only the link to the `underlay` can be set")
                    .help(format!("write `to: {UNDERLAY}`, or nothing"));
                return None;
            }
            return Some(Deed::Link { node: name, to: None, setting });
        }
        if let Some(mtu) = node.get("mtu").filter(|_| setting.mtu.is_some_and(|mtu| mtu > LONGEST)) {
            self.notes
                .error(mtu.span.clone(), format!("a machine's link carries {LONGEST} bytes at most"))
                .help("only the underlay carries more");
            return None;
        }
        let networks = self.links_of(&name);
        match to.and_then(|to| Some((to.text()?, &to.span))) {
            Some((text, span)) => {
                let span: Span = span.clone();
                if networks.iter().any(|network| network.as_str() == text) {
                    return Some(Deed::Link { node: name, to: Id::new(text).ok(), setting });
                }
                self.notes
                    .error(span, format!("`{name}` has no link to `{text}`"))
                    .help(format!("it has one to {}", listed(networks.iter().map(Name::as_str))));
            }
            None if networks.len() > 1 => {
                self.notes
                    .error(value.span.clone(), format!("`{name}` has several links"))
                    .help(format!("write `to` with one of {}", listed(networks.iter().map(Name::as_str))));
            }
            None => {
                let to = networks.first().map(Id::from);
                return Some(Deed::Link { node: name, to, setting });
            }
        }
        None
    }

    /// The networks that a machine has a link to.
    fn links_of(&self, name: &Name) -> BTreeSet<Name> {
        let intent = &self.world.intent;
        let ports = intent.instances.get(name).into_iter().flat_map(|instance| &instance.ports);
        let inside = ports.filter_map(|port| Some(intent.ports.get(port)?.network.clone()));
        let outside = intent.outside.get(name).into_iter().filter_map(|node| match &node.place {
            crate::api::NodePlace::On(network) | crate::api::NodePlace::GatewayOf(network) => Some(network.clone()),
            crate::api::NodePlace::Behind(_) => None,
        });
        inside.chain(outside).collect()
    }

    /// Reads `partition`. What is wrong is noted.
    pub(super) fn partition(&mut self, node: &Node) -> Option<Deed> {
        let list = node.get("groups")?;
        let mut seen = BTreeSet::new();
        for item in list.items().iter().flat_map(Node::items) {
            if let Some(text) = item.text().filter(|text| !seen.insert((*text).to_owned())) {
                self.notes.error(item.span.clone(), format!("`{text}` is in two groups")).help("a host is on one side");
                return None;
            }
        }
        if list.items().len() < 2 {
            self.notes
                .error(list.span.clone(), "one group is cut from nobody")
                .help("write two groups or more: `[[net1], [cmp1]]`");
            return None;
        }
        let hosts = |group: &Node| group.items().iter().filter_map(|item| HostName::new(item.text()?).ok()).collect();
        Some(Deed::Partition(list.items().iter().map(hosts).collect()))
    }
}
