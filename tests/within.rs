//! `within`: what becomes true later is waited for, what does not fails with the time that it had.

mod common;

use dvrlab::record::FailureKind;

const HEADER: &str = "
# What takes a while.
#
# Setup:   one router, one instance.
# Change:  the server ignores echo requests, as soon as a busy shell gets to it.
# Seen:    no answer in the end; that it answers again is waited for in vain.
# Mirrors: nothing.
";
const REST: &str = r#"instances:
  vm1: { host: cmp1, network: red, address: 10.0.1.11 }
outside:
  web:  { behind: public, address: 198.51.100.2 }
steps:
  - exec: { at: web, run: "(i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all) >&- 2>&- &" }
    within: 30s
    expect:
      vm1 -> web icmp: as 203.0.113.10 no answer
      vm1 -> web udp: as 203.0.113.10
  - within: 120ms
    expect:
      vm1 -> web icmp: as 203.0.113.10
      vm1 -> web udp: as 203.0.113.10
      net1/snat-r1: has device qg-r1
"#;

#[test]
fn what_is_expected_may_take_its_time_and_no_longer() {
    if common::labs_are_skipped() {
        return;
    }
    let record = common::record_of_text("within.yaml", [HEADER, common::ONE_ROUTER, REST].concat());
    let failures: Vec<_> = record.steps.iter().flat_map(|step| &step.failures).collect();
    let told: Vec<(FailureKind, &str)> = failures.iter().map(|one| (one.kind, one.text.as_str())).collect();
    let sentence = "`vm1 -> web icmp: as 203.0.113.10`: icmp vm1 -> web: arrived as 203.0.113.10 via net1, but no answer came back; \
                    not within 120ms";
    assert_eq!(told, [(FailureKind::Expectation, sentence)]);
}
