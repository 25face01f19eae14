//! The language as a JSON schema, for editors: completion, hover texts, and the same keys that the checker knows.

use serde_json::{Map, Value, json};

use super::deed::Hearing;
use super::language::{FILE, Key, Need, OPERATIONS, Record, STEP, TOGETHER_ENTRY, Type};
use super::words::RESERVED;
use crate::api::{RejectedKind, Section};

/// The schema of a scenario file.
pub fn schema() -> Value {
    let mut root = object(FILE.keys.iter(), FILE.doc);
    if let Some(map) = root.as_object_mut() {
        map.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
        map.insert("title".to_owned(), json!("dvrlab scenario"));
    }
    root
}

fn object<'a>(keys: impl Iterator<Item = &'a Key>, doc: &str) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in keys {
        properties.insert(key.name.to_owned(), property(key));
        if key.need == Need::Required {
            required.push(key.name);
        }
    }
    let mut schema =
        json!({ "type": "object", "description": doc, "properties": properties, "additionalProperties": false });
    if let (false, Some(map)) = (required.is_empty(), schema.as_object_mut()) {
        map.insert("required".to_owned(), json!(required));
    }
    schema
}

fn property(key: &Key) -> Value {
    let mut schema = typed(&key.ty);
    if let Some(map) = schema.as_object_mut() {
        let doc = match key.need {
            Need::Default(default) => format!("{} Default: {default}.", key.doc),
            Need::Required | Need::Optional => key.doc.to_owned(),
        };
        map.insert("title".to_owned(), json!(key.name));
        map.insert("description".to_owned(), json!(doc));
        if let (Type::Bool, Need::Default(default)) = (&key.ty, key.need) {
            map.insert("default".to_owned(), json!(default == "true"));
        }
    }
    schema
}

/// An IPv4 address.
const FOUR: &str = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$";
/// An address of either family.
const ADDRESS: &str = r"^([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-fA-F.]*:[0-9a-fA-F:.]*)$";
const NAME: &str = "^[a-z][a-z0-9-]{0,10}$";

