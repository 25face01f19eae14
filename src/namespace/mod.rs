//! The kernel's vocabulary as values, and the function from a host's configuration to what must stand in its namespaces.
//!
//! In: a [`crate::router::HostConfig`]. Out: a [`HostState`]. Never: a look at the kernel.

mod allocation;
mod build;
mod fip;
mod iptables;
mod iptables_parse;
mod lines;
mod qrouter;
mod redirect;
mod set_order;
mod skeleton;
mod snat;
mod state;
mod state_parse;
pub mod sysctl;
mod view;

pub use allocation::{Exhausted, Pool};
pub use iptables::{
    Chain, ChainName, DevicePattern, Hook, Match, NatTarget, Rule, Ruleset, Table, Target, What,
    state as conntrack_state,
};
pub use iptables_parse::RuleTextError;
pub use lines::{lines, table_lines};
pub use skeleton::skeleton;
pub use state::{
    Address, Attach, ForeignTable, HostState, KERNEL, Kind, Link, Lost, NamespaceState, NextHop, PolicyRule, Route,
    RouteKey, RouteKind, RouteProtocol, broadcast_of, table_text,
};
pub use state_parse::ObjectTextError;

use crate::name::{DeviceName, NamespaceName};
use crate::router::HostConfig;
use build::Taken;
use qrouter::Failure;
use view::View;

/// Why a configuration cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DesiredError {
    /// A pool of numbers is too small.
    #[error("{namespace}: not enough numbers")]
    Exhausted {
        /// Where they are needed.
        namespace: NamespaceName,
        /// Which.
        #[source]
        source: Exhausted,
    },
    /// Two ports have identifiers that are alike in their first characters, so that their devices would have one name.
    #[error("{namespace}: two devices would be called {device}")]
    DeviceTaken {
        /// Where.
        namespace: NamespaceName,
        /// The name.
        device: DeviceName,
    },
}

/// What must stand in the namespaces of a host. `observed` decides about nothing but the numbers out of pools (whoever
/// holds one keeps it) and what routers outside have advertised, where advertisements are believed.
///
/// # Errors
/// [`DesiredError`] if a pool is exhausted or two devices would have one name.
pub fn desired(config: &HostConfig, observed: &HostState) -> Result<HostState, DesiredError> {
    let exhausted = |namespace, source| DesiredError::Exhausted { namespace, source };
    let taken = |namespace, Taken(device)| DesiredError::DeviceTaken { namespace, device };
    let links = view::fip_links(config, observed).map_err(|(namespace, source)| exhausted(namespace, source))?;
    let mut namespaces = std::collections::BTreeMap::new();
    let mut views = Vec::new();
    for router in config.routers.values() {
        let name = view::qrouter(&router.id);
        let view = View::new(config, router, links.get(&router.id), observed)
            .map_err(|source| exhausted(name.clone(), source))?;
        let state = qrouter::state(&view, observed.namespaces.get(&name)).map_err(|failure| match failure {
            Failure::Exhausted(source) => exhausted(name.clone(), source),
            Failure::Taken(device) => taken(name.clone(), device),
        })?;
        namespaces.insert(name, state);
        if let Some(gateway) = router.gw_port.as_ref().filter(|_| view.is_snat_host()) {
            let name = view::snat(&router.id);
            let state = snat::state(&view, gateway, observed.namespaces.get(&name))
                .map_err(|device| taken(name.clone(), device))?;
            namespaces.insert(name, state);
        }
        views.push(view);
    }
    namespaces.extend(fip::states(&views).map_err(|(namespace, device)| taken(namespace, device))?);
    Ok(HostState { namespaces })
}
