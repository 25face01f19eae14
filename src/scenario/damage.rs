//! What somebody does behind the agent's back: `sabotage`, with the objects as they are printed.

use std::net::IpAddr;

use super::build::Builder;
use super::deed::{Damage, Deed, Thing, Wreck};
use super::note::{Notes, Span, listed};
use super::state::{self, KINDS};
use super::words::{Word, Words};
use super::world::World;
use super::yaml::Node;
use crate::flow::Place;
use crate::name::{DeviceName, HostName, Id, Name, NamespaceName};
use crate::namespace::{Address, ChainName, Hook, Kind, PolicyRule, Route, Rule, Table};
use crate::net::{Family, Mac};

/// The keys of which there is one.
const VERBS: [&str; 4] = ["delete", "add", "set", "replace"];

/// What an object is put in place of, or beside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    Add,
    Set,
    Replace,
}

impl Builder<'_> {
    /// Reads `sabotage`. What is wrong is noted.
    pub(super) fn sabotage(&mut self, node: &Node, place: &Span) -> Option<Deed> {
        let at = node.get("at")?;
        let site = state::site(at.text()?, &at.span, &self.world, &mut self.notes)?;
        let mut verbs = node.entries().iter().filter(|entry| VERBS.contains(&entry.key.as_str()));
        let Some(verb) = verbs.next() else {
            self.notes
                .error(place.clone(), "this sabotage does nothing")
                .help("write one of `delete`, `add`, `set`, `replace`, each with `KIND TEXT`");
            return None;
        };
        if let Some(second) = verbs.next() {
            self.notes
                .error(second.key_span.clone(), format!("a sabotage does one thing, `{}` is the second", second.key))
                .help("put both below `together`, each in a `sabotage` of its own");
            return None;
        }
        let with = node.entries().iter().find(|entry| entry.key == "with");
        if let (Some(with), true) = (with, verb.key != "replace") {
            self.notes.error(with.key_span.clone(), "`with` belongs to `replace`").help("remove it");
            return None;
        }
        let mut words = Words::of_value(&verb.value)?;
        let word = Word { text: verb.key.clone(), span: verb.key_span.clone() };
        let kind = state::kind(&word, &mut words, &mut self.notes)?;
        if !self.fits(&verb.key, kind, &site, &verb.value.span) {
            return None;
        }
        let rest: Vec<String> = words.rest().into_iter().map(|word| word.text).collect();
        let (world, notes) = (&self.world, &mut self.notes);
        let wreck = match verb.key.as_str() {
            "delete" if kind == Kind::Sysctl => {
                notes
                    .error(verb.value.span.clone(), "a sysctl cannot be deleted")
                    .help("write `set: sysctl KEY=VALUE`");
                return None;
            }
            "delete" => Wreck::Delete(kind, rest),
            "add" => Wreck::Put(thing(Put::Add, kind, &rest.join(" "), &verb.value.span, world, notes)?),
            "set" => Wreck::Put(thing(Put::Set, kind, &rest.join(" "), &verb.value.span, world, notes)?),
            _ => {
                let Some(with) = with else {
                    notes.error(verb.key_span.clone(), "`replace` needs `with`").help("write `with: TEXT` beside it");
                    return None;
                };
                let by = with.value.text()?;
                Wreck::Replace(kind, rest, thing(Put::Replace, kind, by, &with.value.span, world, notes)?)
            }
        };
        Some(match (&site.host, kind) {
            (Some(host), _) => {
                let namespace = NamespaceName::new(site.name.as_str()).ok();
                Deed::Sabotage(Damage { host: host.clone(), namespace, wreck })
            }
            (None, Kind::Namespace) => {
                Deed::Sabotage(Damage { host: HostName::new(site.name.as_str()).ok()?, namespace: None, wreck })
            }
            (None, _) => Deed::Tamper(site, wreck),
        })
    }

    fn fits(&mut self, verb: &str, kind: Kind, site: &Place, span: &Span) -> bool {
        let inside = site.host.is_some();
        let is_host = self.world.intent.hosts.contains_key(site.name.as_str());
        let (message, help) = if kind == Kind::Conntrack {
            ("connections belong to nobody", "`flush` has a namespace forget them")
        } else if kind == Kind::Namespace && inside {
            ("a namespace is in no other", "write `at: HOST`")
        } else if kind == Kind::Namespace && !is_host {
            ("a machine has no router namespaces", "write `at: HOST`")
        } else if kind == Kind::Device && !inside && matches!(verb, "delete" | "replace") {
            (
                "the devices of machines and hosts are the lab's own",
                "`set_link` takes a link down, `set: device NAME state down` a device",
            )
        } else {
            return true;
        };
        self.notes.error(span.clone(), message).help(help);
        false
    }
}

