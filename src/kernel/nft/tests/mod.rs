//! The rules against the kernel and, where it is installed, against iptables itself.

mod generate;
mod netdev;

use std::fmt::Write as _;

use netlink_bindings::nftables::{ExprListAttrs, RuleAttrs};
use netlink_sys::Socket;

use super::expression::Expression;
use super::message::{GET_RULE, Transaction};
use super::read::number;
use super::testing::*;
use super::*;
use crate::kernel::nfnetlink::{DUMP, ask};
use crate::kernel::testing::{done_in_a_sandbox, in_netns};
use crate::namespace::{ChainName, Hook, NatTarget, Rule, Table, Target, What};
use crate::net::{Family, PortRange};
use crate::plan::{ChainChange, RuleChanges};

/// Every distinct rule that the real agent was recorded to leave.
const RECORDED: &str = include_str!("../../../../tests/data/rules.txt");

/// Shapes that the agent does not use today.
const FURTHER: &str = "\
ip4 filter -A a -s 10.0.0.1/32 -d 10.1.0.0/16 -j ACCEPT
ip4 filter -A a -s 10.0.16.0/20 ! -d 10.2.0.0/15 -j RETURN
ip4 filter -A a ! -i qg-r1 ! -p tcp -j DROP
ip4 filter -A a -p udp -m udp --sport 67 --dport 68 -j DROP
ip4 filter -A a -p tcp -m tcp --sport 1024:65535 ! --dport 22 -j DROP
ip4 filter -A a -p tcp -m tcp ! --dport 80:90 -j DROP
ip4 filter -A a -p icmp -m comment --comment plain -j ACCEPT
ip4 filter -A a -m comment --comment \"it\\'s \\\"so\\\"\"
ip4 filter -A a -m mark --mark 0x1 -m connmark --mark 0x2 -j ACCEPT
ip4 filter -A a -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
ip4 filter -A a -m conntrack ! --ctstate INVALID,NEW,UNTRACKED,SNAT,DNAT -j DROP
ip4 nat -A a -d 203.0.113.5/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.1.5:80
ip4 nat -A a -p udp -j DNAT --to-destination 10.0.1.5:3000-3010 --persistent
ip4 nat -A a -p udp -j SNAT --to-source 203.0.113.6:1024-2047 --random-fully
ip4 nat -A a -p tcp -j REDIRECT --to-ports 9000-9010
ip4 mangle -A a -j MARK --set-xmark 0x3/0xffffffff
ip4 mangle -A a -j CONNMARK --set-xmark 0x4/0xffff
ip6 filter -A a -s fd00:0:0:8::/61 -d fd00::/64 -j ACCEPT
ip6 filter -A a ! -s fd00::1/128 -p ipv6-icmp -j DROP
ip6 nat -A a -p tcp -j DNAT --to-destination [fd00::5]:80
ip6 nat -A a -o qg-r1 -j SNAT --to-source fd00::6 --random-fully
ip6 nat -A a -p tcp -j REDIRECT --to-ports 9000
";

fn program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// `iptables-save` prints exactly our lines, order inside a chain included.
fn assert_saved(tables: &Tables) {
    for family in Family::BOTH {
        let Some(text) = succeed(&format!("{}-save", program(family)), "", "") else { return };
        let mut saved = std::collections::BTreeMap::<_, Vec<String>>::new();
        let mut table = String::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                name.clone_into(&mut table);
            } else if let Some(chain) = line.strip_prefix(':') {
                let (name, policy) = chain.split_once(' ').unwrap();
                if policy.starts_with('-') {
                    saved.entry((table.clone(), name.to_owned())).or_default();
                }
            } else if let Some(rule) = line.strip_prefix("-A ") {
                let (chain, _) = rule.split_once(' ').unwrap_or((rule, ""));
                saved.entry((table.clone(), chain.to_owned())).or_default().push(line.to_owned());
            }
        }
        assert_eq!(saved, lines(tables.of(family)));
    }
}

