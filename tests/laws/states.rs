//! What stands where, written out, so that the rules of derivation cannot drift: as the real agent
//! has it, without deviations. What every namespace of a kind has is written
//! out once, for a router without gateway.

use dvrlab::api::AgentMode;
use dvrlab::deviation::Deviations;
use dvrlab::namespace::{HostState, NamespaceState, desired, lines, skeleton};
use dvrlab::net::Family;

use crate::builder::{self, FloatingIpChoice, RouterChoice};

fn state(mode: AgentMode, router: RouterChoice) -> HostState {
    let mut config = builder::host(mode, &[router]);
    config.options.deviations = Deviations::NONE;
    desired(&config, &HostState::default()).unwrap()
}

fn namespace<'a>(state: &'a HostState, name: &str) -> &'a NamespaceState {
    &state.namespaces[&name.parse::<dvrlab::name::NamespaceName>().unwrap()]
}

fn all(state: &HostState, name: &str) -> String {
    lines(namespace(state, name)).join("\n")
}

/// What a namespace has besides the skeleton and the base rules of its kind.
fn own(state: &HostState, name: &str) -> String {
    let name = name.parse().unwrap();
    let usual = NamespaceState {
        rules: dvrlab::namespace::PolicyRule::base().into(),
        rules_v4: skeleton(&name, Family::V4),
        rules_v6: skeleton(&name, Family::V6),
        ..NamespaceState::default()
    };
    let usual = lines(&usual);
    let mut own = lines(&state.namespaces[&name]);
    own.retain(|line| !usual.contains(line) && !line.contains(".forwarding = 1"));
    own.join("\n")
}

fn router() -> RouterChoice {
    RouterChoice { name: "r1", interfaces: vec![builder::interface(1)], ..RouterChoice::default() }
}

