//! What a scenario has to do with the machine that it runs on: programs that it starts, and what it needs to be there.

use super::build::Builder;
use super::deed::Deed;
use super::note::nearest;
use super::state;
use super::values::{self, Wrong};
use super::yaml::Node;
use crate::flow::Place;

/// What the machine or this version must have for a scenario to be run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// Rules by the programs of iptables.
    Iptables,
    /// Routers with a standby.
    Ha,
    /// A program, by its name or path.
    Program(String),
}

/// A line of shell, and how it must end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// Where it runs.
    pub at: Place,
    /// The line, for `sh -c`.
    pub run: String,
    /// The exit status.
    pub exit: i32,
    /// What its output contains.
    pub prints: Option<String>,
}

/// Reads an entry of `requires`.
pub(super) fn feature(text: &str) -> Result<Feature, Wrong> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["iptables"] => Ok(Feature::Iptables),
        ["ha"] => Ok(Feature::Ha),
        ["program", name] => Ok(Feature::Program((*name).to_owned())),
        ["program", ..] => Err(Wrong {
            message: "`program` is followed by one name".to_owned(),
            help: "write `program tcpdump`, one entry for each".to_owned(),
        }),
        [] | [_, ..] => Err(Wrong {
            message: format!("`{text}` is nothing that a scenario can require"),
            help: match nearest(words.first().copied().unwrap_or_default(), ["iptables", "ha", "program"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "write `iptables`, `ha` or `program NAME`".to_owned(),
            },
        }),
    }
}

/// The entries of `requires`, in order.
pub(super) fn requires(root: &Node) -> Vec<Feature> {
    let entries = root.get("requires").map(Node::items).unwrap_or_default();
    entries.iter().filter_map(Node::text).filter_map(|text| feature(text).ok()).collect()
}

impl Builder<'_> {
    /// Reads `exec`. What is wrong is noted.
    pub(super) fn exec(&mut self, node: &Node) -> Option<Deed> {
        let at = node.get("at")?;
        let place = state::site(at.text()?, &at.span, &self.world, &mut self.notes)?;
        let exit = node.get("exit").and_then(Node::text).and_then(|text| values::integer(text, 0, 255).ok());
        let exit = i32::try_from(exit.unwrap_or_default()).ok()?;
        let prints = node.get("prints").and_then(Node::text).map(str::to_owned);
        Some(Deed::Exec(Exec { at: place, run: node.get("run")?.text()?.to_owned(), exit, prints }))
    }
}