/// Reads an object as it is printed. What is wrong is noted.
pub(super) fn thing(put: Put, kind: Kind, text: &str, span: &Span, world: &World, notes: &mut Notes) -> Option<Thing> {
    let settable = matches!(kind, Kind::Device | Kind::Sysctl | Kind::Neighbour | Kind::Route | Kind::Route6);
    if put == Put::Set && !settable {
        let word = KINDS.iter().find(|(_, known)| *known == kind).map_or("object", |(word, _)| word);
        notes
            .error(span.clone(), format!("a {word} has nothing that could be set"))
            .help("write `replace: KIND TEXT` and `with: TEXT`");
        return None;
    }
    let read = match kind {
        Kind::Namespace => NamespaceName::new(text)
            .map(Thing::Namespace)
            .map_err(|_error| format!("`{text}` is no name of a router namespace")),
        Kind::Device if put == Put::Set => device(text),
        Kind::Device => new_device(text, world),
        Kind::Address => text.parse::<Address>().map(Thing::Address).map_err(|error| error.to_string()),
        Kind::Rule => PolicyRule::parse(Family::V4, text).map(Thing::Rule).map_err(|error| error.to_string()),
        Kind::Rule6 => PolicyRule::parse(Family::V6, text).map(Thing::Rule).map_err(|error| error.to_string()),
        Kind::Route => Route::parse(Family::V4, text).map(Thing::Route).map_err(|error| error.to_string()),
        Kind::Route6 => Route::parse(Family::V6, text).map(Thing::Route).map_err(|error| error.to_string()),
        Kind::Neighbour => neighbour(text, world),
        Kind::Sysctl => match text.split_once('=') {
            Some((key, value)) => Ok(Thing::Sysctl(key.trim().to_owned(), value.trim().to_owned())),
            None => Err("the value is missing".to_owned()),
        },
        Kind::Raw => table_rule(Family::V4, Table::Raw, text),
        Kind::Mangle => table_rule(Family::V4, Table::Mangle, text),
        Kind::Nat => table_rule(Family::V4, Table::Nat, text),
        Kind::Filter => table_rule(Family::V4, Table::Filter, text),
        Kind::Raw6 => table_rule(Family::V6, Table::Raw, text),
        Kind::Mangle6 => table_rule(Family::V6, Table::Mangle, text),
        Kind::Nat6 => table_rule(Family::V6, Table::Nat, text),
        Kind::Filter6 => table_rule(Family::V6, Table::Filter, text),
        Kind::Conntrack => return None,
    };
    match read {
        Ok(thing) => Some(thing),
        Err(message) => {
            notes.error(span.clone(), message).help(format!("write it as it is printed: `{}`", example(put, kind)));
            None
        }
    }
}

fn example(put: Put, kind: Kind) -> &'static str {
    match kind {
        Kind::Namespace => "qrouter-other",
        Kind::Device if put == Put::Set => "qg-r1 mtu 1400 state down",
        Kind::Device => "qr-other network red",
        Kind::Address => "10.0.1.1/24 dev qr-red4",
        Kind::Rule => "32768: from 10.0.1.11 lookup 16",
        Kind::Rule6 => "32768: from 2001:db8::11 lookup 16",
        Kind::Route => "default via 10.0.1.2 dev qr-red4 table 16",
        Kind::Route6 => "default via fe80::1 dev qg-r1 table main",
        Kind::Neighbour => "10.0.1.11 dev qr-red4 lladdr vm1",
        Kind::Sysctl => "net.ipv4.ip_forward=0",
        Kind::Conntrack => "",
        Kind::Raw
        | Kind::Mangle
        | Kind::Nat
        | Kind::Filter
        | Kind::Raw6
        | Kind::Mangle6
        | Kind::Nat6
        | Kind::Filter6 => "-I FORWARD 1 -s 10.0.1.11/32 -j DROP",
    }
}

