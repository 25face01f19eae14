//! A lab that stands, and what is asked of it: the driver's part in a run, without its checks.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use dvrlab::api::{Event, Intent, Snat};
use dvrlab::dataplane::Dataplane as _;
use dvrlab::flow::{Flow, Place, ProbeReport, Protocol, Verdict};
use dvrlab::kernel::Netns;
use dvrlab::lab::Lab;
use dvrlab::name::{HostName, Name};
use dvrlab::namespace::{self, HostState};
use dvrlab::topology::Topology;
use dvrlab::{plan, router, scenario};

/// Four hosts with distributed routers, six machines.
pub(crate) const WHOLE: &str = "
hosts:
  net1: { mode: dvr_snat }
  cmp1: { mode: dvr }
  cmp2: { mode: dvr }
  cmp3: { mode: dvr }
networks:
  public: { external: true }
  red:    {}
subnets:
  public4: { network: public, cidr: 203.0.113.0/24 }
  red4:    { network: red, cidr: 10.0.1.0/24 }
routers:
  r1: { interfaces: [red4], gateway: { network: public, address: 203.0.113.10 } }
instances:
  vm1: { host: cmp1, network: red, address: 10.0.1.11 }
  vm2: { host: cmp2, network: red, address: 10.0.1.12 }
  vm3: { host: cmp3, network: red, address: 10.0.1.13 }
  vm4: { host: cmp1, network: red, address: 10.0.1.14 }
  vm5: { host: cmp2, network: red, address: 10.0.1.15 }
floating_ips:
  203.0.113.101: { instance: vm1 }
  203.0.113.102: {}
outside:
  peer: { on: public, address: 203.0.113.2 }
steps:
  - expect: { vm1 -> vm2: as itself }
";

/// Ten machines on two networks of a router.
pub(crate) const MATRIX: &str = "
hosts:
  net1: { mode: dvr_snat }
  cmp1: { mode: dvr }
  cmp2: { mode: dvr }
  cmp3: { mode: dvr }
networks:
  public: { external: true }
  red:    {}
  blue:   {}
subnets:
  public4: { network: public, cidr: 203.0.113.0/24 }
  red4:    { network: red, cidr: 10.0.1.0/24 }
  blue4:   { network: blue, cidr: 10.0.2.0/24 }
routers:
  r1: { interfaces: [red4, blue4], gateway: { network: public, address: 203.0.113.10 } }
instances:
  vm1: { host: cmp1, network: red, address: 10.0.1.11 }
  vm2: { host: cmp2, network: red, address: 10.0.1.12 }
  vm3: { host: cmp3, network: red, address: 10.0.1.13 }
  vm4: { host: cmp1, network: red, address: 10.0.1.14 }
  vm5: { host: cmp2, network: red, address: 10.0.1.15 }
  vm6: { host: cmp1, network: blue, address: 10.0.2.11 }
  vm7: { host: cmp2, network: blue, address: 10.0.2.12 }
  vm8: { host: cmp3, network: blue, address: 10.0.2.13 }
  vm9: { host: cmp1, network: blue, address: 10.0.2.14 }
  vm10: { host: cmp2, network: blue, address: 10.0.2.15 }
floating_ips:
  203.0.113.101: { instance: vm1 }
steps:
  - expect: { vm1 -> vm2: as itself }
";

/// What is measured of the changes: the case, the change, and the host, or all of them.
pub(crate) const MEASURED: [(&str, &str, Option<&str>); 5] = [
    ("gateway", "gateway", None),
    ("gateway-network-node", "gateway", Some("net1")),
    ("gateway-compute-host", "gateway", Some("cmp1")),
    ("floating-ip", "floating-ip", None),
    ("floating-ip-compute-host", "floating-ip", Some("cmp1")),
];

