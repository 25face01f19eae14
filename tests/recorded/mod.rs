//! Recordings of the real agent, and how two states are held against each other: `tests/recordings/README.md` has the rules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

/// Lines by namespace.
pub(crate) type Namespaces = BTreeMap<String, Vec<String>>;

/// Mark of the traffic of no address scope, which every agent has.
const NO_SCOPE: &str = "0x4000000";
/// The priorities that floating IPs' rules are given.
const FIP_PRIORITIES: std::ops::Range<u32> = 32_768..72_768;

/// What the real agent left after one step.
pub(crate) struct Step {
    pub(crate) title: String,
    /// Nothing may stand there if it is empty.
    pub(crate) fresh: Namespaces,
    /// The real agent failed: there is nothing to compare with.
    pub(crate) failed: bool,
    /// How long it took, in seconds.
    pub(crate) wall_s: f64,
}

/// The files, in order.
pub(crate) fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

/// What is called so in the table of differences.
pub(crate) fn name(file: &Path) -> String {
    file.file_stem().unwrap().to_string_lossy().into_owned()
}

/// The states in a file. A number stands for the namespace's lines after the step of that number.
pub(crate) fn steps(file: &Path) -> Vec<Step> {
    let value: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let mut steps: Vec<Step> = Vec::new();
    for step in value["steps"].as_array().unwrap() {
        let mut fresh = Namespaces::new();
        for (name, lines) in step["fresh"].as_object().into_iter().flatten() {
            let lines = match lines.as_u64() {
                Some(number) => steps[usize::try_from(number).unwrap() - 1].fresh[name].clone(),
                None => lines_of(lines),
            };
            fresh.insert(name.clone(), lines);
        }
        steps.push(Step {
            title: step["title"].as_str().unwrap().to_owned(),
            fresh,
            failed: step.get("fresh_error").is_some(),
            wall_s: step["wall_s"].as_f64().unwrap(),
        });
    }
    steps
}

/// A list of texts.
pub(crate) fn lines_of(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}

/// The lines in which two states differ, `-` the real agent's and `+` ours, each after its namespace.
pub(crate) fn differences(real: &Namespaces, ours: &Namespaces) -> Vec<String> {
    let (real, ours) = (normalised(real), normalised(ours));
    let names: std::collections::BTreeSet<&String> = real.keys().chain(ours.keys()).collect();
    let nothing = vec!["(no such namespace)".to_owned()];
    let mut found = Vec::new();
    for name in names {
        let (real, ours) = (real.get(name).unwrap_or(&nothing), ours.get(name).unwrap_or(&nothing));
        let (real, ours): (Vec<&str>, Vec<&str>) =
            (real.iter().map(String::as_str).collect(), ours.iter().map(String::as_str).collect());
        for change in TextDiff::from_slices(&real, &ours).iter_all_changes() {
            match change.tag() {
                ChangeTag::Equal => {}
                ChangeTag::Delete => found.push(format!("{name}: -{}", change.value())),
                ChangeTag::Insert => found.push(format!("{name}: +{}", change.value())),
            }
        }
    }
    found
}

/// Values out of pools by the name of what has them, white space folded, sorted but for rules of tables.
fn normalised(namespaces: &Namespaces) -> Namespaces {
    let free = free_values(namespaces);
    let normal = |lines: &Vec<String>| {
        let lines = lines.iter().map(|line| normal_line(line, &free));
        let (ordered, mut sorted): (Vec<String>, Vec<String>) = lines.partition(|line| line.contains(" -A "));
        sorted.sort();
        sorted.extend(ordered);
        sorted
    };
    namespaces.iter().map(|(name, lines)| (name.clone(), normal(lines))).collect()
}

/// Values that an agent may choose: addresses, table numbers, MACs and link-local addresses of the links to fip namespaces,
/// and marks of address scopes.
fn free_values(namespaces: &Namespaces) -> BTreeMap<String, String> {
    let mut free = BTreeMap::new();
    let mut scopes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in namespaces.values().flatten() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["addr", device, net, ..] if is_link(device) => {
                let (address, length) = net.split_once('/').unwrap_or((net, ""));
                if let (Ok(v4), "31") = (address.parse::<std::net::Ipv4Addr>(), length) {
                    free.insert(address.to_owned(), format!("<ip:{device}>"));
                    free.insert(u32::from(v4).to_string(), format!("<table:{device}>"));
                } else if address.starts_with("fe80:") && length == "64" {
                    free.insert(address.to_owned(), format!("<lla:{device}>"));
                }
            }
            ["link", device, "mtu", _, mac, ..] if is_link(device) && !mac.starts_with('<') => {
                free.insert((*mac).to_owned(), format!("<mac:{device}>"));
            }
            [_, _, "-A", chain, "-i", device, "-j", "MARK", "--set-xmark", mark] if chain.ends_with("scope") => {
                if let Some(mark) = mark.strip_suffix("/0xffff0000") {
                    scopes.entry(mark).or_default().push(device);
                }
            }
            _ => {}
        }
    }
    for (mark, devices) in scopes.into_iter().filter(|(mark, _)| *mark != NO_SCOPE) {
        free.insert(mark.to_owned(), format!("<scope:{}>", devices.into_iter().min().unwrap()));
    }
    free
}

