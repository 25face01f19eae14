//! The language as a whole: what sentences mean, what is judged, and that no text makes the reader panic.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::deviation::{Deviation, Deviations};
use crate::flow::{Flow, Hop, Place, ProbeReport, Seen, Verdict};
use crate::name::{DeviceName, HostName, Name};
use crate::namespace::Kind;

const BASIC: &str = include_str!("../../tests/language/snat-basic.yaml");

/// The basic network with other steps.
fn with_steps(steps: &str) -> String {
    let (network, _) = BASIC.split_once("\nsteps:\n").unwrap();
    let network =
        network.split("\nfaults:").next().unwrap().to_owned() + "\nhosts:" + network.split("\nhosts:").nth(1).unwrap();
    format!("{network}\nsteps:\n{steps}")
}

fn read(steps: &str) -> Scenario {
    let text = with_steps(steps);
    parse("scenarios/snat/basic.yaml", &text).unwrap_or_else(|notes| panic!("{}", render(&notes, &text, "x", false)))
}

fn flow_line(line: &str) -> (FlowExpectation, Intent) {
    let scenario = read(&format!("  - expect:\n      {line}\n"));
    let expectation = scenario.steps[0].expectations[0].clone();
    match expectation.what {
        Expected::Flow(flow) => (flow, scenario.intent),
        Expected::State(_)
        | Expected::Course(_)
        | Expected::Watch(_)
        | Expected::Status(_)
        | Expected::Announced(_)
        | Expected::Frames(_) => {
            panic!("{line} is no flow")
        }
    }
}

fn flows(line: &str) -> Vec<String> {
    let (flow, intent) = flow_line(line);
    let text = |flow: &Flow| {
        let port = flow.options.source_port.map_or_else(String::new, |port| format!(" from {port}"));
        let ttl = flow.options.ttl.map_or_else(String::new, |ttl| format!(" ttl {ttl}"));
        let source = flow.source.map_or_else(String::new, |source| format!("@{source}"));
        format!("{} {}{source} {}{port}{ttl}", flow.protocol, flow.from, flow.to)
    };
    flow.flows(&intent).iter().map(text).collect()
}

#[test]
fn a_scenario_has_name_story_and_events() {
    let scenario = read("  - restart_agent: { host: cmp1 }\n");
    assert_eq!(scenario.name, "snat/basic");
    assert!(scenario.story.summary.starts_with("An instance without a floating IP"));
    assert!(scenario.story.mirrors.starts_with("MP-01"));
    assert_eq!(scenario.tags, ["MP-01", "MP-02", "MP-05", "snat"]);
    assert!(scenario.warnings.is_empty());
    let replayed = scenario
        .initial
        .iter()
        .try_fold(Intent { reserved: scenario.intent.reserved.clone(), ..Intent::default() }, |intent, event| {
            intent.apply(event)
        });
    assert_eq!(replayed, Ok(scenario.intent.clone()));
    assert_eq!(scenario.steps[0].operations[0].text, "restart_agent: { host: cmp1 }");
    assert_eq!(scenario.steps[0].operations[0].events, [Event::AgentRestarted(HostName::new("cmp1").unwrap())]);
    assert_eq!((scenario.steps[0].number, scenario.steps[0].label()), (1, "1".to_owned()));
}

#[test]
fn only_sections_and_operations_reserve_addresses() {
    let scenario = read(
        "  - associate: { floating_ip: 203.0.113.101, instance: vm1 }\n    expect:\n      web -> 203.0.113.150, 203.0.113.160-203.0.113.161: unreachable\n",
    );
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    for reserved in ["203.0.113.101", "10.0.1.11", "203.0.113.10", "198.51.100.2"] {
        assert!(scenario.intent.reserved.contains(&address(reserved)), "{reserved}");
    }
    assert!(!scenario.intent.reserved.contains(&address("203.0.113.150")));
}

