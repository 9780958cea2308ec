//! What the stream of events costs: from the commit to every watcher's socket, processor time a delivery, memory a watcher.

use super::controller::{Server, TENANT};
use super::report::Report;
use super::tool::{measure, words};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// How many watch everything, and how many milliseconds lie between two commits: in the last row they follow one another at once.
const CROWDS: [(usize, u64); 4] = [(1, 50), (100, 50), (1000, 200), (1000, 0)];
/// How many commits are told in each row.
const COMMITS: usize = 100;
/// How many idle ones watch one volume each.
const IDLE: usize = 10_000;

/// Measures in `folder` and prints tables.
pub(super) fn run(folder: &Path, report: &mut Report) -> Result<()> {
    std::fs::create_dir_all(folder).context("cannot make a folder")?;
    // Ten thousand connections are ten thousand files.
    let limit = Command::new("prlimit").args(["--nofile=20000:20000", "--pid"]).arg(std::process::id().to_string()).status();
    ensure!(limit.is_ok_and(|status| status.success()), "the limit of files cannot be raised to 20000");
    let http = format!("[http]\nconnections = {}\nstreams = {}\n", IDLE + 2000, IDLE + 1000);
    let server = Server::start_with(&folder.join("data"), &http, None)?;
    println!(
        "| watchers | commits/s | deliveries | of all | p50 ms | p99 ms | p99 ms from sending | µs of the server's processor a delivery |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (watchers, pause) in CROWDS {
        let told = watched(&server, "watch", watchers, &format!("--commits {COMMITS} --pause-ms {pause}"))?;
        report.note(
            "events",
            "watchers of everything",
            &json!({ "watchers": watchers, "pauseMs": pause }),
            std::slice::from_ref(&told),
        );
        let number = |pointer: &str| told.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN);
        println!(
            "| {watchers} | {:.0} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} |",
            number("/rate"),
            told["delivered"],
            number("/part"),
            number("/answered/p50") / 1e3,
            number("/answered/p99") / 1e3,
            number("/sent/p99") / 1e3,
            number("/busy"),
        );
    }
    let told = watched(&server, "idle", IDLE, "")?;
    report.note("events", "idle watchers of one volume", &json!({ "watchers": IDLE }), std::slice::from_ref(&told));
    let more = told["more"].as_u64().unwrap_or_default() >> 20;
    println!("\n{IDLE} idle watchers: {more} MiB more resident memory of the server, {} bytes each", told["each"]);
    Ok(())
}

fn watched(server: &Server, how: &str, watchers: usize, more: &str) -> Result<Value> {
    let volume = server.create(&server.agent, 0)?;
    let (to, pid) = (server.address()?, server.pid());
    let path = format!("/v1beta/{TENANT}/block");
    measure(&words(&format!("{how} --to {to} --pid {pid} --path {path} --volume {volume} --watchers {watchers} {more}")))
}
