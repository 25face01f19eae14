//! What `probe` takes: exchanges, and the packets in them.

use super::{Choice, Form, Key, Need, Record, Type};
use crate::api::Section;
use crate::net::Mac;
use crate::packet::flags_of;
use crate::scenario::values::{self, Wrong};

const fn key(name: &'static str, ty: Type, need: Need, doc: &'static str) -> Key {
    Key { name, ty, need, doc }
}

/// An exchange.
pub(in crate::scenario) static EXCHANGE: Record = Record {
    title: "exchange",
    context: "exchange",
    doc: "Packets go out, then what was seen is compared.",
    keys: &[
        key("send", Type::List(&Type::Map(&SENT)), Need::Required, "Packets to send, in order, back to back."),
        key(
            "order",
            Type::List(&Type::Form(&PIECE)),
            Need::Default("as they stand"),
            "What goes out in which order: `NAME/N`, a fragment of a packet of `send`, or `NAME`, the packet. What is not listed is not sent.",
        ),
        key("seen", Type::List(&Type::Map(&SEEN)), Need::Optional, "Each was seen at its place."),
        key(
            "not_seen",
            Type::List(&Type::Map(&NOT_SEEN)),
            Need::Optional,
            "Each was not seen at its place; needs a `seen` at the same place in the step.",
        ),
        key(
            "times",
            Type::Integer(1, 1000),
            Need::Default("1"),
            "That often, with new ids and ports where they are free.",
        ),
    ],
};

/// The class of the translator before an instance.
pub(in crate::scenario) static NAT_PROFILE: Record = Record {
    title: "NAT profile",
    context: "nat_profile",
    doc: "The class of the translator before an instance, in the words of RFC 4787, RFC 5382 and RFC 5508.",
    keys: &[
        key("of", Type::Name(&[Section::Instances]), Need::Required, "The instance. Two addresses outside are needed."),
        key("mapping", Type::Choice(ENDPOINTS), Need::Optional, "On what of the destination a mapping depends."),
        key(
            "filtering",
            Type::Choice(ENDPOINTS),
            Need::Optional,
            "On what of the sender it depends whether it gets in.",
        ),
        key("ports", Type::Choice(PRESERVED), Need::Optional, "Whether the source port is the same outside."),
        key("port_class", Type::Choice(KEPT), Need::Optional, "Whether a changed port stays well-known, or not."),
        key("port_parity", Type::Choice(KEPT), Need::Optional, "Whether a changed port stays even or odd."),
        key("hairpin", Type::Choice(HAIRPINS), Need::Optional, "What comes of a packet from inside to a mapping."),
        key("icmp_id", Type::Choice(PRESERVED), Need::Optional, "Whether the id of an echo is the same outside."),
    ],
};

const ENDPOINTS: &[Choice] = &[
    Choice { word: "endpoint-independent", doc: "On nothing." },
    Choice { word: "address-dependent", doc: "On the address." },
    Choice { word: "address-and-port-dependent", doc: "On address and port." },
];
const PRESERVED: &[Choice] =
    &[Choice { word: "preserved", doc: "The same." }, Choice { word: "random", doc: "Another one." }];
const KEPT: &[Choice] = &[Choice { word: "kept", doc: "It does." }, Choice { word: "free", doc: "It need not." }];
const HAIRPINS: &[Choice] = &[
    Choice { word: "none", doc: "It does not arrive." },
    Choice { word: "internal-source", doc: "It arrives with the sender's own address." },
    Choice { word: "external-source", doc: "It arrives with the sender's outer address." },
];

const TO: Key = key(
    "to",
    Type::Form(&END),
    Need::Optional,
    "Destination. Of ARP and neighbour discovery the address asked for or announced.",
);
const PROTO: Key =
    key("proto", Type::Choice(PROTOCOLS), Need::Default("from the other keys, else `udp`"), "What it speaks.");
const PORT: Key = key("port", Type::Form(&PORT_NUMBER), Need::Default("9000"), "Destination port, or `flow NAME`.");
const FLAGS: Key =
    key("flags", Type::Form(&FLAG_LETTERS), Need::Default("S"), "Flags of TCP: `S`, `SA`, `R`, `FA`, `PA` ...");
