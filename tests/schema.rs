//! The schema of scenarios as an editor's YAML language server takes it: hover texts are titles and descriptions, what is offered are
//! properties, constants and enumerations, and what such a server does not know of a schema it leaves unchecked without a word.
use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// What the server checks by, of draft 7, which is what it is written for.
const KEYWORDS: &[&str] = &[
    "$schema",
    "additionalProperties",
    "anyOf",
    "const",
    "default",
    "description",
    "enum",
    "examples",
    "items",
    "maxItems",
    "maximum",
    "minItems",
    "minProperties",
    "minimum",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "properties",
    "propertyNames",
    "required",
    "title",
    "type",
    "uniqueItems",
];

/// Calls with every subschema, its place, and the name of the key that it is the value of, if it is one's.
fn walk(place: &str, key: Option<&str>, schema: &Value, see: &mut impl FnMut(&str, Option<&str>, &Map<String, Value>)) {
    let Value::Object(map) = schema else { return };
    see(place, key, map);
    for (word, value) in map {
        let here = format!("{place}/{word}");
        match (word.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                for (name, schema) in properties {
                    walk(&format!("{here}/{name}"), Some(name), schema, see);
                }
            }
            ("patternProperties", Value::Object(patterns)) => {
                for (name, schema) in patterns {
                    walk(&format!("{here}/{name}"), None, schema, see);
                }
            }
            ("anyOf" | "oneOf", Value::Array(choices)) => {
                for schema in choices {
                    walk(&here, None, schema, see);
                }
            }
            ("items" | "additionalProperties" | "not" | "propertyNames", schema) => walk(&here, None, schema, see),
            _ => {}
        }
    }
}

#[test]
fn it_says_nothing_that_a_language_server_would_pass_over() {
    let schema = dvrlab::scenario::schema();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    let mut unknown = BTreeSet::new();
    walk("", None, &schema, &mut |_, _, map| {
        unknown.extend(map.keys().filter(|word| !KEYWORDS.contains(&word.as_str())).cloned());
    });
    assert!(unknown.is_empty(), "{unknown:?}");
    jsonschema::draft7::meta::validate(&schema).expect("a schema of draft 7");
}

/// Every key explains itself where the cursor is on it.
#[test]
fn every_key_has_a_hover_text() {
    let (mut keys, mut mute) = (0, Vec::new());
    walk("", None, &dvrlab::scenario::schema(), &mut |place, key, map| {
        let Some(key) = key else { return };
        keys += 1;
        let description = map.get("description").and_then(Value::as_str).unwrap_or_default();
        let whole = description.len() > 10 && description.ends_with(['.', ')', '`', ':']);
        if !whole || map.get("title").is_some_and(|title| title != key) {
            mute.push(format!("{place}: {description:?}"));
        }
    });
    assert!(keys > 400, "there are keys: {keys}");
    assert!(mute.is_empty(), "{}", mute.join("\n"));
}

/// Where keys are named, others are mistakes; so a slip of the pen is underlined, and what is offered is all there is.
#[test]
fn objects_with_named_keys_are_closed() {
    let mut open = Vec::new();
    walk("", None, &dvrlab::scenario::schema(), &mut |place, _, map| {
        let named = map.get("properties").and_then(Value::as_object).is_some_and(|named| !named.is_empty());
        if named && !map.contains_key("additionalProperties") {
            open.push(place.to_owned());
        }
    });
    assert!(open.is_empty(), "{}", open.join("\n"));
}

/// At these places the reader is offered these words.
#[test]
fn completion_offers_what_there_is() {
    let schema = dvrlab::scenario::schema();
    let top = &schema["properties"];
    for key in
        ["hosts", "networks", "subnets", "routers", "instances", "floating_ips", "outside", "steps", "faults", "tags"]
    {
        assert!(top.get(key).is_some(), "{key}");
    }
    let mut offered = BTreeSet::new();
    walk("", None, &schema, &mut |_, _, map| {
        for word in map.get("enum").and_then(Value::as_array).into_iter().flatten().chain(map.get("const")) {
            offered.extend(word.as_str().map(str::to_owned));
        }
    });
    for word in ["dvr", "dvr_snat", "nftables", "iptables", "centralised-steering"] {
        let key = schema.pointer(&format!("/properties/deviations/properties/{word}")).is_some();
        assert!(offered.contains(word) || key, "{word}");
    }
}
