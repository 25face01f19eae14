//! The lab: hosts with their layer 2, provider segments, instances and the outside, and around them the router namespaces
//! that plans are applied to.
//!
//! In: [`Topology`], plans, flows. Out: what the kernel holds and what became of each flow. Never: a device removed for
//! tidiness: the kernel reaps whole namespaces when the lab is dropped.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::runtime::{Builder, Runtime};

use self::fabric::{Fabric, Node};
use self::make::{Indexes, failed, router_place};
use crate::backend::RuleBackend;
use crate::dataplane::{Around, Dataplane, DataplaneError, ExecError, Executed, Frames, Touched};
use crate::flow::{Flow, Place, ProbeReport};
use crate::kernel::iptables::{self, Unavailable};
use crate::kernel::observe::{Baseline, observe_namespace};
use crate::kernel::settle::{self, settle_groups};
use crate::kernel::wire::LinuxWire;
use crate::kernel::{self, Netns, Plug, Surroundings};
use crate::ledger::{Course, Paced, Packet};
use crate::memory::{Cache, Connection};
use crate::name::{DeviceName, HostName, Id, Name, NamespaceName};
use crate::namespace::{Attach, HostState};
use crate::net::Mac;
use crate::packet::{Exchanged, Sighted, UnderWay, Volley};
use crate::plan::{Action, Op, Plan};
use crate::probe::{Counters, Frame, Nodes, Wire, WireError};
use crate::topology::{Segment, Topology};
use crate::watch::{Captured, Classification, Count};
use crate::why::Explanation;

mod apply;
mod around;
mod bench;
mod capture;
mod drive;
mod events;
mod explain;
mod fabric;
mod frames;
mod host;
mod layer2;
mod make;
mod memory;
mod node;
mod pace;
mod ports;
mod send;
mod senders;
mod shape;
mod shell;
mod watch;

/// So many removed namespaces are kept at most.
const BURIED: usize = 64;

/// A lab in the calling process's network namespaces. It belongs in a [sandbox](crate::kernel::sandbox).
pub struct Lab {
    runtime: Runtime,
    indexes: Indexes,
    fabric: RefCell<Fabric>,
    /// What the fabric was last given the shape of.
    shaped: RefCell<Option<Topology>>,
    routers: RefCell<BTreeMap<(HostName, NamespaceName), Rc<Netns>>>,
    /// Those that the plan under way removes.
    leaving: RefCell<BTreeSet<(HostName, NamespaceName)>>,
    /// Those that were removed: off the network, and empty for all who look. The kernel is quicker to reap many at once.
    buried: RefCell<Vec<Rc<Netns>>>,
    /// What a namespace is born with on this machine.
    baseline: Baseline,
    /// MACs of the routers' devices.
    macs: RefCell<BTreeMap<(HostName, NamespaceName, DeviceName), Mac>>,
    /// Who probes and answers.
    nodes: RefCell<Nodes>,
    /// One for the life of the lab, so that no probe repeats another's tuple.
    counters: RefCell<Counters>,
    /// Flows that run on.
    running: RefCell<drive::Running>,
    /// Their twins that a clock paces.
    pacer: RefCell<Option<pace::Pacer>>,
    wire: LinuxWire,
    /// How iptables rules are written and read.
    rules: RuleBackend,
    /// When it was made.
    started: Instant,
    watch: watch::Watch,
    /// What `wire` taps, with the inode of the namespace: one of the same name may be another.
    taps: RefCell<BTreeMap<Place, u64>>,
    capturing: capture::Capturing,
    /// Who listens to what happens, once that was asked for.
    ears: events::Ears,
    wiretaps: frames::Wiretaps,
}

impl Lab {
    /// An empty lab.
    ///
    /// # Errors
    /// [`DataplaneError::Topology`], if not even one namespace can be made.
    pub fn new() -> Result<Self, DataplaneError> {
        Self::with_rules(RuleBackend::default())
    }

