//! `cargo xtask torture` and `cargo xtask soak`: the release binary, tortured; whatever it ever said is held against what is there.
//!
//! - `points`: kill -9 and every error at every fail point that the binary has, one after the other;
//! - `storm`: clients at random, live NBD clients, and faults at random, for as long as is asked;
//! - `damage`: the records damaged between two runs, the data folder removed, now and then between two rounds;
//! - `verdict`: what is compared after each, by `checker` (history and journal), `disk` (records, files, exports, diagnosis), `live` (bytes).
//!
//! The choices come from one seed, which is printed. What clients and faults meet depends on the machine too: a run from the same seed is
//! alike, not the same; the violation itself tells the whole story.

mod checker;
mod claim;
mod damage;
mod disk;
mod faults;
mod history;
mod live;
mod load;
mod place;
mod points;
mod report;
mod rules;
mod storm;
mod verdict;

use anyhow::{Context, Result, bail};
use points::Point;
use report::Totals;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long the random torture lasts in `cargo xtask test`.
const TEST_MINUTES: u64 = 2;
/// The seed there: a run that fails there fails for its change, not for its luck.
const TEST_SEED: u64 = 1;

/// What is tortured, and for how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// For how many minutes at random.
    #[arg(long, default_value_t = 3)]
    minutes: u64,
    /// What is chosen from; another one each time if it is left out.
    #[arg(long)]
    seed: Option<u64>,
    /// Only the fail points whose names contain this; `none` leaves all out.
    #[arg(long, default_value = "")]
    points: String,
}

impl Options {
    pub(crate) fn run(&self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        crate::bench::controller::build()?;
        let found = tortured(&self.points, self.minutes, self.seed.unwrap_or(now))?;
        if found.is_empty() { Ok(()) } else { bail!("the torture found something") }
    }
}

/// What the soak is made of, and for how long.
#[derive(clap::Args)]
pub(crate) struct Soak {
    /// For how many minutes the torture lasts, after every fail point was struck once.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// What is chosen from; another one each time if it is left out.
    #[arg(long)]
    seed: Option<u64>,
    /// For how many minutes the simulation is played afterwards.
    #[arg(long, default_value_t = 10)]
    sim_minutes: u64,
    /// For how many seconds each fuzz target runs afterwards; needs a nightly toolchain and cargo-fuzz.
    #[arg(long, default_value_t = 0)]
    fuzz_seconds: u64,
}

impl Soak {
    /// Runs its parts one after the other: each is measured alone.
    pub(crate) fn run(self) -> Result<()> {
        Options { minutes: self.minutes, seed: self.seed, points: String::new() }.run()?;
        if self.sim_minutes > 0 {
            crate::sim::play(self.sim_minutes)?;
        }
        if self.fuzz_seconds > 0 {
            crate::fuzz::Fuzz::each_for(self.fuzz_seconds).run()?;
        }
        Ok(())
    }
}

/// The bounded run of `cargo xtask test`. What was found, a line each.
///
/// # Errors
/// Why it could not be run.
pub(crate) fn test() -> Result<Vec<String>> {
    tortured("", TEST_MINUTES, TEST_SEED)
}

fn tortured(wanted: &str, minutes: u64, seed: u64) -> Result<Vec<String>> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let points = Point::all()?;
    let (begun, mut totals, mut found) = (Instant::now(), Totals::default(), Vec::new());
    let struck: Vec<Point> = points.iter().filter(|point| point.name.contains(wanted)).cloned().collect();
    if !struck.is_empty() {
        println!("== torture: {} of {} fail points", struck.len(), points.len());
        let (sum, violations) = points::torture(&folder.path().join("points"), &struck)?;
        totals += sum;
        found.extend(violations);
        println!("== torture: fail points: {} s; {totals}", begun.elapsed().as_secs());
    }
    if minutes > 0 {
        println!("== torture: {minutes} min at random from seed {seed} (again: cargo xtask torture --seed {seed})");
        let until = Instant::now() + Duration::from_secs(minutes * 60);
        let (sum, violations) = storm::torture(&folder.path().join("storm"), seed, until, &points)?;
        totals += sum;
        found.extend(violations);
    }
    tell(totals, &found, begun, folder);
    Ok(found)
}

fn tell(mut totals: Totals, found: &[String], begun: Instant, folder: tempfile::TempDir) {
    totals.violations = found.len() as u64;
    println!("== torture: {} s; {totals}", begun.elapsed().as_secs());
    if found.is_empty() {
        return;
    }
    let kept: &Path = &folder.keep();
    // Whoever cannot write there has the first ones above.
    let _ = std::fs::write(kept.join("violations.txt"), found.join("\n"));
    println!("== torture: all violations, and what the controllers said, are kept in {}", kept.display());
}
