//! What the lab's namespaces remember of packets.
//!
//! In: a place. Out: its connections without those of probes; or nothing of them any more. Never: a connection forgotten that
//! was there before the probes, and a dump where nothing is tracked.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::net::IpAddr;
use std::rc::Rc;

use netlink_sys::Socket;

use super::{Lab, make};
use crate::dataplane::DataplaneError;
use crate::flow::Place;
use crate::kernel::nfnetlink::NfnetlinkError;
use crate::kernel::{Netns, conntrack, neighbours, paths};
use crate::memory::{Cache, Connection, Detail, Tuple};
use crate::name::{HostName, Name, NamespaceName};
use crate::net::host_net;
use crate::probe::Run;

/// How many connections a namespace tracks.
const CONNECTIONS: &str = "net.netfilter.nf_conntrack_count";

/// By router namespace how many connections it tracks.
pub(super) type Counts = BTreeMap<(HostName, NamespaceName), u32>;

/// By router namespace what it tracked when probes set out: zone and original tuple. Where nothing was, nothing stands here.
pub(super) type Others = BTreeMap<(HostName, NamespaceName), BTreeSet<(u16, Tuple)>>;

fn failed<E: Error>(place: &Place, doing: &'static str) -> impl Fn(E) -> DataplaneError {
    move |error| DataplaneError::Memory { place: place.clone(), doing, reason: make::reason(&error) }
}

impl Lab {
    /// The namespace of a place: a router's, a node's, or a host's own under its name.
    pub(super) fn netns(&self, place: &Place) -> Option<Rc<Netns>> {
        if let Some(host) = &place.host {
            let name = NamespaceName::new(place.name.as_str()).ok()?;
            return self.routers.borrow().get(&(host.clone(), name)).cloned();
        }
        let fabric = self.fabric.borrow();
        let name = Name::new(place.name.as_str()).ok()?;
        let node = fabric.nodes.get(&name).map(|node| &node.netns);
        let host = || fabric.hosts.get(&HostName::from(name.clone())).map(|host| &host.netns);
        node.or_else(host).cloned()
    }

    /// What a place tracks.
    pub(super) fn tracked(&self, place: &Place) -> Result<Vec<Connection>, DataplaneError> {
        self.forget_what_ended()?;
        let Some(netns) = self.netns(place) else { return Ok(Vec::new()) };
        conntrack::dump(netns.nf()).map_err(failed(place, "read connections"))
    }

    /// Has a place forget.
    pub(super) fn forget(&self, place: &Place, cache: Cache, address: Option<IpAddr>) -> Result<(), DataplaneError> {
        let doing = match cache {
            Cache::Conntrack => "forget connections",
            Cache::Neighbours => "forget neighbours",
            Cache::Paths => "forget paths",
        };
        let Some(netns) = self.netns(place) else {
            let reason = "there is no such namespace".to_owned();
            return Err(DataplaneError::Memory { place: place.clone(), doing, reason });
        };
        match (cache, address) {
            (Cache::Conntrack, None) => conntrack::flush(netns.nf()).map_err(failed(place, doing)),
            (Cache::Conntrack, Some(address)) => {
                conntrack::purge(netns.nf(), &host_net(address)).map(drop).map_err(failed(place, doing))
            }
            (Cache::Neighbours, only) => {
                self.runtime.block_on(neighbours::flush(&netns, only)).map_err(failed(place, doing))
            }
            (Cache::Paths, _) => self.runtime.block_on(paths::forget(&netns)).map_err(failed(place, doing)),
        }
    }

    /// Notes what the routers track before probes set out. Counting is cheap, so it costs something only where there is any.
    pub(super) fn connections_before(&self) -> Result<Others, DataplaneError> {
        let mut others = Others::new();
        for (key, netns) in &*self.routers.borrow() {
            let place = super::router_place(&key.0, &key.1);
            if netns.sysctl_get(CONNECTIONS).map_err(failed(&place, "count connections"))? != "0" {
                let all = conntrack::dump(netns.nf()).map_err(failed(&place, "read connections"))?;
                others.insert(key.clone(), all.iter().map(|entry| (entry.zone, entry.original)).collect());
            }
        }
        Ok(others)
    }