/// The changes that are measured, each with what takes it back.
pub(crate) fn event_set() -> [(&'static str, [Event; 2]); 2] {
    let r1 = Name::new("r1").expect("r1 is a name");
    let set = Event::GatewaySet {
        router: r1.clone(),
        network: Some(Name::new("public").expect("public is a name")),
        addresses: vec![[203, 0, 113, 10].into()],
        snat: None::<Snat>,
        host: None,
    };
    let address = [203, 0, 113, 102].into();
    let intent = intent(WHOLE);
    let vm4 = intent.instances.iter().find(|(name, _)| name.as_str() == "vm4");
    let port = vm4.and_then(|(_, vm4)| vm4.ports.first()).expect("vm4 has a port").clone();
    let associated = Event::FloatingIpAssociated { floating_ip: address, port, fixed_address: None };
    [
        ("floating-ip", [associated, Event::FloatingIpDisassociated(address)]),
        ("gateway", [set, Event::GatewayCleared(r1)]),
    ]
}

pub(crate) fn intent(text: &str) -> Intent {
    scenario::parse("bench.yaml", text)
        .unwrap_or_else(|notes| panic!("{}", scenario::render(&notes, text, "", false)))
        .intent
}

/// A lab and what is in force in it.
pub(crate) struct Standing {
    lab: Lab,
    intent: Intent,
    topology: Topology,
    /// How long each host took over the last change: read, worked out, done. It is what an agent's time is of.
    took: BTreeMap<HostName, Duration>,
}

impl Standing {
    /// A new lab, built from nothing.
    pub(crate) fn new(text: &str) -> Self {
        let lab = Lab::new().expect("a lab can be made");
        let mut standing =
            Self { lab, intent: Intent::default(), topology: Topology::default(), took: BTreeMap::new() };
        standing.move_to(intent(text));
        standing
    }

    /// The same lab without anything in it: its fabric, its machines, and the routers' namespaces.
    pub(crate) fn empty(intent: &Intent) -> Self {
        let lab = Lab::new().expect("a lab can be made");
        let topology = router::topology(intent);
        lab.shape(&topology).expect("the lab takes its shape");
        for host in &intent.host_order {
            let desired = namespace::desired(&router::host_config(intent, host), &HostState::default())
                .expect("the configuration can be built");
            let mut plan = plan::plan(&HostState::default(), &desired);
            plan.ops.retain(|op| op.action == plan::Action::NamespaceAdd);
            lab.apply(host, &plan, &mut |_op| {}).expect("namespaces can be made");
        }
        Self { lab, intent: intent.clone(), topology, took: BTreeMap::new() }
    }

    /// Brings the lab to `next`, as a run does.
    fn move_to(&mut self, next: Intent) {
        let topology = router::topology(&next);
        let config = |intent: &Intent, host| router::host_config(intent, host);
        let changes = next.host_order.iter().map(|host| (config(&self.intent, host), config(&next, host)));
        let changes: Vec<_> = changes.filter(|(before, after)| before != after).collect();
        let order = router::order(&changes);
        self.lab.shape(&topology.while_leaving(&self.topology)).expect("the lab takes its shape");
        self.took.clear();
        for host in &order {
            let start = Instant::now();
            let config = router::host_config(&next, host);
            let observed = self.lab.observe(host).expect("a host can be read");
            let desired = namespace::desired(&config, &observed).expect("the configuration can be built");
            let plan = plan::plan(&observed, &desired);
            self.lab.apply(host, &plan, &mut |_op| {}).expect("a plan can be carried out");
            self.took.insert(host.clone(), start.elapsed());
        }
        self.lab.shape(&topology).expect("the lab takes its shape");
        (self.intent, self.topology) = (next, topology);
    }

    /// The lab itself.
    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Makes a call and does what follows from it. Says how long that took.
    pub(crate) fn ask(&mut self, event: &Event) -> Duration {
        let start = Instant::now();
        let next = self.intent.apply(event).expect("the API takes what is measured");
        self.move_to(next);
        start.elapsed()
    }

    /// How long a host took over the last change; a host that it does not concern took none.
    pub(crate) fn took(&self, host: &str) -> Duration {
        let name = Name::new(host).expect("a host's name is a name");
        self.took.get(&HostName::from(name)).copied().unwrap_or_default()
    }

    /// Takes all floating IPs off: a router that has some keeps its gateway.
    pub(crate) fn release(&mut self) {
        let held: Vec<_> = self.intent.floating_ips.keys().copied().collect();
        for address in held {
            self.ask(&Event::FloatingIpDisassociated(address));
        }
    }

    /// What stands on each host.
    pub(crate) fn observe(&self) -> BTreeMap<HostName, HostState> {
        let hosts = self.intent.host_order.iter();
        hosts.map(|host| (host.clone(), self.lab.observe(host).expect("a host can be read"))).collect()
    }

    /// Panics if a host is not as it should be: what did not work is not measured.
    pub(crate) fn check(&self) {
        for (host, observed) in self.observe() {
            let desired = namespace::desired(&router::host_config(&self.intent, &host), &observed)
                .expect("the configuration can be built");
            assert!(observed == desired, "{host} is not as it should be");
        }
    }

    /// All namespaces; routers and machines with their place.
    pub(crate) fn namespaces(&self) -> Vec<(Option<Place>, Rc<Netns>)> {
        let hosts = self.topology.hosts.keys().filter_map(|host| self.lab.host(host));
        let segments = self.topology.segments.keys().filter_map(|segment| self.lab.segment(segment));
        let bridged = hosts.chain(segments).map(|netns| (None, netns));
        bridged.chain(self.lab.places().into_iter().map(|(place, netns)| (Some(place), netns))).collect()
    }

    /// Everybody to everybody.
    pub(crate) fn matrix(&self) -> Vec<Flow> {
        let addresses = self.intent.instances.iter().map(|(name, instance)| {
            let ports = instance.ports.iter().filter_map(|port| self.intent.ports.get(port));
            (name, ports.flat_map(|port| port.addresses.clone()).collect::<Vec<_>>())
        });
        let addresses: BTreeMap<_, _> = addresses.collect();
        let mut flows = Vec::new();
        for from in addresses.keys() {
            for to in addresses.iter().filter(|(name, _)| *name != from).flat_map(|(_, addresses)| addresses) {
                flows.extend(Protocol::MATRIX.map(|protocol| Flow::new((*from).clone(), *to, protocol)));
            }
        }
        flows
    }

    /// Sends flows that must all arrive.
    pub(crate) fn send(&self, flows: &[Flow]) -> Vec<ProbeReport> {
        let reports = self.lab.send(flows).expect("flows can be sent");
        assert!(reports.iter().all(|report| report.verdict != Verdict::Lost), "a flow is lost");
        reports
    }
}
