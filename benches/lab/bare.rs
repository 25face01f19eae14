//! The same lab by bare requests: what the kernel takes for it, and nothing else.
//!
//! In: a lab that stands; its namespaces are read, device by device. Out: the same objects in new namespaces, one
//! acknowledged request each. Left out are the netdev rules of hosts and machines, and all waiting for carriers.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;

use dvrlab::flow::Place;
use dvrlab::kernel::extack::NetlinkError;
use dvrlab::kernel::links::{self, End, Vxlan};
use dvrlab::kernel::nft::{self, Tables};
use dvrlab::kernel::request::{acknowledged, dump};
use dvrlab::kernel::{Netns, apply};
use dvrlab::name::{HostName, NamespaceName};
use dvrlab::namespace::{HostState, NamespaceState, Ruleset};
use dvrlab::net::{IpNet, Mac, TABLE_LOCAL};
use dvrlab::plan::{self, Action, RuleChanges};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage, RouteNextHopFlags, RouteProtocol};
use netlink_packet_route::rule::{RuleAttribute, RuleMessage};
use tokio::runtime::{Builder, Runtime};

use crate::shell;
use crate::world::Standing;

/// A device and the number of its namespace.
type Numbered<'a> = (usize, &'a Device);

/// The bridge that joins the hosts, in a namespace that a lab does not show. Labs count devices from 10.
const UNDERLAY: u32 = 9;
/// Its MTU.
const UNDERLAY_MTU: u32 = 1600;

/// What a device is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// One end of a pair; the index of the other.
    Veth(u32),
    /// A bridge.
    Bridge,
    /// A tunnel: VNI, own end, the device below.
    Vxlan(u32, Ipv4Addr, u32),
}

/// A device.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    /// Its name.
    pub(crate) name: String,
    /// Unique among all namespaces.
    pub(crate) index: u32,
    /// Its MAC address.
    pub(crate) mac: Mac,
    /// In bytes.
    pub(crate) mtu: u32,
    /// Administratively up.
    pub(crate) up: bool,
    /// What it is.
    pub(crate) kind: Kind,
    /// The bridge whose port it is, or 0.
    pub(crate) bridge: u32,
}

impl Device {
    fn end(&self) -> End<'_> {
        End { name: &self.name, index: self.index, mac: self.mac, mtu: self.mtu }
    }
}

/// A forwarding entry of a tunnel: to which end a MAC's frames go; or, without an end, that its port has the MAC.
pub(crate) type Forwarding = (u32, Mac, Option<Ipv4Addr>);

/// What a namespace holds.
#[derive(Default)]
pub(crate) struct Content {
    /// Without `lo`.
    pub(crate) devices: Vec<Device>,
    /// With their device.
    pub(crate) addresses: Vec<(u32, IpNet)>,
    /// Those of bridges.
    pub(crate) forwarding: Vec<Forwarding>,
    /// As an observation prints them, for a shell. Empty for what is no router.
    pub(crate) state: NamespaceState,
    /// What a shell would set its rules from.
    pub(crate) saved: shell::Saved,
    routes: Vec<RouteMessage>,
    rules: Vec<RuleMessage>,
    neighbours: Vec<NeighbourMessage>,
    tables: Vec<RuleChanges>,
}

/// What a lab is made of.
pub(crate) struct Objects {
    /// By namespace.
    pub(crate) contents: Vec<Content>,
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |what: fn(&Content) -> usize| self.contents.iter().map(what).sum::<usize>();
        write!(
            f,
            "lab: {} namespaces, {} devices, {} addresses, {} routes, {} rules, {} neighbours, {} forwarding entries, {} iptables changes",
            self.contents.len(),
            count(|content| content.devices.len()),
            count(|content| content.addresses.len()),
            count(|content| content.routes.len()),
            count(|content| content.rules.len()),
            count(|content| content.neighbours.len()),
            count(|content| content.forwarding.len()),
            count(|content| content.tables.iter().map(|changes| changes.changes.len()).sum()),
        )
    }
}

