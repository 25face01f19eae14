//! A clock paces twins of flows: their figures are there, and judge nothing.

mod common;

use dvrlab::ledger::Account;

const HEADER: &str = "
# Flows with a rate.
#
# Setup:   one router, one instance.
# Change:  its floating IP; an address that nobody has is sent to.
# Seen:    figures.
# Mirrors: nothing.
";
const REST: &str = "instances:
  vm1: { host: cmp1, network: red, address: 10.0.1.11 }
  vm2: { host: cmp1, network: red, address: 10.0.1.12 }
outside:
  web: { behind: public, address: 198.51.100.2 }
steps:
  - open_flow: { name: ssh, flow: vm2 -> web tcp/22 at 50/s }
  - associate: { floating_ip: 203.0.113.101, instance: vm1 }
    during:
      ssh: kept no loss
      vm2 -> web icmp at 100/s for 100ms: kept no loss
      vm2 -> web udp/9001 at 1000/s for 50ms: kept no loss
      vm2 -> web udp/9002: kept no loss
      vm2 -> 203.0.113.199 udp/9003 at 20/s: loss 1000
  - close_flow: { name: ssh }
  - expect:
      net1/snat-r1: no conntrack
      cmp1/qrouter-r1: no conntrack
";

#[test]
fn a_clock_paces_what_has_a_rate() {
    if common::labs_are_skipped() {
        return;
    }
    let record = common::record_of_text("paced.yaml", [HEADER, common::ONE_ROUTER, REST].concat());
    assert_eq!(record.failures().map(|(_, failure)| failure.text.as_str()).collect::<Vec<_>>(), [""; 0]);
    let accounts: Vec<&Account> =
        record.steps.iter().filter(|step| step.number == 2).flat_map(|step| &step.flows).collect();
    assert_eq!(accounts.len(), 5);
    for account in accounts {
        let title = format!("{} {}", account.flow.spoken(), account.flow.to);
        let Some(paced) = account.paced else {
            assert_eq!(account.flow.spoken(), "udp/9002", "{title} has no figures");
            continue;
        };
        assert!(paced.sent > 1, "{title}: {paced}");
        let nobody = account.flow.spoken() == "udp/9003";
        assert_eq!(paced.lost, if nobody { paced.sent } else { 0 }, "{title}: {paced}");
        assert_eq!(paced.gap == 0, !nobody, "{title}: {paced}");
        // What a clock tells is no part of a verdict, which snapshots hold.
        assert_eq!(account.verdict(), Account { paced: None, ..account.clone() }.verdict());
        assert!(account.figures().contains("; paced: "), "{}", account.figures());
    }
    // One that runs on is paced anew in every step with it.
    let first = record.steps.iter().find(|step| step.number == 1).unwrap();
    assert!(first.flows.iter().all(|account| account.paced.is_some()));
}
