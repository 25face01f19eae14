//! Scenarios as tests, in each of the ways there are.

use dvrlab::{Test, scenario};

/// A file: all of its sentences hold, nothing leaks, and `snapshots/` is as committed.
#[test]
fn source_nat() {
    scenario!("scenarios/snat.yaml");
}

/// A file, and something that it does not say itself.
#[test]
fn floating_ip() {
    let run = scenario!("scenarios/floating-ip.yaml");
    assert!(run.reach().contains("as 203.0.113.101 via cmp1"), "{}", run.reach());
}

/// A scenario made by a program: as many instances as one likes.
#[test]
fn a_crowd() {
    let instances: String = (0..6)
        .map(|n| format!("  vm{n}: {{ host: cmp{}, network: red, address: 10.0.1.{} }}\n", n % 3, 20 + n))
        .collect();
    let yaml = format!(
        "# Six instances on three hosts leave by one address.
settings: {{ random_ports: false }}
hosts:
  net1: {{ mode: dvr_snat }}
  cmp0: {{ mode: dvr }}
  cmp1: {{ mode: dvr }}
  cmp2: {{ mode: dvr }}
networks:
  public: {{ external: true }}
  red:    {{}}
subnets:
  public4: {{ network: public, cidr: 203.0.113.0/24 }}
  red4:    {{ network: red, cidr: 10.0.1.0/24 }}
routers:
  r1: {{ interfaces: [red4], gateway: {{ network: public, address: 203.0.113.10 }} }}
instances:
{instances}outside:
  web: {{ behind: public, address: 198.51.100.2 }}
steps:
  - expect:
      vm0, vm1, vm2, vm3, vm4, vm5 -> web: as 203.0.113.10 via net1
"
    );
    Test::text("crowd", &yaml).check();
}

/// With one of the router's guards off, this scenario must notice: IPv6 leaves by the wrong host.
#[test]
fn it_would_be_noticed() {
    let run = Test::file(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/ipv6.yaml"))
        .deviations("ipv6-redirect=false")
        .run()
        .expect("the scenario runs");
    assert!(!run.passed());
    assert!(run.failures().contains("tenant source left: vm1 2001:db8:1::11"), "{}", run.failures());
}
