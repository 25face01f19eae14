//! The kernel refuses an operation of each kind: its namespace stops there, the others go on, nothing leaves with an address
//! of a tenant, and the next round puts everything right.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod built;
mod inside;

use std::collections::BTreeSet;
use std::net::IpAddr;

use built::{Built, intent_after, scenario};
use dvrlab::dataplane::{Dataplane as _, DataplaneError};
use dvrlab::flow::{Flow, ProbeReport, Protocol};
use dvrlab::name::{DeviceName, HostName, Id, Name, NamespaceName};
use dvrlab::namespace::{
    Address, Attach, ChainName, ForeignTable, Hook, Link, NatTarget, PolicyRule, Route, Rule, Table, Target,
};
use dvrlab::net::{Family, Mac, TABLE_MAIN};
use dvrlab::plan::{Action, ChainChange, Op, RuleChanges};
use inside::inside;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// The host, the namespace in which something is refused, its device, and another namespace of the host.
const HOST: &str = "cmp1";
const REFUSED: &str = "qrouter-r1";
const DEVICE: &str = "qr-red4";
const OTHER: &str = "fip-public";

fn host() -> HostName {
    HostName::new(HOST).unwrap()
}

fn namespace(name: &str) -> NamespaceName {
    NamespaceName::new(name).unwrap()
}