fn is_link(device: &str) -> bool {
    device.starts_with("rfp-") || device.starts_with("fpr-")
}

fn normal_line(line: &str, free: &BTreeMap<String, String>) -> String {
    let words = line.split_whitespace().map(|word| {
        let (head, tail) = word.find(['/', ',']).map_or((word, ""), |at| word.split_at(at));
        let (head, colon) =
            head.strip_suffix(':').filter(|_| line.starts_with("rule4")).map_or((head, ""), |head| (head, ":"));
        format!("{}{colon}{tail}", free.get(head).map_or(head, String::as_str))
    });
    let line = words.collect::<Vec<_>>().join(" ");
    let priority = line.strip_prefix("rule4 ").and_then(|rest| rest.split_once(": "));
    match priority {
        Some((number, rule))
            if rule.starts_with("from ")
                && rule.ends_with(" lookup 16")
                && rule.split(' ').count() == 4
                && number.parse().is_ok_and(|number| FIP_PRIORITIES.contains(&number)) =>
        {
            format!("rule4 <fip-priority>: {rule}")
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(lines: &[&str]) -> Namespaces {
        Namespaces::from([("qrouter-r".to_owned(), lines.iter().map(|line| (*line).to_owned()).collect())])
    }

    #[test]
    fn what_is_free_may_differ_and_nothing_else() {
        let real = state(&[
            "addr   rfp-r  169.254.88.134/31 scope global",
            "link   rfp-r  mtu 1450 <mac:rfp-r> UP",
            "rule4  40000: from 10.0.0.1 lookup 16",
            "rule4  2852018310: from all iif rfp-r lookup 2852018310",
            "ip4t  mangle -A neutron-l3-agent-scope -i qr-a -j MARK --set-xmark 0x4010000/0xffff0000",
            "ip4t  filter -A neutron-l3-agent-scope -o qr-a -m mark ! --mark 0x4010000/0xffff0000 -j DROP",
        ]);
        let ours = state(&[
            "link rfp-r mtu 1450 fa:16:3e:00:00:01 UP",
            "addr rfp-r 169.254.64.0/31 scope global",
            "rule4 32768: from 10.0.0.1 lookup 16",
            "rule4 2852012032: from all iif rfp-r lookup 2852012032",
            "ip4t mangle -A neutron-l3-agent-scope -i qr-a -j MARK --set-xmark 0x7ff0000/0xffff0000",
            "ip4t filter -A neutron-l3-agent-scope -o qr-a -m mark ! --mark 0x7ff0000/0xffff0000 -j DROP",
        ]);
        assert_eq!(differences(&real, &ours), Vec::<String>::new());
        for (from, to) in
            [("32768: from 10.0.0.1", "32767: from 10.0.0.1"), ("--mark 0x7ff", "--mark 0x7fe"), (" UP", "")]
        {
            let mut other = ours.clone();
            for line in other.values_mut().flatten() {
                *line = line.replace(from, to);
            }
            assert!(!differences(&real, &other).is_empty(), "{from}");
        }
    }

    #[test]
    fn the_order_of_rules_counts_and_that_of_addresses_does_not() {
        let one = state(&["addr a 10.0.0.1/24", "addr b 10.0.0.2/24", "ip4t nat -A c -j x", "ip4t nat -A c -j y"]);
        let two = state(&["addr b 10.0.0.2/24", "addr a 10.0.0.1/24", "ip4t nat -A c -j x", "ip4t nat -A c -j y"]);
        let three = state(&["addr a 10.0.0.1/24", "addr b 10.0.0.2/24", "ip4t nat -A c -j y", "ip4t nat -A c -j x"]);
        assert!(differences(&one, &two).is_empty());
        assert!(!differences(&one, &three).is_empty());
        assert_eq!(differences(&one, &Namespaces::new())[0], "qrouter-r: -addr a 10.0.0.1/24");
    }
}
