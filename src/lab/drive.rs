//! Flows that run on in the lab.
//!
//! In: which flows, and when each is to send. Out: what became of their packets. Never: a connection left behind that routers
//! track for a flow that has ended.

use std::collections::BTreeMap;

use super::{Lab, make, memory};
use crate::dataplane::DataplaneError;
use crate::ledger::{Course, Packet};
use crate::name::HostName;
use crate::packet::UnderWay;
use crate::plan::{Action, Op};
use crate::probe::{Drive, OwnedFrame, ProbeError, Wire as _};

/// How long the last packets may take: delivery is done when sending returns, so this covers a kernel thread that was kept
/// from running.
const LAST: std::time::Duration = std::time::Duration::from_millis(5);

/// Flows under way, and what routers tracked before the first of them.
#[derive(Default)]
pub(super) struct Running {
    drive: Drive,
    others: Option<memory::Others>,
    /// Some have ended, and routers still track them.
    ended: bool,
}

impl Running {
    /// How the flows stand.
    pub(super) fn under_way(&self) -> BTreeMap<u32, UnderWay> {
        self.drive.under_way()
    }
}

fn failed(error: &ProbeError) -> DataplaneError {
    DataplaneError::Probe(make::reason(error))
}

impl Lab {
    pub(super) fn carried(&self, courses: &[Course]) -> Result<(), DataplaneError> {
        let mut running = self.running.borrow_mut();
        if running.drive.is_idle() && courses.is_empty() {
            return Ok(());
        }
        self.tap_all().map_err(|error| failed(&error.into()))?;
        if running.drive.is_idle() {
            running.others = Some(self.connections_before()?);
            running.drive.drain(&self.wire).map_err(|error| failed(&error))?;
        }
        let ended = running.drive.carry(courses, &self.nodes.borrow(), &mut self.counters.borrow_mut());
        match running.others.take() {
            // A twin that a clock paces may still run: what it leaves goes with it.
            Some(others) if running.drive.is_idle() && self.pacer.borrow().is_none() => {
                running.ended = false;
                self.forget_connections(&others)
            }
            others => {
                // To find them beside those that go on takes a walk through the kernel's whole table, 10 ms: not before
                // somebody asks what is tracked.
                running.ended |= ended && others.is_some();
                running.others = others;
                Ok(())
            }
        }
    }

    /// Before anybody looks at what routers track: has them forget what has ended while something else goes on.
    pub(super) fn forget_what_ended(&self) -> Result<(), DataplaneError> {
        let mut running = self.running.borrow_mut();
        match &running.others {
            Some(others) if running.ended => self.forget_connections_but(others, &running.drive.ports())?,
            Some(_) | None => {}
        }
        running.ended = false;
        Ok(())
    }

    pub(super) fn one_beat(&self) -> Result<(), DataplaneError> {
        self.tap_all().map_err(|error| failed(&error.into()))?;
        let nodes = self.nodes.borrow();
        self.running.borrow_mut().drive.beat(&self.wire, &nodes).map_err(|error| failed(&error))
    }

    /// After an operation, before the packets that follow it: who was told something by it has heard that.
    pub(super) fn heed(&self, host: &HostName, op: &Op) -> Result<(), DataplaneError> {
        let Action::Announce(device, address) = &op.action else { return Ok(()) };
        let key = (host.clone(), op.namespace.clone(), device.clone());
        let Some(mac) = self.macs.borrow().get(&key).copied().filter(|_| self.is_carrying()) else { return Ok(()) };
        self.tap_all().map_err(|error| failed(&error.into()))?;
        let (nodes, mut running) = (self.nodes.borrow(), self.running.borrow_mut());
        running.drive.heed(&self.wire, &nodes, *address, mac).map_err(|error| failed(&error))
    }

    pub(super) fn packets_told(&self) -> Result<BTreeMap<u32, Vec<Packet>>, DataplaneError> {
        let (nodes, drive) = (self.nodes.borrow(), &mut self.running.borrow_mut().drive);
        let mut told = || {
            if drive.is_waiting() && self.wire.idle(LAST)? {
                drive.collect(&self.wire, &nodes)?;
            }
            drive.check_missed(&self.wire)?;
            drive.told()
        };
        told().map_err(|error| failed(&error))
    }

    /// Flows under way get to see what others had the taps show, in case it is about them.
    pub(super) fn overheard_by_flows(&self, frames: &[OwnedFrame]) {
        self.running.borrow_mut().drive.overhear(&self.wire, &self.nodes.borrow(), frames);
    }

    /// Notes what routers track before the first packet of anything that runs on.
    pub(super) fn note_others(&self) -> Result<(), DataplaneError> {
        if self.running.borrow().others.is_none() {
            let others = self.connections_before()?;
            self.running.borrow_mut().others = Some(others);
        }
        Ok(())
    }

    /// Has routers forget what is neither of flows under way nor was there before them.
    pub(super) fn forget_ended(&self) -> Result<(), DataplaneError> {
        let mut running = self.running.borrow_mut();
        let Some(others) = running.others.take() else { return Ok(()) };
        let forgotten = self.forget_connections_but(&others, &running.drive.ports());
        if !running.drive.is_idle() {
            running.others = Some(others);
        }
        forgotten
    }

    /// Whether any flow is under way.
    pub(super) fn is_carrying(&self) -> bool {
        !self.running.borrow().drive.is_idle()
    }

    /// Routes of nodes may be others now.
    pub(super) fn rerouted(&self) {
        self.running.borrow_mut().drive.rerouted();
    }
}
