//! Each deviation from the real agent, on real packets: with it off its leak or black hole is there, with it on it is not.
//! Every negative stands beside a packet of the same way that does arrive. Two are shown by two scenarios
//! each: that of IPv6 by `ipv6/redirect-off` and `ipv6/dual-stack`, that of a migration's target by
//! `instance/live-migration-off` and `instance/live-migration`.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

#[expect(dead_code, reason = "shared with tests that look at refusals")]
mod built;
mod inside;

use std::net::IpAddr;
use std::time::Duration;

use built::Built;
use dvrlab::api::Intent;
use dvrlab::dataplane::Dataplane as _;
use dvrlab::deviation::{Deviation, Deviations};
use dvrlab::flow::Place;
use dvrlab::name::{HostName, Id, Name};
use dvrlab::net::Mac;
use dvrlab::plan::Op;
use dvrlab::probe::craft::{Content, Crafted, ErrorKind, summary};
use dvrlab::router::{FloatingIpConfig, topology};
use dvrlab::scenario::parse;
use inside::inside;

/// How often is looked for a packet that does arrive, and how long each look waits for one at most.
const LOOKS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;

/// `vm1` and `vm3` on one compute host, `vm4` on the network node; a server behind the upstream router.
const NETWORK: &str = "
# Deviations.
settings: { random_ports: false }
hosts:
  net1: { mode: dvr_snat }
  cmp1: { mode: dvr }
networks:
  public: { external: true }
  red:    { mtu: 1400 }
subnets:
  public4: { network: public, cidr: 203.0.113.0/24 }
  red4:    { network: red, cidr: 10.0.1.0/24 }
routers:
  r1: { interfaces: [red4], gateway: { network: public, address: 203.0.113.10 } }
instances:
  vm1: { host: cmp1, network: red, address: 10.0.1.11 }
  vm3: { host: cmp1, network: red, address: 10.0.1.13 }
  vm4: { host: net1, network: red, address: 10.0.1.14 }
outside:
  web: { behind: public, address: 198.51.100.2 }
steps:
";

/// A lab with what its taps saw.
struct Stage {
    built: Built,
    intent: Intent,
    seen: Vec<(String, String)>,
}

impl Stage {
    /// The network with `change` in its text, with one deviation on or off.
    fn new(change: (&str, &str), deviation: Deviation, on: bool) -> Self {
        let text = format!("{}  - restart_agent: {{ host: net1 }}\n", NETWORK.replace(change.0, change.1));
        let mut intent = parse("deviations.yaml", &text).unwrap_or_else(|notes| panic!("{notes:?}")).intent;
        intent.settings.deviations = Deviations::all().with(deviation, on);
        Self { built: Built::new(&intent), intent, seen: Vec::new() }
    }

    /// Makes a change as a step of a scenario has it, with something to do after every operation of every host.
    fn step(&mut self, step: &str, hosts: [&str; 2], after: &mut dyn FnMut(&mut Self, &Op)) {
        let text = format!("{NETWORK}{step}");
        let scenario = parse("deviations.yaml", &text).unwrap_or_else(|notes| panic!("{notes:?}"));
        let operations = scenario.steps.iter().flat_map(|step| &step.operations);
        self.intent = operations.fold(self.intent.clone(), |intent, operation| operation.apply(&intent).unwrap());
        self.built.tell(&self.intent);
        for host in hosts.map(|host| HostName::new(host).unwrap()) {
            let plan = self.built.plan(&host);
            for op in &plan.ops {
                let one = dvrlab::plan::Plan { ops: vec![op.clone()] };
                self.built.lab.apply(&host, &one, &mut |_| {}).unwrap();
                after(self, op);
            }
        }
    }

    fn quiet_step(&mut self, step: &str) {
        self.step(step, ["net1", "cmp1"], &mut |_, _| {});
    }

    /// What an instance sends by its router.
    fn crafted(&self, vm: &str, from: &str, to: &str, content: Content) -> Crafted {
        let router = &self.intent.routers[&Name::new("r1").unwrap()];
        let gateway = self.intent.router_ports(router).next().unwrap().mac;
        let addresses = (from.parse().unwrap(), to.parse().unwrap());
        let macs = (self.intent.ports[&Name::new(vm).unwrap()].mac, gateway);
        Crafted { macs, addresses, ttl: 64, dont_fragment: true, content }
    }

    fn instance_sends(&mut self, vm: &str, from: &str, to: &str, content: Content) {
        let crafted = self.crafted(vm, from, to, content);
        self.emit(vm, &crafted);
    }