fn device(name: &str) -> DeviceName {
    DeviceName::new(name).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn insert(table: Table, hook: Hook, rule: Rule) -> Action {
    let change = ChainChange::Insert(ChainName::Builtin(hook), 0, rule);
    Action::Rules(RuleChanges { changes: vec![(Family::V4, table, change)] })
}

/// Operations that the kernel refuses in [`REFUSED`], with what the reason has to say; `standing` is a policy rule of it.
fn refused(standing: PolicyRule) -> Vec<(Action, &'static str)> {
    let link = Link {
        mac: Mac::derived("test", "a"),
        mtu: 1450,
        up: true,
        attach: Attach::Network(id("red")),
        odd: String::new(),
    };
    let absent = || device("absent");
    let lost = Route::via("198.51.100.0/24".parse().unwrap(), address("192.0.2.77"), device(DEVICE), TABLE_MAIN);
    vec![
        (Action::NamespaceAdd, "is there already"),
        (Action::LinkAdd { device: device(DEVICE), link, peer: None }, "EEXIST"),
        (Action::LinkMtu(device(DEVICE), 70_000), "EINVAL"),
        (Action::LinkMac(device(DEVICE), Mac([1, 0, 0, 0, 0, 1])), "EADDRNOTAVAIL"),
        (Action::LinkUp(absent(), true), "ENODEV"),
        (Action::AddressAdd(Address::new(device(DEVICE), "10.0.1.1/24".parse().unwrap())), "EEXIST"),
        (Action::RouteReplace(lost), "ENETUNREACH"),
        (Action::RuleAdd(standing), "EEXIST"),
        // The loopback device stays, as does everything that is there already when it is to go: that is no refusal.
        (Action::LinkDelete(device("lo")), "EOPNOTSUPP"),
        (Action::NeighbourReplace(absent(), address("10.0.1.77"), Mac::derived("test", "n")), "ENODEV"),
        (Action::SysctlSet("net.ipv4.conf.absent.forwarding".to_owned(), "1".to_owned()), "ENOENT"),
        (insert(Table::Filter, Hook::Forward, Rule::to(Target::Jump("absent".to_owned()))), "ENOENT: "),
        (
            insert(Table::Nat, Hook::Prerouting, Rule::to(Target::Snat(NatTarget::to(address("203.0.113.99"))))),
            "EINVAL: ",
        ),
        (Action::Announce(absent(), address("10.0.1.1")), "ENODEV"),
    ]
}

/// Deletions. What is not there is taken for deleted, so an operand hardly makes the kernel refuse one; without the right
/// over the network it refuses each, be the object there or not.
fn deletions(standing: PolicyRule) -> Vec<Action> {
    let to = "198.51.100.0/24".parse().unwrap();
    vec![
        Action::NamespaceDelete,
        Action::LinkDelete(device(DEVICE)),
        Action::AddressDelete(Address::new(device(DEVICE), "10.0.1.1/24".parse().unwrap())),
        Action::RouteDelete(Route::via(to, address("10.0.1.77"), device(DEVICE), TABLE_MAIN)),
        Action::RuleDelete(standing),
        Action::NeighbourDelete(device(DEVICE), address("10.0.1.77")),
        Action::ProxyDelete(device(DEVICE), address("10.0.1.77")),
        Action::ConntrackPurge("10.0.1.0/24".parse().unwrap()),
        Action::ConntrackPurgePort { address: address("10.0.1.77"), protocol: 6, ports: 80.into() },
        Action::TableDelete(ForeignTable { family: 1, name: "other".to_owned() }),
    ]
}

/// How many kinds [`kind`] knows.
const KINDS: u32 = 22;

/// A number for each kind of operation: a new one does not compile until it has its own, and then needs a refusal.
fn kind(action: &Action) -> u32 {
    match action {
        Action::NamespaceAdd => 1,
        Action::NamespaceDelete => 2,
        Action::LinkAdd { .. } => 3,
        Action::LinkDelete(_) => 4,
        Action::LinkMtu(..) => 5,
        Action::LinkMac(..) => 6,
        Action::LinkUp(..) => 7,
        Action::AddressAdd(_) => 8,
        Action::AddressDelete(_) => 9,
        Action::RouteReplace(_) => 10,
        Action::RouteDelete(_) => 11,
        Action::RuleAdd(_) => 12,
        Action::RuleDelete(_) => 13,
        Action::NeighbourReplace(..) => 14,
        Action::NeighbourDelete(..) => 15,
        Action::SysctlSet(..) => 16,
        Action::Rules(_) => 17,
        Action::ConntrackPurge(_) => 18,
        Action::Announce(..) => 19,
        Action::TableDelete(_) => 20,
        Action::ProxyDelete(..) => 21,
        Action::ConntrackPurgePort { .. } => KINDS,
    }
}

fn standing_rule(built: &Built) -> PolicyRule {
    let rules = built.states(&host()).0.namespaces.remove(&namespace(REFUSED)).unwrap().rules;
    rules.into_iter().find(|rule| !PolicyRule::base().contains(rule)).expect("the agent adds rules")
}

/// Does something without the right over the network, which this thread gets back afterwards.
fn without_the_right<T>(work: impl FnOnce() -> T) -> T {
    let sets = capabilities(None).unwrap();
    let mut fewer = sets;
    fewer.effective.remove(CapabilitySet::NET_ADMIN);
    set_capabilities(None, fewer).unwrap();
    let result = work();
    set_capabilities(None, sets).unwrap();
    result
}

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

/// Probes of both instances to the machine outside.
fn flows() -> Vec<Flow> {
    let of = |from: &'static str| {
        Protocol::MATRIX.map(|protocol| Flow::new(Name::new(from).unwrap(), address("198.51.100.2"), protocol))
    };
    ["vm1", "vm2"].into_iter().flat_map(of).collect()
}

fn assert_nothing_is_bare(reports: &[ProbeReport], case: &str) {
    let tenant: ipnet::IpNet = "10.0.0.0/8".parse().unwrap();
    for report in reports {
        assert!(report.seen.as_ref().is_none_or(|seen| !tenant.contains(&seen.source)), "{case}: {report:?}");
        for hop in report.path.iter().filter(|hop| ["web", "peer"].contains(&hop.place.name.as_str())) {
            assert!(!tenant.contains(&hop.source), "{case}: {report:?}");
        }
    }
}

