//! The closed list of what can become of a probe: `scenarios/README.md` has all of it, with examples that hold on the kernel; and
//! a run that has one without evidence fails, and says whose fault that is.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod built;
mod common;
mod inside;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use built::{Built, intent_after, scenario};
use dvrlab::dataplane::{Around, Dataplane, DataplaneError, ExecError, Executed, Frames, Touched};
use dvrlab::flow::{Flow, Place, ProbeReport, Protocol, Verdict};
use dvrlab::kernel::Surroundings as _;
use dvrlab::lab::Lab;
use dvrlab::ledger::{Course, Paced, Packet};
use dvrlab::memory::{Cache, Connection};
use dvrlab::name::{HostName, Id, Name, NamespaceName};
use dvrlab::namespace::HostState;
use dvrlab::packet::{Exchanged, Sighted, UnderWay, Volley};
use dvrlab::plan::{Op, Plan};
use dvrlab::record::{FailureKind, Record};
use dvrlab::topology::{Segment, Topology};
use dvrlab::watch::{Captured, Classification, Count};
use dvrlab::why::Explanation;
use dvrlab::{report, run};
use inside::inside;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols};

/// What the table calls each outcome. A new one does not compile until it has a row.
fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Delivered => "delivered",
        Verdict::NoAnswer => "no answer",
        Verdict::Refused => "refused",
        Verdict::NoRoute => "no route",
        Verdict::NoNeighbour => "no neighbour",
        Verdict::Prohibited => "prohibited",
        Verdict::TooBig(_) => "too big N",
        Verdict::Expired => "expired",
        Verdict::Dropped => "dropped",
        Verdict::Lost => "lost",
    }
}

const ALL: [Verdict; 10] = [
    Verdict::Delivered,
    Verdict::NoAnswer,
    Verdict::Refused,
    Verdict::NoRoute,
    Verdict::NoNeighbour,
    Verdict::Prohibited,
    Verdict::TooBig(0),
    Verdict::Expired,
    Verdict::Dropped,
    Verdict::Lost,
];

/// The part of the guide that is about outcomes.
fn page() -> String {
    let guide = std::fs::read_to_string(common::project("scenarios/README.md")).unwrap();
    let part = guide.split_once("\n## What can become of a probe\n").unwrap().1;
    part.split_once("\n## ").unwrap().0.to_owned()
}

/// Outcome and example of each row.
fn rows(page: &str) -> Vec<(String, Option<String>)> {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let quoted = |cell: &str| cell.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).map(str::to_owned);
    page.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| (quoted(&cells(line)[1]).expect("an outcome"), quoted(&cells(line)[3])))
        .collect()
}

/// The scenario, from its first comment on.
fn example(page: &str) -> &str {
    page.split_once("```yaml\n").unwrap().1.split_once("```").unwrap().0
}

#[test]
fn the_page_has_every_outcome_and_no_other() {
    let page = page();
    let rows = rows(&page);
    assert_eq!(rows.iter().map(|(word, _)| word.as_str()).collect::<Vec<_>>(), ALL.each_ref().map(word));
    let sentences: BTreeSet<&str> = example(&page).lines().map(str::trim).collect();
    for (outcome, sentence) in &rows {
        match sentence {
            Some(sentence) => assert!(sentences.contains(sentence.as_str()), "`{sentence}` is not in the scenario"),
            None => {
                assert!(["prohibited", "lost"].contains(&outcome.as_str()), "{outcome} has no example");
            }
        }
    }
}

/// Every sentence of the page's scenario holds, and the outcomes really occur.
#[test]
fn the_examples_hold() {
    if common::labs_are_skipped() {
        return;
    }
    let page = page();
    let record = common::record_of_text("README.yaml", example(&page).to_owned());
    assert!(record.failures().next().is_none(), "{}", report::failures(&record));
    let seen: BTreeSet<&str> =
        record.steps.iter().flat_map(|step| &step.probes).map(|probe| word(&probe.verdict)).collect();
    let examples: BTreeSet<String> =
        rows(&page).into_iter().filter_map(|(word, sentence)| sentence.map(|_| word)).collect();
    assert_eq!(seen, examples.iter().map(String::as_str).collect());
}

fn host(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

fn flow(to: [u8; 4], protocol: Protocol) -> Flow {
    let from = Name::new("vm1").unwrap();
    Flow::new(from, IpAddr::from(to), protocol)
}

/// A route that prohibits, put there behind the agent's back, is told as that, by the address that said so.
#[test]
fn what_a_route_prohibits_is_told() {
    inside(|| {
        let scenario = scenario();
        let built = Built::new(&intent_after(&scenario, 0));
        let qrouter = built.lab.namespace(&host("cmp1"), &NamespaceName::new("qrouter-r1").unwrap()).unwrap();
        qrouter.run_in(|| prohibit([198, 51, 100, 66].into())).unwrap();
        let flows = [flow([198, 51, 100, 66], Protocol::Udp(9000)), flow([198, 51, 100, 2], Protocol::Udp(9000))];
        let reports = built.lab.send(&flows).unwrap();
        let by = Some(IpAddr::from([10, 0, 1, 1]));
        assert_eq!((&reports[0].verdict, reports[0].by), (&Verdict::Prohibited, by), "{:?}", reports[0]);
        assert_eq!(reports[1].verdict, Verdict::Delivered, "what is beside it is not");
        let told = built.lab.explain(&flows[0]).unwrap();
        assert_eq!(told.there[1].routing.as_ref().unwrap().route, Err("a route or ip rule prohibits it".to_owned()));
        assert_eq!(told.errors[0].left.as_ref().unwrap().about, Some(([10, 0, 1, 11].into(), flows[0].to)));
    });
}

/// `ip route add prohibit ADDRESS`, in the namespace that this runs in.
fn prohibit(address: Ipv4Addr) {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = 32;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Prohibit;
    message.attributes.push(RouteAttribute::Destination(address.into()));
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewRoute(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    let socket = Socket::new(protocols::NETLINK_ROUTE).unwrap();
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).unwrap();
    let (answer, _) = socket.recv_from_full().unwrap();
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).unwrap().payload;
    assert!(matches!(&answer, NetlinkPayload::Error(error) if error.code.is_none()), "not acknowledged: {answer:?}");
}

