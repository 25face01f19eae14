//! What namespaces remember of packets: read, forgotten on request, and left alone by probes.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

#[expect(dead_code, reason = "shared with tests that look at plans")]
mod built;
mod inside;

use built::Built;
use dvrlab::api::Intent;
use dvrlab::dataplane::Dataplane as _;
use dvrlab::flow::{Flow, Place, Protocol, Verdict};
use dvrlab::memory::Cache;
use dvrlab::name::Name;
use dvrlab::probe::craft::{Content, Crafted};
use dvrlab::scenario::parse;
use inside::inside;

const NETWORK: &str = "
# What is remembered.
settings: { random_ports: false }
hosts:
  net1: { mode: dvr_snat }
  cmp1: { mode: dvr }
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
outside:
  web: { behind: public, address: 198.51.100.2 }
steps:
  - restart_agent: { host: net1 }
";

fn place(text: &str) -> Place {
    Place::try_from(text.to_owned()).unwrap()
}

fn connections(built: &Built, at: &str) -> Vec<String> {
    built.lab.connections(&place(at)).unwrap().iter().map(ToString::to_string).collect()
}

/// A datagram from `vm1` to the far server, by its router.
fn send(built: &Built, intent: &Intent, port: u16) {
    let router = &intent.routers[&Name::new("r1").unwrap()];
    let gateway = intent.router_ports(router).next().unwrap().mac;
    let crafted = Crafted {
        macs: (intent.ports[&Name::new("vm1").unwrap()].mac, gateway),
        addresses: ("10.0.1.11".parse().unwrap(), "198.51.100.2".parse().unwrap()),
        ttl: 64,
        dont_fragment: true,
        content: Content::Udp((port, 9000), b"crafted".to_vec()),
    };
    built.lab.emit(&place("vm1"), &"eth0".parse().unwrap(), &crafted.frame().unwrap()).unwrap();
}

fn probe(built: &Built) {
    let (from, to) = (Name::new("vm1").unwrap(), "198.51.100.2".parse().unwrap());
    let flow = Flow::new(from, to, Protocol::Udp(9000));
    assert_eq!(built.lab.send(&[flow]).unwrap()[0].verdict, Verdict::Delivered);
}

#[test]
fn probes_leave_the_connections_of_others_and_none_of_their_own() {
    inside(|| {
        let intent = parse("memory.yaml", NETWORK).unwrap_or_else(|notes| panic!("{notes:?}")).intent;
        let built = Built::new(&intent);
        // Neighbours are asked for first: what waits for one is not tracked to its end yet.
        probe(&built);
        assert_eq!(connections(&built, "net1/snat-r1"), [""; 0]);
        send(&built, &intent, 7000);
        let tracked = "udp src=10.0.1.11 dst=198.51.100.2 sport=7000 dport=9000 [UNREPLIED] \
            reply src=198.51.100.2 dst=203.0.113.10 sport=9000 dport=7000 mark=0x4000000";
        assert_eq!(connections(&built, "net1/snat-r1"), [tracked]);
        probe(&built);
        assert_eq!(connections(&built, "net1/snat-r1"), [tracked], "only the probe's own connection is forgotten");
        assert_eq!(connections(&built, "cmp1/qrouter-r1").len(), 1, "the namespace before it tracks it too");
        assert_eq!(connections(&built, "net1/snat-r9"), [""; 0], "where there is no namespace nothing is remembered");
    });
}

#[test]
fn a_cache_is_flushed_whole_or_of_one_address() {
    inside(|| {
        let intent = parse("memory.yaml", NETWORK).unwrap_or_else(|notes| panic!("{notes:?}")).intent;
        let built = Built::new(&intent);
        probe(&built);
        send(&built, &intent, 7000);
        let snat = place("net1/snat-r1");
        let flush = |cache, address: Option<&str>| built.lab.flush(&snat, cache, address.map(|a| a.parse().unwrap()));
        flush(Cache::Conntrack, Some("203.0.113.99")).unwrap();
        assert_eq!(connections(&built, "net1/snat-r1").len(), 1, "another address");
        flush(Cache::Conntrack, Some("203.0.113.10")).unwrap();
        assert_eq!(connections(&built, "net1/snat-r1"), [""; 0]);
        send(&built, &intent, 7001);
        assert_eq!(connections(&built, "net1/snat-r1").len(), 1);
        flush(Cache::Conntrack, None).unwrap();
        assert_eq!(connections(&built, "net1/snat-r1"), [""; 0]);
        let gone = built.lab.flush(&place("net1/snat-r9"), Cache::Conntrack, None).unwrap_err();
        assert_eq!(gone.to_string(), "net1/snat-r9: failed to forget connections: there is no such namespace");
    });
}

