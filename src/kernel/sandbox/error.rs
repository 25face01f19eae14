//! Why a sandbox could not be made, and what whoever runs the machine can do about it.
//!
//! In: the step that was refused, its errno, and what the machine says of itself. Out: one sentence. Never: a guess where
//! the kernel shows the reason.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// A step on the way into the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Leaving the parent's namespaces.
    Unshare,
    /// Writing `deny` to `/proc/self/setgroups`.
    Setgroups,
    /// Writing the map of user ids.
    UidMap,
    /// Writing the map of group ids.
    GidMap,
    /// Taking the mounts out of the parent's sight.
    PrivateMounts,
    /// Mounting and furnishing an own `/run`.
    MountRun,
    /// Starting the first process of the new process namespace.
    Init,
    /// Asking to be killed with stage 1.
    DeathSignal,
    /// Writing a sysctl of the own network namespace.
    Sysctl,
    /// Watching the control pipe and the children.
    Watch,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unshare => "make user, mount, network and process namespaces (unshare)",
            Self::Setgroups => "write /proc/self/setgroups",
            Self::UidMap => "write /proc/self/uid_map",
            Self::GidMap => "write /proc/self/gid_map",
            Self::PrivateMounts => "make the mounts private",
            Self::MountRun => "mount a tmpfs on /run",
            Self::Init => "start the first process of the sandbox",
            Self::DeathSignal => "set the death signal (prctl)",
            Self::Sysctl => "write a sysctl of an own network namespace",
            Self::Watch => "watch the control pipe",
        })
    }
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The program could not be started at all.
    #[error("failed to start {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The machine refused a step.
    #[error("failed to {step}")]
    Step {
        /// The step.
        step: Step,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// It ended, or was killed, before it was ready.
    #[error("the sandbox ended before it was ready ({status})")]
    Ended {
        /// How stage 1 ended.
        status: ExitStatus,
    },
    /// The program is not one that calls [`entry`](super::entry).
    #[error("the program does not act as a sandbox; its first line is `{line}`")]
    NotASandbox {
        /// What it wrote.
        line: String,
    },
    /// The pipes to it failed.
    #[error("failed to talk to the sandbox")]
    Pipe(#[source] io::Error),
}

impl SandboxError {
    /// What to do about it, in one sentence, judged by this machine's settings.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Step { step, source } => {
                source.raw_os_error().map(|errno| remedy(*step, Errno::from_raw(errno), &Machine::read()))
            }
            Self::Start { .. } | Self::NotASandbox { .. } => {
                Some("give the path of a dvrlab program of this version".to_owned())
            }
            Self::Ended { .. } | Self::Pipe(_) => None,
        }
    }
}

/// The settings of a machine that decide whether a user may make namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Files of `/proc/sys/user` that say 0: `max_net_namespaces`.
    pub zero_limits: Vec<String>,
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1 (Ubuntu).
    pub apparmor_restricts: bool,
    /// `kernel.unprivileged_userns_clone` is 0 (Debian).
    pub clone_forbidden: bool,
    /// This process runs under a seccomp filter, as in a container.
    pub seccomp_filter: bool,
}

/// Each limits one kind of namespace that the sandbox or the lab makes. Source: user_namespaces(7), namespaces(7).
const LIMITS: [&str; 6] = [
    "max_user_namespaces",
    "max_mnt_namespaces",
    "max_net_namespaces",
    "max_pid_namespaces",
    "max_uts_namespaces",
    "max_ipc_namespaces",
];

impl Machine {
    /// What this machine says. A setting that it does not have forbids nothing.
    pub fn read() -> Self {
        let says = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            zero_limits: LIMITS
                .iter()
                .filter(|name| says(&format!("/proc/sys/user/{name}"), "0"))
                .map(|name| (*name).to_owned())
                .collect(),
            apparmor_restricts: says("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
            clone_forbidden: says("/proc/sys/kernel/unprivileged_userns_clone", "0"),
            seccomp_filter: status
                .lines()
                .any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2")),
        }
    }
}

/// The sentence for a step and its errno.
fn remedy(step: Step, errno: Errno, machine: &Machine) -> String {
    if errno == Errno::ENOSPC {
        return match machine.zero_limits.first() {
            Some(limit) => format!("as root: sysctl -w user.{limit}=100000"),
            None => "too many namespaces exist: raise the limits in /proc/sys/user, or end other sandboxes".to_owned(),
        };
    }
    if step == Step::Sysctl {
        return "start the container with a writable /proc/sys: --privileged, or --security-opt systempaths=unconfined"
            .to_owned();
    }
    if errno == Errno::EINVAL && step == Step::Unshare {
        return "this kernel has no user namespaces (CONFIG_USER_NS): run as root, or use another kernel".to_owned();
    }
    if errno != Errno::EPERM && errno != Errno::EACCES {
        return format!("`dvrlab doctor` tries each step by itself ({})", errno.desc());
    }
    if machine.clone_forbidden {
        "as root: sysctl -w kernel.unprivileged_userns_clone=1".to_owned()
    } else if machine.apparmor_restricts {
        "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with `userns,` for dvrlab"
            .to_owned()
    } else if machine.seccomp_filter {
        "a seccomp profile forbids it: start the container with --privileged, or --security-opt seccomp=unconfined"
            .to_owned()
    } else {
        "user namespaces are forbidden here, as in a chroot: run outside of it, or as root with CAP_SYS_ADMIN"
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_refusal_has_its_own_remedy() {
        let plain = Machine::default();
        let cases = [
            (Step::Unshare, Errno::ENOSPC, Machine { zero_limits: vec!["max_net_namespaces".into()], ..plain.clone() }),
            (Step::Unshare, Errno::ENOSPC, plain.clone()),
            (Step::Unshare, Errno::EPERM, Machine { clone_forbidden: true, ..plain.clone() }),
            (Step::UidMap, Errno::EPERM, Machine { apparmor_restricts: true, ..plain.clone() }),
            (Step::Unshare, Errno::EPERM, Machine { seccomp_filter: true, ..plain.clone() }),
            (Step::Unshare, Errno::EPERM, plain.clone()),
            (Step::Unshare, Errno::EINVAL, plain.clone()),
            (Step::Sysctl, Errno::EROFS, plain),
        ];
        let sentences: Vec<String> =
            cases.iter().map(|(step, errno, machine)| remedy(*step, *errno, machine)).collect();
        assert!(sentences[0].contains("user.max_net_namespaces"), "{}", sentences[0]);
        assert!(sentences[3].contains("apparmor"), "{}", sentences[3]);
        for (n, sentence) in sentences.iter().enumerate() {
            assert_eq!(sentences.iter().position(|other| other == sentence), Some(n), "{sentence}");
        }
    }
}
