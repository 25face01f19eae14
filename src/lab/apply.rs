//! Plans carried out on a host's router namespaces.
//!
//! In: a host's plan. Out: its operations done in order, each told. Never: an address on a device that does not carry packets
//! yet: what goes out of it would be lost, and a neighbour that is asked for then is not asked for again for a while.

use std::rc::Rc;

use tracing::{info, info_span, warn};

use super::{Lab, make, settle_all};
use crate::dataplane::{DataplaneError, FailedOp};
use crate::kernel::apply::apply_op;
use crate::kernel::{Netns, Surroundings as _};
use crate::name::HostName;
use crate::plan::{Action, Op, Plan};

impl Lab {
    /// Carries a plan out.
    pub(super) fn applied(
        &self,
        host: &HostName,
        plan: &Plan,
        after: &mut dyn FnMut(&Op),
    ) -> Result<(), DataplaneError> {
        let leaving = plan.ops.iter().filter(|op| op.action == Action::NamespaceDelete);
        self.leaving.replace(leaving.map(|op| (host.clone(), op.namespace.clone())).collect());
        let mut failed: Vec<FailedOp> = Vec::new();
        let mut restless = false;
        for op in &plan.ops {
            if failed.iter().any(|other| other.op.namespace == op.namespace) {
                continue;
            }
            if restless && brings_packets(&op.action) {
                self.runtime.block_on(self.settle_routers(host))?;
                restless = false;
            }
            let _namespace = info_span!("namespace", name = %op.namespace).entered();
            let _op = info_span!("op", command = %op).entered();
            match self.carry_out(host, op) {
                Ok(()) => {
                    info!("done");
                    restless |= matches!(op.action, Action::LinkAdd { .. } | Action::LinkUp(..));
                    after(op);
                }
                Err(reason) => {
                    warn!(%reason, "refused");
                    failed.push(FailedOp { op: op.clone(), reason });
                }
            }
        }
        if failed.is_empty() {
            self.runtime.block_on(self.settle_routers(host))
        } else {
            Err(DataplaneError::Apply { host: host.clone(), failed })
        }
    }

    fn carry_out(&self, host: &HostName, op: &Op) -> Result<(), String> {
        self.runtime.block_on(apply_op(self, self.runtime.handle(), host, op)).map_err(|failure| failure.reason())?;
        self.note_mac(host, op);
        self.heed(host, op).map_err(|error| error.to_string())?;
        self.look_after(host, op);
        // What the agent leaves to the machine, and the harness does not: every refusal is answered.
        match (&op.action, self.namespace(host, &op.namespace)) {
            (Action::NamespaceAdd, Some(netns)) => {
                make::set_sysctls(&netns, &make::ICMP_SYSCTLS).map_err(|error| make::reason(&error))
            }
            _ => Ok(()),
        }
    }

    /// Waits for the devices that a plan has made, and for the ports that they are plugged into.
    async fn settle_routers(&self, host: &HostName) -> Result<(), DataplaneError> {
        let routers = self.routers.borrow().clone();
        let own = routers.into_iter().filter(|((owner, _), _)| owner == host);
        let routers = own.map(|((_, name), netns)| (name.to_string(), netns));
        let bridges = self.host(host).map(|netns| (host.to_string(), netns));
        let mut all: Vec<(String, Rc<Netns>)> = routers.chain(bridges).collect();
        all.extend(self.fabric.borrow().segments());
        settle_all(&all).await
    }
}

/// Whether a namespace may send packets after this that it did not before.
fn brings_packets(action: &Action) -> bool {
    match action {
        Action::AddressAdd(_)
        | Action::RouteReplace(_)
        | Action::RuleAdd(_)
        | Action::RuleDelete(_)
        | Action::NeighbourReplace(..)
        | Action::Announce(..) => true,
        Action::NamespaceAdd
        | Action::NamespaceDelete
        | Action::LinkAdd { .. }
        | Action::LinkMtu(..)
        | Action::LinkMac(..)
        | Action::LinkUp(..)
        | Action::LinkDelete(_)
        | Action::AddressDelete(_)
        | Action::RouteDelete(_)
        | Action::NeighbourDelete(..)
        | Action::ProxyDelete(..)
        | Action::SysctlSet(..)
        | Action::Rules(_)
        | Action::ConntrackPurge(_)
        | Action::ConntrackPurgePort { .. }
        | Action::TableDelete(_) => false,
    }
}