/// The schema of a value.
pub(super) fn typed(ty: &Type) -> Value {
    match ty {
        Type::Bool => json!({ "type": "boolean" }),
        Type::Fixed(only) => json!({ "const": only }),
        Type::Integer(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Type::Word => json!({ "type": ["string", "integer"], "pattern": r"^\S+$" }),
        Type::Name(_) => json!({ "type": "string", "pattern": NAME }),
        Type::Address => json!({ "type": "string", "pattern": ADDRESS }),
        Type::FloatingIp => json!({ "type": "string", "pattern": FOUR }),
        Type::Prefix => {
            json!({ "type": "string", "pattern": r"^[0-9a-fA-F.:]+/[0-9]{1,3}$", "examples": ["10.0.1.0/24", "2001:db8:1::/64"] })
        }
        Type::AddressOrPrefix => json!({ "type": "string", "pattern": r"^[0-9a-fA-F.:]+(/[0-9]{1,3})?$" }),
        Type::Mac => json!({ "type": "string", "pattern": "^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$" }),
        Type::AddressPair => {
            json!({ "type": "string", "pattern": r"^[0-9.]+(/[0-9]{1,2})?(\s+[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5})?$", "examples": ["10.0.1.100"] })
        }
        Type::Pool => {
            json!({ "type": "string", "pattern": r"^[0-9a-fA-F.:]+\s*-\s*[0-9a-fA-F.:]+$", "examples": ["10.0.1.100-10.0.1.199"] })
        }
        Type::Route => {
            json!({ "type": "string", "pattern": r"^[0-9a-fA-F./:]+\s+via\s+[0-9a-fA-F.:]+$", "examples": ["198.18.7.0/24 via 10.0.1.12"] })
        }
        Type::Closed => json!({ "type": "string", "pattern": "^(tcp|udp)/[0-9]{1,5}$", "examples": ["udp/9"] }),
        Type::Place => {
            json!({ "type": "string", "pattern": "^[a-z][a-z0-9-]*(/[a-z0-9-]+)?$", "examples": ["net1/snat-r1"] })
        }
        Type::Choice(choices) => {
            let one = |word: &str, doc: &str| json!({ "const": word, "description": doc });
            json!({ "oneOf": choices.iter().map(|choice| one(choice.word, choice.doc)).collect::<Vec<_>>() })
        }
        Type::OrNone(inner) => json!({ "anyOf": [typed(inner), { "const": "none" }] }),
        Type::OneOrMany(inner) => {
            json!({ "anyOf": [typed(inner), { "type": "array", "items": typed(inner), "minItems": 1 }] })
        }
        Type::List(inner) => json!({ "type": "array", "items": typed(inner) }),
        Type::Form(form) => json!({ "type": ["string", "integer"], "pattern": form.pattern }),
        Type::Map(record) => object(record.keys.iter(), record.doc),
        Type::Table(table) => section(table.section, table.record),
        Type::Steps => json!({ "type": "array", "minItems": 1, "items": step() }),
        Type::Expect => expect(),
        Type::During => during(),
        Type::Notify => {
            let one = |(word, _, doc): &(&str, Hearing, &str)| json!({ "const": word, "description": doc });
            let ways: Vec<Value> = Hearing::ALL.iter().map(one).collect();
            json!({ "type": "object", "minProperties": 1, "additionalProperties": { "oneOf": ways } })
        }
        Type::Text => json!({ "type": ["string", "integer"] }),
        Type::Refused => json!({ "enum": RejectedKind::ALL.map(|kind| kind.to_string()) }),
    }
}

fn section(section: Section, record: &Record) -> Value {
    let names = if section == Section::FloatingIps {
        json!({ "pattern": FOUR })
    } else {
        json!({ "pattern": NAME, "not": { "enum": RESERVED } })
    };
    json!({ "type": "object", "propertyNames": names, "additionalProperties": object(record.keys.iter(), record.doc) })
}

fn step() -> Value {
    let mut schema = object(STEP.keys.iter().filter(|key| key.name != "together").chain(OPERATIONS.keys), STEP.doc);
    let together = object(TOGETHER_ENTRY.keys.iter().chain(OPERATIONS.keys), TOGETHER_ENTRY.doc);
    let doc = STEP.key("together").map_or("", |key| key.doc);
    if let Some(properties) = schema.pointer_mut("/properties").and_then(Value::as_object_mut) {
        let list =
            json!({ "title": "together", "description": doc, "type": "array", "minItems": 1, "items": together });
        properties.insert("together".to_owned(), list);
    }
    schema
}

fn expect() -> Value {
    let flow = json!({
        "type": "string",
        "description": "A flow, `SOURCE, SOURCE -> TARGET [PROTOCOL] [from PORT]`. It arrives: `as ADDRESS`, `as itself`, `reaches NAME`, `via HOST`, \
            `through HOST/NAMESPACE`, `hops HOP HOP`, `ttl N`, `port kept`, `reply via HOST`, `no answer`. Or not: `unreachable`, `refused`, `no route`, \
            `no neighbour`, `prohibited`, `too big N`, `expired`, `dropped`, each with `by` and `at`."
    });
    let fact = json!({ "type": "string", "pattern": r"^\s*((has|no|keeps)\s|stale\s*$|in\s+sync\s*$|unchanged(\s+since\s+\S+)?\s*$)" });
    let place = json!({
        "description": "A place: `HOST`, `HOST/NAMESPACE`, a node, `all`, or a segment (a network, `underlay`), where the only KIND is `frame`. `has KIND TEXT`, `has N KIND TEXT`, `no KIND TEXT`, `keeps KIND TEXT` \
            and `unchanged`, both with `since STEP`; of hosts `stale`, `in sync`; one or a list.",
        "anyOf": [fact, { "type": "array", "items": fact, "minItems": 1 }]
    });
    let sighting = json!({
        "type": "string",
        "pattern": r"^\s*(silent|tenant\s+source|link-local\s+transit|wrong\s+host|withdrawn\s+address|two\s+owners)(\s|$)"
    });
    let watch = json!({
        "description": "What hosts send onto provider segments and must not: `silent` (the default), or a violation (`tenant source`, \
            `link-local transit`, `wrong host`, `withdrawn address`, `two owners`) with `from NODE`, `via HOST`, `on NETWORK`, which \
            must then be seen, and no other; one or a list.",
        "anyOf": [sighting, { "type": "array", "items": sighting, "minItems": 1 }]
    });
    let status = json!({
        "type": "string",
        "pattern": r"^\s*(status\s+(ACTIVE|DOWN|ERROR)|announced\s+by\s+[^\s]+(\s+[0-9]+\s+times)?|not\s+announced)\s*$"
    });
    let address = json!({
        "description": "An address: `announced by HOST`, `announced by HOST N times` or `not announced` in this step; a floating IP besides: \
            `status ACTIVE`, `status DOWN` or `status ERROR`, as the API shows it; one or a list.",
        "anyOf": [status, { "type": "array", "items": status, "minItems": 1 }]
    });
    json!({
        "type": "object",
        "minProperties": 1,
        "properties": { "watch": watch },
        "patternProperties": { "->": flow, r"^(?!watch$)[^>:0-9][^>:]*$": place, r"^([0-9][^>]*|[^>]*:[^>]*)$": address },
        "additionalProperties": false
    })
}

fn during() -> Value {
    let sentence = json!({
        "type": "string",
        "description": "A flow that runs through the change, `SOURCE -> TARGET [PROTOCOL] [from PORT] [at N/s]`, or the name of an open one: `no loss`, `loss N`, `gap N ops`, \
            `kept`, `cut`, `as A then B`, `via A then B`, `reaches A then B`, `never bare`."
    });
    json!({
        "type": "object",
        "minProperties": 1,
        "patternProperties": { r"->|^\s*\S+\s*$": sentence },
        "additionalProperties": false
    })
}
