//! The chains and rules that every namespace of the agent has, before anything depends on a router.
//! Reference: `neutron-snat-side`, 4.1 and 4.2.

use super::iptables::{Chain, ChainName, DevicePattern, Hook, Rule, Ruleset, Table, Target, What, state as conntrack};
use crate::name::{DeviceName, NamespaceName};
use crate::net::{Family, IpNet, METADATA_MARK, ROUTER_MARK_MASK, SCOPE_MASK};

/// Prefix of the agent's own chains. Neutron: the program's name, cut to 16 characters.
const PREFIX: &str = "neutron-l3-agent-";
/// Called first of all by FORWARD and OUTPUT.
const FILTER_TOP: &str = "neutron-filter-top";
/// Called last of all by POSTROUTING.
const POSTROUTING_BOTTOM: &str = "neutron-postrouting-bottom";
/// Where instances find the metadata service, IPv4.
const METADATA_V4: &str = "169.254.169.254/32";
/// Where instances find the metadata service, IPv6.
const METADATA_V6: &str = "fe80::a9fe:a9fe/128";
/// TCP's protocol number.
const TCP: u8 = 6;

/// The agent's chain of this name.
pub(super) fn own(name: &str) -> ChainName {
    ChainName::Own(format!("{PREFIX}{name}"))
}

/// To the agent's chain of this name.
pub(super) fn jump(name: &str) -> Rule {
    Rule::to(Target::Jump(format!("{PREFIX}{name}")))
}

/// Exactly this device.
pub(super) fn device(name: &DeviceName) -> DevicePattern {
    DevicePattern::Name(name.clone())
}

impl Ruleset {
    /// Makes an own chain.
    pub(super) fn create(&mut self, table: Table, chain: ChainName) {
        self.tables.entry(table).or_default().entry(chain).or_default();
    }

    /// Adds a rule at the end of a chain.
    pub(super) fn append(&mut self, table: Table, chain: ChainName, rule: Rule) {
        let chain: &mut Chain = self.tables.entry(table).or_default().entry(chain).or_default();
        chain.rules.push(rule);
    }

    /// Makes the agent's twins of built-in chains, and has them called.
    fn twins(&mut self, table: Table, hooks: &[Hook]) {
        for hook in hooks {
            self.create(table, own(hook.name()));
            self.append(table, ChainName::Builtin(*hook), jump(hook.name()));
        }
    }
}

/// The constant part of a namespace's rules, as its name tells its kind; nothing for a namespace of no kind.
pub fn skeleton(name: &NamespaceName, family: Family) -> Ruleset {
    match name.as_str().split_once('-') {
        Some(("qrouter", _)) => qrouter(family, true, METADATA_MARK),
        Some(("snat", _)) => snat(family, true),
        Some(("fip", _)) => fip(family, true),
        Some(_) | None => Ruleset::default(),
    }
}

/// That of a qrouter namespace. `comments`: rules carry the agent's comments. `mark`: of requests to the metadata service.
pub(super) fn qrouter(family: Family, comments: bool, mark: u32) -> Ruleset {
    let mut rules = scoped(family, comments);
    let request = metadata_request(family, Target::Mark(mark, ROUTER_MARK_MASK));
    rules.append(Table::Mangle, own("PREROUTING"), request);
    rules
}

/// That of a snat namespace.
pub(super) fn snat(family: Family, comments: bool) -> Ruleset {
    let mut rules = scoped(family, comments);
    call_float_snat(family, &mut rules);
    rules
}

/// That of a fip namespace, which tracks no connections.
pub(super) fn fip(family: Family, comments: bool) -> Ruleset {
    let mut rules = base(family, comments);
    call_float_snat(family, &mut rules);
    if family == Family::V4 {
        rules.append(Table::Raw, own("PREROUTING"), Rule::to(Target::NoTrack));
    }
    rules
}

/// In a qrouter namespace the call comes and goes with floating IPs.
fn call_float_snat(family: Family, rules: &mut Ruleset) {
    if family == Family::V4 {
        rules.append(Table::Nat, own("snat"), jump("float-snat"));
    }
}

/// What every namespace has.
fn base(family: Family, comments: bool) -> Ruleset {
    let mut rules = Ruleset::default();
    filter(&mut rules);
    rules.twins(Table::Raw, &[Hook::Prerouting, Hook::Output]);
    rules.twins(Table::Mangle, &Hook::ALL);
    match family {
        Family::V4 => {
            rules.create(Table::Mangle, own("mark"));
            rules.append(Table::Mangle, own("PREROUTING"), jump("mark"));
            nat(&mut rules, comments);
        }
        Family::V6 => rules.twins(Table::Nat, &[Hook::Prerouting]),
    }
    rules
}

fn filter(rules: &mut Ruleset) {
    let top = || ChainName::Own(FILTER_TOP.to_owned());
    rules.create(Table::Filter, own("local"));
    rules.append(Table::Filter, top(), jump("local"));
    for hook in [Hook::Forward, Hook::Output] {
        rules.append(Table::Filter, ChainName::Builtin(hook), Rule::to(Target::Jump(FILTER_TOP.to_owned())));
    }
    rules.twins(Table::Filter, &[Hook::Input, Hook::Forward, Hook::Output]);
}

