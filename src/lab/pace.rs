//! Twins of flows that a clock paces, on a thread of their own: what a change costs in milliseconds shows only in what is sent
//! while an operation is under way, and the lab's own thread is in the kernel then.
//!
//! In: flows with a pace. Out: figures. Never: a packet that the lab's other taps see or its flows take for theirs, a namespace
//! held once the twins have ended, or a wait that is not for packets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime;

use super::{Lab, make};
use crate::dataplane::DataplaneError;
use crate::flow::{Flow, PacketOptions, Place};
use crate::kernel::wire::LinuxWire;
use crate::kernel::{Netns, now};
use crate::ledger::{Course, Pace, Paced};
use crate::probe::{CLOCK, Counters, Drive, Nodes, ProbeError, Wire as _, WireError};

/// The shortest time that a thread waits for; a shorter one would be spent asking.
const TICK: Duration = Duration::from_millis(1);
/// How long the last packets may take.
const LAST: Duration = Duration::from_millis(20);
/// Apart from the numbers of the flows themselves, of which TCP's sequence numbers carry the low bits.
const APART: u32 = 0x1000;

/// The thread, and what it is told.
pub(super) struct Pacer {
    orders: Sender<Order>,
    thread: JoinHandle<Result<BTreeMap<u32, Paced>, ProbeError>>,
}

impl Pacer {
    /// A thread that has failed hears nothing, and says why when it is ended.
    fn tell(&self, order: Order) {
        if self.orders.send(order).is_err() {
            tracing::debug!("the pacing thread has ended");
        }
    }
}

enum Order {
    /// These run from now on; those that do go on.
    Begin(Vec<Course>),
    /// Machines are these now, in these namespaces.
    Renew(Nodes, Vec<(Place, File)>),
    /// Each runs on for as long as it is to.
    End,
}

fn failed(error: &dyn std::error::Error) -> DataplaneError {
    DataplaneError::Probe(make::reason(error))
}

/// The number of a flow's twin.
fn twin(number: u32) -> u32 {
    CLOCK | number.wrapping_add(APART)
}

impl Lab {
    pub(super) fn begin_pacing(&self, courses: &[Course]) -> Result<(), DataplaneError> {
        let paced: Vec<Course> = courses.iter().filter(|course| course.pace.is_some()).cloned().collect();
        if paced.is_empty() {
            return Ok(());
        }
        self.note_others()?;
        // Beside the flow itself, whatever port that has.
        let counters = &mut *self.counters.borrow_mut();
        let apart = paced.into_iter().map(|course| {
            let source_port = Some(counters.free(course.flow.protocol));
            let options = PacketOptions { source_port, ..course.flow.options };
            Course { flow: Flow { options, ..course.flow }, quiet: true, ..course }
        });
        let begin = Order::Begin(apart.collect());
        let mut standing = self.pacer.borrow_mut();
        let pacer = match standing.take() {
            Some(pacer) => pacer,
            None => self.new_pacer()?,
        };
        standing.insert(pacer).tell(begin);
        Ok(())
    }

    pub(super) fn end_pacing(&self) -> Result<BTreeMap<u32, Paced>, DataplaneError> {
        let Some(Pacer { orders, thread }) = self.pacer.borrow_mut().take() else { return Ok(BTreeMap::new()) };
        // A thread that has failed says why below.
        drop(orders.send(Order::End));
        let ended = thread.join().map_err(|_panic| DataplaneError::Probe("the pacing thread panicked".to_owned()))?;
        let told = ended.map_err(|error| failed(&error))?;
        self.forget_ended()?;
        Ok(told)
    }

    fn new_pacer(&self) -> Result<Pacer, DataplaneError> {
        let (orders, told) = channel();
        let begun = now();
        let thread = Builder::new().name("pacer".to_owned()).spawn(move || run(begun, &told));
        let pacer = Pacer { orders, thread: thread.map_err(|error| failed(&error))? };
        pacer.tell(self.stage()?);
        Ok(pacer)
    }

    /// Machines may be others now.
    pub(super) fn renew_pacing(&self) {
        if let Some(pacer) = &*self.pacer.borrow() {
            match self.stage() {
                Ok(order) => pacer.tell(order),
                Err(error) => tracing::warn!(%error, "paced flows do not see new machines"),
            }
        }
    }

    fn stage(&self) -> Result<Order, DataplaneError> {
        let fabric = self.fabric.borrow();
        let files = fabric.nodes.iter().map(|(name, node)| {
            let file = node.netns.file().map_err(|error| failed(&error))?;
            Ok((Place { host: None, name: name.to_string() }, file))
        });
        Ok(Order::Renew(self.nodes.borrow().clone(), files.collect::<Result<_, DataplaneError>>()?))
    }
}

/// A flow that is paced. Times are since the thread began.
struct Beating {
    course: Course,
    pace: Pace,
    /// When the next packet goes out.
    next: Duration,
    /// When packets went out, in microseconds.
    sent: Vec<u64>,
    behind: Duration,
    /// When the last one does, once that is known.
    stops: Option<Duration>,
}

