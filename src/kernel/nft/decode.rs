//! The kernel's expressions back to a typed rule. What no typed rule has becomes [`What::Unknown`] or
//! [`Target::Unknown`], with the loads that lead to it; nothing is dropped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::encode::{WITH_PORTS, destination_offset, source_offset};
use super::expression::{
    Expression, META_IN_NAME, META_L4PROTO, META_MARK, META_OUT_NAME, NETWORK_HEADER, TRANSPORT_HEADER, Verdict, Xt,
};
use super::xt;
use crate::name::DeviceName;
use crate::namespace::{DevicePattern, Match, Rule, Target, What};
use crate::net::{Family, IpNet, PortRange};

/// Decodes a rule of a family.
pub(super) fn decode(expressions: Vec<Expression>, family: Family) -> Rule {
    let mut state = Decoder { family, loaded: Vec::new(), matches: Vec::new(), target: Target::None };
    for expression in expressions {
        state.take(expression);
    }
    state.matches.sort_by_key(|one| print_rank(&one.what));
    Rule { matches: state.matches, target: state.target }
}

/// `-s -d -i -o -p`, then the others in order: as `iptables-save` prints them.
fn print_rank(what: &What) -> u8 {
    match what {
        What::Source(_) => 0,
        What::Destination(_) => 1,
        What::InDevice(_) => 2,
        What::OutDevice(_) => 3,
        What::Protocol(_) => 4,
        What::SourcePort(..)
        | What::DestinationPort(..)
        | What::Mark(..)
        | What::ConnMark(..)
        | What::ConntrackState(_)
        | What::Comment(_)
        | What::Unknown(_) => 5,
    }
}

struct Decoder {
    family: Family,
    /// What made the register's content: a load and what was done to it.
    loaded: Vec<Expression>,
    matches: Vec<Match>,
    target: Target,
}

impl Decoder {
    fn take(&mut self, expression: Expression) {
        match expression {
            Expression::Meta(_) | Expression::Payload { .. } | Expression::Load(_) => self.loaded = vec![expression],
            Expression::And(_) => self.loaded.push(expression),
            Expression::Counter => {}
            Expression::Compare { not, ref value } => match self.compared(not, value) {
                Some(found) => {
                    self.matches.extend(found);
                    self.loaded.clear();
                }
                None => self.unknown(&expression),
            },
            Expression::Range { not, ref from, ref to } => match self.range(not, from, to) {
                Some(found) => {
                    self.matches.push(found);
                    self.loaded.clear();
                }
                None => self.unknown(&expression),
            },
            Expression::Match(ref found) => match xt::read_match(found) {
                Some(found) => self.matches.push(found),
                None => self.unknown(&expression),
            },
            Expression::Verdict(ref verdict) => {
                let target = match verdict {
                    Verdict::Accept => Target::Accept,
                    Verdict::Drop => Target::Drop,
                    Verdict::Return => Target::Return,
                    Verdict::Jump(chain) => Target::Jump(chain.clone()),
                    Verdict::Goto(_) => Target::Unknown(expression.unknown_text()),
                };
                self.end(target, &expression);
            }
            Expression::Target(ref found) => self.end(self.target(found), &expression),
            Expression::Write { .. }
            | Expression::CountBy(_)
            | Expression::Log { .. }
            | Expression::SetMeta(_)
            | Expression::Other { .. } => {
                self.unknown(&expression);
            }
        }
    }

    fn target(&self, found: &Xt) -> Target {
        xt::read_target(found, self.family)
            .unwrap_or_else(|| Target::Unknown(Expression::Target(found.clone()).unknown_text()))
    }

    /// A second target cannot be shown as one.
    fn end(&mut self, target: Target, expression: &Expression) {
        if self.target == Target::None { self.target = target } else { self.unknown(expression) }
    }

    fn unknown(&mut self, expression: &Expression) {
        let mut words: Vec<String> = self.loaded.drain(..).map(|loaded| loaded.unknown_text()).collect();
        words.push(expression.unknown_text());
        self.matches.push(Match { not: false, what: What::Unknown(words.join(" ")) });
    }

    /// The protocol whose ports are compared.
    fn protocol(&self) -> Option<u8> {
        self.matches.iter().rev().find_map(|one| match one {
            Match { not: false, what: What::Protocol(number) } if WITH_PORTS.contains(number) => Some(*number),
            _other => None,
        })
    }

