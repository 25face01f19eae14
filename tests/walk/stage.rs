//! What there is to walk on: every configuration that the recordings tell a host of.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use dvrlab::dataplane::{Bench as _, Dataplane as _};
use dvrlab::deviation::Deviations;
use dvrlab::kernel::{Netns, Surroundings as _};
use dvrlab::lab::Lab;
use dvrlab::name::{HostName, NamespaceName};
use dvrlab::namespace::{HostState, desired};
use dvrlab::plan::{Plan, plan_with};
use dvrlab::replay::{Unsaid, World, parse};
use dvrlab::router::HostConfig;
use dvrlab::topology::Topology;

use crate::monitor::Monitor;
use crate::recorded::{self, Namespaces, differences};

/// A host's configurations, each with the recordings' step that it is of.
pub(crate) struct Stage {
    pub(crate) host: HostName,
    pub(crate) configs: Vec<(String, HostConfig)>,
    topology: Topology,
}

impl Stage {
    pub(crate) fn of(host: &str, deviations: Deviations) -> Self {
        let host: HostName = host.parse().unwrap();
        let mut stage = Self { host, configs: Vec::new(), topology: Topology::default() };
        for file in recorded::files() {
            let recording = parse(&std::fs::read_to_string(&file).unwrap(), &Unsaid::default()).unwrap();
            if recording.host != stage.host {
                continue;
            }
            let mut world = World::new(&recording);
            for (n, step) in recording.steps.iter().enumerate() {
                world.take(&step.kind);
                let mut config = world.config();
                config.options.deviations = deviations;
                if !stage.configs.iter().any(|(_, known)| *known == config) {
                    stage.configs.push((format!("{} step {}", recorded::name(&file), n + 1), config));
                }
                let topology = world.topology();
                stage.topology.hosts.extend(topology.hosts);
                stage.topology.segments.extend(topology.segments);
            }
        }
        assert!(stage.configs.len() > 10, "{} configurations", stage.configs.len());
        stage
    }

    fn lab(&self) -> Lab {
        let lab = Lab::new().unwrap();
        lab.shape(&self.topology).unwrap();
        lab
    }

    /// What has to be done on a lab for a configuration.
    fn plan(&self, lab: &Lab, config: &HostConfig) -> (HostState, HostState, Plan) {
        let observed = lab.observe(&self.host).unwrap();
        let wanted = desired(config, &observed).unwrap();
        let plan = plan_with(&observed, &wanted, config.options.deviations);
        (observed, wanted, plan)
    }

    fn dump(&self, lab: &Lab) -> Namespaces {
        lab.dump(&self.host).unwrap().into_iter().map(|(name, lines)| (name.to_string(), lines)).collect()
    }
}

