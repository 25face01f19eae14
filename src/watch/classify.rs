//! From what is in force to who may send what.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Class, Classification, Rule, Says};
use crate::api::{Intent, NodePlace, Router, Snat};
use crate::name::{HostName, Id, Name};
use crate::net::{Family, IpNet, Ipv4Net, Ipv6Net, Mac, family_of, host_net};

/// IPv4 link-local addresses, of which the links between router and fip namespaces are made. RFC 3927.
const LINK_LOCAL_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16);
/// RFC 4291, 2.5.6.
const LINK_LOCAL_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);

/// An address that a router's port may send from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Legal {
    pub(super) mac: Mac,
    pub(super) source: IpNet,
    pub(super) class: Class,
}

/// The rules for every host and provider segment. `acting` are the intents that a host may be acting upon, the newest
/// last; who owns an address is what `newest` says.
pub fn classification(newest: &Intent, acting: &BTreeMap<HostName, Vec<&Intent>>) -> Classification {
    let networks: BTreeSet<&Name> = std::iter::once(newest)
        .chain(acting.values().flatten().copied())
        .flat_map(|intent| intent.networks.iter().filter(|(_, network)| network.external).map(|(name, _)| name))
        .collect();
    let segment = |network: &Name| {
        let outlook = Outlook::new(newest, acting, network);
        let hosts = acting.iter().map(|(host, intents)| {
            let legal: BTreeSet<Legal> = intents.iter().flat_map(|intent| legal(intent, network, host)).collect();
            (host.clone(), rules(&legal, &outlook, host))
        });
        (Id::from(network), hosts.collect())
    };
    Classification { segments: networks.into_iter().map(segment).collect() }
}

/// What a host may send from onto a network.
pub(super) fn legal(intent: &Intent, network: &Name, host: &HostName) -> Vec<Legal> {
    let mut all = Vec::new();
    for (name, router) in &intent.routers {
        let Some(gateway) = router.gateway.as_ref() else { continue };
        if gateway.network != *network || gateway.host.as_ref() != Some(host) {
            continue;
        }
        let mac = Mac::gateway(name.as_str());
        let own = |address: &IpAddr| Legal { mac, source: host_net(*address), class: Class::GatewaySnat };
        all.extend(gateway.addresses.iter().map(own));
        let behind = intent.router_ports(router).flat_map(|port| subnets_at(intent, port.network, &port.addresses));
        let routed = router.routes.iter().map(|route| route.destination);
        let bare = behind.chain(routed).filter(|net| gateway.snat == Snat::Disabled || family_of(net) == Family::V6);
        let bare = bare.chain(at_home(intent, router, network));
        all.extend(bare.map(|source| Legal { mac, source, class: Class::Untranslated }));
    }
    if let Some(port) = intent.agent_gateways.get(&(network.clone(), host.clone())) {
        // Subnets of the network's own scope leave by the fip namespace of the host that they come from.
        let out_by = |router: &&Router| router.gateway.as_ref().is_some_and(|gateway| gateway.network == *network);
        let bare = intent.routers.values().filter(out_by).flat_map(|router| at_home(intent, router, network));
        all.extend(bare.map(|source| Legal { mac: port.mac, source, class: Class::Untranslated }));
    }
    if let Some(port) = intent.agent_gateways.get(&(network.clone(), host.clone())) {
        let own = |address: &IpAddr| Legal { mac: port.mac, source: host_net(*address), class: Class::AgentAddress };
        all.extend(port.addresses.iter().map(own));
    }
    let floating = intent.floating_ips.keys().filter(|address| intent.external_network_of(**address) == Some(network));
    all.extend(floating.filter_map(|address| {
        let (owner, mac) = floating_owner(intent, network, *address)?;
        (owner == *host).then(|| Legal { mac, source: host_net(*address), class: Class::FloatingIp })
    }));
    all
}

/// IPv4 subnets of a router that are in the external network's address scope: routed without translation.
fn at_home<'a>(intent: &'a Intent, router: &'a Router, external: &'a Name) -> impl Iterator<Item = IpNet> + 'a {
    let outside = intent.address_scope_of(external, Family::V4);
    let inside = move |network| outside.is_some() && intent.address_scope_of(network, Family::V4) == outside;
    let ports = intent.router_ports(router).filter(move |port| inside(port.network));
    let subnets = ports.flat_map(|port| subnets_at(intent, port.network, &port.addresses));
    subnets.filter(|net| family_of(net) == Family::V4)
}

fn subnets_at(intent: &Intent, network: &Name, addresses: &[IpAddr]) -> Vec<IpNet> {
    let subnet = |address: &IpAddr| intent.subnet_at(network, *address).map(|(_, subnet)| subnet.cidr);
    addresses.iter().filter_map(subnet).collect()
}

