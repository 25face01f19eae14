//! A typed rule to the kernel's expressions, exactly as iptables-nft 1.8 encodes it.

use super::expression::{
    Expression, META_IN_NAME, META_L4PROTO, META_MARK, META_OUT_NAME, NETWORK_HEADER, TRANSPORT_HEADER, Verdict,
};
use super::xt;
use crate::namespace::{DevicePattern, Match, NatTarget, Rule, Target, What};
use crate::net::{Family, IpNet, PortRange};

/// Why a rule has no encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// An address of one family in a table of the other.
    #[error("an address is not of the table's family")]
    Family,
    /// A port without its `-p`.
    #[error("a port needs `-p tcp` or `-p udp` before it")]
    Port,
    /// The first port is above the last.
    #[error("the first port of a range is above the last")]
    PortOrder,
    /// `!` on something that fits everything, or that cannot be inverted.
    #[error("`! {0}` can never hold")]
    Never(String),
    /// A name or a comment that is too long or holds a NUL.
    #[error("`{0}` is too long, empty or holds a NUL character")]
    Text(String),
    /// `DNAT --random-fully`
    #[error("DNAT has no --random-fully")]
    RandomFully,
    /// A base that no range of DNAT keeps its distance to.
    #[error("only DNAT to a range of ports has a base")]
    Base,
    /// An expression that was read without being understood.
    #[error("an expression that is not understood cannot be written")]
    Unknown,
}

/// The transport protocols that have ports here: TCP and UDP.
pub(super) const WITH_PORTS: [u8; 2] = [6, 17];
/// Longest name of a chain (NFT_CHAIN_MAXNAMELEN without the NUL is 255; iptables takes 28).
const CHAIN_NAME: usize = 28;
/// Longest device name with its NUL.
const DEVICE_NAME: usize = 16;
/// Every port.
const ALL_PORTS: PortRange = PortRange { first: 0, last: u16::MAX };

/// A rule's expressions, and what its compat attribute says: the protocol and whether it is inverted.
pub(super) struct Encoded {
    pub(super) expressions: Vec<Expression>,
    pub(super) protocol: Option<(u8, bool)>,
}

/// `-i -o -p -s -d` come first whatever the order in the text, then the others in order.
fn rank(what: &What) -> u8 {
    match what {
        What::InDevice(_) => 0,
        What::OutDevice(_) => 1,
        What::Protocol(_) => 2,
        What::Source(_) => 3,
        What::Destination(_) => 4,
        What::SourcePort(..)
        | What::DestinationPort(..)
        | What::Mark(..)
        | What::ConnMark(..)
        | What::ConntrackState(_)
        | What::Comment(_)
        | What::Unknown(_) => 5,
    }
}

/// Encodes a rule of a family.
pub(super) fn encode(rule: &Rule, family: Family) -> Result<Encoded, EncodeError> {
    let mut matches: Vec<&Match> = rule.matches.iter().collect();
    matches.sort_by_key(|one| rank(&one.what));
    let protocol = matches
        .iter()
        .find_map(|one| if let What::Protocol(number) = one.what { Some((number, one.not)) } else { None });
    let mut expressions = Vec::new();
    let mut rest = matches.as_slice();
    while let Some((one, others)) = rest.split_first() {
        rest = others;
        match rest.split_first() {
            Some((next, others)) if let Some(both) = both_ports(one, next, protocol)? => {
                expressions.extend(both);
                rest = others;
            }
            Some(_) | None => expressions.extend(condition(one, family, protocol)?),
        }
    }
    expressions.push(Expression::Counter);
    expressions.extend(target(&rule.target, family)?);
    Ok(Encoded { expressions, protocol })
}

fn payload(base: u32, offset: u32, length: u32) -> Expression {
    Expression::Payload { base, offset, length }
}