const ERROR_OR_ECHO: Key = key(
    "icmp",
    Type::Choice(KINDS),
    Need::Optional,
    "What it says in ICMP or ICMPv6; the family follows the addresses.",
);
const MTU: Key =
    key("mtu", Type::Integer(0, 65535), Need::Optional, "The MTU that `frag-needed` and `too-big` tell, in bytes.");
const ARP: Key =
    key("arp", Type::Choice(DISCOVERY), Need::Optional, "ARP: a question who has an address, or an answer to one.");
const ND: Key = key("nd", Type::Choice(DISCOVERY), Need::Optional, "Neighbour discovery.");
const PAYLOAD: Key = key("payload", Type::Form(&TEXT), Need::Default("small"), "What it carries.");
const CHECKSUM: Key = key("checksum", Type::Choice(CHECKSUMS), Need::Default("good"), "Of what the IP packet carries.");

/// A packet to send.
pub(in crate::scenario) static SENT: Record = Record {
    title: "packet to send",
    context: "sent",
    doc: "A packet; what is left out is as its sender's kernel would have it.",
    keys: &[
        key("name", Type::Word, Need::Optional, "For `order` and `answers`."),
        key("from", Type::Place, Need::Required, "Who sends it: a node or `HOST/NAMESPACE`."),
        TO,
        key(
            "answers",
            Type::Word,
            Need::Optional,
            "A packet sent before in this step: addresses and ports turned round, as that packet looked where it arrived.",
        ),
        key("source", Type::Form(&END), Need::Default("the sender's own"), "Source address."),
        key("mac", Type::Form(&HARDWARE), Need::Default("the sender's own"), "Source MAC, or the node that has it."),
        key(
            "to_mac",
            Type::Form(&HARDWARE),
            Need::Default("the next hop's"),
            "Destination MAC, or the node that has it.",
        ),
        PROTO,
        key(
            "source_port",
            Type::Form(&PORT_NUMBER),
            Need::Default("free"),
            "Source port, or `flow NAME`: the one that an open flow has at its far end.",
        ),
        PORT,
        FLAGS,
        key(
            "seq",
            Type::Form(&SEQUENCE),
            Need::Default("free"),
            "Sequence number of TCP; `+N` or `-N` beside the next one of the open flow of that tuple.",
        ),
        key("ack", Type::Form(&SEQUENCE), Need::Default("0"), "Acknowledgement number of TCP, likewise."),
        ERROR_OR_ECHO,
        MTU,
        key("quoting", Type::Map(&QUOTED), Need::Optional, "The packet whose header an ICMP error quotes."),
        key(
            "quoting_flow",
            Type::Word,
            Need::Optional,
            "The open flow whose latest packet an ICMP error quotes, as it came to who tells the error.",
        ),
        ARP,
        ND,
        key("ip_id", Type::Integer(0, 65535), Need::Default("free"), "Identification of the IP packet."),
        key("icmp_id", Type::Integer(0, 65535), Need::Default("free"), "Identifier of an echo."),
        key("ttl", Type::Integer(1, 255), Need::Default("64"), "TTL or hop limit."),
        key("df", Type::Bool, Need::Default("false"), "It may not be cut into fragments."),
        key("size", Type::Integer(28, 65535), Need::Default("small"), "Bytes of the IP packet."),
        PAYLOAD,
        key(
            "fragment",
            Type::Form(&EIGHTS),
            Need::Optional,
            "It is cut into fragments of so many bytes, numbered from 1.",
        ),
        CHECKSUM,
    ],
};

/// A packet that is looked for.
pub(in crate::scenario) static SEEN: Record = Record {
    title: "packet to see",
    context: "seen",
    doc: "A packet that is looked for; only the keys given are compared. At a node packets are whole, at `HOST/NAMESPACE` they are frames.",
    keys: &[
        AT,
        TO,
        SOURCE,
        SEEN_MAC,
        SEEN_TO_MAC,
        PROTO,
        SOURCE_PORT,
        PORT,
        FLAGS,
        SEQ,
        ACK,
        ERROR_OR_ECHO,
        MTU,
        QUOTING,
        ARP,
        ND,
        IP_ID,
        ICMP_ID,
        TTL,
        DF,
        SIZE,
        PAYLOAD,
        FRAGMENT,
        CHECKSUM,
        key("count", Type::Integer(1, 100_000), Need::Default("at least 1"), "Exactly that many."),
    ],
};

