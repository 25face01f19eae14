//! One step after another: do it, reconcile once, look, dump.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::input::{Recording, Step, StepKind};
use super::world::World;
use crate::dataplane::{Bench, DataplaneError, ExecError};
use crate::name::{HostName, NamespaceName};
use crate::namespace::{self, HostState};
use crate::plan::{self, Plan};

/// What stands after a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// What the step is called.
    pub title: String,
    /// Each router namespace with its lines.
    pub namespaces: BTreeMap<NamespaceName, Vec<String>>,
    /// Operations that it took to get there.
    pub operations: usize,
    /// Seconds from the event to the last operation.
    pub wall_s: f64,
    /// What is worth knowing and no failure: a program that ended with an error.
    pub notes: Vec<String>,
    /// What was not as it should be: operations refused, a state that is not the desired one, something left to do.
    pub failures: Vec<String>,
}

/// Why a replay ends early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A step needs a program that this machine does not have.
    #[error("step {step} ({title}): {source}")]
    Exec {
        /// Counted from 1.
        step: usize,
        /// The step's title.
        title: String,
        /// Which one.
        #[source]
        source: ExecError,
    },
    /// The bench could not be used.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
}

/// Replays a recording, telling each step as it is done.
///
/// # Errors
/// [`ReplayError`] if it cannot go on; what is merely not as it should be is told with the step.
pub fn replay(recording: &Recording, bench: &dyn Bench, told: &mut dyn FnMut(Replayed)) -> Result<(), ReplayError> {
    let mut driver = Driver { host: &recording.host, bench, world: World::new(recording) };
    for (n, step) in recording.steps.iter().enumerate() {
        told(driver.step(n + 1, step)?);
    }
    Ok(())
}

struct Driver<'a> {
    host: &'a HostName,
    bench: &'a dyn Bench,
    world: World<'a>,
}

impl Driver<'_> {
    fn step(&mut self, number: usize, step: &Step) -> Result<Replayed, ReplayError> {
        self.world.take(&step.kind);
        self.bench.shape(&self.world.topology())?;
        let notes = self.perturb(number, step)?;
        let begun = self.bench.clock();
        let (operations, mut failures) = self.reconcile()?;
        let taken = self.bench.clock().saturating_sub(begun);
        failures.extend(self.settled()?);
        let namespaces = self.bench.dump(self.host)?;
        Ok(Replayed {
            title: step.title.clone(),
            namespaces,
            operations,
            wall_s: rounded(taken.as_secs_f64()),
            notes,
            failures,
        })
    }

    /// Runs a step's programs, if it has some.
    fn perturb(&self, number: usize, step: &Step) -> Result<Vec<String>, ReplayError> {
        let StepKind::Perturb(commands) = &step.kind else { return Ok(Vec::new()) };
        let mut notes = Vec::new();
        for command in commands {
            let executed = self.bench.exec(self.host, command).map_err(|source| ReplayError::Exec {
                step: number,
                title: step.title.clone(),
                source,
            })?;
            if let Some(how) = executed.failed {
                notes.push(format!("`{}` ended with {how}: {}", command.join(" "), executed.output.trim()));
            }
        }
        Ok(notes)
    }

    /// Reads what is there, works out what should be, does the difference.
    fn reconcile(&self) -> Result<(usize, Vec<String>), ReplayError> {
        let observed = self.bench.observe(self.host)?;
        let desired = match namespace::desired(&self.world.config(), &observed) {
            Ok(desired) => desired,
            Err(error) => return Ok((0, vec![undesirable(&error)])),
        };
        let mut operations = 0;
        let applied = self.bench.apply(self.host, &self.plan(&observed, &desired), &mut |_op| operations += 1);
        match applied {
            Ok(()) => Ok((operations, Vec::new())),
            Err(DataplaneError::Apply { failed, .. }) => {
                let refused = failed.iter().map(|one| format!("{}: {}: {}", one.op.namespace, one.op, one.reason));
                Ok((operations, refused.collect()))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn plan(&self, observed: &HostState, desired: &HostState) -> Plan {
        plan::plan_with(observed, desired, self.world.options().deviations)
    }

    /// What is left to do, or not as it should be; nothing after a good step.
    fn settled(&self) -> Result<Vec<String>, ReplayError> {
        let observed = self.bench.observe(self.host)?;
        let Ok(desired) = namespace::desired(&self.world.config(), &observed) else { return Ok(Vec::new()) };
        let again = self.plan(&observed, &desired);
        let left = again.ops.iter().map(|op| format!("left to do in {}: {op}", op.namespace));
        let mut failures: Vec<String> = left.collect();
        if observed != desired && failures.is_empty() {
            failures.push("what stands there is not what should, and nothing is left to do".to_owned());
        }
        Ok(failures)
    }
}

fn undesirable(error: &namespace::DesiredError) -> String {
    let mut text = format!("the configuration cannot be built: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Rounded as the recordings have it.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e4).round() / 1e4
}