/// One source port and one destination port are read and compared at once. (iptables 1.8.9 does so with two inverted ones
/// as well, which then hold when either differs; here `! --sport A ! --dport B` means what it says.)
fn both_ports(one: &Match, next: &Match, protocol: Option<(u8, bool)>) -> Result<Option<[Expression; 2]>, EncodeError> {
    let (Some(source), Some(destination)) = (single_source(one), single_destination(next)) else { return Ok(None) };
    if source.0 != destination.0 {
        return Ok(None);
    }
    checked_ports(source.0, source.1.into(), protocol)?;
    let value = [source.1.to_be_bytes(), destination.1.to_be_bytes()].concat();
    Ok(Some([payload(TRANSPORT_HEADER, 0, 4), Expression::Compare { not: false, value }]))
}

fn single_source(one: &Match) -> Option<(u8, u16)> {
    if let Match { not: false, what: What::SourcePort(protocol, ports) } = one {
        return (ports.first == ports.last && ports.first != 0).then_some((*protocol, ports.first));
    }
    None
}

fn single_destination(one: &Match) -> Option<(u8, u16)> {
    if let Match { not: false, what: What::DestinationPort(protocol, ports) } = one {
        return (ports.first == ports.last && ports.first != 0).then_some((*protocol, ports.first));
    }
    None
}

fn checked_ports(number: u8, ports: PortRange, protocol: Option<(u8, bool)>) -> Result<PortRange, EncodeError> {
    if !WITH_PORTS.contains(&number) || protocol != Some((number, false)) {
        return Err(EncodeError::Port);
    }
    if ports.first > ports.last { Err(EncodeError::PortOrder) } else { Ok(ports) }
}

/// One condition. What fits everything has no expressions.
fn condition(one: &Match, family: Family, protocol: Option<(u8, bool)>) -> Result<Vec<Expression>, EncodeError> {
    let not = one.not;
    let compare = |value: Vec<u8>| Expression::Compare { not, value };
    let never = || EncodeError::Never(one.what_text());
    Ok(match &one.what {
        What::Source(net) if net.prefix_len() == 0 && !not => checked_family(net, family).map(|_| Vec::new())?,
        What::Destination(net) if net.prefix_len() == 0 && !not => checked_family(net, family).map(|_| Vec::new())?,
        What::Source(net) | What::Destination(net) if net.prefix_len() == 0 => return Err(never()),
        What::Source(net) => prefix(checked_family(net, family)?, source_offset(family), not),
        What::Destination(net) => prefix(checked_family(net, family)?, destination_offset(family), not),
        What::InDevice(pattern) => device(META_IN_NAME, pattern, not)?,
        What::OutDevice(pattern) => device(META_OUT_NAME, pattern, not)?,
        What::Protocol(0) => return Err(EncodeError::Port),
        What::Protocol(number) => vec![Expression::Meta(META_L4PROTO), compare(vec![*number])],
        What::SourcePort(number, range) => ports(0, checked_ports(*number, *range, protocol)?, one)?,
        What::DestinationPort(number, range) => ports(2, checked_ports(*number, *range, protocol)?, one)?,
        What::Mark(value, u32::MAX) => vec![Expression::Meta(META_MARK), compare(value.to_ne_bytes().to_vec())],
        What::Mark(value, mask) => vec![
            Expression::Meta(META_MARK),
            Expression::And(mask.to_ne_bytes().to_vec()),
            compare(value.to_ne_bytes().to_vec()),
        ],
        What::Comment(_) if not => return Err(never()),
        What::Comment(text) if text.len() >= xt::COMMENT || text.contains('\0') => {
            return Err(EncodeError::Text(text.clone()));
        }
        What::ConnMark(..) | What::ConntrackState(_) | What::Comment(_) => {
            xt::write_match(one).map(Expression::Match).into_iter().collect()
        }
        What::Unknown(_) => return Err(EncodeError::Unknown),
    })
}

impl Match {
    /// The condition without its inversion.
    fn what_text(&self) -> String {
        Self { not: false, what: self.what.clone() }.to_string()
    }
}

fn checked_family(net: &IpNet, family: Family) -> Result<&IpNet, EncodeError> {
    if crate::net::family_of(net) == family { Ok(net) } else { Err(EncodeError::Family) }
}

/// Where the source address is in the IP header.
pub(super) fn source_offset(family: Family) -> u32 {
    match family {
        Family::V4 => 12,
        Family::V6 => 8,
    }
}