/// A packet that must not be there.
pub(in crate::scenario) static NOT_SEEN: Record = Record {
    title: "packet not to see",
    context: "seen",
    doc: "A packet that must not be seen; only the keys given are compared.",
    keys: &[
        AT,
        TO,
        SOURCE,
        SEEN_MAC,
        SEEN_TO_MAC,
        PROTO,
        SOURCE_PORT,
        PORT,
        FLAGS,
        SEQ,
        ACK,
        ERROR_OR_ECHO,
        MTU,
        QUOTING,
        ARP,
        ND,
        IP_ID,
        ICMP_ID,
        TTL,
        DF,
        SIZE,
        PAYLOAD,
        FRAGMENT,
        CHECKSUM,
    ],
};

/// The header that an error quotes.
pub(in crate::scenario) static QUOTED: Record = Record {
    title: "quoted packet",
    context: "quoted",
    doc: "A packet of which an ICMP error quotes the header.",
    keys: &[SOURCE, TO, PROTO, SOURCE_PORT, PORT, FLAGS, SEQ, ACK, ERROR_OR_ECHO, ICMP_ID, TTL, IP_ID],
};

const AT: Key = key("at", Type::Place, Need::Required, "Where: a node or `HOST/NAMESPACE`.");
const SOURCE: Key = key("source", Type::Form(&END), Need::Optional, "Source address.");
const SEEN_MAC: Key = key("mac", Type::Form(&HARDWARE), Need::Optional, "Source MAC, or the node that has it.");
const SEEN_TO_MAC: Key =
    key("to_mac", Type::Form(&HARDWARE), Need::Optional, "Destination MAC, or the node that has it.");
const SOURCE_PORT: Key = key("source_port", Type::Form(&PORT_NUMBER), Need::Optional, "Source port, or `flow NAME`.");
const SEQ: Key =
    key("seq", Type::Form(&SEQUENCE), Need::Optional, "Sequence number of TCP; `+N`, `-N` beside an open flow.");
const ACK: Key = key("ack", Type::Form(&SEQUENCE), Need::Optional, "Acknowledgement number of TCP, likewise.");
const QUOTING: Key = key("quoting", Type::Map(&QUOTED), Need::Optional, "The packet that an ICMP error quotes.");
const IP_ID: Key = key("ip_id", Type::Integer(0, 65535), Need::Optional, "Identification of the IP packet.");
const ICMP_ID: Key = key("icmp_id", Type::Integer(0, 65535), Need::Optional, "Identifier of an echo.");
const TTL: Key = key("ttl", Type::Integer(1, 255), Need::Optional, "What is left of TTL or hop limit.");
const DF: Key = key("df", Type::Bool, Need::Optional, "Whether it may not be cut into fragments.");
const SIZE: Key = key("size", Type::Integer(20, 65535), Need::Optional, "Bytes of the IP packet.");
const FRAGMENT: Key =
    key("fragment", Type::Integer(0, 65535), Need::Optional, "It is a fragment that begins at that byte.");

const PROTOCOLS: &[Choice] = &[
    Choice { word: "udp", doc: "UDP." },
    Choice { word: "tcp", doc: "TCP." },
    Choice { word: "icmp", doc: "ICMP or ICMPv6." },
];

/// What ICMP says.
const KINDS: &[Choice] = &[
    Choice { word: "echo-request", doc: "Echo request." },
    Choice { word: "echo-reply", doc: "Echo reply." },
    Choice { word: "net-unreachable", doc: "Net unreachable, no route." },
    Choice { word: "host-unreachable", doc: "Host unreachable, address unreachable." },
    Choice { word: "port-unreachable", doc: "Port unreachable." },
    Choice { word: "frag-needed", doc: "Fragmentation needed, with `mtu`." },
    Choice { word: "prohibited", doc: "Administratively prohibited." },
    Choice { word: "time-exceeded", doc: "Time exceeded in transit." },
    Choice { word: "redirect", doc: "Redirect to the sender itself." },
    Choice { word: "too-big", doc: "Packet too big, with `mtu`." },
    Choice { word: "router-advert", doc: "Router advertisement." },
];