/// The host and port that serve an associated floating IP.
fn floating_owner(intent: &Intent, network: &Name, address: IpAddr) -> Option<(HostName, Mac)> {
    let router = intent.router_of(address)?;
    if intent.served_centrally(address) {
        let host = intent.routers.get(router)?.gateway.as_ref()?.host.clone()?;
        return Some((host, Mac::gateway(router.as_str())));
    }
    let (port, _) = intent.floating_ips.get(&address)?.target.as_ref()?;
    let host = intent.host_of_port(port)?.clone();
    let mac = intent.agent_gateways.get(&(network.clone(), host.clone()))?.mac;
    Some((host, mac))
}

/// What is known of a network as a whole.
struct Outlook {
    /// Who has which address of the routers' side.
    owners: BTreeMap<IpAddr, HostName>,
    /// Addresses of machines outside.
    outside: BTreeSet<IpNet>,
    /// The network's prefixes.
    prefixes: BTreeSet<IpNet>,
}

impl Outlook {
    fn new(newest: &Intent, acting: &BTreeMap<HostName, Vec<&Intent>>, network: &Name) -> Self {
        let hosts = newest.host_order.iter();
        let owners = hosts.flat_map(|host| {
            let single = |legal: &Legal| legal.class != Class::Untranslated;
            let own = legal(newest, network, host).into_iter().filter(single);
            own.map(|legal| (legal.source.addr(), host.clone())).collect::<Vec<_>>()
        });
        let all: Vec<&Intent> = std::iter::once(newest).chain(acting.values().flatten().copied()).collect();
        let reachable = |place: &NodePlace| match place {
            NodePlace::On(on) | NodePlace::Behind(on) | NodePlace::GatewayOf(on) => on == network,
        };
        let nodes = all.iter().flat_map(|intent| intent.outside.values()).filter(|node| reachable(&node.place));
        let outside =
            nodes.flat_map(|node| node.addresses.iter().map(|a| host_net(*a)).chain(node.also.iter().copied()));
        let prefixes = all.iter().flat_map(|intent| intent.subnets_of(network).map(|(_, subnet)| subnet.cidr));
        Self { owners: owners.collect(), outside: outside.collect(), prefixes: prefixes.collect() }
    }
}

