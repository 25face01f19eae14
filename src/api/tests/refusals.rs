//! Every rule of the API, with the words of its refusal.

use super::super::sample::{BASIC, after, attempt, intent};

/// Cases, one a block: calls on top of BASIC, of which the last is tried, and below it the answer.
fn check(cases: &str) {
    for (calls, expected) in pairs(cases) {
        let mut calls: Vec<&str> = calls.split("; ").collect();
        let last = calls.pop().unwrap();
        let before = calls.iter().fold(intent(BASIC), |intent, call| after(&intent, call));
        let actual = attempt(&before, last).map_or_else(|rejected| rejected.to_string(), |_| "ok".to_owned());
        assert_eq!(actual, expected, "{last}");
    }
}

fn pairs(cases: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut lines = cases.lines().map(str::trim).filter(|line| !line.is_empty());
    std::iter::from_fn(move || Some((lines.next()?, lines.next().unwrap())))
}

#[test]
fn creating() {
    check(
        r"
        network red
            InvalidInput: the name red is taken
        router vm1
            InvalidInput: the name vm1 is taken
        instance net1 cmp1 red
            InvalidInput: the name net1 is taken
        subnet x nowhere 10.9.0.0/24
            InvalidInput: there is no network nowhere
        subnet x red 10.0.1.128/25
            InvalidInput: the cidr 10.0.1.128/25 of subnet x overlaps with 10.0.1.0/24 of subnet red4
        subnet x red 10.9.0.1/24
            InvalidInput: the cidr 10.9.0.1/24 of subnet x has host bits: write 10.9.0.0/24
        subnet x red 10.9.0.0/24 10.8.0.1
            InvalidInput: the gateway 10.8.0.1 of subnet x lies outside its cidr 10.9.0.0/24
        subnet x red 10.9.0.0/24 10.9.0.1 10.9.1.1-10.9.1.9
            InvalidInput: the allocation pool 10.9.1.1-10.9.1.9 of subnet x lies outside its cidr 10.9.0.0/24
        subnet x public 10.0.0.0/8
            BadRequest: the cidr 10.0.0.0/8 of subnet x overlaps with 10.0.1.0/24 of subnet red4 on router r1
        port p red 10.0.1.11
            IpAddressInUse: 10.0.1.11 on network red belongs to instance vm1 already
        port p red 10.0.1.1
            IpAddressInUse: 10.0.1.1 on network red belongs to interface red4 of router r1 already
        port p red 10.0.1.2
            IpAddressInUse: 10.0.1.2 on network red belongs to the SNAT port of router r1 on red4 already
        port p red 10.0.1.255
            InvalidIpForSubnet: 10.0.1.255 is the network or broadcast address of subnet red4 (10.0.1.0/24), not a port's
        port p red 10.0.2.5
            InvalidIpForNetwork: 10.0.2.5 is in no subnet of network red (10.0.1.0/24)
        port p red 10.0.1.5 10.0.1.5
            InvalidInput: 10.0.1.5 is asked for twice
        port p public
            InvalidInput: network public is external: a machine on it is declared in outside
        network tiny; subnet tiny4 tiny 10.9.0.0/30; port p1 tiny; port p2 tiny
            IpAddressGenerationFailure: subnet tiny4 has no free address left for port p2
        instance x - ports nope
            InvalidInput: there is no port nope
        instance x - ports vm1
            PortInUse: port vm1 belongs to instance vm1
        instance x nohost red
            InvalidInput: there is no host nohost
        fip 192.0.2.1
            InvalidIpForNetwork: floating IP 192.0.2.1 is in no subnet of an external network
        fip 203.0.113.10
            IpAddressInUse: 203.0.113.10 on network public belongs to the gateway of router r1 already
        fip 203.0.113.1
            IpAddressInUse: 203.0.113.1 on network public belongs to outside node gw-public already
        outside x on red 10.0.1.50
            InvalidInput: network red is not external, so outside node x cannot stand there
        outside x on public
            InvalidInput: outside node x needs an address
        outside x on public 203.0.113.10
            IpAddressInUse: 203.0.113.10 on network public belongs to the gateway of router r1 already
        outside x behind public 198.51.100.2
            IpAddressInUse: 198.51.100.2 belongs to outside node web already
        outside x behind public 198.51.100.1
            InvalidInput: 198.51.100.1 is no server's address: 198.51.100.1 is the upstream router's, the last is 198.51.100.254
        outside x behind public 203.0.113.77
            InvalidInput: 203.0.113.77 is not behind network public: its prefix 203.0.113.0/24 overlaps with 203.0.113.0/24 of subnet public4
        outside isp gateway_of public
            ok
        outside isp gateway_of public; outside isp2 gateway_of public
            InvalidInput: network public has an upstream router already: isp
        ",
    );
}

