//! `dvrlab replay`: what it takes, what it refuses and where, and that its lines are the kernel's.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and runs the built program")]

mod common;
mod inside;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::{Command, Output};

use dvrlab::dataplane::{Around, Bench, Dataplane, DataplaneError, ExecError, Executed, Frames, Touched};
use dvrlab::flow::{Flow, Place, ProbeReport};
use dvrlab::lab::Lab;
use dvrlab::ledger::{Course, Paced, Packet};
use dvrlab::memory::{Cache, Connection};
use dvrlab::name::{HostName, Id, NamespaceName};
use dvrlab::namespace::HostState;
use dvrlab::packet::{Exchanged, Sighted, UnderWay, Volley};
use dvrlab::plan::{Op, Plan};
use dvrlab::replay::{Recording, Replayed, Unsaid, parse, replay};
use dvrlab::topology::{Segment, Topology};
use dvrlab::watch::{Captured, Classification, Count};
use dvrlab::why::Explanation;
use inside::inside;
use serde_json::{Value, json};

fn recording_text(name: &str) -> String {
    std::fs::read_to_string(common::project("tests/recordings").join(format!("{name}.json"))).unwrap()
}

fn recording_value(name: &str) -> Value {
    serde_json::from_str(&recording_text(name)).unwrap()
}

