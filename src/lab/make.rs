//! What all parts of the lab are made with: new namespaces, new indexes, cables to bridges, and one form of error.
//!
//! In: names and values. Out: devices. Never: a device moved after it was made.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::thread;

use tokio::runtime;

use crate::dataplane::DataplaneError;
use crate::flow::Place;
use crate::kernel::extack::NetlinkError;
use crate::kernel::links::{self, End};
use crate::kernel::netns::NetnsError;
use crate::kernel::sysctl::SysctlError;
use crate::kernel::{Netns, Plug};
use crate::name::{HostName, NamespaceName};
use crate::net::Mac;

/// Threads that make namespaces at once. More only wait for each other in the kernel.
const MAKERS: usize = 2;
/// First device index that is given out. `lo` has 1 everywhere.
const FIRST_INDEX: u32 = 10;

/// Sysctls of a namespace that only switches: no IPv6 of its own, and bridged packets pass no iptables.
pub(super) const SWITCH_SYSCTLS: [(&str, &str); 5] = [
    ("net.ipv6.conf.all.disable_ipv6", "1"),
    ("net.ipv6.conf.default.disable_ipv6", "1"),
    ("net.bridge.bridge-nf-call-iptables", "0"),
    ("net.bridge.bridge-nf-call-ip6tables", "0"),
    ("net.bridge.bridge-nf-call-arptables", "0"),
];
/// Sysctls of a namespace that answers with ICMP errors: each packet gets its own, however many there are.
pub(super) const ICMP_SYSCTLS: [(&str, &str); 3] =
    [("net.ipv4.icmp_ratelimit", "0"), ("net.ipv4.icmp_ratemask", "0"), ("net.ipv6.icmp.ratelimit", "0")];

/// Gives out device indexes, each once in a lab.
pub(super) struct Indexes(Cell<u32>);

impl Default for Indexes {
    fn default() -> Self {
        Self(Cell::new(FIRST_INDEX))
    }
}

impl Indexes {
    pub(super) fn next(&self) -> u32 {
        let index = self.0.get();
        self.0.set(index.saturating_add(1));
        index
    }
}

/// An error and its causes on one line.
pub(super) fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Says what was being done when something failed.
pub(super) fn failed<E: std::error::Error>(doing: impl Into<String>) -> impl FnOnce(E) -> DataplaneError {
    let doing = doing.into();
    move |error| DataplaneError::Topology { doing, reason: reason(&error) }
}

/// Namespaces that were made ahead of their use, on several threads: most of the time that one takes is the kernel's.
pub(super) struct Stock<'a> {
    runtime: &'a runtime::Handle,
    ready: RefCell<Vec<Netns>>,
}

impl<'a> Stock<'a> {
    /// Makes this many.
    pub(super) fn new(runtime: &'a runtime::Handle, count: usize) -> Result<Self, DataplaneError> {
        let some =
            |share: usize| (0..share).map(|_| Netns::create(runtime)).collect::<Result<Vec<Netns>, NetnsError>>();
        let share = count.div_ceil(MAKERS);
        let rest = count.saturating_sub(share);
        let made = thread::scope(|scope| {
            if rest == 0 {
                return some(share);
            }
            let other = scope.spawn(move || some(rest));
            let mut made = some(share)?;
            made.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            Ok::<_, NetnsError>(made)
        });
        let ready = RefCell::new(made.map_err(failed("make namespaces"))?);
        Ok(Self { runtime, ready })
    }

    /// One of them, with its sysctls set.
    pub(super) fn namespace(&self, name: &str, sysctls: &[(&str, &str)]) -> Result<Rc<Netns>, DataplaneError> {
        let netns = match self.ready.borrow_mut().pop() {
            Some(netns) => netns,
            None => Netns::create(self.runtime).map_err(failed(format!("make namespace {name}")))?,
        };
        set_sysctls(&netns, sysctls).map_err(failed(format!("set up namespace {name}")))?;
        Ok(Rc::new(netns))
    }
}

/// Writes sysctls. Those of the bridge filter are there only where it is loaded, and else not needed.
pub(super) fn set_sysctls(netns: &Netns, sysctls: &[(&str, &str)]) -> Result<(), SysctlError> {
    for (key, value) in sysctls {
        match netns.sysctl_set(key, value) {
            Err(SysctlError::Unknown { .. }) if key.starts_with("net.bridge.") => {}
            other => other?,
        }
    }
    Ok(())
}

/// Makes `near` in `netns`, up and with quick neighbour timing, and its other end a port of a bridge. Returns the index of
/// the other end, which is named after it: devices of one name may meet on a bridge.
pub(super) async fn plugged(indexes: &Indexes, netns: &Netns, near: End<'_>, plug: &Plug) -> Result<u32, NetlinkError> {
    let port = indexes.next();
    let name = format!("t{port}");
    let far = End { name: &name, index: port, mac: Mac::derived("port", &name), mtu: links::PORT_MTU };
    links::veth(netns, near, true, &plug.netns, far).await?;
    links::plug(&plug.netns, port, plug.bridge, plug.group).await?;
    links::neighbour_timing(netns.handle(), near.index).await?;
    Ok(port)
}

/// Where frames of a router's namespace are seen.
pub(super) fn router_place(host: &HostName, namespace: &NamespaceName) -> Place {
    Place { host: Some(host.clone()), name: namespace.to_string() }
}
