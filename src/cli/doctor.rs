//! `dvrlab doctor`.

use super::{EXIT_BUG, EXIT_NO_LAB, EXIT_OK, err, out};
use crate::kernel::iptables;
use crate::kernel::sandbox::{self, Outcome};

pub(super) fn doctor() -> i32 {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            err(&format!("error: this program cannot find itself: {error}\n"));
            return EXIT_BUG;
        }
    };
    let checks = sandbox::examine(&program);
    let mut missing = 0;
    for check in &checks {
        match &check.outcome {
            Outcome::Works => out(&format!("ok       {}\n", check.what)),
            Outcome::Missing { reason, costs, remedy } => {
                missing += 1;
                out(&format!(
                    "MISSING  {}: {reason}\n         costs: {costs}\n         remedy: {remedy}\n",
                    check.what
                ));
            }
        }
    }
    match iptables::available() {
        Ok(()) => out("ok       iptables programs, for `--rules iptables`\n"),
        Err(reason) => out(&format!("absent   iptables programs: {reason}; only `--rules iptables` needs them\n")),
    }
    if missing == 0 {
        out("\nThis machine can run labs.\n");
        EXIT_OK
    } else {
        out(&format!("\n{missing} of {} things are missing on this machine.\n", checks.len()));
        EXIT_NO_LAB
    }
}