/// A lab that goes from one configuration to another.
pub(crate) struct Walk<'a> {
    stage: &'a Stage,
    pub(crate) lab: Lab,
    /// Where everything is built anew.
    other: Lab,
    fresh: RefCell<BTreeMap<usize, Namespaces>>,
    at: String,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(stage: &'a Stage) -> Self {
        let (lab, other) = (stage.lab(), stage.lab());
        Self { stage, lab, other, fresh: RefCell::default(), at: "nothing".to_owned() }
    }

    /// The host's namespaces.
    pub(crate) fn namespaces(&self) -> BTreeMap<NamespaceName, Rc<Netns>> {
        let state = self.lab.observe(&self.stage.host).unwrap();
        state
            .namespaces
            .into_keys()
            .filter_map(|name| Some((name.clone(), self.lab.namespace(&self.stage.host, &name)?)))
            .collect()
    }

    pub(crate) fn host(&self) -> &HostName {
        &self.stage.host
    }

    /// What stands after a configuration was built where nothing was.
    fn fresh(&self, number: usize) -> Namespaces {
        if let Some(known) = self.fresh.borrow().get(&number) {
            return known.clone();
        }
        let (stage, lab) = (self.stage, &self.other);
        let (label, config) = &stage.configs[number];
        let (observed, _, plan) = stage.plan(lab, config);
        assert!(observed.namespaces.is_empty());
        lab.apply(&stage.host, &plan, &mut |_op| {}).unwrap_or_else(|error| panic!("{label}: {error:?}"));
        let built = stage.dump(lab);
        let nothing = HostConfig { routers: BTreeMap::new(), ..config.clone() };
        let (_, _, plan) = stage.plan(lab, &nothing);
        lab.apply(&stage.host, &plan, &mut |_op| {}).unwrap();
        self.fresh.borrow_mut().insert(number, built.clone());
        built
    }

    /// One transition with everything that has to hold of it.
    pub(crate) fn go(&mut self, number: usize, to: usize, deeds: &[String]) {
        let (label, config) = &self.stage.configs[to];
        let path = format!("transition {number}, from {} to {label}, after {deeds:?}", self.at);
        let before = self.stage.dump(&self.lab);
        let monitors: BTreeMap<String, Monitor> =
            self.namespaces().into_iter().map(|(name, netns)| (name.to_string(), Monitor::new(netns))).collect();
        let (_, _, plan) = self.stage.plan(&self.lab, config);
        if let Err(error) = self.lab.apply(&self.stage.host, &plan, &mut |_op| {}) {
            panic!("{path}: {error:?}");
        }
        let after = self.stage.dump(&self.lab);
        let (observed, wanted, again) = self.stage.plan(&self.lab, config);
        assert!(again.is_empty(), "{path}: left to do: {:#?}", again.ops);
        assert!(observed == wanted, "{path}: not as desired, and nothing to do: {}", unlike(&observed, &wanted));
        let wrong = differences(&self.fresh(to), &after);
        assert!(wrong.is_empty(), "{path} (- a fresh build, + this):\n{}", wrong.join("\n"));
        label.clone_into(&mut self.at);
        if !deeds.is_empty() {
            // What was tampered with may have to be made anew with all that hangs on it.
            return;
        }
        let moved = moved(&before, &after);
        for (name, monitor) in &monitors {
            if let (Some(before), Some(after), true) = (before.get(name), after.get(name), self.still(name, monitor)) {
                let touched = monitor.touched(before, after, &moved);
                let done: Vec<String> = plan.ops.iter().map(|op| format!("{}: {op}", op.namespace)).collect();
                assert!(
                    touched.is_empty(),
                    "{path}: {name} had this and has it, but it was touched:\n{}\nby one of\n{}",
                    touched.join("\n"),
                    done.join("\n")
                );
            }
        }
    }

    /// Whether the namespace that is watched is the one of that name.
    fn still(&self, name: &str, monitor: &Monitor) -> bool {
        let now = self.lab.namespace(&self.stage.host, &name.parse().unwrap());
        now.is_some_and(|now| now.inode() == monitor.inode())
    }
}

/// Routers' ends of links to fip namespaces, whose other end is not in the namespace that it was in.
fn moved(before: &Namespaces, after: &Namespaces) -> BTreeSet<String> {
    let ends = |namespaces: &Namespaces| -> BTreeSet<(String, String)> {
        let all = namespaces.iter().flat_map(|(name, lines)| lines.iter().map(move |line| (name, line)));
        let ends = all.filter_map(|(name, line)| Some((name, line.strip_prefix("link   fpr-")?.split(' ').next()?)));
        ends.map(|(name, router)| (name.clone(), format!("rfp-{router}"))).collect()
    };
    let (before, after) = (ends(before), ends(after));
    before.symmetric_difference(&after).map(|(_, device)| device.clone()).collect()
}

/// Where two states differ.
fn unlike(one: &HostState, other: &HostState) -> String {
    let (one, other) = (format!("{one:#?}"), format!("{other:#?}"));
    similar::TextDiff::from_lines(&one, &other).unified_diff().context_radius(3).to_string()
}