    /// The far server sends by the upstream router.
    fn server_sends(&mut self, to: &str, ttl: u8, content: Content) {
        let nodes = topology(&self.intent).nodes;
        let mac = |node: &str, port: usize| nodes[&Name::new(node).unwrap()].ports[port].mac;
        let macs = (mac("web", 0), mac("gw-public", 1));
        let addresses = ("198.51.100.2".parse().unwrap(), to.parse().unwrap());
        self.emit("web", &Crafted { macs, addresses, ttl, dont_fragment: true, content });
    }

    /// The upstream router sends what it has a route for by the gateway.
    fn upstream_sends(&mut self, to: &str, content: Content) {
        let mac = topology(&self.intent).nodes[&Name::new("gw-public").unwrap()].ports[0].mac;
        let addresses = ("198.51.100.2".parse().unwrap(), to.parse().unwrap());
        let macs = (mac, Mac::gateway("r1"));
        self.emit("gw-public", &Crafted { macs, addresses, ttl: 64, dont_fragment: true, content });
    }

    fn emit(&mut self, node: &str, crafted: &Crafted) {
        let place = Place { host: None, name: node.to_owned() };
        self.built.lab.emit(&place, &"eth0".parse().unwrap(), &crafted.frame().unwrap()).unwrap();
        self.look();
    }

    fn look(&mut self) {
        let seen = &mut self.seen;
        let mut see = |place: &Place, frame: dvrlab::probe::Frame<'_>| {
            if let Some(line) = summary(frame.bytes).filter(|_| !frame.outgoing && frame.device.as_str() == "eth0") {
                seen.push((place.to_string(), line));
            }
        };
        self.built.lab.seen(&mut see).unwrap();
    }

    fn saw(&self, node: &str, text: &str) -> bool {
        self.seen.iter().any(|(place, line)| place == node && line.contains(text))
    }

    /// Waits for what comes for sure; what was sent before it on the same way has come by then, or never will.
    fn sees(&mut self, node: &str, text: &str) {
        for _ in 0..LOOKS {
            self.look();
            if self.saw(node, text) {
                return;
            }
            self.built.lab.wait(PAUSE).unwrap();
        }
        panic!("{node} did not see {text:?} but\n{}", self.told());
    }

    fn told(&self) -> String {
        self.seen.iter().map(|(place, line)| format!("{place}: {line}")).collect::<Vec<_>>().join("\n")
    }
}

fn udp(port: u16) -> Content {
    Content::Udp((port, 9000), b"crafted".to_vec())
}

fn tcp(port: u16, flags: u8) -> Content {
    Content::Tcp { ports: (port, 80), sequence: 1000, acknowledgement: 1, flags }
}

/// Runs a test with the deviation off, then on, each in a lab of its own.
fn off_and_on(test: impl Fn(bool)) {
    inside(|| {
        test(false);
        test(true);
    });
}

const NO_GATEWAY: (&str, &str) = (", gateway: { network: public, address: 203.0.113.10 }", "");
const SNAT_OFF: (&str, &str) = ("address: 203.0.113.10 }", "address: 203.0.113.10, snat: false }");
const WITH_FIP: (&str, &str) = ("outside:", "floating_ips:\n  203.0.113.101: { instance: vm1 }\noutside:");

#[test]
fn drop_invalid_in_the_snat_namespace() {
    off_and_on(|on| {
        let mut stage = Stage::new(("", ""), Deviation::DropInvalid, on);
        stage.instance_sends("vm1", "10.0.1.11", "198.51.100.2", tcp(7000, ACK));
        let unknown = stage.crafted("vm1", "10.0.1.11", "198.51.100.2", udp(7001));
        let unknown = Crafted { addresses: (unknown.addresses.1, unknown.addresses.0), ..unknown };
        let error = Content::Error(ErrorKind::PortUnreachable, Box::new(unknown));
        stage.instance_sends("vm1", "10.0.1.11", "198.51.100.2", error);
        stage.instance_sends("vm1", "10.0.1.11", "198.51.100.2", tcp(7002, SYN));
        stage.sees("gw-public", "tcp 203.0.113.10:7002 > 198.51.100.2:80 [S]");
        assert_eq!(stage.saw("gw-public", "tcp 10.0.1.11:7000 > 198.51.100.2:80 [A]"), !on, "{}", stage.told());
        assert_eq!(stage.saw("gw-public", "port unreachable 10.0.1.11 > 198.51.100.2"), !on, "{}", stage.told());
    });
}

