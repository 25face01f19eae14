//! What kind of translator stands before an instance, in the words of RFC 4787, RFC 5382 and RFC 5508.
//!
//! In: an instance and two addresses outside. Out: the class of everything that can be measured from there. Never: a guess:
//! what must arrive for an answer to mean something, and does not, is a failure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Driver, dataplane_failure, failure, is_upstream};
use crate::dataplane::DataplaneError;
use crate::flow::Place;
use crate::name::Name;
use crate::packet::{Body, Load, Packet, Sighted, Template, Volley};
use crate::record::{FailureKind, ProfileRecord, StepRecord};
use crate::scenario::{Step, addresses_of};

/// Destination ports: of the range that nodes hide from their kernels, so that nobody else answers.
const FIRST: u16 = 29_001;
const SECOND: u16 = 29_002;
/// Source ports by which mappings are looked at, of that range too.
const MAPPED: [u16; 3] = [28_000, 28_003, 28_006];
/// Source ports of what is filtered, and of the hairpin.
const FILTERED: u16 = 28_101;
const HAIRPIN: (u16, u16) = (28_201, 28_203);
/// Echo ids.
const IDS: [u16; 3] = [301, 302, 303];
/// Source ports on both sides of the border between well-known and other ports, RFC 4787 section 4.2.2.
const CLASSES: [u16; 3] = [300, 800, 5300];
const WELL_KNOWN_END: u16 = 1024;
/// Source ports whose parity is looked at: so many that chance does not keep all of them.
const PARITY: std::ops::Range<u16> = 5400..5424;
/// TCP flags.
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const TTL: u8 = 64;

/// Why a profile could not be taken.
enum Spoilt {
    Dataplane(DataplaneError),
    /// A packet without which nothing can be said did not arrive.
    Missing(String),
}

impl From<DataplaneError> for Spoilt {
    fn from(error: DataplaneError) -> Self {
        Self::Dataplane(error)
    }
}

/// An end of the measurement.
#[derive(Debug, Clone)]
struct End {
    place: Place,
    address: IpAddr,
}

/// The ends of a measurement.
struct Stage {
    inside: End,
    /// An address beside the instance's that nobody has.
    double: IpAddr,
    near: End,
    far: End,
}

/// A packet, where it must be seen, and whether anything can be said without it.
struct Aim {
    template: Template,
    at: Place,
    needed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Udp,
    Tcp,
}