impl Objects {
    /// Reads a lab.
    pub(crate) fn of(standing: &Standing) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be had");
        let observed = standing.observe();
        let mut contents: Vec<Content> = Vec::new();
        for (place, netns) in standing.namespaces() {
            let state = place.and_then(|place| state(&observed, &place));
            let file = netns.as_fd().try_clone_to_owned().expect("a descriptor can be had");
            let netns = Netns::adopt(&File::from(file), runtime.handle()).expect("a namespace can be entered");
            let mut content = runtime.block_on(read(&netns)).expect("a namespace can be read");
            if let Some((name, state)) = state {
                content.tables = tables(&name, &state);
                content.state = state;
            }
            content.saved = shell::save(&netns);
            contents.push(content);
        }
        contents.push(underlay(&contents));
        Self { contents }
    }

    /// Makes them anew.
    pub(crate) fn build(&self) -> Built {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be had");
        let new = |_: &Content| Netns::create(runtime.handle()).expect("a namespace can be made");
        let namespaces: Vec<Netns> = self.contents.iter().map(new).collect();
        runtime.block_on(self.fill(&namespaces)).expect("the kernel takes again what it has shown");
        Built { _namespaces: namespaces, _runtime: runtime }
    }

    async fn fill(&self, namespaces: &[Netns]) -> Result<(), NetlinkError> {
        self.bridges(namespaces).await?;
        self.pairs(namespaces).await?;
        let all = || self.contents.iter().zip(namespaces);
        for (content, netns) in all() {
            for (index, net) in &content.addresses {
                apply::add_address(netns, *index, net).await?;
            }
        }
        for (content, netns) in all() {
            tunnels(content, netns).await?;
            router(content, netns).await?;
        }
        Ok(())
    }

    async fn bridges(&self, namespaces: &[Netns]) -> Result<(), NetlinkError> {
        for (content, netns) in self.contents.iter().zip(namespaces) {
            for device in content.devices.iter().filter(|device| matches!(device.kind, Kind::Bridge)) {
                links::bridge(netns.handle(), device.end()).await?;
            }
        }
        Ok(())
    }

    /// Each pair once, born up at its end outside bridges.
    async fn pairs(&self, namespaces: &[Netns]) -> Result<(), NetlinkError> {
        for (near, far) in self.cables() {
            let (Some(here), Some(there)) = (namespaces.get(near.0), namespaces.get(far.0)) else { continue };
            links::veth(here, near.1.end(), near.1.up, there, far.1.end()).await?;
            if far.1.bridge != 0 {
                links::plug(there, far.1.index, far.1.bridge, dvrlab::kernel::NO_GROUP).await?;
            } else if far.1.up {
                links::set_up(there, far.1.index, true).await?;
            }
        }
        Ok(())
    }

    /// Both ends of each pair with the numbers of their namespaces; an end at a bridge comes second.
    pub(crate) fn cables(&self) -> Vec<(Numbered<'_>, Numbered<'_>)> {
        let numbered = self.contents.iter().enumerate();
        let devices =
            numbered.flat_map(|(number, content)| content.devices.iter().map(move |one| (one.index, (number, one))));
        let devices: BTreeMap<u32, (usize, &Device)> = devices.collect();
        let cables = devices.values().filter_map(|near| {
            let Kind::Veth(peer) = near.1.kind else { return None };
            let far = devices.get(&peer)?;
            let first = (near.1.bridge != 0, near.1.index) < (far.1.bridge != 0, far.1.index);
            first.then_some((*near, *far))
        });
        cables.collect()
    }
}

/// Namespaces that stand until it is dropped.
pub(crate) struct Built {
    _namespaces: Vec<Netns>,
    _runtime: Runtime,
}

fn state(observed: &BTreeMap<HostName, HostState>, place: &Place) -> Option<(NamespaceName, NamespaceState)> {
    let states = observed.get(place.host.as_ref()?)?;
    let (name, state) = states.namespaces.iter().find(|(name, _)| name.to_string() == place.name)?;
    Some((name.clone(), state.clone()))
}

/// The transactions that make the iptables rules of a namespace.
fn tables(name: &NamespaceName, state: &NamespaceState) -> Vec<RuleChanges> {
    let one = |state| HostState { namespaces: BTreeMap::from([(name.clone(), state)]) };
    let empty = NamespaceState { rules_v4: Ruleset::default(), rules_v6: Ruleset::default(), ..state.clone() };
    let ops = plan::plan(&one(empty), &one(state.clone())).ops.into_iter();
    ops.filter_map(|op| if let Action::Rules(changes) = op.action { Some(changes) } else { None }).collect()
}

