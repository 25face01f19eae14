//! The example files of the language's reference: each is a scenario, or is refused only for words of later versions.

use std::path::PathBuf;

use dvrlab::scenario::{Severity, parse, render, schema};
use rstest::rstest;
use saphyr_parser::{Event, Parser, Span, SpannedEventReceiver};
use serde_json::Value;

#[rstest]
fn an_example_is_a_scenario_or_ahead_of_its_time(#[files("tests/language/*.yaml")] path: PathBuf) {
    let text = std::fs::read_to_string(&path).expect("the file can be read");
    let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
    match parse(&name, &text) {
        Ok(scenario) => assert!(scenario.warnings.is_empty(), "{}", render(&scenario.warnings, &text, &name, false)),
        Err(notes) => {
            let wrong: Vec<_> = notes.into_iter().filter(|n| !n.later || n.severity == Severity::Warning).collect();
            assert!(wrong.is_empty(), "{}", render(&wrong, &text, &name, false));
        }
    }
}

/// YAML as JSON, for the schema only.
#[derive(Default)]
struct Json {
    open: Vec<(Value, Option<String>)>,
    root: Value,
}

impl Json {
    fn place(&mut self, value: Value) {
        match self.open.last_mut() {
            None => self.root = value,
            Some((Value::Array(items), _)) => items.push(value),
            Some((Value::Object(map), key)) => match key.take() {
                None => *key = Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
                Some(key) => drop(map.insert(key, value)),
            },
            Some(_) => unreachable!("only collections are open"),
        }
    }
}

impl<'input> SpannedEventReceiver<'input> for Json {
    fn on_event(&mut self, event: Event<'input>, _: Span) {
        match event {
            Event::Scalar(text, ..) => self.place(match (text.parse::<bool>(), text.parse::<u64>()) {
                (Ok(truth), _) => Value::Bool(truth),
                (_, Ok(number)) => number.into(),
                _ => Value::String(text.into_owned()),
            }),
            Event::SequenceStart(..) => self.open.push((Value::Array(Vec::new()), None)),
            Event::MappingStart(..) => self.open.push((Value::Object(serde_json::Map::new()), None)),
            Event::SequenceEnd | Event::MappingEnd => {
                let (value, _) = self.open.pop().expect("what ends has begun");
                self.place(value);
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::Alias(_) => {}
        }
    }
}

fn json(text: &str) -> Value {
    let mut json = Json::default();
    Parser::new_from_str(text).load(&mut json, true).expect("the file is YAML");
    json.root
}

#[rstest]
fn the_schema_accepts_what_the_reader_accepts(
    #[files("tests/language/*.yaml")]
    #[files("scenarios/**/*.yaml")]
    path: PathBuf,
) {
    let text = std::fs::read_to_string(&path).expect("the file can be read");
    let schema = jsonschema::validator_for(&schema()).expect("the schema is one");
    let value = json(&text);
    let refused: Vec<String> = schema.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    // Words of later versions inside sentences are text to the schema, so it may accept more than the reader.
    if parse("x.yaml", &text).is_ok() {
        assert!(refused.is_empty(), "{}", refused.join("\n"));
    }
}

#[rstest]
#[case("unknown-key")]
#[case("types")]
#[case("booleans")]
#[case("names")]
#[case("later-attributes")]
fn the_schema_refuses_what_the_reader_refuses(#[case] name: &str) {
    let text = std::fs::read_to_string(format!("tests/invalid/{name}.yaml")).expect("the file can be read");
    let schema = jsonschema::validator_for(&schema()).expect("the schema is one");
    assert!(!schema.is_valid(&json(&text)));
}
