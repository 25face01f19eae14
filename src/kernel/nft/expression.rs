//! The kernel's expressions, between typed rules and bytes. Everything runs through register 1, as iptables-nft has it.

use netlink_bindings::nftables::{
    ExprOps, IterableCompatMatchAttrs, IterableDataAttrs, IterableExprAttrs, IterableExprTargetAttrs, PushExprAttrs,
};

use crate::kernel::nfnetlink::{find, nest};

/// Register 1 (NFT_REG_1).
const REGISTER: u32 = 1;
/// The register of verdicts (NFT_REG_VERDICT).
const VERDICT: u32 = 0;
/// NFT_OBJECT_COUNTER.
pub(super) const COUNTER_OBJECT: u32 = 1;
/// NFTA_LIST_ELEM.
const LIST_ELEMENT: u16 = 1;
/// NFTA_EXPR_DATA.
const EXPRESSION_DATA: u16 = 2;

/// Meta key: packet mark, host order.
pub(super) const META_MARK: u32 = 3;
/// Meta key: name of the device it came in by.
pub(super) const META_IN_NAME: u32 = 6;
/// Meta key: name of the device it leaves by.
pub(super) const META_OUT_NAME: u32 = 7;
/// Meta key: tracing is on for the packet (NFT_META_NFTRACE).
pub(super) const META_TRACE: u32 = 12;
/// Meta key: EtherType.
pub(super) const META_PROTOCOL: u32 = 1;
/// Meta key: transport protocol.
pub(super) const META_L4PROTO: u32 = 16;
/// Meta key: device group of the device it came in by, host order.
pub(super) const META_IN_GROUP: u32 = 21;
/// Payload base: Ethernet header.
pub(super) const LINK_HEADER: u32 = 0;
/// Payload base: IP or ARP header.
pub(super) const NETWORK_HEADER: u32 = 1;
/// Payload base: transport header.
pub(super) const TRANSPORT_HEADER: u32 = 2;

/// One expression of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// Loads packet metadata.
    Meta(u32),
    /// Sets packet metadata from the register.
    SetMeta(u32),
    /// Loads bytes of the packet.
    Payload { base: u32, offset: u32, length: u32 },
    /// Writes the register into the packet, no checksum touched.
    Write { base: u32, offset: u32, length: u32 },
    /// Keeps the bits of the mask.
    And(Vec<u8>),
    /// Goes on if the register is (or, inverted, is not) this.
    Compare { not: bool, value: Vec<u8> },
    /// Goes on if the register is (or, inverted, is not) between these, both included.
    Range { not: bool, from: Vec<u8>, to: Vec<u8> },
    /// Loads a constant.
    Load(Vec<u8>),
    /// Counts packets and bytes.
    Counter,
    /// Counts with the table's counter of that name.
    CountBy(String),
    /// Shows the beginning of the packet to the listeners of a log group, at once, with a text of at most 127 bytes.
    Log { group: u16, prefix: String, bytes: u32 },
    /// Ends the rule.
    Verdict(Verdict),
    /// A match of xtables.
    Match(Xt),
    /// A target of xtables.
    Target(Xt),
    /// Anything else: its name, and its attributes in hex.
    Other { name: String, hex: String },
}

/// What a rule ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
    /// As a jump, but the end of that chain is the end of this one too.
    Goto(String),
}

/// An xtables structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Xt {
    pub(super) name: String,
    pub(super) revision: u32,
    pub(super) info: Vec<u8>,
}

/// Bytes as two digits each.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

impl Expression {
    /// For an expression that no typed rule has: readable as far as it goes, the rest in hex.
    pub(super) fn unknown_text(&self) -> String {
        match self {
            Self::Meta(key) => format!("meta {key}"),
            Self::SetMeta(key) => format!("meta {key} set"),
            Self::Payload { base, offset, length } => format!("payload {base} {offset} {length}"),
            Self::Write { base, offset, length } => format!("write {base} {offset} {length}"),
            Self::And(mask) => format!("and {}", hex(mask)),
            Self::Compare { not, value } => format!("{} {}", if *not { "neq" } else { "eq" }, hex(value)),
            Self::Range { not, from, to } => {
                format!("{} {} {}", if *not { "outside" } else { "within" }, hex(from), hex(to))
            }
            Self::Load(value) => format!("load {}", hex(value)),
            Self::Counter => "counter".to_owned(),
            Self::CountBy(name) => format!("counter {name}"),
            Self::Log { group, prefix, bytes } => format!("log {group} {bytes} {prefix}"),
            Self::Verdict(verdict) => format!("verdict {verdict:?}"),
            Self::Match(xt) | Self::Target(xt) => format!("{} {} {}", xt.name, xt.revision, hex(&xt.info)),
            Self::Other { name, hex } => format!("{name} {hex}"),
        }
    }