/// A harness that finds no evidence for one flow.
struct Careless<'a> {
    lab: &'a Lab,
}

impl Dataplane for Careless<'_> {
    fn send(&self, flows: &[Flow]) -> Result<Vec<ProbeReport>, DataplaneError> {
        let mut reports = self.lab.send(flows)?;
        if let Some(one) = reports.first_mut() {
            *one = ProbeReport { verdict: Verdict::Lost, seen: None, path: Vec::new(), ..one.clone() };
        }
        Ok(reports)
    }

    fn shape(&self, topology: &Topology) -> Result<(), DataplaneError> {
        self.lab.shape(topology)
    }

    fn observe(&self, host: &HostName) -> Result<HostState, DataplaneError> {
        self.lab.observe(host)
    }

    fn apply(&self, host: &HostName, plan: &Plan, after: &mut dyn FnMut(&Op)) -> Result<(), DataplaneError> {
        self.lab.apply(host, plan, after)
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

    fn let_be(&self, time: std::time::Duration) {
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

    fn exchange(&self, volley: &Volley, enough: &dyn Fn(&[Sighted]) -> bool) -> Result<Exchanged, DataplaneError> {
        self.lab.exchange(volley, enough)
    }

    fn shell(&self, place: &Place, line: &str) -> Result<Executed, ExecError> {
        self.lab.shell(place, line)
    }

    fn flush(&self, place: &Place, cache: Cache, address: Option<IpAddr>) -> Result<(), DataplaneError> {
        self.lab.flush(place, cache, address)
    }
}

/// A run with `lost` fails, whatever its sentences say, and names dvrlab.
#[test]
fn what_is_lost_is_a_defect_of_the_harness() {
    inside(|| {
        let lab = Lab::new().unwrap();
        let record: Record = run::run(&scenario(), run::Options::default(), &Careless { lab: &lab }, &mut |_| {});
        let mut told: BTreeMap<FailureKind, Vec<&str>> = BTreeMap::new();
        for (_, failure) in record.failures() {
            told.entry(failure.kind).or_default().push(&failure.text);
        }
        let lost = &told[&FailureKind::NoEvidence];
        assert_eq!(lost.len(), 3, "one a step: {told:?}");
        assert!(
            lost[0].starts_with("vm1 -> ") && lost[0].contains("a defect of dvrlab, not of the router"),
            "{lost:?}"
        );
        assert!(record.is_of_no_use(), "the exit code says so, too");
    });
}

const GONE: &str = "# A sender that goes with its gateway.
#
# Setup:   a router with a gateway, an instance.
# Change:  the gateway is cleared.
# Seen:    the namespace that translated sends nothing any more.
# Mirrors: nothing.
";
const CLEARED: &str = "instances:
  vm1: { host: cmp1, network: red, address: 10.0.1.11 }
outside:
  web: { on: public, address: 203.0.113.2 }
steps:
  - expect: { net1/snat-r1 -> web: reaches web }
  - clear_gateway: { router: r1 }
    expect: { net1/snat-r1 -> web: unreachable, vm1 -> web: as 203.0.113.10 }
";

/// Nor is that a reason to judge nothing else.
#[test]
fn what_is_gone_sends_nothing_whatever_is_expected_of_it() {
    if common::labs_are_skipped() {
        return;
    }
    let record = common::record_of_text("gone.yaml", [GONE, common::ONE_ROUTER, CLEARED].concat());
    let told: Vec<(FailureKind, &str)> =
        record.failures().map(|(_, failure)| (failure.kind, failure.text.as_str())).collect();
    let gone = "`net1/snat-r1 -> web: unreachable`: icmp tcp/80 udp/9000 net1/snat-r1 -> web: was not probed: net1/snat-r1 is not there";
    let [one, other] = &told[..] else { panic!("{told:?}") };
    assert_eq!(*one, (FailureKind::Expectation, gone));
    assert!(other.1.starts_with("`vm1 -> web: as 203.0.113.10`: "), "{other:?}");
    let last = record.steps.iter().find(|step| step.number == 2).unwrap();
    assert!(
        last.probes.iter().all(|probe| probe.flow.from.host.is_none()) && !last.probes.is_empty(),
        "{:?}",
        last.probes
    );
}
