//! Sysctls that differ from those of a namespace in which nobody has done anything.
//!
//! What belongs to a device comes with the dump of devices, and only what belongs to the namespace is read from files: a
//! file costs as much as a device's whole configuration.

use std::collections::BTreeMap;

use netlink_packet_route::link::{Inet6DevConf, InetDevConf};
use netlink_packet_route::neighbour_table::{NeighbourTableAttribute, NeighbourTableMessage, NeighbourTableParameter};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::link::Device;
use super::{ObserveFailure, reading};
use crate::kernel::netns::{LOOPBACK_INDEX, Netns};
use crate::kernel::request::dump;
use crate::namespace::sysctl::{IPV4_CONF, IPV6_CONF, WATCHED};

/// Milliseconds of one unit of `proxy_delay` (`USER_HZ` is 100 everywhere).
const USER_TICK_MS: u64 = 10;
/// The keys of the scopes that are no device, and of those that are.
const SCOPES: [&str; 2] = ["all", "default"];
const DEFAULT: &str = "default";

/// The watched sysctls of a pristine namespace.
#[derive(Debug, Clone)]
pub struct Baseline {
    /// Those of the namespace: key and value.
    namespace: BTreeMap<String, String>,
    /// Those of a new device, in the order of [`IPV4_CONF`] and [`IPV6_CONF`].
    ipv4: Vec<i32>,
    ipv6: Vec<i32>,
    /// In units of [`USER_TICK_MS`].
    proxy_delay: Option<u64>,
}

impl Baseline {
    /// Reads it in a namespace that was just made. One reading serves the whole lab.
    ///
    /// # Errors
    /// [`ObserveFailure`].
    pub async fn read(netns: &Netns) -> Result<Self, ObserveFailure> {
        let mut namespace = BTreeMap::new();
        let scoped = SCOPES.iter().flat_map(|scope| {
            let v4 = IPV4_CONF.iter().map(move |name| ipv4_key(scope, name));
            v4.chain(IPV6_CONF.iter().map(move |name| ipv6_key(scope, name)))
        });
        for key in WATCHED.iter().map(|key| (*key).to_owned()).chain(scoped) {
            let value = netns.sysctl_get(&key).map_err(reading("sysctls"))?;
            namespace.insert(key, value);
        }
        let of_default = |key: String| namespace.get(&key).and_then(|value| value.parse().ok()).unwrap_or_default();
        let ipv4 = IPV4_CONF.iter().map(|name| of_default(ipv4_key(DEFAULT, name))).collect();
        let ipv6 = IPV6_CONF.iter().map(|name| of_default(ipv6_key(DEFAULT, name))).collect();
        let proxy_delay = proxy_delays(netns).await?.get(&LOOPBACK_INDEX).copied();
        Ok(Self { namespace, ipv4, ipv6, proxy_delay })
    }
}

fn ipv4_key(scope: &str, name: &str) -> String {
    format!("net.ipv4.conf.{scope}.{name}")
}

fn ipv6_key(scope: &str, name: &str) -> String {
    format!("net.ipv6.conf.{scope}.{name}")
}

/// The watched sysctls of `netns` that differ from `baseline`.
pub(in crate::kernel) async fn changed(
    netns: &Netns,
    baseline: &Baseline,
    devices: &[Device],
) -> Result<BTreeMap<String, String>, ObserveFailure> {
    let values = netns.sysctls_get(baseline.namespace.keys().map(String::as_str)).map_err(reading("sysctls"))?;
    let mut changed = BTreeMap::new();
    for ((key, usual), value) in baseline.namespace.iter().zip(values) {
        if value != *usual {
            changed.insert(key.clone(), value);
        }
    }
    let delays = proxy_delays(netns).await?;
    for device in devices {
        let scope = device.name.as_str();
        if let Some(conf) = &device.ipv4 {
            for (name, usual) in IPV4_CONF.iter().zip(&baseline.ipv4) {
                note(&mut changed, ipv4_value(conf, name), *usual, || ipv4_key(scope, name));
            }
        }
        if let Some(conf) = &device.ipv6 {
            for (name, usual) in IPV6_CONF.iter().zip(&baseline.ipv6) {
                note(&mut changed, ipv6_value(conf, name), *usual, || ipv6_key(scope, name));
            }
        }
        if let Some(delay) = delays.get(&device.index)
            && Some(*delay) != baseline.proxy_delay
        {
            changed.insert(format!("net.ipv4.neigh.{scope}.proxy_delay"), delay.to_string());
        }
    }
    Ok(changed)
}

fn note(changed: &mut BTreeMap<String, String>, value: Option<i32>, usual: i32, key: impl Fn() -> String) {
    if let Some(value) = value.filter(|value| *value != usual) {
        changed.insert(key(), value.to_string());
    }
}

/// The field that holds `net.ipv4.conf.DEVICE.NAME`.
fn ipv4_value(conf: &InetDevConf, name: &str) -> Option<i32> {
    match name {
        "forwarding" => Some(conf.forwarding),
        "proxy_arp" => Some(conf.proxy_arp),
        "arp_ignore" => Some(conf.arp_ignore),
        "arp_announce" => Some(conf.arp_announce),
        "send_redirects" => Some(conf.send_redirects),
        "rp_filter" => Some(conf.rp_filter),
        "promote_secondaries" => Some(conf.promote_secondaries),
        "accept_redirects" => Some(conf.accept_redirects),
        "arp_accept" => Some(conf.arp_accept),
        _ => None,
    }
}

/// The field that holds `net.ipv6.conf.DEVICE.NAME`.
fn ipv6_value(conf: &Inet6DevConf, name: &str) -> Option<i32> {
    match name {
        "forwarding" => Some(conf.forwarding),
        "accept_ra" => Some(conf.accept_ra),
        "disable_ipv6" => Some(conf.disable_ipv6),
        "autoconf" => Some(conf.autoconf),
        "addr_gen_mode" => Some(conf.addr_gen_mode),
        "proxy_ndp" => Some(conf.proxy_ndp),
        _ => None,
    }
}

/// `net.ipv4.neigh.DEVICE.proxy_delay` by device index, in the units of that sysctl.
async fn proxy_delays(netns: &Netns) -> Result<BTreeMap<u32, u64>, ObserveFailure> {
    let mut request = NeighbourTableMessage::default();
    request.header.family = AddressFamily::Inet;
    let answers = dump(netns.handle(), RouteNetlinkMessage::GetNeighbourTable(request)).await;
    let mut delays = BTreeMap::new();
    for answer in answers.map_err(reading("neighbour tables"))? {
        if let RouteNetlinkMessage::NewNeighbourTable(table) = answer {
            for attribute in &table.attributes {
                if let NeighbourTableAttribute::Parms(parameters) = attribute {
                    delays.extend(proxy_delay(parameters));
                }
            }
        }
    }
    Ok(delays)
}

fn proxy_delay(parameters: &[NeighbourTableParameter]) -> Option<(u32, u64)> {
    let mut index = None;
    let mut delay = None;
    for parameter in parameters {
        if let NeighbourTableParameter::Ifindex(value) = parameter {
            index = Some(*value);
        } else if let NeighbourTableParameter::ProxyDelay(milliseconds) = parameter {
            delay = Some(milliseconds / USER_TICK_MS);
        }
    }
    Some((index?, delay?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_watched_key_of_a_device_has_a_field() {
        for name in IPV4_CONF {
            assert!(ipv4_value(&InetDevConf::default(), name).is_some(), "{name}");
        }
        for name in IPV6_CONF {
            assert!(ipv6_value(&Inet6DevConf::default(), name).is_some(), "{name}");
        }
    }
}
