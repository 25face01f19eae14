//! The fence: a dead end for single addresses while their connections are forgotten, so that no packet makes a new one.
//!
//! It is made of a table with nothing but `blackhole default` and of rules that lead there. What is left of one after a plan
//! that stopped is in no desired state, hence removed by the next.

use std::collections::BTreeSet;

use super::op::Action;
use super::order::{Phase, Steps};
use crate::name::NamespaceName;
use crate::namespace::{NamespaceState, PolicyRule, Route, RouteKind, RouteProtocol};
use crate::net::{FIP_TABLE, Family, IpNet, family_of};

/// The table: a number that the agent uses for nothing else.
const TABLE: u32 = FIP_TABLE - 1;
/// The priority of rules that come before the kernel's own for table main.
const PRIORITY: u32 = 32_765;

/// For an address that is about to be steered by `rule`: the same rule, to the dead end. Of rules with equal priorities the
/// kernel looks at the elder first.
pub(super) fn before(rule: &PolicyRule) -> PolicyRule {
    PolicyRule { table: TABLE, ..rule.clone() }
}

/// For an address that goes the same way before and after: nothing from it and nothing to it.
pub(super) fn around(address: IpNet) -> [PolicyRule; 2] {
    let to_dead_end = PolicyRule::new(family_of(&address), PRIORITY, TABLE);
    [PolicyRule { from: Some(address), ..to_dead_end.clone() }, PolicyRule { to: Some(address), ..to_dead_end }]
}

/// Puts up `early` ones before anything else, `late` ones when all but steering is done, and takes all of them away after.
/// Early ones of a plan that stopped may stand already.
pub(super) fn put(
    (name, observed): (&NamespaceName, &NamespaceState),
    early: &[PolicyRule],
    late: &[PolicyRule],
    steps: &mut Steps,
) {
    let families = |rules: &[PolicyRule]| rules.iter().map(|rule| rule.family).collect::<BTreeSet<_>>();
    let (first, second) = (families(early), families(late));
    for (phase, rules, ends) in [(Phase::Refuse, early, &first), (Phase::Fence, late, &(&second - &first))] {
        for end in ends.iter().map(|family| dead_end(*family)) {
            if phase == Phase::Fence || !observed.routes.contains(&end) {
                steps.push(phase, name, Action::RouteReplace(end));
            }
        }
        for rule in rules {
            if phase == Phase::Fence || !observed.rules.contains(rule) {
                steps.push(phase, name, Action::RuleAdd(rule.clone()));
            }
        }
    }
    for rule in early.iter().chain(late) {
        steps.push(Phase::Unfence, name, Action::RuleDelete(rule.clone()));
    }
    for family in &first | &second {
        steps.push(Phase::Unfence, name, Action::RouteDelete(dead_end(family)));
    }
}

/// Whether a route is what early fences of these rules end in.
pub(super) fn ends(early: &[PolicyRule], route: &Route) -> bool {
    early.iter().any(|rule| *route == dead_end(rule.family))
}

fn dead_end(family: Family) -> Route {
    Route {
        table: TABLE,
        destination: family.any(),
        kind: RouteKind::Blackhole,
        next_hops: Vec::new(),
        protocol: RouteProtocol::Static,
        scope_link: false,
        source: None,
        metric: if family == Family::V6 { 1024 } else { 0 },
        tos: 0,
        odd: String::new(),
    }
}
