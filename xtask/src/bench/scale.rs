//! How cost grows with the number of things that exist: start, memory, disk, requests, lists, commits.
//!
//! Stores and pools are filled beforehand; then the released controller starts on them as it would after years. It looks at the whole backend first,
//! with all of a processor; a million volumes take it a minute and more. What is measured is measured once it rests from that, as it does at least
//! half of the time; one row is of six seconds after the start. The pool's files lie beside the records, on the same disk.

use super::controller::{Server, TENANT, get};
use super::report::Report;
use super::tool::{Beside, load, measure, words};
use super::{Effort, chart};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// How many volumes there are; each has two snapshots.
const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// How many clients ask at once.
const CLIENTS: usize = 32;

/// The pages of 50 that are timed: what they are, and what is asked for.
const PAGES: [(&str, &str); 9] = [
    ("by id", "?limit=50"),
    ("by name", "?limit=50&sortKey=name"),
    ("by creation, newest first", "?limit=50&sortKey=createdAt&sortDir=desc"),
    ("available", "?limit=50&status=available"),
    ("available, by name", "?limit=50&status=available&sortKey=name"),
    ("in error (none)", "?limit=50&status=error"),
    ("of a name", "?limit=50&name=volume%20500"),
    ("behind a marker", "?limit=50&marker={marker}"),
    ("by name behind a marker", "?limit=50&sortKey=name&marker={marker}"),
];

/// What was measured at one size.
struct Grown {
    volumes: u64,
    ready: Duration,
    idle: u64,
    loaded: u64,
    each: u64,
    log: u64,
    bare: Value,
    early: Value,
    got: Value,
    missed: Value,
    named: Value,
    pages: Vec<Value>,
}

impl Grown {
    fn note(&self, report: &mut Report) {
        let about = json!({ "volumes": self.volumes });
        let rest = json!({
            "startMs": self.ready.as_secs_f64() * 1e3, "residentIdle": self.idle, "residentLoaded": self.loaded,
            "bytesEach": self.each, "log": self.log,
        });
        report.note("scale", "the start, and what is kept, in bytes", &about, &[rest]);
        let about = json!({ "volumes": self.volumes, "clients": CLIENTS });
        for (what, told) in [
            ("trivial handler, same body", &self.bare),
            ("GET one at random, six seconds after the start", &self.early),
            ("GET one at random", &self.got),
            ("GET one that is missing", &self.missed),
            ("a new name", &self.named),
        ] {
            report.note("scale", what, &about, std::slice::from_ref(told));
        }
        let about = json!({ "volumes": self.volumes, "clients": 1 });
        for ((what, _), told) in PAGES.iter().zip(&self.pages) {
            report.note("scale", &format!("a page of 50 {what}"), &about, std::slice::from_ref(told));
        }
    }
}

/// Measures in `folder`, prints tables, and draws the chart.
pub(super) fn run(folder: &Path, effort: &Effort, report: &mut Report) -> Result<()> {
    std::fs::create_dir_all(folder).context("cannot make a folder")?;
    let sizes = if effort.rounds == 1 { &SIZES[..2] } else { &SIZES[..] };
    let mut all = Vec::new();
    for volumes in sizes {
        all.push(grown(&folder.join(volumes.to_string()), *volumes, effort)?);
        all.last().into_iter().for_each(|grown| grown.note(report));
        // Millions of files would be left to be removed at the end.
        let _ = std::fs::remove_dir_all(folder.join(volumes.to_string()));
    }
    print(&all);
    if sizes.len() == SIZES.len() { chart::draw(&charted(&all)) } else { Ok(()) }
}

