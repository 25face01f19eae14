//! What a scenario has to do with the machine that it runs on: programs that it starts, and what it needs to be there.

use super::{Form, Key, Need, Record, Type};
use crate::scenario::machine::feature;
use crate::scenario::values::Wrong;

/// The key of a file that says what the machine must have.
pub(super) const REQUIRES: Key = Key {
    name: "requires",
    ty: Type::List(&Type::Form(&FEATURE)),
    need: Need::Default("none"),
    doc: "What the machine or this version must have, else the scenario ends *unsupported*: `iptables`, `ha`, `program NAME`.",
};
static FEATURE: Form = Form { noun: "a feature", check: known, pattern: r"^\s*(iptables|ha|program\s+[^\s]+)\s*$" };

fn known(text: &str) -> Result<(), Wrong> {
    feature(text).map(drop)
}

pub(super) static EXEC: Record = Record {
    title: "`exec`",
    context: "exec",
    doc: "Runs a line of shell, waits for it, and holds how it ended and what it wrote against the file.",
    keys: &[
        Key {
            name: "at",
            ty: Type::Place,
            need: Need::Required,
            doc: "A host, an instance, a machine outside, or `HOST/NAMESPACE`.",
        },
        Key { name: "run", ty: Type::Text, need: Need::Required, doc: "The line, for `sh -c`." },
        Key { name: "exit", ty: Type::Integer(0, 255), need: Need::Default("0"), doc: "The exit status it must have." },
        Key {
            name: "prints",
            ty: Type::Text,
            need: Need::Optional,
            doc: "Text that its output, or what it writes to standard error, must contain.",
        },
    ],
};