/// Those that quote a packet.
pub(in crate::scenario) const ERRORS: [&str; 8] = [
    "net-unreachable",
    "host-unreachable",
    "port-unreachable",
    "frag-needed",
    "prohibited",
    "time-exceeded",
    "redirect",
    "too-big",
];

const DISCOVERY: &[Choice] = &[
    Choice { word: "request", doc: "Who has the address?" },
    Choice { word: "reply", doc: "The answer." },
    Choice { word: "announce", doc: "Gratuitous ARP, unsolicited neighbour advertisement." },
];

const CHECKSUMS: &[Choice] = &[Choice { word: "good", doc: "As it should be." }, Choice { word: "bad", doc: "Wrong." }];

static END: Form = Form { noun: "a node or an address", check: one_word, pattern: r"^\S+$" };
static HARDWARE: Form = Form {
    noun: "a MAC address or a node",
    check: hardware,
    pattern: "^([0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}|[a-z][a-z0-9-]{0,10})$",
};
static FLAG_LETTERS: Form = Form { noun: "letters of TCP flags", check: flags, pattern: "^[FSRPAU]+$" };
static PIECE: Form = Form { noun: "`NAME` or `NAME/N`", check: one_word, pattern: r"^[^\s/]+(/[1-9][0-9]*)?$" };
static PORT_NUMBER: Form =
    Form { noun: "a port number or `flow NAME`", check: port_number, pattern: r"^([0-9]+|flow\s+\S+)$" };
static SEQUENCE: Form = Form { noun: "a whole number, `+N` or `-N`", check: sequence, pattern: r"^[+-]?[0-9]+$" };
static TEXT: Form = Form { noun: "text", check: short, pattern: "^" };
static EIGHTS: Form = Form { noun: "a number", check: eights, pattern: "^[1-9][0-9]*$" };

/// It fits into a packet of any network.
fn short(text: &str) -> Result<(), Wrong> {
    match text.len() {
        1..=1000 => Ok(()),
        length => Err(Wrong {
            message: format!("a payload of {length} bytes is not possible"),
            help: "write 1 to 1000 bytes; `size` makes a packet longer".to_owned(),
        }),
    }
}

fn port_number(text: &str) -> Result<(), Wrong> {
    match text.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["flow", _name] => Ok(()),
        ["flow", ..] => Err(Wrong {
            message: format!("`{text}` names no flow"),
            help: "write `flow NAME`, the name of a flow that `open_flow` opened".to_owned(),
        }),
        _ => values::integer(text, 1, 65535).map(drop),
    }
}

fn sequence(text: &str) -> Result<(), Wrong> {
    values::integer(text.strip_prefix(['+', '-']).unwrap_or(text), 0, u32::MAX).map(drop)
}

fn one_word(text: &str) -> Result<(), Wrong> {
    if text.contains(char::is_whitespace) {
        return Err(Wrong {
            message: format!("`{text}` is more than one word"),
            help: "write one name or address".to_owned(),
        });
    }
    Ok(())
}

fn hardware(text: &str) -> Result<(), Wrong> {
    // A packet may have a MAC that no machine can have.
    if text.contains(':') && text.parse::<Mac>().is_err() {
        return values::mac(text).map(drop);
    }
    one_word(text)
}

fn flags(text: &str) -> Result<(), Wrong> {
    match flags_of(text) {
        Some(bits) if bits > 0 => Ok(()),
        Some(_) | None => Err(Wrong {
            message: format!("`{text}` are no TCP flags"),
            help: "write letters of `FSRPAU`, each once: `S`, `SA`, `A`, `PA`, `FA`, `R`".to_owned(),
        }),
    }
}

/// The offset of a fragment is told in units of eight bytes.
fn eights(text: &str) -> Result<(), Wrong> {
    let bytes = values::integer(text, 8, 65528)?;
    if bytes % 8 == 0 {
        return Ok(());
    }
    let help = format!("write a multiple of 8, like {}", (bytes / 8 + 1) * 8);
    Err(Wrong { message: format!("fragments of {bytes} bytes are not possible"), help })
}
