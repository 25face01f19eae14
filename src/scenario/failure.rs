//! The sentence about a flow that fails: `refused by web`, `no neighbour at gw-public`.

use std::net::IpAddr;

use super::expectation::{Failure, Reason, Speaker};
use super::outcome::Reader;
use super::subject::NODES;
use super::values;
use super::words::Word;
use crate::flow::Place;
use crate::name::Name;

impl Reader<'_> {
    /// A reason, whose first word is taken already.
    pub(super) fn failure(&mut self, word: &Word) -> bool {
        if let Some((_, first)) = &self.failure {
            let first = first.clone();
            self.notes
                .error(word.span.clone(), "a flow fails for one reason")
                .beside(first, "first here")
                .help("`unreachable` stands for any of them");
            return false;
        }
        let second = if matches!(word.text.as_str(), "no" | "too") { self.words.take() } else { None };
        let reason = match (word.text.as_str(), second.as_ref().map(|word| word.text.as_str())) {
            ("unreachable", _) => Reason::Unreachable,
            ("refused", _) => Reason::Refused,
            ("prohibited", _) => Reason::Prohibited,
            ("expired", _) => Reason::Expired,
            ("dropped", _) => Reason::Dropped,
            ("no", Some("route")) => Reason::NoRoute,
            ("no", Some("neighbour")) => Reason::NoNeighbour,
            ("too", Some("big")) => {
                match self.words.take().map(|word| (values::integer(&word.text, 68, 65535), word.span)) {
                    Some((Ok(mtu), _)) => Reason::TooBig(mtu),
                    Some((Err(wrong), span)) => return self.bad_value(span, wrong),
                    None => {
                        return self.wrong(
                            word.span.clone(),
                            "`too big` needs the MTU that was told",
                            "write it like `too big 1300`",
                        );
                    }
                }
            }
            _ => return self.wrong(word.span.clone(), "`too` is followed by `big`", "write it like `too big 1300`"),
        };
        self.failure = Some((Failure { reason, by: None, at: None }, word.span.clone()));
        true
    }

    pub(super) fn by(&mut self, clause: &Word) -> bool {
        let Some(word) = self.argument(clause, "an address, a node or `HOST/NAMESPACE`") else { return false };
        let speaker = if let Ok(address) = word.text.parse::<IpAddr>() {
            Speaker::Address(address)
        } else if word.text.contains('/') {
            match self.namespace(&word) {
                Some(place) => Speaker::Namespace(place),
                None => return false,
            }
        } else if self.resolve(&word, NODES) {
            let Ok(name) = Name::new(word.text) else { return false };
            Speaker::Node(name)
        } else {
            return false;
        };
        match &mut self.failure {
            Some((failure, _)) if failure.by.is_none() => failure.by = Some(speaker),
            Some(_) => return self.wrong(clause.span.clone(), "`by` is here twice", "say it once"),
            None => {
                return self.wrong(
                    clause.span.clone(),
                    "`by` says who refused a flow, and stands after the reason",
                    "write it like `refused by web`",
                );
            }
        }
        true
    }

    pub(super) fn at(&mut self, clause: &Word) -> bool {
        let Some(word) = self.argument(clause, "a node or `HOST/NAMESPACE`") else { return false };
        let place = if word.text.contains('/') {
            match self.namespace(&word) {
                Some(place) => place,
                None => return false,
            }
        } else if self.resolve(&word, NODES) {
            Place { host: None, name: word.text.clone() }
        } else {
            return false;
        };
        match &mut self.failure {
            Some((failure, _)) if failure.at.is_none() => failure.at = Some(place),
            Some(_) => return self.wrong(clause.span.clone(), "`at` is here twice", "say it once"),
            None => {
                return self.wrong(
                    clause.span.clone(),
                    "`at` says where a flow ended, and stands after the reason",
                    "write it like `dropped at cmp1/qrouter-r1`",
                );
            }
        }
        true
    }
}
