//! Recordings as values: what one agent is told, step by step.
//!
//! In: JSON, either a whole recording or router dicts alone. Out: a [`Recording`], or every [`Mistake`] with its place.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{check, conf, forwarding};
use crate::api::AgentMode;
use crate::deviation::Deviations;
use crate::name::{HostName, Id};
use crate::net::{Family, IpNet, Mac};
use crate::router::{AgentOptions, FixedIp, NeighbourPort, PortConfig, RouterConfig};

/// What one agent is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The agent's host name.
    pub host: HostName,
    /// Its mode.
    pub mode: AgentMode,
    /// Its options.
    pub options: AgentOptions,
    /// What the server answers when asked for the ports of a subnet.
    pub ports_by_subnet: BTreeMap<Id, Vec<NeighbourPort>>,
    /// What it answers when asked for the host's own port on an external network.
    pub agent_gateway_ports: BTreeMap<Id, PortConfig>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is called.
    pub title: String,
    /// What it is.
    pub kind: StepKind,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepKind {
    /// The agent is told of a router, for the first time or again.
    Router(Box<RouterConfig>),
    /// A router goes.
    Delete(Id),
    /// The agent is told that an address on a subnet has a MAC, or that it has none any more.
    Arp {
        /// The router that the notification is for.
        router: Id,
        /// The subnet.
        subnet: Id,
        /// The address.
        address: IpAddr,
        /// Its MAC; none if it is gone.
        mac: Option<Mac>,
    },
    /// Somebody runs these programs on the host.
    Perturb(Vec<Vec<String>>),
    /// Nothing that changes what should stand: an agent that begins anew, a notification without consequence, a look.
    Nothing,
}

/// What a file of router dicts alone does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsaid {
    /// The agent's host; without it, the one that has the first router's gateway.
    pub host: Option<HostName>,
    /// The agent's mode; without it, `dvr_snat`.
    pub mode: Option<AgentMode>,
}

/// Something wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where: `steps[2].router._interfaces[0].mac_address`.
    pub path: String,
    /// What.
    pub text: String,
    /// It is no mistake, but this program does not build it.
    pub unsupported: bool,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.text) } else { write!(f, "{}: {}", self.path, self.text) }
    }
}

/// Reads a file.
///
/// # Errors
/// Every mistake that could be found, in the order of their places in the file.
pub fn parse(text: &str, unsaid: &Unsaid) -> Result<Recording, Vec<Mistake>> {
    let value: Value = serde_json::from_str(text).map_err(|error| vec![mistake("", format!("no JSON: {error}"))])?;
    let mut reader = Reader { mistakes: Vec::new() };
    let recording = match value.as_object().filter(|object| object.contains_key("steps")) {
        Some(object) => reader.recording(object),
        None => reader.dicts(&value, unsaid),
    };
    match recording {
        Some(recording) if reader.mistakes.is_empty() => Ok(recording),
        Some(_) | None => Err(reader.mistakes),
    }
}

pub(super) fn mistake(path: impl Into<String>, text: impl Into<String>) -> Mistake {
    Mistake { path: path.into(), text: text.into(), unsupported: false }
}

#[derive(Deserialize)]
struct RawPort {
    #[serde(default)]
    device_owner: String,
    mac_address: Mac,
    #[serde(default)]
    fixed_ips: Vec<FixedIp>,
    #[serde(default)]
    allowed_address_pairs: Vec<RawPair>,
}

#[derive(Deserialize)]
struct RawPair {
    ip_address: String,
    #[serde(default)]
    mac_address: Option<Mac>,
}

#[derive(Deserialize)]
struct RawArp {
    router_id: Id,
    arp_table: RawArpTable,
}

#[derive(Deserialize)]
struct RawArpTable {
    subnet_id: Id,
    ip_address: IpAddr,
    #[serde(default)]
    mac_address: Option<Mac>,
}

/// Collects mistakes on the way.
struct Reader {
    mistakes: Vec<Mistake>,
}

impl Reader {
    fn wrong<T>(&mut self, path: impl Into<String>, text: impl Into<String>) -> Option<T> {
        self.mistakes.push(mistake(path, text));
        None
    }

    /// A typed value, or a mistake that names the very key.
    fn read<T: DeserializeOwned>(&mut self, path: &str, value: &Value) -> Option<T> {
        match serde_path_to_error::deserialize::<_, T>(value) {
            Ok(read) => Some(read),
            Err(error) => {
                let inner = error.path().to_string();
                let place = if inner == "." { path.to_owned() } else { join(path, &inner) };
                let text = error.into_inner().to_string();
                let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
                match missing {
                    Some(key) => self.wrong(join(&place, key), "missing"),
                    None => self.wrong(place, text),
                }
            }
        }
    }