#[test]
fn flow_lines_expand() {
    for (line, expected) in [
        (
            "vm1 -> web: reaches web",
            vec!["icmp vm1 198.51.100.2", "tcp/80 vm1 198.51.100.2", "udp/9000 vm1 198.51.100.2"],
        ),
        ("vm1, vm2 -> web udp: as 203.0.113.10", vec!["udp/9000 vm1 198.51.100.2", "udp/9000 vm2 198.51.100.2"]),
        ("vm1 <-> vm2 icmp: as itself", vec!["icmp vm1 10.0.1.12", "icmp vm2 10.0.1.11"]),
        ("vm1,vm2 -> vm1,vm2 tcp: as itself", vec!["tcp/80 vm1 10.0.1.12", "tcp/80 vm2 10.0.1.11"]),
        ("vm1 -> web udp/9 from 5555: refused", vec!["udp/9 vm1 198.51.100.2 from 5555"]),
        ("vm1 -> web icmp id 77 ttl 1: expired by 10.0.1.1", vec!["icmp vm1 198.51.100.2 from 77 ttl 1"]),
        ("vm1@10.0.1.11 -> web@198.51.100.2 tcp/22 over ipv4: reaches web", vec!["tcp/22 vm1@10.0.1.11 198.51.100.2"]),
        (
            "web -> 203.0.113.7-203.0.113.8, 203.0.113.10 arp: unreachable",
            vec!["arp web 203.0.113.7", "arp web 203.0.113.8", "arp web 203.0.113.10"],
        ),
    ] {
        assert_eq!(flows(line), expected, "{line}");
    }
}

