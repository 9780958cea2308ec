//! The data plane beside other NBD servers, on files of one folder, in one run.
//!
//! Inside a row the servers take turns, round after round, so that whatever else the machine does hits all alike; a figure is the
//! median of its rounds. Beside the rates stands what the server's own process paid: on a machine with few processors the client
//! eats most of the time, and the rates of all servers come to look alike.
//!
//! - `servers`: Berth and the peers, each serving a full and a sparse volume; `load`: the clients that drive them;
//! - `memory`: what a thousand idle exports and a hundred clients cost.

mod load;
mod memory;
mod servers;

use super::report::Report;
use anyhow::Result;
use load::{Case, Figure};
use serde_json::json;
use servers::Served;
use std::path::Path;
use std::time::Duration;

/// How many rounds a row has: enough for a median.
const ROUNDS: u32 = 3;

/// How much is measured.
pub(super) struct Effort {
    rounds: u32,
    each: Duration,
    only: Vec<String>,
}

impl Effort {
    pub(super) fn new(seconds: f64, quick: bool, only: &[String]) -> Self {
        let (rounds, seconds) = if quick { (1, 1.0) } else { (ROUNDS, seconds) };
        Self { rounds, each: Duration::from_secs_f64(seconds.max(0.1)) / rounds, only: only.to_vec() }
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part))
    }
}

/// Measures in `folder` and prints tables.
pub(super) fn run(folder: &Path, effort: &Effort, report: &mut Report) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let cases: Vec<Case> = load::cases().into_iter().filter(|case| effort.wants(&case.name())).collect();
    if !cases.is_empty() {
        compare(folder, &cases, effort, report)?;
    }
    if effort.wants("memory") {
        memory::run(&folder.join("memory"), report)?;
    }
    Ok(())
}

fn compare(folder: &Path, cases: &[Case], effort: &Effort, report: &mut Report) -> Result<()> {
    let source = servers::source(folder)?;
    let servers = servers::start(folder, &source)?;
    let names: Vec<_> = servers.iter().map(|server| server.name).collect();
    println!(
        "\nmedian (least to most) of {} rounds; in parentheses after the ratio: each server's own processor time",
        effort.rounds
    );
    println!("\n| case | clients | {} | ratio | µs of processor |", names.join(" | "));
    println!("|---|---|{}---|---|", "---|".repeat(names.len()));
    for case in cases {
        row(case, &servers, &source, effort, report)?;
    }
    Ok(())
}

fn row(case: &Case, servers: &[Served], source: &str, effort: &Effort, report: &mut Report) -> Result<()> {
    let mut figures: Vec<Vec<Figure>> = servers.iter().map(|_| Vec::new()).collect();
    for _ in 0..effort.rounds {
        for (server, figures) in servers.iter().zip(&mut figures) {
            figures.push(case.measure(server, source, effort.each)?);
        }
    }
    let rates: Vec<Spread> = figures.iter().map(|figures| Spread::of(figures.iter().map(|figure| figure.rate))).collect();
    let costs: Vec<Spread> = figures.iter().map(|figures| Spread::of(figures.iter().map(|figure| figure.cost))).collect();
    let best = rates[1..].iter().map(|rate| rate.median).fold(0.0, f64::max);
    let shown: Vec<String> = rates.iter().map(|rate| format!("{:.0} ({:.0}–{:.0})", rate.median, rate.least, rate.most)).collect();
    let costs: Vec<String> = costs.iter().map(|cost| format!("{:.1}", cost.median)).collect();
    let (name, unit) = (case.name(), case.unit());
    for (server, figures) in servers.iter().zip(&figures) {
        let told: Vec<_> = figures.iter().map(|figure| json!({ "rate": figure.rate, "busy": figure.cost })).collect();
        report.note("nbd", &name, &json!({ "clients": case.clients, "unit": unit, "of": server.name }), &told);
    }
    let ratio = rates[0].median / best;
    println!("| {name}, {unit}/s | {} | {} | **{ratio:.2}** | {} |", case.clients, shown.join(" | "), costs.join(" / "));
    Ok(())
}

/// The middle and the ends of some figures.
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Self { least: sorted[0], median: sorted[sorted.len() / 2], most: sorted[sorted.len() - 1] }
    }
}
