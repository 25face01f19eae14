//! The watch, on real packets: every class of violation is provoked and named, and a watch that is blind to something is caught.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

#[expect(dead_code, reason = "shared with tests that look at refusals")]
mod built;
mod inside;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use built::Built;
use dvrlab::api::Intent;
use dvrlab::dataplane::{Dataplane, DataplaneError, ExecError, Executed, Frames, Touched};
use dvrlab::deviation::{Deviation, Deviations};
use dvrlab::flow::{Flow, Place, ProbeReport, Protocol};
use dvrlab::lab::Lab;
use dvrlab::ledger::{Course, Paced, Packet};
use dvrlab::memory::{Cache, Connection};
use dvrlab::name::{HostName, Id, Name};
use dvrlab::namespace::HostState;
use dvrlab::packet::{Exchanged, Sighted, UnderWay, Volley};
use dvrlab::plan::{Op, Plan};
use dvrlab::probe::craft::{Content, Crafted};
use dvrlab::record::{FailureKind, Record};
use dvrlab::run;
use dvrlab::scenario::parse;
use dvrlab::topology::{Segment, Topology};
use dvrlab::watch::{Captured, Class, Classification, Count, Proof, Rule, classification, decode, proofs};
use dvrlab::why::Explanation;
use inside::inside;

const NETWORK: &str = "# The watch.
#
# Setup:   one router, a floating IP.
# Change:  as each test has it.
# Seen:    as each test has it.
# Mirrors: nothing.
hosts:
  cmp1: { mode: dvr }
  net1: { mode: dvr_snat }
  net2: { mode: dvr_snat }
networks:
  public: { external: true }
  red:    {}
subnets:
  public4: { network: public, cidr: 203.0.113.0/24 }
  red4:    { network: red, cidr: 10.0.1.0/24 }
routers:
  r1: { interfaces: [red4], gateway: { network: public, address: 203.0.113.10, host: net1 } }
instances:
  vm1: { host: cmp1, network: red, address: 10.0.1.11 }
  vm3: { host: cmp1, network: red, address: 10.0.1.13 }
floating_ips:
  203.0.113.101: { instance: vm3 }
outside:
  web:  { behind: public, address: 198.51.100.2 }
  peer: { on: public, address: 203.0.113.2 }
steps:
";

/// How often is looked for what comes for sure, and how long each look waits at most.
const LOOKS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

