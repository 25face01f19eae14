//! The chains and jumps that the agent's iptables manager makes in every namespace of a kind, whatever the router.
//!
//! Neutron: `iptables_manager.IptablesManager.__init__`, `initialize_mangle_table`, `initialize_nat_table`;
//! `router_info.RouterInfo._initialize_address_scope_iptables`, `initialize_metadata_iptables`. Reference: snat side, 4.1, 4.2.

use super::iptables::{ChainName, DevicePattern, Hook, Rule, Ruleset, Table, Target, What};
use crate::name::NamespaceName;
use crate::net::{Family, INGRESS_MARK, IpNet, METADATA_MARK, ROUTER_MARK_MASK, SCOPE_MASK};

/// What a namespace is for; its name's prefix says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamespaceKind {
    /// `qrouter-`
    Router,
    /// `snat-`
    Snat,
    /// `fip-`
    Fip,
}

impl NamespaceKind {
    /// By the prefix; none if it is no router namespace.
    pub fn of(name: &NamespaceName) -> Option<Self> {
        match name.as_str().split_once('-') {
            Some(("qrouter", _)) => Some(Self::Router),
            Some(("snat", _)) => Some(Self::Snat),
            Some(("fip", _)) => Some(Self::Fip),
            Some(_) | None => None,
        }
    }
}

/// The name of one of the agent's own chains.
pub(super) fn own(name: &str) -> String {
    format!("neutron-l3-agent-{name}")
}

/// A jump to one of the agent's own chains.
pub(super) fn jump(name: &str) -> Rule {
    Rule::to(Target::Jump(own(name)))
}

impl Ruleset {
    /// Appends a rule to one of the agent's own chains, making it if need be.
    pub(super) fn push(&mut self, table: Table, chain: &str, rule: Rule) {
        self.chain(table, ChainName::Own(own(chain))).rules.push(rule);
    }

    pub(super) fn chain(&mut self, table: Table, name: ChainName) -> &mut super::iptables::Chain {
        self.tables.entry(table).or_default().entry(name).or_default()
    }

    fn builtin(&mut self, table: Table, hook: Hook, rule: Rule) {
        self.chain(table, ChainName::Builtin(hook)).rules.push(rule);
    }

    fn declare(&mut self, table: Table, names: &[&str]) {
        for name in names {
            self.chain(table, ChainName::Own(own(name)));
        }
    }
}

/// The constant part of a namespace's rules; nothing for a namespace of no kind.
pub fn skeleton(name: &NamespaceName, family: Family) -> Ruleset {
    let mut rules = Ruleset::default();
    let Some(kind) = NamespaceKind::of(name) else { return rules };
    filter(&mut rules);
    mangle(&mut rules, family);
    nat(&mut rules, kind, family);
    for hook in [Hook::Prerouting, Hook::Output] {
        rules.builtin(Table::Raw, hook, jump(hook.name()));
    }
    rules.declare(Table::Raw, &["PREROUTING", "OUTPUT"]);
    match kind {
        NamespaceKind::Router | NamespaceKind::Snat => scopes(&mut rules, family),
        NamespaceKind::Fip if family == Family::V4 => rules.push(Table::Raw, "PREROUTING", Rule::to(Target::NoTrack)),
        NamespaceKind::Fip => {}
    }
    if kind == NamespaceKind::Router {
        let mark = metadata_request(family, Target::Mark(METADATA_MARK, ROUTER_MARK_MASK));
        rules.push(Table::Mangle, "PREROUTING", mark);
    }
    rules
}

fn filter(rules: &mut Ruleset) {
    let top = || Rule::to(Target::Jump("neutron-filter-top".to_owned()));
    rules.declare(Table::Filter, &["INPUT", "OUTPUT", "FORWARD", "local"]);
    rules.builtin(Table::Filter, Hook::Input, jump("INPUT"));
    rules.builtin(Table::Filter, Hook::Forward, top());
    rules.builtin(Table::Filter, Hook::Forward, jump("FORWARD"));
    rules.builtin(Table::Filter, Hook::Output, top());
    rules.builtin(Table::Filter, Hook::Output, jump("OUTPUT"));
    rules.chain(Table::Filter, ChainName::Own("neutron-filter-top".to_owned())).rules.push(jump("local"));
}

