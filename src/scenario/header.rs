//! The header comment: a first sentence, then the paragraphs Setup, Change, Seen, Mirrors.

use super::note::{Notes, listed};

/// What a scenario is about, in its author's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Story {
    /// The first paragraph: what `list` and reports show.
    pub summary: String,
    /// What exists at the start.
    pub setup: String,
    /// What the steps do.
    pub change: String,
    /// What must be seen.
    pub seen: String,
    /// Ids of the cases that it mirrors.
    pub mirrors: String,
}

/// Reads the comment lines at the top of `text`. What is missing is noted as a warning.
pub(super) fn read(text: &str, notes: &mut Notes) -> Story {
    let mut story = Story::default();
    let mut ended = false;
    let mut paragraph = String::new();
    let lines = text.lines().take_while(|line| line.starts_with('#'));
    let mut end = 0;
    for line in lines {
        end += line.len() + 1;
        let line = line.trim_start_matches('#').trim();
        match line.split_once(':') {
            Some((label @ ("Setup" | "Change" | "Seen" | "Mirrors"), rest)) => {
                ended = false;
                label.clone_into(&mut paragraph);
                append(&mut story, label, rest.trim());
            }
            _ if line.is_empty() => ended = true,
            _ if ended && paragraph.is_empty() => {}
            Some(_) | None => append(&mut story, &paragraph, line),
        }
    }
    warn(&story, text, end, notes);
    story
}

fn append(story: &mut Story, paragraph: &str, text: &str) {
    let part = match paragraph {
        "Setup" => &mut story.setup,
        "Change" => &mut story.change,
        "Seen" => &mut story.seen,
        "Mirrors" => &mut story.mirrors,
        _ => &mut story.summary,
    };
    if !part.is_empty() && !text.is_empty() {
        part.push(' ');
    }
    part.push_str(text);
}

fn warn(story: &Story, text: &str, end: usize, notes: &mut Notes) {
    let first_line = text.lines().next().map_or(0, str::len);
    if end == 0 {
        notes
            .warning(0..first_line, "the header comment is missing")
            .help("begin with one sentence that says what the scenario shows, then `# Setup:`, `# Change:`, `# Seen:`, `# Mirrors:`");
        return;
    }
    let paragraphs =
        [("Setup", &story.setup), ("Change", &story.change), ("Seen", &story.seen), ("Mirrors", &story.mirrors)];
    let missing = || paragraphs.iter().filter(|(_, text)| text.is_empty()).map(|(name, _)| *name);
    let message = match (story.summary.is_empty(), missing().count()) {
        (false, 0) => return,
        (true, 0) => "the header comment has no first sentence".to_owned(),
        (false, _) => format!("the header comment lacks {}", listed(missing())),
        (true, _) => format!("the header comment lacks its first sentence and {}", listed(missing())),
    };
    notes
        .warning(0..first_line, message)
        .help("one sentence, then `# Setup:`, `# Change:`, `# Seen:`, `# Mirrors:`: reports show readers nothing else of the file");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_run_over_several_lines() {
        let mut notes = Notes::default();
        let text = "# It works.\n#\n# Setup:   one\n#          two.\n# Change:  none.\n# Seen:    off: nothing.\n# Mirrors: MP-01.\ntags: []\n";
        let story = read(text, &mut notes);
        assert_eq!(story.summary, "It works.");
        assert_eq!(story.setup, "one two.");
        assert_eq!(story.seen, "off: nothing.");
        assert_eq!(story.mirrors, "MP-01.");
        assert!(notes.split(text).1.is_empty());
    }

    #[test]
    fn what_is_missing_is_a_warning() {
        for (text, words) in [("hosts: {}\n", "missing"), ("# Only this.\nhosts: {}\n", "lacks `Setup`")] {
            let mut notes = Notes::default();
            read(text, &mut notes);
            let (errors, warnings) = notes.split(text);
            assert!(errors.is_empty() && warnings.len() == 1 && warnings[0].message.contains(words), "{warnings:?}");
        }
    }
}
