//! `--watch-files`: runs again what a save touches.
//!
//! In: paths, and what to do with files. Out: nothing, until somebody ends the program. Never: a save missed while scenarios run, or
//! a file run before its editor is done with it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// For so many milliseconds nothing more happens once an editor is done: some write a copy, then rename it.
const SAVED: u16 = 50;
/// As often that is waited for, while something is written without a pause.
const ROUNDS: usize = 100;

/// Watched directories.
pub(super) struct Watched {
    inotify: Inotify,
    paths: Vec<PathBuf>,
    directories: Vec<(WatchDescriptor, PathBuf)>,
}

impl Watched {
    /// Watches the directories of these paths, with all below them, from now on.
    pub(super) fn new(paths: &[PathBuf]) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let mut watched = Self { inotify, paths: paths.to_vec(), directories: Vec::new() };
        watched.look()?;
        Ok(watched)
    }

    /// Waits for saves. Gives the real paths of the files that were touched.
    pub(super) fn wait(&mut self) -> io::Result<BTreeSet<PathBuf>> {
        let mut touched = BTreeSet::new();
        self.is_more(PollTimeout::NONE)?;
        for _ in 0..ROUNDS {
            for event in self.inotify.read_events()? {
                let directory = self.directories.iter().find(|(watch, _)| *watch == event.wd);
                if let (Some((_, directory)), Some(name)) = (directory, event.name) {
                    touched.insert(directory.join(name));
                }
            }
            if !self.is_more(PollTimeout::from(SAVED))? {
                break;
            }
        }
        self.look()?;
        Ok(touched)
    }

    /// Whether something happens until then.
    fn is_more(&self, limit: PollTimeout) -> io::Result<bool> {
        let mut descriptors = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        Ok(poll(&mut descriptors, limit)? > 0)
    }

    /// Watches what is there now; what is watched already stays so.
    fn look(&mut self) -> io::Result<()> {
        let mut directories = BTreeSet::new();
        for path in &self.paths {
            let named = |error| io::Error::new(io::Error::kind(&error), format!("{}: {error}", path.display()));
            if fs::metadata(path).map_err(named)?.is_dir() {
                descend(path, &mut directories)?;
            } else {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                directories.insert(fs::canonicalize(parent.unwrap_or(Path::new(".")))?);
            }
        }
        let saved = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CREATE;
        for directory in directories {
            let watch = self.inotify.add_watch(&directory, saved)?;
            if self.directories.iter().all(|(known, _)| *known != watch) {
                self.directories.push((watch, directory));
            }
        }
        Ok(())
    }
}

fn descend(directory: &Path, all: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    all.insert(fs::canonicalize(directory)?);
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            descend(&entry.path(), all)?;
        }
    }
    Ok(())
}