fn mangle(rules: &mut Ruleset, family: Family) {
    for hook in Hook::ALL {
        rules.declare(Table::Mangle, &[hook.name()]);
        rules.builtin(Table::Mangle, hook, jump(hook.name()));
    }
    if family == Family::V4 {
        rules.declare(Table::Mangle, &["mark"]);
        rules.push(Table::Mangle, "PREROUTING", jump("mark"));
    }
}

fn nat(rules: &mut Ruleset, kind: NamespaceKind, family: Family) {
    rules.declare(Table::Nat, &["PREROUTING"]);
    rules.builtin(Table::Nat, Hook::Prerouting, jump("PREROUTING"));
    if family == Family::V6 {
        return;
    }
    let bottom = "neutron-postrouting-bottom".to_owned();
    rules.declare(Table::Nat, &["OUTPUT", "POSTROUTING", "snat", "float-snat"]);
    rules.builtin(Table::Nat, Hook::Output, jump("OUTPUT"));
    rules.builtin(Table::Nat, Hook::Postrouting, jump("POSTROUTING"));
    rules.builtin(Table::Nat, Hook::Postrouting, Rule::to(Target::Jump(bottom.clone())));
    let comment = What::Comment("Perform source NAT on outgoing traffic.".to_owned());
    rules.chain(Table::Nat, ChainName::Own(bottom)).rules.push(jump("snat").when(comment));
    // In qrouter the jump is part of what floating IPs need, and goes with the last of them.
    if kind != NamespaceKind::Router {
        rules.push(Table::Nat, "snat", jump("float-snat"));
    }
}

/// Address scopes are kept in the upper half of the packet mark, and in the connection mark of both directions.
fn scopes(rules: &mut Ruleset, family: Family) {
    rules.declare(Table::Filter, &["scope"]);
    rules.push(Table::Filter, "FORWARD", jump("scope"));
    rules.declare(Table::Mangle, &["scope"]);
    rules.push(Table::Mangle, "PREROUTING", jump("scope"));
    let restore = Rule::to(Target::RestoreMark(SCOPE_MASK, SCOPE_MASK)).unless(What::ConnMark(0, SCOPE_MASK));
    rules.push(Table::Mangle, "PREROUTING", restore);
    if family == Family::V4 {
        rules.declare(Table::Mangle, &["floatingip", "float-snat"]);
        rules.push(Table::Mangle, "PREROUTING", jump("floatingip"));
        rules.push(Table::Mangle, "float-snat", save_scope());
    }
}

/// Keeps the scope of a connection's first packet, unless it has one already.
pub(super) fn save_scope() -> Rule {
    Rule::to(Target::SaveMark(SCOPE_MASK, SCOPE_MASK)).when(What::ConnMark(0, SCOPE_MASK))
}

/// A request to the metadata address, from any internal port.
pub(super) fn metadata_request(family: Family, target: Target) -> Rule {
    let address: IpNet = match family {
        Family::V4 => std::net::IpAddr::from([169, 254, 169, 254]).into(),
        Family::V6 => std::net::IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe]).into(),
    };
    Rule::to(target)
        .when(What::Destination(address))
        .when(What::InDevice(DevicePattern::Prefix("qr-".to_owned())))
        .when(What::Protocol(6))
        .when(What::DestinationPort(6, 80.into()))
}

/// What came in by the gateway device is marked, so that it is not taken for a hairpin.
pub(super) fn ingress_mark(device: &crate::name::DeviceName) -> Rule {
    Rule::to(Target::Mark(INGRESS_MARK, ROUTER_MARK_MASK)).when(What::InDevice(DevicePattern::Name(device.clone())))
}
