//! How the packets of running flows get onto the link: by the node's own routing, to the MAC that its next hop told.
//!
//! In: packets, and what taps hear of neighbours. Out: frames sent. Never: an answer that nobody gave on the wire. What a node
//! was told it believes until it is told otherwise, as a kernel does; so a change that is not announced is seen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::net::IpAddr;

use super::super::build::{asked_at, build};
use super::super::engine::ProbeError;
use super::super::frame::{Body, Datagram, Ends, Neighbour, Packet};
use super::super::nodes::Nodes;
use super::super::wire::{Lookup, RouteAnswer, WireError};
use super::View;
use crate::name::{DeviceName, Name};
use crate::net::Mac;

/// A node, and an address beside it.
type Beside = (Name, IpAddr);

/// Packets on their way out, and what nodes know.
#[derive(Debug, Default)]
pub(super) struct Carrier {
    queue: VecDeque<(Name, Datagram<'static>)>,
    /// What waits for a neighbour.
    held: Vec<(Beside, Name, Datagram<'static>)>,
    routes: BTreeMap<(Name, IpAddr, IpAddr), RouteAnswer>,
    neighbours: BTreeMap<Beside, Mac>,
    asked: BTreeSet<Beside>,
}

impl Carrier {
    pub(super) fn post(&mut self, node: Name, datagram: Datagram<'static>) {
        self.queue.push_back((node, datagram));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn forget_routes(&mut self) {
        self.routes.clear();
    }

    /// A node that is another one now, or has other devices, knows nothing any more.
    pub(super) fn forget_changed(&mut self, before: &Nodes, now: &Nodes) {
        self.routes.clear();
        self.neighbours.retain(|(node, _), _| before.get(node) == now.get(node));
    }

    /// Who was asked for in vain is asked for again the next time; what waited is not sent.
    pub(super) fn give_up(&mut self) {
        self.asked.clear();
        self.held.clear();
    }

    /// A neighbour told its MAC, asked or not. As kernels do, only who knows it or asked takes note.
    pub(super) fn told(&mut self, node: &Name, told: &Neighbour, address: IpAddr) {
        let key = (node.clone(), address);
        if !self.asked.contains(&key) && !self.neighbours.contains_key(&key) {
            return;
        }
        self.neighbours.insert(key.clone(), told.mac);
        for (beside, node, datagram) in std::mem::take(&mut self.held) {
            if beside == key {
                self.queue.push_back((node, datagram));
            } else {
                self.held.push((beside, node, datagram));
            }
        }
    }

    /// Whether all who know an address know it to be at this MAC.
    pub(super) fn agrees(&self, address: IpAddr, mac: Mac) -> bool {
        self.neighbours.iter().all(|((_, known), at)| *known != address || *at == mac)
    }

    /// Sends what can be sent. Returns how many frames went out.
    pub(super) fn flush(&mut self, view: &View<'_>) -> Result<usize, ProbeError> {
        let mut sent = 0;
        while let Some((node, datagram)) = self.queue.pop_front() {
            let Some(tap) = view.tap(&node) else { continue };
            let ends = datagram.ends;
            let RouteAnswer::Via { device, next_hop } = self.route(view, &node, tap, ends)? else { continue };
            let Some(port) = view.nodes.get(&node).and_then(|node| node.port(&device)) else { continue };
            let key = (node.clone(), next_hop);
            let body = match (self.neighbours.get(&key), Ends::new(ends.source(), next_hop)) {
                (Some(mac), _) => (*mac, Body::Datagram(datagram)),
                (None, Some(question)) => {
                    self.held.push((key.clone(), node, datagram));
                    if !self.asked.insert(key) {
                        continue;
                    }
                    (asked_at(question), Body::Ask(Neighbour { ends: question, mac: port.mac }))
                }
                (None, None) => continue,
            };
            let (destination, body) = body;
            let frame = build(&Packet { source: port.mac, destination, body });
            sent += usize::from(transmit(view, tap, &device, &frame)?);
        }
        Ok(sent)
    }

    fn route(&mut self, view: &View<'_>, node: &Name, tap: usize, ends: Ends) -> Result<RouteAnswer, ProbeError> {
        let (source, destination) = (ends.source(), ends.destination());
        let key = (node.clone(), source, destination);
        if let Some(known) = self.routes.get(&key) {
            return Ok(known.clone());
        }
        let answer = view.wire.route(tap, Lookup { source, destination, input: None })?;
        self.routes.insert(key, answer.clone());
        Ok(answer)
    }
}

/// A device that is not there or down takes nothing, and that is the flow's loss.
fn transmit(view: &View<'_>, tap: usize, device: &DeviceName, frame: &[u8]) -> Result<bool, ProbeError> {
    match view.wire.transmit(tap, device, frame) {
        Ok(()) => Ok(true),
        Err(WireError::NoDevice { .. }) => Ok(false),
        Err(WireError::Socket { source, .. }) if source.kind() == ErrorKind::NetworkDown => Ok(false),
        Err(error) => Err(error.into()),
    }
}