#[test]
fn deleting() {
    check(
        r"
        delete network red
            NetworkInUse: port vm1 is on network red
        delete network blue
            NetworkInUse: 10.0.2.1 on subnet blue4 belongs to interface blue4 of router r1
        delete network public
            NetworkInUse: outside node peer is connected to network public
        delete subnet public4
            SubnetInUse: 203.0.113.2 on subnet public4 belongs to the floating-IP agent gateway of public on net1
        delete subnet blue4
            SubnetInUse: 10.0.2.1 on subnet blue4 belongs to interface blue4 of router r1
        detach r1 blue4; delete subnet blue4
            ok
        detach r1 blue4; delete network blue
            ok
        delete router r1
            RouterInUse: router r1 still has interface red4
        detach r1 blue4; detach r1 red4; delete router r1
            ok
        delete port vm1
            PortInUse: port vm1 belongs to instance vm1
        port p blue 10.0.2.9; router r2; attach r2 p; delete port p
            ServicePortInUse: port p is an interface of router r2: detach it
        delete instance nobody
            InvalidInput: there is no instance nobody
        delete host cmp1
            BadRequest: instance vm1 runs on host cmp1
        delete host net1
            BadRequest: the gateway of router r1 is on host net1
        delete host net2
            ok
        delete fip 203.0.113.5
            InvalidInput: there is no floating IP 203.0.113.5
        ",
    );
}

#[test]
fn interfaces_and_routes() {
    check(
        r"
        attach r1 nothing
            InvalidInput: there is no subnet or port nothing
        attach r1 red4
            BadRequest: router r1 already has a port on subnet red4
        port p red 10.0.1.9; attach r1 p
            BadRequest: router r1 already has a port on subnet red4
        attach r1 vm1
            PortInUse: port vm1 belongs to instance vm1
        attach r1 public4
            BadRequest: network public is external: set it as the gateway of router r1
        router r2; attach r2 red4
            IpAddressInUse: 10.0.1.1 on network red belongs to interface red4 of router r1 already
        network n; subnet n4 n 10.9.0.0/24 none; attach r1 n4
            BadRequest: n4 cannot be an interface of router r1: the subnet has no gateway address
        network n; port p n; attach r1 p
            BadRequest: p cannot be an interface of router r1: the port has no address
        network n; subnet n4 n 10.0.0.0/16; attach r1 n4
            BadRequest: 10.0.0.0/16 of subnet n4 overlaps with 10.0.1.0/24 of subnet red4 on router r1
        network n; subnet n4 n 203.0.113.0/25; attach r1 n4
            BadRequest: 203.0.113.0/25 of subnet n4 overlaps with 203.0.113.0/24 of subnet public4 on router r1
        detach r1 blue4; detach r1 blue4
            InvalidInput: router r1 has no interface blue4
        associate 203.0.113.101 vm1; detach r1 red4
            RouterInterfaceInUseByFloatingIP: floating IP 203.0.113.101 needs the interface of router r1 on subnet red4
        associate 203.0.113.101 vm1; detach r1 blue4
            ok
        routes r1 192.0.2.0/24 10.0.1.12; detach r1 red4
            RouterInterfaceInUseByRoute: the route 192.0.2.0/24 via 10.0.1.12 needs the interface of router r1 on subnet red4
        routes r1 192.0.2.0/24 10.0.9.1
            InvalidRoutes: the route 192.0.2.0/24 via 10.0.9.1 of router r1 has its next hop on no connected subnet
        routes r1 192.0.2.0/24 10.0.1.1
            InvalidRoutes: the route 192.0.2.0/24 via 10.0.1.1 of router r1 leads to the router itself
        routes r1 192.0.2.0/24 203.0.113.1
            ok
        ",
    );
}

