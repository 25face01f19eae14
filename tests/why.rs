//! `dvrlab why`: the text of every kind of way, and what is told of questions that have no answer.
#![expect(clippy::expect_used, reason = "a test may panic")]

mod common;

use std::process::{Command, Output};

use rstest::rstest;

/// `vm1` has a floating IP in step `given`; `r2` has no gateway.
const NETWORK: &str = "# Packets go every kind of way.
#
# Setup:   r1 with a gateway and two subnets, r2 with one subnet and no gateway.
# Change:  vm1 gets a floating IP.
# Seen:    the ways of single packets.
# Mirrors: nothing.
settings: { random_ports: false }
hosts:
  net1: { mode: dvr_snat }
  cmp1: { mode: dvr }
  cmp2: { mode: dvr }
networks:
  public: { external: true }
  red:    {}
  blue:   {}
  green:  {}
subnets:
  public4: { network: public, cidr: 203.0.113.0/24 }
  red4:    { network: red, cidr: 10.0.1.0/24 }
  blue4:   { network: blue, cidr: 10.0.2.0/24 }
  green4:  { network: green, cidr: 10.0.3.0/24 }
routers:
  r1: { interfaces: [red4, blue4], gateway: { network: public, address: 203.0.113.10 } }
  r2: { interfaces: [green4] }
instances:
  vm1: { host: cmp1, network: red, address: 10.0.1.11 }
  vm2: { host: cmp2, network: blue, address: 10.0.2.12 }
  vm3: { host: cmp2, network: green, address: 10.0.3.13 }
outside:
  web: { behind: public, address: 198.51.100.2, closed: [udp/9] }
steps:
  - expect:
      vm1 -> web: as 203.0.113.10
  - name: given
    associate: { floating_ip: 203.0.113.101, instance: vm1 }
";

#[expect(clippy::disallowed_methods, reason = "the program itself is under test")]
fn dvrlab(arguments: &[&str]) -> Output {
    let _permit = common::Permit::wait();
    let mut command = Command::new(common::program());
    command.args(arguments).current_dir(common::project("")).env_remove("CI").output().expect("the program starts")
}

/// `vm1` and `vm2` have IPv6 too, and the upstream router knows the way back to `vm1`.
const NETWORK6: &str = "# IPv6 packets go every kind of way.
#
# Setup:   r1 with a gateway and two IPv6 subnets.
# Change:  none.
# Seen:    the ways of single packets.
# Mirrors: nothing.
hosts:
  net1: { mode: dvr_snat }
  cmp1: { mode: dvr }
  cmp2: { mode: dvr }
networks:
  public: { external: true }
  red:    {}
  blue:   {}
subnets:
  public6: { network: public, cidr: 2001:db8:f::/64 }
  red6:    { network: red, cidr: 2001:db8:1::/64 }
  blue6:   { network: blue, cidr: 2001:db8:2::/64 }
routers:
  r1: { interfaces: [red6, blue6], gateway: { network: public, address: 2001:db8:f::10 } }
instances:
  vm1: { host: cmp1, network: red, address: 2001:db8:1::11 }
  vm2: { host: cmp2, network: blue, address: 2001:db8:2::12 }
outside:
  isp: { gateway_of: public, routes: [2001:db8:1::/64 via 2001:db8:f::10] }
  web: { behind: public, address: 2001:db8:e::2 }
steps:
  - expect:
      vm1 -> web: as itself via net1
";

/// Compares with what is committed.
fn holds(name: &str, told: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(common::project("snapshots/why"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, told));
}

fn network() -> (tempfile::TempDir, String) {
    written(NETWORK)
}

fn written(text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ways.yaml");
    std::fs::write(&file, text).expect("the scenario can be written");
    let path = file.to_string_lossy().into_owned();
    (directory, path)
}

fn asked(step: &str, flow: &str, more: &[&str]) -> (Option<i32>, String, String) {
    asked_of(NETWORK, step, flow, more)
}

