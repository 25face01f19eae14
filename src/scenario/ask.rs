//! A flow that somebody asks for on the command line, in the words of a scenario.
//!
//! In: `vm1 -> web tcp/80` and what is in force. Out: the flows it stands for, or notes about the text.

use super::expectation::{Delivery, FlowExpectation, Outcome};
use super::note::{Note, Notes};
use super::subject;
use super::words::Words;
use super::world::World;
use crate::api::Intent;
use crate::flow::Flow;

/// Reads a flow; without a protocol it stands for several.
///
/// # Errors
/// Notes about the text, whose lines and columns are the text's own.
pub fn flows(text: &str, intent: &Intent) -> Result<Vec<Flow>, Vec<Note>> {
    let mut notes = Notes::default();
    let world = World::of(intent, &mut notes);
    let mut words = Words::of_text(text);
    let subject = subject::read_single(&mut words, &world, &mut notes);
    let flows = subject.map(|subject| {
        let asked = FlowExpectation {
            sources: subject.sources,
            targets: subject.targets,
            both: subject.both,
            protocol: subject.protocol,
            options: subject.options,
            count: subject.count,
            family: subject.family,
            outcome: Outcome::Delivered(Delivery::default()),
        };
        asked.flows(intent)
    });
    if flows.as_ref().is_some_and(Vec::is_empty) {
        notes
            .error(0..text.len(), "nothing would be sent")
            .help("a node does not send to itself by name; write its address to try that");
    }
    match notes.split(text) {
        (errors, _warnings) if errors.is_empty() => Ok(flows.unwrap_or_default()),
        (errors, _warnings) => Err(errors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::parse;

    fn asked(text: &str) -> Result<Vec<String>, Vec<String>> {
        let scenario = parse("basic.yaml", include_str!("../../scenarios/snat/basic.yaml")).unwrap();
        let print = |flow: &Flow| format!("{} -> {} {}", flow.from, flow.to, flow.protocol);
        let flows = flows(text, &scenario.intent).map(|flows| flows.iter().map(print).collect());
        flows.map_err(|notes| notes.into_iter().map(|note| note.message).collect())
    }

    #[test]
    fn a_flow_is_read_as_in_a_file() {
        assert_eq!(asked("vm1 -> web tcp/80"), Ok(vec!["vm1 -> 198.51.100.2 tcp/80".to_owned()]));
        assert_eq!(asked("vm1 -> 198.51.100.9").map(|flows| flows.len()), Ok(3));
        assert_eq!(asked("vm9 -> web"), Err(vec!["there is no instance or machine outside `vm9`".to_owned()]));
        assert_eq!(asked("vm1 -> vm1"), Err(vec!["nothing would be sent".to_owned()]));
        assert!(asked("vm1").is_err() && asked("").is_err());
    }
}
