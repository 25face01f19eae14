//! What changes: the keys of a step and of its operations.

use super::deeds::{
    CLOSE_FLOW, CRASH_TYPE, DELIVER, HEAL, OPEN_FLOW, PARTITION, RESTART_AGENT, RESYNC_AGENT, SABOTAGE, SET_LINK,
    START_AGENT, START_HOST, STOP_AGENT, STOP_HOST,
};
use super::machine::EXEC;
use super::packets::{EXCHANGE, NAT_PROFILE};
use super::sections::{
    ADDRESS_SCOPE, ADDRESS_SCOPES, ALSO, CLOSED, FLOATING_IPS, HOSTS, INSTANCES, MODES, NETWORKS, OUTSIDE,
    PORT_FORWARDINGS, PORTS, ROUTER_OF_FORWARDINGS, ROUTERS, SETTINGS, SUBNETS,
};
use super::{Choice, Form, Key, Need, Record, Table, Type};
use crate::api::Section;
use crate::scenario::values::{self, Wrong};

const fn key(name: &'static str, ty: Type, need: Need, doc: &'static str) -> Key {
    Key { name, ty, need, doc }
}

/// What `steps` means.
pub(super) const STEPS_DOC: &str = "Done in order, counted from 1. A step has at most one operation, then checks.";

const REFUSED: Key = key(
    "refused",
    Type::Refused,
    Need::Optional,
    "The API must refuse the operation with this `NeutronError` type, and no host may change.",
);

static TIME: Form = Form { noun: "a time", check: time, pattern: "^[1-9][0-9]*(ms|s)$" };

fn time(text: &str) -> Result<(), Wrong> {
    match values::milliseconds(text) {
        Some(_) => Ok(()),
        None => Err(Wrong {
            message: format!("`{text}` is no time"),
            help: "write `1ms` to `60s`: `within: 2s`".to_owned(),
        }),
    }
}

/// The keys of a step that are no operation.
pub(in crate::scenario) static STEP: Record = Record {
    title: "step",
    context: "step",
    doc: "At most one operation, then what must be seen.",
    keys: &[
        key("name", Type::Word, Need::Default("its number"), "For `SCENARIO@NAME` and the report."),
        key(
            "together",
            Type::Steps,
            Need::Optional,
            "Several operations instead of one: all calls are made, in order, before any host hears of them.",
        ),
        REFUSED,
        key(
            "notify",
            Type::Notify,
            Need::Default("merged"),
            "How the hosts hear of the change: host or `all`, and a delivery.",
        ),
        key(
            "crash",
            CRASH_TYPE,
            Need::Optional,
            "The agent of a host dies inside this step's change; `start_agent` follows in a later step.",
        ),
        key(
            "during",
            Type::During,
            Need::Optional,
            "Flows that run through the change, one packet each way after every operation of every host, and what must hold.",
        ),
        key(
            "probe",
            Type::List(&Type::Map(&EXCHANGE)),
            Need::Optional,
            "Exchanges of packets made to order, one after the other, after the change has settled.",
        ),
        key(
            "nat_profile",
            Type::Map(&NAT_PROFILE),
            Need::Optional,
            "What kind of translator stands before an instance; only the keys given are compared, all are recorded.",
        ),
        key("within", Type::Form(&TIME), Need::Default("at once"), "`expect` may take that long to become true."),
        key("expect", Type::Expect, Need::Optional, "What must be seen: a flow or a place, and a sentence about it."),
        key(
            "times",
            Type::Integer(1, 1000),
            Need::Default("1"),
            "The whole step that often, with the same result each time.",
        ),
    ],
};

/// The key beside an operation under `together`.
pub(in crate::scenario) static TOGETHER_ENTRY: Record =
    Record { title: "entry of `together`", context: "together", doc: "One operation.", keys: &[REFUSED] };