    /// Appends the expression as a list element.
    pub(super) fn push(&self, bytes: &mut Vec<u8>) {
        nest(bytes, LIST_ELEMENT, |bytes| self.push_content(PushExprAttrs::new(bytes)));
    }

    fn push_content(&self, to: PushExprAttrs<&mut Vec<u8>>) {
        match self {
            Self::Meta(key) => {
                to.nested_data_meta().push_key(*key).push_dreg(REGISTER);
            }
            Self::SetMeta(key) => {
                to.nested_data_meta().push_key(*key).push_sreg(REGISTER);
            }
            Self::Payload { base, offset, length } => {
                let to = to.nested_data_payload().push_dreg(REGISTER);
                to.push_base(*base).push_offset(*offset).push_len(*length);
            }
            Self::Write { base, offset, length } => {
                let to = to.nested_data_payload().push_sreg(REGISTER);
                let to = to.push_base(*base).push_offset(*offset).push_len(*length);
                to.push_csum_type(0).push_csum_offset(0);
            }
            Self::And(mask) => {
                let length = u32::try_from(mask.len()).expect("a mask fits a register");
                let to = to.nested_data_bitwise().push_sreg(REGISTER).push_dreg(REGISTER).push_len(length);
                let to = to.nested_mask().push_value(mask).end_nested();
                to.nested_xor().push_value(&vec![0; mask.len()]);
            }
            Self::Compare { not, value } => {
                let to = to.nested_data_cmp().push_sreg(REGISTER).push_op(u32::from(*not));
                to.nested_data().push_value(value);
            }
            Self::Range { not, from, to: last } => {
                let to = to.nested_data_range().push_sreg(REGISTER).push_op(u32::from(*not));
                to.nested_from_data().push_value(from).end_nested().nested_to_data().push_value(last);
            }
            Self::Load(value) => {
                to.nested_data_immediate().push_dreg(REGISTER).nested_data().push_value(value);
            }
            Self::Counter => {
                to.nested_data_counter().push_bytes(0).push_packets(0);
            }
            Self::CountBy(name) => {
                to.nested_data_objref().push_imm_type(COUNTER_OBJECT).push_imm_name_bytes(name.as_bytes());
            }
            Self::Log { group, prefix, bytes } => {
                let to = to.nested_data_log().push_group(*group).push_prefix_bytes(prefix.as_bytes());
                to.push_snaplen(*bytes).push_qthreshold(1);
            }
            Self::Verdict(verdict) => {
                let to = to.nested_data_immediate().push_dreg(VERDICT).nested_data().nested_verdict();
                let to = to.push_code(verdict.code());
                if let Verdict::Jump(chain) | Verdict::Goto(chain) = verdict {
                    to.push_chain_bytes(chain.as_bytes());
                }
            }
            Self::Match(xt) => {
                let to = to.nested_data_match().push_name_bytes(xt.name.as_bytes());
                to.push_rev(xt.revision).push_info(&xt.info);
            }
            Self::Target(xt) => {
                let to = to.nested_data_target().push_name_bytes(xt.name.as_bytes());
                to.push_rev(xt.revision).push_info(&xt.info);
            }
            Self::Other { .. } => unreachable!("rules with expressions that are not understood are refused before"),
        }
    }

    /// Reads an expression of a dump. Whatever is not exactly of one of the known forms becomes [`Expression::Other`].
    pub(super) fn read(attributes: &IterableExprAttrs<'_>) -> Self {
        Self::known(attributes).unwrap_or_else(|| Self::Other {
            name: attributes.get_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            hex: hex(find(attributes.get_buf(), EXPRESSION_DATA).unwrap_or_default()),
        })
    }