/// A host's rules. Claims come first, so that a neighbour advertisement is judged by what it claims.
fn rules(legal: &BTreeSet<Legal>, outlook: &Outlook, host: &HostName) -> Vec<Rule> {
    let mut rules = Vec::new();
    let by = |says: fn(IpNet) -> Says| move |mac, net, class| Rule { mac, says: says(net), class };
    for (rule, claim) in [(by(Says::Claim), true), (by(Says::Packet), false)] {
        let own = legal.iter().filter(|one| !claim || one.class != Class::Untranslated);
        rules.extend(own.map(|one| rule(Some(one.mac), one.source, one.class)));
        let nobody = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
        rules.extend(nobody.map(|address| rule(None, host_net(address), Class::Other)));
        // No kernel forwards an IPv6 link-local source: such a packet is the device's own, a report of its groups for one.
        rules.push(rule(None, LINK_LOCAL_V6.into(), Class::Other));
        rules.push(rule(None, LINK_LOCAL_V4.into(), Class::LinkLocalTransit));
        rules.extend(outlook.owners.iter().map(|(address, owner)| {
            let class = if claim || owner == host { Class::TwoOwners } else { Class::WrongHost };
            rule(None, host_net(*address), class)
        }));
        let outside = if claim { Class::TwoOwners } else { Class::Other };
        rules.extend(outlook.outside.iter().map(|net| rule(None, *net, outside)));
        rules.extend(outlook.prefixes.iter().map(|net| rule(None, *net, Class::WithdrawnAddress)));
        rules.extend(Family::BOTH.map(|family| rule(None, family.any(), Class::TenantSource)));
    }
    rules.push(Rule { mac: None, says: Says::Anything, class: Class::Other });
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::sample::{BASIC, after, host, intent};

    /// The class of a frame from an address, of a host's own port or of another's.
    fn class(rules: &[Rule], mac: Mac, says: fn(IpNet) -> Says, address: &str) -> Class {
        let said = says(host_net(address.parse().unwrap()));
        let holds = |rule: &&Rule| {
            let inside = match (rule.says, said) {
                (Says::Claim(net), Says::Claim(one)) | (Says::Packet(net), Says::Packet(one)) => net.contains(&one),
                (Says::Anything, _) => true,
                (Says::Claim(_) | Says::Packet(_), _) => false,
            };
            inside && rule.mac.is_none_or(|only| only == mac)
        };
        rules.iter().find(holds).unwrap().class
    }

    fn of<'a>(classification: &'a Classification, name: &str) -> &'a [Rule] {
        &classification.segments["public"][&host(name)]
    }

    fn settled(intent: &Intent) -> Classification {
        classification(intent, &intent.host_order.iter().map(|host| (host.clone(), vec![intent])).collect())
    }

    fn with_floating_ip() -> Intent {
        after(&after(&intent(BASIC), "fip 203.0.113.101"), "associate 203.0.113.101 vm1")
    }

    fn gateway() -> Mac {
        Mac::gateway("r1")
    }

    fn agent(host: &str) -> Mac {
        Mac::derived("fg", &format!("public/{host}"))
    }

    #[test]
    fn each_host_may_send_its_own() {
        let intent = with_floating_ip();
        let all = settled(&intent);
        let (net1, cmp1, cmp2) = (of(&all, "net1"), of(&all, "cmp1"), of(&all, "cmp2"));
        for says in [Says::Packet, Says::Claim] {
            assert_eq!(class(net1, gateway(), says, "203.0.113.10"), Class::GatewaySnat);
            assert_eq!(class(net1, agent("cmp1"), says, "203.0.113.10"), Class::TwoOwners);
            assert_eq!(class(cmp1, agent("cmp1"), says, "203.0.113.101"), Class::FloatingIp);
            assert_eq!(class(cmp1, agent("cmp1"), says, "203.0.113.99"), Class::WithdrawnAddress);
            assert_eq!(class(cmp1, agent("cmp1"), says, "169.254.106.114"), Class::LinkLocalTransit);
            assert_eq!(class(cmp1, agent("cmp1"), says, "10.0.1.11"), Class::TenantSource);
            assert_eq!(class(cmp1, agent("cmp1"), says, "0.0.0.0"), Class::Other);
            let own = agent("cmp1").link_local().to_string();
            assert_eq!(class(cmp1, agent("cmp1"), says, &own), Class::Other);
            assert_eq!(class(cmp1, gateway(), says, &own), Class::Other);
        }
        assert_eq!(class(cmp2, agent("cmp2"), Says::Packet, "203.0.113.101"), Class::WrongHost);
        assert_eq!(class(cmp2, agent("cmp2"), Says::Claim, "203.0.113.101"), Class::TwoOwners);
        // A packet that a router sends back; nobody else may claim its sender's address.
        assert_eq!(class(net1, gateway(), Says::Packet, "198.51.100.2"), Class::Other);
        assert_eq!(class(net1, gateway(), Says::Claim, "203.0.113.200"), Class::TwoOwners);
    }

    #[test]
    fn tenants_may_leave_where_nothing_translates_them() {
        let off = settled(&after(&intent(BASIC), "gateway r1 snat=off"));
        let bare = |host, mac, address| class(of(&off, host), mac, Says::Packet, address);
        assert_eq!(bare("net1", gateway(), "10.0.1.11"), Class::Untranslated);
        assert_eq!(bare("net1", gateway(), "10.0.3.11"), Class::TenantSource);
        assert_eq!(bare("cmp1", agent("cmp1"), "10.0.1.11"), Class::TenantSource);
        assert_eq!(class(of(&off, "net1"), gateway(), Says::Claim, "10.0.1.11"), Class::TenantSource);
    }

    #[test]
    fn during_a_change_what_was_legal_stays_so_until_the_host_has_converged() {
        let before = with_floating_ip();
        let moved = after(&before, "associate 203.0.113.101 vm2");
        let from = |all: &Classification, name: &str| class(of(all, name), agent(name), Says::Packet, "203.0.113.101");
        let acting = |converged: &[&str]| {
            let intents = |name: &HostName| {
                if converged.contains(&name.as_str()) { vec![&moved] } else { vec![&before, &moved] }
            };
            classification(&moved, &moved.host_order.iter().map(|host| (host.clone(), intents(host))).collect())
        };
        let begun = acting(&[]);
        assert_eq!((from(&begun, "cmp1"), from(&begun, "cmp2")), (Class::FloatingIp, Class::FloatingIp));
        assert_eq!(from(&begun, "net2"), Class::WrongHost);
        assert_eq!(class(of(&begun, "cmp1"), agent("cmp1"), Says::Packet, "10.0.1.11"), Class::TenantSource);
        assert_eq!(from(&acting(&["cmp1"]), "cmp1"), Class::WrongHost);
        assert_eq!(from(&settled(&after(&moved, "disassociate 203.0.113.101")), "cmp2"), Class::WithdrawnAddress);
    }
}