/// The operations, as keys of a step.
pub(in crate::scenario) static OPERATIONS: Record = Record {
    title: "operation",
    context: "step",
    doc: "A change, in the words of the Networking API.",
    keys: &[
        key("create", Type::Map(&CREATE), Need::Optional, "Creates objects, in the sections and words of the file."),
        key(
            "update",
            Type::Map(&UPDATE),
            Need::Optional,
            "Changes the attributes named; what is left out stays, lists are replaced.",
        ),
        key("delete", Type::Map(&DELETE), Need::Optional, "Deletes objects: section and list of names."),
        key("boot", Type::Map(&BOOT), Need::Optional, "Starts an instance on a host."),
        key("migrate", Type::Map(&MIGRATE), Need::Optional, "Moves an instance to another host."),
        key("attach", Type::Map(&INTERFACE), Need::Optional, "Attaches interfaces to a router."),
        key("detach", Type::Map(&INTERFACE), Need::Optional, "Detaches interfaces from a router."),
        key(
            "set_gateway",
            Type::Map(&SET_GATEWAY),
            Need::Optional,
            "Sets or changes a router's gateway; what is left out stays as it is.",
        ),
        key("clear_gateway", Type::Map(&CLEAR_GATEWAY), Need::Optional, "Clears a router's gateway."),
        key("move_gateway", Type::Map(&MOVE_GATEWAY), Need::Optional, "Schedules a router's gateway to another host."),
        key(
            "associate",
            Type::Map(&ASSOCIATE),
            Need::Optional,
            "Gives a floating IP to an instance or port; allocates it if need be, re-points it if it had one.",
        ),
        key("disassociate", Type::Map(&DISASSOCIATE), Need::Optional, "Takes a floating IP off; it stays allocated."),
        key("stop_agent", Type::Map(&STOP_AGENT), Need::Optional, STOP_AGENT.doc),
        key("start_agent", Type::Map(&START_AGENT), Need::Optional, START_AGENT.doc),
        key("restart_agent", Type::Map(&RESTART_AGENT), Need::Optional, RESTART_AGENT.doc),
        key("resync_agent", Type::Map(&RESYNC_AGENT), Need::Optional, RESYNC_AGENT.doc),
        key("stop_host", Type::Map(&STOP_HOST), Need::Optional, STOP_HOST.doc),
        key("start_host", Type::Map(&START_HOST), Need::Optional, START_HOST.doc),
        key("set_link", Type::Map(&SET_LINK), Need::Optional, SET_LINK.doc),
        key("partition", Type::Map(&PARTITION), Need::Optional, PARTITION.doc),
        key("heal", Type::Map(&HEAL), Need::Optional, HEAL.doc),
        key("sabotage", Type::Map(&SABOTAGE), Need::Optional, SABOTAGE.doc),
        key("deliver", Type::Map(&DELIVER), Need::Optional, DELIVER.doc),
        key("flush", Type::Map(&FLUSH), Need::Optional, "Has a namespace forget what it remembers of packets."),
        key("exec", Type::Map(&EXEC), Need::Optional, EXEC.doc),
        key("open_flow", Type::Map(&OPEN_FLOW), Need::Optional, OPEN_FLOW.doc),
        key("close_flow", Type::Map(&CLOSE_FLOW), Need::Optional, CLOSE_FLOW.doc),
    ],
};

/// `create`.
pub(in crate::scenario) static CREATE: Record = Record {
    title: "`create`",
    context: "create",
    doc: "Creates objects, in the sections and words of the file.",
    keys: &[
        key("hosts", Type::Table(&HOSTS), Need::Optional, "Hosts to switch on, each with an agent."),
        key("networks", Type::Table(&NETWORKS), Need::Optional, "Networks to create."),
        key("address_scopes", Type::Table(&ADDRESS_SCOPES), Need::Optional, "Address scopes to create."),
        key("subnets", Type::Table(&SUBNETS), Need::Optional, "Subnets to create."),
        key("routers", Type::Table(&ROUTERS), Need::Optional, "Routers to create."),
        key("ports", Type::Table(&PORTS), Need::Optional, "Ports to create."),
        key("instances", Type::Table(&INSTANCES), Need::Optional, "Instances to create."),
        key("floating_ips", Type::Table(&FLOATING_IPS), Need::Optional, "Floating IPs to allocate."),
        key("outside", Type::Table(&OUTSIDE), Need::Optional, "Machines outside to start."),
    ],
};

static ROUTER_CHANGE: Record = Record {
    title: "update of a router",
    context: "routers",
    doc: "What changes on a router.",
    keys: &[
        key("routes", Type::List(&Type::Route), Need::Optional, "Its extra routes from now on."),
        key("admin_state_up", Type::Bool, Need::Optional, "Whether any host has it from now on."),
    ],
};
static ROUTER_CHANGES: Table = Table { section: Section::Routers, record: &ROUTER_CHANGE };
static HOST_CHANGES: Table = Table { section: Section::Hosts, record: &HOST_CHANGE };
static HOST_CHANGE: Record = Record {
    title: "update of a host",
    context: "hosts",
    doc: "What changes on a host.",
    keys: &[key("mode", Type::Choice(MODES), Need::Optional, "The agent's mode, from its next start.")],
};
static SUBNET_CHANGES: Table = Table { section: Section::Subnets, record: &SUBNET_CHANGE };
static SUBNET_CHANGE: Record = Record {
    title: "update of a subnet",
    context: "subnets",
    doc: "What changes on a subnet.",
    keys: &[
        key("gateway", Type::OrNone(&Type::Address), Need::Optional, "Its gateway from now on."),
        key(
            "address_scope",
            ADDRESS_SCOPE,
            Need::Optional,
            "Its address scope from now on; all subnets of a pool at once.",
        ),
    ],
};
static NETWORK_CHANGES: Table = Table { section: Section::Networks, record: &NETWORK_CHANGE };
static NETWORK_CHANGE: Record = Record {
    title: "update of a network",
    context: "networks",
    doc: "What changes on a network.",
    keys: &[
        key("mtu", Type::Integer(576, 1500), Need::Optional, "Its MTU from now on."),
        key("admin_state_up", Type::Bool, Need::Optional, "Whether machines' ports on it carry anything from now on."),
    ],
};
const NEW_ADDRESS: Key =
    key("address", Type::OneOrMany(&Type::Address), Need::Optional, "Its fixed addresses from now on.");
