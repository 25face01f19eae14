//! Operations applied in namespaces of the tests' own, and observed.

mod links;
mod round_trip;
mod routing;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::runtime::{Builder, Runtime};

use crate::backend::RuleBackend;
use crate::kernel::apply::apply_op;
use crate::kernel::links::{End, bridge};
use crate::kernel::observe::{Baseline, observe_namespace};
use crate::kernel::testing::done_in_a_sandbox;
use crate::kernel::{Netns, Plug, Surroundings};
use crate::name::{DeviceName, HostName, Id, NamespaceName};
use crate::namespace::{Address, Attach, ChainName, Hook, Link, NamespaceState, PolicyRule, Rule, Table};
use crate::net::{Family, Mac};
use crate::plan::{Action, ChainChange, Op, RuleChanges};

/// A host with router namespaces, and a namespace with a bridge for each of two networks.
struct TestLab {
    host: HostName,
    namespaces: RefCell<BTreeMap<NamespaceName, Rc<Netns>>>,
    switch: Rc<Netns>,
    bridges: BTreeMap<Id, u32>,
    next: Cell<u32>,
    baseline: Baseline,
    runtime: Runtime,
}

impl Surroundings for TestLab {
    fn namespace(&self, _host: &HostName, name: &NamespaceName) -> Option<Rc<Netns>> {
        self.namespaces.borrow().get(name).cloned()
    }

    fn insert(&self, _host: &HostName, name: &NamespaceName, netns: Rc<Netns>) {
        self.namespaces.borrow_mut().insert(name.clone(), netns);
    }

    fn remove(&self, _host: &HostName, name: &NamespaceName) {
        self.namespaces.borrow_mut().remove(name);
    }

    fn is_leaving(&self, _host: &HostName, _name: &NamespaceName) -> bool {
        false
    }

    fn plug(&self, _host: &HostName, network: &Id) -> Option<Plug> {
        let bridge = *self.bridges.get(network)?;
        Some(Plug { netns: self.switch.clone(), bridge, group: crate::kernel::NO_GROUP })
    }

    fn rules(&self) -> RuleBackend {
        RuleBackend::Nftables
    }

    fn new_index(&self) -> u32 {
        let index = self.next.get();
        self.next.set(index + 1);
        index
    }
}

impl TestLab {
    /// With the networks `red` and `blue`.
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let switch = Rc::new(Netns::create(runtime.handle()).unwrap());
        let pristine = Netns::create(runtime.handle()).unwrap();
        let baseline = runtime.block_on(Baseline::read(&pristine)).unwrap();
        let mut bridges = BTreeMap::new();
        for (index, name) in [(2, "red"), (3, "blue")] {
            let end = End { name, index, mac: Mac::derived("bridge", name), mtu: 1500 };
            runtime.block_on(bridge(switch.handle(), end)).unwrap();
            bridges.insert(Id::new(name).unwrap(), index);
        }
        Self {
            host: HostName::new("cmp1").unwrap(),
            namespaces: RefCell::default(),
            switch,
            bridges,
            next: Cell::new(100),
            baseline,
            runtime,
        }
    }

    /// What `action` fails with, if it does.
    fn try_apply(&self, namespace: &str, action: Action) -> Result<(), String> {
        let op = Op { namespace: NamespaceName::new(namespace).unwrap(), action };
        let done = apply_op(self, self.runtime.handle(), &self.host, &op);
        self.runtime.block_on(done).map_err(|failure| failure.reason())
    }

    fn apply(&self, namespace: &str, action: Action) {
        let text = format!("{action:?}");
        if let Err(reason) = self.try_apply(namespace, action) {
            panic!("{text}: {reason}");
        }
    }

    fn netns(&self, namespace: &str) -> Rc<Netns> {
        self.namespaces.borrow()[&NamespaceName::new(namespace).unwrap()].clone()
    }

    fn state(&self, namespace: &str) -> NamespaceState {
        let netns = self.netns(namespace);
        self.runtime.block_on(observe_namespace(&netns, &self.baseline, RuleBackend::Nftables)).unwrap()
    }

    /// A namespace with one device on each of the two networks: `qr-red` (10.0.1.1/24, fd00:1::1/64) and `qr-blue`
    /// (10.0.2.1/24, fd00:2::1/64).
    fn router(&self, namespace: &str) {
        self.apply(namespace, Action::NamespaceAdd);
        for (network, v4, v6) in [("red", "10.0.1.1/24", "fd00:1::1/64"), ("blue", "10.0.2.1/24", "fd00:2::1/64")] {
            let device = device(&format!("qr-{network}"));
            self.apply(namespace, link_add(&device, on_network(network, Mac::derived("qr", network))));
            for net in [v4, v6] {
                self.apply(namespace, Action::AddressAdd(Address::new(device.clone(), net.parse().unwrap())));
            }
        }
        self.settle(namespace);
    }

    /// Until the kernel has made its own addresses, which it does when it has noticed the carrier.
    fn settle(&self, namespace: &str) {
        let settled = (0..LOOKS).any(|_| self.state(namespace).lost.is_empty());
        assert!(settled, "{namespace} has no link-local addresses: {:?}", self.state(namespace).lost);
    }
}

