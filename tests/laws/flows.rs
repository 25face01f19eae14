//! Flows that never stop: one from each instance to the outside, a packet after every operation, with the connection that
//! the first packet made. Which way it takes and what it is translated to is read from the state alone.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dvrlab::name::NamespaceName;
use dvrlab::namespace::{
    Attach, ChainName, DevicePattern, HostState, NamespaceState, Rule, Table, Target, What, sysctl,
};
use dvrlab::net::{FIP_TABLE, Family, TABLE_LOCAL};
use dvrlab::plan::{Action, Op};

/// Source of a connection to what it is translated to; itself if to nothing.
type Connections = BTreeMap<(NamespaceName, IpAddr), IpAddr>;

/// The instances' flows.
pub(crate) struct Flows {
    sources: Vec<(NamespaceName, NamespaceName, IpAddr)>,
    connections: Connections,
}

/// Where a packet left to the outside, and as whom.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) source: IpAddr,
    pub(crate) translated: IpAddr,
    pub(crate) way: Way,
}

/// The two ways out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    FipNamespace,
    SnatNamespace,
}

impl Flows {
    /// Instances with the routers they are behind.
    pub(crate) fn new(sources: impl IntoIterator<Item = (String, IpAddr)>) -> Self {
        let namespace = |prefix: &str, router: &str| format!("{prefix}{router}").parse().unwrap();
        let sources = sources.into_iter();
        let sources =
            sources.map(|(router, source)| (namespace("qrouter-", &router), namespace("snat-", &router), source));
        Self { sources: sources.collect(), connections: Connections::new() }
    }

    /// What an operation does to connections.
    pub(crate) fn note(&mut self, op: &Op) {
        if let Action::ConntrackPurge(net) = &op.action {
            self.connections.retain(|(namespace, source), seen_as| {
                namespace != &op.namespace || !(net.contains(source) || net.contains(&*seen_as))
            });
        } else if op.action == Action::NamespaceDelete {
            self.connections.retain(|(namespace, _), _| namespace != &op.namespace);
        }
    }

    /// What connections are translated to.
    pub(crate) fn translations(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        self.connections
            .iter()
            .map(|((_, source), seen_as)| (*source, *seen_as))
            .filter(|(source, seen_as)| source != seen_as)
    }

    /// One packet of each flow.
    pub(crate) fn send(&mut self, host: &HostState) -> Vec<Seen> {
        let Self { sources, connections } = self;
        sources.iter().filter_map(|(qrouter, snat, source)| send(host, (qrouter, snat), *source, connections)).collect()
    }
}

fn send(
    host: &HostState,
    (qrouter, snat): (&NamespaceName, &NamespaceName),
    source: IpAddr,
    connections: &mut Connections,
) -> Option<Seen> {
    let inside = host.namespaces.get(qrouter).filter(|state| forwards(state))?;
    let device = way_out(inside, source)?;
    let translated = translate(inside, &device, source, (qrouter, source), connections);
    if device.starts_with("rfp-") {
        let fip =
            inside.links.iter().find(|(name, _)| name.as_str() == device).and_then(|(_, link)| match &link.attach {
                Attach::Peer { namespace, .. } => host.namespaces.get(namespace),
                Attach::Network(_) | Attach::Foreign => None,
            })?;
        // The fip namespace has its way out in the table of what comes in from the router.
        let leads_out = fip.routes.iter().any(|route| route.destination.prefix_len() == 0 && route.table > FIP_TABLE);
        return (forwards(fip) && leads_out).then_some(Seen { source, translated, way: Way::FipNamespace });
    }
    let outside = host.namespaces.get(snat).filter(|state| forwards(state))?;
    let gateway = way_out(outside, translated).filter(|device| device.starts_with("qg-"))?;
    let seen_as = translate(outside, &gateway, translated, (snat, translated), connections);
    Some(Seen { source, translated: seen_as, way: Way::SnatNamespace })
}

fn forwards(state: &NamespaceState) -> bool {
    sysctl::read(&state.sysctls, "net.ipv4.ip_forward") == Some("1")
}

/// The device that a packet from `source` to somewhere far away leaves by.
fn way_out(state: &NamespaceState, source: IpAddr) -> Option<String> {
    let arrives = state.addresses.iter().any(|on| {
        let name = on.device.as_str();
        let inward = name.starts_with("qr-") || name.starts_with("sg-");
        inward && on.net.contains(&source) && state.links.get(&on.device).is_some_and(|link| link.up)
    });
    let mut rules: Vec<_> =
        state.rules.iter().filter(|rule| rule.family == Family::V4 && rule.table != TABLE_LOCAL).collect();
    // Of equal priority the elder is first: the fence, whose table is the lower number.
    rules.sort_by_key(|rule| (rule.priority, rule.table));
    let matching = rules
        .into_iter()
        .filter(|rule| rule.iif.is_none() && rule.to.is_none() && rule.from.is_none_or(|from| from.contains(&source)));
    let mut routes = matching.filter_map(|rule| {
        let default = |route: &&dvrlab::namespace::Route| {
            route.table == rule.table && route.family() == Family::V4 && route.destination.prefix_len() == 0
        };
        state.routes.iter().find(default)
    });
    let route = routes.next().filter(|_| arrives)?;
    let device = &route.next_hops.first()?.device;
    state.links.get(device).filter(|link| link.up).map(|_| device.to_string())
}

/// The connection's translation, or the one that the rules give to its first packet.
fn translate(
    state: &NamespaceState,
    device: &str,
    source: IpAddr,
    key: (&NamespaceName, IpAddr),
    connections: &mut Connections,
) -> IpAddr {
    let key = (key.0.clone(), key.1);
    if let Some(seen_as) = connections.get(&key) {
        return *seen_as;
    }
    let nat = state.rules_v4.tables.get(&Table::Nat);
    let chain = |name: &str| {
        let name = ChainName::Own(format!("neutron-l3-agent-{name}"));
        nat.and_then(|chains| chains.get(&name)).map(|chain| chain.rules.clone()).unwrap_or_default()
    };
    let fits =
        |rule: &Rule| rule.matches.iter().all(|condition| condition.not != holds(&condition.what, device, source));
    let stays = chain("POSTROUTING").iter().any(fits);
    let called = chain("snat").contains(&Rule::to(Target::Jump("neutron-l3-agent-float-snat".to_owned())));
    let floating = if called { chain("float-snat") } else { Vec::new() };
    let rule =
        floating.into_iter().chain(chain("snat")).find(|rule| matches!(rule.target, Target::Snat(_)) && fits(rule));
    let seen_as = match rule.map(|rule| rule.target) {
        Some(Target::Snat(to)) if !stays => to.address,
        _untranslated => source,
    };
    connections.insert(key, seen_as);
    seen_as
}

/// Conditions for a new packet from inside that was not redirected.
fn holds(what: &What, device: &str, source: IpAddr) -> bool {
    if let What::Source(net) = what {
        net.contains(&source)
    } else if let What::OutDevice(DevicePattern::Name(name)) = what {
        name.as_str() == device
    } else {
        false
    }
}
