//! The lab as a bench: dumps, programs, a clock.
//!
//! In: a host. Out: what the kernel says of it. Never: a change, but by a program that was asked for.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::try_join_all;

use super::{Lab, make};
use crate::dataplane::{Bench, Dataplane as _, DataplaneError, ExecError, Executed};
use crate::flow::Place;
use crate::kernel::Netns;
use crate::kernel::command::{self, Finished};
use crate::kernel::print::namespace_lines;
use crate::name::{HostName, Name, NamespaceName};
use crate::plan::{Action, Op, Plan};

/// What runs a line of shell. POSIX has it on every system.
const SHELL: &str = "sh";

impl Lab {
    /// A host's router namespaces.
    pub(super) fn routers_of(&self, host: &HostName) -> BTreeMap<NamespaceName, Rc<Netns>> {
        let routers = self.routers.borrow();
        let own = routers.iter().filter(|((owner, _), _)| owner == host);
        own.map(|((_, name), netns)| (name.clone(), Rc::clone(netns))).collect()
    }
}

impl Lab {
    /// Runs a line of shell at a place.
    pub(super) fn run_line(&self, place: &Place, line: &str) -> Result<Executed, ExecError> {
        let named = Name::new(place.name.as_str()).ok().map(HostName::from);
        let host = place.host.clone().or(named);
        let arguments = ["-c".to_owned(), line.to_owned()];
        let failed = |reason| ExecError::Run { program: line.to_owned(), reason };
        let netns = self.netns(place).ok_or_else(|| failed(format!("there is no {place}")))?;
        self.run_among(host.as_ref(), &netns, SHELL, &arguments).map(executed).map_err(failed)
    }

    /// Runs a program that sees a host's namespaces by name. What it deletes of them is gone.
    pub(super) fn run_among(
        &self,
        host: Option<&HostName>,
        netns: &Netns,
        program: &str,
        arguments: &[String],
    ) -> Result<Finished, String> {
        let names = host.map(|host| self.routers_of(host)).unwrap_or_default();
        let finished = command::run(netns, &names, program, arguments).map_err(|error| make::reason(&error))?;
        drop(names);
        let deleted = |namespace: &NamespaceName| Op { namespace: namespace.clone(), action: Action::NamespaceDelete };
        let plan = Plan { ops: finished.gone.iter().map(deleted).collect() };
        if let Some(host) = host.filter(|_| !plan.is_empty()) {
            self.apply(host, &plan, &mut |_op| {}).map_err(|error| make::reason(&error))?;
        }
        Ok(finished)
    }
}

fn executed(finished: Finished) -> Executed {
    let failed = (!finished.status.success()).then(|| finished.status.to_string());
    Executed { exit: finished.status.code(), failed, output: finished.output }
}

impl Bench for Lab {
    fn dump(&self, host: &HostName) -> Result<BTreeMap<NamespaceName, Vec<String>>, DataplaneError> {
        let routers = self.routers_of(host);
        let all = routers.iter().map(|(name, netns)| async {
            let lines = namespace_lines(netns, &self.baseline, self.rules).await.map_err(|failure| {
                DataplaneError::Observe {
                    host: host.clone(),
                    namespace: name.clone(),
                    what: failure.what,
                    reason: make::reason(&failure.cause),
                }
            })?;
            Ok::<_, DataplaneError>((name.clone(), lines))
        });
        Ok(self.runtime.block_on(try_join_all(all))?.into_iter().collect())
    }

    fn exec(&self, host: &HostName, command: &[String]) -> Result<Executed, ExecError> {
        for program in programs(command) {
            if !command::exists(program) {
                return Err(ExecError::Missing(program.to_owned()));
            }
        }
        let (Some((program, arguments)), Some(netns)) = (command.split_first(), self.host(host)) else {
            return Err(ExecError::Run { program: command.join(" "), reason: "nothing to run, or nowhere".to_owned() });
        };
        self.run_among(Some(host), &netns, program, arguments)
            .map(executed)
            .map_err(|reason| ExecError::Run { program: program.clone(), reason })
    }

    fn clock(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The programs that a command line starts: its first word, and what `ip netns exec NAME` is to start.
fn programs(command: &[String]) -> Vec<&str> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let inner = match words.as_slice() {
        [ip, "netns", "exec", _, program, ..] if Path::new(ip).file_name().is_some_and(|name| name == "ip") => {
            Some(*program)
        }
        _ => None,
    };
    words.first().copied().into_iter().chain(inner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_behind_ip_netns_exec() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(programs(&words("ip netns exec qrouter-r1 iptables -F")), ["ip", "iptables"]);
        assert_eq!(programs(&words("ip link")), ["ip"]);
    }
}
