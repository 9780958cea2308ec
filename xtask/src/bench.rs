//! `cargo xtask bench`: what a running controller and its data plane do, beside what the machine and other servers could do.
//!
//! Absolute figures of shared machines mean little; the ratios between figures of one run are what is compared.

mod chart;
mod compare;
pub(crate) mod controller;
mod events;
mod nbd;
mod report;
mod rest;
mod scale;
mod start;
mod tool;

use anyhow::{Context, Result, ensure};
use report::Report;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to measure, and how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Measure this part only.
    part: Option<Part>,
    /// How many seconds each server gets in each row of `nbd`.
    #[arg(long, default_value_t = 6.0)]
    seconds: f64,
    /// A short look: a second a server and row, in one round.
    #[arg(long)]
    quick: bool,
    /// Measure only the rows of `nbd` whose name contains this; several are separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Measure `rest` beside the controller of this commit, in turns; its build is kept in `compare` of the build folder.
    #[arg(long, value_name = "REV")]
    compare: Option<String>,
    /// Write what was measured into this file as JSON too: on what machine, of which commit, and each round's figures.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the temporary folder is made; the system's place for such by default.
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The controller: requests and commits.
    Rest,
    /// The stream of events: how soon, and at what cost.
    Events,
    /// A fresh start, a start after a crash with ten thousand volumes under way, and whether tenants are fair to one another.
    Start,
    /// How cost grows from a thousand volumes to a million; takes some ten minutes and 10 GB of disk.
    Scale,
    /// The data plane, beside other NBD servers.
    Nbd,
}

/// How much of the controller is measured.
struct Effort {
    rounds: u32,
    seconds: f64,
}

impl Effort {
    const fn new(is_quick: bool) -> Self {
        if is_quick { Self { rounds: 1, seconds: 1.0 } } else { Self { rounds: 5, seconds: 2.0 } }
    }
}

/// Runs it all and prints tables.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.compare.is_none() || options.part == Some(Part::Rest), "only `rest` is compared: bench rest --compare REV");
    let other = options.compare.as_deref().map(compare::Other::find).transpose()?;
    // Each by itself, as it is shipped: together they would share the features of their dependencies, and some of those are for tests.
    for package in ["berth", "bench"] {
        let built = cargo().args(["build", "--release", "-p", package]).status().context("cannot run cargo")?;
        ensure!(built.success(), "the release build of {package} failed");
    }
    let folder = options.folder.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::tempdir_in(folder).context("cannot make a temporary folder")?;
    let mut report = Report::new(options.json.as_deref(), folder.path())?;
    let measured = match other {
        Some(other) => other.build().and_then(|()| {
            let effort = Effort::new(options.quick);
            compare::run(&folder.path().join("compare"), &effort, &other, &mut report)
        }),
        None => measure(options, folder.path(), &mut report),
    };
    // What was measured before something failed is worth keeping.
    report.write(measured.is_ok())?;
    measured
}

/// Cargo as if called by hand: what it tells this command of its own package would have dependencies be built anew that look at it (ring does).
fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    let told = std::env::vars_os().map(|(name, _)| name);
    let own =
        told.filter(|name| name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")));
    own.for_each(|name| _ = cargo.env_remove(name));
    cargo
}

fn measure(options: &Options, folder: &Path, report: &mut Report) -> Result<()> {
    let wants = |part| options.part.is_none_or(|only| only == part);
    if wants(Part::Rest) {
        rest::run(&folder.join("rest"), &Effort::new(options.quick), report)?;
    }
    if wants(Part::Events) {
        events::run(&folder.join("events"), report)?;
    }
    if wants(Part::Start) {
        start::run(&folder.join("start"), report)?;
    }
    if options.part == Some(Part::Scale) {
        scale::run(&folder.join("scale"), &Effort::new(options.quick), report)?;
    }
    if wants(Part::Nbd) {
        nbd::run(&folder.join("nbd"), &nbd::Effort::new(options.seconds, options.quick, &options.only), report)?;
    }
    Ok(())
}