impl Driver<'_> {
    /// Takes the profile that a step asks for, and holds it against what is expected.
    pub(super) fn profile(&self, step: &Step, record: &mut StepRecord) {
        let Some(wanted) = &step.profile else { return };
        let taken = self.stage(&wanted.of).and_then(|stage| self.measure(&stage));
        let facts = match taken {
            Ok(facts) => facts,
            Err(Spoilt::Dataplane(error)) => return record.failures.push(dataplane_failure(&error)),
            Err(Spoilt::Missing(text)) => {
                let text = format!("no NAT profile of {}: {text}", wanted.of);
                return record.failures.push(failure(FailureKind::Expectation, Some(wanted.line), text));
            }
        };
        for (key, value) in &wanted.facts {
            let is = facts.get(key.as_str()).map_or("unknown", String::as_str);
            if is != value {
                let text = format!("`nat_profile`: {key} of {}: {is}, not {value}", wanted.of);
                record.failures.push(failure(FailureKind::Expectation, Some(wanted.line), text));
            }
        }
        let facts = facts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        record.profile = Some(ProfileRecord { of: wanted.of.to_string(), facts });
    }

    fn stage(&self, of: &Name) -> Result<Stage, Spoilt> {
        let v4 = |node: &Name| addresses_of(&self.intent, node).into_iter().filter(IpAddr::is_ipv4);
        let end = |name: &Name, address| End { place: Place { host: None, name: name.to_string() }, address };
        let missing = |text: &str| Spoilt::Missing(text.to_owned());
        let own = v4(of).next().ok_or_else(|| missing("it has no IPv4 address"))?;
        let servers = self.intent.outside.iter().filter(|(_, node)| !is_upstream(&node.place));
        let mut servers = servers.flat_map(|(name, _)| v4(name).map(|address| end(name, address)).collect::<Vec<_>>());
        let (Some(near), Some(far)) = (servers.next(), servers.next()) else {
            return Err(missing("there are no two addresses outside"));
        };
        let network = self.intent.ports.values().find(|port| port.addresses.contains(&own)).map(|port| &port.network);
        let subnet = network.and_then(|network| self.intent.subnet_at(network, own)).map(|(_, subnet)| subnet.cidr);
        let taken = |address: &IpAddr| self.intent.ports.values().any(|port| port.addresses.contains(address));
        let double = subnet.and_then(|cidr| cidr.hosts().rfind(|address| !taken(address)));
        let double = double.ok_or_else(|| missing("its subnet has no free address"))?;
        Ok(Stage { inside: end(of, own), double, near, far })
    }

    fn measure(&self, stage: &Stage) -> Result<BTreeMap<&'static str, String>, Spoilt> {
        let (udp, tcp) = (self.mapping(stage, Kind::Udp)?, self.mapping(stage, Kind::Tcp)?);
        let filtering = |kind| self.filtering(stage, kind);
        let (class, parity) = self.remapped(stage)?;
        Ok(BTreeMap::from([
            ("mapping", both(udp.0, tcp.0)),
            ("filtering", both(filtering(Kind::Udp)?, filtering(Kind::Tcp)?)),
            ("ports", both(udp.1, tcp.1)),
            ("port_class", class.to_owned()),
            ("port_parity", parity.to_owned()),
            ("hairpin", self.hairpin(stage)?.to_owned()),
            ("icmp_id", self.echo_ids(stage)?.to_owned()),
        ]))
    }

    /// Sends packets, and says how each looked where it was to be seen.
    fn fire(&self, aims: Vec<Aim>) -> Result<Vec<Option<Packet>>, Spoilt> {
        let wanted: Vec<(Place, bool)> = aims.iter().map(|aim| (aim.at.clone(), aim.needed)).collect();
        let needed: BTreeMap<Place, usize> =
            wanted.iter().filter(|(_, needed)| *needed).fold(BTreeMap::new(), |mut all, (place, _)| {
                *all.entry(place.clone()).or_default() += 1;
                all
            });
        let volley = Volley { packets: aims.into_iter().map(|aim| aim.template).collect(), order: Vec::new() };
        let came =
            |seen: &[Sighted], place: &Place| seen.iter().filter(|one| one.incoming && one.place == *place).count();
        let done = self
            .dataplane
            .exchange(&volley, &|seen| needed.iter().all(|(place, count)| came(seen, place) >= *count))?;
        let mut arrivals = Vec::new();
        for (frame, (place, needed)) in done.sent.iter().zip(&wanted) {
            let Body::Ip(sent) = &frame.body else { continue };
            let identity = sent.identity();
            let arrived = done.seen.iter().filter(|one| one.incoming && one.place == *place).find_map(|one| {
                let Body::Ip(packet) = &one.frame.body else { return None };
                (packet.identity() == identity).then(|| packet.clone())
            });
            if *needed && arrived.is_none() {
                return Err(Spoilt::Missing(format!("{sent} did not arrive at {place}")));
            }
            arrivals.push(arrived);
        }
        Ok(arrivals)
    }

    /// Class of the mapping, and whether it preserves ports.
    fn mapping(&self, stage: &Stage, kind: Kind) -> Result<(&'static str, &'static str), Spoilt> {
        let targets = [(&stage.near, FIRST), (&stage.far, FIRST), (&stage.near, SECOND)];
        let aims = MAPPED.iter().flat_map(|port| {
            targets.iter().map(|(to, at)| sends(&stage.inside, *port, (to.address, *at), kind, &to.place, true))
        });
        let arrivals = self.fire(aims.collect())?;
        let outside: Vec<u16> =
            arrivals.into_iter().flatten().filter_map(|packet| packet.ports()).map(|(from, _)| from).collect();
        let (mut by_address, mut by_port, mut preserved) = (false, false, true);
        for (port, seen) in MAPPED.iter().zip(outside.chunks(targets.len())) {
            let [first, other_address, other_port] = seen else { continue };
            by_address |= first != other_address;
            by_port |= first != other_port;
            preserved &= seen.iter().all(|seen| seen == port);
        }
        Ok((class(by_address, by_port), if preserved { "preserved" } else { "random" }))
    }

    /// Who else gets in by a mapping.
    fn filtering(&self, stage: &Stage, kind: Kind) -> Result<&'static str, Spoilt> {
        let (port, opened) = self.open(stage, FILTERED, kind)?;
        let inside = &stage.inside.place;
        let flags = |flags| if kind == Kind::Tcp { Some((flags, opened.clone())) } else { None };
        let aims = vec![
            answers(&stage.near, FIRST, port, kind, flags(SYN_ACK), inside, true),
            answers(&stage.far, FIRST, port, kind, flags(SYN), inside, false),
            answers(&stage.near, SECOND, port, kind, flags(SYN), inside, false),
        ];
        let arrivals = self.fire(aims)?;
        let came = |at: usize| arrivals.get(at).is_some_and(Option::is_some);
        Ok(class(!came(1), !came(2)))
    }

    /// Opens a mapping to the near server: its outer address and port, and the packet as it arrived.
    fn open(&self, stage: &Stage, port: u16, kind: Kind) -> Result<((IpAddr, u16), Packet), Spoilt> {
        let aim = sends(&stage.inside, port, (stage.near.address, FIRST), kind, &stage.near.place, true);
        let arrived = self.fire(vec![aim])?.pop().flatten();
        let arrived = arrived.ok_or_else(|| Spoilt::Missing("a mapping was not opened".to_owned()))?;
        let outer = arrived.ports().map_or(port, |(from, _)| from);
        Ok(((arrived.source, outer), arrived))
    }

    /// What comes of a packet from inside to a mapping's outside.
    fn hairpin(&self, stage: &Stage) -> Result<&'static str, Spoilt> {
        let (outer, _) = self.open(stage, HAIRPIN.0, Kind::Udp)?;
        let inside = &stage.inside;
        let aims = vec![
            answers(&stage.near, FIRST, outer, Kind::Udp, None, &inside.place, true),
            sends(inside, HAIRPIN.1, outer, Kind::Udp, &inside.place, false),
        ];
        let back = self.fire(aims)?.pop().flatten();
        Ok(match back {
            None => "none",
            Some(packet) if packet.source == inside.address => "internal-source",
            Some(_) => "external-source",
        })
    }

    fn echo_ids(&self, stage: &Stage) -> Result<&'static str, Spoilt> {
        let aims = IDS.iter().map(|id| {
            let template = template(&stage.inside, stage.near.address, Load::Echo(false, Some(*id)));
            Aim { template, at: stage.near.place.clone(), needed: true }
        });
        let arrivals = self.fire(aims.collect())?;
        let seen: Vec<u16> =
            arrivals.into_iter().flatten().filter_map(|packet| packet.ports()).map(|(id, _)| id).collect();
        Ok(if seen == IDS { "preserved" } else { "random" })
    }

    /// Class and parity of the port that a second user of a port gets towards one destination.
    fn remapped(&self, stage: &Stage) -> Result<(&'static str, &'static str), Spoilt> {
        let ports: Vec<u16> = CLASSES.into_iter().chain(PARITY).collect();
        let second = End { address: stage.double, ..stage.inside.clone() };
        let target = (stage.near.address, FIRST);
        let users = |port: &u16| {
            [&stage.inside, &second].map(|user| sends(user, *port, target, Kind::Udp, &stage.near.place, true))
        };
        let arrivals = self.fire(ports.iter().flat_map(users).collect())?;
        let outside = arrivals.into_iter().skip(1).step_by(2).flatten().filter_map(|packet| packet.ports());
        let pairs: Vec<(u16, u16)> = ports.into_iter().zip(outside.map(|(from, _)| from)).collect();
        let word = |kept: bool| if kept { "kept" } else { "free" };
        let class = pairs.iter().all(|(inside, outside)| (*inside < WELL_KNOWN_END) == (*outside < WELL_KNOWN_END));
        let parity = pairs
            .iter()
            .filter(|(inside, _)| PARITY.contains(inside))
            .all(|(inside, outside)| inside % 2 == outside % 2);
        Ok((word(class), word(parity)))
    }
}