    /// An empty lab whose iptables rules go by this back end.
    ///
    /// # Errors
    /// [`DataplaneError::Topology`], if not even one namespace can be made.
    pub fn with_rules(rules: RuleBackend) -> Result<Self, DataplaneError> {
        let doing = "look at a new namespace";
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed("start a runtime"))?;
        let pristine = Netns::create(runtime.handle()).map_err(failed(doing))?;
        let baseline = runtime.block_on(Baseline::read(&pristine)).map_err(failed(doing))?;
        Ok(Self {
            runtime,
            indexes: Indexes::default(),
            fabric: RefCell::default(),
            shaped: RefCell::default(),
            routers: RefCell::default(),
            leaving: RefCell::default(),
            buried: RefCell::default(),
            baseline,
            macs: RefCell::default(),
            nodes: RefCell::default(),
            counters: RefCell::default(),
            running: RefCell::default(),
            pacer: RefCell::default(),
            wire: LinuxWire::default(),
            started: kernel::now(),
            rules,
            watch: watch::Watch::default(),
            taps: RefCell::default(),
            capturing: capture::Capturing::default(),
            ears: events::Ears::default(),
            wiretaps: frames::Wiretaps::default(),
        })
    }

    /// Whether this machine has what the lab's way of writing and reading iptables rules needs.
    ///
    /// # Errors
    /// [`Unavailable`] says what is missing.
    pub fn rules_available(&self) -> Result<(), Unavailable> {
        match self.rules {
            RuleBackend::Nftables => Ok(()),
            RuleBackend::Iptables => iptables::available(),
        }
    }

    /// Every namespace in which packets of flows can be seen: router namespaces of hosts, then nodes.
    pub fn places(&self) -> Vec<(Place, Rc<Netns>)> {
        let routers = self.routers.borrow();
        let fabric = self.fabric.borrow();
        let routers = routers.iter().map(|((host, name), netns)| (router_place(host, name), Rc::clone(netns)));
        let nodes = fabric
            .nodes
            .iter()
            .map(|(name, node)| (Place { host: None, name: name.to_string() }, Rc::clone(&node.netns)));
        routers.chain(nodes).collect()
    }

    /// A host's own namespace, with its bridges and tunnels.
    pub fn host(&self, host: &HostName) -> Option<Rc<Netns>> {
        Some(Rc::clone(&self.fabric.borrow().hosts.get(host)?.netns))
    }

    /// A provider segment's namespace.
    pub fn segment(&self, segment: &Id) -> Option<Rc<Netns>> {
        Some(Rc::clone(&self.fabric.borrow().segments.get(segment)?.plug.netns))
    }
}

impl Surroundings for Lab {
    fn namespace(&self, host: &HostName, name: &NamespaceName) -> Option<Rc<Netns>> {
        self.routers.borrow().get(&(host.clone(), name.clone())).cloned()
    }

    fn insert(&self, host: &HostName, name: &NamespaceName, netns: Rc<Netns>) {
        self.routers.borrow_mut().insert((host.clone(), name.clone()), netns);
    }

    fn remove(&self, host: &HostName, name: &NamespaceName) {
        self.ears.close(host, name);
        let removed = self.routers.borrow_mut().remove(&(host.clone(), name.clone()));
        self.untap();
        let mut buried = self.buried.borrow_mut();
        buried.extend(removed);
        if buried.len() > BURIED {
            buried.clear();
        }
    }

    fn is_leaving(&self, host: &HostName, name: &NamespaceName) -> bool {
        self.leaving.borrow().contains(&(host.clone(), name.clone()))
    }

    fn plug(&self, host: &HostName, network: &Id) -> Option<Plug> {
        self.fabric.borrow().plug(host, network)
    }

    fn new_index(&self) -> u32 {
        self.indexes.next()
    }

    fn rules(&self) -> RuleBackend {
        self.rules
    }
}

impl Dataplane for Lab {
    fn shape(&self, topology: &Topology) -> Result<(), DataplaneError> {
        if self.shaped.borrow().as_ref() == Some(topology) {
            self.untap();
            self.watch.restart_clock();
            return Ok(());
        }
        self.shaped.replace(None);
        let mut fabric = self.fabric.take();
        let shaped = self.runtime.block_on(async {
            shape::shape(self.runtime.handle(), &self.indexes, &mut fabric, topology).await?;
            settle(&fabric).await
        });
        self.ears.retain(|host| fabric.hosts.contains_key(host));
        self.wiretaps.retain(&fabric);
        self.routers.borrow_mut().retain(|(host, _), _| fabric.hosts.contains_key(host));
        self.macs.borrow_mut().retain(|(host, _, _), _| fabric.hosts.contains_key(host));
        self.fabric.replace(fabric);
        self.nodes.replace(Nodes::of(topology));
        self.rerouted();
        self.renew_pacing();
        self.untap();
        if shaped.is_ok() {
            self.shaped.replace(Some(topology.clone()));
        }
        self.listen_on();
        self.watch.restart_clock();
        shaped
    }

