//! `dvrlab replay`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{EXIT_BAD_INPUT, EXIT_BUG, EXIT_FAILED, EXIT_NO_LAB, EXIT_OK, err, out};
use crate::api::AgentMode;
use crate::backend::RuleBackend;
use crate::deviation::Switches;
use crate::harness::{self, HarnessError, Job};
use crate::name::HostName;
use crate::replay::{self, Replayed, Unsaid};

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = FORMAT)]
pub(super) struct Arguments {
    /// A recording, or router dicts as a server sends them (`--help` describes both).
    file: PathBuf,
    /// Write what stands after each step to this file (`-`: standard output, and nothing else there).
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
    /// The agent's host, for router dicts alone [default: the first router's gw_port_host].
    #[arg(long)]
    host: Option<HostName>,
    /// The agent's mode, for router dicts alone [default: dvr_snat].
    #[arg(long, value_parser = mode)]
    mode: Option<AgentMode>,
    /// Switch deviations from the real agent on, all of which are off here: `all`, or `drop-invalid,...`.
    #[arg(long, value_name = "LIST")]
    deviations: Option<Switches>,
    /// How iptables rules get into the kernel: `nftables`, or `iptables`; then their lines are `iptables-save`'s own.
    #[arg(long, value_name = "WAY", default_value_t)]
    rules: RuleBackend,
    /// Print what happens inside: `error`, `warn`, `info`, `debug` or `trace`.
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

const FORMAT: &str = "FILE is JSON, in one of two forms.

Router dicts: what `sync_routers` answers to an agent, a list of dicts or one of them. Each becomes a step.

A recording: an object with
  host                 the agent's host name
  agent_mode           dvr_snat, dvr or dvr_no_external
  conf                 agent options: AGENT.use_random_fully, AGENT.comment_iptables_rules,
                       enable_metadata_proxy (off unless given), metadata_port; others are ignored
  ports_by_subnet      SUBNET: [port]; what the server answers to get_ports_by_subnet
  agent_gateway_ports  NETWORK: port; what it answers to get_agent_gateway_port
  steps                [{op, title, ...}] with op one of
                         add, update                     router: the dict
                         delete                          router_id
                         add_arp_entry, del_arp_entry    payload
                         fipnamespace_delete_on_ext_net  ext_net_id
                         restart_agent, observe
                         perturb                         commands: argument lists, run on the host
Unknown keys are ignored everywhere.

After each step the host is reconciled once and every router namespace is read from the kernel, one line an object, in the
notation of `ip`, `sysctl` and `iptables-save`. OUT is {\"steps\": [{\"title\", \"namespaces\": {NAME: [line]}, ...}]}.";

fn mode(text: &str) -> Result<AgentMode, String> {
    let modes = [AgentMode::Dvr, AgentMode::DvrSnat, AgentMode::DvrNoExternal];
    modes.into_iter().find(|mode| mode.name() == text).ok_or_else(|| "dvr, dvr_snat or dvr_no_external".to_owned())
}

/// What `--json` writes.
#[derive(Serialize)]
struct Written<'a> {
    steps: &'a [Replayed],
}

pub(super) fn replay(arguments: &Arguments) -> i32 {
    let path = arguments.file.display();
    let text = match std::fs::read_to_string(&arguments.file) {
        Ok(text) => text,
        Err(error) => {
            err(&format!("error: {path}: {error}\n"));
            return EXIT_BAD_INPUT;
        }
    };
    let unsaid = Unsaid { host: arguments.host.clone(), mode: arguments.mode };
    if let Err(mistakes) = replay::parse(&text, &unsaid) {
        for mistake in &mistakes {
            let kind = if mistake.unsupported { "unsupported" } else { "error" };
            err(&format!("{kind}: {path}: {mistake}\n"));
        }
        let unsupported = mistakes.iter().all(|mistake| mistake.unsupported);
        return if unsupported { EXIT_NO_LAB } else { EXIT_BAD_INPUT };
    }
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            err(&format!("error: this program cannot find itself: {error}\n"));
            return EXIT_BUG;
        }
    };
    let aloud = arguments.json.as_deref() != Some(Path::new("-"));
    let mut steps: Vec<Replayed> = Vec::new();
    let deviations = arguments.deviations.clone().unwrap_or_default();
    let job = Job::Replay { text, unsaid, deviations, rules: arguments.rules, log: arguments.log.clone() };
    let ended = harness::run_replay(&program, &job, &mut |step| {
        if aloud && arguments.json.is_none() {
            out(&replay::step_text(steps.len() + 1, &step, steps.last()));
        } else if aloud {
            out(&replay::failures(&step));
        }
        steps.push(step);
    });
    let failed = steps.iter().filter(|step| !step.failures.is_empty()).count();
    let code = match ended {
        Ok(()) if failed == 0 => EXIT_OK,
        Ok(()) => EXIT_FAILED,
        Err(error) => ended_early(&path.to_string(), &error),
    };
    if aloud {
        out(&format!("{} steps, {failed} failed\n", steps.len()));
    }
    write(arguments.json.as_deref(), &steps).unwrap_or(code)
}

fn ended_early(path: &str, error: &HarnessError) -> i32 {
    match error {
        HarnessError::Unsupported(reason) => {
            err(&format!("unsupported: {path}: {reason}\n"));
            EXIT_NO_LAB
        }
        HarnessError::Sandbox(sandbox) => {
            let remedy = sandbox.remedy().map(|remedy| format!("\n  {remedy}")).unwrap_or_default();
            err(&format!("this machine cannot run labs: {sandbox}{remedy}\n"));
            EXIT_NO_LAB
        }
        HarnessError::Lab(_)
        | HarnessError::Stopped
        | HarnessError::Ended { .. }
        | HarnessError::Pipe(_)
        | HarnessError::Garbled(_) => {
            err(&format!("error: {path}: {error}\n"));
            EXIT_BUG
        }
    }
}

/// Writes the result; an exit code if that failed.
fn write(file: Option<&Path>, steps: &[Replayed]) -> Option<i32> {
    let file = file?;
    let written = serde_json::to_string_pretty(&Written { steps }).map_err(std::io::Error::from).and_then(|text| {
        if file == Path::new("-") {
            out(&format!("{text}\n"));
            Ok(())
        } else {
            std::fs::write(file, text + "\n")
        }
    });
    match written {
        Ok(()) => None,
        Err(error) => {
            err(&format!("error: {}: {error}\n", file.display()));
            Some(EXIT_BAD_INPUT)
        }
    }
}
