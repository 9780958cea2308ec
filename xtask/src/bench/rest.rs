//! What a running controller does, beside what the machine could do, in turns within one run.
//!
//! - *trivial handler*: axum answering the same body without looking at anything: the price of HTTP;
//! - *the store alone*: the same two commits a creation, without a controller around them;
//! - *a driver that does nothing*: the same engine, routes and store, with the driver in memory; *the file driver alone*: without a controller;
//! - *plain log*: as many bytes as a commit has, appended and synced for everybody who waits at once: the price of being durable.
//!
//! The pool is in memory (`/dev/shm`), so that its driver answers at once; the records are on the disk that is measured.

use super::Effort;
use super::controller::{Server, TENANT};
use super::report::Report;
use super::tool::{Aged, Beside, Spread, age, load, measure, words};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;

/// How many clients at once.
pub(super) const CLIENTS: [usize; 3] = [1, 32, 256];
/// About as many bytes as one commit of a creation writes: a volume's row with its 12 entries in indices, and an entry of the journal.
const BYTES: usize = 1500;
/// At how many clients of the closed loop the rate is taken of which the open loop asks for a part.
const BUSY: usize = 32;
/// Which part: enough to be work, and little enough that a server which keeps up builds no queue.
const PART: f64 = 0.5;
/// How many clients the open loop has: so many requests may be under way before one that is due waits for a client.
const OPEN: usize = 256;
/// How many times as long a round is where one in a thousand counts.
const LONGER: f64 = 4.0;

/// What is measured, and with what.
struct Rest<'a> {
    folder: &'a Path,
    effort: &'a Effort,
    server: Server,
    trivial: Beside,
    /// A controller whose driver does nothing.
    instant: Beside,
    pool: &'a Path,
    /// The path of all volumes.
    collection: String,
    aged: Aged,
    report: &'a mut Report,
}

/// Measures in `folder` and prints tables.
pub(super) fn run(folder: &Path, effort: &Effort, report: &mut Report) -> Result<()> {
    std::fs::create_dir_all(folder).context("cannot make a folder")?;
    let pool = tempfile::tempdir_in("/dev/shm").context("no folder in memory")?;
    let server = Server::start_with(&folder.join("data"), "", Some(pool.path()))?;
    let aged = age(&server, &folder.join("ids"))?;
    let sample = server.sample()?;
    let trivial = Beside::trivial(&sample.to_string())?;
    let instant = Beside::instant(&folder.join("instant"))?;
    let alone = tempfile::tempdir_in("/dev/shm").context("no folder in memory")?;
    let collection = format!("/v1beta/{TENANT}/block/volumes");
    let mut rest = Rest { folder, effort, server, trivial, instant, pool: alone.path(), collection, aged, report };
    println!("| what | clients | a second | p50 ms | p99 ms | µs of its processor | beside |");
    println!("|---|---|---|---|---|---|---|");
    let mut rates = [0.0; 2];
    for clients in CLIENTS {
        let rate = rest.reads(clients)?;
        rates[0] = if clients == BUSY { rate } else { rates[0] };
    }
    for clients in CLIENTS {
        let rate = rest.creations(clients)?;
        rates[1] = if clients == BUSY { rate } else { rates[1] };
    }
    rest.open(rates)?;
    rest.stalls()
}