/// How often is looked for what the kernel does in its own time; each look takes a millisecond or so.
const LOOKS: u32 = 5000;

fn device(name: &str) -> DeviceName {
    DeviceName::new(name).unwrap()
}

fn on_network(network: &str, mac: Mac) -> Link {
    Link { mac, mtu: 1500, up: true, attach: Attach::Network(Id::new(network).unwrap()), odd: String::new() }
}

fn link_add(device: &DeviceName, link: Link) -> Action {
    Action::LinkAdd { device: device.clone(), link, peer: None }
}

/// What a new namespace has.
fn empty() -> NamespaceState {
    NamespaceState { rules: PolicyRule::base().into(), ..NamespaceState::default() }
}

#[test]
fn a_namespace_comes_and_goes() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    lab.apply("qrouter-r1", Action::NamespaceAdd);
    assert_eq!(lab.state("qrouter-r1"), empty());
    let again = lab.try_apply("qrouter-r1", Action::NamespaceAdd).unwrap_err();
    assert_eq!(again, "namespace qrouter-r1 is there already");
    lab.apply("qrouter-r1", Action::NamespaceDelete);
    assert!(lab.namespaces.borrow().is_empty());
    lab.apply("qrouter-r1", Action::NamespaceDelete);
    let inside = lab.try_apply("qrouter-r1", Action::LinkUp(device("qr-red"), true)).unwrap_err();
    assert_eq!(inside, "no namespace qrouter-r1 on this host");
}

#[test]
fn forwarding_shows_on_every_device() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    lab.router("snat-r1");
    for (key, value) in [
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv6.conf.all.forwarding", "1"),
        ("net.ipv4.conf.qr-red.send_redirects", "0"),
        ("net.ipv4.neigh.qr-blue.proxy_delay", "1"),
        ("net.ipv6.conf.qr-blue.accept_ra", "2"),
        ("net.netfilter.nf_conntrack_tcp_loose", "0"),
    ] {
        lab.apply("snat-r1", Action::SysctlSet(key.to_owned(), value.to_owned()));
    }
    let sysctls: Vec<String> =
        lab.state("snat-r1").sysctls.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(
        sysctls,
        [
            "net.ipv4.conf.all.accept_redirects=0",
            "net.ipv4.conf.all.forwarding=1",
            "net.ipv4.conf.default.forwarding=1",
            "net.ipv4.conf.lo.forwarding=1",
            "net.ipv4.conf.qr-blue.forwarding=1",
            "net.ipv4.conf.qr-red.forwarding=1",
            "net.ipv4.conf.qr-red.send_redirects=0",
            "net.ipv4.ip_forward=1",
            // Kept in jiffies: one hundredth of a second is two of them, and those are less than a hundredth.
            "net.ipv4.neigh.qr-blue.proxy_delay=0",
            "net.ipv6.conf.all.forwarding=1",
            "net.ipv6.conf.default.forwarding=1",
            "net.ipv6.conf.lo.forwarding=1",
            "net.ipv6.conf.qr-blue.accept_ra=2",
            "net.ipv6.conf.qr-blue.forwarding=1",
            "net.ipv6.conf.qr-red.forwarding=1",
            "net.netfilter.nf_conntrack_tcp_loose=0",
        ]
    );
    let unknown = Action::SysctlSet("net.ipv4.conf.qr-none.forwarding".to_owned(), "1".to_owned());
    let reason = lab.try_apply("snat-r1", unknown).unwrap_err();
    assert_eq!(reason, "reach sysctl net.ipv4.conf.qr-none.forwarding: ENOENT: No such file or directory");
}

#[test]
fn iptables_rules_and_purges_reach_netfilter() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    lab.apply("snat-r1", Action::NamespaceAdd);
    let rule: Rule = "-s 10.0.1.0/24 -j SNAT --to-source 203.0.113.5".parse().unwrap();
    let chain = ChainName::Builtin(Hook::Postrouting);
    let change = |change| Action::Rules(RuleChanges { changes: vec![(Family::V4, Table::Nat, change)] });
    lab.apply("snat-r1", change(ChainChange::Insert(chain.clone(), 0, rule.clone())));
    let nat = lab.state("snat-r1").rules_v4.tables.remove(&Table::Nat).unwrap();
    assert_eq!(nat[&chain].rules, std::slice::from_ref(&rule));
    lab.apply("snat-r1", change(ChainChange::Delete(chain, 0, rule)));
    assert_eq!(lab.state("snat-r1"), empty());
    lab.apply("snat-r1", Action::ConntrackPurge("203.0.113.5/32".parse().unwrap()));
}