    fn observe(&self, host: &HostName) -> Result<HostState, DataplaneError> {
        let routers = self.routers.borrow().clone();
        let own = routers.iter().filter(|((owner, _), _)| owner == host);
        let states = own.map(|((_, name), netns)| async {
            let observed = observe_namespace(netns, &self.baseline, self.rules).await;
            let state = observed.map_err(|failure| DataplaneError::Observe {
                host: host.clone(),
                namespace: name.clone(),
                what: failure.what,
                reason: make::reason(&failure.cause),
            })?;
            Ok::<_, DataplaneError>((name.clone(), state))
        });
        let namespaces = self.runtime.block_on(try_join_all(states))?.into_iter().collect();
        let state = HostState { namespaces };
        self.note_macs(host, &state);
        Ok(state)
    }

    fn apply(&self, host: &HostName, plan: &Plan, after: &mut dyn FnMut(&Op)) -> Result<(), DataplaneError> {
        self.applied(host, plan, after)
    }

    fn send(&self, flows: &[Flow]) -> Result<Vec<ProbeReport>, DataplaneError> {
        self.sent(flows)
    }

    fn exchange(&self, volley: &Volley, enough: &dyn Fn(&[Sighted]) -> bool) -> Result<Exchanged, DataplaneError> {
        self.exchanged(volley, enough).map_err(|error| DataplaneError::Probe(make::reason(&error)))
    }

    fn watch(&self, classification: &Classification) -> Result<(), DataplaneError> {
        self.watch.classify(&self.fabric.borrow(), classification)
    }

    fn caught(&self) -> Result<Vec<Captured>, DataplaneError> {
        let caught = self.watch.caught(&self.fabric.borrow())?;
        self.keep_caught(&caught);
        Ok(caught)
    }

    fn inject(&self, network: &Id, host: &HostName, frame: &[u8]) -> Result<(), DataplaneError> {
        let own = self.runtime.block_on(self.watch.end(&self.indexes, &self.fabric.borrow(), network, host))?;
        own.emit(frame).map_err(|failure| watch::unsent(&failure))
    }

    fn carry(&self, courses: &[Course]) -> Result<(), DataplaneError> {
        self.carried(courses)
    }

    fn beat(&self) -> Result<(), DataplaneError> {
        self.one_beat()
    }

    fn told(&self) -> Result<BTreeMap<u32, Vec<Packet>>, DataplaneError> {
        self.packets_told()
    }

    fn pace(&self, courses: &[Course]) -> Result<(), DataplaneError> {
        self.begin_pacing(courses)
    }

    fn paced(&self) -> Result<BTreeMap<u32, Paced>, DataplaneError> {
        self.end_pacing()
    }

    fn under_way(&self) -> BTreeMap<u32, UnderWay> {
        self.running.borrow().under_way()
    }

    fn let_be(&self, time: Duration) {
        self.runtime.block_on(pace::pass(time));
    }

    fn counted(&self) -> Result<Vec<Count>, DataplaneError> {
        self.watch.counted(&self.fabric.borrow())
    }

    fn explain(&self, flow: &Flow) -> Result<Explanation, DataplaneError> {
        self.explained(flow)
    }

    fn connections(&self, place: &Place) -> Result<Vec<Connection>, DataplaneError> {
        self.tracked(place)
    }

    fn around(&self) -> &dyn Around {
        self
    }

    fn frames(&self, on: &BTreeSet<Segment>) -> Result<Frames, DataplaneError> {
        self.frames_on(on)
    }

    fn touched(&self) -> Result<BTreeMap<Place, Vec<Touched>>, DataplaneError> {
        self.heard()
    }

    fn flush(&self, place: &Place, cache: Cache, address: Option<IpAddr>) -> Result<(), DataplaneError> {
        self.forget(place, cache, address)
    }

    fn shell(&self, place: &Place, line: &str) -> Result<Executed, ExecError> {
        self.run_line(place, line)
    }
}

impl Lab {
    /// Taps what is not tapped yet.
    fn tap_all(&self) -> Result<(), WireError> {
        let mut taps = self.taps.borrow_mut();
        for (place, netns) in self.places() {
            if taps.get(&place) != Some(&netns.inode()) {
                self.wire.tap(place.clone(), &netns)?;
                taps.insert(place, netns.inode());
            }
        }
        Ok(())
    }

    /// Sends one frame, as it is, out of a device of a place.
    ///
    /// # Errors
    /// [`DataplaneError::Probe`] if there is no such place or device.
    pub fn emit(&self, place: &Place, device: &DeviceName, frame: &[u8]) -> Result<(), DataplaneError> {
        let failed = |error: WireError| DataplaneError::Probe(make::reason(&error));
        self.tap_all().map_err(failed)?;
        let tap = self.wire.places().iter().position(|other| other == place);
        let tap = tap.ok_or_else(|| DataplaneError::Probe(format!("there is no {place}")))?;
        self.wire.transmit(tap, device, frame).map_err(failed)
    }

