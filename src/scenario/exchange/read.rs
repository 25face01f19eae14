//! The list below `probe`, key by key.

use std::collections::BTreeMap;

use super::load::number;
use super::{Exchange, Pattern, ToSend, World};
use crate::packet::Load;
use crate::scenario::note::{Notes, Span, listed, nearest, position};
use crate::scenario::values;
use crate::scenario::yaml::Node;

/// Reads the exchanges of one step.
pub(in crate::scenario) struct Reader<'a> {
    pub(in crate::scenario) source: &'a str,
    pub(in crate::scenario) world: &'a World,
    pub(in crate::scenario) notes: &'a mut Notes,
    /// Packets of the step so far that have a name, with where the name stands.
    pub(super) named: BTreeMap<String, (Load, Span)>,
    /// Where the exchange begins that is being read.
    pub(super) start: usize,
}

impl<'a> Reader<'a> {
    pub(in crate::scenario) fn new(source: &'a str, world: &'a World, notes: &'a mut Notes) -> Self {
        Self { source, world, notes, named: BTreeMap::new(), start: 0 }
    }

    /// Reads the list. What is wrong is noted and left out.
    pub(in crate::scenario) fn read(mut self, list: &Node) -> Vec<Exchange> {
        let items = list.items();
        if items.is_empty() {
            self.notes.error(list.span.clone(), "this list is empty").help("write exchanges, each after a `-`");
        }
        let all: Vec<Exchange> = items.iter().filter_map(|node| self.exchange(node)).collect();
        let sound = !self.notes.errors_in(&list.span);
        for entry in items.iter().flat_map(Node::entries).filter(|entry| sound && entry.key == "not_seen") {
            for at in entry.value.items().iter().filter_map(|pattern| pattern.get("at")) {
                let controlled =
                    all.iter().flat_map(|one| &one.seen).any(|seen| Some(seen.at.to_string().as_str()) == at.text());
                if !controlled {
                    let place = at.text().unwrap_or_default();
                    self.notes
                        .error(at.span.clone(), format!("nothing must be seen at `{place}` in this step"))
                        .help(format!("a packet that is not seen shows something only beside one that is: add a `seen` with `at: {place}`"));
                }
            }
        }
        all
    }

    fn exchange(&mut self, node: &Node) -> Option<Exchange> {
        self.start = node.span.start;
        let list = |key: &str| node.get(key).map(Node::items).unwrap_or_default();
        let mut own = Vec::new();
        let mut good = true;
        for packet in list("send") {
            match self.packet(packet) {
                Some(one) => own.push(one),
                None => good = false,
            }
        }
        if list("send").is_empty() && node.get("send").is_some_and(|send| !self.notes.errors_in(&send.span)) {
            let span = node.get("send").map_or_else(|| node.span.clone(), |send| send.span.clone());
            self.notes.error(span, "nothing is sent").help("write packets: `- send: [{ from: vm1, to: web }]`");
            good = false;
        }
        let order: Vec<_> = list("order").iter().map(|item| if good { self.piece(item, &own) } else { None }).collect();
        let seen: Vec<_> = list("seen").iter().map(|pattern| self.pattern(pattern)).collect();
        let not_seen: Vec<_> = list("not_seen").iter().map(|pattern| self.pattern(pattern)).collect();
        let order_text =
            node.get("order").map(|order| format!(" in the order {}", order.one_line())).unwrap_or_default();
        let text = node.get("send").map(Node::one_line).unwrap_or_default() + &order_text;
        let whole = |all: Vec<Option<Pattern>>| all.into_iter().collect::<Option<Vec<_>>>();
        let order = order.into_iter().collect::<Option<Vec<_>>>();
        let (seen, not_seen) = (whole(seen), whole(not_seen));
        let times = number(node, "times").unwrap_or(1);
        let line = position(self.source, node.span.start).0;
        good.then_some(Exchange { line, text, send: own, order: order?, seen: seen?, not_seen: not_seen?, times })
    }

    /// `NAME` or `NAME/N`.
    fn piece(&mut self, item: &Node, own: &[ToSend]) -> Option<(usize, Option<usize>)> {
        let text = item.text()?;
        let (name, piece) = text.split_once('/').map_or((text, None), |(name, piece)| (name, Some(piece)));
        let names = || own.iter().filter_map(|one| one.name.as_deref());
        let Some(at) = own.iter().position(|one| one.name.as_deref() == Some(name)) else {
            let note = self.notes.error(item.span.clone(), format!("no packet of this `send` is called `{name}`"));
            match nearest(name, names()) {
                Some(near) => note.help(format!("did you mean `{near}`?")),
                None => note.help(format!("give one a `name`; there are {}", listed(names()))),
            };
            return None;
        };
        let Some(piece) = piece else { return Some((at, None)) };
        let cut = own.get(at).is_some_and(|one| one.template.fragment.is_some());
        match values::integer(piece, 1, 8192) {
            Ok(number) if cut => Some((at, usize::try_from(number).ok())),
            Ok(_) => {
                self.notes
                    .error(item.span.clone(), format!("`{name}` is not cut into fragments"))
                    .help("add `fragment: 256` to it, or write the name alone");
                None
            }
            Err(wrong) => {
                self.notes.error(item.span.clone(), wrong.message).help(wrong.help);
                None
            }
        }
    }
}
