//! A drawing as SVG.

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};

use super::layout::{Bus, GUTTER, LINE, Layout, PADDING, Rect};
use super::model::{BoxKey, Device, Model, Sort};
use crate::record::Scene;
use crate::report::timeline::Spans;

/// The look of a drawing that stands by itself; in a report the page's own style says it.
const STYLE: &str = include_str!("drawing.css");

/// A drawing of one scene, as a file.
pub fn standalone(title: &str, scene: &Scene) -> String {
    let drawn = draw(title, &Model::new(&[(0, scene)]), Some(STYLE));
    drawn.into_string() + "\n"
}

/// A drawing of several steps in one: everything that any of them has, each thing with the steps it is there in. `changed`
/// says in which steps something else than devices changed in a namespace.
pub(crate) fn markup(title: &str, scenes: &[(usize, &Scene)], changed: &BTreeMap<String, Vec<usize>>) -> Markup {
    let mut model = Model::new(scenes);
    model.mark(changed);
    draw(title, &model, None)
}

fn draw(title: &str, model: &Model, style: Option<&str>) -> Markup {
    let layout = Layout::new(model);
    let (width, height) = (layout.width, layout.height);
    html! {
        svg class="drawing" xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (width) " " (height) }
            width=(width) height=(height) role="img" aria-label=(title) {
            title { (title) }
            @if let Some(style) = style { style { (PreEscaped(style)) } }
            @for (host, rect) in &layout.hosts { (host_box(model, host, *rect)) }
            @for bus in &layout.buses { (bus_line(bus)) }
            @for (key, rect) in &layout.boxes {
                @for (sort, spans) in model.boxes.get(key).into_iter().flatten() {
                    (machine_box(key, *rect, *sort, spans))
                }
            }
            @for (key, _) in &layout.boxes {
                @for (name, variants) in model.devices_of(key) {
                    @for (device, spans) in variants { (device_line(&layout, key, name, device, spans)) }
                }
            }
        }
    }
}

/// A group that is there in some steps.
fn during(spans: &Spans, class: &str, inner: &Markup) -> Markup {
    let gone = (!spans.gone.is_empty()).then(|| Spans::list(&spans.gone));
    let new = (!spans.new.is_empty()).then(|| Spans::list(&spans.new));
    html! { g class=(class) data-on=(Spans::list(&spans.on)) data-new=[new] data-gone=[gone] { (inner) } }
}

fn host_box(model: &Model, host: &str, rect: Rect) -> Markup {
    html! {
        rect class="host" x=(rect.x) y=(rect.y) width=(rect.width) height=(rect.height) rx="8" {}
        text class="name" x=(rect.x + GUTTER) y=(rect.y + LINE) { (host) }
        @for (mode, spans) in model.modes.get(host).into_iter().flatten() {
            (during(spans, "mode", &html! {
                text class="quiet" x=(rect.right() - GUTTER) y=(rect.y + LINE) text-anchor="end" { (mode) }
            }))
        }
    }
}

fn bus_line(bus: &Bus) -> Markup {
    let class = if bus.outside { "bus outside" } else { "bus" };
    html! {
        line class=(class) x1=(bus.from) y1=(bus.y) x2=(bus.to) y2=(bus.y) {}
        text class="net" x=(bus.from + 2) y=(bus.y - 4) { (bus.name) }
    }
}

fn machine_box(key: &BoxKey, rect: Rect, sort: Sort, spans: &Spans) -> Markup {
    let class = match sort {
        Sort::Namespace => "box namespace",
        Sort::Machine => "box machine",
        Sort::Upstream => "box upstream",
    };
    during(
        spans,
        class,
        &html! {
            rect x=(rect.x) y=(rect.y) width=(rect.width) height=(rect.height) rx="4" {}
            text class="name" x=(rect.x + PADDING) y=(rect.y + LINE) { (key.1) }
        },
    )
}

fn device_line(layout: &Layout, key: &BoxKey, name: &str, device: &Device, spans: &Spans) -> Markup {
    let (Some(rect), Some(y)) = (layout.boxes.get(key), layout.devices.get(&(key.clone(), name.to_owned()))) else {
        return html! {};
    };
    let class = if device.down { "device down" } else { "device" };
    let indent = (device.name.chars().count() + 1) * 7;
    during(
        spans,
        class,
        &html! {
            (cable(layout, key, *rect, *y, device))
            text x=(rect.x + PADDING) y=(y + 4) { (device.name) }
            @for (number, address) in device.addresses.iter().enumerate() {
                text class="address" x=(rect.x + PADDING + indent) y=(y + 4 + number * LINE) { (address) }
            }
        },
    )
}

/// From a device to what it is plugged into: outward on the left, to tenant networks on the right.
fn cable(layout: &Layout, key: &BoxKey, rect: Rect, y: usize, device: &Device) -> Markup {
    if let Some(peer) = &device.peer {
        return peer_cable(layout, key, rect, peer);
    }
    let Some(into) = &device.into else { return html! {} };
    let Some(bus) = layout.buses.iter().find(|bus| bus.name == *into) else {
        return machine_cable(layout, key, rect, into);
    };
    let Some(host) = key.0.as_ref().and_then(|host| layout.hosts.get(host)) else {
        let x = rect.x + rect.width / 2;
        let from = if bus.y < rect.y { rect.y } else { rect.bottom() };
        return html! {
            path class="cable" d={ "M" (x) " " (from) "V" (bus.y) } {}
            circle class="plug" cx=(x) cy=(bus.y) r="3" {}
        };
    };
    // Cables of one host to different buses run beside each other.
    let lane = layout.buses.iter().filter(|other| other.outside == bus.outside).position(|other| other.name == *into);
    let lane = 6 + (lane.unwrap_or(0) % 3) * 5;
    let (edge, x) = if bus.outside { (rect.x, host.x + lane) } else { (rect.right(), host.right() - lane) };
    let class = if bus.outside { "cable outside" } else { "cable" };
    html! {
        path class=(class) d={ "M" (edge) " " (y) "H" (x) "V" (bus.y) } {}
        circle class="plug" cx=(x) cy=(bus.y) r="3" {}
    }
}

/// The link between two namespaces of a host, drawn by the upper one.
fn peer_cable(layout: &Layout, key: &BoxKey, rect: Rect, peer: &str) -> Markup {
    let other = (key.0.clone(), peer.to_owned());
    let Some(there) = layout.boxes.get(&other).filter(|there| there.y > rect.y) else { return html! {} };
    let x = rect.x + rect.width * 3 / 4;
    html! { path class="cable link" d={ "M" (x) " " (rect.bottom()) "V" (there.y) } {} }
}

fn machine_cable(layout: &Layout, key: &BoxKey, rect: Rect, into: &str) -> Markup {
    let found = layout.boxes.iter().find(|((_, name), _)| name == into && *name != key.1);
    let Some((_, there)) = found else { return html! {} };
    let middle = |rect: Rect| (rect.x + rect.width / 2, rect.y + rect.height / 2);
    let ((x1, y1), (x2, y2)) = (middle(rect), middle(*there));
    html! { path class="cable" d={ "M" (x1) " " (y1) "L" (x2) " " (y2) } {} }
}