#[expect(clippy::too_many_lines, reason = "the lines of a namespace")]
#[test]
fn a_router_without_gateway() {
    let state = state(AgentMode::Dvr, router());
    assert_eq!(state.namespaces.len(), 1);
    insta::assert_snapshot!(all(&state, "qrouter-r1"), @r#"
    link   qr-if11 mtu 1450 fa:16:3e:88:99:06 LOWER_UP,UP
    addr   qr-if11 10.1.1.1/24 scope global broadcast 10.1.1.255
    rule4  0: from all lookup local
    rule4  32766: from all lookup main
    rule4  32767: from all lookup default
    rule6  0: from all lookup local
    rule6  32766: from all lookup main
    neigh  10.1.1.11 lladdr fa:16:3e:ac:f0:c3 dev qr-if11 PERMANENT
    neigh  10.1.1.12 lladdr fa:16:3e:aa:19:c4 dev qr-if11 PERMANENT
    sysctl net.ipv4.conf.all.accept_redirects = 0
    sysctl net.ipv4.conf.all.arp_announce = 2
    sysctl net.ipv4.conf.all.arp_ignore = 1
    sysctl net.ipv4.conf.all.forwarding = 1
    sysctl net.ipv4.conf.all.promote_secondaries = 1
    sysctl net.ipv4.conf.default.forwarding = 1
    sysctl net.ipv4.conf.lo.forwarding = 1
    sysctl net.ipv4.conf.qr-if11.forwarding = 1
    sysctl net.ipv4.ip_forward = 1
    sysctl net.ipv6.conf.all.forwarding = 1
    sysctl net.ipv6.conf.default.forwarding = 1
    sysctl net.ipv6.conf.lo.forwarding = 1
    sysctl net.ipv6.conf.qr-if11.forwarding = 1
    sysctl net.netfilter.nf_conntrack_tcp_be_liberal = 1
    ip4t  filter :neutron-filter-top -
    ip4t  filter :neutron-l3-agent-FORWARD -
    ip4t  filter :neutron-l3-agent-INPUT -
    ip4t  filter :neutron-l3-agent-OUTPUT -
    ip4t  filter :neutron-l3-agent-local -
    ip4t  filter :neutron-l3-agent-scope -
    ip4t  filter -A INPUT -j neutron-l3-agent-INPUT
    ip4t  filter -A FORWARD -j neutron-filter-top
    ip4t  filter -A FORWARD -j neutron-l3-agent-FORWARD
    ip4t  filter -A OUTPUT -j neutron-filter-top
    ip4t  filter -A OUTPUT -j neutron-l3-agent-OUTPUT
    ip4t  filter -A neutron-filter-top -j neutron-l3-agent-local
    ip4t  filter -A neutron-l3-agent-FORWARD -j neutron-l3-agent-scope
    ip4t  filter -A neutron-l3-agent-INPUT -m mark --mark 0x1/0xffff -j ACCEPT
    ip4t  filter -A neutron-l3-agent-INPUT -p tcp -m tcp --dport 9697 -j DROP
    ip4t  filter -A neutron-l3-agent-scope -o qr-if11 -m mark ! --mark 0x4000000/0xffff0000 -j DROP
    ip4t  mangle :neutron-l3-agent-FORWARD -
    ip4t  mangle :neutron-l3-agent-INPUT -
    ip4t  mangle :neutron-l3-agent-OUTPUT -
    ip4t  mangle :neutron-l3-agent-POSTROUTING -
    ip4t  mangle :neutron-l3-agent-PREROUTING -
    ip4t  mangle :neutron-l3-agent-float-snat -
    ip4t  mangle :neutron-l3-agent-floatingip -
    ip4t  mangle :neutron-l3-agent-mark -
    ip4t  mangle :neutron-l3-agent-scope -
    ip4t  mangle -A PREROUTING -j neutron-l3-agent-PREROUTING
    ip4t  mangle -A INPUT -j neutron-l3-agent-INPUT
    ip4t  mangle -A FORWARD -j neutron-l3-agent-FORWARD
    ip4t  mangle -A OUTPUT -j neutron-l3-agent-OUTPUT
    ip4t  mangle -A POSTROUTING -j neutron-l3-agent-POSTROUTING
    ip4t  mangle -A neutron-l3-agent-PREROUTING -j neutron-l3-agent-mark
    ip4t  mangle -A neutron-l3-agent-PREROUTING -j neutron-l3-agent-scope
    ip4t  mangle -A neutron-l3-agent-PREROUTING -m connmark ! --mark 0x0/0xffff0000 -j CONNMARK --restore-mark --nfmask 0xffff0000 --ctmask 0xffff0000
    ip4t  mangle -A neutron-l3-agent-PREROUTING -j neutron-l3-agent-floatingip
    ip4t  mangle -A neutron-l3-agent-PREROUTING -d 169.254.169.254/32 -i qr-+ -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x1/0xffff
    ip4t  mangle -A neutron-l3-agent-float-snat -m connmark --mark 0x0/0xffff0000 -j CONNMARK --save-mark --nfmask 0xffff0000 --ctmask 0xffff0000
    ip4t  mangle -A neutron-l3-agent-scope -i qr-if11 -j MARK --set-xmark 0x4000000/0xffff0000
    ip4t  nat :neutron-l3-agent-OUTPUT -
    ip4t  nat :neutron-l3-agent-POSTROUTING -
    ip4t  nat :neutron-l3-agent-PREROUTING -
    ip4t  nat :neutron-l3-agent-float-snat -
    ip4t  nat :neutron-l3-agent-snat -
    ip4t  nat :neutron-postrouting-bottom -
    ip4t  nat -A PREROUTING -j neutron-l3-agent-PREROUTING
    ip4t  nat -A OUTPUT -j neutron-l3-agent-OUTPUT
    ip4t  nat -A POSTROUTING -j neutron-l3-agent-POSTROUTING
    ip4t  nat -A POSTROUTING -j neutron-postrouting-bottom
    ip4t  nat -A neutron-l3-agent-PREROUTING -d 169.254.169.254/32 -i qr-+ -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9697
    ip4t  nat -A neutron-postrouting-bottom -m comment --comment "Perform source NAT on outgoing traffic." -j neutron-l3-agent-snat
    ip4t  raw :neutron-l3-agent-OUTPUT -
    ip4t  raw :neutron-l3-agent-PREROUTING -
    ip4t  raw -A PREROUTING -j neutron-l3-agent-PREROUTING
    ip4t  raw -A OUTPUT -j neutron-l3-agent-OUTPUT
    ip6t  filter :neutron-filter-top -
    ip6t  filter :neutron-l3-agent-FORWARD -
    ip6t  filter :neutron-l3-agent-INPUT -
    ip6t  filter :neutron-l3-agent-OUTPUT -
    ip6t  filter :neutron-l3-agent-local -
    ip6t  filter :neutron-l3-agent-scope -
    ip6t  filter -A INPUT -j neutron-l3-agent-INPUT
    ip6t  filter -A FORWARD -j neutron-filter-top
    ip6t  filter -A FORWARD -j neutron-l3-agent-FORWARD
    ip6t  filter -A OUTPUT -j neutron-filter-top
    ip6t  filter -A OUTPUT -j neutron-l3-agent-OUTPUT
    ip6t  filter -A neutron-filter-top -j neutron-l3-agent-local
    ip6t  filter -A neutron-l3-agent-FORWARD -j neutron-l3-agent-scope
    ip6t  filter -A neutron-l3-agent-INPUT -m mark --mark 0x1/0xffff -j ACCEPT
    ip6t  filter -A neutron-l3-agent-INPUT -p tcp -m tcp --dport 9697 -j DROP
    ip6t  mangle :neutron-l3-agent-FORWARD -
    ip6t  mangle :neutron-l3-agent-INPUT -
    ip6t  mangle :neutron-l3-agent-OUTPUT -
    ip6t  mangle :neutron-l3-agent-POSTROUTING -
    ip6t  mangle :neutron-l3-agent-PREROUTING -
    ip6t  mangle :neutron-l3-agent-scope -
    ip6t  mangle -A PREROUTING -j neutron-l3-agent-PREROUTING
    ip6t  mangle -A INPUT -j neutron-l3-agent-INPUT
    ip6t  mangle -A FORWARD -j neutron-l3-agent-FORWARD
    ip6t  mangle -A OUTPUT -j neutron-l3-agent-OUTPUT
    ip6t  mangle -A POSTROUTING -j neutron-l3-agent-POSTROUTING
    ip6t  mangle -A neutron-l3-agent-PREROUTING -j neutron-l3-agent-scope
    ip6t  mangle -A neutron-l3-agent-PREROUTING -m connmark ! --mark 0x0/0xffff0000 -j CONNMARK --restore-mark --nfmask 0xffff0000 --ctmask 0xffff0000
    ip6t  mangle -A neutron-l3-agent-PREROUTING -d fe80::a9fe:a9fe/128 -i qr-+ -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x1/0xffff
    ip6t  nat :neutron-l3-agent-PREROUTING -
    ip6t  nat -A PREROUTING -j neutron-l3-agent-PREROUTING
    ip6t  nat -A neutron-l3-agent-PREROUTING -d fe80::a9fe:a9fe/128 -i qr-+ -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9697
    ip6t  raw :neutron-l3-agent-OUTPUT -
    ip6t  raw :neutron-l3-agent-PREROUTING -
    ip6t  raw -A PREROUTING -j neutron-l3-agent-PREROUTING
    ip6t  raw -A OUTPUT -j neutron-l3-agent-OUTPUT
    "#);
}

#[test]
fn a_compute_host_with_a_floating_ip() {
    let fip =
        FloatingIpChoice { last_octet: 101, net: 1, instance: 11, centralised: false, place: builder::Place::Here };
    let choice = RouterChoice { gateway: Some(builder::gateway(false)), floating_ips: vec![fip], ..router() };
    let state = state(AgentMode::Dvr, choice);
    assert_eq!(state.namespaces.len(), 2);
    insta::assert_snapshot!(own(&state, "qrouter-r1"), @r#"
    link   qr-if11 mtu 1450 fa:16:3e:88:99:06 LOWER_UP,UP
    link   rfp-r1 mtu 1500 fa:16:3e:ea:e2:18 LOWER_UP,UP
    addr   qr-if11 10.1.1.1/24 scope global broadcast 10.1.1.255
    addr   rfp-r1 169.254.64.0/31 scope global
    rule4  32768: from 10.1.1.11 lookup 16
    rule4  167837953: from 10.1.1.1/24 lookup 167837953
    route4 default via 169.254.64.1 dev rfp-r1 table 16 proto static
    route4 default via 10.1.1.2 dev qr-if11 table 167837953 proto static
    route6 default via fe80::f816:3eff:fe34:4e3 dev rfp-r1 table main proto static metric 1024 pref medium
    neigh  10.1.1.2 lladdr fa:16:3e:e9:3c:19 dev qr-if11 PERMANENT
    neigh  10.1.1.11 lladdr fa:16:3e:ac:f0:c3 dev qr-if11 PERMANENT
    neigh  10.1.1.12 lladdr fa:16:3e:aa:19:c4 dev qr-if11 PERMANENT
    neigh  169.254.64.1 lladdr fa:16:3e:34:04:e3 dev rfp-r1 PERMANENT
    sysctl net.ipv4.conf.all.accept_redirects = 0
    sysctl net.ipv4.conf.all.arp_announce = 2
    sysctl net.ipv4.conf.all.arp_ignore = 1
    sysctl net.ipv4.conf.all.promote_secondaries = 1
    sysctl net.ipv4.conf.all.send_redirects = 0
    sysctl net.ipv4.conf.qr-if11.send_redirects = 0
    sysctl net.ipv4.ip_forward = 1
    sysctl net.netfilter.nf_conntrack_tcp_be_liberal = 1
    ip4t  filter -A neutron-l3-agent-INPUT -m mark --mark 0x1/0xffff -j ACCEPT
    ip4t  filter -A neutron-l3-agent-INPUT -p tcp -m tcp --dport 9697 -j DROP
    ip4t  filter -A neutron-l3-agent-scope -o qr-if11 -m mark ! --mark 0x4000000/0xffff0000 -j DROP
    ip4t  filter -A neutron-l3-agent-scope -o rfp-r1 -m mark ! --mark 0x4000000/0xffff0000 -j DROP
    ip4t  mangle -A neutron-l3-agent-scope -i qr-if11 -j MARK --set-xmark 0x4000000/0xffff0000
    ip4t  mangle -A neutron-l3-agent-scope -i rfp-r1 -j MARK --set-xmark 0x4000000/0xffff0000
    ip4t  nat -A neutron-l3-agent-POSTROUTING ! -o rfp-r1 -m conntrack ! --ctstate DNAT -j ACCEPT
    ip4t  nat -A neutron-l3-agent-PREROUTING -d 203.0.1.101/32 -i rfp-r1 -j DNAT --to-destination 10.1.1.11
    ip4t  nat -A neutron-l3-agent-PREROUTING -d 169.254.169.254/32 -i qr-+ -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9697
    ip4t  nat -A neutron-l3-agent-float-snat -s 10.1.1.11/32 -j SNAT --to-source 203.0.1.101 --random-fully
    ip4t  nat -A neutron-l3-agent-snat -j neutron-l3-agent-float-snat
    ip6t  filter -A neutron-l3-agent-INPUT -m mark --mark 0x1/0xffff -j ACCEPT
    ip6t  filter -A neutron-l3-agent-INPUT -p tcp -m tcp --dport 9697 -j DROP
    ip6t  nat -A neutron-l3-agent-PREROUTING -d fe80::a9fe:a9fe/128 -i qr-+ -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9697
    "#);
    insta::assert_snapshot!(own(&state, "fip-ext1"), @r#"
    link   fg-fg1 mtu 1500 fa:16:3e:38:90:ce LOWER_UP,UP
    link   fpr-r1 mtu 1500 fa:16:3e:34:04:e3 LOWER_UP,UP
    addr   fg-fg1 203.0.1.200/24 scope global broadcast 203.0.1.255
    addr   fpr-r1 169.254.64.1/31 scope global
    rule4  2852012033: from all iif fpr-r1 lookup 2852012033
    route4 203.0.1.101 via 169.254.64.0 dev fpr-r1 table main proto static
    route4 default via 203.0.1.1 dev fg-fg1 table 2852012033 proto static
    neigh  169.254.64.0 lladdr fa:16:3e:ea:e2:18 dev fpr-r1 PERMANENT
    sysctl net.ipv4.conf.all.accept_redirects = 0
    sysctl net.ipv4.conf.all.arp_announce = 2
    sysctl net.ipv4.conf.all.arp_ignore = 1
    sysctl net.ipv4.conf.all.promote_secondaries = 1
    sysctl net.ipv4.conf.fg-fg1.proxy_arp = 1
    sysctl net.ipv4.ip_forward = 1
    sysctl net.ipv4.ip_nonlocal_bind = 1
    sysctl net.ipv4.neigh.fg-fg1.proxy_delay = 0
    sysctl net.netfilter.nf_conntrack_tcp_be_liberal = 1
    "#);
}

#[test]
fn the_host_of_the_gateway() {
    let state = state(AgentMode::DvrSnat, RouterChoice { gateway: Some(builder::gateway(true)), ..router() });
    assert_eq!(state.namespaces.len(), 3);
    insta::assert_snapshot!(own(&state, "snat-r1"), @r#"
    link   qg-gw-r1 mtu 1500 fa:16:3e:bc:0a:08 LOWER_UP,UP
    link   sg-sn11 mtu 1450 fa:16:3e:e9:3c:19 LOWER_UP,UP
    addr   qg-gw-r1 203.0.1.10/24 scope global broadcast 203.0.1.255
    addr   sg-sn11 10.1.1.2/24 scope global broadcast 10.1.1.255
    route4 default via 203.0.1.1 dev qg-gw-r1 table main proto static
    sysctl net.ipv4.conf.all.accept_redirects = 0
    sysctl net.ipv4.conf.all.arp_announce = 2
    sysctl net.ipv4.conf.all.arp_ignore = 1
    sysctl net.ipv4.conf.all.promote_secondaries = 1
    sysctl net.ipv4.ip_forward = 1
    sysctl net.ipv4.ip_nonlocal_bind = 1
    sysctl net.ipv6.conf.qg-gw-r1.accept_ra = 2
    sysctl net.netfilter.nf_conntrack_tcp_be_liberal = 1
    sysctl net.netfilter.nf_conntrack_tcp_loose = 0
    ip4t  filter -A neutron-l3-agent-scope -o sg-sn11 -m mark ! --mark 0x4000000/0xffff0000 -j DROP
    ip4t  mangle -A neutron-l3-agent-POSTROUTING -o qg-gw-r1 -m connmark --mark 0x0/0xffff0000 -j CONNMARK --save-mark --nfmask 0xffff0000 --ctmask 0xffff0000
    ip4t  mangle -A neutron-l3-agent-mark -i qg-gw-r1 -j MARK --set-xmark 0x2/0xffff
    ip4t  mangle -A neutron-l3-agent-scope -i sg-sn11 -j MARK --set-xmark 0x4000000/0xffff0000
    ip4t  mangle -A neutron-l3-agent-scope -i qg-gw-r1 -j MARK --set-xmark 0x4000000/0xffff0000
    ip4t  nat -A neutron-l3-agent-POSTROUTING ! -o qg-gw-r1 -m conntrack ! --ctstate DNAT -j ACCEPT
    ip4t  nat -A neutron-l3-agent-snat -o qg-gw-r1 -j SNAT --to-source 203.0.1.10 --random-fully
    ip4t  nat -A neutron-l3-agent-snat -m mark ! --mark 0x2/0xffff -m conntrack --ctstate DNAT -j SNAT --to-source 203.0.1.10 --random-fully
    "#);
}

#[test]
fn a_host_without_external_network() {
    let state = state(AgentMode::DvrNoExternal, RouterChoice { gateway: Some(builder::gateway(false)), ..router() });
    assert_eq!(state.namespaces.len(), 1);
    insta::assert_snapshot!(own(&state, "qrouter-r1"), @r#"
    link   qr-if11 mtu 1450 fa:16:3e:88:99:06 LOWER_UP,UP
    addr   qr-if11 10.1.1.1/24 scope global broadcast 10.1.1.255
    rule4  167837953: from 10.1.1.1/24 lookup 167837953
    route4 default via 10.1.1.2 dev qr-if11 table 167837953 proto static
    neigh  10.1.1.2 lladdr fa:16:3e:e9:3c:19 dev qr-if11 PERMANENT
    neigh  10.1.1.11 lladdr fa:16:3e:ac:f0:c3 dev qr-if11 PERMANENT
    neigh  10.1.1.12 lladdr fa:16:3e:aa:19:c4 dev qr-if11 PERMANENT
    sysctl net.ipv4.conf.all.accept_redirects = 0
    sysctl net.ipv4.conf.all.arp_announce = 2
    sysctl net.ipv4.conf.all.arp_ignore = 1
    sysctl net.ipv4.conf.all.promote_secondaries = 1
    sysctl net.ipv4.conf.all.send_redirects = 0
    sysctl net.ipv4.conf.qr-if11.send_redirects = 0
    sysctl net.ipv4.ip_forward = 1
    sysctl net.netfilter.nf_conntrack_tcp_be_liberal = 1
    ip4t  filter -A neutron-l3-agent-INPUT -m mark --mark 0x1/0xffff -j ACCEPT
    ip4t  filter -A neutron-l3-agent-INPUT -p tcp -m tcp --dport 9697 -j DROP
    ip4t  filter -A neutron-l3-agent-scope -o qr-if11 -m mark ! --mark 0x4000000/0xffff0000 -j DROP
    ip4t  mangle -A neutron-l3-agent-scope -i qr-if11 -j MARK --set-xmark 0x4000000/0xffff0000
    ip4t  nat -A neutron-l3-agent-PREROUTING -d 169.254.169.254/32 -i qr-+ -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9697
    ip6t  filter -A neutron-l3-agent-INPUT -m mark --mark 0x1/0xffff -j ACCEPT
    ip6t  filter -A neutron-l3-agent-INPUT -p tcp -m tcp --dport 9697 -j DROP
    ip6t  nat -A neutron-l3-agent-PREROUTING -d fe80::a9fe:a9fe/128 -i qr-+ -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9697
    "#);
}
