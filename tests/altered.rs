//! Everything that can be altered in a namespace, altered there one thing after another by the programs that people use: each
//! is noticed, one reconcile puts it right, and a second finds nothing to do. Without those programs the test says that it
//! is left out.
#![expect(clippy::disallowed_methods, reason = "a test runs the built program")]

mod common;

use std::process::Command;

use serde_json::{Value, json};

/// The namespaces that stand after the first step of the recording, `q`, `s` and `f` in the table.
const NAMES: [(&str, &str); 3] = [
    ("{q}", "qrouter-b0000001-0000-4000-8000-000000000000"),
    ("{s}", "snat-b0000001-0000-4000-8000-000000000000"),
    ("{f}", "fip-c0000090-0000-4000-8000-000000000000"),
];

/// Devices: the internal port's for IPv4 and IPv6, the SNAT port's, the gateway's, the host's own port's, the link's end.
const DEVICES: [(&str, &str); 6] = [
    ("QR4", "qr-0a000001-00"),
    ("QR6", "qr-0a000061-00"),
    ("SG", "sg-5a000001-00"),
    ("QG", "qg-ee000001-00"),
    ("FG", "fg-fa000001-00"),
    ("RFP", "rfp-b0000001-0"),
];

/// What is done, one line a step, several commands apart by `;`.
const ALTERED: &str = "
ip -n {q} addr del 10.0.1.1/24 dev QR4; ip -n {q} addr add 10.0.1.1/24 brd + scope link dev QR4
ip -n {q} addr del 10.0.1.1/24 dev QR4; ip -n {q} addr add 10.0.1.1/24 brd 10.0.1.77 dev QR4
ip -n {q} addr del 10.0.1.1/24 dev QR4; ip -n {q} addr add 10.0.1.1/24 dev QR4
ip -n {q} addr del 10.0.1.1/24 dev QR4; ip -n {q} addr add 10.0.1.1 peer 10.0.1.99/24 dev QR4
ip -n {q} addr del 10.0.1.1/24 dev QR4; ip -n {q} addr add 10.0.1.1/24 brd + noprefixroute dev QR4
ip -n {q} addr del 10.0.1.1/24 dev QR4; ip -n {q} addr add 10.0.1.77/24 brd + dev QR4; ip -n {q} addr add 10.0.1.1/24 brd + dev QR4
ip -n {q} addr del 10.0.1.1/24 dev QR4; ip -n {q} addr add 10.0.1.1/25 brd + dev QR4
ip -n {q} addr change 10.0.1.1/24 dev QR4 valid_lft 1000 preferred_lft 500
ip -n {s} addr change 203.0.113.10/24 dev QG valid_lft 1000 preferred_lft 500
ip -n {s} addr del 10.0.1.9/24 dev SG; ip -n {s} addr add 10.0.1.9/24 scope host dev SG
ip -n {q} addr change fd00:1::1/64 dev QR6 valid_lft 1000 preferred_lft 500
ip -n {q} addr del fd00:1::1/64 dev QR6; ip -n {q} addr add fd00:1::1/64 nodad noprefixroute dev QR6
ip -n {q} addr del fd00:1::1/64 dev QR6; ip -n {q} addr add fd00:1::1/64 peer fd00:1::77 dev QR6
ip -n {q} addr change fe80::f816:3eff:fe0a:61/64 dev QR6 valid_lft 1000 preferred_lft 500
ip -n {q} addr del fe80::f816:3eff:fe0a:61/64 dev QR6
ip -n {f} addr add 203.0.113.77/24 dev FG
ip -n {q} addr add 192.0.2.1/32 dev lo
ip -n {s} route replace default via 203.0.113.1 dev QG
ip -n {s} route replace default via 203.0.113.2 dev QG proto static
ip -n {s} route replace default via 203.0.113.1 dev QG proto static src 10.0.1.9
ip -n {s} route replace default via 203.0.113.1 dev QG proto static mtu 1300
ip -n {s} route replace default via 203.0.113.1 dev QG proto static onlink
ip -n {s} route add default via 203.0.113.1 dev QG proto static metric 5
ip -n {s} route add default via 203.0.113.1 dev QG proto static tos 0x10
ip -n {s} route replace default proto static nexthop via 203.0.113.1 dev QG weight 1 nexthop via 203.0.113.2 dev QG weight 2
ip -n {s} route replace blackhole default
ip -n {s} route add blackhole 198.51.100.0/24
ip -n {s} route add throw 198.51.100.0/24
ip -n {s} route add local 198.51.100.7 dev lo table main
ip -n {s} route add 198.51.100.0/24 dev QG table local
ip -n {s} route del 10.0.1.0/24 dev SG
ip -n {s} route replace 10.0.1.0/24 dev SG proto kernel scope link src 203.0.113.10
ip -n {s} route replace 10.0.1.0/24 dev SG proto kernel scope link src 10.0.1.9 mtu 1300
ip -n {s} route replace 10.0.1.0/24 via 203.0.113.1 dev QG
ip -n {s} -6 route change default via 2001:db8:90::1 dev QG proto static pref high
ip -n {s} -6 route replace default via 2001:db8:90::1 dev QG proto static mtu 1300
ip -n {s} -6 route replace default via 2001:db8:90::1 dev QG proto boot
ip -n {s} -6 route add default via 2001:db8:90::1 dev QG proto static metric 5
ip -n {s} -6 route add 2001:db8:90::/64 dev QG proto kernel metric 77
ip -n {s} -6 route del 2001:db8:90::/64 dev QG
ip -n {q} route flush table 16
ip -n {q} route replace default via 10.0.1.9 dev QR4 proto static table 16
ip -n {q} rule add from 10.0.1.1/24 ipproto tcp lookup 167772417 pref 167772417
ip -n {q} rule del pref 167772417; ip -n {q} rule add not from 10.0.1.1/24 lookup 167772417 pref 167772417
ip -n {q} rule del pref 167772417; ip -n {q} rule add from 10.0.1.1/24 ipproto tcp lookup 167772417 pref 167772417
ip -n {q} rule del pref 167772417; ip -n {q} rule add from 10.0.1.1/24 tos 0x10 lookup 167772417 pref 167772417
ip -n {q} rule del pref 167772417; ip -n {q} rule add from 10.0.1.1/24 lookup 167772417 suppress_prefixlength 0 pref 167772417
ip -n {q} rule del pref 167772417; ip -n {q} rule add from 10.0.1.1/24 fwmark 7 lookup 167772417 pref 167772417
ip -n {q} rule del pref 167772417; ip -n {q} rule add from 10.0.1.1/24 blackhole pref 167772417
ip -n {q} rule del pref 167772417; ip -n {q} rule add from 10.0.1.1/24 lookup 167772417 pref 5
ip -n {q} rule add from all prohibit pref 7
ip -n {q} rule add from all goto 32766 pref 8
ip -n {q} rule del pref 0
ip -n {q} -6 rule del pref 32766
ip -n {f} rule add iif FG lookup 16 pref 9
ip -n {q} link set QR4 mtu 1300
ip -n {q} link set QR4 address 02:00:00:00:00:07
ip -n {q} link set QR4 down
ip -n {q} link set QR4 txqueuelen 7
ip -n {q} link set QR4 promisc on
ip -n {q} link set QR4 arp off
ip -n {q} link set QR4 allmulticast on
ip -n {q} link set QR4 alias other
ip -n {q} link set QR4 down; ip -n {q} link set QR4 name other0
ip -n {q} link set RFP arp off
ip -n {q} route del local 10.0.1.1 table local
ip -n {s} route flush table local
ip -n {s} -6 route del local 2001:db8:90::10 dev QG table local
ip -n {q} addr flush dev QR4
ip -n {q} rule flush
ip -n {q} link set QR4 netns {s}
ip -n {s} link del QG; ip -n {s} link del SG
ip -n {f} link del FG
ip -n {q} link add br0 type bridge; ip -n {q} link set QR4 master br0
ip -n {s} link set QG mtu 1300
ip -n {f} link set FG down
ip -n {q} neigh replace 10.0.1.9 lladdr 02:00:00:00:00:07 dev QR4 nud permanent
ip -n {q} neigh replace 10.0.1.9 lladdr 02:00:00:00:00:07 dev QR4 nud reachable
ip -n {q} neigh del 10.0.1.9 dev QR4
ip -n {q} neigh add 10.0.1.200 lladdr 02:00:00:00:00:07 dev QR4 nud permanent
ip -n {q} neigh del fd00:1::9 dev QR6
ip netns exec {q} sysctl -w net.ipv4.ip_forward=0
ip netns exec {q} sysctl -w net.ipv4.conf.QR4.send_redirects=1
ip netns exec {q} sysctl -w net.ipv4.conf.QR4.rp_filter=1
ip netns exec {q} sysctl -w net.ipv4.conf.default.forwarding=0
ip netns exec {q} sysctl -w net.ipv6.conf.QR6.forwarding=0
ip netns exec {s} sysctl -w net.ipv6.conf.QG.accept_ra=2
ip netns exec {s} sysctl -w net.netfilter.nf_conntrack_tcp_loose=1
ip netns exec {f} sysctl -w net.ipv4.conf.FG.proxy_arp=0
ip netns exec {q} sysctl -w net.ipv6.conf.QR6.disable_ipv6=1
ip netns exec {s} nft flush ruleset
ip netns exec {s} iptables -P FORWARD DROP
ip netns exec {s} iptables -t nat -F neutron-l3-agent-snat
ip netns exec {s} iptables -t nat -I neutron-l3-agent-snat -s 10.0.1.0/24 -j ACCEPT
ip netns exec {s} iptables -t nat -N other
ip netns exec {s} iptables -t mangle -D neutron-l3-agent-mark 1
ip netns exec {s} iptables -D FORWARD 1; ip netns exec {s} iptables -A FORWARD -j neutron-filter-top
ip netns exec {q} ip6tables -t nat -F neutron-l3-agent-PREROUTING; ip netns exec {q} ip6tables -t nat -F PREROUTING
ip netns del {q}
ip netns del {s}; ip netns add {s}
ip netns del {f}
";

