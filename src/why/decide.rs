//! Which `ip rule` led to a table.

use std::net::IpAddr;

use crate::name::DeviceName;
use crate::namespace::PolicyRule;
use crate::net::Family;

/// What routing looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Source address, before source translation.
    pub source: IpAddr,
    /// Destination address, after destination translation.
    pub destination: IpAddr,
    /// The device it came in by; none if it is made here.
    pub input: Option<DeviceName>,
    /// The packet's mark.
    pub mark: u32,
}

/// The first rule, by priority, that selects the packet and looks up `table`: what decided, as tables before it had no route.
pub fn policy_rule<'a>(
    rules: impl IntoIterator<Item = &'a PolicyRule>,
    lookup: &Lookup,
    table: u32,
) -> Option<&'a PolicyRule> {
    let mut selecting: Vec<&PolicyRule> =
        rules.into_iter().filter(|rule| rule.table == table && selects(rule, lookup)).collect();
    selecting.sort_by_key(|rule| rule.priority);
    selecting.first().copied()
}

fn selects(rule: &PolicyRule, lookup: &Lookup) -> bool {
    rule.family == Family::of(lookup.destination)
        && rule.from.is_none_or(|net| net.contains(&lookup.source))
        && rule.to.is_none_or(|net| net.contains(&lookup.destination))
        && rule.iif.as_ref().is_none_or(|device| lookup.input.as_ref() == Some(device))
        && rule.oif.is_none()
        && rule.fwmark.is_none_or(|(value, mask)| lookup.mark & mask == value & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(priority: u32, table: u32) -> PolicyRule {
        PolicyRule::new(Family::V4, priority, table)
    }

    fn lookup() -> Lookup {
        Lookup {
            source: "10.0.1.11".parse().unwrap(),
            destination: "198.51.100.2".parse().unwrap(),
            input: Some(DeviceName::new("qr-red4").unwrap()),
            mark: 0x2_0000,
        }
    }

    #[test]
    fn the_first_rule_that_selects_the_packet_and_names_the_table_decided() {
        let net = |text: &str| Some(text.parse().unwrap());
        let device = |name: &str| Some(DeviceName::new(name).unwrap());
        let rules = [
            PolicyRule { from: net("10.0.1.12/32"), ..rule(5, 16) },
            PolicyRule { to: net("203.0.113.0/24"), ..rule(6, 16) },
            PolicyRule { iif: device("qr-blue4"), ..rule(7, 16) },
            PolicyRule { oif: device("rfp-r1"), ..rule(8, 16) },
            PolicyRule { fwmark: Some((0x1_0000, 0xffff_0000)), ..rule(9, 16) },
            PolicyRule { family: Family::V6, ..rule(10, 16) },
            rule(99, 16),
            PolicyRule {
                from: net("10.0.1.1/24"),
                iif: device("qr-red4"),
                fwmark: Some((0x2_0000, 0xffff_0000)),
                ..rule(50, 16)
            },
            rule(11, 254),
        ];
        assert_eq!(policy_rule(&rules, &lookup(), 16).map(|rule| rule.priority), Some(50));
        assert_eq!(policy_rule(&rules, &lookup(), 254).map(|rule| rule.priority), Some(11));
        assert_eq!(policy_rule(&rules, &lookup(), 17), None);
        let other = Lookup { mark: 0, ..lookup() };
        assert_eq!(policy_rule(&rules, &other, 16).map(|rule| rule.priority), Some(99));
    }
}
