//! Whether what a run is to write can be written, asked before anything is built: a run of minutes is not lost to a typo.
//!
//! In: the arguments. Out: what is wrong with one of them. Never: a file left that was not there before.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::Arguments;

/// Names the option and the file, with the kernel's reason, of the first that cannot be written.
pub(super) fn check(arguments: &Arguments) -> Result<(), String> {
    let files = [("--json", &arguments.json), ("--junit", &arguments.junit), ("--markdown", &arguments.markdown)];
    for (option, file) in files {
        if let Some(file) = file.as_deref().filter(|file| *file != Path::new("-")) {
            opens(file).map_err(|error| format!("{option} {}: {error}", file.display()))?;
        }
    }
    for (option, directory) in [("--pcap", &arguments.pcap), ("--bundle", &arguments.bundle)] {
        if let Some(directory) = directory {
            takes_files(directory).map_err(|error| format!("{option} {}: {error}", directory.display()))?;
        }
    }
    Ok(())
}

fn opens(file: &Path) -> io::Result<()> {
    let stood = file.exists();
    drop(File::options().append(true).create(true).open(file)?);
    if stood { Ok(()) } else { fs::remove_file(file) }
}

fn takes_files(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    opens(&directory.join(".dvrlab"))
}