/// Refuses one operation `at` this place among those of [`REFUSED`] in the plan that gives vm1 its floating IP.
fn refuse(built: &Built, action: &Action, reason: &str, at: usize) {
    let host = host();
    let mut plan = built.plan(&host);
    let bad = Op { namespace: namespace(REFUSED), action: action.clone() };
    let case = format!("`{bad}` as number {at}");
    let own: Vec<usize> =
        plan.ops.iter().enumerate().filter(|(_, op)| op.namespace == bad.namespace).map(|(n, _)| n).collect();
    assert!(own.len() > at, "{case}: {plan:?}");
    let mark = Action::NeighbourReplace(device("fg-public"), address("203.0.113.222"), Mac::derived("test", "mark"));
    let mark = Op { namespace: namespace(OTHER), action: mark };
    plan.ops.splice(own[at]..own[at], [bad.clone(), mark.clone()]);

    let (done, result) = built.apply(&host, &plan);
    let Err(DataplaneError::Apply { host: named, failed }) = result else { panic!("{case}: {result:?}") };
    assert_eq!(named, host, "{case}");
    let failure = failed.iter().find(|failure| failure.op == bad).unwrap_or_else(|| panic!("{case}: {failed:?}"));
    assert!(failure.reason.contains(reason), "{case}: {}", failure.reason);
    assert_eq!(done.iter().filter(|op| op.namespace == bad.namespace).count(), at, "{case}: {done:?}");
    assert!(done.contains(&mark), "{case}: {failed:?}");

    assert_nothing_is_bare(&built.lab.send(&flows()).unwrap(), &case);
    built.reconcile(&host).unwrap_or_else(|error| panic!("{case}: {error:?}"));
    let (observed, wanted) = built.states(&host);
    assert_eq!(observed, wanted, "{case}");
    assert!(built.plan(&host).is_empty(), "{case}");
}

#[test]
fn a_refused_operation_ends_its_namespace_only_and_the_next_round_repairs() {
    inside(|| {
        let scenario = scenario();
        let (without, with) = (intent_after(&scenario, 1), intent_after(&scenario, 2));
        let mut built = Built::new(&without);
        for (action, reason) in refused(standing_rule(&built)) {
            for at in [0, 1] {
                built.tell(&with);
                refuse(&built, &action, reason, at);
                built.tell(&without);
                built.reconcile(&host()).unwrap();
            }
        }
    });
}

#[test]
fn a_refused_deletion_ends_its_namespace_and_changes_nothing() {
    inside(|| {
        let built = Built::new(&intent_after(&scenario(), 1));
        for action in deletions(standing_rule(&built)) {
            let bad = Op { namespace: namespace(REFUSED), action };
            let later = Action::SysctlSet("net.ipv4.ip_forward".to_owned(), "0".to_owned());
            let later = Op { namespace: namespace(REFUSED), action: later };
            let mut plan = built.plan(&host());
            plan.ops = vec![bad.clone(), later];

            let (done, result) = without_the_right(|| built.apply(&host(), &plan));
            let Err(DataplaneError::Apply { host: named, failed }) = result else { panic!("`{bad}`: {result:?}") };
            assert_eq!(named, host(), "`{bad}`");
            assert_eq!(failed[0].op, bad);
            let reason = &failed[0].reason;
            assert!(reason.contains("EPERM") || reason.contains("not permitted"), "`{bad}`: {reason}");
            assert_eq!(done, [], "`{bad}`");

            assert_nothing_is_bare(&built.lab.send(&flows()).unwrap(), &bad.to_string());
            built.reconcile(&host()).unwrap_or_else(|error| panic!("`{bad}`: {error:?}"));
            let (observed, wanted) = built.states(&host());
            assert_eq!(observed, wanted, "`{bad}`");
        }
    });
}

#[test]
fn each_kind_of_operation_is_refused_once() {
    let standing = || PolicyRule::new(Family::V4, 1, TABLE_MAIN);
    let refused = refused(standing()).into_iter().map(|(action, _)| action).chain(deletions(standing()));
    let kinds: BTreeSet<u32> = refused.map(|action| kind(&action)).collect();
    assert_eq!(kinds, (1..=KINDS).collect());
}
