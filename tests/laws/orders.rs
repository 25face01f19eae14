//! Plans for the changes that matter, written out: the order is the point.

use dvrlab::api::AgentMode;
use dvrlab::namespace::{HostState, desired};
use dvrlab::plan::plan;

use crate::builder::{self, FloatingIpChoice, GatewayChoice, RouterChoice};

fn router(gateway: Option<GatewayChoice>, instances: &[u8]) -> RouterChoice {
    let fip = |instance: &u8| FloatingIpChoice {
        last_octet: 101,
        net: 1,
        instance: *instance,
        centralised: false,
        place: builder::Place::Here,
    };
    let floating_ips = instances.iter().map(fip).collect();
    RouterChoice {
        name: "r1",
        interfaces: vec![builder::interface(1)],
        gateway,
        floating_ips,
        routes: Vec::new(),
        forwarded: Vec::new(),
    }
}

fn ops(mode: AgentMode, before: RouterChoice, after: RouterChoice) -> String {
    let is = desired(&builder::host(mode, &[before]), &HostState::default()).unwrap();
    let wanted = desired(&builder::host(mode, &[after]), &is).unwrap();
    let ops = plan(&is, &wanted).ops;
    ops.iter().map(|op| format!("{}: {op}", op.namespace)).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_floating_ip_is_added() {
    let gateway = || Some(builder::gateway(false));
    insta::assert_snapshot!(ops(AgentMode::Dvr, router(gateway(), &[]), router(gateway(), &[11])), @r#"
    qrouter-r1: iptables -t nat -I neutron-l3-agent-POSTROUTING 1 ! -o rfp-r1 -m conntrack ! --ctstate DNAT -j ACCEPT
    iptables -t nat -I neutron-l3-agent-PREROUTING 1 -d 203.0.1.101/32 -i rfp-r1 -j DNAT --to-destination 10.1.1.11
    iptables -t nat -I neutron-l3-agent-float-snat 1 -s 10.1.1.11/32 -j SNAT --to-source 203.0.1.101 --random-fully
    iptables -t nat -I neutron-l3-agent-snat 1 -j neutron-l3-agent-float-snat
    iptables -t filter -I neutron-l3-agent-FORWARD 2 -s 10.1.1.11/32 -o rfp-r1 -m conntrack --ctstate INVALID -j DROP
    iptables -t filter -I neutron-l3-agent-OUTPUT 1 -s 169.254.64.0/18 -o rfp-r1 -m conntrack ! --ctstate SNAT,DNAT -j DROP
    qrouter-r1: ip route replace blackhole default table 15 proto static
    qrouter-r1: ip rule add from 10.1.1.11 lookup 15 priority 32768
    qrouter-r1: conntrack -D --any 10.1.1.11
    qrouter-r1: ip rule add from 10.1.1.11 lookup 16 priority 32768
    qrouter-r1: ip rule add from all iif lo lookup 16 priority 80001
    qrouter-r1: ip rule del from 10.1.1.11 lookup 15 priority 32768
    qrouter-r1: ip route del blackhole default table 15 proto static
    fip-ext1: ip route replace 203.0.1.101 via 169.254.64.0 dev fpr-r1 table main proto static
    fip-ext1: arping -U -I fg-fg1 203.0.1.101
    "#);
}

#[test]
fn a_floating_ip_is_removed() {
    let gateway = || Some(builder::gateway(false));
    insta::assert_snapshot!(ops(AgentMode::Dvr, router(gateway(), &[11]), router(gateway(), &[])), @r#"
    fip-ext1: ip route del 203.0.1.101 via 169.254.64.0 dev fpr-r1 table main proto static
    qrouter-r1: ip rule del from 10.1.1.11 lookup 16 priority 32768
    qrouter-r1: ip rule del from all iif lo lookup 16 priority 80001
    qrouter-r1: conntrack -D --any 10.1.1.11
    qrouter-r1: conntrack -D --any 203.0.1.101
    qrouter-r1: iptables -t nat -D neutron-l3-agent-POSTROUTING ! -o rfp-r1 -m conntrack ! --ctstate DNAT -j ACCEPT
    iptables -t nat -D neutron-l3-agent-PREROUTING -d 203.0.1.101/32 -i rfp-r1 -j DNAT --to-destination 10.1.1.11
    iptables -t nat -D neutron-l3-agent-float-snat -s 10.1.1.11/32 -j SNAT --to-source 203.0.1.101 --random-fully
    iptables -t nat -D neutron-l3-agent-snat -j neutron-l3-agent-float-snat
    iptables -t filter -D neutron-l3-agent-FORWARD -s 10.1.1.11/32 -o rfp-r1 -m conntrack --ctstate INVALID -j DROP
    iptables -t filter -D neutron-l3-agent-OUTPUT -s 169.254.64.0/18 -o rfp-r1 -m conntrack ! --ctstate SNAT,DNAT -j DROP
    "#);
}

#[test]
fn a_floating_ip_is_pointed_elsewhere() {
    let gateway = || Some(builder::gateway(false));
    insta::assert_snapshot!(ops(AgentMode::Dvr, router(gateway(), &[11]), router(gateway(), &[12])), @r#"
    fip-ext1: ip route del 203.0.1.101 via 169.254.64.0 dev fpr-r1 table main proto static
    qrouter-r1: ip rule del from 10.1.1.11 lookup 16 priority 32768
    qrouter-r1: conntrack -D --any 10.1.1.11
    qrouter-r1: conntrack -D --any 203.0.1.101
    qrouter-r1: iptables -t nat -D neutron-l3-agent-PREROUTING -d 203.0.1.101/32 -i rfp-r1 -j DNAT --to-destination 10.1.1.11
    iptables -t nat -D neutron-l3-agent-float-snat -s 10.1.1.11/32 -j SNAT --to-source 203.0.1.101 --random-fully
    iptables -t filter -D neutron-l3-agent-FORWARD -s 10.1.1.11/32 -o rfp-r1 -m conntrack --ctstate INVALID -j DROP
    iptables -t nat -I neutron-l3-agent-PREROUTING 1 -d 203.0.1.101/32 -i rfp-r1 -j DNAT --to-destination 10.1.1.12
    iptables -t nat -I neutron-l3-agent-float-snat 1 -s 10.1.1.12/32 -j SNAT --to-source 203.0.1.101 --random-fully
    iptables -t filter -I neutron-l3-agent-FORWARD 2 -s 10.1.1.12/32 -o rfp-r1 -m conntrack --ctstate INVALID -j DROP
    qrouter-r1: ip route replace blackhole default table 15 proto static
    qrouter-r1: ip rule add from 10.1.1.12 lookup 15 priority 32768
    qrouter-r1: conntrack -D --any 10.1.1.12
    qrouter-r1: ip rule add from 10.1.1.12 lookup 16 priority 32768
    qrouter-r1: ip rule del from 10.1.1.12 lookup 15 priority 32768
    qrouter-r1: ip route del blackhole default table 15 proto static
    fip-ext1: ip route replace 203.0.1.101 via 169.254.64.0 dev fpr-r1 table main proto static
    fip-ext1: arping -U -I fg-fg1 203.0.1.101
    "#);
}

#[test]
fn a_centralised_floating_ip_is_removed() {
    let gateway = || Some(builder::gateway(true));
    let mut before = router(gateway(), &[11]);
    before.floating_ips[0].centralised = true;
    insta::assert_snapshot!(ops(AgentMode::DvrSnat, before, router(gateway(), &[])), @r#"
    snat-r1: ip route replace blackhole default table 15 proto static
    snat-r1: ip rule add from 10.1.1.11 lookup 15 priority 32765
    snat-r1: ip rule add from all to 10.1.1.11 lookup 15 priority 32765
    snat-r1: ip addr del 203.0.1.101/32 dev qg-gw-r1
    snat-r1: conntrack -D --any 10.1.1.11
    snat-r1: conntrack -D --any 203.0.1.101
    qrouter-r1: iptables -t nat -D neutron-l3-agent-POSTROUTING ! -o rfp-r1 -m conntrack ! --ctstate DNAT -j ACCEPT
    iptables -t nat -D neutron-l3-agent-snat -j neutron-l3-agent-float-snat
    snat-r1: iptables -t nat -D neutron-l3-agent-OUTPUT -d 203.0.1.101/32 -j DNAT --to-destination 10.1.1.11
    iptables -t nat -D neutron-l3-agent-PREROUTING -d 203.0.1.101/32 -j DNAT --to-destination 10.1.1.11
    iptables -t nat -D neutron-l3-agent-float-snat -s 10.1.1.11/32 -j SNAT --to-source 203.0.1.101 --random-fully
    snat-r1: ip rule del from 10.1.1.11 lookup 15 priority 32765
    snat-r1: ip rule del from all to 10.1.1.11 lookup 15 priority 32765
    snat-r1: ip route del blackhole default table 15 proto static
    "#);
}

#[test]
fn the_gateway_gets_another_address() {
    let gateway = |last_octet| Some(GatewayChoice { last_octet, ..builder::gateway(true) });
    insta::assert_snapshot!(ops(AgentMode::DvrSnat, router(gateway(10), &[]), router(gateway(11), &[])), @r#"
    snat-r1: iptables -t nat -D neutron-l3-agent-snat -o qg-gw-r1 -j SNAT --to-source 203.0.1.10 --random-fully
    iptables -t nat -D neutron-l3-agent-snat -m mark ! --mark 0x2/0xffff -m conntrack --ctstate DNAT -j SNAT --to-source 203.0.1.10 --random-fully
    iptables -t nat -I neutron-l3-agent-snat 2 -o qg-gw-r1 -j SNAT --to-source 203.0.1.11 --random-fully
    iptables -t nat -I neutron-l3-agent-snat 3 -m mark ! --mark 0x2/0xffff -m conntrack --ctstate DNAT -j SNAT --to-source 203.0.1.11 --random-fully
    snat-r1: ip addr add 203.0.1.11/24 dev qg-gw-r1
    snat-r1: conntrack -D --any 203.0.1.10
    snat-r1: ip addr del 203.0.1.10/24 dev qg-gw-r1
    snat-r1: arping -U -I qg-gw-r1 203.0.1.11
    "#);
}

#[test]
fn source_nat_begins() {
    let gateway = |snat| Some(GatewayChoice { snat, ..builder::gateway(true) });
    insta::assert_snapshot!(ops(AgentMode::DvrSnat, router(gateway(false), &[]), router(gateway(true), &[])), @r#"
    snat-r1: sysctl -w net.ipv4.ip_forward=0
    snat-r1: conntrack -D --any 10.1.1.0/24
    snat-r1: iptables -t filter -D neutron-l3-agent-scope -o qg-gw-r1 -m mark ! --mark 0x4000000/0xffff0000 -j DROP
    iptables -t mangle -I neutron-l3-agent-POSTROUTING 1 -o qg-gw-r1 -m connmark --mark 0x0/0xffff0000 -j CONNMARK --save-mark --nfmask 0xffff0000 --ctmask 0xffff0000
    iptables -t nat -I neutron-l3-agent-snat 2 -o qg-gw-r1 -j SNAT --to-source 203.0.1.10 --random-fully
    iptables -t filter -I neutron-l3-agent-FORWARD 2 -o qg-gw-r1 -m conntrack --ctstate INVALID -j DROP
    iptables -t filter -I neutron-l3-agent-FORWARD 3 -i qg-gw-r1 -o sg-sn11 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
    snat-r1: sysctl -w net.ipv4.ip_forward=1
    "#);
}

#[test]
fn the_gateway_is_cleared() {
    let gateway = Some(builder::gateway(true));
    insta::assert_snapshot!(ops(AgentMode::DvrSnat, router(gateway, &[11]), router(None, &[])), @r#"
    fip-ext1: ip link set fg-fg1 down
    qrouter-r1: ip rule del from 10.1.1.11 lookup 16 priority 32768
    qrouter-r1: ip rule del from all iif lo lookup 16 priority 80001
    qrouter-r1: ip rule del from 10.1.1.1/24 lookup 167837953 priority 167837953
    qrouter-r1: conntrack -D --any 10.1.1.11
    qrouter-r1: conntrack -D --any 203.0.1.101
    qrouter-r1: ip route del default via 10.1.1.2 dev qr-if11 table 167837953 proto static
    qrouter-r1: ip neigh del 10.1.1.2 dev qr-if11
    qrouter-r1: ip link del rfp-r1
    fip-ext1: ip netns del fip-ext1
    snat-r1: ip netns del snat-r1
    qrouter-r1: iptables -t mangle -D neutron-l3-agent-scope -i rfp-r1 -j MARK --set-xmark 0x4000000/0xffff0000
    iptables -t nat -D neutron-l3-agent-POSTROUTING ! -o rfp-r1 -m conntrack ! --ctstate DNAT -j ACCEPT
    iptables -t nat -D neutron-l3-agent-PREROUTING -d 203.0.1.101/32 -i rfp-r1 -j DNAT --to-destination 10.1.1.11
    iptables -t nat -D neutron-l3-agent-float-snat -s 10.1.1.11/32 -j SNAT --to-source 203.0.1.101 --random-fully
    iptables -t nat -D neutron-l3-agent-snat -j neutron-l3-agent-float-snat
    iptables -t filter -D neutron-l3-agent-FORWARD -s 10.1.1.11/32 -o rfp-r1 -m conntrack --ctstate INVALID -j DROP
    iptables -t filter -D neutron-l3-agent-OUTPUT -s 169.254.64.0/18 -o rfp-r1 -m conntrack ! --ctstate SNAT,DNAT -j DROP
    iptables -t filter -D neutron-l3-agent-scope -o rfp-r1 -m mark ! --mark 0x4000000/0xffff0000 -j DROP
    qrouter-r1: sysctl -w net.ipv4.conf.all.send_redirects=1
    qrouter-r1: sysctl -w net.ipv4.conf.qr-if11.send_redirects=1
    "#);
}
