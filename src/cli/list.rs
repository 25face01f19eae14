//! `dvrlab list`.

use super::files::Selection;
use super::{Color, EXIT_OK, out};

pub(super) fn list(selection: &Selection, color: Color) -> i32 {
    let loaded = match selection.load(color) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let width = loaded.iter().map(|one| one.scenario.name.len()).max().unwrap_or(0);
    for one in loaded {
        let scenario = one.scenario;
        let tags = if scenario.tags.is_empty() { String::new() } else { format!("  [{}]", scenario.tags.join(", ")) };
        out(&format!("{:<width$}  {}{tags}\n", scenario.name, scenario.story.summary));
    }
    EXIT_OK
}
