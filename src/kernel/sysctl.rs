//! Sysctls of one network namespace.
//!
//! In: a key as `sysctl` prints it. Out: its value. Never: a look from outside. The kernel answers a thread of another
//! namespace too, through a directory opened inside, but makes a new directory entry at each such look, beside all earlier
//! ones, so that every look takes longer than the last. Nor `/proc/sys/net` itself, where the directories of all
//! namespaces stand beside each other: those below it are opened once for each namespace.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use rustix::fs::{Mode, OFlags};

/// Why a sysctl could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// Its key leads outside the directories that are held.
    #[error("reach sysctl {key}: no such key in a network namespace")]
    Unknown {
        /// The key.
        key: String,
    },
    /// The kernel refused.
    #[error("reach sysctl {key}")]
    Refused {
        /// The key.
        key: String,
        /// Its errno.
        #[source]
        source: Errno,
    },
    /// The thread could not enter the namespace.
    #[error("enter a network namespace")]
    Enter(#[source] Errno),
}

/// The directories of a namespace.
#[derive(Debug)]
pub struct SysctlDirs {
    ipv4: OwnedFd,
    ipv6: OwnedFd,
    netfilter: OwnedFd,
    /// There only where the bridge filter is loaded.
    bridge: Option<OwnedFd>,
}

impl SysctlDirs {
    /// Opens them in the namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        let dir =
            |path: &str| rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let bridge = match dir("/proc/sys/net/bridge") {
            Ok(fd) => Some(fd),
            Err(rustix::io::Errno::NOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        Ok(Self {
            ipv4: dir("/proc/sys/net/ipv4")?,
            ipv6: dir("/proc/sys/net/ipv6")?,
            netfilter: dir("/proc/sys/net/netfilter")?,
            bridge,
        })
    }

    /// The value, without the final newline.
    ///
    /// The thread must be in the namespace, here and for [`Self::set`].
    pub fn get(&self, key: &str) -> Result<String, SysctlError> {
        let mut file = self.file(key, OFlags::RDONLY)?;
        // One read gives the whole of a value, unless there is no room for it; a run reads thousands.
        let mut room = [0; 128];
        let read = file.read(&mut room).map_err(|error| refused(key, &error))?;
        let mut value = room.get(..read).unwrap_or_default().to_vec();
        if read == room.len() {
            file.read_to_end(&mut value).map_err(|error| refused(key, &error))?;
        }
        let text = String::from_utf8(value).map_err(|error| refused(key, &io::Error::other(error)))?;
        Ok(text.trim_end().to_owned())
    }

    /// Writes `value`.
    pub fn set(&self, key: &str, value: &str) -> Result<(), SysctlError> {
        self.file(key, OFlags::WRONLY)?.write_all(value.as_bytes()).map_err(|error| refused(key, &error))
    }

    fn file(&self, key: &str, mode: OFlags) -> Result<File, SysctlError> {
        let unknown = || SysctlError::Unknown { key: key.to_owned() };
        let (area, rest) = key.strip_prefix("net.").and_then(|tail| tail.split_once('.')).ok_or_else(unknown)?;
        let dir = match area {
            "ipv4" => &self.ipv4,
            "ipv6" => &self.ipv6,
            "netfilter" => &self.netfilter,
            "bridge" => self.bridge.as_ref().ok_or_else(unknown)?,
            _ => return Err(unknown()),
        };
        let path = relative_path(rest).ok_or_else(unknown)?;
        let fd = rustix::fs::openat(dir, path.as_str(), mode | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| refused(key, &errno.into()))?;
        Ok(File::from(fd))
    }
}

fn refused(key: &str, error: &io::Error) -> SysctlError {
    let source = error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
    SysctlError::Refused { key: key.to_owned(), source }
}

/// `conf.eth0.100.rp_filter` is `conf/eth0.100/rp_filter`: between `conf` or `neigh` and the last word stands a device,
/// whose name may have dots. A key that climbs out of its directory is none.
fn relative_path(rest: &str) -> Option<String> {
    if rest.contains('/') || rest.split('.').any(str::is_empty) {
        return None;
    }
    match rest.split_once('.') {
        Some((area @ ("conf" | "neigh"), tail)) => {
            let (device, name) = tail.rsplit_once('.')?;
            Some(format!("{area}/{device}/{name}"))
        }
        Some(_) | None => Some(rest.replace('.', "/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_paths() {
        assert_eq!(relative_path("ip_forward").as_deref(), Some("ip_forward"));
        assert_eq!(relative_path("conf.qr-red4.rp_filter").as_deref(), Some("conf/qr-red4/rp_filter"));
        assert_eq!(relative_path("conf.eth0.100.rp_filter").as_deref(), Some("conf/eth0.100/rp_filter"));
        assert_eq!(relative_path("route.mtu_expires").as_deref(), Some("route/mtu_expires"));
        assert_eq!(relative_path("conf.rp_filter"), None);
        assert_eq!(relative_path("../ip_forward"), None);
        assert_eq!(relative_path("conf/../ip_forward"), None);
    }
}
