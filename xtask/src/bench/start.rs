//! A fresh start, a start after a crash, and fairness among tenants.

use super::controller::{Server, TENANT, binary, get};
use super::report::Report;
use super::tool::{Beside, load};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How many fresh starts there are.
const STARTS: usize = 20;
/// How many volumes are under way when the controller is killed.
const UNDER_WAY: usize = 10_000;
/// How long a page of 50 is, about.
const PAGE_BYTES: usize = 24_000;
/// How long a quiet tenant is looked at, in seconds: some hundred requests, or their slowest hundredth would be one or two.
const SECONDS: f64 = 12.0;

/// Measures in `folder` and prints tables.
pub(super) fn run(folder: &Path, report: &mut Report) -> Result<()> {
    std::fs::create_dir_all(folder).context("cannot make a folder")?;
    fresh(folder, report)?;
    crashed(&folder.join("crashed"), report)?;
    fair(&folder.join("fair"), report)
}

fn fresh(folder: &Path, report: &mut Report) -> Result<()> {
    let mut took = Vec::new();
    let (mut controller, mut plane) = (0, 0);
    for turn in 0..STARTS {
        let data = folder.join(format!("fresh-{turn}"));
        let begun = Instant::now();
        let server = Server::start(&data)?;
        get(&server.agent, &format!("{}/version", server.base()))?;
        took.push(begun.elapsed());
        controller = controller.max(server.resident()?);
        plane = plane.max(super::controller::resident(server.data_plane()?)?);
        server.stop()?;
    }
    let each: Vec<_> = took.iter().map(|took| json!({ "ms": took.as_secs_f64() * 1e3 })).collect();
    report.note("start", "an empty folder, from exec to the first answer", &json!({}), &each);
    report.note("start", "resident after it, bytes", &json!({}), &[json!({ "controller": controller, "dataPlane": plane })]);
    took.sort_unstable();
    let ms = |at: usize| took[at].as_secs_f64() * 1e3;
    println!(
        "\n{STARTS} starts on empty folders, from exec to the first answer: p50 {:.0} ms, slowest {:.0} ms",
        ms(STARTS / 2),
        ms(STARTS - 1)
    );
    println!("resident after it: controller {:.1} MiB, data plane {:.1} MiB", mib(controller), mib(plane));
    let stripped = folder.join("stripped");
    let done = Command::new("strip").arg("-o").arg(&stripped).arg(binary()).status().context("cannot run strip")?;
    ensure!(done.success(), "the binary cannot be stripped");
    let bytes = std::fs::metadata(stripped)?.len();
    println!("the stripped binary: {:.1} MiB", mib(bytes));
    report.note("start", "the stripped binary", &json!({}), &[json!({ "bytes": bytes })]);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Accepts thousands of volumes before a slow driver makes one, kills the controller, and times how long the next one takes.
fn crashed(folder: &Path, report: &mut Report) -> Result<()> {
    std::fs::create_dir_all(folder).context("cannot make a folder")?;
    let (data, pool) = (folder.join("data"), folder.join("pool"));
    let server = Server::start_so(&data, "", Some(&pool), &["--slow-ms", "60000"])?;
    let collection = format!("/v1beta/{TENANT}/block/volumes");
    let listed = |server: &Server, status: &str, limit: usize| -> Result<usize> {
        let all = get(&server.agent, &server.url(&format!("/block/volumes?status={status}&limit={limit}")))?;
        Ok(all.as_array().context("a list")?.len())
    };
    while listed(&server, "creating", UNDER_WAY * 2)? < UNDER_WAY {
        load(&server, "accept", &collection, 64, 1.0, "--warm 0")?;
    }
    let under_way = listed(&server, "creating", UNDER_WAY * 2)?;
    server.kill()?;
    let begun = Instant::now();
    let server = Server::start_with(&data, "", Some(&pool))?;
    while listed(&server, "creating", 1)? > 0 {
        ensure!(begun.elapsed() < Duration::from_secs(120), "they are not settled");
        std::thread::sleep(Duration::from_millis(50));
    }
    let took = begun.elapsed().as_secs_f64();
    let there = listed(&server, "available", UNDER_WAY * 2)?;
    ensure!(there == under_way, "of {under_way} volumes that were being created {there} are available");
    let about = json!({ "volumes": under_way });
    report.note("start", "killed with volumes being created, until all are available", &about, &[json!({ "seconds": took })]);
    println!("\nkilled with {under_way} volumes being created: all available {took:.1} s after the next exec");
    server.stop()
}

/// What a quiet tenant waits for, alone and beside one at full load; and what it would wait for of a server that does nothing, as the crowd's clients
/// are on the same processors.
fn fair(folder: &Path, report: &mut Report) -> Result<()> {
    std::fs::create_dir_all(folder).context("cannot make a folder")?;
    let pool = tempfile::tempdir_in("/dev/shm").context("no folder in memory")?;
    let server = Server::start_with(&folder.join("data"), "", Some(pool.path()))?;
    let path = |tenant: &str| format!("/v1beta/{tenant}/block/volumes");
    let quiet = |ask: &str, query: &str, rate: u32| {
        load(&server, ask, &format!("{}{query}", path("quiet")), 16, SECONDS, &format!("--rate {rate}"))
    };
    let idle = Beside::trivial(&"x".repeat(PAGE_BYTES))?;
    let measured = || -> Result<[Value; 3]> {
        let bare = || idle.load("get", "/", 16, SECONDS, "--rate 100");
        Ok([quiet("create", "", 40)?, quiet("get", "?limit=50", 100)?, bare()?])
    };
    let alone = measured()?;
    let beside = |ask: &str, query: &str| {
        std::thread::scope(|scope| {
            let noise = scope.spawn(|| load(&server, ask, &format!("{}{query}", path("noisy")), 256, SECONDS * 3.0 + 5.0, ""));
            std::thread::sleep(Duration::from_secs(1));
            let beside = measured();
            noise.join().expect("it does not panic")?;
            beside
        })
    };
    // Those that create first, so that there is something to list.
    let crowds = [
        ("256 clients of another that create without a pause", beside("create", "")?),
        ("256 that list pages of 50", beside("get", "?limit=50")?),
        ("256 that ask for one thing", beside("miss", "/{id}")?),
    ];
    let ms = |told: &Value, field: &str| told[field].as_f64().unwrap_or(f64::NAN) / 1e3;
    let cell = |told: &Value| format!("{:.1}, {:.1}", ms(told, "p50"), ms(told, "p99"));
    let whats =
        ["create until available, 40 a second", "a page of 50, 100 a second", "as many bytes of a server that does nothing"];
    println!("\n| a quiet tenant beside | {}: p50, p99 ms | ratio of p99 |", whats.join(": p50, p99 ms | ratio of p99 | "));
    println!("|---{}|", "|---|---".repeat(whats.len()));
    println!("| nobody | {} | |", alone.each_ref().map(cell).join(" | | "));
    for (crowd, told) in &crowds {
        let cells = told.iter().zip(&alone);
        let cells = cells.map(|(told, alone)| format!("{} | **{:.1}**", cell(told), ms(told, "p99") / ms(alone, "p99")));
        println!("| {crowd} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    for (crowd, told) in [("nobody", alone)].into_iter().chain(crowds) {
        for (what, told) in whats.iter().zip(&told) {
            report.note("start", what, &json!({ "beside": crowd }), std::slice::from_ref(told));
        }
    }
    server.stop()
}
