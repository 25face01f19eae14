//! Probes, and packets made to order, over the lab's taps.
//!
//! In: flows, volleys. Out: what was seen of them. Never: a verdict on an exchange.

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Duration;

use super::{Lab, make, router_place};
use crate::dataplane::DataplaneError;
use crate::flow::{Flow, Place, ProbeReport};
use crate::name::DeviceName;
use crate::net::Mac;
use crate::packet::{Exchanged, Sighted, Volley};
use crate::probe::{self, Frame, Lookup, Options, OwnedFrame, ProbeError, RouteAnswer, Run, Wire, WireError};

/// Taps whose frames are kept for flows under way.
struct Shared<'a> {
    wire: &'a dyn Wire,
    kept: RefCell<Vec<OwnedFrame>>,
    /// There are such flows.
    keeps: bool,
}

impl Wire for Shared<'_> {
    fn places(&self) -> Vec<Place> {
        self.wire.places()
    }

    fn transmit(&self, tap: usize, device: &DeviceName, frame: &[u8]) -> Result<(), WireError> {
        self.wire.transmit(tap, device, frame)
    }

    fn emit(&self, tap: usize, to: IpAddr, packet: &[u8]) -> Result<bool, WireError> {
        self.wire.emit(tap, to, packet)
    }

    fn sweep(&self, see: &mut dyn FnMut(Frame<'_>)) -> Result<usize, WireError> {
        self.wire.sweep(&mut |frame| {
            if self.keeps {
                self.kept.borrow_mut().push(frame.into());
            }
            see(frame);
        })
    }

    fn route(&self, tap: usize, lookup: Lookup<'_>) -> Result<RouteAnswer, WireError> {
        self.wire.route(tap, lookup)
    }

    fn speaker(&self, tap: usize, to: IpAddr) -> Result<Option<IpAddr>, WireError> {
        self.wire.speaker(tap, to)
    }

    fn neighbours_pending(&self, tap: usize) -> Result<bool, WireError> {
        self.wire.neighbours_pending(tap)
    }

    fn pinned(&self, tap: usize, device: &DeviceName, neighbour: IpAddr) -> Result<Option<Mac>, WireError> {
        self.wire.pinned(tap, device, neighbour)
    }

    fn learn(&self, tap: usize, device: &DeviceName, neighbour: IpAddr, mac: Mac) -> Result<(), WireError> {
        self.wire.learn(tap, device, neighbour, mac)
    }

    fn idle(&self, limit: Duration) -> Result<bool, WireError> {
        self.wire.idle(limit)
    }

    fn missed(&self) -> Result<Vec<(Place, u32)>, WireError> {
        self.wire.missed()
    }
}

impl Lab {
    /// Runs the probes, and has the routers forget them.
    pub(super) fn sent(&self, flows: &[Flow]) -> Result<Vec<ProbeReport>, DataplaneError> {
        let failed = |error: ProbeError| DataplaneError::Probe(make::reason(&error));
        // One that is to look like another may be tracked as part of it.
        if flows.iter().any(|flow| flow.options.source_port.is_some()) {
            let others = self.connections_before()?;
            let run = self.probe(flows).map_err(failed)?;
            self.forget_connections(&others)?;
            return Ok(run.reports);
        }
        let before = self.tracked_counts()?;
        let run = self.probe(flows).map_err(failed)?;
        self.forget_run(&before, &run)?;
        Ok(run.reports)
    }

    /// Runs the probes.
    pub(super) fn probe(&self, flows: &[Flow]) -> Result<Run, ProbeError> {
        self.probe_over(&self.wire, flows)
    }

    /// Runs the probes over the lab's taps, with somebody between who looks on.
    pub(super) fn probe_over(&self, wire: &dyn Wire, flows: &[Flow]) -> Result<Run, ProbeError> {
        self.tap_all()?;
        let mut nodes = self.nodes.borrow().clone();
        for ((host, namespace, _), mac) in self.macs.borrow().iter() {
            nodes.own(*mac, router_place(host, namespace));
        }
        let hidden = self.hide_answers(flows).map_err(|error| ProbeError::Rules(make::reason(&error)))?;
        let taken = self.taken();
        let counters = &mut *self.counters.borrow_mut();
        let run = probe::run(&self.overheard(wire), &nodes, flows, counters, &Options::default())?;
        drop(hidden);
        let attempts = run.attempts.iter().filter_map(|(number, flow)| Some((*number, flows.get(*flow)?)));
        self.label(taken, &attempts.collect());
        Ok(run)
    }

    /// Sends packets made to order and looks for what is wanted.
    pub(super) fn exchanged(
        &self,
        volley: &Volley,
        enough: &dyn Fn(&[Sighted]) -> bool,
    ) -> Result<Exchanged, ProbeError> {
        self.tap_all()?;
        let macs = self.macs.borrow();
        let routers =
            macs.iter().map(|((host, namespace, device), mac)| ((router_place(host, namespace), device.clone()), *mac));
        let counters = &mut *self.counters.borrow_mut();
        let shared = Shared { wire: &self.wire, kept: RefCell::default(), keeps: self.is_carrying() };
        let exchanged = probe::exchange(
            (&shared, &*self.nodes.borrow(), &routers.collect()),
            volley,
            counters,
            enough,
            &Options::default(),
        );
        self.overheard_by_flows(&shared.kept.into_inner());
        exchanged
    }
}