/// The far ends of the cables that lead nowhere else, on one bridge.
fn underlay(contents: &[Content]) -> Content {
    let known = |index| contents.iter().flat_map(|content| &content.devices).any(|device| device.index == index);
    let mut content = Content::default();
    let end = |name: String, index, kind, bridge| {
        let mac = Mac::derived("bench", &name);
        Device { name, index, mac, mtu: UNDERLAY_MTU, up: true, kind, bridge }
    };
    content.devices.push(end("underlay".to_owned(), UNDERLAY, Kind::Bridge, 0));
    for device in contents.iter().flat_map(|content| &content.devices) {
        if let Kind::Veth(peer) = device.kind
            && !known(peer)
        {
            content.devices.push(end(format!("t{peer}"), peer, Kind::Veth(device.index), UNDERLAY));
        }
    }
    content
}

/// Tunnels with their entries.
async fn tunnels(content: &Content, netns: &Netns) -> Result<(), NetlinkError> {
    for device in &content.devices {
        if let Kind::Vxlan(vni, local, underlay) = device.kind {
            let vxlan = Vxlan { end: device.end(), vni, local, underlay, bridge: device.bridge };
            links::vxlan(netns, &vxlan).await?;
        }
    }
    for (device, mac, remote) in &content.forwarding {
        match remote {
            Some(remote) => links::fdb_remote(netns.handle(), *device, *mac, *remote).await?,
            None => links::fdb_port(netns.handle(), *device, *mac).await?,
        }
    }
    Ok(())
}

/// Routes, rules, neighbours, sysctls and iptables rules.
async fn router(content: &Content, netns: &Netns) -> Result<(), NetlinkError> {
    let handle = netns.handle();
    for (key, value) in &content.state.sysctls {
        netns.sysctl_set(key, value).expect("a sysctl that was read can be set");
    }
    for route in &content.routes {
        acknowledged(handle, RouteNetlinkMessage::NewRoute(route.clone()), NLM_F_CREATE | NLM_F_REPLACE).await?;
    }
    for rule in &content.rules {
        acknowledged(handle, RouteNetlinkMessage::NewRule(rule.clone()), NLM_F_CREATE | NLM_F_EXCL).await?;
    }
    for neighbour in &content.neighbours {
        let message = RouteNetlinkMessage::NewNeighbour(neighbour.clone());
        acknowledged(handle, message, NLM_F_CREATE | NLM_F_REPLACE).await?;
    }
    for changes in &content.tables {
        nft::commit(netns.nf(), changes, &Tables::default()).expect("rules that were read can be set");
    }
    Ok(())
}

/// Everything that somebody has made in a namespace.
async fn read(netns: &Netns) -> Result<Content, NetlinkError> {
    let handle = netns.handle();
    let mut content = Content::default();
    let mut bridge = NeighbourMessage::default();
    bridge.header.family = AddressFamily::Bridge;
    let requests = [
        RouteNetlinkMessage::GetLink(links::without_statistics()),
        RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        RouteNetlinkMessage::GetRoute(RouteMessage::default()),
        RouteNetlinkMessage::GetRule(RuleMessage::default()),
        RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()),
        RouteNetlinkMessage::GetNeighbour(bridge),
    ];
    for request in requests {
        for answer in dump(handle, request).await? {
            if let RouteNetlinkMessage::NewLink(message) = answer {
                content.devices.extend(device(&message));
            } else if let RouteNetlinkMessage::NewAddress(message) = answer {
                content.addresses.extend(address(&message));
            } else if let RouteNetlinkMessage::NewRoute(message) = answer {
                content.routes.extend(route(message));
            } else if let RouteNetlinkMessage::NewRule(message) = answer {
                content.rules.extend(rule(message));
            } else if let RouteNetlinkMessage::NewNeighbour(message) = answer {
                if message.header.family == AddressFamily::Bridge {
                    content.forwarding.extend(forwarding(&message));
                } else {
                    content.neighbours.extend(neighbour(message));
                }
            }
        }
    }
    Ok(content)
}

