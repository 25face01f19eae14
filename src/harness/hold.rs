//! A lab that stands still at a chosen point, for tests that end one there.
//!
//! In: after how many operations and matrices. Out: the lab's own answers until then. Never: an answer of its own.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use super::{Said, say};
use crate::dataplane::{Around, Dataplane, DataplaneError, ExecError, Executed, Frames, Touched};
use crate::flow::{Flow, Place, ProbeReport};
use crate::lab::Lab;
use crate::ledger::{Course, Paced, Packet};
use crate::memory::{Cache, Connection};
use crate::name::{HostName, Id};
use crate::namespace::HostState;
use crate::packet::{Exchanged, Sighted, UnderWay, Volley};
use crate::plan::{Op, Plan};
use crate::topology::{Segment, Topology};
use crate::watch::{Captured, Classification, Count};
use crate::why::Explanation;

/// A lab that stands still at a chosen point, as a machine does that is about to lose its power.
pub(super) struct HoldAt<'a, 'b> {
    pub(super) lab: Lab,
    pub(super) left: Cell<Option<u32>>,
    pub(super) out: &'a RefCell<&'b mut dyn Write>,
}

impl HoldAt<'_, '_> {
    fn pass(&self, point: &str) {
        match self.left.get() {
            None => {}
            Some(0) => {
                let told = say(*self.out.borrow_mut(), &Said::Held(point.to_owned()));
                while told.is_ok() {
                    std::thread::park();
                }
            }
            Some(left) => self.left.set(Some(left - 1)),
        }
    }
}

impl Dataplane for HoldAt<'_, '_> {
    fn shape(&self, topology: &Topology) -> Result<(), DataplaneError> {
        self.lab.shape(topology)
    }

    fn observe(&self, host: &HostName) -> Result<HostState, DataplaneError> {
        self.lab.observe(host)
    }

    fn apply(&self, host: &HostName, plan: &Plan, after: &mut dyn FnMut(&Op)) -> Result<(), DataplaneError> {
        self.lab.apply(host, plan, &mut |op| {
            after(op);
            self.pass(&op.to_string());
        })
    }

    fn send(&self, flows: &[Flow]) -> Result<Vec<ProbeReport>, DataplaneError> {
        self.pass("matrix");
        self.lab.send(flows)
    }

    fn exchange(&self, volley: &Volley, enough: &dyn Fn(&[Sighted]) -> bool) -> Result<Exchanged, DataplaneError> {
        self.lab.exchange(volley, enough)
    }

    fn watch(&self, classification: &Classification) -> Result<(), DataplaneError> {
        self.lab.watch(classification)
    }

    fn caught(&self) -> Result<Vec<Captured>, DataplaneError> {
        self.lab.caught()
    }

    fn inject(&self, network: &Id, host: &HostName, frame: &[u8]) -> Result<(), DataplaneError> {
        self.lab.inject(network, host, frame)
    }

    fn carry(&self, courses: &[Course]) -> Result<(), DataplaneError> {
        self.lab.carry(courses)
    }

    fn beat(&self) -> Result<(), DataplaneError> {
        self.lab.beat()
    }

    fn told(&self) -> Result<BTreeMap<u32, Vec<Packet>>, DataplaneError> {
        self.lab.told()
    }

    fn under_way(&self) -> BTreeMap<u32, UnderWay> {
        self.lab.under_way()
    }

    fn let_be(&self, time: Duration) {
        self.lab.let_be(time);
    }

    fn pace(&self, courses: &[Course]) -> Result<(), DataplaneError> {
        self.lab.pace(courses)
    }

    fn paced(&self) -> Result<BTreeMap<u32, Paced>, DataplaneError> {
        self.lab.paced()
    }

    fn counted(&self) -> Result<Vec<Count>, DataplaneError> {
        self.lab.counted()
    }

    fn explain(&self, flow: &Flow) -> Result<Explanation, DataplaneError> {
        self.lab.explain(flow)
    }

    fn connections(&self, place: &Place) -> Result<Vec<Connection>, DataplaneError> {
        self.lab.connections(place)
    }

    fn around(&self) -> &dyn Around {
        self.lab.around()
    }

    fn frames(&self, on: &BTreeSet<Segment>) -> Result<Frames, DataplaneError> {
        self.lab.frames(on)
    }

    fn touched(&self) -> Result<BTreeMap<Place, Vec<Touched>>, DataplaneError> {
        self.lab.touched()
    }

    fn shell(&self, place: &Place, line: &str) -> Result<Executed, ExecError> {
        self.lab.shell(place, line)
    }

    fn flush(&self, place: &Place, cache: Cache, address: Option<IpAddr>) -> Result<(), DataplaneError> {
        self.lab.flush(place, cache, address)
    }
}