    /// How many connections each router namespace tracks.
    pub(super) fn tracked_counts(&self) -> Result<Counts, DataplaneError> {
        let routers = self.routers.borrow();
        let counted = routers.iter().map(|(key, netns)| {
            let place = super::router_place(&key.0, &key.1);
            let count = conntrack::count(netns.nf()).map_err(failed(&place, "count connections"))?;
            Ok((key.clone(), count))
        });
        counted.collect()
    }

    /// Has the routers forget the connections of a run: those that its packets belonged to where they came in. To look for them
    /// would take a walk through the kernel's whole table, twice in each namespace; that is done where more is left than there
    /// was: of another zone, say.
    pub(super) fn forget_run(&self, before: &Counts, run: &Run) -> Result<(), DataplaneError> {
        let doing = "forget the probes' connections";
        for (key, netns) in &*self.routers.borrow() {
            let place = super::router_place(&key.0, &key.1);
            let refused = failed(&place, doing);
            let count = || conntrack::count(netns.nf()).map_err(&refused);
            let before = before.get(key).copied().unwrap_or(0);
            match (before, count()?) {
                (_, 0) => {}
                (0, _) => conntrack::flush(netns.nf()).map_err(&refused)?,
                _ => {
                    for (_, tuple) in run.entered.iter().filter(|(at, _)| *at == place) {
                        conntrack::delete(netns.nf(), 0, tuple).map_err(&refused)?;
                    }
                    if count()? > before {
                        forget_tuples(netns.nf(), &run.tuples).map_err(&refused)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Has the routers forget what they did not track before: the probes' connections. Where there was nothing else, all goes
    /// at once, which is quicker than one by one.
    pub(super) fn forget_connections(&self, others: &Others) -> Result<(), DataplaneError> {
        self.forget_connections_but(others, &BTreeSet::new())
    }

    /// As [`Lab::forget_connections`], but what has one of these pairs of ports stays: it is of flows that run on. They are
    /// told apart by ports, since addresses differ with every translation; protocol number, source and destination port.
    pub(super) fn forget_connections_but(
        &self,
        others: &Others,
        ports: &BTreeSet<(u8, u16, u16)>,
    ) -> Result<(), DataplaneError> {
        for (key, netns) in &*self.routers.borrow() {
            let place = super::router_place(&key.0, &key.1);
            let doing = "forget the probes' connections";
            if netns.sysctl_get(CONNECTIONS).map_err(failed(&place, doing))? == "0" {
                continue;
            }
            let stay = match others.get(key) {
                None if ports.is_empty() => {
                    conntrack::flush(netns.nf()).map_err(failed(&place, doing))?;
                    continue;
                }
                stay => stay,
            };
            for entry in conntrack::dump(netns.nf()).map_err(failed(&place, doing))? {
                let stays = stay.is_some_and(|stay| stay.contains(&(entry.zone, entry.original)));
                if !stays && !has_ports(&entry, ports) {
                    conntrack::delete(netns.nf(), entry.zone, &entry.original).map_err(failed(&place, doing))?;
                }
            }
        }
        Ok(())
    }
}

/// Deletes what has the source port or echo id of one of these, which nothing else in a lab has.
fn forget_tuples(socket: &Socket, tuples: &[Tuple]) -> Result<(), NfnetlinkError> {
    let known: BTreeSet<(u8, u16)> = tuples.iter().filter_map(identity).collect();
    for entry in conntrack::dump(socket)? {
        if identity(&entry.original).is_some_and(|own| known.contains(&own)) {
            conntrack::delete(socket, entry.zone, &entry.original)?;
        }
    }
    Ok(())
}

/// Protocol, and source port or echo id.
fn identity(tuple: &Tuple) -> Option<(u8, u16)> {
    match tuple.detail {
        Detail::Ports(number, _) | Detail::Icmp { id: number, .. } => Some((tuple.protocol, number)),
        Detail::None => None,
    }
}

/// Whether a connection has one of these pairs of ports, in either tuple and direction.
fn has_ports(entry: &Connection, ports: &BTreeSet<(u8, u16, u16)>) -> bool {
    [entry.original, entry.reply].iter().any(|tuple| match tuple.detail {
        Detail::Ports(from, to) => {
            [(from, to), (to, from)].iter().any(|(a, b)| ports.contains(&(tuple.protocol, *a, *b)))
        }
        Detail::Icmp { id, .. } => ports.contains(&(tuple.protocol, id, id)),
        Detail::None => false,
    })
}
