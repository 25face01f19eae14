//! The watch on every provider segment of the lab.
//!
//! In: a classification. Out: counts and captured frames, with the time since the first new classification of a change.
//! Never: a request to the kernel for what is classified as before.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use super::fabric::Fabric;
use super::make::{Indexes, failed as failed_topology, plugged, reason};
use super::settle_all;
use crate::dataplane::DataplaneError;
use crate::kernel::apply::{ApplyFailure, Emitter};
use crate::kernel::links;
use crate::kernel::nft::Sender;
use crate::kernel::watch::WatchError;
use crate::name::{DeviceName, HostName, Id};
use crate::net::Mac;
use crate::watch::{Captured, Classification, Count, Rule};

/// What the device of a host's end of a segment is called, before the network's name.
const DEVICE_PREFIX: &str = "watch-";

/// Something for each host's end of each segment, with the inode of the segment's namespace: one of the same name may be another.
type Ends<T> = BTreeMap<(Id, HostName), (u64, T)>;

/// What was last classified how.
#[derive(Default)]
pub(super) struct Watch {
    /// Devices by which frames are sent.
    ends: RefCell<Ends<Emitter>>,
    standing: RefCell<Ends<Vec<Rule>>>,
    since: Cell<Option<Instant>>,
}

/// What is being done when a frame is sent.
const EMIT: &str = "send a frame onto a provider segment";

pub(super) fn unsent(failure: &ApplyFailure) -> DataplaneError {
    DataplaneError::Watch { doing: EMIT, reason: failure.reason() }
}

fn failed(doing: &'static str) -> impl Fn(WatchError) -> DataplaneError {
    move |error| DataplaneError::Watch { doing, reason: reason(&error) }
}

impl Watch {
    /// Starts the clock of a change: the lab has its shape.
    pub(super) fn restart_clock(&self) {
        #[expect(clippy::disallowed_methods, reason = "the time since a change is for reports")]
        self.since.set(Some(Instant::now()));
    }

    /// Classifies what is to be classified otherwise than it is. A segment made anew knows nothing.
    pub(super) fn classify(&self, fabric: &Fabric, wanted: &Classification) -> Result<(), DataplaneError> {
        let mut standing = self.standing.borrow_mut();
        let stands = |segment: &Id, host: &HostName, inode: u64| {
            let known = fabric.segments.get(segment).is_some_and(|segment| segment.plug.netns.inode() == inode);
            known && fabric.hosts.contains_key(host)
        };
        standing.retain(|(segment, host), (inode, _)| stands(segment, host, *inode));
        self.ends.borrow_mut().retain(|(segment, host), (inode, _)| stands(segment, host, *inode));
        for (id, hosts) in &wanted.segments {
            let Some(segment) = fabric.segments.get(id) else { continue };
            let inode = segment.plug.netns.inode();
            let key = |host: &HostName| (id.clone(), host.clone());
            let others = hosts
                .iter()
                .filter(|(host, rules)| standing.get(&key(host)).is_none_or(|(_, standing)| standing != *rules));
            let senders: Vec<Sender<'_>> = others
                .filter_map(|(host, rules)| Some(Sender { group: fabric.hosts.get(host)?.group(), host, rules }))
                .collect();
            if senders.is_empty() {
                continue;
            }
            segment.watch.classify(&senders).map_err(failed("classify what hosts send"))?;
            standing.extend(senders.iter().map(|one| (key(one.host), (inode, one.rules.to_vec()))));
        }
        Ok(())
    }

    /// A host's end of a segment, made when it is first needed. What it sends teaches the segment's bridge nothing.
    pub(super) async fn end(
        &self,
        indexes: &Indexes,
        fabric: &Fabric,
        network: &Id,
        host: &HostName,
    ) -> Result<Emitter, DataplaneError> {
        let key = (network.clone(), host.clone());
        let nowhere = || DataplaneError::Watch { doing: EMIT, reason: format!("{host} has no end of {network}") };
        let segment = fabric.segments.get(network).ok_or_else(nowhere)?;
        let plug = fabric.plug(host, network).ok_or_else(nowhere)?;
        let netns = Rc::clone(&fabric.hosts.get(host).ok_or_else(nowhere)?.netns);
        let inode = plug.netns.inode();
        if let Some((_, end)) = self.ends.borrow().get(&key).filter(|(known, _)| *known == inode) {
            return Ok(end.clone());
        }
        let device = DeviceName::cut(DEVICE_PREFIX, network.as_str());
        let near = links::End {
            name: device.as_str(),
            index: indexes.next(),
            mac: Mac::derived("watch", &format!("{network}/{host}")),
            mtu: segment.mtu,
        };
        let made = async {
            let port = plugged(indexes, &netns, near, &plug).await?;
            links::port_flags(plug.netns.handle(), port, false, false, false).await
        };
        made.await.map_err(failed_topology(EMIT))?;
        let both = [(host.to_string(), Rc::clone(&netns)), (format!("seg-{network}"), Rc::clone(&plug.netns))];
        settle_all(&both).await?;
        let end = Emitter::new(&netns, &device).map_err(|failure| unsent(&failure))?;
        self.ends.borrow_mut().insert(key, (inode, end.clone()));
        Ok(end)
    }

    /// Frames that were captured.
    pub(super) fn caught(&self, fabric: &Fabric) -> Result<Vec<Captured>, DataplaneError> {
        let mut all = Vec::new();
        for (id, segment) in &fabric.segments {
            for caught in segment.watch.caught().map_err(failed("read captured frames"))? {
                let after = self.since.get().map(|since| since.elapsed()).unwrap_or_default();
                all.push(Captured {
                    network: id.clone(),
                    host: caught.host,
                    class: caught.class,
                    frame: caught.frame,
                    after_us: u64::try_from(after.as_micros()).unwrap_or(u64::MAX),
                });
            }
        }
        Ok(all)
    }

    /// What was counted.
    pub(super) fn counted(&self, fabric: &Fabric) -> Result<Vec<Count>, DataplaneError> {
        let standing = self.standing.borrow();
        let mut all = Vec::new();
        for (id, segment) in &fabric.segments {
            if !standing.keys().any(|(watched, _)| watched == id) {
                continue;
            }
            let counts = segment.watch.count().map_err(failed("read the watch's counters"))?;
            let count = |(host, class, frames)| Count { network: id.clone(), host, class, frames };
            all.extend(counts.into_iter().map(count));
        }
        Ok(all)
    }
}
