//! What `iptables-restore --noflush` is given: the differences and nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::namespace::{ChainName, Rule, Table};
use crate::net::Family;
use crate::plan::{ChainChange, RuleChanges};

/// The changes of one table in the order in which the program has to do them.
#[derive(Default)]
struct Part<'a> {
    chains: Vec<String>,
    deleted: BTreeMap<&'a ChainName, Vec<usize>>,
    inserted: BTreeMap<&'a ChainName, BTreeMap<usize, &'a Rule>>,
    removed: Vec<&'a ChainName>,
}

/// The program's input for a family; nothing if nothing of it changes. A rule is deleted by its number, last ones first, so
/// that numbers stay right; then rules are inserted at their final numbers, first ones first. Rules that stay are not named.
pub(super) fn text(changes: &RuleChanges, family: Family) -> Option<String> {
    let mut parts: BTreeMap<Table, Part<'_>> = BTreeMap::new();
    for (_, table, change) in changes.changes.iter().filter(|(of, _, _)| *of == family) {
        let part = parts.entry(*table).or_default();
        match change {
            ChainChange::Create(chain) => part.chains.push(format!(":{chain} - [0:0]")),
            ChainChange::PolicyAccept(chain) => part.chains.push(format!(":{chain} ACCEPT [0:0]")),
            ChainChange::Delete(chain, position, _) => part.deleted.entry(chain).or_default().push(*position),
            ChainChange::Insert(chain, position, rule) => {
                part.inserted.entry(chain).or_default().insert(*position, rule);
            }
            ChainChange::Remove(chain) => part.removed.push(chain),
        }
    }
    let mut text = String::new();
    for (table, part) in parts {
        let written = write_part(&mut text, table, part);
        written.expect("a string takes whatever is written to it");
    }
    (!text.is_empty()).then_some(text)
}

fn write_part(text: &mut String, table: Table, part: Part<'_>) -> std::fmt::Result {
    writeln!(text, "*{}", table.name())?;
    for line in part.chains {
        writeln!(text, "{line}")?;
    }
    for (chain, mut positions) in part.deleted {
        positions.sort_unstable();
        for position in positions.into_iter().rev() {
            writeln!(text, "-D {chain} {}", position + 1)?;
        }
    }
    for (chain, rules) in part.inserted {
        for (position, rule) in rules {
            writeln!(text, "-I {chain} {} {rule}", position + 1)?;
        }
    }
    // Jumps between chains that go at the same time do not hold each other: all are emptied before the first goes.
    for option in ["-F", "-X"] {
        for chain in &part.removed {
            writeln!(text, "{option} {chain}")?;
        }
    }
    writeln!(text, "COMMIT")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{Hook, Target};

    #[test]
    fn differences_are_written_so_that_numbers_stay_right() {
        let own = |name: &str| ChainName::Own(name.to_owned());
        let forward = ChainName::Builtin(Hook::Forward);
        let rule = |target| Rule::to(target);
        let change = |change| (Family::V4, Table::Filter, change);
        let changes = RuleChanges {
            changes: vec![
                change(ChainChange::Create(own("new"))),
                change(ChainChange::Delete(forward.clone(), 0, rule(Target::Drop))),
                change(ChainChange::Delete(forward.clone(), 2, rule(Target::Drop))),
                change(ChainChange::Insert(forward.clone(), 1, rule(Target::Jump("new".to_owned())))),
                change(ChainChange::PolicyAccept(forward.clone())),
                change(ChainChange::Remove(own("one"))),
                change(ChainChange::Remove(own("two"))),
                (Family::V6, Table::Raw, ChainChange::Create(own("other"))),
            ],
        };
        let wanted = "*filter\n:new - [0:0]\n:FORWARD ACCEPT [0:0]\n-D FORWARD 3\n-D FORWARD 1\n-I FORWARD 2 -j new\n\
            -F one\n-F two\n-X one\n-X two\nCOMMIT\n";
        assert_eq!(text(&changes, Family::V4).as_deref(), Some(wanted));
        assert_eq!(text(&changes, Family::V6).as_deref(), Some("*raw\n:other - [0:0]\nCOMMIT\n"));
        assert_eq!(text(&RuleChanges::default(), Family::V4), None);
    }
}
