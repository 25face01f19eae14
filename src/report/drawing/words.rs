//! A drawing as text that other programs draw: Mermaid and DOT.

use std::collections::BTreeMap;

use super::model::{BoxKey, Model, Sort};
use crate::record::Scene;

/// For Markdown: GitHub and GitLab draw it in a `mermaid` block.
pub fn mermaid(scene: &Scene) -> String {
    let model = Model::new(&[(0, scene)]);
    let graph = Graph::new(&model);
    let mut text = "flowchart TB\n".to_owned();
    for segment in &model.segments {
        line!(text, "  {}([{}])", graph.id(segment), quoted(segment));
    }
    for (key, sort) in model.boxes_of(None) {
        line!(text, "  {}{}", graph.of(key), shape(sort, &label(&model, key, "<br/>")));
    }
    for host in &model.hosts {
        line!(text, "  subgraph {}[{}]", graph.id(&format!("host {host}")), quoted(&title(&model, host)));
        for (key, sort) in model.boxes_of(Some(host)) {
            line!(text, "    {}{}", graph.of(key), shape(sort, &label(&model, key, "<br/>")));
        }
        text.push_str("  end\n");
    }
    for network in model.networks.keys() {
        line!(text, "  {}([{}])", graph.id(network), quoted(network));
    }
    for (from, device, to) in &graph.edges {
        line!(text, "  {from} ---|{device}| {to}");
    }
    text
}

/// For Graphviz.
pub fn dot(scene: &Scene) -> String {
    let model = Model::new(&[(0, scene)]);
    let graph = Graph::new(&model);
    let mut text =
        "graph lab {\n  node [shape=box fontname=monospace fontsize=10];\n  edge [fontname=monospace fontsize=8];\n"
            .to_owned();
    for bus in model.segments.iter().chain(model.networks.keys()) {
        line!(text, "  {} [shape=ellipse label={}];", graph.id(bus), quoted(bus));
    }
    for (key, _) in model.boxes_of(None) {
        line!(text, "  {} [label={}];", graph.of(key), quoted(&label(&model, key, "\\n")));
    }
    for host in &model.hosts {
        line!(text, "  subgraph cluster_{} {{", graph.id(&format!("host {host}")));
        line!(text, "    label={};", quoted(&title(&model, host)));
        for (key, _) in model.boxes_of(Some(host)) {
            line!(text, "    {} [label={}];", graph.of(key), quoted(&label(&model, key, "\\n")));
        }
        text.push_str("  }\n");
    }
    for (from, device, to) in &graph.edges {
        line!(text, "  {from} -- {to} [label={}];", quoted(device));
    }
    text.push_str("}\n");
    text
}

/// Every thing with a number, which is an identifier in both languages whatever its name has in it.
struct Graph {
    ids: BTreeMap<String, String>,
    edges: Vec<(String, String, String)>,
}

impl Graph {
    fn new(model: &Model) -> Self {
        let hosts = model.hosts.iter().map(|host| format!("host {host}"));
        let buses = model.segments.iter().chain(model.networks.keys()).cloned();
        let names = hosts.chain(buses).chain(model.boxes.keys().map(whole));
        let ids = names.enumerate().map(|(number, name)| (name, format!("n{number}"))).collect();
        let mut graph = Self { ids, edges: Vec::new() };
        for ((key, name), variants) in &model.devices {
            let Some((device, _)) = variants.first() else { continue };
            let peer = device.peer.as_ref().map(|peer| whole(&(key.0.clone(), peer.clone())));
            // A link between two namespaces has a device at each end, and is drawn once.
            let peer = peer.filter(|peer| *peer > whole(key));
            let to = device
                .into
                .as_ref()
                .and_then(|into| graph.ids.get(into).or_else(|| graph.ids.get(&format!("/{into}"))));
            let to = to.or_else(|| peer.as_ref().and_then(|peer| graph.ids.get(peer)));
            if let (Some(from), Some(to)) = (graph.ids.get(&whole(key)), to) {
                let edge = (from.clone(), name.clone(), to.clone());
                graph.edges.push(edge);
            }
        }
        graph
    }

    fn id(&self, name: &str) -> &str {
        self.ids.get(name).map_or("", String::as_str)
    }

    fn of(&self, key: &BoxKey) -> &str {
        self.id(&whole(key))
    }
}

fn whole((host, name): &BoxKey) -> String {
    format!("{}/{name}", host.as_deref().unwrap_or_default())
}

fn title(model: &Model, host: &str) -> String {
    let mode = model.modes.get(host).and_then(|variants| variants.first()).map(|(mode, _)| mode.as_str());
    format!("{host} ({})", mode.unwrap_or_default())
}

fn label(model: &Model, key: &BoxKey, newline: &str) -> String {
    let mut lines = vec![key.1.clone()];
    for (name, variants) in model.devices_of(key) {
        let addresses = variants.first().map(|(device, _)| device.addresses.join(" ")).unwrap_or_default();
        lines.push(format!("{name} {addresses}").trim_end().to_owned());
    }
    lines.join(newline)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "'"))
}

fn shape(sort: Sort, label: &str) -> String {
    match sort {
        Sort::Namespace => format!("[{}]", quoted(label)),
        Sort::Machine => format!("({})", quoted(label)),
        Sort::Upstream => format!("{{{{{}}}}}", quoted(label)),
    }
}