    fn key<T: DeserializeOwned>(&mut self, path: &str, object: &Map<String, Value>, key: &str) -> Option<T> {
        match object.get(key) {
            Some(value) => self.read(&join(path, key), value),
            None => self.wrong(join(path, key), "missing"),
        }
    }

    fn recording(&mut self, object: &Map<String, Value>) -> Option<Recording> {
        let host = self.key("", object, "host");
        let mode = self.key("", object, "agent_mode");
        let options = self.options(object);
        let neighbours = self.ports_by_subnet(object);
        let gateways = self.agent_gateway_ports(object);
        let steps = match object.get("steps").and_then(Value::as_array) {
            Some(steps) => self.steps(steps, mode),
            None => return self.wrong("steps", "not a list"),
        };
        Some(Recording {
            host: host?,
            mode: mode?,
            options,
            ports_by_subnet: neighbours,
            agent_gateway_ports: gateways,
            steps,
        })
    }

    /// Router dicts alone: a list of them, or one.
    fn dicts(&mut self, value: &Value, unsaid: &Unsaid) -> Option<Recording> {
        let (list, paths) = if let Some(list) = value.as_array() {
            (list.iter().collect::<Vec<_>>(), true)
        } else if value.get("id").is_some() {
            (vec![value], false)
        } else {
            return self.wrong("", "neither a recording (an object with `steps`) nor router dicts (a list, or one)");
        };
        let mode = unsaid.mode.unwrap_or(AgentMode::DvrSnat);
        let mut steps = Vec::new();
        for (n, value) in list.iter().enumerate() {
            let path = if paths { format!("[{n}]") } else { String::new() };
            if let Some(router) = self.router(&path, value, Some(mode)) {
                steps.push(Step { title: format!("router {}", router.id), kind: StepKind::Router(Box::new(router)) });
            }
        }
        let gateway_host = steps.iter().find_map(|step| match &step.kind {
            StepKind::Router(router) => router.gw_port_host.clone(),
            StepKind::Delete(_) | StepKind::Arp { .. } | StepKind::Perturb(_) | StepKind::Nothing => None,
        });
        let host = unsaid.host.clone().or(gateway_host).or_else(|| HostName::new("host").ok())?;
        Some(Recording {
            host,
            mode,
            options: bare(),
            ports_by_subnet: BTreeMap::new(),
            agent_gateway_ports: BTreeMap::new(),
            steps,
        })
    }

    /// The options that decide what is built; others are those of other programs.
    fn options(&mut self, object: &Map<String, Value>) -> AgentOptions {
        // In the recordings the metadata proxy is off unless said otherwise.
        let mut options = AgentOptions { metadata: false, ..bare() };
        let Some(conf) = object.get("conf").filter(|conf| !conf.is_null()) else { return options };
        let Some(conf) = conf.as_object() else {
            self.wrong::<()>("conf", "not an object");
            return options;
        };
        for (key, value) in conf {
            let path = join("conf", key);
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if let Err(wrong) = conf::set(&mut options, key.rsplit('.').next().unwrap_or(key), &text) {
                self.mistakes.push(mistake(path, wrong));
            }
        }
        options
    }

    fn ports_by_subnet(&mut self, object: &Map<String, Value>) -> BTreeMap<Id, Vec<NeighbourPort>> {
        let mut all = BTreeMap::new();
        for (subnet, path, list) in self.by_id(object, "ports_by_subnet") {
            let ports: Vec<RawPort> = self.read(&path, list).unwrap_or_default();
            all.insert(subnet.clone(), ports.into_iter().flat_map(|port| neighbours(&subnet, port)).collect());
        }
        all
    }

    fn agent_gateway_ports(&mut self, object: &Map<String, Value>) -> BTreeMap<Id, PortConfig> {
        let mut all = BTreeMap::new();
        for (network, path, value) in self.by_id(object, "agent_gateway_ports") {
            if let Some(port) = self.read::<PortConfig>(&path, value) {
                self.mistakes.extend(check::port(&path, &port));
                if port.network_id != network {
                    self.wrong::<()>(
                        join(&path, "network_id"),
                        format!("is {}, the key says {network}", port.network_id),
                    );
                }
                all.insert(network, port);
            }
        }
        all
    }

