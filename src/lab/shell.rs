//! A program, or a shell, at a place of the lab.
//!
//! In: a place as scenarios write it and a command line. Out: how the program ended. Never: a choice of what to run.

use std::os::unix::process::ExitStatusExt as _;
use std::rc::Rc;

use super::{Lab, make};
use crate::dataplane::ExecError;
use crate::kernel::{Netns, command};
use crate::name::HostName;

/// What a shell adds to the number of the signal that ended a program.
const SIGNALLED: i32 = 128;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code, 128 and the signal's number if one ended it.
    pub code: i32,
    /// What it wrote; nothing of a program on the terminal.
    pub output: String,
}

impl Lab {
    /// Runs a program at `place`: an instance, a machine outside, a host, or `HOST/NAMESPACE`; there `ip netns` has the router
    /// namespaces of that host by their names. On the terminal it reads and writes there; else it reads nothing.
    ///
    /// # Errors
    /// [`ExecError`] if there is no such place now or no such program; a program that failed is none.
    pub fn run_at(&self, place: &str, command: &[String], terminal: bool) -> Result<Ended, ExecError> {
        let told = |reason: String| ExecError::Run { program: command.join(" "), reason };
        let Some((program, arguments)) = command.split_first() else { return Err(told("nothing to run".to_owned())) };
        let Some(netns) = self.site(place) else {
            return Err(told(format!("there is no `{place}` now; there are {}", self.sites().join(", "))));
        };
        let owner = HostName::new(place.split('/').next().unwrap_or(place)).ok();
        let names = owner.as_ref().map(|host| self.routers_of(host)).unwrap_or_default();
        if !command::exists(program) {
            return Err(ExecError::Missing(program.clone()));
        }
        let failed = |error| told(make::reason(&error));
        let (status, output) = if terminal {
            (command::attached(&netns, &names, program, arguments).map_err(failed)?, String::new())
        } else {
            drop(names);
            let finished = self.run_among(owner.as_ref(), &netns, program, arguments).map_err(told)?;
            (finished.status, finished.output)
        };
        let signalled = status.signal().map(|signal| SIGNALLED + signal);
        Ok(Ended { code: status.code().or(signalled).unwrap_or(SIGNALLED), output })
    }

    /// The namespace of a place.
    fn site(&self, place: &str) -> Option<Rc<Netns>> {
        let host = HostName::new(place).ok().and_then(|host| self.host(&host));
        let other = || self.places().into_iter().find(|(known, _)| known.to_string() == place);
        host.or_else(|| other().map(|(_, netns)| netns))
    }

    /// Every place, as it is written.
    fn sites(&self) -> Vec<String> {
        let hosts: Vec<String> = self.fabric.borrow().hosts.keys().map(ToString::to_string).collect();
        hosts.into_iter().chain(self.places().into_iter().map(|(place, _)| place.to_string())).collect()
    }
}