fn grown(folder: &Path, volumes: u64, effort: &Effort) -> Result<Grown> {
    std::fs::create_dir_all(folder).context("cannot make a folder")?;
    let (data, pool, ids) = (folder.join("data"), folder.join("pool"), folder.join("ids"));
    let server = Server::start_with(&data, "", Some(&pool))?;
    let trivial = Beside::trivial(&server.sample()?.to_string())?;
    server.stop()?;
    println!("filling with {volumes} volumes and twice as many snapshots");
    let (shown, pooled, listed) = (data.display(), pool.display(), ids.display());
    measure(&words(&format!("fill --data {shown} --pool {pooled} --volumes {volumes} --ids {listed}")))?;
    let begun = Instant::now();
    let server = Server::start_with(&data, "", Some(&pool))?;
    get(&server.agent, &server.url("/block/volumes?limit=1"))?;
    let ready = begun.elapsed();
    std::thread::sleep(Duration::from_secs(5));
    let idle = server.resident()?;
    let store = std::fs::metadata(data.join("berth.db")).map_or(0, |file| file.len());
    let one = format!("/v1beta/{TENANT}/block/volumes/{{id}}");
    let (seconds, known) = (effort.seconds, format!("--ids {}", ids.display()));
    let early = load(&server, "get", &one, CLIENTS, seconds, &known)?;
    server.rests()?;
    let got = load(&server, "get", &one, CLIENTS, seconds, &known)?;
    let bare = trivial.load("get", "/", CLIENTS, seconds, "")?;
    let missed = load(&server, "miss", &one, CLIENTS, seconds, "")?;
    let marker = std::fs::read_to_string(&ids)?.lines().nth(500).context("ids")?.to_owned();
    let page = |query: &str| {
        let path = format!("/v1beta/{TENANT}/block/volumes{}", query.replace("{marker}", &marker));
        load(&server, "get", &path, 1, effort.seconds / 2.0, "")
    };
    let pages = PAGES.iter().map(|(_, query)| page(query)).collect::<Result<_>>()?;
    let named = load(&server, "rename", &one, CLIENTS, seconds, &known)?;
    let log = std::fs::metadata(data.join("berth.db-wal")).map_or(0, |file| file.len());
    let loaded = server.resident()?;
    server.stop()?;
    Ok(Grown { volumes, ready, idle, loaded, each: store / (volumes * 3), log, bare, early, got, missed, named, pages })
}

fn field(told: &Value, name: &str) -> f64 {
    told[name].as_f64().unwrap_or(f64::NAN)
}

fn print(all: &[Grown]) {
    println!("\n| volumes, and twice as many snapshots | {} |", joined(all, |grown| grown.volumes.to_string()));
    println!("|---|{}", "---|".repeat(all.len()));
    let row = |what: &str, cell: &dyn Fn(&Grown) -> String| println!("| {what} | {} |", joined(all, cell));
    row("from exec to the first answer, ms", &|grown| format!("{:.0}", grown.ready.as_secs_f64() * 1e3));
    row("resident memory five seconds after it, MiB", &|grown| (grown.idle >> 20).to_string());
    row("after all of the below, MiB", &|grown| (grown.loaded >> 20).to_string());
    row("bytes of the store a resource", &|grown| grown.each.to_string());
    row("the store's log after all, MiB", &|grown| (grown.log >> 20).to_string());
    row(&format!("GET one at random, a second, {CLIENTS} clients"), &|grown| format!("{:.0}", field(&grown.got, "rate")));
    row("of the trivial handler's rate, same body", &|grown| {
        format!("**{:.2}**", field(&grown.got, "rate") / field(&grown.bare, "rate"))
    });
    row("its p99, ms", &|grown| format!("{:.2}", field(&grown.got, "p99") / 1e3));
    row("a second, six seconds after the start", &|grown| format!("{:.0}", field(&grown.early, "rate")));
    row("GET one that is missing, a second", &|grown| format!("{:.0}", field(&grown.missed, "rate")));
    row(&format!("a new name, a second, {CLIENTS} clients"), &|grown| format!("{:.0}", field(&grown.named, "rate")));
    row("its p99, ms", &|grown| format!("{:.2}", field(&grown.named, "p99") / 1e3));
    for (at, (what, _)) in PAGES.iter().enumerate() {
        row(&format!("a page of 50 {what}, p50 ms"), &|grown| format!("{:.2}", field(&grown.pages[at], "p50") / 1e3));
    }
}

fn joined(all: &[Grown], cell: impl Fn(&Grown) -> String) -> String {
    all.iter().map(cell).collect::<Vec<_>>().join(" | ")
}

#[expect(clippy::cast_precision_loss, reason = "drawn by the pixel")]
fn charted(all: &[Grown]) -> [chart::Panel; 4] {
    let line = |cell: &dyn Fn(&Grown) -> f64| all.iter().map(|grown| (grown.volumes * 3, cell(grown))).collect();
    [
        chart::Panel { title: "new names a second, 32 clients", points: line(&|grown| field(&grown.named, "rate")) },
        chart::Panel {
            title: "slowest page of 50 (p50), ms",
            points: line(&|grown| grown.pages.iter().map(|page| field(page, "p50") / 1e3).fold(0.0, f64::max)),
        },
        chart::Panel { title: "resident memory under load, MiB", points: line(&|grown| (grown.loaded >> 20) as f64) },
        chart::Panel { title: "exec to first answer, ms", points: line(&|grown| grown.ready.as_secs_f64() * 1e3) },
    ]
}
