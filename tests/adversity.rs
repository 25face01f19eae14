//! Sentences about agents, damage and what places have been through fail when they must: each on a real lab, with its words.

mod common;

use dvrlab::record::Outcome;

/// What exists before the steps: SNAT on net1, vm1 on cmp1 with a floating IP.
const START: &str = "\
# A network.
#
# Setup:   one router.
# Change:  some.
# Seen:    what follows.
# Mirrors: nothing.
hosts: { net1: { mode: dvr_snat }, cmp1: { mode: dvr } }
networks: { public: { external: true }, red: {} }
subnets:
  public4: { network: public, cidr: 203.0.113.0/24 }
  red4: { network: red, cidr: 10.0.1.0/24 }
routers: { r1: { interfaces: [red4], gateway: { network: public, address: 203.0.113.10 } } }
instances: { vm1: { host: cmp1, network: red, address: 10.0.1.11 } }
floating_ips: { 203.0.113.101: { instance: vm1 } }
outside: { web: { behind: public, address: 198.51.100.2 } }
steps:
";

/// What a scenario with these steps says that is wrong, without how it came about.
fn failures(steps: &str) -> Vec<String> {
    let record = common::record_of_text("scenarios/adversity.yaml", format!("{START}{steps}"));
    let texts: Vec<String> = record.failures().map(|(_, failure)| failure.text.clone()).collect();
    assert_eq!(record.outcome == Outcome::Failed, !texts.is_empty());
    texts
}

#[track_caller]
fn check(steps: &str, expected: &[&str]) {
    if !common::labs_are_skipped() {
        assert_eq!(failures(steps), expected, "{steps}");
    }
}

#[test]
fn what_goes_and_comes_back_in_one_step_is_not_unchanged() {
    check(
        "  - together:
      - sabotage: { at: cmp1/qrouter-r1, delete: rule from 10.0.1.11 }
      - sabotage: { at: cmp1/qrouter-r1, delete: nat -s 10.0.1.11 }
      - sabotage: { at: cmp1/fip-public, delete: route 203.0.113.101 }
      - resync_agent: { host: cmp1 }
    expect:
      cmp1/qrouter-r1:
        - unchanged
        - keeps rule from 10.0.1.11
        - keeps nat -s 10.0.1.11
        - keeps device
        - keeps neighbour
      cmp1/fip-public: [unchanged, keeps route 203.0.113.101]
      net1: unchanged
",
        &[
            "`cmp1/qrouter-r1: unchanged`: cmp1/qrouter-r1 has changed",
            "`cmp1/qrouter-r1: keeps rule from 10.0.1.11`: cmp1/qrouter-r1 does not keep it",
            "`cmp1/qrouter-r1: keeps nat -s 10.0.1.11`: cmp1/qrouter-r1 does not keep it",
            "`cmp1/fip-public: unchanged`: cmp1/fip-public has changed",
            "`cmp1/fip-public: keeps route 203.0.113.101`: cmp1/fip-public does not keep it",
        ],
    );
}

#[test]
fn a_namespace_that_is_made_anew_keeps_nothing() {
    check(
        "  - name: before
    expect: { cmp1: in sync }
  - together:
      - sabotage: { at: net1, delete: namespace snat-r1 }
      - resync_agent: { host: net1 }
    during: { vm1 -> 203.0.113.10 icmp: loss 30, web -> 203.0.113.10 icmp: loss 30 }
    expect: { net1/snat-r1: [unchanged since before, keeps device qg-r1, keeps namespace], net1: unchanged }
  - expect: { net1/snat-r1: [unchanged, keeps device qg-r1, keeps device qg-r1 since before] }
",
        &[
            "`net1/snat-r1: keeps device qg-r1`: net1/snat-r1 does not keep it",
            "`net1/snat-r1: keeps namespace`: net1/snat-r1 does not keep it",
            "`net1: unchanged`: net1/snat-r1 has changed",
            "`net1/snat-r1: keeps device qg-r1 since before`: net1/snat-r1 does not keep it",
        ],
    );
}

#[test]
fn what_matched_nothing_is_not_kept() {
    check(
        "  - expect: { cmp1: [keeps rule from 10.0.1.12, keeps rule from 10.0.1.11] }\n",
        &["`cmp1: keeps rule from 10.0.1.12`: cmp1 had nothing that matches"],
    );
}

#[test]
fn a_host_is_stale_or_in_sync() {
    check(
        "  - disassociate: { floating_ip: 203.0.113.101 }
    notify: { cmp1: lost }
    expect: { cmp1: in sync, net1: stale }
",
        &["`cmp1: in sync`: cmp1 is stale", "`net1: stale`: net1 is in sync"],
    );
}

#[test]
fn an_agent_that_does_not_die_is_told() {
    check(
        "  - disassociate: { floating_ip: 203.0.113.101 }
    crash: { host: cmp1, at: no such operation }
  - associate: { floating_ip: 203.0.113.101, instance: vm1 }
    crash: { host: net1, at: 1 }
",
        &[
            "the agent of cmp1 should die after an operation with `no such operation`, but does no such operation",
            // As the file has it the agent is dead by now; as it happened it is not.
            "the agent of net1 should die after operation 1, but does no such operation",
        ],
    );
}

#[test]
fn damage_to_nothing_is_told() {
    check(
        "  - sabotage: { at: cmp1/qrouter-r1, delete: rule from 10.9.9.9 }\n",
        &["there is nothing on cmp1 that this could be done to"],
    );
}

#[test]
fn what_nobody_asked_for_goes_when_everything_is_deleted() {
    check("  - sabotage: { at: cmp1, add: namespace qrouter-ghost }\n", &[]);
}
