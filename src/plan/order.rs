//! The order of a plan: the phases, and why each comes where it does.
//!
//! A namespace may be read by packets between any two operations, and a plan may stop after any. Two rules give the table
//! below. *Nothing is steered where its translation is not*: on the way out what leads packets somewhere goes before what
//! translates them there, on the way in it comes after. *What tells that something is still to be done goes last*: a
//! translation's connections are purged while its rule still stands, so that a plan made after a stop purges them again.
//!
//! | phase | operations | why here |
//! |---|---|---|
//! | [`Phase::Refuse`] | routes to floating IPs, floating addresses, the way into fip namespaces that go, forwarding where source NAT is to begin; a fence around fixed addresses that lose a floating IP of the snat namespace | nobody begins anything new through what is withdrawn, or untranslated where it is to be translated |
//! | [`Phase::Unsteer`] | `ip rule del`: floating IPs, then redirects | while the rules that translate still stand, nothing untranslated can take that way |
//! | [`Phase::Forget`] | conntrack of withdrawn floating IPs, fixed and floating address, and of what went out untranslated | no connection goes on under an address that may be another's soon; before the rules, which are the trace of it |
//! | [`Phase::Withdraw`] | routes, neighbours, addresses | nobody is sent there any more |
//! | [`Phase::Unplug`] | devices; a pair goes with either end | with all that hangs on them |
//! | [`Phase::ForgetUnplugged`] | conntrack of gateway addresses whose device went | before the rules, which are the trace of them |
//! | [`Phase::Remove`] | namespaces | a snat namespace translates until it is off the network |
//! | [`Phase::Make`] | namespaces | born without forwarding |
//! | [`Phase::Filter`] | foreign tables; every iptables change of a namespace, in one transaction | before a namespace forwards, before a device or an address brings it packets |
//! | [`Phase::Configure`] | sysctls of the namespace, forwarding first | devices made from here on are born with `default`'s values |
//! | [`Phase::Plug`] | devices, up | without an address yet, and with the rules for what they carry |
//! | [`Phase::Adjust`] | MTU, up, sysctls of devices | before they have an address |
//! | [`Phase::Address`] | addresses | new before old: IPv4 loses a device's routes and neighbours with its last address |
//! | [`Phase::ForgetReplaced`] | conntrack of replaced addresses | their rules are gone, no new connection can have them |
//! | [`Phase::Replace`] | addresses that others have replaced | last trace of what was to be purged |
//! | [`Phase::Neighbour`] | permanent neighbours | before anything is sent to them |
//! | [`Phase::Route`] | routes: on the link, then by a gateway | a gateway has to be on some link; a table is full before a rule leads to it |
//! | [`Phase::Fence`] | a dead end for fixed addresses that get a floating IP | their open connections are untranslated ones; a rule would lead them out bare |
//! | [`Phase::ForgetFenced`] | conntrack of those fixed addresses | behind the fence no packet makes a new entry |
//! | [`Phase::Steer`] | `ip rule add` | everything it leads to is there |
//! | [`Phase::Unfence`] | all dead ends | the rules behind them take over |
//! | [`Phase::Accept`] | routes to floating IPs | from here on the outside reaches them, and their answers have a way |
//! | [`Phase::LateFilter`] | every iptables change of a new namespace, with the deviation that has them first switched off | where the real agent writes them |
//! | [`Phase::Announce`] | gratuitous ARP, unsolicited neighbour advertisements | all of it works |

use super::Plan;
use super::op::{Action, Op};
use crate::name::NamespaceName;

/// The phases, first to last; the table above says what each is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Refuse,
    Unsteer,
    Forget,
    Withdraw,
    Unplug,
    ForgetUnplugged,
    Remove,
    Make,
    Filter,
    Configure,
    Plug,
    Adjust,
    Address,
    ForgetReplaced,
    Replace,
    Neighbour,
    Route,
    Fence,
    ForgetFenced,
    Steer,
    Unfence,
    Accept,
    LateFilter,
    Announce,
}

/// Operations with their phases, in any order.
#[derive(Default)]
pub(super) struct Steps(Vec<(Phase, Op)>);

impl Steps {
    /// Adds an operation; within a phase and a namespace the order of adding stays.
    pub(super) fn push(&mut self, phase: Phase, namespace: &NamespaceName, action: Action) {
        self.0.push((phase, Op { namespace: namespace.clone(), action }));
    }

    /// In order.
    pub(super) fn into_plan(mut self) -> Plan {
        self.0.sort_by_key(|(phase, _)| *phase);
        Plan { ops: self.0.into_iter().map(|(_, op)| op).collect() }
    }
}