impl Rest<'_> {
    /// Gives the rate of the server.
    fn reads(&mut self, clients: usize) -> Result<f64> {
        let seconds = self.effort.seconds;
        let (mut bare, mut many, mut few) = (Vec::new(), Vec::new(), Vec::new());
        let one = format!("{}/{{id}}", self.collection);
        let [of_many, of_few] = [&self.aged.many, &self.aged.few].map(|ids| format!("--ids {}", ids.display()));
        for _ in 0..self.effort.rounds {
            bare.push(self.trivial.load("get", "/", clients, seconds, "")?);
            many.push(load(&self.server, "get", &one, clients, seconds, &of_many)?);
            few.push(load(&self.server, "get", &one, clients, seconds, &of_few)?);
        }
        self.row("trivial handler, same body", clients, &bare, "");
        for (what, told) in [("GET one of 30,000", &many), ("GET one of a thousand", &few)] {
            self.row(what, clients, told, &format!("**{:.2}** of the trivial handler", ratio(told, &bare)));
        }
        Ok(Spread::of(&many, "rate").median)
    }

    /// Gives the rate of the server.
    fn creations(&mut self, clients: usize) -> Result<f64> {
        let (mut log, mut store, mut files, mut instant, mut made) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (folder, pool, seconds) = (self.folder.display(), self.pool.display(), self.effort.seconds);
        for _ in 0..self.effort.rounds {
            log.push(measure(&words(&format!(
                "log --file {folder}/log --bytes {BYTES} --each 2 --clients {clients} --seconds {seconds}"
            )))?);
            store.push(measure(&words(&format!("store --folder {folder}/store --clients {clients} --seconds {seconds}")))?);
            files.push(measure(&words(&format!("files --pool {pool} --clients {clients} --seconds {seconds}")))?);
            instant.push(self.instant.load("create", &self.collection, clients, seconds, "")?);
            made.push(load(&self.server, "create", &self.collection, clients, seconds, "")?);
        }
        self.row("plain log: two appends of 1,500 bytes", clients, &log, "");
        self.row("the store alone: two commits", clients, &store, &format!("**{:.2}** of the plain log", ratio(&store, &log)));
        self.row("the file driver alone: one file", clients, &files, "");
        let of_store = |told: &[Value]| format!("**{:.2}** of the store alone", ratio(told, &store));
        self.row("create until available, a driver that does nothing", clients, &instant, &of_store(&instant));
        self.row("create until available", clients, &made, &of_store(&made));
        Ok(Spread::of(&made, "rate").median)
    }

    /// Notes and prints a row.
    fn row(&mut self, what: &str, clients: usize, told: &[Value], beside: &str) {
        self.report.note("rest", what, &json!({ "clients": clients }), told);
        let [rate, p50, p99, busy] = ["rate", "p50", "p99", "busy"].map(|field| Spread::of(told, field));
        let busy = if busy.median.is_nan() { String::new() } else { format!("{:.0}", busy.median) };
        let (p50, p99) = (p50.median / 1e3, p99.median / 1e3);
        println!("| {what} | {clients} | {} | {p50:.2} | {p99:.2} | {busy} | {beside} |", rate.tell(1.0, 0));
    }

    /// The open loop, at a part of these rates of GET and create: what those wait who do not wait for one another.
    fn open(&mut self, rates: [f64; 2]) -> Result<()> {
        println!(
            "\n| open loop, {OPEN} clients | due a second | done a second | p50 ms | p99 ms | p99.9 ms | µs of its processor |"
        );
        println!("|---|---|---|---|---|---|---|");
        let seconds = self.effort.seconds * LONGER;
        let (one, ids) = (format!("{}/{{id}}", self.collection), format!("--ids {}", self.aged.many.display()));
        let asked =
            [("GET one of 30,000", "get", one, ids), ("create until available", "create", self.collection.clone(), String::new())];
        for ((what, ask, path, more), rate) in asked.into_iter().zip(rates) {
            let due = (rate * PART).ceil();
            let paced = format!("--rate {due}");
            let (mut bare, mut told) = (Vec::new(), Vec::new());
            for _ in 0..self.effort.rounds {
                bare.push(self.trivial.load("get", "/", OPEN, seconds, &paced)?);
                told.push(load(&self.server, ask, &path, OPEN, seconds, &format!("{paced} {more}"))?);
            }
            self.open_row("trivial handler, same body", due, &bare);
            self.open_row(what, due, &told);
        }
        Ok(())
    }

    /// Notes and prints a row of the open loop.
    fn open_row(&mut self, what: &str, due: f64, told: &[Value]) {
        self.report.note("rest", &format!("open loop: {what}"), &json!({ "clients": OPEN, "due": due }), told);
        let [rate, busy] = ["rate", "busy"].map(|field| Spread::of(told, field).median);
        let [p50, p99, p999] = ["p50", "p99", "p999"].map(|field| Spread::of(told, field).tell(1e-3, 2));
        println!("| {what} | {due:.0} | {rate:.0} | {p50} | {p99} | {p999} | {busy:.0} |");
    }

    /// What commits wait while the store moves its log into the database, and how large the log grows.
    fn stalls(&mut self) -> Result<()> {
        let (folder, seconds) = (self.folder.display(), self.effort.seconds * LONGER);
        let (mut log, mut store) = (Vec::new(), Vec::new());
        for _ in 0..self.effort.rounds {
            log.push(measure(&words(&format!("log --file {folder}/log --bytes {BYTES} --clients {BUSY} --seconds {seconds}")))?);
            store.push(measure(&words(&format!("store --folder {folder}/store --clients {BUSY} --seconds {seconds}")))?);
        }
        let commits: Vec<Value> = store.iter().map(|told| told["commit"].clone()).collect();
        let kept: Vec<Value> = store.iter().map(|told| told["log"].clone()).collect();
        println!("\n| beside checkpoints, {BUSY} clients | a second | p50 ms | p99 ms | p99.9 ms | longest ms | beside |");
        println!("|---|---|---|---|---|---|---|");
        let ratio = Spread::ratio(&commits, &log, "p999").tell(1.0, 2);
        self.stalls_row("plain log: one append of 1,500 bytes", &log, "");
        self.stalls_row("the store alone: one commit", &commits, &format!("p99.9 **{ratio}** of the plain log"));
        self.report.note("rest", "the store's log, bytes", &json!({ "clients": BUSY }), &kept);
        let (most, begun) = (Spread::of(&kept, "most").tell(1.0 / f64::from(1 << 20), 0), Spread::of(&kept, "begun").tell(1.0, 0));
        println!("\nthe store's log: at most {most} MiB, begun anew {begun} times in {seconds} s");
        Ok(())
    }

    /// Notes and prints a row of stalls.
    fn stalls_row(&mut self, what: &str, told: &[Value], beside: &str) {
        self.report.note("rest", &format!("beside checkpoints: {what}"), &json!({ "clients": BUSY }), told);
        let rate = Spread::of(told, "rate").tell(1.0, 0);
        let [p50, p99, p999, max] = ["p50", "p99", "p999", "max"].map(|field| Spread::of(told, field).median / 1e3);
        println!("| {what} | {rate} | {p50:.2} | {p99:.2} | {p999:.2} | {max:.2} | {beside} |");
    }
}

fn ratio(of: &[Value], beside: &[Value]) -> f64 {
    Spread::of(of, "rate").median / Spread::of(beside, "rate").median
}