    /// The entries of an object whose keys are ids; an object that is absent or null has none.
    fn by_id<'a>(&mut self, object: &'a Map<String, Value>, key: &str) -> Vec<(Id, String, &'a Value)> {
        let entries = match object.get(key) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Object(entries)) => entries,
            Some(_) => {
                self.wrong::<()>(key, "not an object");
                return Vec::new();
            }
        };
        let mut all = Vec::new();
        for (name, value) in entries {
            let path = join(key, name);
            match Id::new(name.as_str()) {
                Ok(id) => all.push((id, path, value)),
                Err(error) => self.mistakes.push(mistake(path, error.to_string())),
            }
        }
        all
    }

    fn steps(&mut self, steps: &[Value], mode: Option<AgentMode>) -> Vec<Step> {
        let mut read = Vec::new();
        for (n, value) in steps.iter().enumerate() {
            let path = format!("steps[{n}]");
            let Some(object) = value.as_object() else {
                self.wrong::<()>(path, "not an object");
                continue;
            };
            let Some(op) = self.key::<String>(&path, object, "op") else { continue };
            let title = object.get("title").and_then(Value::as_str).unwrap_or(&op).to_owned();
            read.extend(self.kind(&path, object, &op, mode).map(|kind| Step { title, kind }));
        }
        read
    }

    fn kind(&mut self, path: &str, object: &Map<String, Value>, op: &str, mode: Option<AgentMode>) -> Option<StepKind> {
        match op {
            "add" | "update" => match object.get("router") {
                Some(value) => {
                    let router = self.router(&join(path, "router"), value, mode)?;
                    Some(StepKind::Router(Box::new(router)))
                }
                None => self.wrong(join(path, "router"), "missing"),
            },
            "delete" => self.key(path, object, "router_id").map(StepKind::Delete),
            "add_arp_entry" | "del_arp_entry" => {
                let RawArp { router_id, arp_table } = self.key(path, object, "payload")?;
                if op == "add_arp_entry" && arp_table.mac_address.is_none() {
                    return self.wrong(join(path, "payload.arp_table.mac_address"), "missing");
                }
                let RawArpTable { subnet_id: subnet, ip_address: address, mac_address } = arp_table;
                let mac = mac_address.filter(|_| op == "add_arp_entry");
                Some(StepKind::Arp { router: router_id, subnet, address, mac })
            }
            "perturb" => self.key(path, object, "commands").map(StepKind::Perturb),
            "fipnamespace_delete_on_ext_net" => {
                self.key::<Id>(path, object, "ext_net_id").map(|_network| StepKind::Nothing)
            }
            "restart_agent" | "observe" => Some(StepKind::Nothing),
            other => self.wrong(join(path, "op"), format!("`{other}` is no operation")),
        }
    }

    fn router(&mut self, path: &str, value: &Value, mode: Option<AgentMode>) -> Option<RouterConfig> {
        let mut router: RouterConfig = self.read(path, value)?;
        match forwarding::read(path, value) {
            Ok(forwardings) => router.port_forwardings.extend(forwardings),
            Err(mistakes) => self.mistakes.extend(mistakes),
        }
        self.mistakes.extend(check::router(path, &router, value, mode));
        Some(router)
    }
}

/// The options of the real agent.
fn bare() -> AgentOptions {
    AgentOptions { deviations: Deviations::NONE, ..AgentOptions::default() }
}

/// A key of an object, or a place further in.
pub(super) fn join(path: &str, key: &str) -> String {
    let apart = if path.is_empty() || key.starts_with('[') { "" } else { "." };
    format!("{path}{apart}{key}")
}

/// A port on a subnet with its addresses there, and each allowed address pair of one address and of the subnet's family,
/// inside the subnet or not. Reference: `neutron-local-side`, 1.5.
fn neighbours(subnet: &Id, port: RawPort) -> Vec<NeighbourPort> {
    let family =
        port.fixed_ips.iter().find(|fixed| &fixed.subnet_id == subnet).map(|fixed| Family::of(fixed.ip_address));
    let mut all = Vec::new();
    for pair in &port.allowed_address_pairs {
        let address = pair.ip_address.parse::<IpAddr>().ok().or_else(|| {
            let net: IpNet = pair.ip_address.parse().ok()?;
            (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
        });
        if let Some(address) = address.filter(|address| family == Some(Family::of(*address))) {
            let fixed = FixedIp { subnet_id: subnet.clone(), ip_address: address, prefixlen: None };
            all.push(NeighbourPort {
                device_owner: port.device_owner.clone(),
                mac: pair.mac_address.unwrap_or(port.mac_address),
                fixed_ips: vec![fixed],
            });
        }
    }
    let own = NeighbourPort { device_owner: port.device_owner, mac: port.mac_address, fixed_ips: port.fixed_ips };
    all.insert(0, own);
    all
}
