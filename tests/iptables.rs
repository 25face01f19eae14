//! What `iptables-save` says of the router namespaces of a standing lab is what we print of them.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic, and compares with another program"
)]

mod built;
mod inside;

use std::collections::BTreeSet;
use std::process::Command;

use built::{Built, intent_after, scenario};
use dvrlab::dataplane::Dataplane as _;
use dvrlab::kernel::Surroundings as _;
use dvrlab::namespace::{ChainName, Ruleset};
use dvrlab::net::Family;
use inside::inside;

/// A table's name, and lines of it in order.
type Lines = Vec<(String, String)>;

/// Own chains by table in order of name, and rules chain by chain.
fn ours(ruleset: &Ruleset) -> (BTreeSet<(String, String)>, Lines) {
    let (mut chains, mut rules) = (BTreeSet::new(), Vec::new());
    for (table, content) in &ruleset.tables {
        for (name, chain) in content {
            if let ChainName::Own(own) = name {
                chains.insert((table.name().to_owned(), own.clone()));
            }
            rules.extend(chain.rules.iter().map(|rule| (table.name().to_owned(), format!("-A {name} {rule}"))));
        }
    }
    (chains, rules)
}

/// The same of what the program prints.
fn theirs(text: &str) -> (BTreeSet<(String, String)>, Lines) {
    let (mut table, mut chains, mut rules) = (String::new(), BTreeSet::new(), Vec::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            name.clone_into(&mut table);
        } else if let Some(chain) = line.strip_prefix(':') {
            let words: Vec<&str> = chain.split(' ').collect();
            assert_ne!(words[1], "DROP", "{line}");
            if words[1] == "-" {
                chains.insert((table.clone(), words[0].to_owned()));
            }
        } else if line.starts_with("-A ") {
            rules.push((table.clone(), line.to_owned()));
        }
    }
    (chains, rules)
}

/// By table and chain: the order of chains is not the rules'.
fn by_chain(mut rules: Lines) -> Lines {
    rules.sort_by_key(|(table, rule)| (table.clone(), rule.split(' ').nth(1).unwrap_or_default().to_owned()));
    rules
}

#[test]
fn iptables_save_prints_what_we_print() {
    let installed = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|place| place.join("iptables-save").exists()));
    if !installed {
        eprintln!("left out: comparing with iptables-save, which is not installed");
        return;
    }
    inside(|| {
        let intent = intent_after(&scenario(), 2);
        let built = Built::new(&intent);
        let mut compared = 0;
        for host in &intent.host_order {
            for (name, state) in built.lab.observe(host).unwrap().namespaces {
                let netns = built.lab.namespace(host, &name).expect("what was observed stands");
                for (family, program) in [(Family::V4, "iptables-save"), (Family::V6, "ip6tables-save")] {
                    let output = netns.run_in(|| Command::new(program).output().unwrap()).unwrap();
                    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
                    let (their_chains, their_rules) = theirs(&String::from_utf8(output.stdout).unwrap());
                    let (our_chains, our_rules) = ours(state.ruleset(family));
                    assert_eq!(our_chains, their_chains, "{program} in {host}/{name}");
                    compared += our_rules.len();
                    assert_eq!(by_chain(our_rules), by_chain(their_rules), "{program} in {host}/{name}");
                }
            }
        }
        assert!(compared > 100, "{compared} rules were compared");
    });
}