#[test]
fn sentences_about_flows() {
    let name = |text: &str| Name::new(text).unwrap();
    let host = |text: &str| HostName::new(text).unwrap();
    let delivered = |line: &str| match flow_line(line).0.outcome {
        Outcome::Delivered(delivery) => delivery,
        Outcome::Failed(failure) => panic!("{failure:?}"),
    };
    let failed = |line: &str| match flow_line(line).0.outcome {
        Outcome::Failed(failure) => failure,
        Outcome::Delivered(delivery) => panic!("{delivery:?}"),
    };
    let all = delivered(
        "vm1 -> 198.51.100.2 udp from 5: via net1 as 203.0.113.10 reaches web peer through cmp1/qrouter-r1 net1/snat-r1 ttl 61 port 1024-2000 reply via net1 reply ttl 62",
    );
    assert_eq!(all.source, Some(SeenAs::Address("203.0.113.10".parse().unwrap())));
    assert_eq!(all.reaches, [name("web"), name("peer")]);
    assert_eq!((all.via, all.reply_via), (vec![host("net1")], vec![host("net1")]));
    assert_eq!(all.through.iter().map(ToString::to_string).collect::<Vec<_>>(), ["cmp1/qrouter-r1", "net1/snat-r1"]);
    assert_eq!((all.ttl, all.reply_ttl, all.port), (Some(61), Some(62), Some(SeenPort::Range(1024, 2000))));
    assert!(delivered("vm1 -> web: as itself via net1 no answer").no_answer);
    let hops = delivered("vm1 -> web icmp: hops 10.0.1.1 * web ttl 61").hops;
    assert_eq!(hops.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.1.1", "*", "web"]);
    let refused = failed("vm1 -> web udp/9: refused by web at gw-public");
    assert_eq!(refused.reason, Reason::Refused);
    assert_eq!(refused.by, Some(Speaker::Node(name("web"))));
    assert_eq!(refused.at.unwrap().to_string(), "gw-public");
    for (sentence, reason) in [
        ("unreachable", Reason::Unreachable),
        ("no route by 10.0.1.1", Reason::NoRoute),
        ("no neighbour", Reason::NoNeighbour),
        ("prohibited", Reason::Prohibited),
        ("too big 1300", Reason::TooBig(1300)),
        ("expired", Reason::Expired),
        ("dropped at cmp1/qrouter-r1", Reason::Dropped),
    ] {
        assert_eq!(failed(&format!("vm1 -> web: {sentence}")).reason, reason, "{sentence}");
    }
}

/// Who answers TTL by TTL, and what is said where somebody else does, or nobody.
#[test]
fn hops_are_judged_one_by_one() {
    let told = |line: &str| {
        let (flow, intent) = flow_line(line);
        let report = |flow: Flow| {
            let (verdict, by) = match flow.options.ttl {
                Some(1) => (Verdict::Expired, Some("10.0.1.1".parse().unwrap())),
                Some(2) => (Verdict::Dropped, None),
                Some(_) | None => (Verdict::Delivered, None),
            };
            ProbeReport { verdict, by, at: None, ..arrived(flow, "203.0.113.10", "web") }
        };
        let reports: Vec<ProbeReport> = flow.flows(&intent).into_iter().map(report).collect();
        flow.judge(&reports, &intent).into_iter().map(|mismatch| mismatch.sentence).collect::<Vec<_>>()
    };
    assert_eq!(told("vm1 -> web icmp: hops 10.0.1.1 * web"), [""; 0]);
    assert_eq!(
        told("vm1 -> web icmp: hops * 10.0.1.2 web"),
        ["icmp vm1 -> web: hop 1: expired by 10.0.1.1, not *", "icmp vm1 -> web: hop 2: dropped, not 10.0.1.2",]
    );
    assert_eq!(told("vm1 -> web icmp: hops 10.0.1.1 web"), ["icmp vm1 -> web: hop 2: dropped, not the target"]);
    assert!(told("vm1 -> web icmp: hops 10.0.1.1 * 203.0.113.1 web")[0].contains("hop 3: delivered"));
}

#[test]
fn sentences_about_state() {
    let scenario = read(
        "  - expect:\n      all: no namespace fip-public\n      net1/snat-r1: [has device qg-r1 mtu 1500, has 1 nat --to-source 203.0.113.10]\n      cmp1: has 3 rule\n",
    );
    let facts: Vec<StateExpectation> = scenario.steps[0]
        .expectations
        .iter()
        .map(|expectation| match &expectation.what {
            Expected::State(state) => state.clone(),
            Expected::Flow(_)
            | Expected::Course(_)
            | Expected::Watch(_)
            | Expected::Status(_)
            | Expected::Announced(_)
            | Expected::Frames(_) => {
                panic!("no flow here")
            }
        })
        .collect();
    let texts: Vec<&str> = scenario.steps[0].expectations.iter().map(|e| e.text.as_str()).collect();
    assert_eq!(texts[1], "net1/snat-r1: has device qg-r1 mtu 1500");
    assert_eq!(facts[0].place, StatePlace::All);
    assert_eq!((facts[2].quantity, facts[2].kind), (Quantity::Exactly(1), Kind::Nat));
    assert_eq!(facts[3].pattern, Vec::<String>::new());
    let lines = |_: &StatePlace, kind: Kind| {
        let nat = "-A neutron-l3-agent-snat -o qg-r1 -j SNAT --to-source 203.0.113.10";
        vec![if kind == Kind::Nat { nat } else { "qg-r1 mtu 1500 state up" }.to_owned(); 2]
    };
    assert_eq!(facts[1].judge(&lines), None);
    let told = facts[2].judge(&lines).unwrap().sentence;
    assert!(told.starts_with("net1/snat-r1: 2 match nat --to-source 203.0.113.10, not 1:\n  -A"), "{told}");
    assert!(facts[0].judge(&|_, _| vec!["snat-r1".to_owned()]).is_none());
    let told = facts[0].judge(&|_, _| vec!["fip-public".to_owned()]).unwrap().sentence;
    assert_eq!(told, "all: there is namespace fip-public:\n  fip-public");
    let told = facts[1].judge(&|_, _| Vec::new()).unwrap().sentence;
    assert_eq!(told, "net1/snat-r1: there is no device qg-r1 mtu 1500 (0 of that kind)");
}

fn hop(place: &str, left: &str) -> Hop {
    let address = "10.0.1.11".parse().unwrap();
    let left = Some(DeviceName::new(left).unwrap());
    Hop {
        place: Place::try_from(place.to_owned()).unwrap(),
        entered: None,
        left,
        source: address,
        destination: address,
        ttl: 63,
    }
}

/// A flow that arrived at `web` by way of net1.
fn arrived(flow: Flow, source: &str, responder: &str) -> ProbeReport {
    let seen = Seen {
        responder: Place::try_from(responder.to_owned()).unwrap(),
        source: source.parse().unwrap(),
        source_port: Some(5555),
        ttl: 61,
        mac: None,
    };
    let path = vec![hop("cmp1/qrouter-r1", "qr-red4"), hop("net1/snat-r1", "qg-r1")];
    ProbeReport {
        flow,
        verdict: Verdict::Delivered,
        seen: Some(seen),
        by: None,
        at: None,
        reply_path: path.clone(),
        path,
        reply_ttl: Some(62),
    }
}

#[test]
fn deliveries_are_judged() {
    for (line, expected) in [
        ("vm1 -> web udp: as 203.0.113.10 via net1 ttl 61 reply ttl 62 through cmp1/qrouter-r1 net1/snat-r1", ""),
        ("vm1 -> web udp: as 203.0.113.11", "udp/9000 vm1 -> web: as 203.0.113.10, not 203.0.113.11"),
        ("vm1 -> web udp: as itself", "udp/9000 vm1 -> web: as 203.0.113.10, not as itself (10.0.1.11)"),
        ("vm1 -> peer udp: via net1", "udp/9000 vm1 -> peer: reaches web, not peer"),
        ("vm1 -> 198.51.100.2 udp: reaches peer", "udp/9000 vm1 -> 198.51.100.2: reaches web, not peer"),
        ("vm1 -> web udp: via cmp1 net1", "udp/9000 vm1 -> web: via net1, not cmp1 net1"),
        ("vm1 -> web udp: ttl 60", "udp/9000 vm1 -> web: ttl 61, not 60"),
        ("vm1 -> web udp: reply ttl 60", "udp/9000 vm1 -> web: reply ttl 62, not 60"),
        ("vm1 -> web udp: reply via cmp1", "udp/9000 vm1 -> web: reply via net1, not cmp1"),
        ("vm1 -> web udp from 5555: port kept", ""),
        ("vm1 -> web udp from 5556: port kept", "udp/9000 vm1 -> web from 5556: port 5555 at the far end, 5556 sent"),
        (
            "vm1 -> web udp from 5555: port changed",
            "udp/9000 vm1 -> web from 5555: port 5555 at the far end, 5555 sent",
        ),
        ("vm1 -> web udp: port 1-2", "udp/9000 vm1 -> web: port 5555 at the far end, unknown sent"),
        ("vm1, vm2 -> web udp: port distinct", "udp/9000 vm2 -> web: port 5555, the same as udp/9000 vm1 -> web"),
        (
            "vm1 -> web udp: as 203.0.113.10 no answer",
            "udp/9000 vm1 -> web: delivered as 203.0.113.10 via net1, not without an answer",
        ),
        ("vm1 -> web udp: unreachable", "udp/9000 vm1 -> web: delivered as 203.0.113.10 via net1, not unreachable"),
        ("vm1 -> 198.51.100.2 udp: reaches web peer", "no flow of this line reaches peer"),
    ] {
        let (flow, intent) = flow_line(line);
        let reports: Vec<ProbeReport> =
            flow.flows(&intent).into_iter().map(|flow| arrived(flow, "203.0.113.10", "web")).collect();
        let told: Vec<String> = flow.judge(&reports, &intent).into_iter().map(|mismatch| mismatch.sentence).collect();
        assert_eq!(told.join("\n"), expected, "{line}");
    }
}

#[test]
fn failures_are_judged() {
    for (line, verdict, expected) in [
        ("vm1 -> web icmp: unreachable", Verdict::Dropped, ""),
        ("vm1 -> web icmp: unreachable", Verdict::Refused, ""),
        (
            "vm1 -> web icmp: unreachable",
            Verdict::NoAnswer,
            "icmp vm1 -> web: arrived, but no answer came back, not unreachable",
        ),
        (
            "vm1 -> web icmp: unreachable",
            Verdict::Lost,
            "icmp vm1 -> web: lost without any evidence, which is a defect of the harness, not unreachable",
        ),
        ("vm1 -> web icmp: no route by 10.0.1.1", Verdict::NoRoute, ""),
        (
            "vm1 -> web icmp: no route by 10.0.1.2",
            Verdict::NoRoute,
            "icmp vm1 -> web: no route by 10.0.1.1 at cmp1/qrouter-r1, not by 10.0.1.2",
        ),
        ("vm1 -> web icmp: refused by web", Verdict::Refused, "icmp vm1 -> web: refused by 10.0.1.1, not by web"),
        ("vm1 -> web icmp: dropped at cmp1/qrouter-r1", Verdict::Dropped, ""),
        (
            "vm1 -> web icmp: dropped at net1/snat-r1",
            Verdict::Dropped,
            "icmp vm1 -> web: dropped at cmp1/qrouter-r1, last seen at cmp1/qrouter-r1, not at net1/snat-r1",
        ),
        (
            "vm1 -> web icmp: too big 1300",
            Verdict::TooBig(1400),
            "icmp vm1 -> web: too big 1400 by 10.0.1.1, not too big 1300",
        ),
        ("vm1 -> web icmp: as 203.0.113.10", Verdict::NoNeighbour, "icmp vm1 -> web: no neighbour at cmp1/qrouter-r1"),
    ] {
        let (flow, intent) = flow_line(line);
        let report = |flow: Flow| ProbeReport {
            flow,
            verdict: verdict.clone(),
            seen: None,
            by: Some("10.0.1.1".parse().unwrap()),
            at: Some(Place::try_from("cmp1/qrouter-r1".to_owned()).unwrap()),
            path: Vec::new(),
            reply_path: Vec::new(),
            reply_ttl: None,
        };
        let reports: Vec<ProbeReport> = flow.flows(&intent).into_iter().map(report).collect();
        let told: Vec<String> = flow.judge(&reports, &intent).into_iter().map(|mismatch| mismatch.sentence).collect();
        assert_eq!(told.join("\n"), expected, "{line}");
    }
    let (flow, intent) = flow_line("vm1 -> web icmp: unreachable");
    assert_eq!(flow.judge(&[], &intent)[0].sentence, "icmp vm1 -> web: was not probed");
}

#[test]
fn operations_become_events() {
    for (operation, expected) in [
        ("migrate: { instance: vm1, to: cmp2 }", "[InstanceMigrated(\"vm1\", \"cmp2\")]"),
        ("detach: { router: r1, interface: red4 }", "[InterfaceDetached(\"r1\", \"red4\")]"),
        ("clear_gateway: { router: r1 }", "[GatewayCleared(\"r1\")]"),
        (
            "set_gateway: { router: r1, snat: false }",
            "[GatewaySet { router: \"r1\", network: None, addresses: [], snat: Some(Disabled), host: None }]",
        ),
        (
            "delete: { outside: [web], instances: [vm1, vm2] }",
            "[Deleted(Named(Instances, \"vm1\")), Deleted(Named(Instances, \"vm2\")), Deleted(Named(Outside, \"web\"))]",
        ),
        (
            "create: { networks: { blue: {} }, routers: { r2: {} } }",
            "[Created(Network(\"blue\", Network { external: false, mtu: 1500, vni: 3, admin_down: false })), Created(Router(\"r2\", Router { interfaces: [], gateway: None, routes: [], admin_down: false }))]",
        ),
    ] {
        let scenario = read(&format!("  - {operation}\n"));
        assert_eq!(format!("{:?}", scenario.steps[0].operations[0].events), expected);
        assert_eq!(scenario.steps[0].operations[0].text, operation);
    }
}

#[test]
fn every_deviation_has_its_switch() {
    for deviation in Deviation::ALL {
        let text = with_steps("  - restart_agent: { host: net1 }\n").replacen(
            "hosts:",
            &format!("deviations: {{ {deviation}: false }}\nhosts:"),
            1,
        );
        let scenario = parse("a.yaml", &text).unwrap_or_else(|notes| panic!("{deviation}: {notes:?}"));
        assert_eq!(scenario.intent.settings.deviations, Deviations::all().with(deviation, false));
    }
}

#[test]
fn a_refused_operation_changes_nothing() {
    let scenario = read(
        "  - delete: { subnets: [red4] }\n    refused: SubnetInUse\n  - together:\n      - delete: { networks: [red] }\n        refused: NetworkInUse\n      - boot: { instance: vm1, host: cmp2 }\n        refused: BadRequest\n    expect:\n      vm1 -> web: as 203.0.113.10\n",
    );
    let operation = &scenario.steps[0].operations[0];
    assert_eq!(operation.refused, Some(RejectedKind::SubnetInUse));
    assert_eq!(operation.apply(&scenario.intent).unwrap_err().kind, RejectedKind::SubnetInUse);
    assert_eq!(scenario.steps[1].operations.len(), 2);
}

#[test]
fn nodes_listen_where_flows_go() {
    let scenario = read("  - expect:\n      vm1 -> web tcp/8080: reaches web\n      vm1 -> web udp/9: refused\n");
    assert_eq!(ports_named(&scenario).into_iter().collect::<Vec<_>>(), [(6, 80), (6, 8080), (17, 9), (17, 9000)]);
}

#[test]
fn names_come_from_paths() {
    for (path, name) in [
        ("scenarios/snat/basic.yaml", "snat/basic"),
        ("/a/scenarios/b/scenarios/fip/move.yml", "fip/move"),
        ("tmp/x.yaml", "x"),
        ("x.yaml", "x"),
    ] {
        assert_eq!(name_of(path), name);
    }
}

#[test]
fn the_schema_knows_every_key_of_the_examples() {
    let schema = schema();
    for pointer in [
        "/properties/hosts/additionalProperties/properties/mode/oneOf/1/const",
        "/properties/routers/additionalProperties/properties/gateway/anyOf/0/properties/snat/default",
        "/properties/steps/items/properties/associate/properties/floating_ip/description",
        "/properties/steps/items/properties/together/items/properties/refused/enum/0",
        "/properties/steps/items/properties/create/properties/subnets/additionalProperties/required/0",
    ] {
        assert!(schema.pointer(pointer).is_some(), "{pointer}");
    }
}

const SEEDS: [&str; 3] = [
    BASIC,
    include_str!("../../tests/language/gateway-clear.yaml"),
    include_str!("../../tests/invalid/state-sentences.yaml"),
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Whatever is cut out, doubled or put in: a file is read or explained, never a panic, and notes lie inside the file.
    #[test]
    fn no_text_makes_the_reader_panic(
        seed in 0..SEEDS.len(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..40usize, "[ -~\n\té→{}\\[\\],:&*!|>-]{0,6}"), 1..6),
    ) {
        let mut characters: Vec<char> = SEEDS[seed].chars().collect();
        for (at, length, text) in edits {
            let start = at.index(characters.len() + 1);
            let end = (start + length).min(characters.len());
            characters.splice(start..end, text.chars());
        }
        let text: String = characters.into_iter().collect();
        if let Err(notes) = parse("mutated.yaml", &text) {
            prop_assert!(!notes.is_empty());
            for note in &notes {
                prop_assert!(text.get(note.span.clone()).is_some(), "{note:?}");
            }
            render(&notes, &text, "mutated.yaml", false);
        }
    }
}

