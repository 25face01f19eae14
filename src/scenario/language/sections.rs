//! What exists at the start: the keys of a file and of its sections.

use super::machine::REQUIRES;
use super::operations::STEPS_DOC;
use super::{Choice, Form, Key, Need, Record, Table, Type};
use crate::api::Section;
use crate::backend::RuleBackend;
use crate::deviation::Deviation;
use crate::scenario::values::{self, Wrong};

const fn key(name: &'static str, ty: Type, need: Need, doc: &'static str) -> Key {
    Key { name, ty, need, doc }
}

/// The file.
pub(in crate::scenario) static FILE: Record = Record {
    title: "scenario",
    context: "file",
    doc: "A network, then steps that change it, and beside each step what must be seen.",
    keys: &[
        key(
            "tags",
            Type::List(&Type::Word),
            Need::Default("none"),
            "Words for `--filter`; the id of a mirrored case is a tag (`MP-16`).",
        ),
        REQUIRES,
        key("settings", Type::Map(&SETTINGS), Need::Optional, "Options of the agents."),
        key(
            "deviations",
            Type::Map(&DEVIATIONS),
            Need::Default("all on"),
            "Where the router does better than the real agent; `false` shows what that prevents.",
        ),
        key(
            "faults",
            Type::List(&Type::Text),
            Need::Default("none"),
            "What must turn this scenario red; `run --prove` runs it once with each. `omit`, `keep`, `late`, `early` or \
             `once KIND TEXT at PLACE`, `add KIND TEXT at HOST/NAMESPACE`, `omit announcement ADDRESS at PLACE`, `lose notification to HOST in STEP`, `forget allocations at HOST`, \
             `rebuild HOST/NAMESPACE`.",
        ),
        key(
            "hosts",
            Type::Table(&HOSTS),
            Need::Default("empty"),
            "Compute and network nodes. All share one underlay (MTU 1600).",
        ),
        key(
            "networks",
            Type::Table(&NETWORKS),
            Need::Default("empty"),
            "Tenant networks (over VXLAN) and external ones (provider segments).",
        ),
        key("subnets", Type::Table(&SUBNETS), Need::Default("empty"), "Prefixes on networks."),
        key(
            "address_scopes",
            Type::Table(&ADDRESS_SCOPES),
            Need::Default("empty"),
            "Address scopes; traffic between subnets of one scope is routed without translation.",
        ),
        key("routers", Type::Table(&ROUTERS), Need::Default("empty"), "Distributed routers."),
        key(
            "ports",
            Type::Table(&PORTS),
            Need::Default("empty"),
            "Ports for what an instance's own line cannot say: several ports, an unbound port.",
        ),
        key(
            "instances",
            Type::Table(&INSTANCES),
            Need::Default("empty"),
            "Virtual machines, each with a kernel network stack of its own.",
        ),
        key(
            "floating_ips",
            Type::Table(&FLOATING_IPS),
            Need::Default("empty"),
            "Floating IPs by address; the external network is the one that has it. Without a target one is allocated and idle.",
        ),
        key(
            "outside",
            Type::Table(&OUTSIDE),
            Need::Default("empty"),
            "Machines outside: on the provider segment, behind the upstream router, or that router.",
        ),
        key("steps", Type::Steps, Need::Required, STEPS_DOC),
    ],
};

/// Every section, in the order in which objects are made.
pub(in crate::scenario) static SECTIONS: [&Table; 9] =
    [&HOSTS, &NETWORKS, &ADDRESS_SCOPES, &SUBNETS, &ROUTERS, &PORTS, &INSTANCES, &FLOATING_IPS, &OUTSIDE];

pub(super) static SETTINGS: Record = Record {
    title: "settings",
    context: "settings",
    doc: "Options of the agents.",
    keys: &[
        key(
            "rules",
            Type::Choice(BACKENDS),
            Need::Default("nftables"),
            "How iptables rules get into the kernel; `run --rules` overrides it.",
        ),
        key(
            "random_ports",
            Type::Bool,
            Need::Default("true"),
            "The agent's `use_random_fully`. Write `false` where a scenario asserts ports.",
        ),
        key("metadata", Type::Bool, Need::Default("true"), "Metadata rules."),
    ],
};

