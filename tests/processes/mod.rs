//! Processes as `/proc` shows them, and the wait for the end of a tree of them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Nothing may be left after this.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);
/// The user that has no rights.
pub(crate) const NOBODY: u32 = 65534;

/// A link to `file` that every user can reach: a target directory may be closed to others.
pub(crate) fn reachable(directory: &Path, file: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let link = directory.join(file.file_name().unwrap());
    fs::hard_link(file, &link).or_else(|_other_file_system| fs::copy(file, &link).map(drop)).unwrap();
    link
}

/// The process id that the parent tells.
pub(crate) fn read_stage1(said: &mut impl BufRead) -> i32 {
    let line = said.lines().find_map(|line| line.unwrap().strip_prefix("stage 1 is ").map(str::to_owned));
    line.expect("the parent starts a sandbox").parse().unwrap()
}

/// Waits for the end of standard error, which the last process of the tree closes, and then for the namespace to be empty:
/// a process closes its descriptors a moment before it leaves its namespaces.
pub(crate) fn wait_for_the_last(parent: &mut Child, network: &OsString) {
    let start = Instant::now();
    let mut stderr = parent.stderr.take().unwrap();
    let mut said = Vec::new();
    loop {
        let left = PollTimeout::try_from(LIMIT.saturating_sub(start.elapsed())).unwrap();
        let mut waiting = [PollFd::new(stderr.as_fd(), PollFlags::POLLIN)];
        assert!(poll(&mut waiting, left).unwrap() > 0, "a process is left; so far: {}", String::from_utf8_lossy(&said));
        let mut bytes = [0; 1000];
        let length = stderr.read(&mut bytes).unwrap();
        if length == 0 {
            break;
        }
        said.extend_from_slice(&bytes[..length]);
    }
    while !processes_in(network).is_empty() {
        assert!(start.elapsed() < LIMIT, "left: {:?}", processes_in(network));
        std::thread::yield_now();
    }
}

pub(crate) fn processes() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

pub(crate) fn network_of(pid: i32) -> Option<OsString> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok().map(PathBuf::into_os_string)
}

/// Processes in a network namespace. One that is on its way out has none any more.
pub(crate) fn processes_in(network: &OsString) -> BTreeSet<i32> {
    processes().filter(|pid| network_of(*pid).as_ref() == Some(network)).collect()
}

pub(crate) fn children_of(parent: i32) -> BTreeSet<i32> {
    processes()
        .filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').nth(1).map(str::to_owned));
            after_name.flatten().is_some_and(|ppid| ppid == parent.to_string())
        })
        .collect()
}
