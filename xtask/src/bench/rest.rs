//! What a running controller does, beside what the machine could do, in turns within one run.
//!
//! - *trivial handler*: axum answering the same body without looking at anything: the price of HTTP;
//! - *the store alone*: the same two commits a creation, without a controller around them;
//! - *plain log*: as many bytes as a commit has, appended and synced for everybody who waits at once: the price of being durable.
//!
//! The pool is in memory (`/dev/shm`), so that its driver answers at once; the records are on the disk that is measured.

use super::Effort;
use super::controller::{Server, TENANT};
use super::report::Report;
use super::tool::{Spread, Trivial, load, measure, words};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;

/// How many clients at once.
pub(super) const CLIENTS: [usize; 3] = [1, 32, 256];
/// About as many bytes as one commit of a creation writes: a volume's row with its 12 entries in indices, and an entry of the journal.
const BYTES: usize = 1500;

/// Measures in `folder` and prints a table.
pub(super) fn run(folder: &Path, effort: &Effort, report: &mut Report) -> Result<()> {
    std::fs::create_dir_all(folder).context("cannot make a folder")?;
    let pool = tempfile::tempdir_in("/dev/shm").context("no folder in memory")?;
    let server = Server::start_with(&folder.join("data"), "", Some(pool.path()))?;
    let sample = server.sample()?;
    let trivial = Trivial::start(&sample.to_string())?;
    println!("| what | clients | a second | p50 ms | p99 ms | µs of its processor | beside |");
    println!("|---|---|---|---|---|---|---|");
    let path = format!("/v1beta/{TENANT}/block/volumes/{}", sample["id"].as_str().context("an id")?);
    for clients in CLIENTS {
        let (mut bare, mut got) = (Vec::new(), Vec::new());
        for _ in 0..effort.rounds {
            bare.push(trivial.load(clients, effort.seconds)?);
            got.push(load(&server, "get", &path, clients, effort.seconds, "")?);
        }
        row(report, "trivial handler, same body", clients, &bare, "");
        row(report, "GET a volume", clients, &got, &format!("**{:.2}** of the trivial handler", ratio(&got, &bare)));
    }
    for clients in CLIENTS {
        creations(folder, &server, clients, effort, report)?;
    }
    Ok(())
}

fn creations(folder: &Path, server: &Server, clients: usize, effort: &Effort, report: &mut Report) -> Result<()> {
    let (mut log, mut store, mut made) = (Vec::new(), Vec::new(), Vec::new());
    let (folder, seconds) = (folder.display(), effort.seconds);
    let collection = format!("/v1beta/{TENANT}/block/volumes");
    for _ in 0..effort.rounds {
        log.push(measure(&words(&format!(
            "log --file {folder}/log --bytes {BYTES} --each 2 --clients {clients} --seconds {seconds}"
        )))?);
        store.push(measure(&words(&format!("store --folder {folder}/store --clients {clients} --seconds {seconds}")))?);
        made.push(load(server, "create", &collection, clients, seconds, "")?);
    }
    row(report, "plain log: two appends of 1,500 bytes", clients, &log, "");
    row(report, "the store alone: two commits", clients, &store, &format!("**{:.2}** of the plain log", ratio(&store, &log)));
    row(report, "create until available", clients, &made, &format!("**{:.2}** of the store alone", ratio(&made, &store)));
    Ok(())
}

fn ratio(of: &[Value], beside: &[Value]) -> f64 {
    Spread::of(of, "rate").median / Spread::of(beside, "rate").median
}

/// Notes and prints a row.
fn row(report: &mut Report, what: &str, clients: usize, told: &[Value], beside: &str) {
    report.note("rest", what, &json!({ "clients": clients }), told);
    let [rate, p50, p99, busy] = ["rate", "p50", "p99", "busy"].map(|field| Spread::of(told, field));
    let busy = if busy.median.is_nan() { String::new() } else { format!("{:.0}", busy.median) };
    let (p50, p99) = (p50.median / 1e3, p99.median / 1e3);
    println!("| {what} | {clients} | {} | {p50:.2} | {p99:.2} | {busy} | {beside} |", rate.tell(1.0, 0));
}