const NEW_PAIRS: Key = key(
    "allowed_address_pairs",
    Type::List(&Type::AddressPair),
    Need::Optional,
    "Its address pairs from now on, `ADDRESS` or `ADDRESS MAC`.",
);
static PORT_CHANGES: Table = Table { section: Section::Ports, record: &PORT_CHANGE };
static PORT_CHANGE: Record = Record {
    title: "update of a port",
    context: "ports",
    doc: "What changes on a port.",
    keys: &[
        NEW_ADDRESS,
        NEW_PAIRS,
        key("admin_state_up", Type::Bool, Need::Optional, "Whether it carries anything from now on."),
    ],
};
static INSTANCE_CHANGES: Table = Table { section: Section::Instances, record: &INSTANCE_CHANGE };
static INSTANCE_CHANGE: Record = Record {
    title: "update of an instance",
    context: "instances",
    doc: "What changes on an instance, and on its port where that is its own.",
    keys: &[NEW_ADDRESS, NEW_PAIRS, ALSO, CLOSED],
};
static FLOATING_IP_CHANGES: Table = Table { section: Section::FloatingIps, record: &FLOATING_IP_CHANGE };
static FLOATING_IP_CHANGE: Record = Record {
    title: "update of a floating IP",
    context: "floating_ips",
    doc: "What changes on a floating IP; whom it stands for has the operation `associate`.",
    keys: &[ROUTER_OF_FORWARDINGS, PORT_FORWARDINGS],
};
static NODE_CHANGES: Table = Table { section: Section::Outside, record: &NODE_CHANGE };
static NODE_CHANGE: Record = Record {
    title: "update of a machine outside",
    context: "outside",
    doc: "What changes on a machine outside.",
    keys: &[
        key("address", Type::OneOrMany(&Type::Address), Need::Optional, "Its addresses from now on."),
        key("routes", Type::List(&Type::Route), Need::Optional, "Routes of an upstream router from now on."),
        key("also", Type::List(&Type::AddressOrPrefix), Need::Optional, "What else it owns from now on."),
        key("closed", Type::List(&Type::Closed), Need::Optional, "Its closed ports from now on."),
    ],
};

/// `update`.
pub(in crate::scenario) static UPDATE: Record = Record {
    title: "`update`",
    context: "update",
    doc: "Changes the attributes named; what is left out stays, lists are replaced.",
    keys: &[
        key("settings", Type::Map(&SETTINGS), Need::Optional, "Options of the agents, from each one's next start."),
        key("hosts", Type::Table(&HOST_CHANGES), Need::Optional, "Hosts to change."),
        key("networks", Type::Table(&NETWORK_CHANGES), Need::Optional, "Networks to change."),
        key("subnets", Type::Table(&SUBNET_CHANGES), Need::Optional, "Subnets to change."),
        key("routers", Type::Table(&ROUTER_CHANGES), Need::Optional, "Routers to change."),
        key("ports", Type::Table(&PORT_CHANGES), Need::Optional, "Ports to change."),
        key("instances", Type::Table(&INSTANCE_CHANGES), Need::Optional, "Instances to change."),
        key("floating_ips", Type::Table(&FLOATING_IP_CHANGES), Need::Optional, "Floating IPs to change."),
        key("outside", Type::Table(&NODE_CHANGES), Need::Optional, "Machines outside to change."),
    ],
};

const fn doomed(name: &'static str, ty: Type) -> Key {
    key(name, ty, Need::Optional, "Names of what is deleted.")
}

/// `delete`.
pub(in crate::scenario) static DELETE: Record = Record {
    title: "`delete`",
    context: "delete",
    doc: "Deletes objects: section and list of names.",
    keys: &[
        doomed("floating_ips", Type::List(&Type::FloatingIp)),
        doomed("instances", Type::List(&Type::Name(&[Section::Instances]))),
        doomed("ports", Type::List(&Type::Name(&[Section::Ports]))),
        doomed("routers", Type::List(&Type::Name(&[Section::Routers]))),
        doomed("outside", Type::List(&Type::Name(&[Section::Outside]))),
        doomed("subnets", Type::List(&Type::Name(&[Section::Subnets]))),
        doomed("networks", Type::List(&Type::Name(&[Section::Networks]))),
        doomed("hosts", Type::List(&Type::Name(&[Section::Hosts]))),
        doomed("address_scopes", Type::List(&Type::Name(&[Section::AddressScopes]))),
    ],
};