    fn known(attributes: &IterableExprAttrs<'_>) -> Option<Self> {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the crate's list of expressions grows; all others are unknown"
        )]
        match attributes.get_data().ok()? {
            ExprOps::Meta(data) => {
                if data.get_dreg().ok()? != REGISTER {
                    return None;
                }
                Some(Self::Meta(data.get_key().ok()?))
            }
            ExprOps::Payload(data) => {
                if data.get_dreg().ok()? != REGISTER {
                    return None;
                }
                let (base, offset, length) = (data.get_base().ok()?, data.get_offset().ok()?, data.get_len().ok()?);
                Some(Self::Payload { base, offset, length })
            }
            ExprOps::Bitwise(data) => {
                let registers = (data.get_sreg().ok()?, data.get_dreg().ok()?);
                let plain =
                    data.get_op().unwrap_or(0) == 0 && value(data.get_xor().ok()?)?.iter().all(|byte| *byte == 0);
                (registers == (REGISTER, REGISTER) && plain).then_some(())?;
                Some(Self::And(value(data.get_mask().ok()?)?))
            }
            ExprOps::Cmp(data) => {
                let not = inversion(data.get_op().ok()?)?;
                (data.get_sreg().ok()? == REGISTER).then_some(())?;
                Some(Self::Compare { not, value: value(data.get_data().ok()?)? })
            }
            ExprOps::Range(data) => {
                let not = inversion(data.get_op().ok()?)?;
                (data.get_sreg().ok()? == REGISTER).then_some(())?;
                let (from, to) = (value(data.get_from_data().ok()?)?, value(data.get_to_data().ok()?)?);
                Some(Self::Range { not, from, to })
            }
            ExprOps::Immediate(data) if data.get_dreg().ok()? == VERDICT => {
                let verdict = data.get_data().ok()?.get_verdict().ok()?;
                let chain = verdict.get_chain().ok().map(|name| name.to_string_lossy().into_owned());
                Verdict::from_code(verdict.get_code().ok()?, chain).map(Self::Verdict)
            }
            ExprOps::Immediate(data) => {
                (data.get_dreg().ok()? == REGISTER).then_some(())?;
                value(data.get_data().ok()?).map(Self::Load)
            }
            ExprOps::Counter(_) => Some(Self::Counter),
            ExprOps::Match(data) => xt_match(&data).map(Self::Match),
            ExprOps::Target(data) => xt_target(&data).map(Self::Target),
            _ => None,
        }
    }
}

impl Verdict {
    /// The kernel's number, two's complement.
    fn code(&self) -> u32 {
        let code: i32 = match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Jump(_) => -3,
            Self::Goto(_) => -4,
            Self::Return => -5,
        };
        u32::from_ne_bytes(code.to_ne_bytes())
    }

    fn from_code(code: u32, chain: Option<String>) -> Option<Self> {
        let all = [Some(Self::Accept), Some(Self::Drop), Some(Self::Return), chain.map(Self::Jump)];
        all.into_iter().flatten().find(|verdict| verdict.code() == code)
    }
}

/// NFT_CMP_EQ and NFT_RANGE_EQ are 0, NFT_CMP_NEQ and NFT_RANGE_NEQ are 1; there are others (lt, gt).
fn inversion(operation: u32) -> Option<bool> {
    match operation {
        0 => Some(false),
        1 => Some(true),
        _other => None,
    }
}

fn value(data: IterableDataAttrs<'_>) -> Option<Vec<u8>> {
    data.get_value().ok().map(<[u8]>::to_vec)
}

fn xt_match(data: &IterableCompatMatchAttrs<'_>) -> Option<Xt> {
    Some(Xt {
        name: data.get_name().ok()?.to_str().ok()?.to_owned(),
        revision: data.get_rev().ok()?,
        info: data.get_info().ok()?.to_vec(),
    })
}

fn xt_target(data: &IterableExprTargetAttrs<'_>) -> Option<Xt> {
    Some(Xt {
        name: data.get_name().ok()?.to_str().ok()?.to_owned(),
        revision: data.get_rev().ok()?,
        info: data.get_info().ok()?.to_vec(),
    })
}