fn class(by_address: bool, by_port: bool) -> &'static str {
    match (by_address, by_port) {
        (false, false) => "endpoint-independent",
        (true, false) => "address-dependent",
        (_, true) => "address-and-port-dependent",
    }
}

/// One word for both protocols, if they agree.
fn both(udp: &str, tcp: &str) -> String {
    if udp == tcp { udp.to_owned() } else { format!("udp {udp}, tcp {tcp}") }
}

fn template(from: &End, destination: IpAddr, load: Load) -> Template {
    Template {
        from: from.place.clone(),
        mac: None,
        to_mac: None,
        source: Some(from.address),
        destination,
        ttl: TTL,
        id: None,
        dont_fragment: false,
        load,
        payload: None,
        size: None,
        fragment: None,
        good_checksum: true,
    }
}

/// A packet from inside that opens a mapping.
fn sends(from: &End, port: u16, to: (IpAddr, u16), kind: Kind, at: &Place, needed: bool) -> Aim {
    let load = match kind {
        Kind::Udp => Load::Udp(Some(port), to.1),
        Kind::Tcp => Load::Tcp { source_port: Some(port), port: to.1, sequence: None, acknowledgement: 0, flags: SYN },
    };
    Aim { template: template(from, to.0, load), at: at.clone(), needed }
}

/// A packet from outside to the outer side of a mapping; of TCP its flags, and what it may acknowledge.
fn answers(
    from: &End,
    port: u16,
    to: (IpAddr, u16),
    kind: Kind,
    tcp: Option<(u8, Packet)>,
    at: &Place,
    needed: bool,
) -> Aim {
    let mut aim = sends(from, port, to, kind, at, needed);
    if let (Load::Tcp { acknowledgement, flags, .. }, Some((wanted, opened))) = (&mut aim.template.load, tcp) {
        *flags = wanted;
        *acknowledgement = if wanted == SYN { 0 } else { opened.acknowledged_by() };
    }
    aim
}