/// IPv4 neighbours that a namespace knows: address, and whether it is configured.
fn neighbours(built: &Built, at: &str) -> Vec<(String, bool)> {
    let at = place(at);
    let netns = built.lab.places().into_iter().find(|(place, _)| *place == at).expect("the namespace is there").1;
    let table = netns.run_in(|| std::fs::read_to_string("/proc/thread-self/net/arp").unwrap()).unwrap();
    // ATF_PERM of the kernel's <linux/if_arp.h>.
    let permanent = |flags: &str| u32::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap() & 0x4 != 0;
    let words = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut all: Vec<(String, bool)> = words.map(|words| (words[0].to_owned(), permanent(words[2]))).collect();
    all.sort();
    all
}

#[test]
fn neighbours_are_forgotten_but_for_those_that_are_configured() {
    inside(|| {
        let intent = parse("memory.yaml", NETWORK).unwrap_or_else(|notes| panic!("{notes:?}")).intent;
        let built = Built::new(&intent);
        probe(&built);
        let resolved = |address: &str| (address.to_owned(), false);
        let known = neighbours(&built, "net1/snat-r1");
        assert!(known.contains(&resolved("203.0.113.1")) && known.contains(&resolved("10.0.1.11")), "{known:?}");
        let flush = |at: &str, address: Option<&str>| {
            built.lab.flush(&place(at), Cache::Neighbours, address.map(|a| a.parse().unwrap())).unwrap();
        };
        flush("net1/snat-r1", Some("10.0.1.11"));
        let known = neighbours(&built, "net1/snat-r1");
        assert!(known.contains(&resolved("203.0.113.1")) && !known.contains(&resolved("10.0.1.11")), "{known:?}");
        flush("net1/snat-r1", None);
        assert_eq!(neighbours(&built, "net1/snat-r1"), []);
        let configured =
            |at| neighbours(&built, at).into_iter().filter(|(_, permanent)| *permanent).collect::<Vec<_>>();
        let before = configured("cmp1/qrouter-r1");
        assert!(!before.is_empty());
        flush("cmp1/qrouter-r1", None);
        assert_eq!(neighbours(&built, "cmp1/qrouter-r1"), before);
        probe(&built);
    });
}

#[test]
fn sentences_about_connections_are_judged() {
    inside(|| {
        // A flush at a place that is not there fails its step; sentences see what is tracked, which is nothing.
        let steps = "  - flush: { at: net1/snat-r1, cache: conntrack, address: 203.0.113.10 }
    expect:
      net1/snat-r1: [no conntrack 203.0.113.10, has conntrack udp]
      all: no conntrack
      vm1: no conntrack
  - clear_gateway: { router: r1 }
  - flush: { at: net1/snat-r1, cache: neighbours }
  - flush: { at: web, cache: neighbours }
  - flush: { at: cmp1, cache: conntrack }
";
        let text = NETWORK.replace("  - restart_agent: { host: net1 }\n", steps);
        let scenario = parse("memory.yaml", &text).unwrap_or_else(|notes| panic!("{notes:?}"));
        let lab = dvrlab::lab::Lab::new().unwrap();
        let record = dvrlab::run::run(&scenario, dvrlab::run::Options::default(), &lab, &mut |_| {});
        let failures: Vec<String> =
            record.failures().map(|(step, failure)| format!("{}: {}", step.number, failure.text)).collect();
        assert_eq!(
            failures,
            [
                "1: `net1/snat-r1: has conntrack udp`: net1/snat-r1: there is no conntrack udp (0 of that kind)",
                "3: net1/snat-r1: failed to forget neighbours: there is no such namespace",
            ]
        );
        let asked: Vec<&String> = record.steps[1].connections.keys().collect();
        assert_eq!(
            asked,
            [
                "cmp1",
                "cmp1/fip-public",
                "cmp1/qrouter-r1",
                "net1",
                "net1/fip-public",
                "net1/qrouter-r1",
                "net1/snat-r1",
                "vm1"
            ]
        );
        assert!(record.steps[2].connections.is_empty(), "nobody asked");
    });
}
