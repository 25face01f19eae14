//! The programs and netlink see and make the same.

use super::*;
use crate::kernel::nft;
use crate::kernel::nft::testing::{Desired, assert_is, changes, desired};
use crate::kernel::testing::done_in_a_sandbox;

const BEFORE: &str = "ip4 filter -A FORWARD -j own
ip4 filter -A own -s 10.0.1.11/32 -o rfp-r1 -m conntrack --ctstate INVALID -j DROP
ip4 filter -A own -i qr-+ -p tcp -m tcp --dport 80 -j ACCEPT
ip4 filter -A going -j RETURN
ip4 filter -A FORWARD -j going
ip4 nat -A POSTROUTING -j snat
ip4 nat -A snat -o qg-r1 -m comment --comment \"Perform source NAT on outgoing traffic.\" -j SNAT --to-source 203.0.113.10 --random-fully
ip4 mangle -A PREROUTING -i qr-red4 -j MARK --set-xmark 0x4000000/0xffff0000
ip4 raw -A PREROUTING -j CT --notrack
ip6 filter -A FORWARD -o sg-red6 -m mark ! --mark 0x4000000/0xffff0000 -j DROP
ip6 raw -A OUTPUT -j ACCEPT
";
const AFTER: &str = "ip4 filter -A FORWARD -s 10.0.2.0/24 -j RETURN
ip4 filter -A FORWARD -j own
ip4 filter -A own -i qr-+ -p tcp -m tcp --dport 80 -j ACCEPT
ip4 filter -A own -j come
ip4 filter -A come -j DROP
ip4 nat -A POSTROUTING -j snat
ip4 nat -A snat -s 10.0.1.11/32 -j SNAT --to-source 203.0.113.101
ip6 filter -A FORWARD -j REJECTED
";

fn make(netns: &Netns, wanted: &Desired) {
    commit(netns, &changes(&nft::read(netns.nf()).unwrap(), wanted)).unwrap();
    let tables = nft::read(netns.nf()).unwrap();
    assert_is(&tables, wanted);
    for family in Family::BOTH {
        assert_eq!(&read(netns, family).unwrap(), tables.of(family), "{family:?}");
    }
}

#[test]
fn both_ways_see_what_the_programs_made_and_what_stays_is_not_touched() {
    if done_in_a_sandbox() {
        return;
    }
    if let Err(Unavailable::Missing(program)) = available() {
        eprintln!("left out: rules by iptables, since {program} is missing");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let netns = Netns::create(runtime.handle()).unwrap();
    make(&netns, &desired(BEFORE));
    let counted = "-t filter -R own 2 -i qr-+ -p tcp -m tcp --dport 80 -j ACCEPT -c 7 700";
    run(&netns, "iptables", &counted.split(' ').collect::<Vec<_>>(), "").unwrap();
    make(&netns, &desired(AFTER));
    let saved = run(&netns, "iptables-save", &["-c"], "").unwrap();
    assert!(saved.contains("[7:700] -A own -i qr-+ -p tcp"), "the rule that stays was made anew:\n{saved}");
    make(&netns, &Desired::new());
}

#[test]
fn a_refusal_names_the_line_and_changes_nothing_of_its_table() {
    if done_in_a_sandbox() {
        return;
    }
    if let Err(Unavailable::Missing(program)) = available() {
        eprintln!("left out: refusals by iptables, since {program} is missing");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let netns = Netns::create(runtime.handle()).unwrap();
    let mut wanted = desired("ip4 filter -A FORWARD -j ACCEPT\nip4 filter -A FORWARD -j own\n");
    let tables = &mut wanted.get_mut(&Family::V4).unwrap().tables;
    for chains in tables.values_mut() {
        chains.retain(|name, _| name.to_string() != "own");
    }
    let error = commit(&netns, &changes(&nft::read(netns.nf()).unwrap(), &wanted)).unwrap_err().to_string();
    assert!(error.starts_with("iptables-restore: "), "{error}");
    assert!(read(&netns, Family::V4).unwrap().tables.is_empty(), "{error}");
}

#[test]
fn lines_are_found_in_the_programs_words() {
    assert_eq!(line_named("iptables-restore v1.8.9 (nf_tables): line 5: RULE_INSERT failed"), Some(5));
    assert_eq!(line_named("Error occurred at line: 12"), Some(12));
    assert_eq!(line_named("iptables-restore: unable to initialize"), None);
}