#[test]
fn gateways() {
    check(
        r"
        router r2; gateway r2 snat=off
            InvalidInput: router r2 has no gateway: say on which network
        gateway r1 network=red
            BadRequest: network red is not external: router r1 cannot have its gateway there
        gateway r1 address=203.0.113.200
            IpAddressInUse: 203.0.113.200 on network public belongs to outside node peer already
        gateway r1 address=192.0.2.1
            InvalidIpForNetwork: 192.0.2.1 is in no subnet of network public (203.0.113.0/24)
        gateway r1 address=203.0.113.10
            ok
        gateway r1 host=net2
            InvalidInput: router r1 has a gateway: move it with move_gateway
        router r2; gateway r2 network=public host=cmp1
            InvalidInput: host cmp1 is in mode dvr: a gateway needs dvr_snat
        network out external; gateway r1 network=out
            IpAddressGenerationFailure: network out has no subnet, so no address for the gateway of router r1
        network out external; subnet out4 out 10.0.0.0/16; gateway r1 network=out
            BadRequest: 10.0.0.0/16 of subnet out4 overlaps with 10.0.1.0/24 of subnet red4 on router r1
        network out external; subnet out4 out 192.0.2.0/24; associate 203.0.113.101 vm1; gateway r1 network=out
            RouterExternalGatewayInUseByFloatingIp: floating IP 203.0.113.101 needs the gateway of router r1
        associate 203.0.113.101 vm1; gateway r1 address=203.0.113.20
            ok
        associate 203.0.113.101 vm1; clear r1
            RouterExternalGatewayInUseByFloatingIp: floating IP 203.0.113.101 needs the gateway of router r1
        associate 203.0.113.101 vm1; disassociate 203.0.113.101; clear r1
            ok
        move r1 cmp1
            InvalidInput: host cmp1 is in mode dvr: a gateway needs dvr_snat
        move r1 net1
            BadRequest: the gateway of router r1 is on net1 already
        clear r1; move r1 net2
            BadRequest: router r1 has no gateway to move
        move r1 net2
            ok
        restart nohost
            InvalidInput: there is no host nohost
        ",
    );
}

#[test]
fn floating_ips_and_instances() {
    check(
        r"
        associate 203.0.113.101 nobody
            InvalidInput: there is no port nobody
        associate 203.0.113.101 vm1 10.0.1.12
            BadRequest: port vm1 does not have the address 10.0.1.12
        associate 203.0.113.101 vm1; associate 203.0.113.102 vm1
            FloatingIPPortAlreadyAssociated: port vm1 with 10.0.1.11 has floating IP 203.0.113.101 already
        associate 203.0.113.101 vm1; associate 203.0.113.101 vm2
            ok
        associate 203.0.113.101 vm1; associate 203.0.113.101 vm1
            ok
        clear r1; associate 203.0.113.101 vm1
            ExternalGatewayForFloatingIPNotFound: no router has both subnet red4 and a gateway on the network of floating IP 203.0.113.101 (public), so port vm1 cannot have it
        disassociate 203.0.113.101
            InvalidInput: there is no floating IP 203.0.113.101
        associate 203.0.113.101 vm1; fip 203.0.113.101
            IpAddressInUse: 203.0.113.101 on network public belongs to floating IP 203.0.113.101 already
        boot vm1 cmp2
            BadRequest: instance vm1 runs on cmp1 already: migrate it
        migrate vm1 cmp1
            BadRequest: instance vm1 runs on cmp1 already
        instance vm9 - red; migrate vm9 cmp1
            BadRequest: instance vm9 runs nowhere: boot it
        instance vm9 - red; boot vm9 cmp1
            ok
        ",
    );
}

#[test]
fn changing_subnets() {
    check(
        r"
        scope corp red4
            InvalidInput: there is no address scope corp
        scope corp; scope corp red4
            ok
        scope corp; scope corp red4; delete scope corp
            AddressScopeInUse: subnet red4 has the address scope corp
        scope corp; scope corp red4; scope - red4; delete scope corp
            ok
        scope corp; delete scope lab
            InvalidInput: there is no address scope lab
        scope red
            InvalidInput: the name red is taken
        scope corp; subnet red5 red 10.0.5.0/24; scope corp red4
            NetworkAddressScopeAffinityError: subnets red4 and red5 of network red have different address scopes: those of a family come from one subnet pool
        scope corp; subnet red5 red 10.0.5.0/24; scope corp red4 red5
            ok
        scope corp; scope corp red4; subnet red5 red 10.0.5.0/24
            NetworkAddressScopeAffinityError: subnets red5 and red4 of network red have different address scopes: those of a family come from one subnet pool
        hop red4 10.0.1.9
            GatewayIpInUse: the gateway 10.0.1.1 of subnet red4 belongs to router r1: detach it first
        detach r1 red4; hop red4 10.0.9.1
            InvalidInput: the gateway 10.0.9.1 of subnet red4 lies outside its cidr 10.0.1.0/24
        detach r1 red4; hop red4 10.0.1.11
            IpAddressInUse: 10.0.1.11 on network red belongs to instance vm1 already
        detach r1 red4; hop red4 10.0.1.9; attach r1 red4
            ok
        hop public4 203.0.113.10
            IpAddressInUse: 203.0.113.10 on network public belongs to the gateway of router r1 already
        hop public4 203.0.113.254
            ok
        ",
    );
}