fn nat(rules: &mut Ruleset, comments: bool) {
    rules.twins(Table::Nat, &[Hook::Prerouting, Hook::Output, Hook::Postrouting]);
    let bottom = ChainName::Own(POSTROUTING_BOTTOM.to_owned());
    let last = Rule::to(Target::Jump(POSTROUTING_BOTTOM.to_owned()));
    rules.append(Table::Nat, ChainName::Builtin(Hook::Postrouting), last);
    rules.create(Table::Nat, own("snat"));
    rules.create(Table::Nat, own("float-snat"));
    let mut to_snat = jump("snat");
    if comments {
        to_snat = to_snat.when(What::Comment("Perform source NAT on outgoing traffic.".to_owned()));
    }
    rules.append(Table::Nat, bottom, to_snat);
}

/// What a qrouter or a snat namespace has besides: the chains of the address scopes.
fn scoped(family: Family, comments: bool) -> Ruleset {
    let mut rules = base(family, comments);
    let known = || What::ConnMark(0, SCOPE_MASK);
    rules.create(Table::Filter, own("scope"));
    rules.append(Table::Filter, own("FORWARD"), jump("scope"));
    rules.create(Table::Mangle, own("scope"));
    rules.append(Table::Mangle, own("PREROUTING"), jump("scope"));
    let restore = Rule::to(Target::RestoreMark(SCOPE_MASK, SCOPE_MASK)).unless(known());
    rules.append(Table::Mangle, own("PREROUTING"), restore);
    match family {
        Family::V4 => {
            rules.create(Table::Mangle, own("floatingip"));
            rules.append(Table::Mangle, own("PREROUTING"), jump("floatingip"));
            let save = Rule::to(Target::SaveMark(SCOPE_MASK, SCOPE_MASK)).when(known());
            rules.append(Table::Mangle, own("float-snat"), save);
        }
        Family::V6 => {}
    }
    rules
}

/// The condition for a request to the metadata service.
fn metadata_request(family: Family, target: Target) -> Rule {
    let address = match family {
        Family::V4 => METADATA_V4,
        Family::V6 => METADATA_V6,
    };
    Rule::to(target)
        .when(What::Destination(address.parse().expect("the address of the metadata service is a prefix")))
        .when(What::InDevice(DevicePattern::Prefix("qr-".to_owned())))
        .when(What::Protocol(TCP))
        .when(What::DestinationPort(TCP, 80.into()))
}

/// Leads marked requests to the metadata proxy, and nobody else there.
pub(super) fn serve_metadata(family: Family, rules: &mut Ruleset, port: u16, mark: u32) {
    let marked = Rule::to(Target::Accept).when(What::Mark(mark, ROUTER_MARK_MASK));
    rules.append(Table::Filter, own("INPUT"), marked);
    let others = Rule::to(Target::Drop).when(What::Protocol(TCP)).when(What::DestinationPort(TCP, port.into()));
    rules.append(Table::Filter, own("INPUT"), others);
    rules.append(Table::Nat, own("PREROUTING"), metadata_request(family, Target::Redirect(port.into())));
}

/// What leaves by a device, from this source if one is given, without connection tracking knowing it, is dropped.
pub(super) fn drop_invalid(source: Option<IpNet>, out: &DeviceName) -> Rule {
    let from = source.map(What::Source).into_iter();
    let conditions = from.chain([What::OutDevice(device(out)), What::ConntrackState(conntrack::INVALID)]);
    conditions.fold(Rule::to(Target::Drop), Rule::when)
}

/// What comes in by one device for another is dropped unless it was asked for, or is led there by a translation.
pub(super) fn refuse_inbound(outside: &DeviceName, inside: &DeviceName) -> Rule {
    Rule::to(Target::Drop)
        .when(What::InDevice(device(outside)))
        .when(What::OutDevice(device(inside)))
        .unless(What::ConntrackState(conntrack::RELATED | conntrack::ESTABLISHED | conntrack::DNAT))
}

/// Nothing is forwarded to the address of the metadata service, which is link-local (RFC 3927, section 7).
pub(super) fn stray_metadata() -> Rule {
    let service = METADATA_V4.parse().expect("the address of the metadata service is a prefix");
    Rule::to(Target::Drop).when(What::Destination(service))
}

/// The scope of a device's traffic: what comes in gets the mark, and unless `open`, only what has it goes out.
pub(super) fn scope_of_device(rules: &mut Ruleset, name: &DeviceName, mark: u32, open: bool) {
    let set = Rule::to(Target::Mark(mark, SCOPE_MASK)).when(What::InDevice(device(name)));
    rules.append(Table::Mangle, own("scope"), set);
    if !open {
        let keep = Rule::to(Target::Drop).when(What::OutDevice(device(name))).unless(What::Mark(mark, SCOPE_MASK));
        rules.append(Table::Filter, own("scope"), keep);
    }
}