#[test]
fn drop_invalid_by_a_floating_ip() {
    off_and_on(|on| {
        let mut stage = Stage::new(WITH_FIP, Deviation::DropInvalid, on);
        // Nobody asked for this answer.
        stage.instance_sends("vm1", "10.0.1.11", "198.51.100.2", tcp(7000, SYN_ACK));
        stage.instance_sends("vm1", "10.0.1.11", "198.51.100.2", tcp(7001, SYN));
        stage.sees("gw-public", "tcp 203.0.113.101:7001 > 198.51.100.2:80 [S]");
        assert_eq!(stage.saw("gw-public", "tcp 10.0.1.11:7000 > 198.51.100.2:80 [SA]"), !on, "{}", stage.told());
    });
}

#[test]
fn guarded_start() {
    off_and_on(|on| {
        let mut stage = Stage::new(NO_GATEWAY, Deviation::GuardedStart, on);
        let mut port = 10_000;
        // The compute host is the faster one: it leads to the SNAT host before that translates.
        let set = "  - set_gateway: { router: r1, network: public, address: 203.0.113.10 }\n";
        stage.step(set, ["cmp1", "net1"], &mut |stage, _op| {
            port += 1;
            stage.instance_sends("vm1", "10.0.1.11", "198.51.100.2", udp(port));
        });
        stage.instance_sends("vm1", "10.0.1.11", "198.51.100.2", udp(9999));
        stage.sees("gw-public", "udp 203.0.113.10:9999 > 198.51.100.2:9000");
        assert_eq!(stage.saw("gw-public", "udp 10.0.1.11:1"), !on, "{}", stage.told());
    });
}

#[test]
fn purge_translated_when_a_floating_ip_comes() {
    off_and_on(|on| {
        let mut stage = Stage::new(("", ""), Deviation::PurgeTranslated, on);
        stage.instance_sends("vm1", "10.0.1.11", "198.51.100.2", udp(7000));
        stage.sees("gw-public", "udp 203.0.113.10:7000 > 198.51.100.2:9000");
        stage.quiet_step("  - associate: { floating_ip: 203.0.113.101, instance: vm1 }\n");
        stage.instance_sends("vm1", "10.0.1.11", "198.51.100.2", udp(7000));
        stage.sees("gw-public", if on { "udp 203.0.113.101:7000 >" } else { "udp 10.0.1.11:7000 >" });
        assert_eq!(stage.saw("gw-public", "udp 10.0.1.11:7000"), !on, "{}", stage.told());
    });
}

#[test]
fn purge_translated_when_a_floating_ip_is_pointed_elsewhere() {
    off_and_on(|on| {
        let mut stage = Stage::new(WITH_FIP, Deviation::PurgeTranslated, on);
        stage.server_sends("203.0.113.101", 64, udp(7000));
        stage.sees("vm1", "udp 198.51.100.2:7000 > 10.0.1.11:9000");
        stage.quiet_step("  - associate: { floating_ip: 203.0.113.101, instance: vm3 }\n");
        stage.server_sends("203.0.113.101", 64, udp(7001));
        stage.sees("vm3", "udp 198.51.100.2:7001 > 10.0.1.13:9000");
        stage.seen.clear();
        stage.server_sends("203.0.113.101", 64, udp(7000));
        let (owner, other) = if on { ("vm3", "vm1") } else { ("vm1", "vm3") };
        stage.sees(owner, "udp 198.51.100.2:7000 > 10.0.1.1");
        assert!(!stage.saw(other, "udp 198.51.100.2:7000"), "{}", stage.told());
    });
}

#[test]
fn cut_untranslated() {
    off_and_on(|on| {
        let mut stage = Stage::new(SNAT_OFF, Deviation::CutUntranslated, on);
        stage.instance_sends("vm1", "10.0.1.11", "198.51.100.2", udp(7000));
        stage.sees("gw-public", "udp 10.0.1.11:7000 > 198.51.100.2:9000");
        stage.quiet_step("  - set_gateway: { router: r1, snat: true }\n");
        stage.seen.clear();
        stage.instance_sends("vm1", "10.0.1.11", "198.51.100.2", udp(7000));
        stage.instance_sends("vm1", "10.0.1.11", "198.51.100.2", udp(7001));
        stage.sees("gw-public", "udp 203.0.113.10:7001 > 198.51.100.2:9000");
        assert_eq!(stage.saw("gw-public", "udp 10.0.1.11:7000"), !on, "{}", stage.told());
        assert_eq!(stage.saw("gw-public", "udp 203.0.113.10:7000"), on, "{}", stage.told());
    });
}