/// `qg-r1 mtu 1400 state down mac fa:16:3e:00:00:01`, each but the name if it is to change.
fn device(text: &str) -> Result<Thing, String> {
    let mut words = text.split_whitespace();
    let device = device_name(words.next())?;
    let (mut mtu, mut up, mut mac) = (None, None, None);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("`{word}` needs a value"))?;
        let wrong = || format!("`{value}` is no value of `{word}`");
        match word {
            "mtu" => mtu = Some(value.parse().map_err(|_error| wrong())?),
            "mac" => mac = Some(value.parse::<Mac>().map_err(|_error| wrong())?),
            "state" if matches!(value, "up" | "down") => up = Some(value == "up"),
            "state" => return Err(wrong()),
            other => return Err(format!("`{other}` is not understood here")),
        }
    }
    if mtu.is_none() && up.is_none() && mac.is_none() {
        return Err("what is to be set is missing".to_owned());
    }
    Ok(Thing::Device { device, mtu, up, mac })
}

fn device_name(word: Option<&str>) -> Result<DeviceName, String> {
    let word = word.ok_or_else(|| "the device is missing".to_owned())?;
    word.parse().map_err(|_error| format!("`{word}` is no name of a device"))
}

/// `qr-other network red`
fn new_device(text: &str, world: &World) -> Result<Thing, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        [device, "network", network] => {
            let found = world.intent.networks.get_key_value(*network);
            let (name, network) = found.ok_or_else(|| format!("there is no network `{network}`"))?;
            Ok(Thing::NewDevice { device: device_name(Some(device))?, network: Id::from(name), mtu: network.mtu })
        }
        _ => Err("a device and what it is plugged into are needed".to_owned()),
    }
}

/// `10.0.1.11 dev qr-red4 lladdr vm1`, with `permanent` or without.
fn neighbour(text: &str, world: &World) -> Result<Thing, String> {
    let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "permanent").collect();
    let [address, "dev", device, "lladdr", owner] = words.as_slice() else {
        return Err("an address, a device and a MAC are needed".to_owned());
    };
    let address = address.parse::<IpAddr>().map_err(|_error| format!("`{address}` is no address"))?;
    let of_instance = || {
        let instance = world.intent.instances.get(&Name::new(*owner).ok()?)?;
        Some(world.intent.ports.get(instance.ports.first()?)?.mac)
    };
    let mac = owner.parse::<Mac>().ok().or_else(of_instance);
    let mac = mac.ok_or_else(|| format!("`{owner}` is neither a MAC nor an instance"))?;
    Ok(Thing::Neighbour(device_name(Some(device))?, address, mac))
}

/// `-A CHAIN ...`, `-I CHAIN N ...`
fn table_rule(family: Family, table: Table, text: &str) -> Result<Thing, String> {
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    let (chain, rest) = rest.trim_start().split_once(' ').unwrap_or((rest, ""));
    let chain = match Hook::ALL.into_iter().find(|hook| hook.name() == chain) {
        Some(hook) => ChainName::Builtin(hook),
        None if chain.is_empty() => return Err("the chain is missing".to_owned()),
        None => ChainName::Own(chain.to_owned()),
    };
    let (position, rest) = match verb {
        "-A" => (None, rest),
        "-I" => {
            let (number, after) = rest.trim_start().split_once(' ').unwrap_or((rest, ""));
            match number.parse::<usize>() {
                Ok(0) => return Err("rules are counted from 1".to_owned()),
                Ok(number) => (Some(number - 1), after),
                Err(_error) => (Some(0), rest),
            }
        }
        other => return Err(format!("`{other}` is neither `-A` nor `-I`")),
    };
    if rest.trim().is_empty() {
        return Err(format!("a rule needs more than its chain: one of {}", listed(["-s", "-d", "-i", "-o", "-j"])));
    }
    let rule = rest.parse::<Rule>().map_err(|error| error.to_string())?;
    Ok(Thing::TableRule { family, table, chain, position, rule })
}