const QUIET: &str = "  - restart_agent: { host: net1 }\n";

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn host(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

/// What is in force at the start, with a deviation on or off.
fn intent(deviation: Deviation, on: bool) -> Intent {
    let mut intent =
        parse("watch.yaml", &format!("{NETWORK}{QUIET}")).unwrap_or_else(|notes| panic!("{notes:?}")).intent;
    intent.settings.deviations = Deviations::all().with(deviation, on);
    intent
}

/// What is in force after a step.
fn after(before: &Intent, step: &str) -> Intent {
    let scenario = parse("watch.yaml", &format!("{NETWORK}{step}")).unwrap_or_else(|notes| panic!("{notes:?}"));
    let operations = scenario.steps.iter().flat_map(|step| &step.operations);
    operations.fold(before.clone(), |intent, operation| operation.apply(&intent).unwrap())
}

/// All hosts act upon this alone.
fn settled(intent: &Intent) -> Classification {
    classification(intent, &intent.host_order.iter().map(|host| (host.clone(), vec![intent])).collect())
}

/// Frames by host and class, and what was captured.
fn seen(lab: &Lab) -> (BTreeMap<(String, Class), u64>, Vec<String>) {
    let counts =
        lab.counted().unwrap().into_iter().map(|one| ((one.host.to_string(), one.class), one.frames)).collect();
    let told = |one: &Captured| {
        let decoded = decode(&one.frame).unwrap();
        format!("{} {}: {} {}", one.host, one.class, decoded.source, decoded.what)
    };
    (counts, lab.caught().unwrap().iter().map(told).collect())
}

/// As [`seen`], once a violation was.
fn seen_at_last(lab: &Lab) -> (BTreeMap<(String, Class), u64>, Vec<String>) {
    for _ in 0..LOOKS {
        let (counts, caught) = seen(lab);
        if !caught.is_empty() {
            return (counts, caught);
        }
        lab.wait(PAUSE).unwrap();
    }
    seen(lab)
}

fn probe(lab: &Lab, from: &str, to: &str) -> Vec<ProbeReport> {
    let flow = |protocol| Flow::new(name(from), to.parse().unwrap(), protocol);
    lab.send(&[flow(Protocol::Udp(9000))]).unwrap()
}

#[test]
fn what_is_as_it_should_be_is_counted_and_nothing_else() {
    inside(|| {
        let intent = intent(Deviation::DropInvalid, true);
        let built = Built::new(&intent);
        built.lab.watch(&settled(&intent)).unwrap();
        probe(&built.lab, "vm1", "198.51.100.2");
        probe(&built.lab, "vm3", "198.51.100.2");
        let (counts, caught) = seen(&built.lab);
        assert!(counts[&("net1".to_owned(), Class::GatewaySnat)] >= 1, "{counts:?}");
        assert!(counts[&("cmp1".to_owned(), Class::FloatingIp)] >= 1, "{counts:?}");
        assert!(counts.keys().all(|(_, class)| !class.is_violation()), "{counts:?}");
        assert_eq!(caught, [""; 0]);
    });
}

/// A router that has not done what it was told: the lab stands as before a change, and the watch takes every host for converged.
#[test]
fn a_host_that_did_not_follow_is_seen() {
    inside(|| {
        let before = intent(Deviation::DropInvalid, true);
        let built = Built::new(&before);
        let expect = |step: &str, from: &str, found: (&str, Class), evidence: &str| {
            built.lab.watch(&settled(&after(&before, step))).unwrap();
            seen(&built.lab);
            probe(&built.lab, from, "198.51.100.2");
            let (counts, caught) = seen(&built.lab);
            let violations: Vec<_> = counts.keys().filter(|(_, class)| class.is_violation()).collect();
            assert_eq!(violations, [&(found.0.to_owned(), found.1)], "{step}: {counts:?} {caught:?}");
            assert!(caught.iter().any(|one| one == evidence), "{step}: {caught:?}");
        };
        let disassociate = "  - disassociate: { floating_ip: 203.0.113.101 }\n";
        expect(
            disassociate,
            "vm3",
            ("cmp1", Class::WithdrawnAddress),
            "cmp1 withdrawn address: 203.0.113.101 udp/9000",
        );
        let renumber = "  - set_gateway: { router: r1, network: public, address: 203.0.113.20 }\n";
        expect(renumber, "vm1", ("net1", Class::WithdrawnAddress), "net1 withdrawn address: 203.0.113.10 udp/9000");
        let move_gateway = "  - move_gateway: { router: r1, to: net2 }\n";
        expect(move_gateway, "vm1", ("net1", Class::WrongHost), "net1 wrong host: 203.0.113.10 udp/9000");
    });
}

/// Who answers for an address that another host has by now.
#[test]
fn a_second_owner_is_seen() {
    inside(|| {
        let before = intent(Deviation::DropInvalid, true);
        let built = Built::new(&before);
        built.lab.watch(&settled(&after(&before, "  - move_gateway: { router: r1, to: net2 }\n"))).unwrap();
        let ask = Flow::new(name("peer"), "203.0.113.10".parse().unwrap(), Protocol::Arp);
        built.lab.send(&[ask]).unwrap();
        let (counts, caught) = seen(&built.lab);
        assert_eq!(counts.keys().filter(|(_, class)| class.is_violation()).count(), 1, "{counts:?}");
        assert_eq!(counts[&("net1".to_owned(), Class::TwoOwners)], 1);
        assert_eq!(caught, ["net1 two owners: 203.0.113.10 arp reply"]);
    });
}

fn tcp_ack(built: &Built, intent: &Intent) {
    let gateway = intent.router_ports(&intent.routers[&name("r1")]).next().unwrap().mac;
    let crafted = Crafted {
        macs: (intent.ports[&name("vm1")].mac, gateway),
        addresses: ("10.0.1.11".parse().unwrap(), "198.51.100.2".parse().unwrap()),
        ttl: 64,
        dont_fragment: true,
        content: Content::Tcp { ports: (7000, 80), sequence: 1, acknowledgement: 1, flags: 0x10 },
    };
    let vm1 = Place { host: None, name: "vm1".to_owned() };
    built.lab.emit(&vm1, &"eth0".parse().unwrap(), &crafted.frame().unwrap()).unwrap();
}

/// A segment of no connection, which the real agent lets go as it is.
#[test]
fn what_is_not_translated_is_seen() {
    inside(|| {
        let intent = intent(Deviation::DropInvalid, false);
        let built = Built::new(&intent);
        built.lab.watch(&settled(&intent)).unwrap();
        tcp_ack(&built, &intent);
        let (counts, caught) = seen_at_last(&built.lab);
        assert_eq!(counts.get(&("net1".to_owned(), Class::TenantSource)), Some(&1), "{counts:?}");
        assert_eq!(caught, ["net1 tenant source: 10.0.1.11 tcp/80"]);
    });
}

/// What the fip namespace would send if it answered from its end of the link to the router.
#[test]
fn a_link_local_source_is_seen() {
    inside(|| {
        let intent = intent(Deviation::DropInvalid, true);
        let built = Built::new(&intent);
        built.lab.watch(&settled(&intent)).unwrap();
        let agent = intent.agent_gateways[&(name("public"), host("cmp1"))].mac;
        let upstream = dvrlab::router::topology(&intent).nodes[&name("peer")].ports[0].mac;
        let content = Content::Udp((7000, 9000), b"bare".to_vec());
        let addresses = ("169.254.106.115".parse::<IpAddr>().unwrap(), "203.0.113.2".parse().unwrap());
        let crafted = Crafted { macs: (agent, upstream), addresses, ttl: 64, dont_fragment: true, content };
        let fip = Place { host: Some(host("cmp1")), name: "fip-public".to_owned() };
        built.lab.emit(&fip, &"fg-public".parse().unwrap(), &crafted.frame().unwrap()).unwrap();
        let (counts, caught) = seen_at_last(&built.lab);
        assert_eq!(counts.get(&("cmp1".to_owned(), Class::LinkLocalTransit)), Some(&1), "{counts:?}");
        assert_eq!(caught, ["cmp1 link-local transit: 169.254.106.115 udp/9000"]);
    });
}

/// A data plane with something wrong with it, around a lab.
struct Around<'a> {
    lab: &'a Lab,
    /// A rule of a host's that is not put in.
    without: Option<(HostName, usize)>,
    /// Sends this from `vm1` after each operation.
    sends: Option<Vec<u8>>,
    sent: Cell<u64>,
    /// Sends this from a host's end of a segment beside whatever is injected there, once for all copies of it.
    beside: Option<Vec<u8>>,
    injected: RefCell<Vec<u8>>,
}