fn assert_lines_hold(text: &str) {
    let wanted = desired(text);
    for (family, ruleset) in &wanted {
        let start = if *family == Family::V4 { "ip4" } else { "ip6" };
        let mut printed: Vec<String> = Vec::new();
        for ((table, _), rules) in lines(ruleset) {
            printed.extend(rules.iter().map(|rule| format!("{start} {table} {rule}")));
        }
        let mut given: Vec<&str> = text.lines().filter(|line| line.starts_with(start)).collect();
        printed.sort();
        given.sort_unstable();
        assert_eq!(printed, given);
    }
    in_netns(|| {
        let tables = make(&socket(), &wanted).unwrap();
        assert_is(&tables, &wanted);
        assert!(tables.foreign.is_empty(), "{:?}", tables.foreign);
        assert_saved(&tables);
        for family in Family::BOTH {
            for ((table, _), rules) in lines(tables.of(family)) {
                for rule in rules {
                    // Between double quotes a shell leaves a backslash before a single quote.
                    let check = rule.replacen("-A", "-C", 1).replace("\\'", "'");
                    succeed(program(family), &format!("-t {table} {check}"), "");
                }
            }
        }
        let empty = make(&socket(), &Desired::new()).unwrap();
        assert_is(&empty, &Desired::new());
    });
}

#[test]
fn recorded_rules_are_as_iptables_has_them() {
    if done_in_a_sandbox() {
        return;
    }
    assert_lines_hold(RECORDED);
}

#[test]
fn further_shapes_are_as_iptables_has_them() {
    if done_in_a_sandbox() {
        return;
    }
    assert_lines_hold(FURTHER);
}

type RawRule = (u8, String, String, Vec<Expression>);

/// The kernel's expressions of every rule.
fn raw(socket: &Socket) -> Vec<RawRule> {
    let mut rules = Vec::new();
    for family in Family::BOTH {
        let consistent = ask(
            socket,
            (GET_RULE, DUMP),
            number(family),
            |_| {},
            |message| {
                let attributes = RuleAttrs::new(message.attributes);
                let expressions = attributes.get_expressions().unwrap();
                let expressions = expressions.map(|element| {
                    let ExprListAttrs::Elem(one) = element.unwrap();
                    Expression::read(&one)
                });
                let name = |name: &std::ffi::CStr| name.to_str().unwrap().to_owned();
                let (table, chain) = (name(attributes.get_table().unwrap()), name(attributes.get_chain().unwrap()));
                rules.push((message.family, table, chain, expressions.collect()));
                Ok(())
            },
        );
        assert!(consistent.unwrap());
    }
    // Stable: the order inside a chain stays.
    rules.sort_by(|a, b| (a.0, &a.1, &a.2).cmp(&(b.0, &b.1, &b.2)));
    rules
}

fn assert_same_kernel_objects(wanted: &Desired) {
    let theirs = in_netns(|| {
        for (family, ruleset) in wanted {
            let mut text = String::new();
            for (table, chains) in &ruleset.tables {
                writeln!(text, "*{}", table.name()).unwrap();
                for name in chains.keys().filter(|name| matches!(name, ChainName::Own(_))) {
                    writeln!(text, ":{name} - [0:0]").unwrap();
                }
                for (name, chain) in chains {
                    for rule in &chain.rules {
                        writeln!(text, "-A {name} {rule}").unwrap();
                    }
                }
                text += "COMMIT\n";
            }
            succeed(&format!("{}-restore", program(*family)), "", &text)?;
        }
        Some(raw(&socket()))
    });
    let Some(theirs) = theirs else { return };
    let ours = in_netns(|| {
        make(&socket(), wanted).unwrap();
        raw(&socket())
    });
    assert_eq!(ours.len(), theirs.len());
    for (one, other) in ours.iter().zip(&theirs) {
        assert_eq!(one, other);
    }
}

