//! Where everything stands. Lengths are in pixels of a 12-pixel monospaced font.

use std::collections::BTreeMap;

use super::model::{BoxKey, Model, Sort};

/// Width of a character.
const CHARACTER: usize = 7;
/// Height of a line of text.
pub(super) const LINE: usize = 16;
/// Between a box's border and its text.
pub(super) const PADDING: usize = 8;
/// Between boxes, and around everything.
const GAP: usize = 12;
/// Room at both sides of a host's boxes, in which cables run.
pub(super) const GUTTER: usize = 24;
/// Height of a bus with its name.
const BUS: usize = 26;

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Rect {
    pub(super) fn right(&self) -> usize {
        self.x + self.width
    }

    pub(super) fn bottom(&self) -> usize {
        self.y + self.height
    }
}

/// A horizontal line that devices are plugged into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bus {
    pub(super) name: String,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) y: usize,
    /// A provider segment, or one outside.
    pub(super) outside: bool,
}

/// The whole.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Hosts by name.
    pub(super) hosts: BTreeMap<String, Rect>,
    pub(super) boxes: BTreeMap<BoxKey, Rect>,
    /// The middle of the line of a device.
    pub(super) devices: BTreeMap<(BoxKey, String), usize>,
    pub(super) buses: Vec<Bus>,
}

/// The order of a host's namespaces: what faces the outside first.
fn rank(name: &str) -> usize {
    ["snat-", "fip-", "qrouter-"].iter().position(|prefix| name.starts_with(prefix)).unwrap_or(3)
}

impl Layout {
    pub(super) fn new(model: &Model) -> Self {
        let mut layout = Self {
            width: 0,
            height: GAP,
            hosts: BTreeMap::new(),
            boxes: BTreeMap::new(),
            devices: BTreeMap::new(),
            buses: Vec::new(),
        };
        layout.outside(model);
        let top = layout.height;
        let mut columns = Vec::new();
        let mut x = GAP;
        let mut bottom = top;
        for host in &model.hosts {
            let width = column_width(model, host);
            let column = Rect { x, y: top, width, height: 0 };
            bottom =
                bottom.max(layout.stack(model, host, column, |sort| sort == Sort::Namespace, top + LINE + PADDING));
            columns.push((host, column));
            x += width + GAP;
        }
        layout.width = layout.width.max(x);
        for (name, at) in &model.networks {
            let mine = columns.iter().filter(|(host, _)| at.contains(*host)).map(|(_, column)| column);
            let from = mine.clone().map(|column| column.x).min().unwrap_or(GAP);
            let to = mine.map(Rect::right).max().unwrap_or(GAP);
            let y = bottom + BUS - PADDING;
            layout.buses.push(Bus { name: name.clone(), from: from + 6, to: to - 6, y, outside: false });
            bottom += BUS;
        }
        let machines = bottom + GAP;
        for (host, column) in &columns {
            bottom = bottom.max(layout.stack(model, host, *column, |sort| sort != Sort::Namespace, machines));
        }
        for (host, column) in columns {
            layout.hosts.insert(host.clone(), Rect { height: bottom + PADDING - top, ..column });
        }
        for bus in layout.buses.iter_mut().filter(|bus| bus.outside) {
            (bus.from, bus.to) = (GAP, layout.width - GAP);
        }
        layout.height = bottom + PADDING + GAP;
        layout
    }

    /// Servers, their segments, upstream routers and machines on segments, the segments; top down.
    fn outside(&mut self, model: &Model) {
        let (behind, segments): (Vec<_>, Vec<_>) = model.segments.iter().partition(|name| name.starts_with("lan_"));
        let is_behind = |key: &BoxKey| {
            model.devices_of(key).any(|(_, variants)| {
                variants.iter().any(|(device, _)| device.into.as_ref().is_some_and(|into| behind.contains(&into)))
            })
        };
        let all: Vec<(&BoxKey, Sort)> = model.boxes_of(None).collect();
        let servers = all.iter().filter(|(key, sort)| *sort == Sort::Machine && is_behind(key));
        self.row(model, servers.map(|(key, _)| *key));
        self.bus_row(&behind);
        let others = all.iter().filter(|(key, sort)| *sort != Sort::Machine || !is_behind(key));
        self.row(model, others.map(|(key, _)| *key));
        self.bus_row(&segments);
        self.height += GAP;
    }

    fn row<'a>(&mut self, model: &Model, keys: impl Iterator<Item = &'a BoxKey>) {
        let mut x = GAP * 3;
        let mut bottom = self.height;
        for key in keys {
            let rect = self.place(model, key, x, self.height, None);
            x = rect.right() + GAP * 2;
            bottom = bottom.max(rect.bottom());
        }
        self.width = self.width.max(x);
        self.height = bottom;
    }

    fn bus_row(&mut self, names: &[&String]) {
        for name in names {
            let y = self.height + BUS - PADDING;
            self.buses.push(Bus { name: (*name).clone(), from: GAP, to: GAP, y, outside: true });
            self.height += BUS;
        }
        if !names.is_empty() {
            self.height += GAP;
        }
    }

    /// Puts boxes of a host below each other; gives where they end.
    fn stack(&mut self, model: &Model, host: &str, column: Rect, wanted: fn(Sort) -> bool, top: usize) -> usize {
        let mut keys: Vec<&BoxKey> =
            model.boxes_of(Some(host)).filter(|(_, sort)| wanted(*sort)).map(|(key, _)| key).collect();
        keys.sort_by_key(|(_, name)| (rank(name), name.clone()));
        let mut y = top;
        for key in keys {
            let width = column.width - 2 * GUTTER;
            y = self.place(model, key, column.x + GUTTER, y, Some(width)).bottom() + GAP;
        }
        y
    }

    fn place(&mut self, model: &Model, key: &BoxKey, x: usize, y: usize, width: Option<usize>) -> Rect {
        let width = width.unwrap_or_else(|| text_width(model, key));
        let mut at = y + PADDING + LINE;
        for (device, variants) in model.devices_of(key) {
            self.devices.insert((key.clone(), device.to_owned()), at + LINE / 2);
            let lines = variants.iter().map(|(device, _)| device.addresses.len()).max().unwrap_or(0);
            at += LINE * lines.max(1);
        }
        let rect = Rect { x, y, width, height: at + PADDING - y };
        self.boxes.insert(key.clone(), rect);
        rect
    }
}

/// A column is as wide as its widest box.
fn column_width(model: &Model, host: &str) -> usize {
    let boxes = model.boxes_of(Some(host)).map(|(key, _)| text_width(model, key));
    boxes.max().unwrap_or(0).max(16 * CHARACTER + 2 * PADDING) + 2 * GUTTER
}

/// A box is as wide as its longest line.
fn text_width(model: &Model, key: &BoxKey) -> usize {
    let lines = model.devices_of(key).flat_map(|(name, variants)| {
        let addresses = variants.iter().flat_map(|(device, _)| &device.addresses);
        let longest = addresses.map(|address| address.chars().count() + 1).max().unwrap_or(0);
        std::iter::once(name.chars().count() + longest)
    });
    let longest = lines.chain([key.1.chars().count()]).max().unwrap_or(0);
    longest * CHARACTER + 2 * PADDING
}