    /// Shows every frame that any place has seen since this, or a matrix, last looked; never waits.
    ///
    /// # Errors
    /// [`DataplaneError::Probe`] if a tap cannot be read.
    pub fn seen(&self, see: &mut dyn FnMut(&Place, Frame<'_>)) -> Result<(), DataplaneError> {
        let failed = |error: WireError| DataplaneError::Probe(make::reason(&error));
        self.tap_all().map_err(failed)?;
        let places = self.wire.places();
        let mut look = |frame: Frame<'_>| {
            if let Some(place) = places.get(frame.tap) {
                see(place, frame);
            }
        };
        while self.wire.sweep(&mut look).map_err(failed)? > 0 {}
        Ok(())
    }

    /// Waits until some place has seen a frame, at most as long as that.
    ///
    /// # Errors
    /// [`DataplaneError::Probe`] if the taps cannot be waited for.
    pub fn wait(&self, limit: Duration) -> Result<(), DataplaneError> {
        let waited = self.wire.idle(limit).map(|_seen| ());
        waited.map_err(|error| DataplaneError::Probe(make::reason(&error)))
    }

    /// Who has which MAC on a host: an operation takes more along than it names (a pair's other end), and others than plans
    /// change devices too.
    fn note_macs(&self, host: &HostName, observed: &HostState) {
        let mut macs = self.macs.borrow_mut();
        macs.retain(|(owner, _, _), _| owner != host);
        for (namespace, state) in &observed.namespaces {
            let keyed =
                state.links.iter().map(|(device, link)| ((host.clone(), namespace.clone(), device.clone()), link.mac));
            macs.extend(keyed);
        }
    }

    /// Keeps up who has which MAC between two looks.
    fn note_mac(&self, host: &HostName, op: &Op) {
        let mut macs = self.macs.borrow_mut();
        let key = |namespace: &NamespaceName, device: &DeviceName| (host.clone(), namespace.clone(), device.clone());
        match &op.action {
            Action::LinkAdd { device, link, peer } => {
                macs.insert(key(&op.namespace, device), link.mac);
                if let (Attach::Peer { namespace, device }, Some((mac, _))) = (&link.attach, peer) {
                    macs.insert(key(namespace, device), *mac);
                }
            }
            Action::LinkMac(device, mac) => drop(macs.insert(key(&op.namespace, device), *mac)),
            Action::LinkDelete(device) => drop(macs.remove(&key(&op.namespace, device))),
            Action::NamespaceDelete => {
                macs.retain(|(owner, namespace, _), _| (owner, namespace) != (host, &op.namespace));
            }
            Action::NamespaceAdd
            | Action::LinkMtu(..)
            | Action::LinkUp(..)
            | Action::AddressAdd(_)
            | Action::AddressDelete(_)
            | Action::RouteReplace(_)
            | Action::RouteDelete(_)
            | Action::RuleAdd(_)
            | Action::RuleDelete(_)
            | Action::NeighbourReplace(..)
            | Action::NeighbourDelete(..)
            | Action::ProxyDelete(..)
            | Action::SysctlSet(..)
            | Action::Rules(_)
            | Action::ConntrackPurge(_)
            | Action::ConntrackPurgePort { .. }
            | Action::TableDelete(_)
            | Action::Announce(..) => {}
        }
    }

    /// Closes taps on what is gone, so that nothing holds its namespace.
    fn untap(&self) {
        self.unlisten();
        let standing: BTreeSet<Place> = self.places().into_iter().map(|(place, _)| place).collect();
        self.taps.borrow_mut().retain(|place, _| {
            let stays = standing.contains(place);
            if !stays {
                self.wire.untap(place);
            }
            stays
        });
    }
}

/// Waits for all devices of the fabric, and until machines hear neighbour solicitations.
async fn settle(fabric: &Fabric) -> Result<(), DataplaneError> {
    let all = fabric.namespaces();
    let speaks_v6 = |node: &&Node| node.speaks_v6() && !node.netns.restless().is_empty();
    let stirred: Vec<(&Name, &Node)> = fabric.nodes.iter().filter(|(_, node)| speaks_v6(node)).collect();
    settle_all(&all).await?;
    try_join_all(stirred.into_iter().map(|(name, node)| async move {
        let heard = settle_groups(&node.netns).await;
        heard.map_err(failed(format!("wait until {name} hears neighbour solicitations")))
    }))
    .await
    .map(drop)
}

async fn settle_all(all: &[(String, Rc<Netns>)]) -> Result<(), DataplaneError> {
    try_join_all(all.iter().map(|(name, netns)| async move {
        settle::settle(netns).await.map_err(failed(format!("wait for the devices of {name} to come up")))
    }))
    .await
    .map(drop)
}
