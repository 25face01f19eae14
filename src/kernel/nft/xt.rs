//! The structures of xtables: name, revision and bytes exactly as iptables 1.8 sends them.
//!
//! Numbers are in host order, addresses and ports in network order. Lengths are the structures' sizes rounded up to 8.
//! Reading is strict: a structure that ours would not have written byte for byte is not understood.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::expression::Xt;
use crate::namespace::{Match, NatTarget, Target, What};
use crate::net::{Family, PortRange};

/// XT_CONNTRACK_STATE in `match_flags` and `invert_flags`.
const STATE: u16 = 0x1;
/// XT_CONNTRACK_STATE_ALIAS: written as `-m state`, means the same.
const STATE_ALIAS: u16 = 0x2000;
/// Where `match_flags`, `invert_flags` and `state_mask` of `xt_conntrack_mtinfo3` are.
const CONNTRACK_FLAGS: usize = 146;
/// Size of the text of a comment with its NUL (XT_MAX_COMMENT_LEN).
pub(super) const COMMENT: usize = 256;

/// `mode` of `xt_connmark_tginfo2`: XT_CONNMARK_SET, SAVE, RESTORE.
const CONNMARK_SET: u8 = 0;
const CONNMARK_SAVE: u8 = 1;
const CONNMARK_RESTORE: u8 = 2;

/// NF_NAT_RANGE_MAP_IPS
const MAP_ADDRESSES: u32 = 0x1;
/// NF_NAT_RANGE_PROTO_SPECIFIED
const PORTS_GIVEN: u32 = 0x2;
/// NF_NAT_RANGE_PROTO_RANDOM
const RANDOM: u32 = 0x4;
/// NF_NAT_RANGE_PERSISTENT
const PERSISTENT: u32 = 0x8;
/// NF_NAT_RANGE_PROTO_RANDOM_FULLY
const RANDOM_FULLY: u32 = 0x10;
/// NF_NAT_RANGE_PROTO_OFFSET; only DNAT's structure has a place for the base.
const BASE_GIVEN: u32 = 0x20;

fn xt(name: &str, revision: u32, length: usize, parts: &[&[u8]]) -> Xt {
    let mut info = parts.concat();
    info.resize(length, 0);
    Xt { name: name.to_owned(), revision, info }
}

fn bytes_at<const N: usize>(info: &[u8], at: usize) -> Option<[u8; N]> {
    info.get(at..)?.first_chunk().copied()
}

fn u32_at(info: &[u8], at: usize) -> Option<u32> {
    bytes_at(info, at).map(u32::from_ne_bytes)
}

/// The structure of a match, if xtables has to do it.
pub(super) fn write_match(one: &Match) -> Option<Xt> {
    match &one.what {
        What::ConntrackState(bits) => {
            let invert = if one.not { STATE } else { 0 };
            let flags = [STATE.to_ne_bytes(), invert.to_ne_bytes(), bits.to_ne_bytes()].concat();
            Some(xt("conntrack", 3, 168, &[&[0; CONNTRACK_FLAGS], &flags]))
        }
        What::ConnMark(value, mask) => {
            let parts: [&[u8]; 3] = [&value.to_ne_bytes(), &mask.to_ne_bytes(), &[u8::from(one.not)]];
            Some(xt("connmark", 1, 16, &parts))
        }
        What::Comment(text) => Some(xt("comment", 0, COMMENT, &[text.as_bytes()])),
        What::Source(_)
        | What::Destination(_)
        | What::InDevice(_)
        | What::OutDevice(_)
        | What::Protocol(_)
        | What::SourcePort(..)
        | What::DestinationPort(..)
        | What::Mark(..)
        | What::Unknown(_) => None,
    }
}

/// The match that a structure stands for.
pub(super) fn read_match(from: &Xt) -> Option<Match> {
    let info = from.info.as_slice();
    let one = match from.name.as_str() {
        "conntrack" => {
            let flags = bytes_at(info, CONNTRACK_FLAGS).map(u16::from_ne_bytes)?;
            let invert = bytes_at(info, CONNTRACK_FLAGS + 2).map(u16::from_ne_bytes)?;
            let bits = bytes_at(info, CONNTRACK_FLAGS + 4).map(u16::from_ne_bytes)?;
            let one = Match { not: invert & STATE != 0, what: What::ConntrackState(bits) };
            if flags & STATE_ALIAS != 0 {
                let mut plain = from.clone();
                let bytes = plain.info.iter_mut().skip(CONNTRACK_FLAGS);
                bytes.zip((flags & !STATE_ALIAS).to_ne_bytes()).for_each(|(old, new)| *old = new);
                return (write_match(&one)? == plain).then_some(one);
            }
            one
        }
        "connmark" => {
            Match { not: bytes_at(info, 8)? != [0], what: What::ConnMark(u32_at(info, 0)?, u32_at(info, 4)?) }
        }
        "comment" => {
            let text: Vec<u8> = info.iter().copied().take_while(|byte| *byte != 0).collect();
            Match { not: false, what: What::Comment(String::from_utf8(text).ok()?) }
        }
        _other => return None,
    };
    (write_match(&one)? == *from).then_some(one)
}