#[test]
fn the_kernel_holds_what_iptables_restore_makes() {
    if done_in_a_sandbox() {
        return;
    }
    assert_same_kernel_objects(&desired(RECORDED));
    assert_same_kernel_objects(&desired(FURTHER));
    assert_same_kernel_objects(&generate::sample(300));
}

fn insert(table: Table, chain: &str, position: usize, rule: &str) -> (Family, Table, ChainChange) {
    (Family::V4, table, ChainChange::Insert(chain_name(chain), position, rule.parse().unwrap()))
}

#[test]
fn a_refused_rule_leaves_nothing_and_is_named() {
    if done_in_a_sandbox() {
        return;
    }
    in_netns(|| {
        let socket = socket();
        let current = read(&socket).unwrap();
        let good = insert(Table::Filter, "INPUT", 0, "-j ACCEPT");
        let missing = insert(Table::Filter, "INPUT", 1, "-s 10.0.0.1/32 -j nowhere");
        let wrong_hook = insert(Table::Nat, "PREROUTING", 0, "-j SNAT --to-source 10.0.0.1");
        let bad = RuleChanges { changes: vec![good, missing, wrong_hook] };
        let error = commit(&socket, &bad, &current).unwrap_err();
        assert_eq!(
            error.to_string(),
            "do `iptables -t nat -I PREROUTING 1 -j SNAT --to-source 10.0.0.1`: EINVAL: Invalid argument (and 1 more)"
        );
        let NftError::Refused(refused) = error else { panic!("{error}") };
        let missing = refused.iter().find(|one| one.error.raw_os_error() == Some(libc::ENOENT)).unwrap();
        assert_eq!(missing.cause.to_string(), "iptables -t filter -I INPUT 2 -s 10.0.0.1/32 -j nowhere");
        assert_eq!(read(&socket).unwrap(), current);
    });
}

#[test]
fn changes_that_make_no_sense_are_refused_before_the_kernel_sees_them() {
    if done_in_a_sandbox() {
        return;
    }
    in_netns(|| {
        let socket = socket();
        let tables = make(&socket, &desired("ip4 filter -A a -j ACCEPT")).unwrap();
        let refusal = |change| {
            let changes = RuleChanges { changes: vec![change] };
            let error = commit(&socket, &changes, &tables).unwrap_err();
            match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            }
        };
        let delete = ChainChange::Delete(chain_name("a"), 0, Rule::to(Target::Drop));
        let cases = [
            (Family::V4, Table::Filter, delete),
            insert(Table::Filter, "a", 2, "-j DROP"),
            insert(Table::Nat, "FORWARD", 0, "-j ACCEPT"),
            (Family::V4, Table::Filter, ChainChange::Create(ChainName::Builtin(Hook::Input))),
            insert(Table::Filter, "a", 0, "-s fd00::1/128 -j DROP"),
            insert(Table::Filter, "a", 0, "-m tcp --dport 80 -j DROP"),
            insert(Table::Filter, "a", 0, "! -s 0.0.0.0/0 -j DROP"),
        ];
        insta::assert_snapshot!(cases.map(refusal).join("\n"), @r"
        do `iptables -t filter -D a -j DROP`: that rule is not at that position
        do `iptables -t filter -I a 3 -j DROP`: the chain will have no such position
        do `iptables -t nat -I FORWARD 1 -j ACCEPT`: the table has no such built-in chain
        do `iptables -t filter -N INPUT`: the chain is of the wrong kind for that
        do `iptables -t filter -I a 1 -s fd00::1/128 -j DROP`: an address is not of the table's family
        do `iptables -t filter -I a 1 -m tcp --dport 80 -j DROP`: a port needs `-p tcp` or `-p udp` before it
        do `iptables -t filter -I a 1 ! -s 0.0.0.0/0 -j DROP`: `! -s 0.0.0.0/0` can never hold
        ");
    });
}

