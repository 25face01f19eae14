//! The file system of the sandbox: everything read-only but an own `/run`.
//!
//! In: `/proc/self/mountinfo`. Out: remounts. Never: a mount that the parent sees.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change, mount_remount};

/// Where programs in the sandbox put temporary files (`TMPDIR`). `/tmp` stays as it is: scenario files may live there.
pub(super) const TEMPORARY: &str = "/run/tmp";
/// Where programs in the sandbox have their home (`HOME`).
pub(super) const HOME: &str = "/run/home";
/// Where `ip netns` looks for names.
pub(crate) const NETNS: &str = "/run/netns";

/// Keeps what follows from the parent, which shares its mounts by default.
pub(super) fn make_private() -> io::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(io::Error::from)
}

/// Remounts everything but `/proc` read-only; what would not be is returned.
pub(super) fn make_read_only() -> io::Result<Vec<PathBuf>> {
    let table = fs::read("/proc/self/mountinfo")?;
    let mounts = table.split(|byte| *byte == b'\n').filter_map(parse);
    Ok(mounts
        .filter(|(target, _)| !target.starts_with("/proc"))
        .filter(|(target, flags)| {
            let remounted = mount_remount(target, *flags | MountFlags::BIND | MountFlags::RDONLY, "");
            // What we cannot even look up is no place where something could be written by accident.
            !matches!(remounted, Ok(()) | Err(rustix::io::Errno::ACCESS | rustix::io::Errno::NOENT))
        })
        .map(|(target, _)| target)
        .collect())
}

/// The only writable place, empty and gone with the sandbox.
pub(super) fn mount_run() -> io::Result<()> {
    mount("tmpfs", "/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None)?;
    for directory in [NETNS, TEMPORARY, HOME] {
        fs::create_dir(directory)?;
    }
    Ok(())
}

/// A view of the own process namespace.
pub(super) fn mount_proc() -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).map_err(io::Error::from)
}

/// Whether sysctls of the own network namespace can be written: sets one to the value it has.
pub(super) fn try_sysctl() -> io::Result<()> {
    let path = Path::new("/proc/sys/net/ipv4/ip_forward");
    fs::write(path, fs::read(path)?)
}

/// Mount point and flags of a line. The flags have to be repeated: without privilege the kernel lets nobody drop one.
fn parse(line: &[u8]) -> Option<(PathBuf, MountFlags)> {
    let mut fields = line.split(|byte| *byte == b' ').skip(4);
    let target = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
    let options = std::str::from_utf8(fields.next()?).ok()?;
    let flags = options.split(',').fold(MountFlags::empty(), |flags, option| flags | flag(option));
    Some((target, flags))
}

fn flag(option: &str) -> MountFlags {
    match option {
        "nosuid" => MountFlags::NOSUID,
        "nodev" => MountFlags::NODEV,
        "noexec" => MountFlags::NOEXEC,
        "noatime" => MountFlags::NOATIME,
        "nodiratime" => MountFlags::NODIRATIME,
        "relatime" => MountFlags::RELATIME,
        _ => MountFlags::empty(),
    }
}

/// Undoes the kernel's `\040` for blanks, tabs, line breaks and backslashes.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let octal = tail.first_chunk::<3>().and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => bytes.push(*first),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_lines_give_place_and_flags() {
        let line = br"36 35 98:0 /mnt1 /mnt\040two rw,nosuid,relatime master:1 - ext3 /dev/root rw,errors=continue";
        let (target, flags) = parse(line).unwrap();
        assert_eq!(target, Path::new("/mnt two"));
        assert_eq!(flags, MountFlags::NOSUID | MountFlags::RELATIME);
        assert!(parse(b"").is_none());
    }
}
