//! What agents report of floating IPs, and what the API therefore shows.
//!
//! In: what each agent was told, and what stands on its host once it has acted. Out: whether sentences about the status of a
//! floating IP hold. Never: a look at a host where no sentence asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Driver, dataplane_failure, failure};
use crate::api::Intent;
use crate::name::HostName;
use crate::namespace::HostState;
use crate::net::host_net;
use crate::record::{FailureKind, StepRecord};
use crate::router::HostConfig;
use crate::scenario::{Expected, Scenario, Status, Step};

/// What was reported in a run.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    /// Some sentence asks for it.
    wanted: bool,
    /// By floating IP; none is down.
    shown: BTreeMap<IpAddr, Status>,
    /// The floating IPs of which each agent knew when it last acted.
    known: BTreeMap<HostName, BTreeSet<IpAddr>>,
}

impl Statuses {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut all = scenario.steps.iter().flat_map(|step| &step.expectations);
        Self { wanted: all.any(|one| matches!(one.what, Expected::Status(_))), ..Self::default() }
    }

    /// Those that are deleted are shown no more.
    pub(super) fn retain(&mut self, intent: &Intent) {
        self.shown.retain(|address, _| intent.floating_ips.contains_key(address));
    }

    /// An agent has acted upon what it was told.
    fn report(&mut self, config: &HostConfig, observed: &HostState) {
        let mut known = BTreeSet::new();
        for (address, is_here) in concerning(config) {
            let status = match (is_served(observed, address), is_here) {
                (true, _) => Status::Active,
                (false, true) => Status::Error,
                (false, false) => continue,
            };
            known.insert(address);
            self.shown.insert(address, status);
        }
        let before = self.known.insert(config.host.clone(), known.clone()).unwrap_or_default();
        self.shown.extend(before.difference(&known).map(|address| (*address, Status::Down)));
    }
}

/// The floating IPs that an agent was told of, and whether it is the one to serve them.
fn concerning(config: &HostConfig) -> impl Iterator<Item = (IpAddr, bool)> {
    config.routers.values().flat_map(move |router| {
        let centre = router.gw_port_host.as_ref() == Some(&config.host);
        let floating = router.floating_ips.iter().map(move |fip| {
            let bound = fip.host.as_deref() == Some(config.host.as_str());
            (fip.floating_ip_address, if fip.dvr_snat_bound { centre } else { bound })
        });
        let forwarded = router.port_forwardings.iter().map(|forwarding| (forwarding.floating_ip_address, true));
        floating.chain(forwarded)
    })
}

/// Whether a host takes packets for a floating IP: at the door of its instances' routers, or as the gateway.
fn is_served(observed: &HostState, address: IpAddr) -> bool {
    let net = host_net(address);
    observed.namespaces.iter().any(|(name, state)| {
        (name.as_str().starts_with("fip-") && state.routes.iter().any(|route| route.destination == net))
            || (name.as_str().starts_with("snat-") && state.addresses.iter().any(|held| held.net == net))
    })
}

impl Driver<'_> {
    /// An agent reports on its floating IPs, once it has done what it could.
    pub(super) fn report_statuses(&mut self, host: &HostName, record: &mut StepRecord) {
        let Some(config) = self.agents.told.get(host).filter(|_| self.statuses.wanted) else { return };
        match self.dataplane.observe(host) {
            Ok(observed) => self.statuses.report(config, &observed),
            Err(error) => record.failures.push(dataplane_failure(&error)),
        }
    }

    /// Holds what the API shows against the sentences.
    pub(super) fn judge_status(&self, step: &Step, record: &mut StepRecord) {
        for expectation in &step.expectations {
            let Expected::Status(expected) = &expectation.what else { continue };
            let shown = self.statuses.shown.get(&expected.address).copied().unwrap_or(Status::Down);
            if shown != expected.status {
                let text = format!("`{}`: the API shows {shown}", expectation.text);
                record.failures.push(failure(FailureKind::Expectation, Some(expectation.line), text));
            }
        }
    }
}