    fn compared(&self, not: bool, value: &[u8]) -> Option<Vec<Match>> {
        let what = match self.loaded.as_slice() {
            [Expression::Meta(META_IN_NAME)] => What::InDevice(device(value)?),
            [Expression::Meta(META_OUT_NAME)] => What::OutDevice(device(value)?),
            [Expression::Meta(META_L4PROTO)] => match value {
                [number] => What::Protocol(*number),
                _other => return None,
            },
            [Expression::Meta(META_MARK)] => What::Mark(u32::from_ne_bytes(value.try_into().ok()?), u32::MAX),
            [Expression::Meta(META_MARK), Expression::And(mask)] => {
                let mask = u32::from_ne_bytes(mask.as_slice().try_into().ok()?);
                What::Mark(u32::from_ne_bytes(value.try_into().ok()?), mask)
            }
            [Expression::Payload { base: NETWORK_HEADER, offset, length }] => {
                self.address(*offset, *length, None, value)?
            }
            [Expression::Payload { base: NETWORK_HEADER, offset, length }, Expression::And(mask)] => {
                self.address(*offset, *length, Some(mask), value)?
            }
            [Expression::Payload { base: TRANSPORT_HEADER, offset, .. }] => return self.ports(*offset, not, value),
            _other => return None,
        };
        Some(vec![Match { not, what }])
    }

    fn ports(&self, offset: u32, not: bool, value: &[u8]) -> Option<Vec<Match>> {
        let protocol = self.protocol()?;
        let port = |a: u8, b: u8| PortRange::from(u16::from_be_bytes([a, b]));
        let one = |what| Match { not, what };
        match (offset, value) {
            (0, [a, b]) => Some(vec![one(What::SourcePort(protocol, port(*a, *b)))]),
            (2, [a, b]) => Some(vec![one(What::DestinationPort(protocol, port(*a, *b)))]),
            (0, [a, b, c, d]) if !not => Some(vec![
                one(What::SourcePort(protocol, port(*a, *b))),
                one(What::DestinationPort(protocol, port(*c, *d))),
            ]),
            _other => None,
        }
    }

    fn range(&self, not: bool, from: &[u8], to: &[u8]) -> Option<Match> {
        let [Expression::Payload { base: TRANSPORT_HEADER, offset, length: 2 }] = self.loaded.as_slice() else {
            return None;
        };
        let ports = PortRange {
            first: u16::from_be_bytes(from.try_into().ok()?),
            last: u16::from_be_bytes(to.try_into().ok()?),
        };
        let protocol = self.protocol()?;
        let what = match offset {
            0 => What::SourcePort(protocol, ports),
            2 => What::DestinationPort(protocol, ports),
            _other => return None,
        };
        Some(Match { not, what })
    }

    /// A prefix of one of the two addresses; a mask that is no prefix is not understood.
    fn address(&self, offset: u32, length: u32, mask: Option<&[u8]>, value: &[u8]) -> Option<What> {
        let mut bytes = value.to_vec();
        if usize::try_from(length).ok()? != bytes.len() {
            return None;
        }
        let whole = usize::from(self.family.bits() / 8);
        let address = {
            bytes.resize(whole, 0);
            address_of(&bytes)?
        };
        let prefix = match mask {
            None => u8::try_from(value.len() * 8).ok()?,
            Some(mask) => ipnet::ip_mask_to_prefix(address_of(mask)?).ok()?,
        };
        let net = IpNet::new(address, prefix).ok().filter(|net| net.network() == address)?;
        if offset == source_offset(self.family) {
            Some(What::Source(net))
        } else if offset == destination_offset(self.family) {
            Some(What::Destination(net))
        } else {
            None
        }
    }
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(bytes)));
    }
    <[u8; 16]>::try_from(bytes).ok().map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)))
}

/// With a NUL it is a whole name, without a prefix.
fn device(value: &[u8]) -> Option<DevicePattern> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    match value.iter().position(|byte| *byte == 0) {
        Some(end) => {
            let (name, rest) = value.split_at_checked(end)?;
            rest.iter().all(|byte| *byte == 0).then_some(())?;
            Some(DevicePattern::Name(DeviceName::new(text(name)?).ok()?))
        }
        None => Some(DevicePattern::Prefix(text(value).filter(|prefix| !prefix.is_empty())?)),
    }
}
