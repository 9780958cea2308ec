//! Plays the simulation, optimised, with whatever `simulate` understands: see `cargo xtask sim --help` and docs/reliability.md.
//!
//! Not here: what is played and how failures are made small (`crates/sim`).

use super::bench::controller::target;
use super::step;
use crate::tally::Tally;
use anyhow::Result;
use std::process::Command;

/// How long every run of everything plays: about 25 million simulated operations on two cores.
const MINUTES: u64 = 2;

/// What is handed on to `simulate`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// For example `--seed 7`, `--minutes 3`, `--seeds 1000 --from 1`; `--help` tells all.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Options {
    pub(crate) fn run(&self) -> Result<()> {
        step("simulation", simulate().args(&self.args))
    }
}

fn simulate() -> Command {
    let mut command = Command::new("cargo");
    command.args(["run", "--quiet", "--release", "--package", "sim", "--bin", "simulate", "--"]);
    command
}

/// Plays for some minutes from a seed that differs each time.
///
/// # Errors
/// A promise was broken; the line that replays it is printed.
pub(crate) fn play(minutes: u64) -> Result<()> {
    played(simulate(), minutes)
}

fn played(mut simulate: Command, minutes: u64) -> Result<()> {
    step("simulation", simulate.args(["--minutes", &minutes.to_string()]))
}

/// The bounded run of `cargo xtask test`.
pub(crate) fn test() -> Tally {
    let mut tally = Tally::default();
    // As cargo has built it with the tests.
    match played(Command::new(target().join("release/simulate")), MINUTES) {
        Ok(()) => tally.passed += 1,
        Err(why) => tally.fail(format!("simulation: {why:#}")),
    }
    tally
}
