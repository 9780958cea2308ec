//! What the stream of events costs: from the commit to every watcher's socket, processor time a delivery, memory a watcher.
//!
//! A commit is a new name of a volume. It is timed from the moment its request is sent, and from the moment its answer is there, which is
//! after the commit: an event may well be there before it. Clients run beside the server on the same processors, and share them.

use super::controller::Server;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// How many watch everything, and how long a pause is between two commits: the last row has them follow one another at once.
const CROWDS: [(usize, Duration); 4] =
    [(1, Duration::from_millis(50)), (100, Duration::from_millis(50)), (1000, Duration::from_millis(200)), (1000, Duration::ZERO)];
/// How many commits are told in each row.
const COMMITS: usize = 100;
/// How many idle ones watch one volume each.
const IDLE: usize = 10_000;

/// Measures in `folder` and prints tables.
pub(super) fn run(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).context("cannot make a folder")?;
    // Ten thousand connections are ten thousand files.
    let limit = Command::new("prlimit").args(["--nofile=20000:20000", "--pid"]).arg(std::process::id().to_string()).status();
    ensure!(limit.is_ok_and(|status| status.success()), "the limit of files cannot be raised to 20000");
    let http = format!("[http]\nconnections = {}\nstreams = {}\n", IDLE + 2000, IDLE + 1000);
    let server = Server::start_with(&folder.join("data"), &http)?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start a runtime")?;
    println!(
        "| watchers | commits/s | deliveries | of all | p50 ms | p99 ms | p99 ms from sending | µs of the server's processor a delivery |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (watchers, pause) in CROWDS {
        runtime.block_on(row(&server, watchers, pause))?;
    }
    runtime.block_on(idle(&server))
}

/// When a revision was seen.
type Seen = (u64, Instant);

async fn row(server: &Server, watchers: usize, pause: Duration) -> Result<()> {
    let volume = server.create(&server.agent, 0)?;
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let is_over = Arc::new(AtomicBool::new(false));
    for _ in 0..watchers {
        let stream = watch(server, "").await?;
        tokio::spawn(follow(stream, sender.clone(), is_over.clone()));
    }
    drop(sender);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let busy = busy(server)?;
    let begun = Instant::now();
    let mut commits = Vec::new();
    for turn in 0..COMMITS {
        commits.push(rename(server, &volume, turn)?);
        tokio::time::sleep(pause).await;
    }
    let took = begun.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let busy = self::busy(server)? - busy;
    is_over.store(true, Ordering::Relaxed);
    // One more commit wakes those who are still to see that it is over.
    rename(server, &volume, COMMITS)?;
    let (mut answered, mut sent, mut count) = (Vec::new(), Vec::new(), 0_usize);
    while let Some((revision, at)) = receiver.recv().await {
        let Some((_, before, after)) = commits.iter().find(|(of, ..)| *of == revision) else { continue };
        answered.push(at.saturating_duration_since(*after));
        sent.push(at.saturating_duration_since(*before));
        count += 1;
    }
    answered.sort_unstable();
    sent.sort_unstable();
    ensure!(count > 0, "nothing was told");
    let ms = |of: &[Duration], percent: usize| of[(of.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    let [commits, deliveries, all] = [COMMITS, count, COMMITS * watchers].map(|n| f64::from(u32::try_from(n).unwrap_or(u32::MAX)));
    println!(
        "| {watchers} | {:.0} | {count} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} |",
        commits / took,
        deliveries / all,
        ms(&answered, 50),
        ms(&answered, 99),
        ms(&sent, 99),
        busy.as_secs_f64() * 1e6 / deliveries,
    );
    Ok(())
}

/// Gives the volume another name. Its revision then, when that was sent, and when it was answered.
fn rename(server: &Server, volume: &str, turn: usize) -> Result<(u64, Instant, Instant)> {
    let body = json!({"name": format!("name {turn}")}).to_string();
    let url = server.url(&format!("/block/volumes/{volume}"));
    let before = Instant::now();
    let mut answer = server.agent.put(url).header("content-type", "application/json").send(body)?;
    let after = Instant::now();
    let body: Value = serde_json::from_str(&answer.body_mut().read_to_string()?)?;
    Ok((body["revision"].as_u64().context("a revision")?, before, after))
}

async fn watch(server: &Server, query: &str) -> Result<TcpStream> {
    let url = server.url(&format!("/block/events{query}"));
    let path = url.strip_prefix(server.base()).context("a path")?.to_owned();
    let mut stream = TcpStream::connect(server.base().strip_prefix("http://").context("an address")?).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await?;
    Ok(stream)
}

/// Notes each revision that a change tells, at the moment that its bytes are there.
async fn follow(mut stream: TcpStream, seen: mpsc::UnboundedSender<Seen>, is_over: Arc<AtomicBool>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let at = Instant::now();
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let text = String::from_utf8_lossy(&buffer[..length]);
        for id in text.split("event: change\nid: ").skip(1) {
            let place = id.lines().next().and_then(|id| id.rsplit('-').next()).and_then(|place| place.split('.').next());
            if let Some(revision) = place.and_then(|revision| revision.parse().ok()) {
                let _ = seen.send((revision, at));
            }
        }
    }
}

/// The memory that idle watchers cost, each of one volume.
async fn idle(server: &Server) -> Result<()> {
    let volume = server.create(&server.agent, 0)?;
    let before = resident(server)?;
    let mut streams = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        streams.push(watch(server, &format!("?id={volume}")).await?);
    }
    for (synced, stream) in streams.iter_mut().enumerate() {
        let mut buffer = vec![0; 16 << 10];
        let mut text = String::new();
        while !text.contains("event: synced") {
            let length =
                tokio::time::timeout(Duration::from_secs(30), stream.read(&mut buffer)).await.context("a stream is silent")??;
            ensure!(length > 0, "a stream ended after {synced}: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }
    let after = resident(server)?;
    let each = after.saturating_sub(before) / IDLE as u64;
    println!();
    println!("{IDLE} idle watchers: {} MiB more resident memory of the server, {each} bytes each", (after - before) >> 20);
    Ok(())
}

fn resident(server: &Server) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(kib.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

/// The processor time of the server so far.
fn busy(server: &Server) -> Result<Duration> {
    /// Ticks a second, as Linux counts for user space.
    const TICKS: u64 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid()))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("stat")?.split_whitespace().collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}
