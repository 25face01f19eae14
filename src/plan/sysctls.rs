//! Sysctls: what is written, knowing what else the kernel changes with it.

use std::collections::{BTreeMap, BTreeSet};

use super::op::Action;
use super::order::{Phase, Steps};
use crate::name::{DeviceName, NamespaceName};
use crate::namespace::{NamespaceState, sysctl};

/// Whether IPv4 is forwarded at all.
const FORWARD: &str = "net.ipv4.ip_forward";
/// The switches that reach every device, written first.
const SWITCHES: [&str; 2] = [FORWARD, "net.ipv6.conf.all.forwarding"];

/// Stops a namespace from forwarding IPv4, until its rules are in; [`set`] lets it again, told that it is `halted`.
pub(super) fn halt(name: &NamespaceName, observed: &NamespaceState, steps: &mut Steps) {
    if sysctl::read(&observed.sysctls, FORWARD) != Some("0") {
        steps.push(Phase::Refuse, name, Action::SysctlSet(FORWARD.to_owned(), "0".to_owned()));
    }
}

/// Brings the sysctls of a namespace from those of `observed`, less the devices that do not stay, to those of `desired`.
pub(super) fn set(
    name: &NamespaceName,
    halted: bool,
    observed: &NamespaceState,
    desired: &NamespaceState,
    stays: impl Fn(&DeviceName) -> bool,
    steps: &mut Steps,
) {
    let staying: BTreeSet<&str> = observed.links.keys().filter(|link| stays(link)).map(DeviceName::as_str).collect();
    let of_device =
        |key: &str| sysctl::device_of(key).is_some_and(|device| !["all", "default", "lo"].contains(&device));
    let mut now: BTreeMap<String, String> = observed.sysctls.clone();
    now.retain(|key, _| !of_device(key) || sysctl::device_of(key).is_some_and(|device| staying.contains(device)));

    if halted {
        sysctl::write(&mut now, &staying, FORWARD, "0");
    }
    let mut write = |now: &mut BTreeMap<String, String>, phase, devices: &BTreeSet<&str>, key: &str| {
        if let Some(value) = sysctl::read(&desired.sysctls, key).filter(|value| sysctl::read(now, key) != Some(value)) {
            steps.push(phase, name, Action::SysctlSet(key.to_owned(), value.to_owned()));
            sysctl::write(now, devices, key, value);
        }
    };
    for key in SWITCHES {
        write(&mut now, Phase::Configure, &staying, key);
    }
    for key in keys(&now, desired).iter().filter(|key| !of_device(key)) {
        write(&mut now, Phase::Configure, &staying, key);
    }
    let devices: BTreeSet<&str> = desired.links.keys().map(DeviceName::as_str).collect();
    for device in devices.difference(&staying) {
        sysctl::inherit(&mut now, device);
    }
    for key in keys(&now, desired).iter().filter(|key| of_device(key)) {
        write(&mut now, Phase::Adjust, &devices, key);
    }
}

fn keys(now: &BTreeMap<String, String>, desired: &NamespaceState) -> BTreeSet<String> {
    now.keys().chain(desired.sysctls.keys()).cloned().collect()
}