static BACKENDS: &[Choice] = &[
    Choice { word: RuleBackend::Nftables.name(), doc: "by nf_tables netlink, without any program" },
    Choice { word: RuleBackend::Iptables.name(), doc: "by `iptables-restore` and `iptables-save`" },
];

static DEVIATIONS: Record = Record {
    title: "deviations",
    context: "deviations",
    doc: "Where the router does better than the real agent; `false` shows what that prevents.",
    keys: &[
        deviation(Deviation::DropInvalid),
        deviation(Deviation::GuardedStart),
        deviation(Deviation::PurgeTranslated),
        deviation(Deviation::CutUntranslated),
        deviation(Deviation::IcmpErrors),
        deviation(Deviation::Ipv6Redirect),
        deviation(Deviation::StrayMetadata),
        deviation(Deviation::CentralisedSteering),
        deviation(Deviation::QuietTarget),
        deviation(Deviation::RefuseInbound),
    ],
};

const fn deviation(which: Deviation) -> Key {
    key(which.name(), Type::Bool, Need::Default("true"), which.documentation().what)
}

pub(super) static HOSTS: Table = Table { section: Section::Hosts, record: &HOST };
static HOST: Record = Record {
    title: "host",
    context: "hosts",
    doc: "A host with its L3 agent.",
    keys: &[key("mode", Type::Choice(MODES), Need::Default("dvr"), "The agent's mode (`agent_mode`).")],
};
pub(super) static MODES: &[Choice] = &[
    Choice { word: "dvr", doc: "a compute host: its own floating IPs, no source NAT" },
    Choice { word: "dvr_snat", doc: "a network node: all of `dvr`, and gateways scheduled to it" },
    Choice { word: "dvr_no_external", doc: "a compute host without external network" },
];

pub(super) static NETWORKS: Table = Table { section: Section::Networks, record: &NETWORK };
static NETWORK: Record = Record {
    title: "network",
    context: "networks",
    doc: "A layer-2 network.",
    keys: &[
        key(
            "external",
            Type::Bool,
            Need::Default("false"),
            "A provider segment with the outside on it; otherwise a tenant network over VXLAN.",
        ),
        MTU,
        key("admin_state_up", Type::Bool, Need::Default("true"), "Down, no machine's port on it carries anything."),
    ],
};

pub(super) const MTU: Key =
    key("mtu", Type::Integer(576, 1500), Need::Default("1500"), "In bytes; devices of the router follow it.");

pub(super) static SUBNETS: Table = Table { section: Section::Subnets, record: &SUBNET };
static SUBNET: Record = Record {
    title: "subnet",
    context: "subnets",
    doc: "A prefix on a network.",
    keys: &[
        key("network", Type::Name(&[Section::Networks]), Need::Required, "The network it is on."),
        key("cidr", Type::Prefix, Need::Required, "The prefix: `10.0.1.0/24`, `2001:db8:1::/64`."),
        key(
            "gateway",
            Type::OrNone(&Type::Address),
            Need::Default("first address"),
            "Tenant: what the router takes. External: the upstream router's address.",
        ),
        key(
            "allocation_pools",
            Type::List(&Type::Pool),
            Need::Default("all but the gateway"),
            "Where automatic addresses come from: `10.0.1.100-10.0.1.199`.",
        ),
        key(
            "address_scope",
            ADDRESS_SCOPE,
            Need::Default("none"),
            "Its address scope (in the API by its subnet pool).",
        ),
        key(
            "ipv6_mode",
            Type::Choice(IPV6_MODES),
            Need::Default("static"),
            "IPv6 only: how machines get their addresses (`ipv6_address_mode`).",
        ),
    ],
};
pub(super) const ADDRESS_SCOPE: Type = Type::OrNone(&Type::Name(&[Section::AddressScopes]));

pub(super) static ADDRESS_SCOPES: Table = Table {
    section: Section::AddressScopes,
    record: &Record {
        title: "address scope",
        context: "address_scopes",
        doc: "An address scope: a name that subnets share.",
        keys: &[],
    },
};