/// Where the destination address is in the IP header.
pub(super) fn destination_offset(family: Family) -> u32 {
    match family {
        Family::V4 => 16,
        Family::V6 => 24,
    }
}

fn octets(address: std::net::IpAddr) -> Vec<u8> {
    match address {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A prefix of whole bytes compares so many bytes; any other masks the whole address.
fn prefix(net: &IpNet, offset: u32, not: bool) -> Vec<Expression> {
    let mut value = octets(net.network());
    if net.prefix_len().is_multiple_of(8) {
        let length = net.prefix_len() / 8;
        value.truncate(length.into());
        return vec![payload(NETWORK_HEADER, offset, length.into()), Expression::Compare { not, value }];
    }
    vec![
        payload(NETWORK_HEADER, offset, u32::from(net.max_prefix_len() / 8)),
        Expression::And(octets(net.netmask())),
        Expression::Compare { not, value },
    ]
}

/// A whole name is compared with its NUL, a prefix without: the NUL is all the difference.
fn device(key: u32, pattern: &DevicePattern, not: bool) -> Result<Vec<Expression>, EncodeError> {
    let value = match pattern {
        DevicePattern::Name(name) => [name.as_str().as_bytes(), &[0]].concat(),
        DevicePattern::Prefix(prefix) if prefix.is_empty() && !not => return Ok(Vec::new()),
        DevicePattern::Prefix(prefix) if prefix.is_empty() || prefix.len() >= DEVICE_NAME || prefix.contains('\0') => {
            return Err(EncodeError::Text(prefix.clone()));
        }
        DevicePattern::Prefix(prefix) => prefix.as_bytes().to_vec(),
    };
    Ok(vec![Expression::Meta(key), Expression::Compare { not, value }])
}

fn ports(offset: u32, range: PortRange, one: &Match) -> Result<Vec<Expression>, EncodeError> {
    let not = one.not;
    if range == ALL_PORTS {
        return if not { Err(EncodeError::Never(one.what_text())) } else { Ok(Vec::new()) };
    }
    let (from, to) = (range.first.to_be_bytes().to_vec(), range.last.to_be_bytes().to_vec());
    let test = if from == to { Expression::Compare { not, value: from } } else { Expression::Range { not, from, to } };
    Ok(vec![payload(TRANSPORT_HEADER, offset, 2), test])
}

fn target(target: &Target, family: Family) -> Result<Option<Expression>, EncodeError> {
    let verdict = |verdict| Ok(Some(Expression::Verdict(verdict)));
    match target {
        Target::Jump(chain) if !legal_chain_name(chain) => Err(EncodeError::Text(chain.clone())),
        Target::Jump(chain) => verdict(Verdict::Jump(chain.clone())),
        Target::Accept => verdict(Verdict::Accept),
        Target::Drop => verdict(Verdict::Drop),
        Target::Return => verdict(Verdict::Return),
        Target::None => Ok(None),
        Target::Unknown(_) => Err(EncodeError::Unknown),
        Target::Dnat(NatTarget { random_fully: true, .. }) => Err(EncodeError::RandomFully),
        Target::Snat(NatTarget { base: Some(_), .. }) => Err(EncodeError::Base),
        Target::Dnat(NatTarget { base: Some(_), ports, .. }) if ports.is_none_or(PortRange::is_single) => {
            Err(EncodeError::Base)
        }
        Target::Snat(to) | Target::Dnat(to) if Family::of(to.address) != family => Err(EncodeError::Family),
        Target::Snat(NatTarget { ports: Some(ports), .. })
        | Target::Dnat(NatTarget { ports: Some(ports), .. })
        | Target::Redirect(ports)
            if ports.first > ports.last =>
        {
            Err(EncodeError::PortOrder)
        }
        Target::Mark(..)
        | Target::SaveMark(..)
        | Target::RestoreMark(..)
        | Target::SetConnMark(..)
        | Target::Snat(_)
        | Target::Dnat(_)
        | Target::Redirect(_)
        | Target::NoTrack => Ok(xt::write_target(target, family).map(Expression::Target)),
    }
}

/// A name that iptables takes for a chain.
pub(super) fn legal_chain_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= CHAIN_NAME && !name.contains('\0')
}
