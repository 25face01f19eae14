//! A lab that stands as a scenario has it after a number of steps.

use std::collections::BTreeMap;

use dvrlab::api::Intent;
use dvrlab::dataplane::{Dataplane as _, DataplaneError};
use dvrlab::lab::Lab;
use dvrlab::name::HostName;
use dvrlab::namespace::{HostState, desired};
use dvrlab::plan::{Op, Plan, plan_with};
use dvrlab::router::{HostConfig, host_config, topology};
use dvrlab::scenario::{Scenario, parse};

/// An instance whose floating IP comes and goes.
const SCENARIO: &str = include_str!("../../scenarios/floating-ip/in-out.yaml");

/// The scenario of these tests.
pub(crate) fn scenario() -> Scenario {
    parse("in-out.yaml", SCENARIO).unwrap()
}

/// What is in force after the first `steps` steps.
pub(crate) fn intent_after(scenario: &Scenario, steps: usize) -> Intent {
    let operations = scenario.steps.iter().take(steps).flat_map(|step| &step.operations);
    operations.fold(scenario.intent.clone(), |intent, operation| operation.apply(&intent).unwrap())
}

/// A lab and what its hosts were told.
pub(crate) struct Built {
    pub(crate) lab: Lab,
    pub(crate) configs: BTreeMap<HostName, HostConfig>,
}

impl Built {
    /// A new lab with `intent` in force.
    pub(crate) fn new(intent: &Intent) -> Self {
        let mut built = Self { lab: Lab::new().unwrap(), configs: BTreeMap::new() };
        built.tell(intent);
        for host in &intent.host_order {
            built.reconcile(host).unwrap();
        }
        built
    }

    /// Tells the hosts of `intent`, which then do nothing yet.
    pub(crate) fn tell(&mut self, intent: &Intent) {
        self.lab.shape(&topology(intent)).unwrap();
        self.configs = intent.host_order.iter().map(|host| (host.clone(), host_config(intent, host))).collect();
    }

    /// What stands on a host, and what is to.
    pub(crate) fn states(&self, host: &HostName) -> (HostState, HostState) {
        let observed = self.lab.observe(host).unwrap();
        let wanted = desired(&self.configs[host], &observed).expect("the configuration can be built");
        (observed, wanted)
    }

    /// What a host has to do.
    pub(crate) fn plan(&self, host: &HostName) -> Plan {
        let (observed, wanted) = self.states(host);
        plan_with(&observed, &wanted, self.configs[host].options.deviations)
    }

    /// Carries a plan out and says what was done of it.
    pub(crate) fn apply(&self, host: &HostName, plan: &Plan) -> (Vec<Op>, Result<(), DataplaneError>) {
        let mut done = Vec::new();
        let result = self.lab.apply(host, plan, &mut |op| done.push(op.clone()));
        (done, result)
    }

    /// One round of the only loop there is.
    pub(crate) fn reconcile(&self, host: &HostName) -> Result<(), DataplaneError> {
        self.apply(host, &self.plan(host)).1
    }
}