impl<'a> Around<'a> {
    fn new(lab: &'a Lab) -> Self {
        let (sent, injected) = (Cell::new(0), RefCell::default());
        Self { lab, without: None, sends: None, sent, beside: None, injected }
    }
}

impl Dataplane for Around<'_> {
    fn shape(&self, topology: &Topology) -> Result<(), DataplaneError> {
        self.lab.shape(topology)
    }

    fn observe(&self, host: &HostName) -> Result<HostState, DataplaneError> {
        self.lab.observe(host)
    }

    fn apply(&self, host: &HostName, plan: &Plan, after: &mut dyn FnMut(&Op)) -> Result<(), DataplaneError> {
        if self.sends.is_none() {
            return self.lab.apply(host, plan, after);
        }
        // Each operation by itself, so that the lab waits for the devices that it makes: the window is as wide as it gets.
        plan.ops.iter().try_for_each(|op| {
            self.lab.apply(host, &Plan { ops: vec![op.clone()] }, &mut |op| {
                let vm1 = Place { host: None, name: "vm1".to_owned() };
                let stands = self.lab.places().iter().any(|(place, _)| *place == vm1);
                if let Some(frame) = self.sends.as_ref().filter(|_| stands) {
                    self.lab.emit(&vm1, &"eth0".parse().unwrap(), frame).unwrap();
                    self.sent.set(self.sent.get() + 1);
                }
                after(op);
            })
        })
    }

    fn send(&self, flows: &[Flow]) -> Result<Vec<ProbeReport>, DataplaneError> {
        self.lab.send(flows)
    }

    fn exchange(&self, volley: &Volley, enough: &dyn Fn(&[Sighted]) -> bool) -> Result<Exchanged, DataplaneError> {
        self.lab.exchange(volley, enough)
    }

    fn watch(&self, classification: &Classification) -> Result<(), DataplaneError> {
        let mut blind = classification.clone();
        if let Some((host, number)) = &self.without {
            let rules = blind.segments.get_mut("public").unwrap().get_mut(host).unwrap();
            rules.remove(*number);
        }
        self.lab.watch(&blind)
    }

    fn caught(&self) -> Result<Vec<Captured>, DataplaneError> {
        self.lab.caught()
    }

    fn explain(&self, flow: &Flow) -> Result<Explanation, DataplaneError> {
        self.lab.explain(flow)
    }

    fn connections(&self, place: &Place) -> Result<Vec<Connection>, DataplaneError> {
        self.lab.connections(place)
    }

    fn around(&self) -> &dyn dvrlab::dataplane::Around {
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

    fn inject(&self, network: &Id, host: &HostName, frame: &[u8]) -> Result<(), DataplaneError> {
        if let Some(stray) = self.beside.as_ref().filter(|_| *self.injected.borrow() != frame) {
            self.lab.inject(network, host, stray)?;
        }
        self.injected.replace(frame.to_vec());
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
}

/// Without any one of its rules the watch does not prove itself; with all of them it does.
#[test]
fn no_rule_can_be_missing() {
    inside(|| {
        let off = after(&intent(Deviation::DropInvalid, true), "  - set_gateway: { router: r1, snat: false }\n");
        let built = Built::new(&off);
        let whole = settled(&off);
        let by_itself = |proof: &Proof| {
            let said = decode(&proof.frame).filter(|_| proof.class == Class::Other);
            said.is_some_and(|said| matches!(said.source, IpAddr::V6(source) if source.is_unicast_link_local()))
        };
        // What a router may say at any time, and what is counted like much that is proved.
        let beside = proofs(&off).into_iter().find(by_itself).unwrap().frame;
        let around = |without| Around { without, beside: Some(beside.clone()), ..Around::new(&built.lab) };
        let prove = |without| {
            let around = around(without);
            around.watch(&whole).unwrap();
            run::prove(&around, &off).unwrap()
        };
        let all = prove(None);
        assert_eq!(all.unproved, [""; 0]);
        assert_eq!(all.frames, proofs(&off).iter().map(|proof| run::copies(proof.class)).sum::<u32>());
        let public = &whole.segments["public"];
        for (host, rules) in public {
            for (number, rule) in rules.iter().enumerate() {
                let proved = prove(Some((host.clone(), number)));
                // Of other hosts perhaps, too: MLD reports come when their timers say so, and nothing classes them rightly now.
                let misses = proved.unproved.iter().any(|text| text.contains(&format!("to {host}: ")));
                assert!(misses, "{host}: nobody misses {rule:?}: {proved:?}");
            }
        }
        assert_eq!(prove(None).unproved, [""; 0]);
        let classes = |rules: &Vec<Rule>| rules.iter().map(|rule| rule.class).collect::<BTreeSet<_>>();
        let used: BTreeSet<Class> = public.values().flat_map(classes).collect();
        assert_eq!(used.into_iter().collect::<Vec<_>>(), Class::ALL);
    });
}

/// A frame that is sent after each operation of a change: what gets through is named with the operation.
#[test]
fn a_leak_within_a_change_fails_the_step_in_words() {
    inside(|| {
        for (on, leaks) in [(false, true), (true, false)] {
            let record = changed(on);
            let found: Vec<_> = record.failures().filter(|(_, one)| one.kind == FailureKind::Watch).collect();
            assert_eq!(!found.is_empty(), leaks, "{found:#?}");
            for (step, failure) in found {
                assert_eq!(step.number, 1);
                let text = &failure.text;
                let start = "tenant source left: vm1 10.0.1.11 -> web 198.51.100.2 udp/9000 on public, from net1, ";
                assert!(text.starts_with(start), "{text}");
                assert!(text.contains(" ms into the change, after \"") && text.ends_with(" on net1"), "{text}");
            }
        }
    });
}

/// The gateway comes while vm1 sends, the compute host being told first; with the guarded start on or off.
fn changed(guarded: bool) -> Record {
    let no_gateway = ", gateway: { network: public, address: 203.0.113.10, host: net1 }";
    let network = NETWORK.replace(no_gateway, "").replace("floating_ips:\n  203.0.113.101: { instance: vm3 }\n", "");
    let step = "  - set_gateway: { router: r1, network: public, address: 203.0.113.10, host: net1 }\n";
    let mut scenario = parse("watch.yaml", &format!("{network}{step}")).unwrap_or_else(|notes| panic!("{notes:?}"));
    scenario.intent.settings.deviations = Deviations::all().with(Deviation::GuardedStart, guarded);
    let intent = &scenario.intent;
    let gateway = intent.router_ports(&intent.routers[&name("r1")]).next().unwrap().mac;
    let crafted = Crafted {
        macs: (intent.ports[&name("vm1")].mac, gateway),
        addresses: ("10.0.1.11".parse().unwrap(), "198.51.100.2".parse().unwrap()),
        ttl: 64,
        dont_fragment: true,
        content: Content::Udp((7000, 9000), b"bare".to_vec()),
    };
    let lab = Lab::new().unwrap();
    let around = Around { sends: Some(crafted.frame().unwrap()), ..Around::new(&lab) };
    let record = run::run(&scenario, run::Options::default(), &around, &mut |_step| {});
    assert!(around.sent.get() > 20);
    record
}

/// Everything is counted at the rate at which one processor can send; what is not captured is said to be missing.
#[test]
fn nothing_is_missed_under_load() {
    const FRAMES: u64 = 25_000;
    inside(|| {
        let intent = intent(Deviation::DropInvalid, true);
        let built = Built::new(&intent);
        built.lab.watch(&settled(&intent)).unwrap();
        let all = proofs(&intent);
        let of = |class| all.iter().find(|one| one.class == class && one.host == host("net1")).unwrap();
        let (bare, translated) = (of(Class::TenantSource), of(Class::GatewaySnat));
        for proof in [bare, translated] {
            built.lab.inject(&proof.network, &proof.host, &proof.frame).unwrap();
        }
        seen(&built.lab);
        #[expect(clippy::disallowed_methods, reason = "the rate is told, not judged")]
        let start = Instant::now();
        for _ in 0..FRAMES {
            for proof in [bare, translated] {
                built.lab.inject(&proof.network, &proof.host, &proof.frame).unwrap();
            }
        }
        let took: Duration = start.elapsed();
        let counts = built.lab.counted().unwrap();
        let captured = built.lab.caught().unwrap();
        println!("{} frames in {took:?}", 2 * FRAMES);
        let frames =
            |class| counts.iter().find(|one| one.class == class && one.host == host("net1")).map(|one| one.frames);
        assert_eq!(frames(Class::TenantSource), Some(FRAMES));
        assert_eq!(frames(Class::GatewaySnat), Some(FRAMES));
        assert!((1..1000).contains(&captured.len()), "{}", captured.len());
        let evidence: Vec<_> = captured.into_iter().map(|one| (one, None)).collect();
        let findings = dvrlab::watch::findings(&counts, &evidence, &BTreeMap::new());
        let missed = FRAMES - u64::try_from(evidence.len()).unwrap();
        let told = format!("tenant source left: on public, from net1: {missed} frames, counted but not captured");
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].sentences().last().unwrap().1, told);
    });
}