const DUAL: &str = "# Two families.\nhosts:\n  net1: { mode: dvr_snat }\nnetworks:\n  red: {}\nsubnets:\n  \
    red4: { network: red, cidr: 10.0.1.0/24 }\n  red6: { network: red, cidr: 2001:db8:1::/64, ipv6_mode: slaac }\n\
    instances:\n  vm1: { host: net1, network: red, address: [10.0.1.11, 2001:db8:1::11] }\n  \
    vm4: { host: net1, network: red, address: 10.0.1.14 }\n  vm6: { host: net1, network: red, address: 2001:db8:1::16 }\n  \
    auto: { host: net1, network: red, mac: fa:16:3e:0a:00:01 }\n";

#[rstest::rstest]
#[case("vm1 -> auto icmp", "10.0.1.2 icmp", "icmp vm1 -> auto")]
#[case("vm1 -> auto icmp over ipv6", "2001:db8:1:0:f816:3eff:fe0a:1 icmp", "icmp vm1 -> auto over ipv6")]
#[case("vm1 -> vm6 udp/53", "2001:db8:1::16 udp/53", "udp/53 vm1 -> vm6 over ipv6")]
#[case("vm4 -> vm1 over ipv4 tcp", "10.0.1.11 tcp/80", "tcp/80 vm4 -> vm1")]
#[case("vm6 -> vm1 nd", "2001:db8:1::11 nd", "nd vm6 -> vm1")]
#[case("vm4 -> vm1 arp", "10.0.1.11 arp", "arp vm4 -> vm1")]
#[case("vm1@2001:db8:1::11 -> auto icmp", "2001:db8:1:0:f816:3eff:fe0a:1 icmp", "icmp vm1 -> auto over ipv6")]
#[case("vm6 -> 2001:db8:1::1 icmp", "2001:db8:1::1 icmp", "icmp vm6 -> 2001:db8:1::1")]
fn a_flow_goes_over_the_family_that_both_ends_have(#[case] line: &str, #[case] sent: &str, #[case] title: &str) {
    let reaches = if line.contains("::1 icmp") && line.contains("-> 2001") { "unreachable" } else { "reaches X" };
    let target = line.split(' ').nth(2).unwrap();
    let text = format!("{DUAL}steps:\n  - expect:\n      {line}: {}\n", reaches.replace('X', target));
    let scenario = parse("a.yaml", &text).unwrap_or_else(|notes| panic!("{}", render(&notes, &text, "a", false)));
    let Expected::Flow(flow) = &scenario.steps[0].expectations[0].what else { panic!("{line} is no flow") };
    let pairs = flow.pairs(&scenario.intent);
    assert_eq!(pairs.len(), 1);
    assert_eq!(format!("{} {}", pairs[0].flow.to, pairs[0].flow.spoken()), sent);
    assert_eq!(judge::title(&pairs[0]), title);
}

#[test]
fn a_range_of_ipv6_addresses_has_each_of_them() {
    let line = "vm1 -> 2001:db8:1::fe-2001:db8:1::101 icmp: unreachable";
    let text = format!("{DUAL}steps:\n  - expect:\n      {line}\n");
    let scenario = parse("a.yaml", &text).unwrap_or_else(|notes| panic!("{}", render(&notes, &text, "a", false)));
    let Expected::Flow(flow) = &scenario.steps[0].expectations[0].what else { panic!("{line} is no flow") };
    let to: Vec<String> = flow.flows(&scenario.intent).iter().map(|flow| flow.to.to_string()).collect();
    assert_eq!(to, ["2001:db8:1::fe", "2001:db8:1::ff", "2001:db8:1::100", "2001:db8:1::101"]);
}
