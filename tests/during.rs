//! Each clause of `during` on packets: where it does not hold the scenario fails at its line, and nowhere else.

mod common;

use dvrlab::record::FailureKind;

/// Sentences that do not hold stand between others that do.
const HEADER: &str = "
# Clauses that do not hold.
#
# Setup:   one router, two instances without a floating IP.
# Change:  floating IPs, damage, SNAT off.
# Seen:    what is said of flows is not what happens.
# Mirrors: nothing.
settings: { random_ports: false }
";
const REST: &str = "instances:
  vm1: { host: cmp1, network: red, address: 10.0.1.11 }
  vm2: { host: cmp1, network: red, address: 10.0.1.12 }
outside:
  web:  { behind: public, address: 198.51.100.2 }
  peer: { on: public, address: 203.0.113.2 }
steps:
  - associate: { floating_ip: 203.0.113.101, instance: vm1 }
    during:
      vm1 -> web udp/1: as 203.0.113.10 then 203.0.113.101 via net1 then cmp1
      vm1 -> web udp/2: kept
      vm1 -> web udp/3: as 203.0.113.10
      vm1 -> web udp/4: via net1
      vm2 -> web udp/5: no loss kept gap 0 ops never bare reaches web
      vm2 -> web udp/6: cut
      vm2 -> web udp/7: reaches peer
  - disassociate: { floating_ip: 203.0.113.101 }
    notify: { all: lost }
    during:
      web -> 203.0.113.101 udp/8: kept no loss
      web -> 203.0.113.101 udp/9: cut
  - sabotage: { at: net1, delete: namespace snat-r1 }
    during:
      vm2 -> web udp/10: cut
      vm2 -> web udp/11: no loss
      vm2 -> web udp/12: loss 2
      vm2 -> web tcp/13: kept
  - restart_agent: { host: net1 }
    during:
      vm2 -> web icmp: gap 1000 ops loss 1000
      vm2 -> web udp/14: gap 1 ops
  - set_gateway: { router: r1, snat: false }
    during:
      vm2 -> web udp/15: never bare
  - restart_agent: { host: cmp1 }
    during:
      vm2 -> web udp/16: never bare
";

#[test]
fn what_does_not_hold_fails_at_its_line() {
    if common::labs_are_skipped() {
        return;
    }
    let scenario = [HEADER, common::ONE_ROUTER, REST].concat();
    let record = common::record_of_text("during.yaml", scenario.clone());
    let line = |text: &str| scenario.lines().position(|line| line.trim() == text).map(|line| line + 1);
    let mut failed =
        record.steps.iter().flat_map(|step| &step.failures).filter(|failure| failure.kind == FailureKind::Expectation);
    for (sentence, wrong) in WRONG {
        let failure = failed.next().unwrap_or_else(|| panic!("`{sentence}` does not fail"));
        assert!(failure.text.starts_with(&format!("`{sentence}`: ")), "{}", failure.text);
        assert!(failure.text.contains(wrong), "{}", failure.text);
        assert_eq!(failure.line, line(sentence), "{sentence}");
    }
    let more: Vec<&str> = failed.map(|failure| failure.text.as_str()).collect();
    assert_eq!(more, [""; 0]);
}

/// What fails, in order, and what is said of it.
const WRONG: [(&str, &str); 11] = [
    (
        "vm1 -> web udp/2: kept",
        "another pair of addresses and ports at the far end: as 203.0.113.10, then 203.0.113.101",
    ),
    ("vm1 -> web udp/3: as 203.0.113.10", "as 203.0.113.101 ("),
    ("vm1 -> web udp/4: via net1", "via cmp1 ("),
    ("vm2 -> web udp/6: cut", "not cut: after settling 10 of 10 packets arrive, 10 are answered"),
    ("vm2 -> web udp/7: reaches peer", "reaches web ("),
    ("web -> 203.0.113.101 udp/9: cut", "not cut: after settling 10 of 10 packets arrive"),
    ("vm2 -> web udp/11: no loss", "lost "),
    ("vm2 -> web udp/12: loss 2", "at most 2 expected"),
    ("vm2 -> web tcp/13: kept", "dead, and nobody said so"),
    ("vm2 -> web udp/14: gap 1 ops", "no service during "),
    ("vm2 -> web udp/16: never bare", "left with a tenant source: before the first op"),
];

/// What a kernel holds until a neighbour answers is lost in every run, not late in the quick ones.
#[test]
fn what_waits_for_a_neighbour_is_lost() {
    if common::labs_are_skipped() {
        return;
    }
    let record = common::record_of(&common::project("scenarios/floating-ip/order.yaml"));
    let to = "203.0.113.101".parse::<std::net::IpAddr>().expect("an address");
    let waited = record.steps.iter().flat_map(|step| &step.flows).filter(|account| account.flow.to == to);
    let figures: Vec<(usize, u32)> = waited.map(|account| (account.lost.len(), account.late)).collect();
    assert_eq!(figures, [(9, 0), (9, 0), (15, 0), (15, 0)]);
}