struct Clock {
    begun: Instant,
    wire: LinuxWire,
    nodes: Nodes,
    drive: Drive,
    counters: Counters,
    runtime: runtime::Runtime,
    beating: BTreeMap<u32, Beating>,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// So long, by the clock. For what a scenario gives time, never for what the lab itself waits for.
pub(super) async fn pass(time: Duration) {
    let mut clock = tokio::time::interval(time);
    clock.tick().await;
    clock.tick().await;
}

fn run(begun: Instant, orders: &Receiver<Order>) -> Result<BTreeMap<u32, Paced>, ProbeError> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(|source| WireError::Socket {
        place: Place { host: None, name: "pacer".to_owned() },
        doing: "start a runtime",
        source,
    })?;
    let mut clock = Clock {
        begun,
        wire: LinuxWire::of_clock(),
        nodes: Nodes::default(),
        drive: Drive::default(),
        counters: Counters::default(),
        runtime,
        beating: BTreeMap::new(),
    };
    loop {
        // With nothing to send there is nothing to do but to hear what to send.
        let order =
            if clock.beating.is_empty() { orders.recv().map_err(TryRecvError::from) } else { orders.try_recv() };
        match order {
            Ok(order) => clock.obey(order)?,
            Err(TryRecvError::Empty) => {
                if !clock.tick()? {
                    break;
                }
            }
            // The end was told, or nobody waits for figures any more.
            Err(TryRecvError::Disconnected) => {
                let ends = clock.beating.values().any(|beating| beating.stops.is_some());
                if !ends || !clock.tick()? {
                    break;
                }
            }
        }
    }
    clock.figures()
}

impl Clock {
    fn obey(&mut self, order: Order) -> Result<(), ProbeError> {
        let time = self.begun.elapsed();
        match order {
            Order::Begin(courses) => {
                for course in courses {
                    let Some(pace) = course.pace else { continue };
                    let (number, twin) = (course.number, Course { number: twin(course.number), ..course });
                    let new = || Beating {
                        course: twin,
                        pace,
                        next: time,
                        sent: Vec::new(),
                        behind: Duration::ZERO,
                        stops: None,
                    };
                    self.beating.entry(number).or_insert_with(new);
                }
                let courses: Vec<Course> = self.beating.values().map(|beating| beating.course.clone()).collect();
                self.drive.carry(&courses, &self.nodes, &mut self.counters);
            }
            Order::Renew(nodes, files) => {
                self.drive.rerouted();
                let standing: BTreeSet<&Place> = files.iter().map(|(place, _)| place).collect();
                for gone in self.wire.places().iter().filter(|place| !standing.contains(place)) {
                    self.wire.untap(gone);
                }
                for (place, file) in files {
                    let netns = Netns::adopt(&file, self.runtime.handle());
                    let netns = netns.map_err(|error| WireError::Tap { place: place.clone(), source: error.into() })?;
                    self.wire.tap(place, &Rc::new(netns))?;
                }
                self.nodes = nodes;
            }
            Order::End => {
                for beating in self.beating.values_mut() {
                    beating.stops = Some(time + Duration::from_millis(u64::from(beating.pace.after)));
                }
            }
        }
        Ok(())
    }

    /// Sends what is due, or waits until something is. Says whether anything is to come.
    fn tick(&mut self) -> Result<bool, ProbeError> {
        let time = self.begun.elapsed();
        let mut due = BTreeSet::new();
        let mut next = None;
        for beating in self.beating.values_mut() {
            if beating.stops.is_some_and(|stops| beating.next >= stops) {
                continue;
            }
            if beating.next <= time {
                due.insert(beating.course.number);
                beating.behind = beating.behind.max(time.saturating_sub(beating.next));
                beating.sent.push(micros(time));
                beating.next += Duration::from_micros(beating.pace.period());
            }
            next = next.into_iter().chain([beating.next]).min();
        }
        let Some(next) = next else { return Ok(false) };
        if due.is_empty() {
            self.wire.idle(next.saturating_sub(time).max(TICK))?;
            self.drive.collect(&self.wire, &self.nodes)?;
        } else {
            self.drive.beat_of(&self.wire, &self.nodes, &|number| due.contains(&number))?;
        }
        Ok(true)
    }

    fn figures(mut self) -> Result<BTreeMap<u32, Paced>, ProbeError> {
        while self.drive.is_waiting() && self.wire.idle(LAST)? {
            self.drive.collect(&self.wire, &self.nodes)?;
        }
        let missed = self.wire.missed()?.into_iter().fold(0_u32, |sum, (_, count)| sum.saturating_add(count));
        let told = self.drive.told()?;
        let figures = self.beating.iter().map(|(number, beating)| {
            let packets = told.get(&beating.course.number).map(Vec::as_slice).unwrap_or_default();
            (*number, beating.pace.figures(&beating.sent, packets, micros(beating.behind), missed))
        });
        Ok(figures.collect())
    }
}
