//! Probes, and packets made to order, over the lab's taps.
//!
//! In: flows, volleys. Out: what was seen of them. Never: a verdict on an exchange.

use super::{Lab, router_place};
use crate::flow::{Flow, ProbeReport};
use crate::packet::{Exchanged, Sighted, Volley};
use crate::probe::{self, Options, ProbeError, Wire};

impl Lab {
    /// Runs the probes.
    pub(super) fn probe(&self, flows: &[Flow]) -> Result<Vec<ProbeReport>, ProbeError> {
        self.probe_over(&self.wire, flows)
    }

    /// Runs the probes over the lab's taps, with somebody between who looks on.
    pub(super) fn probe_over(&self, wire: &dyn Wire, flows: &[Flow]) -> Result<Vec<ProbeReport>, ProbeError> {
        self.tap_all()?;
        let mut nodes = self.nodes.borrow().clone();
        for ((host, namespace, _), mac) in self.macs.borrow().iter() {
            nodes.own(*mac, router_place(host, namespace));
        }
        let taken = self.taken();
        let counters = &mut *self.counters.borrow_mut();
        let run = probe::run(&self.overheard(wire), &nodes, flows, counters, &Options::default())?;
        let attempts = run.attempts.iter().filter_map(|(number, flow)| Some((*number, flows.get(*flow)?)));
        self.label(taken, &attempts.collect());
        Ok(run.reports)
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
        let wire: &dyn Wire = &self.wire;
        probe::exchange(
            (wire, &*self.nodes.borrow(), &routers.collect()),
            volley,
            counters,
            enough,
            &Options::default(),
        )
    }
}
