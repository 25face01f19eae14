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

fn network() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ways.yaml");
    std::fs::write(&file, NETWORK).expect("the scenario can be written");
    let path = file.to_string_lossy().into_owned();
    (directory, path)
}

fn asked(step: &str, flow: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let (_kept, file) = network();
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
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(common::project("snapshots/why"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, told));
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

/// What does not go as expected explains itself.
#[test]
fn a_flow_that_fails_is_explained_below_its_expectation() {
    if common::labs_are_skipped() {
        return;
    }
    let (_kept, file) = network();
    let wrong = NETWORK.replace("vm1 -> web: as 203.0.113.10", "vm1 -> web udp/9000: as 203.0.113.99");
    std::fs::write(&file, wrong).expect("the scenario can be written");
    let output = dvrlab(&["run", "-q", &file]);
    let told = String::from_utf8(output.stdout).expect("UTF-8").replace(&file, "ways.yaml");
    assert_eq!(output.status.code(), Some(1), "{told}");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(common::project("snapshots/why"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("failed-expectation", told));
}