const ROUTER: Key = key("router", Type::Name(&[Section::Routers]), Need::Required, "The router.");
const INSTANCE: Key = key("instance", Type::Name(&[Section::Instances]), Need::Required, "The instance.");

static BOOT: Record = Record {
    title: "`boot`",
    context: "boot",
    doc: "Starts an instance on a host.",
    keys: &[INSTANCE, key("host", Type::Name(&[Section::Hosts]), Need::Required, "The host that it starts on.")],
};
static MIGRATE: Record = Record {
    title: "`migrate`",
    context: "migrate",
    doc: "Moves an instance to another host.",
    keys: &[
        INSTANCE,
        key("to", Type::Name(&[Section::Hosts]), Need::Required, "The target host."),
        key("live", Type::Bool, Need::Default("false"), "The target is made ready before the instance moves."),
        key(
            "stage",
            Type::Choice(STAGES),
            Need::Default("prepare and complete"),
            "One stage of a live migration alone.",
        ),
    ],
};
static STAGES: &[Choice] = &[
    Choice { word: "prepare", doc: "the target is told to make ready" },
    Choice { word: "complete", doc: "the instance runs on the target, the source forgets it" },
    Choice { word: "abort", doc: "the instance stays, the target forgets it" },
];
static INTERFACE: Record = Record {
    title: "`attach` or `detach`",
    context: "attach",
    doc: "A router and what it is attached to.",
    keys: &[
        ROUTER,
        key(
            "interface",
            Type::OneOrMany(&Type::Name(&[Section::Subnets, Section::Ports])),
            Need::Required,
            "A subnet (the router takes its gateway address) or a port; one or a list.",
        ),
    ],
};
static SET_GATEWAY: Record = Record {
    title: "`set_gateway`",
    context: "set_gateway",
    doc: "Sets or changes a router's gateway; what is left out stays as it is.",
    keys: &[
        ROUTER,
        key("network", Type::Name(&[Section::Networks]), Need::Optional, "The external network."),
        key("address", Type::OneOrMany(&Type::Address), Need::Optional, "The router's addresses on it."),
        key("snat", Type::Bool, Need::Optional, "The API's `enable_snat`."),
        key(
            "host",
            Type::Name(&[Section::Hosts]),
            Need::Optional,
            "Where it is scheduled; only where there was no gateway.",
        ),
    ],
};
static CLEAR_GATEWAY: Record =
    Record { title: "`clear_gateway`", context: "clear_gateway", doc: "Clears a router's gateway.", keys: &[ROUTER] };
static MOVE_GATEWAY: Record = Record {
    title: "`move_gateway`",
    context: "move_gateway",
    doc: "Schedules a router's gateway to another host.",
    keys: &[ROUTER, key("to", Type::Name(&[Section::Hosts]), Need::Required, "A `dvr_snat` host.")],
};
static ASSOCIATE: Record = Record {
    title: "`associate`",
    context: "associate",
    doc: "Gives a floating IP to an instance or port.",
    keys: &[
        key("floating_ip", Type::Address, Need::Required, "Its address; it is allocated if need be."),
        key("instance", Type::Name(&[Section::Instances]), Need::Optional, "The instance, by its first port."),
        key("port", Type::Name(&[Section::Ports]), Need::Optional, "Or the port."),
        key("fixed_address", Type::Address, Need::Default("the first"), "Which of the port's addresses."),
    ],
};
static DISASSOCIATE: Record = Record {
    title: "`disassociate`",
    context: "disassociate",
    doc: "Takes a floating IP off; it stays allocated.",
    keys: &[key("floating_ip", Type::OneOrMany(&Type::FloatingIp), Need::Required, "Its address, one or a list.")],
};
static FLUSH: Record = Record {
    title: "`flush`",
    context: "flush",
    doc: "Has a namespace forget what it remembers of packets. That belongs to nobody, so this is no damage.",
    keys: &[
        key("at", Type::Place, Need::Required, "A host, an instance, a machine outside, or `HOST/NAMESPACE`."),
        key("cache", Type::Choice(&CACHES), Need::Required, "What to forget."),
        key("address", Type::Address, Need::Default("all"), "Only what has this address."),
    ],
};
static CACHES: [Choice; 3] = [
    Choice { word: "conntrack", doc: "Tracked connections." },
    Choice { word: "neighbours", doc: "Resolved neighbours; permanent ones stay." },
    Choice {
        word: "paths",
        doc: "What was learned of paths: their MTU, and shorter ways. The kernel forgets all or none.",
    },
];