fn asked_of(text: &str, step: &str, flow: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let (_kept, file) = written(text);
    let place = format!("{file}{step}");
    let arguments: Vec<&str> = ["why", &place, flow].into_iter().chain(more.iter().copied()).collect();
    let output = dvrlab(&arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8").replace(&file, "ways.yaml");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The text is the same whenever it is asked for.
#[rstest]
#[case::snat("snat", "@1", "vm1 -> web udp/9000")]
#[case::floating_ip("floating-ip", "@given", "vm1 -> web tcp/80")]
#[case::floating_ip_from_outside("floating-ip-in", "", "web -> 203.0.113.101 icmp")]
#[case::east_west("east-west", "@0", "vm1 -> vm2 icmp")]
#[case::dropped_by_a_rule("dropped", "", "vm1 -> 10.0.1.1 tcp/9697")]
#[case::no_route("no-route", "", "vm3 -> web udp/9000")]
#[case::no_neighbour("no-neighbour", "", "vm1 -> 10.0.2.99 udp/9000")]
#[case::refused("refused", "", "vm1 -> web udp/9 from 5555")]
#[case::expired("expired", "", "vm1 -> web icmp ttl 2")]
#[case::arp("arp", "", "gw-public -> 203.0.113.10 arp")]
fn a_way_is_told(#[case] name: &str, #[case] step: &str, #[case] flow: &str) {
    if common::labs_are_skipped() {
        return;
    }
    let (code, told, complaints) = asked(step, flow, &[]);
    assert_eq!((code, complaints.as_str()), (Some(0), ""), "{told}");
    holds(name, &told);
}

/// IPv6 goes untranslated through the network node; errors about it go hop by hop, too.
#[rstest]
#[case::out("v6-out", "vm1 -> web over ipv6 udp/9000")]
#[case::into("v6-in", "web -> 2001:db8:1::11 tcp/80")]
#[case::east_west("v6-east-west", "vm1 -> vm2 over ipv6 icmp")]
#[case::expired("v6-expired", "vm1 -> web over ipv6 icmp ttl 2")]
#[case::no_route("v6-no-route", "vm1 -> 2001:db8:dead::1 udp/9000")]
#[case::no_neighbour("v6-no-neighbour", "vm1 -> 2001:db8:2::99 icmp")]
#[case::nd("v6-nd", "isp -> 2001:db8:f::10 arp")]
fn a_way_is_told_over_ipv6(#[case] name: &str, #[case] flow: &str) {
    if common::labs_are_skipped() {
        return;
    }
    let (code, told, complaints) = asked_of(NETWORK6, "", flow, &[]);
    assert_eq!((code, complaints.as_str()), (Some(0), ""), "{told}");
    holds(name, &told);
}

/// Every kind of namespace that a packet can pass, entered by every kind of device, is a stop with its own rules and routing.
#[test]
fn every_kind_of_hop_is_told() {
    if common::labs_are_skipped() {
        return;
    }
    // Where from and where to, then stops on the way there and back: the device in, the namespace, the device out.
    let ways = [
        ("vm1 -> vm2 icmp", "- vm1 eth0, qr-red4 cmp1/qrouter-r1 qr-blue4, eth0 vm2 -"),
        ("vm1 -> 10.0.1.1 icmp", "- vm1 eth0, qr-red4 cmp1/qrouter-r1 -"),
        (
            "vm2 -> web udp/9000",
            "- vm2 eth0, qr-blue4 cmp2/qrouter-r1 qr-blue4, sg-blue4 net1/snat-r1 qg-r1, eth0 gw-public eth1, eth0 web -",
        ),
        (
            "vm1 -> web udp/9000",
            "- vm1 eth0, qr-red4 cmp1/qrouter-r1 rfp-r1, fpr-r1 cmp1/fip-public fg-public, eth0 gw-public eth1, eth0 web -",
        ),
        (
            "web -> 203.0.113.101 tcp/80",
            "- web eth0, eth1 gw-public eth0, fg-public cmp1/fip-public fpr-r1, rfp-r1 cmp1/qrouter-r1 qr-red4, eth0 vm1 -",
        ),
        ("web -> 203.0.113.10 icmp", "- web eth0, eth1 gw-public eth0, qg-r1 net1/snat-r1 -"),
    ];
    for (flow, way) in ways {
        let (_, told, _) = asked("", flow, &["--json"]);
        let answer: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        let device = |sight: &serde_json::Value| sight["device"].as_str().unwrap_or("-").to_owned();
        let stops = answer["explanations"][0]["there"].as_array().expect("stops");
        let hop = |stop: &serde_json::Value| {
            let place = stop["place"].as_str().expect("a place");
            let routed = place.contains('/');
            assert_eq!(routed, stop["routing"].is_object(), "{flow}: {place}");
            format!("{} {place} {}", device(&stop["entered"]), device(&stop["left"]))
        };
        assert_eq!(stops.iter().map(hop).collect::<Vec<_>>().join(", "), way, "{flow}");
    }
}

#[test]
fn the_answer_is_of_its_schema() {
    if common::labs_are_skipped() {
        return;
    }
    let output = dvrlab(&["schema", "why"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a schema");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for flow in ["vm1 -> web", "vm3 -> web udp/9000", "vm1 -> 10.0.2.99 udp/9000", "vm1 -> 10.0.1.1 tcp/9697"] {
        let (_, told, _) = asked("", flow, &["--json"]);
        let answer: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        if let Err(error) = validator.validate(&answer) {
            panic!("{flow}: {error} at {}", error.instance_path());
        }
        let mut wrong = answer;
        wrong["explanations"][0]["there"][0]["place"] = serde_json::json!(7);
        assert!(!validator.is_valid(&wrong), "a schema that takes anything says nothing");
    }
}

#[test]
fn the_same_is_told_as_json() {
    if common::labs_are_skipped() {
        return;
    }
    let (code, told, complaints) = asked("@1", "vm1 -> web udp/9000 from 5555", &["--json"]);
    assert_eq!((code, complaints.as_str()), (Some(0), ""), "{told}");
    let answer: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let way = &answer["explanations"][0];
    assert_eq!(way["report"]["verdict"], "delivered");
    let places: Vec<&str> =
        way["there"].as_array().expect("stops").iter().filter_map(|stop| stop["place"].as_str()).collect();
    assert_eq!(places, ["vm1", "cmp1/qrouter-r1", "net1/snat-r1", "gw-public", "web"]);
    let snat = &way["there"][2];
    assert_eq!(snat["left"]["source"], "203.0.113.10");
    assert_eq!(snat["left"]["ports"], serde_json::json!([5555, 9000]));
    assert_eq!(snat["before"], serde_json::Value::Null);
    assert_eq!(snat["after"]["reply"]["destination"], "203.0.113.10");
    let rules = snat["rules"].as_array().expect("rules");
    let translating = rules.iter().find(|hit| hit["rule"].as_str().is_some_and(|rule| rule.contains("--to-source")));
    assert_eq!(translating.expect("the rule that translates")["verdict"], "accept");
}

#[test]
fn a_question_that_cannot_be_asked_ends_with_2() {
    let (code, _, told) = asked("@nowhere", "vm1 -> web", &[]);
    assert_eq!((code, told.as_str()), (Some(2), "error: there is no step `nowhere`; there are 0, 1, given\n"));
    let (code, _, told) = asked("", "vm1 -> wbe tcp/80", &[]);
    assert_eq!(code, Some(2));
    assert!(told.contains("--> FLOW:1:8") && told.contains("did you mean `web`?"), "{told}");
    let (code, ..) = asked("", "vm1", &[]);
    assert_eq!(code, Some(2));
}

/// What `run` says of the network with a sentence changed to one that does not hold.
fn failing(from: &str, to: &str) -> String {
    let (directory, file) = network();
    let bundle = directory.path().join("kept").to_string_lossy().into_owned();
    let wrong = NETWORK.replace(from, to);
    assert_ne!(wrong, NETWORK);
    std::fs::write(&file, wrong).expect("the scenario can be written");
    let output = dvrlab(&["run", "-q", "--bundle", &bundle, &file]);
    let told = String::from_utf8(output.stdout).expect("UTF-8").replace(&file, "ways.yaml").replace(&bundle, "kept");
    assert_eq!(output.status.code(), Some(1), "{told}");
    told
}

/// What does not go as expected explains itself.
#[test]
fn a_flow_that_fails_is_explained_below_its_expectation() {
    if common::labs_are_skipped() {
        return;
    }
    let told = failing("vm1 -> web: as 203.0.113.10", "vm1 -> web udp/9000: as 203.0.113.99");
    holds("failed-expectation", &told);
}

/// Three protocols that fared alike are one failure, and one that did not is another.
#[test]
fn protocols_that_fare_alike_are_told_of_together() {
    if common::labs_are_skipped() {
        return;
    }
    let told = failing("vm1 -> web: as 203.0.113.10", "vm1 -> web: as 203.0.113.99");
    assert_eq!(told.matches("\n    why: ").count(), 1, "{told}");
    assert!(told.contains("`vm1 -> web: as 203.0.113.99`: icmp tcp/80 udp/9000 vm1 -> web: as 203.0.113.10"), "{told}");
    assert!(told.contains("\n    why: vm1 -> web (198.51.100.2) icmp tcp/80 udp/9000: delivered to web"), "{told}");
    let told = failing("vm1 -> web: as 203.0.113.10", "vm1 -> 203.0.113.10: no route");
    // TCP is refused by a reset, UDP by an ICMP error: the same words for another way back.
    assert_eq!(told.matches("\n    why: ").count(), 3, "{told}");
    assert!(told.contains(": icmp vm1 -> 203.0.113.10: delivered"), "{told}");
    assert!(told.contains(": tcp/80 udp/9000 vm1 -> 203.0.113.10: refused"), "{told}");
}
