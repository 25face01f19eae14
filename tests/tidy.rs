//! What a text search can hold of the architecture (the invariants in `src/lib.rs`) and of the house style.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own files has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which module may import which, besides `name` and `net`, which all may. Data flows one way: no cycle is possible.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("name", &[]),
    ("net", &[]),
    ("flow", &[]),
    ("ledger", &["flow"]),
    ("memory", &[]),
    ("packet", &["flow"]),
    ("topology", &[]),
    ("backend", &[]),
    ("deviation", &[]),
    ("api", &["backend", "deviation"]),
    ("watch", &["api"]),
    ("router", &["api", "deviation", "topology"]),
    ("namespace", &["api", "deviation", "router"]),
    ("plan", &["deviation", "namespace"]),
    ("why", &["flow", "memory", "namespace"]),
    ("dataplane", &["flow", "ledger", "memory", "namespace", "packet", "plan", "topology", "watch", "why"]),
    ("capture", &["flow"]),
    ("probe", &["flow", "ledger", "memory", "packet", "topology"]),
    ("kernel", &["backend", "dataplane", "flow", "memory", "namespace", "plan", "probe", "topology", "watch", "why"]),
    (
        "lab",
        &[
            "backend",
            "capture",
            "dataplane",
            "flow",
            "ledger",
            "kernel",
            "memory",
            "namespace",
            "packet",
            "plan",
            "probe",
            "topology",
            "watch",
            "why",
        ],
    ),
    (
        "scenario",
        &["api", "backend", "deviation", "flow", "ledger", "memory", "namespace", "packet", "topology", "watch"],
    ),
    ("record", &["flow", "ledger", "memory", "namespace", "topology", "watch"]),
    ("report", &["flow", "ledger", "namespace", "record", "watch"]),
    ("diff", &["deviation", "flow", "ledger", "record", "report", "watch"]),
    (
        "run",
        &[
            "api",
            "dataplane",
            "deviation",
            "flow",
            "ledger",
            "memory",
            "namespace",
            "packet",
            "plan",
            "record",
            "router",
            "scenario",
            "topology",
            "watch",
            "why",
        ],
    ),
    ("replay", &["api", "dataplane", "deviation", "namespace", "plan", "router", "topology"]),
    ("snapshot", &["record", "report"]),
    (
        "harness",
        &[
            "backend",
            "capture",
            "dataplane",
            "deviation",
            "flow",
            "ledger",
            "kernel",
            "lab",
            "memory",
            "namespace",
            "packet",
            "plan",
            "record",
            "replay",
            "run",
            "scenario",
            "topology",
            "watch",
            "why",
        ],
    ),
    (
        "cli",
        &[
            "api",
            "backend",
            "capture",
            "deviation",
            "diff",
            "flow",
            "harness",
            "kernel",
            "record",
            "replay",
            "report",
            "run",
            "scenario",
            "snapshot",
            "why",
        ],
    ),
    ("library", &["backend", "harness", "record", "report", "scenario", "snapshot"]),
];

/// Modules that touch no world: no I/O, no clock, no threads, no randomness.
const PURE: &[&str] = &[
    "backend",
    "deviation",
    "name",
    "net",
    "flow",
    "ledger",
    "memory",
    "packet",
    "topology",
    "api",
    "router",
    "watch",
    "namespace",
    "plan",
    "scenario",
    "record",
    "report",
    "diff",
    "run",
    "replay",
    "why",
];

/// Words that give the world away.
const WORLD: &[&str] = &[
    "std::fs",
    "std::io",
    "std::process",
    "std::thread",
    "std::env",
    "std::time",
    "nix::",
    "socket2::",
    "rtnetlink::",
];

const LINES_MAX: usize = 500;

fn source() -> Vec<(PathBuf, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&root).unwrap();
                let module = relative.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "");
                found.push((path.clone(), module, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// A file's code without comments and without its tests, which may look anywhere.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn imports(code: &str) -> BTreeSet<String> {
    code.match_indices("crate::")
        .flat_map(|(at, word)| {
            let rest = &code[at + word.len()..];
            match rest.strip_prefix('{') {
                Some(list) => list
                    .split('}')
                    .next()
                    .unwrap_or_default()
                    .split(',')
                    .map(|name| name.trim().split("::").next().unwrap_or_default().to_owned())
                    .collect(),
                None => {
                    vec![rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned()]
                }
            }
        })
        .filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect()
}

#[test]
fn modules_depend_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, module, text) in source() {
        if module == "lib" || module == "main" {
            continue;
        }
        let Some(may) = allowed.get(module.as_str()) else {
            wrong.push(format!("{}: module `{module}` is not in the table", path.display()));
            continue;
        };
        for name in imports(&code(&text)) {
            if name != module && name != "name" && name != "net" && !may.contains(&name.as_str()) {
                wrong.push(format!("{}: `{module}` may not import `{name}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_cycle() {
    let mut seen: BTreeSet<&str> = ["name", "net"].into();
    for (module, may) in MAY_IMPORT {
        for name in *may {
            assert!(seen.contains(name), "`{module}` imports `{name}`, which stands below it");
        }
        seen.insert(module);
    }
}

#[test]
fn pure_modules_do_not_touch_the_world() {
    let mut wrong = Vec::new();
    for (path, module, text) in source() {
        if PURE.contains(&module.as_str()) {
            let code = code(&text);
            for word in WORLD.iter().filter(|word| code.contains(**word)) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for (path, _, text) in source() {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{}: {lines} lines, at most {LINES_MAX}", path.display()));
        }
        if !text.starts_with("//!") {
            wrong.push(format!("{}: no module header", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_half_done() {
    let mut wrong = Vec::new();
    for (path, _, text) in source() {
        for word in ["TODO", "FIXME", "XXX", "todo!", "unimplemented!", "#[ignore", "thread::sleep", "time::sleep("] {
            if text.contains(word) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The search itself can fail.
#[test]
fn imports_are_found() {
    let text = "use crate::kernel::netns;\nuse crate::{api, flow::Flow};\nlet x = crate::lab::Lab; // crate::cli\n#[cfg(test)]\nuse crate::run;";
    let found: Vec<String> = imports(&code(text)).into_iter().collect();
    assert_eq!(found, ["api", "flow", "kernel", "lab"]);
}