fn device(message: &LinkMessage) -> Option<Device> {
    let (mut name, mut mac, mut mtu, mut link, mut bridge) = (None, None, 0, 0, 0);
    let (mut kind, mut vxlan) = (None, (0, Ipv4Addr::UNSPECIFIED));
    for attribute in &message.attributes {
        mac = mac.or_else(|| links::mac_of(attribute));
        if let LinkAttribute::IfName(text) = attribute {
            name = Some(text.clone());
        } else if let LinkAttribute::Mtu(bytes) = attribute {
            mtu = *bytes;
        } else if let LinkAttribute::Link(index) = attribute {
            link = *index;
        } else if let LinkAttribute::Controller(index) = attribute {
            bridge = *index;
        } else if let LinkAttribute::LinkInfo(parts) = attribute {
            for part in parts {
                if let LinkInfo::Kind(of) = part {
                    kind = Some(of.clone());
                } else if let LinkInfo::Data(InfoData::Vxlan(data)) = part {
                    for one in data {
                        tunnel(one, &mut vxlan);
                    }
                }
            }
        }
    }
    let kind = kind?;
    let kind = if kind == InfoKind::Bridge {
        Kind::Bridge
    } else if kind == InfoKind::Vxlan {
        Kind::Vxlan(vxlan.0, vxlan.1, link)
    } else {
        Kind::Veth(link)
    };
    let up = message.header.flags.contains(LinkFlags::Up);
    Some(Device { name: name?, index: message.header.index, mac: mac?, mtu, up, kind, bridge })
}

fn tunnel(part: &InfoVxlan, vxlan: &mut (u32, Ipv4Addr)) {
    if let InfoVxlan::Id(vni) = part {
        vxlan.0 = *vni;
    } else if let InfoVxlan::Local(local) = part {
        vxlan.1 = *local;
    }
}

/// Those that the kernel makes of a MAC come again by themselves, and those of `lo`.
fn address(message: &AddressMessage) -> Option<(u32, IpNet)> {
    let local =
        message.attributes.iter().find_map(|one| if let AddressAttribute::Local(ip) = one { Some(*ip) } else { None });
    let plain = message
        .attributes
        .iter()
        .find_map(|one| if let AddressAttribute::Address(ip) = one { Some(*ip) } else { None });
    let address = local.or(plain)?;
    let made = match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    };
    if made { None } else { Some((message.header.index, IpNet::new(address, message.header.prefix_len).ok()?)) }
}

fn route(mut message: RouteMessage) -> Option<RouteMessage> {
    let in_table = |one: &RouteAttribute| matches!(one, RouteAttribute::Table(table) if *table == TABLE_LOCAL);
    if message.header.protocol == RouteProtocol::Kernel || message.attributes.iter().any(in_table) {
        return None;
    }
    message.header.flags &= RouteFlags::from_bits_retain(RouteNextHopFlags::Onlink.bits().into());
    message.attributes.retain(|one| !matches!(one, RouteAttribute::CacheInfo(_) | RouteAttribute::Preference(_)));
    Some(message)
}

/// A namespace is born with those of the first and the last priorities.
fn rule(message: RuleMessage) -> Option<RuleMessage> {
    let priority =
        message.attributes.iter().find_map(|one| if let RuleAttribute::Priority(n) = one { Some(*n) } else { None });
    let inet = [AddressFamily::Inet, AddressFamily::Inet6].contains(&message.header.family);
    (inet && !matches!(priority, None | Some(0 | 32_766 | 32_767))).then_some(message)
}

fn neighbour(mut message: NeighbourMessage) -> Option<NeighbourMessage> {
    message
        .attributes
        .retain(|one| matches!(one, NeighbourAttribute::Destination(_) | NeighbourAttribute::LinkLayerAddress(_)));
    (message.header.state == NeighbourState::Permanent).then_some(message)
}

fn forwarding(message: &NeighbourMessage) -> Option<Forwarding> {
    let (mut mac, mut remote) = (None, None);
    for attribute in &message.attributes {
        if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
        } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) = attribute {
            remote = Some(*address);
        }
    }
    let own = message.header.flags.contains(NeighbourFlags::Own);
    let pinned = !own && message.header.state == NeighbourState::Noarp;
    ((own && remote.is_some()) || pinned).then_some((message.header.ifindex, mac?, remote.filter(|_| own)))
}
