//! `nat_profile`: the class of the translator before an instance.

use std::collections::BTreeMap;

use super::judge::addresses_of;
use super::note::{Notes, position};
use super::world::World;
use super::yaml::Node;
use crate::api::{NodePlace, Section};
use crate::name::Name;

/// What kind of translator must stand before an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its line in the file, from 1.
    pub line: usize,
    /// The instance.
    pub of: Name,
    /// What is compared: `mapping`, `filtering`, `ports` ... to its class.
    pub facts: BTreeMap<String, String>,
}

/// Reads the map. What is wrong is noted.
pub(super) fn read(node: &Node, source: &str, world: &World, notes: &mut Notes) -> Option<Profile> {
    let of = node.get("of")?;
    let text = of.text()?;
    if !world.resolve(text, &[Section::Instances], &of.span, notes) {
        return None;
    }
    let name = Name::new(text).ok()?;
    let mut wrong = |message: String, help: &str| {
        notes.error(of.span.clone(), message).help(help);
        None
    };
    if world.is_idle(&name) {
        return wrong(format!("`{name}` is not booted"), "`boot` it before");
    }
    if !addresses_of(&world.intent, &name).iter().any(std::net::IpAddr::is_ipv4) {
        return wrong(format!("`{name}` has no IPv4 address"), "IPv6 is routed, never translated");
    }
    let servers = world.intent.outside.iter().filter(|(_, node)| !matches!(node.place, NodePlace::GatewayOf(_)));
    let outside = servers.flat_map(|(name, _)| addresses_of(&world.intent, name)).filter(std::net::IpAddr::is_ipv4);
    if outside.count() < 2 && world.is_sound() {
        return wrong(
            "a NAT profile is taken from two addresses outside".to_owned(),
            "declare a second machine in `outside`, or give one a second address",
        );
    }
    let facts = node.entries().iter().filter(|entry| entry.key != "of");
    let facts = facts.filter_map(|entry| Some((entry.key.clone(), entry.value.text()?.to_owned()))).collect();
    Some(Profile { line: position(source, node.span.start).0, of: name, facts })
}
