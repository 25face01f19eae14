//! `dvrlab check`.

use std::path::PathBuf;

use super::{Color, EXIT_OK, files, out};

pub(super) fn check(paths: &[PathBuf], color: Color) -> i32 {
    match files::load(paths, color) {
        Ok(loaded) => {
            let plural = if loaded.len() == 1 { "" } else { "s" };
            out(&format!("{} scenario{plural} without mistakes\n", loaded.len()));
            EXIT_OK
        }
        Err(code) => code,
    }
}