/// The mistakes in a file, one a line.
fn mistakes(value: &Value) -> Vec<String> {
    match parse(&value.to_string(), &Unsaid::default()) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

fn run(value: &Value, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("in.json");
    std::fs::write(&file, value.to_string()).unwrap();
    let _permit = common::Permit::wait();
    Command::new(common::program()).arg("replay").arg(&file).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_mistake_is_told_by_its_path() {
    let mut value = recording_value("01-edge-add");
    assert_eq!(mistakes(&value), Vec::<String>::new());
    let second = value["steps"][0].clone();
    value["steps"].as_array_mut().unwrap().push(second);
    let router = &mut value["steps"][0]["router"];
    router["_interfaces"][0].as_object_mut().unwrap().remove("mac_address");
    let other = &mut value["steps"][1]["router"];
    other["_interfaces"][0]["fixed_ips"][0]["ip_address"] = json!("10.0.2.1");
    other["_interfaces"][0]["fixed_ips"][0].as_object_mut().unwrap().remove("prefixlen");
    other["gw_port_id"] = json!("another");
    other["routes"] = json!([{"destination": "10.9.0.0/24", "nexthop": "fd00::1"}]);
    other["_floatingips"] = json!([{"id": "f", "floating_ip_address": "fd00::1"}]);
    value["ports_by_subnet"] = json!({"s": [{"mac_address": "fa:16"}]});
    value["conf"] = json!({"AGENT.use_random_fully": "perhaps"});
    let expected = [
        "conf.AGENT.use_random_fully: `perhaps` is neither true nor false",
        "ports_by_subnet.s[0].mac_address: `fa:16` is not a MAC address (six hex bytes with colons)",
        "steps[0].router._interfaces[0].mac_address: missing",
        "steps[1].router._interfaces[0].fixed_ips[0].ip_address: 10.0.2.1 is not in its subnet 10.0.1.0/24",
        "steps[1].router._interfaces[0].fixed_ips[0].prefixlen: missing (10.0.2.1 needs it)",
        "steps[1].router.gw_port.id: is ee000001-0000-4000-8000-000000000000, gw_port_id says another",
        "steps[1].router.routes[0].nexthop: fd00::1 is no next hop for 10.9.0.0/24",
        "steps[1].router._floatingips[0].floating_ip_address: fd00::1 is no IPv4 address",
    ];
    assert_eq!(mistakes(&value), expected);
    let output = run(&value, &[]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("steps[0].router._interfaces[0].mac_address: missing"), "{}", said(&output));
}

#[test]
fn steps_that_lack_something_are_told() {
    let cases = [
        (json!({"op": "add"}), "steps[0].router: missing"),
        (json!({"op": "delete"}), "steps[0].router_id: missing"),
        (json!({"title": "x"}), "steps[0].op: missing"),
        (json!({"op": "reboot"}), "steps[0].op: `reboot` is no operation"),
        (
            json!({"op": "perturb", "commands": [["ip"], "ip"]}),
            "steps[0].commands[1]: invalid type: string \"ip\", expected a sequence",
        ),
        (json!({"op": "add_arp_entry", "payload": {"router_id": "r"}}), "steps[0].payload.arp_table: missing"),
        (
            json!({"op": "add_arp_entry", "payload": {"router_id": "r", "arp_table": {"subnet_id": "s", "ip_address": "10.0.0.1"}}}),
            "steps[0].payload.arp_table.mac_address: missing",
        ),
        (json!({"op": "fipnamespace_delete_on_ext_net"}), "steps[0].ext_net_id: missing"),
    ];
    for (step, expected) in cases {
        let value = json!({"host": "h", "agent_mode": "dvr", "steps": [step]});
        assert_eq!(mistakes(&value), [expected]);
    }
    assert_eq!(mistakes(&json!({"steps": []})), ["host: missing", "agent_mode: missing"]);
    assert_eq!(mistakes(&json!({"host": "h", "agent_mode": "dvr", "steps": {}})), ["steps: not a list"]);
    assert_eq!(mistakes(&json!(7)).len(), 1);
}

#[test]
fn keys_that_nobody_knows_are_ignored() {
    let mut value = recording_value("01-edge-add");
    value["new"] = json!(1);
    value["steps"][0]["router"]["revision_number"] = json!(7);
    value["steps"][0]["router"]["gw_port"]["binding:profile"] = json!({});
    assert_eq!(mistakes(&value), Vec::<String>::new());
}

#[test]
fn no_gateway_is_written_in_three_ways() {
    let mut value = recording_value("01-edge-add");
    for none in [json!(null), json!({}), json!("")] {
        value["steps"][0]["router"]["gw_port"] = none;
        value["steps"][0]["router"].as_object_mut().unwrap().remove("gw_port_id");
        assert_eq!(mistakes(&value), Vec::<String>::new());
    }
}

#[test]
fn other_kinds_of_router_are_unsupported() {
    let mut value = recording_value("01-edge-add");
    value["steps"][0]["router"]["ha"] = json!(true);
    assert_eq!(mistakes(&value), Vec::<String>::new(), "without its port it is an ordinary one");
    value["steps"][0]["router"]["_ha_interface"] = json!({"id": "h"});
    let output = run(&value, &[]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("unsupported: "), "{}", said(&output));
}

#[test]
fn router_dicts_alone_are_replayed() {
    if common::labs_are_skipped() {
        return;
    }
    let router = recording_value("01-edge-add")["steps"][0]["router"].clone();
    for value in [router.clone(), json!([router])] {
        let output = run(&value, &[]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(text.contains("+ snat-b0000001-0000-4000-8000-000000000000"), "the gateway is on this host: {text}");
        assert!(text.contains("      addr   qr-0a000001-00 10.0.1.1/24 scope global broadcast 10.0.1.255"), "{text}");
        let elsewhere = run(&value, &["--host", "cmp", "--mode", "dvr", "--json", "-"]);
        let written: Value = serde_json::from_slice(&elsewhere.stdout).unwrap();
        let namespaces = written["steps"][0]["namespaces"].as_object().unwrap();
        assert_eq!(namespaces.keys().collect::<Vec<_>>(), ["qrouter-b0000001-0000-4000-8000-000000000000"]);
    }
}

#[test]
fn a_program_that_is_not_there_is_unsupported() {
    if common::labs_are_skipped() {
        return;
    }
    let mut value = recording_value("01-edge-add");
    let step = json!({"op": "perturb", "title": "by hand", "commands": [["no-such-program", "x"]]});
    value["steps"].as_array_mut().unwrap().push(step);
    let output = run(&value, &[]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("step 2 (by hand): there is no program no-such-program"), "{}", said(&output));
}

/// A lab in which somebody changes the kernel between the last operation and the dump.
struct Meddled {
    lab: Lab,
    done: Cell<bool>,
}

impl Dataplane for Meddled {
    fn shape(&self, topology: &Topology) -> Result<(), DataplaneError> {
        self.lab.shape(topology)
    }

    fn observe(&self, host: &HostName) -> Result<HostState, DataplaneError> {
        self.lab.observe(host)
    }

    fn apply(&self, host: &HostName, plan: &Plan, after: &mut dyn FnMut(&Op)) -> Result<(), DataplaneError> {
        self.lab.apply(host, plan, after)
    }

    fn send(&self, flows: &[Flow]) -> Result<Vec<ProbeReport>, DataplaneError> {
        self.lab.send(flows)
    }

    fn exchange(&self, volley: &Volley, enough: &dyn Fn(&[Sighted]) -> bool) -> Result<Exchanged, DataplaneError> {
        self.lab.exchange(volley, enough)
    }

    fn watch(&self, classification: &Classification) -> Result<(), DataplaneError> {
        self.lab.watch(classification)
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

    fn around(&self) -> &dyn Around {
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
}

impl Bench for Meddled {
    fn dump(&self, host: &HostName) -> Result<BTreeMap<NamespaceName, Vec<String>>, DataplaneError> {
        if !self.done.replace(true) {
            for (place, netns) in self.lab.places() {
                let Place { name, .. } = place;
                if name.starts_with("snat-") {
                    netns.sysctl_set("net.ipv4.conf.all.rp_filter", "1").unwrap();
                    netns.sysctl_set("net.ipv4.conf.lo.forwarding", "0").unwrap();
                    netns.sysctl_set("net.ipv6.conf.qg-ee000001-00.disable_ipv6", "1").unwrap();
                }
            }
        }
        self.lab.dump(host)
    }

    fn exec(&self, host: &HostName, command: &[String]) -> Result<Executed, ExecError> {
        self.lab.exec(host, command)
    }

    fn clock(&self) -> std::time::Duration {
        self.lab.clock()
    }
}

#[test]
fn lines_are_what_the_kernel_has_and_not_what_was_planned() {
    inside(|| {
        let recording: Recording = parse(&recording_text("01-edge-add"), &Unsaid::default()).unwrap();
        let steps = |bench: &dyn Bench| {
            let mut steps: Vec<Replayed> = Vec::new();
            replay(&recording, bench, &mut |step| steps.push(step)).unwrap();
            assert!(steps.iter().all(|step| step.failures.is_empty()), "{:?}", steps[0].failures);
            let name: NamespaceName = "snat-b0000001-0000-4000-8000-000000000000".parse().unwrap();
            steps[0].namespaces[&name].clone()
        };
        let plain = steps(&Lab::new().unwrap());
        let meddled = steps(&Meddled { lab: Lab::new().unwrap(), done: Cell::new(false) });
        let gone: Vec<&String> = plain.iter().filter(|line| !meddled.contains(line)).collect();
        let come: Vec<&String> = meddled.iter().filter(|line| !plain.contains(line)).collect();
        assert_eq!(
            gone,
            [
                "addr   qg-ee000001-00 fe80::f816:3eff:feee:1/64 scope link",
                "route6 fe80::/64 dev qg-ee000001-00 table main proto kernel metric 256 pref medium",
                "sysctl net.ipv4.conf.lo.forwarding = 1",
            ]
        );
        assert_eq!(
            come,
            ["sysctl net.ipv4.conf.all.rp_filter = 1", "sysctl net.ipv6.conf.qg-ee000001-00.disable_ipv6 = 1"]
        );
    });
}

/// Reference: `neutron-local-side`, 4.9, and `neutron-snat-side`, 9.6.
#[test]
fn port_forwardings_of_a_dict_are_built() {
    if common::labs_are_skipped() {
        return;
    }
    let mut value = recording_value("01-edge-add");
    let forwarding = |id: &str, port: u16| json!({"id": id, "protocol": "tcp", "external_port": port, "internal_ip_address": "10.0.1.5", "internal_port": 22});
    let many = json!({"id": "55555555-6", "protocol": "udp", "external_port_range": "8000:8010", "external_port": null,
        "internal_ip_address": "10.0.1.5", "internal_port_range": "80:90"});
    let into_one = json!({"id": "66666666-7", "protocol": "udp", "external_port_range": "9000:9010",
        "internal_ip_address": "10.0.1.5", "internal_port_range": "53:53"});
    let router = &mut value["steps"][0]["router"];
    router["port_forwardings_fip_set"] = json!(["203.0.113.60/32"]);
    router["fip_managed_by_port_forwardings"] = json!(["f60"]);
    router["_pf_floatingips"] = json!([
        {"id": "f60", "floating_ip_address": "203.0.113.60", "fixed_ip_address": null,
         "port_forwardings": [forwarding("11111111-2222", 2201), forwarding("33333333-4444", 2202), many, into_one]},
        {"id": "f61", "floating_ip_address": "203.0.113.61", "port_forwardings": [forwarding("5", 2203)]},
    ]);
    let output = run(&value, &["--json", "-"]);
    let written: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines = written["steps"][0]["namespaces"]["snat-b0000001-0000-4000-8000-000000000000"].to_string();
    let chains = "nat -A neutron-l3-agent-";
    for wanted in [
        "addr   qg-ee000001-00 203.0.113.60/32 scope global broadcast 203.0.113.60".to_owned(),
        format!("{chains}PREROUTING -j neutron-l3-agent-fip-pf"),
        format!("{chains}fip-pf -j neutron-l3-agent-pf-11111111"),
        format!(
            "{chains}pf-11111111 -d 203.0.113.60/32 -p tcp -m tcp --dport 2201 -j DNAT --to-destination 10.0.1.5:22"
        ),
        format!(
            "{chains}pf-33333333 -d 203.0.113.60/32 -p tcp -m tcp --dport 2202 -j DNAT --to-destination 10.0.1.5:22"
        ),
        format!(
            "{chains}pf-55555555 -d 203.0.113.60/32 -p udp -m udp --dport 8000:8010 -j DNAT --to-destination 10.0.1.5:80-90/8000"
        ),
        format!(
            "{chains}pf-66666666 -d 203.0.113.60/32 -p udp -m udp --dport 9000:9010 -j DNAT --to-destination 10.0.1.5:53"
        ),
    ] {
        assert!(lines.contains(&wanted), "{wanted}\n{lines}");
    }
    assert!(!lines.contains("203.0.113.61"), "it has no forwardings that the agent is told of: {lines}");
    let mut wrong = value;
    wrong["steps"][0]["router"]["_pf_floatingips"][0]["port_forwardings"][1]["protocol"] = json!("icmp");
    let forwardings = &mut wrong["steps"][0]["router"]["_pf_floatingips"][0]["port_forwardings"];
    forwardings[0]["external_port"] = Value::Null;
    forwardings[2]["external_port_range"] = json!("8000:8009");
    forwardings[3]["external_port_range"] = json!("9010:9000");
    let at = "steps[0].router._pf_floatingips[0].port_forwardings";
    let expected = [
        format!("{at}[0].external_port: neither this nor `external_port_range`"),
        format!("{at}[1].protocol: `icmp` is neither tcp nor udp"),
        format!("{at}[2].internal_port_range: 11 ports inside for 10 outside: as many, or one"),
        format!("{at}[3].external_port_range: `9010:9000` is no range of ports: write `8000:8010`"),
    ];
    assert_eq!(mistakes(&wrong), expected);
}

#[test]
fn options_that_decide_what_is_built_are_checked() {
    let mut value = recording_value("01-edge-add");
    value["conf"] =
        json!({"ipv6_gateway": "2001:db8::1", "external_ingress_mark": "0x10000", "metadata_access_mark": "x"});
    let expected = [
        "conf.external_ingress_mark: `0x10000` has bits outside 0xffff",
        "conf.ipv6_gateway: `2001:db8::1` is not an IPv6 link-local address",
        "conf.metadata_access_mark: `x`: invalid digit found in string",
    ];
    assert_eq!(mistakes(&value), expected);
}

/// Reference: `neutron-snat-side`, 9.2.
#[test]
fn routers_without_a_gateway_may_be_left_to_others() {
    if common::labs_are_skipped() {
        return;
    }
    let mut value = recording_value("01-edge-add");
    value["conf"] = json!({"handle_internal_only_routers": "false"});
    let router = value["steps"][0]["router"].as_object_mut().unwrap();
    router.insert("gw_port".to_owned(), json!(null));
    router.remove("gw_port_id");
    let output = run(&value, &["--json", "-"]);
    let written: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(written["steps"][0]["namespaces"], json!({}), "{}", said(&output));
}