static IPV6_MODES: &[Choice] = &[
    Choice { word: "static", doc: "from the pools, by hand" },
    Choice { word: "slaac", doc: "made of the machine's MAC, unless one is given" },
    Choice { word: "dhcpv6-stateful", doc: "from the pools, by DHCPv6" },
    Choice { word: "dhcpv6-stateless", doc: "as `slaac`; DHCPv6 has only further options" },
];

pub(super) static ROUTERS: Table = Table { section: Section::Routers, record: &ROUTER };
static ROUTER: Record = Record {
    title: "router",
    context: "routers",
    doc: "A distributed router.",
    keys: &[
        key(
            "interfaces",
            Type::List(&Type::Name(&[Section::Subnets, Section::Ports])),
            Need::Default("[]"),
            "Subnets (the router takes their gateway address) and ports (that port's address).",
        ),
        key("gateway", Type::OrNone(&Type::Map(&GATEWAY)), Need::Default("none"), "The way out."),
        key(
            "routes",
            Type::List(&Type::Route),
            Need::Default("[]"),
            "Extra routes, `DEST via NEXTHOP`; ECMP is the same DEST twice.",
        ),
        key("admin_state_up", Type::Bool, Need::Default("true"), "Down, no host has it."),
        key("distributed", Type::Fixed(true), Need::Default("true"), "The router is distributed."),
        key("ha", Type::Fixed(false), Need::Default("false"), "The router is not highly available by VRRP."),
    ],
};
static GATEWAY: Record = Record {
    title: "gateway of a router",
    context: "gateway",
    doc: "A router's way to an external network.",
    keys: &[
        key("network", Type::Name(&[Section::Networks]), Need::Required, "The external network."),
        key(
            "address",
            Type::OneOrMany(&Type::Address),
            Need::Default("lowest free of the network's first subnet of each family"),
            "The router's addresses on it.",
        ),
        key("snat", Type::Bool, Need::Default("true"), "The API's `enable_snat`."),
        key("host", Type::Name(&[Section::Hosts]), Need::Default("first `dvr_snat` host"), "Where it is scheduled."),
    ],
};

pub(super) static PORTS: Table = Table { section: Section::Ports, record: &PORT };
static PORT: Record = Record {
    title: "port",
    context: "ports",
    doc: "A port without an instance of its own.",
    keys: &[
        key("network", Type::Name(&[Section::Networks]), Need::Required, "The network it is on."),
        key("address", Type::OneOrMany(&Type::Address), Need::Default("lowest free"), "Its fixed addresses."),
        key("mac", Type::Mac, Need::Default("from the name"), "Its MAC address."),
        PAIRS,
        key("admin_state_up", Type::Bool, Need::Default("true"), "Down, it carries nothing."),
    ],
};

pub(super) const PAIRS: Key = key(
    "allowed_address_pairs",
    Type::List(&Type::AddressPair),
    Need::Default("[]"),
    "More addresses that the port may use, `ADDRESS` or `ADDRESS MAC`: routers know them as its neighbours.",
);

pub(super) static INSTANCES: Table = Table { section: Section::Instances, record: &INSTANCE };
static INSTANCE: Record = Record {
    title: "instance",
    context: "instances",
    doc: "A virtual machine. `network` gives it a port of its own name; `port` names ports declared in `ports`; `behind` puts it \
          behind another one.",
    keys: &[
        key(
            "host",
            Type::Name(&[Section::Hosts]),
            Need::Default("not booted"),
            "Where it runs. Without it the ports exist unbound until `boot`.",
        ),
        key("network", Type::Name(&[Section::Networks]), Need::Optional, "The network of its one port."),
        key(
            "address",
            Type::OneOrMany(&Type::Form(&FIXED)),
            Need::Default("lowest free"),
            "Fixed addresses of that port; with `behind` those on the private link, each with its prefix length.",
        ),
        key("mac", Type::Mac, Need::Default("from the name"), "MAC address of that port."),
        PAIRS,
        key(
            "port",
            Type::OneOrMany(&Type::Name(&[Section::Ports])),
            Need::Optional,
            "Ports declared in `ports`, instead of `network`.",
        ),
        key(
            "behind",
            Type::Name(&[Section::Instances]),
            Need::Optional,
            "Instead of `network` and `port`: it is on a private link behind that instance, which forwards for it (a nested \
             network) and has the first address of each prefix. It runs where that instance runs.",
        ),
        ALSO,
        CLOSED,
    ],
};
static FIXED: Form = Form { noun: "an address", check: fixed, pattern: r"^[0-9a-fA-F:.]+(/[0-9]+)?$" };

