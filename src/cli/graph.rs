//! `dvrlab graph`.

use clap::ValueEnum;

use super::{Color, EXIT_BAD_INPUT, EXIT_OK, err, files, out, why};
use crate::report::drawing;
use crate::run::planned_scene;

/// Arguments of `graph`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A scenario file; with `@STEP` as it is after that step, by number or name, else as it begins.
    #[arg(value_name = "SCENARIO[@STEP]")]
    scenario: String,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Svg)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A drawing for a browser.
    Svg,
    /// For a `mermaid` block in Markdown.
    Mermaid,
    /// For Graphviz.
    Dot,
}

/// Prints the topology, building nothing.
pub(super) fn graph(arguments: &Arguments, color: Color) -> i32 {
    let (file, step) = why::parted(&arguments.scenario);
    let mut loaded = match files::load(&[file], color) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let (Some(one), true) = (loaded.pop(), loaded.is_empty()) else {
        err("error: this is a directory: name one scenario\n");
        return EXIT_BAD_INPUT;
    };
    let scenario = one.scenario;
    let steps = match why::steps(&scenario, Some(step.as_deref().unwrap_or("0"))) {
        Ok(steps) => steps,
        Err(told) => {
            err(&format!("error: {told}\n"));
            return EXIT_BAD_INPUT;
        }
    };
    match planned_scene(&scenario, steps) {
        Ok(scene) => {
            out(&match arguments.format {
                Format::Svg => drawing::standalone(&format!("Topology of {}", scenario.name), &scene),
                Format::Mermaid => drawing::mermaid(&scene),
                Format::Dot => drawing::dot(&scene),
            });
            EXIT_OK
        }
        Err(error) => {
            err(&format!("error: {}\n", super::run::chain(&error)));
            EXIT_BAD_INPUT
        }
    }
}