#[test]
fn changes_to_rules_that_changed_meanwhile_are_refused() {
    if done_in_a_sandbox() {
        return;
    }
    in_netns(|| {
        let socket = socket();
        let old = read(&socket).unwrap();
        let tables = make(&socket, &desired("ip4 filter -A a -j ACCEPT")).unwrap();
        let late = RuleChanges { changes: vec![insert(Table::Filter, "INPUT", 0, "-j ACCEPT")] };
        assert!(matches!(commit(&socket, &late, &old), Err(NftError::Stale)));
        assert_eq!(read(&socket).unwrap(), tables);
        assert!(commit(&socket, &late, &tables).is_ok());
    });
}

#[test]
fn large_transactions_go_out() {
    if done_in_a_sandbox() {
        return;
    }
    in_netns(|| {
        let socket = socket();
        let rule =
            |n: u32| format!("ip4 filter -A a -s {}/32 -j RETURN\n", std::net::Ipv4Addr::from_bits(0x0a00_0000 + n));
        let wanted = desired(&(0..1200).map(rule).collect::<String>());
        assert_is(&make(&socket, &wanted).unwrap(), &wanted);
    });
}

#[test]
fn a_foreign_table_is_seen_and_removed() {
    if done_in_a_sandbox() {
        return;
    }
    in_netns(|| {
        let socket = socket();
        let mut transaction = Transaction::begin(None);
        for (family, name) in [(1, "other"), (2, "security"), (10, "dvrlab-own"), (10, "filter")] {
            transaction.new_table(family, name, &Cause::Table(name.to_owned()));
        }
        transaction.commit(&socket).unwrap();
        let seen = read(&socket).unwrap().foreign;
        assert_eq!(seen.iter().map(ToString::to_string).collect::<Vec<_>>(), ["table inet other", "table ip security"]);
        for table in &seen {
            delete_table(&socket, table).unwrap();
        }
        assert!(read(&socket).unwrap().foreign.is_empty());
        let refused = delete_table(&socket, seen.first().unwrap()).unwrap_err().to_string();
        assert!(refused.contains("ENOENT"), "{refused}");
    });
}

#[test]
fn what_others_put_there_is_shown() {
    if done_in_a_sandbox() {
        return;
    }
    in_netns(|| {
        let socket = socket();
        let text = "table inet other { }\ntable ip security { }\ntable ip dvrlab-x { }\ntable ip6 nat { }\n\
            table ip filter {\nchain strange { type filter hook input priority 5; }\n\
            chain INPUT { type filter hook input priority 0; policy drop; ip saddr 10.0.0.0/8 ct state new counter accept; \
            limit rate 1/second drop; tcp dport 80 accept; meta mark set 5; }\n}\n";
        if succeed("nft", "-f -", text).is_none() {
            return;
        }
        let tables = read(&socket).unwrap();
        let foreign: Vec<String> = tables.foreign.iter().map(ToString::to_string).collect();
        assert_eq!(foreign, ["table inet other", "table ip security"]);
        assert!(tables.v4.tables[&Table::Filter].contains_key(&ChainName::Own("strange".to_owned())));
        let mut shown = lines(&tables.v4);
        let input = shown.remove(&("filter".to_owned(), "INPUT".to_owned())).unwrap();
        let [state, limit, port, mark] = &input[..] else { panic!("{input:?}") };
        assert!(state.starts_with("-A INPUT -s 10.0.0.0/8 -m unknown ct "), "{state}");
        assert!(state.ends_with(" -j ACCEPT"), "{state}");
        assert!(limit.starts_with("-A INPUT -m unknown limit "), "{limit}");
        assert_eq!(port, "-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT");
        assert!(mark.starts_with("-A INPUT -m unknown load 05000000 meta "), "{mark}");
        assert!(tables.v4.tables[&Table::Filter][&ChainName::Builtin(Hook::Input)].policy_drop);
        assert!(tables.v6.tables.is_empty());
        // All of it can be removed.
        assert_is(&make(&socket, &Desired::new()).unwrap(), &Desired::new());
    });
}