#[test]
fn icmp_errors() {
    off_and_on(|on| {
        let mut stage = Stage::new(WITH_FIP, Deviation::IcmpErrors, on);
        // Larger than the tenant network's MTU.
        stage.server_sends("203.0.113.101", 64, Content::Udp((7000, 9000), vec![0; 1422]));
        // Ends in the fip namespace, then in the router's.
        stage.server_sends("203.0.113.101", 2, udp(7001));
        stage.server_sends("203.0.113.101", 3, udp(7002));
        stage.server_sends("203.0.113.101", 64, udp(7003));
        stage.sees("vm1", "udp 198.51.100.2:7003 > 10.0.1.11:9000");
        // The way back works anyhow: what comes after an error that got out has come after it.
        stage.instance_sends("vm1", "10.0.1.11", "198.51.100.2", udp(7004));
        stage.sees("web", "udp 203.0.113.101:7004");
        let told = "too big 1400 203.0.113.101 > 198.51.100.2 about udp 198.51.100.2:7000 > 203.0.113.101:9000";
        assert_eq!(stage.saw("web", told), on, "{}", stage.told());
        let expired = |port: u16| format!("> 198.51.100.2 about udp 198.51.100.2:{port} > 203.0.113.101:9000");
        assert_eq!(stage.saw("web", &expired(7001)), on, "{}", stage.told());
        assert_eq!(stage.saw("web", &format!("time exceeded 203.0.113.101 {}", expired(7002))), on, "{}", stage.told());
        assert!(!stage.saw("gw-public", " 169.254."), "{}", stage.told());
    });
}

#[test]
fn stray_metadata() {
    off_and_on(|on| {
        let no_proxy = ("random_ports: false", "random_ports: false, metadata: false");
        let mut stage = Stage::new(no_proxy, Deviation::StrayMetadata, on);
        stage.instance_sends("vm1", "10.0.1.11", "169.254.169.254", tcp(7000, SYN));
        stage.instance_sends("vm1", "10.0.1.11", "198.51.100.2", tcp(7001, SYN));
        stage.sees("gw-public", "tcp 203.0.113.10:7001 > 198.51.100.2:80 [S]");
        assert_eq!(stage.saw("gw-public", "> 169.254.169.254:80"), !on, "{}", stage.told());
    });
}

#[test]
fn centralised_steering() {
    off_and_on(|on| {
        let mut stage = Stage::new(("", ""), Deviation::CentralisedSteering, on);
        // A virtual address that vm4 holds, of a port that is bound nowhere.
        let (host, virtual_address) = (HostName::new("net1").unwrap(), IpAddr::from([10, 0, 1, 100]));
        let config = stage.built.configs.get_mut(&host).unwrap();
        config.routers.get_mut(&Id::new("r1").unwrap()).unwrap().floating_ips.push(FloatingIpConfig {
            id: Id::new("central").unwrap(),
            floating_ip_address: [203, 0, 113, 150].into(),
            fixed_ip_address: Some(virtual_address),
            host: Some("FLOATING_IP_HOST_NEEDS_BINDING".to_owned()),
            dest_host: None,
            dvr_snat_bound: true,
            fixed_ip_address_scope: None,
        });
        stage.built.reconcile(&host).unwrap();
        stage.instance_sends("vm4", "10.0.1.100", "198.51.100.2", udp(7000));
        stage.instance_sends("vm4", "10.0.1.14", "198.51.100.2", udp(7001));
        stage.sees("gw-public", "udp 203.0.113.10:7001 > 198.51.100.2:9000");
        assert_eq!(stage.saw("gw-public", "udp 10.0.1.100:7000"), !on, "{}", stage.told());
        assert_eq!(stage.saw("gw-public", "udp 203.0.113.150:7000"), on, "{}", stage.told());
    });
}

#[test]
fn refuse_inbound() {
    off_and_on(|on| {
        let mut stage = Stage::new(("", ""), Deviation::RefuseInbound, on);
        stage.upstream_sends("10.0.1.11", udp(7000));
        stage.upstream_sends("10.0.1.11", tcp(7001, ACK));
        stage.instance_sends("vm1", "10.0.1.11", "198.51.100.2", udp(7002));
        stage.sees("gw-public", "udp 203.0.113.10:7002 > 198.51.100.2:9000");
        stage.upstream_sends("203.0.113.10", Content::Udp((9000, 7002), b"answer".to_vec()));
        stage.sees("vm1", "udp 198.51.100.2:9000 > 10.0.1.11:7002");
        assert_eq!(stage.saw("vm1", "udp 198.51.100.2:7000"), !on, "{}", stage.told());
        assert_eq!(stage.saw("vm1", "tcp 198.51.100.2:7001"), !on, "{}", stage.told());
    });
}