fn words(command: &str) -> Vec<String> {
    let filled = |word: &str| {
        let names = NAMES.iter().chain(&DEVICES);
        names.fold(word.to_owned(), |word, (short, name)| word.replace(short, name))
    };
    command.split_whitespace().map(filled).collect()
}

#[test]
fn whatever_is_altered_is_noticed_and_put_right() {
    if common::labs_are_skipped() {
        return;
    }
    let text = std::fs::read_to_string(common::project("tests/recordings/11-edge-dual-stack.json")).unwrap();
    let mut recording: Value = serde_json::from_str(&text).unwrap();
    let rows: Vec<&str> = ALTERED.lines().filter(|line| !line.is_empty()).collect();
    let steps = recording["steps"].as_array_mut().unwrap();
    steps.truncate(1);
    for row in &rows {
        let commands: Vec<Vec<String>> = row.split(';').map(words).collect();
        steps.push(json!({"op": "perturb", "title": row, "commands": commands}));
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("in.json");
    std::fs::write(&file, recording.to_string()).unwrap();
    let _permit = common::Permit::wait();
    let run = Command::new(common::program()).arg("replay").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    if run.status.code() == Some(3) {
        println_left_out(&String::from_utf8_lossy(&run.stderr));
        return;
    }
    let mut wrong = Vec::new();
    for (n, row) in rows.iter().enumerate() {
        let head = format!("step {}: ", n + 2);
        let told = said.split("\nstep ").map(|part| format!("step {part}")).find(|part| part.starts_with(&head));
        let told = told.unwrap_or_else(|| panic!("nothing is said of {row}"));
        if told.contains("(0 operations") {
            wrong.push(format!("not noticed: {row}\n{told}"));
        }
        if told.contains("note:") {
            wrong.push(format!("not done: {row}\n{told}"));
        }
        let differs = |line: &str| ["    - ", "    + ", "  - ", "  + "].iter().any(|sign| line.starts_with(sign));
        if told.contains("FAILED") || told.lines().any(differs) {
            wrong.push(format!("not put right: {row}\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[expect(clippy::print_stderr, reason = "what is left out has to be said")]
fn println_left_out(why: &str) {
    eprintln!("left out, programs are missing: {why}");
}
