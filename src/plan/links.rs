//! Devices: which stay, which go and which are made. A pair of devices stays or goes as one.

use std::collections::BTreeSet;

use super::op::Action;
use super::order::{Phase, Steps};
use crate::name::{DeviceName, NamespaceName};
use crate::namespace::{Attach, HostState, Link};

/// A device: its namespace and its name.
type Place<'a> = (&'a NamespaceName, &'a DeviceName);

/// The devices that are observed as they are desired, but perhaps for MTU and being up.
pub(super) struct Kept<'a>(BTreeSet<Place<'a>>);

impl<'a> Kept<'a> {
    /// Compares both states.
    pub(super) fn new(observed: &'a HostState, desired: &HostState) -> Self {
        let same = |namespace: &NamespaceName, device: &DeviceName| match (
            link(observed, namespace, device),
            link(desired, namespace, device),
        ) {
            (Some(is), Some(wanted)) => is.mac == wanted.mac && is.attach == wanted.attach && is.odd == wanted.odd,
            (None, _) | (_, None) => false,
        };
        let places =
            observed.namespaces.iter().flat_map(|(name, state)| state.links.keys().map(move |link| (name, link)));
        let kept = places.filter(|(name, device)| {
            let peer = link(observed, name, device).and_then(peer_of);
            same(name, device) && peer.is_none_or(|(name, device)| same(name, device))
        });
        Self(kept.collect())
    }

    /// Whether this one stays.
    pub(super) fn has(&self, namespace: &'a NamespaceName, device: &'a DeviceName) -> bool {
        self.0.contains(&(namespace, device))
    }
}

fn link<'a>(state: &'a HostState, namespace: &NamespaceName, device: &DeviceName) -> Option<&'a Link> {
    state.namespaces.get(namespace)?.links.get(device)
}

fn peer_of(link: &Link) -> Option<Place<'_>> {
    match &link.attach {
        Attach::Peer { namespace, device } => Some((namespace, device)),
        Attach::Network(_) | Attach::Foreign => None,
    }
}

/// Removes what does not stay, but for what goes with its namespace. Of a pair, the router's end is named.
pub(super) fn unplug<'a>(observed: &'a HostState, desired: &HostState, kept: &Kept<'a>, steps: &mut Steps) {
    let mut gone: BTreeSet<Place<'_>> = BTreeSet::new();
    let surviving = observed.namespaces.iter().filter(|(name, _)| desired.namespaces.contains_key(*name));
    for (name, state) in surviving.rev() {
        for (device, link) in &state.links {
            if kept.has(name, device) || gone.contains(&(name, device)) {
                continue;
            }
            gone.extend(peer_of(link));
            steps.push(Phase::Unplug, name, Action::LinkDelete(device.clone()));
        }
    }
}

/// Removes namespaces that are not desired. A fip namespace stops answering for floating IPs before anything else is done.
pub(super) fn remove(observed: &HostState, desired: &HostState, steps: &mut Steps) {
    for (name, state) in observed.namespaces.iter().filter(|(name, _)| !desired.namespaces.contains_key(*name)) {
        let outside = state.links.iter().filter(|(_, link)| link.up && matches!(link.attach, Attach::Network(_)));
        for (device, _) in outside.filter(|_| name.as_str().starts_with("fip-")) {
            steps.push(Phase::Refuse, name, Action::LinkUp(device.clone(), false));
        }
        steps.push(Phase::Remove, name, Action::NamespaceDelete);
    }
}

/// Makes and adjusts devices. A pair is made from the router's end, which is the namespace that sorts last.
pub(super) fn plug<'a>(observed: &'a HostState, desired: &'a HostState, kept: &Kept<'a>, steps: &mut Steps) {
    for (name, state) in &desired.namespaces {
        for (device, wanted) in &state.links {
            let is = link(observed, name, device).filter(|_| kept.has(name, device));
            match is {
                Some(is) if is.mtu != wanted.mtu => {
                    steps.push(Phase::Adjust, name, Action::LinkMtu(device.clone(), wanted.mtu));
                }
                Some(_) => {}
                None => make(desired, (name, device), wanted, steps),
            }
            if is.is_some_and(|is| is.up != wanted.up) {
                steps.push(Phase::Adjust, name, Action::LinkUp(device.clone(), wanted.up));
            }
        }
    }
}

fn make(desired: &HostState, place: Place<'_>, wanted: &Link, steps: &mut Steps) {
    let other = peer_of(wanted);
    let other_link = other.and_then(|(name, device)| link(desired, name, device));
    if other_link.is_some() && other.is_some_and(|other| other > place) {
        return;
    }
    let (name, device) = place;
    let peer = other_link.map(|peer| (peer.mac, peer.mtu));
    steps.push(Phase::Plug, name, Action::LinkAdd { device: device.clone(), link: wanted.clone(), peer });
}