/// The structure of a target, if xtables has to do it. The addresses are of the family.
pub(super) fn write_target(target: &Target, family: Family) -> Option<Xt> {
    match target {
        Target::Mark(value, mask) => Some(xt("MARK", 2, 8, &[&value.to_ne_bytes(), &mask.to_ne_bytes()])),
        Target::SetConnMark(value, mask) => Some(connmark(*value, *mask, u32::MAX, CONNMARK_SET)),
        Target::SaveMark(nfmask, ctmask) => Some(connmark(0, *ctmask, *nfmask, CONNMARK_SAVE)),
        Target::RestoreMark(nfmask, ctmask) => Some(connmark(0, *ctmask, *nfmask, CONNMARK_RESTORE)),
        Target::NoTrack => Some(xt("CT", 2, 72, &[&1_u16.to_ne_bytes()])),
        Target::Snat(to) => {
            let (revision, form) = match family {
                Family::V4 => (0, Form::Multi),
                Family::V6 => (1, Form::Range),
            };
            Some(nat("SNAT", revision, form, to))
        }
        Target::Dnat(to) => Some(nat("DNAT", 2, Form::Range2, to)),
        Target::Redirect(ports) => {
            let (form, address) = match family {
                Family::V4 => (Form::Multi, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                Family::V6 => (Form::Range, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            };
            Some(xt("REDIRECT", 0, form.length(), &[&form.fill(PORTS_GIVEN, address, Some(*ports))]))
        }
        Target::Jump(_) | Target::Accept | Target::Drop | Target::Return | Target::Unknown(_) | Target::None => None,
    }
}

/// `xt_connmark_tginfo2`: the mask of the connection's mark comes first.
fn connmark(ctmark: u32, ctmask: u32, nfmask: u32, mode: u8) -> Xt {
    let numbers = [ctmark.to_ne_bytes(), ctmask.to_ne_bytes(), nfmask.to_ne_bytes()].concat();
    xt("CONNMARK", 2, 16, &[&numbers, &[0, 0, mode]])
}

fn nat(name: &str, revision: u32, form: Form, to: &NatTarget) -> Xt {
    let set = [
        (true, MAP_ADDRESSES),
        (to.ports.is_some(), PORTS_GIVEN),
        (to.random, RANDOM),
        (to.persistent, PERSISTENT),
        (to.random_fully, RANDOM_FULLY),
        (to.base.is_some(), BASE_GIVEN),
    ];
    let flags = set.iter().filter(|(given, _)| *given).map(|(_, bit)| bit).sum();
    let base = to.base.map_or(Vec::new(), |base| base.to_be_bytes().to_vec());
    xt(name, revision, form.length(), &[&form.fill(flags, to.address, to.ports), &base])
}

/// The three structures that carry a range of addresses and ports.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `nf_nat_ipv4_multi_range_compat`
    Multi,
    /// `nf_nat_range`
    Range,
    /// `nf_nat_range2`
    Range2,
}

impl Form {
    const ALL: [Self; 3] = [Self::Multi, Self::Range, Self::Range2];

    fn length(self) -> usize {
        match self {
            Self::Multi => 24,
            Self::Range => 40,
            Self::Range2 => 48,
        }
    }

    /// One address and one range of ports; a single one is written as first and last.
    fn fill(self, flags: u32, address: IpAddr, ports: Option<PortRange>) -> Vec<u8> {
        let mut bytes = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        if self != Self::Multi {
            bytes.resize(16, 0);
        }
        let (first, last) = ports.map_or((0, 0), |ports| (ports.first, ports.last));
        let count: &[u8] = if self == Self::Multi { &1_u32.to_ne_bytes() } else { &[] };
        [count, &flags.to_ne_bytes(), &bytes, &bytes, &first.to_be_bytes(), &last.to_be_bytes()].concat()
    }

    fn read(self, family: Family, info: &[u8]) -> Option<(u32, NatTarget)> {
        let (flags, address, ports) = match self {
            Self::Multi => (4, 8, 16),
            Self::Range | Self::Range2 => (0, 4, 36),
        };
        let flags = u32_at(info, flags)?;
        let address = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from(bytes_at::<4>(info, address)?)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(bytes_at::<16>(info, address)?)),
        };
        let range = PortRange {
            first: u16::from_be_bytes(bytes_at(info, ports)?),
            last: u16::from_be_bytes(bytes_at(info, ports + 2)?),
        };
        let base = match self {
            Self::Range2 => u16::from_be_bytes(bytes_at(info, ports + 4)?),
            Self::Multi | Self::Range => 0,
        };
        let target = NatTarget {
            address,
            ports: (flags & PORTS_GIVEN != 0).then_some(range),
            base: (flags & BASE_GIVEN != 0).then_some(base),
            random: flags & RANDOM != 0,
            random_fully: flags & RANDOM_FULLY != 0,
            persistent: flags & PERSISTENT != 0,
        };
        Some((flags, target))
    }
}

/// The target that a structure stands for.
pub(super) fn read_target(from: &Xt, family: Family) -> Option<Target> {
    let info = from.info.as_slice();
    let form = Form::ALL.into_iter().find(|form| form.length() == info.len());
    let target = match from.name.as_str() {
        "MARK" => Target::Mark(u32_at(info, 0)?, u32_at(info, 4)?),
        "CONNMARK" => {
            let (ctmark, ctmask, nfmask) = (u32_at(info, 0)?, u32_at(info, 4)?, u32_at(info, 8)?);
            match bytes_at(info, 14)? {
                [CONNMARK_SET] => Target::SetConnMark(ctmark, ctmask),
                [CONNMARK_SAVE] => Target::SaveMark(nfmask, ctmask),
                [CONNMARK_RESTORE] => Target::RestoreMark(nfmask, ctmask),
                _other => return None,
            }
        }
        "CT" => Target::NoTrack,
        "SNAT" => Target::Snat(form?.read(family, info)?.1),
        "DNAT" => Target::Dnat(form?.read(family, info)?.1),
        "REDIRECT" => Target::Redirect(form?.read(family, info)?.1.ports?),
        _other => return None,
    };
    (write_target(&target, family)? == *from).then_some(target)
}