fn fixed(text: &str) -> Result<(), Wrong> {
    if text.contains('/') { values::address_with_prefix(text).map(drop) } else { values::address(text).map(drop) }
}

pub(super) const ALSO: Key = key(
    "also",
    Type::List(&Type::AddressOrPrefix),
    Need::Default("[]"),
    "More addresses and prefixes that its kernel owns and answers for (virtual address, anycast prefix).",
);
pub(super) const CLOSED: Key = key(
    "closed",
    Type::List(&Type::Closed),
    Need::Default("[]"),
    "`PROTO/PORT`: it listens on every port that a flow of the file names, except these.",
);

pub(super) static FLOATING_IPS: Table = Table { section: Section::FloatingIps, record: &FLOATING_IP };
static FLOATING_IP: Record = Record {
    title: "floating IP",
    context: "floating_ips",
    doc: "A floating IP; its key is its address.",
    keys: &[
        key(
            "instance",
            Type::Name(&[Section::Instances]),
            Need::Optional,
            "The instance it stands for, by its first port.",
        ),
        key("port", Type::Name(&[Section::Ports]), Need::Optional, "The port it stands for."),
        key("fixed_address", Type::Address, Need::Default("the first"), "Which of the port's addresses."),
        ROUTER_OF_FORWARDINGS,
        PORT_FORWARDINGS,
    ],
};
pub(super) const ROUTER_OF_FORWARDINGS: Key = key(
    "router",
    Type::Name(&[Section::Routers]),
    Need::Optional,
    "With `port_forwardings`: the router that carries them all.",
);
pub(super) const PORT_FORWARDINGS: Key = key(
    "port_forwardings",
    Type::List(&ONE_PORT_FORWARDING),
    Need::Default("[]"),
    "Ports of the floating IP that are led to ports of several, on the gateway's host.",
);
static ONE_PORT_FORWARDING: Type = Type::Map(&PORT_FORWARDING);
static PORT_FORWARDING: Record = Record {
    title: "port forwarding",
    context: "port_forwardings",
    doc: "A port of the floating IP, and whose port it is led to.",
    keys: &[
        key("protocol", Type::Choice(PROTOCOLS), Need::Required, "`tcp` or `udp`."),
        key("external_port", Type::Integer(1, 65535), Need::Required, "The port of the floating IP."),
        key("instance", Type::Name(&[Section::Instances]), Need::Optional, "Whom it is led to, by its first port."),
        key("port", Type::Name(&[Section::Ports]), Need::Optional, "Or the port it is led to."),
        key("internal_port", Type::Integer(1, 65535), Need::Required, "The port number there."),
    ],
};
static PROTOCOLS: &[Choice] = &[Choice { word: "tcp", doc: "TCP" }, Choice { word: "udp", doc: "UDP" }];

pub(super) static OUTSIDE: Table = Table { section: Section::Outside, record: &NODE };
static NODE: Record = Record {
    title: "machine outside",
    context: "outside",
    doc: "A machine outside. Exactly one of `on`, `behind` and `gateway_of` says where it stands.",
    keys: &[
        key(
            "on",
            Type::Name(&[Section::Networks]),
            Need::Optional,
            "It stands on the provider segment of that network.",
        ),
        key(
            "behind",
            Type::Name(&[Section::Networks]),
            Need::Optional,
            "It stands behind the upstream router of that network.",
        ),
        key(
            "gateway_of",
            Type::Name(&[Section::Networks]),
            Need::Optional,
            "It is the upstream router of that network (else `gw-NETWORK`).",
        ),
        key(
            "address",
            Type::OneOrMany(&Type::Address),
            Need::Optional,
            "Its addresses. Required but for `gateway_of`, which owns the gateway addresses of the network's subnets.",
        ),
        key(
            "routes",
            Type::List(&Type::Route),
            Need::Default("[]"),
            "For `gateway_of`: routes back to tenant networks. Without any, the outside cannot route to them.",
        ),
        ALSO,
        CLOSED,
    ],
};
