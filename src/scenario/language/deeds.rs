//! What happens to agents, hosts, messages, links: the keys of the operations of which the API knows nothing.

use super::{Choice, Form, Key, Need, Record, Type};
use crate::api::Section;
use crate::scenario::values::Wrong;
use crate::topology::UNDERLAY_MTU;

const HOSTS: Key = Key {
    name: "host",
    ty: Type::OneOrMany(&Type::Name(&[Section::Hosts])),
    need: Need::Required,
    doc: "The host, one or a list.",
};

pub(super) static STOP_AGENT: Record = Record {
    title: "`stop_agent`",
    context: "stop_agent",
    doc: "Ends the agent of a host between two updates, as `kill -9` does: namespaces and packets stay as they are.",
    keys: &[HOSTS],
};
pub(super) static START_AGENT: Record = Record {
    title: "`start_agent`",
    context: "start_agent",
    doc: "Starts the agent of a host, which then synchronises everything.",
    keys: &[HOSTS],
};
pub(super) static RESTART_AGENT: Record = Record {
    title: "`restart_agent`",
    context: "restart_agent",
    doc: "Ends the agent of a host and starts it anew.",
    keys: &[HOSTS],
};
pub(super) static RESYNC_AGENT: Record = Record {
    title: "`resync_agent`",
    context: "resync_agent",
    doc: "The agent's periodic full synchronisation, now.",
    keys: &[HOSTS],
};
pub(super) static DELIVER: Record = Record {
    title: "`deliver`",
    context: "deliver",
    doc: "Delivers what was `held` for a host.",
    keys: &[
        HOSTS,
        Key {
            name: "order",
            ty: Type::Choice(&ORDERS),
            need: Need::Default("sent"),
            doc: "In which order the notices arrive.",
        },
    ],
};
static ORDERS: [Choice; 2] =
    [Choice { word: "sent", doc: "the first first" }, Choice { word: "reversed", doc: "the last first" }];

/// The value of a step's `crash`.
pub(in crate::scenario) const CRASH_TYPE: Type = Type::Map(&CRASH);
static CRASH: Record = Record {
    title: "`crash`",
    context: "crash",
    doc: "The agent of a host dies inside this step's change.",
    keys: &[
        Key { name: "host", ty: Type::Name(&[Section::Hosts]), need: Need::Required, doc: "Whose agent." },
        Key {
            name: "at",
            ty: Type::Text,
            need: Need::Required,
            doc: "After which operation: a number, or a text that its printed form contains (`dvrlab run -v` prints all).",
        },
    ],
};

const fn wreck(name: &'static str, doc: &'static str) -> Key {
    Key { name, ty: Type::Text, need: Need::Optional, doc }
}

pub(super) static SABOTAGE: Record = Record {
    title: "`sabotage`",
    context: "sabotage",
    doc: "Something is done behind the agent's back, and nobody is told: one of `delete`, `add`, `set`, `replace`. What is done to a machine or to a host itself stays; no agent looks after it.",
    keys: &[
        Key {
            name: "at",
            ty: Type::Place,
            need: Need::Required,
            doc: "`HOST/NAMESPACE`, an instance, a machine outside, or `HOST`: its namespaces, and what its own one has.",
        },
        wreck("delete", "`KIND TEXT`: all objects of the kind go whose printed line has these words."),
        wreck(
            "add",
            "`KIND TEXT`: an object, as it is printed; a rule of a table as `-A CHAIN ...` or `-I CHAIN N ...`.",
        ),
        wreck("set", "`KIND TEXT`: a device, neighbour, route or sysctl gets what the text says."),
        wreck("replace", "`KIND TEXT`: what `delete` would take goes, and what `with` says comes."),
        wreck("with", "`TEXT`: what comes in place of what `replace` takes away, of the same kind."),
    ],
};

pub(super) static STOP_HOST: Record = Record {
    title: "`stop_host`",
    context: "stop_host",
    doc: "Switches a host off: every namespace, instance and link end of it is gone, and what its agent had given out with them.",
    keys: &[HOSTS],
};
pub(super) static START_HOST: Record = Record {
    title: "`start_host`",
    context: "start_host",
    doc: "Switches a host on: its instances run, and its agent starts and synchronises.",
    keys: &[HOSTS],
};
pub(super) static SET_LINK: Record = Record {
    title: "`set_link`",
    context: "set_link",
    doc: "Sets a link of a machine, or a host's link to the underlay. Nobody is told.",
    keys: &[
        Key {
            name: "node",
            ty: Type::Name(&[Section::Hosts, Section::Instances, Section::Outside]),
            need: Need::Required,
            doc: "An instance, a machine outside or a host.",
        },
        Key {
            name: "to",
            ty: Type::Word,
            need: Need::Default("its only link"),
            doc: "The network that the link leads to; of a host `underlay`.",
        },
        Key { name: "up", ty: Type::Bool, need: Need::Optional, doc: "It carries packets." },
        Key {
            name: "mtu",
            ty: Type::Integer(68, UNDERLAY_MTU),
            need: Need::Optional,
            doc: "Its MTU in bytes, of a machine 1500 at most. The underlay has 1600, so that a tunnel carries 1500.",
        },
    ],
};
pub(super) static PARTITION: Record = Record {
    title: "`partition`",
    context: "partition",
    doc: "Cuts the underlay between groups of hosts.",
    keys: &[Key {
        name: "groups",
        ty: Type::List(&Type::List(&Type::Name(&[Section::Hosts]))),
        need: Need::Required,
        doc: "Lists of hosts: `[[net1], [cmp1, cmp2]]`.",
    }],
};
pub(super) static HEAL: Record = Record { title: "`heal`", context: "heal", doc: "Ends all partitions.", keys: &[] };

pub(super) static OPEN_FLOW: Record = Record {
    title: "`open_flow`",
    context: "open_flow",
    doc: "A flow runs from here on, over all steps up to its `close_flow`; a TCP one is a single connection. Sentences below `during` and packets of `probe` refer to it by its name.",
    keys: &[
        Key { name: "name", ty: Type::Word, need: Need::Required, doc: "What it is called; such names are free." },
        Key {
            name: "flow",
            ty: Type::Form(&FLOW),
            need: Need::Required,
            doc: "One sender, one target, one protocol: `web -> 203.0.113.101 tcp/22`.",
        },
    ],
};
static FLOW: Form = Form { noun: "a flow", check: flow, pattern: " -> " };
pub(super) static CLOSE_FLOW: Record = Record {
    title: "`close_flow`",
    context: "close_flow",
    doc: "The flow ends, and routers forget it.",
    keys: &[Key { name: "name", ty: Type::Word, need: Need::Required, doc: "What it is called." }],
};

fn flow(text: &str) -> Result<(), Wrong> {
    if text.contains("->") {
        return Ok(());
    }
    Err(Wrong {
        message: format!("`{text}` is no flow"),
        help: "write `SOURCE -> TARGET PROTOCOL`, like `vm1 -> web tcp/80`".to_owned(),
    })
}