#[test]
fn changing_ports() {
    check(
        r"
        readdress nobody 10.0.1.50
            ok
        readdress vm1 10.0.1.50
            ok
        readdress vm1 10.0.1.11 10.0.1.50
            ok
        readdress vm1 10.0.1.12
            IpAddressInUse: 10.0.1.12 on network red belongs to instance vm2 already
        readdress vm1
            InvalidInput: port vm1 needs an address
        readdress vm1 10.0.2.50
            InvalidIpForNetwork: 10.0.2.50 is in no subnet of network red (10.0.1.0/24)
        associate 203.0.113.101 vm1; readdress vm1 10.0.1.50
            BadRequest: floating IP 203.0.113.101 stands for 10.0.1.11 of port vm1: take it off first
        associate 203.0.113.101 vm1; readdress vm1 10.0.1.50 10.0.1.11
            ok
        port p blue 10.0.2.9; router r2; attach r2 p; readdress p 10.0.2.10
            BadRequest: port p is an interface of router r2: detach it first
        ",
    );
}

#[test]
fn live_migration() {
    check(
        r"
        prepare vm1 cmp1
            BadRequest: instance vm1 runs on cmp1 already
        prepare vm1 nowhere
            InvalidInput: there is no host nowhere
        complete vm1 cmp2
            BadRequest: no live migration of instance vm1 to cmp2 is prepared
        prepare vm1 cmp2; complete vm1 cmp2
            ok
        prepare vm1 cmp2; complete vm1 net1
            BadRequest: no live migration of instance vm1 to net1 is prepared
        prepare vm1 cmp2; migrate vm1 net1
            BadRequest: instance vm1 is being migrated to cmp2: complete or abort that
        prepare vm1 cmp2; abort vm1 cmp2; migrate vm1 net1
            ok
        prepare vm1 cmp2; complete vm1 cmp2; abort vm1 cmp2
            BadRequest: no live migration of instance vm1 to cmp2 is prepared
        ",
    );
}

#[test]
fn ipv6() {
    check(
        r"
        subnet x red 10.9.0.0/24 10.9.0.1 mode=slaac
            InvalidInput: subnet x has the ipv6_mode of an IPv6 subnet, but its cidr is 10.9.0.0/24
        subnet x red fd00:1::/72 fd00:1::1 mode=dhcpv6-stateless
            InvalidInput: addresses on subnet x are made of MACs, which needs a prefix of /64, not fd00:1::/72
        subnet red6 red fd00:1::/64 fd00:1::1; subnet x red fd00:1::/80 fd00:1::9
            InvalidInput: the cidr fd00:1::/80 of subnet x overlaps with fd00:1::/64 of subnet red6
        subnet red6 red fd00:1::/64 fd00:1::1; port p red fd00:2::5
            InvalidIpForNetwork: fd00:2::5 is in no subnet of network red (10.0.1.0/24, fd00:1::/64)
        subnet red6 red fd00:1::/64 fd00:1::1; port p red fd00:1::
            InvalidIpForSubnet: fd00:1:: is the network or broadcast address of subnet red6 (fd00:1::/64), not a port's
        subnet red6 red fd00:1::/64 fd00:1::1; port p red fd00:1::5; port q red fd00:1::5
            IpAddressInUse: fd00:1::5 on network red belongs to port p already
        subnet public6 public fd00:f::/64 fd00:f::1; associate fd00:f::9 vm1
            BadRequest: floating IP fd00:f::9 is an IPv6 address: IPv6 is routed, never translated
        ",
    );
}
