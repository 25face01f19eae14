//! From a host's configuration to what must stand in its namespaces.

use super::allocation::Allocations;
use super::state::HostState;
use super::{fip, qrouter, snat};
use crate::api::AgentMode;
use crate::name::NamespaceName;
use crate::router::HostConfig;

/// What must stand in every router namespace of a host. `observed` says only which allocations stand already.
pub fn desired(config: &HostConfig, observed: &HostState) -> HostState {
    let allocations = Allocations::of(config, observed);
    let mut state = HostState::default();
    for router in config.routers.values() {
        let content = qrouter::qrouter(config, router, &allocations);
        state.namespaces.insert(NamespaceName::of("qrouter-", &router.id), content);
        if let Some(gateway) = snat::gateway_here(config, router) {
            let content = snat::snat(config, router, gateway);
            state.namespaces.insert(NamespaceName::of("snat-", &router.id), content);
        }
    }
    if config.mode != AgentMode::DvrNoExternal {
        for network in config.external_networks() {
            if let Some(gateway) = fip::agent_gateway(config, network) {
                let content = fip::fip(config, network, gateway, &allocations);
                state.namespaces.insert(NamespaceName::of("fip-", network), content);
            }
        }
    }
    state
}
