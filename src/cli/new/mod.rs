//! `dvrlab new`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{ValueEnum, builder::PossibleValue};

use super::{EXIT_BAD_INPUT, EXIT_OK, err, out};

/// Arguments of `new`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file to write, best below a directory called `scenarios`: its name there is the scenario's. What stands there already is
    /// never overwritten.
    file: PathBuf,
    /// What to begin with.
    #[arg(long, value_enum, default_value_t = Topology::Snat)]
    topology: Topology,
}

/// A scenario to begin with. What it is for stands in its own first line, and is told from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topology {
    Snat,
    FloatingIp,
    EastWest,
    GatewayMove,
    Ipv6,
}

impl Topology {
    fn name(self) -> &'static str {
        match self {
            Self::Snat => "snat",
            Self::FloatingIp => "floating-ip",
            Self::EastWest => "east-west",
            Self::GatewayMove => "gateway-move",
            Self::Ipv6 => "ipv6",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Snat => include_str!("snat.yaml"),
            Self::FloatingIp => include_str!("floating-ip.yaml"),
            Self::EastWest => include_str!("east-west.yaml"),
            Self::GatewayMove => include_str!("gateway-move.yaml"),
            Self::Ipv6 => include_str!("ipv6.yaml"),
        }
    }
}

impl ValueEnum for Topology {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Snat, Self::FloatingIp, Self::EastWest, Self::GatewayMove, Self::Ipv6]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let summary = self.text().lines().next().unwrap_or_default().trim_start_matches("# ").trim_end_matches('.');
        Some(PossibleValue::new(self.name()).help(summary))
    }
}

/// Writes the file and says what to do with it.
pub(super) fn new(arguments: &Arguments) -> i32 {
    let mut file = arguments.file.clone();
    if file.extension().is_none() {
        file.set_extension("yaml");
    }
    if arguments.file.is_dir() || file.extension().is_none_or(|extension| extension != "yaml") {
        err(&format!("error: {}: name a file `*.yaml` to write\n", arguments.file.display()));
        return EXIT_BAD_INPUT;
    }
    if let Err(error) = write(&file, arguments.topology.text()) {
        let told = if error.kind() == io::ErrorKind::AlreadyExists {
            "it exists already, and is left as it is".to_owned()
        } else {
            error.to_string()
        };
        err(&format!("error: {}: {told}\n", file.display()));
        return EXIT_BAD_INPUT;
    }
    let file = file.display();
    out(&format!(
        "wrote {file} ({})

  dvrlab run {file}           what is reached from where, as it stands
  dvrlab graph {file}         its topology as SVG
  dvrlab run --accept {file}  keep what it shows as its snapshots
",
        arguments.topology.name()
    ));
    EXIT_OK
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    File::create_new(file)?.write_all(text.as_bytes())
}
