//! What the stream of events costs: from the commit to every watcher's socket, processor time a delivery, memory a watcher.
//!
//! A commit is a new name of a volume. It is timed from the moment its request is sent, and from the moment its answer is there, which is
//! after the commit: an event may well be there before it. Watchers run beside the server on the same processors, and share them.

use crate::figures::{Figures, busy, resident};
use crate::load::Connection;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

/// Who is watched.
#[derive(clap::Args)]
struct Server {
    /// The server's address.
    #[arg(long)]
    to: SocketAddr,
    /// The server's process.
    #[arg(long)]
    pid: u32,
    /// The path of the tenant's block storage.
    #[arg(long)]
    path: String,
    /// A volume.
    #[arg(long)]
    volume: String,
    /// How many watch.
    #[arg(long)]
    watchers: usize,
}

/// Watchers of everything.
#[derive(clap::Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    server: Server,
    /// How many commits are told.
    #[arg(long)]
    commits: usize,
    /// How many milliseconds lie between two commits.
    #[arg(long)]
    pause_ms: u64,
}

/// Watchers of one volume.
#[derive(clap::Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    server: Server,
}

/// Commits, and prints how soon it was told (`answered`: from the answer of the commit on; `sent`: from its request on), how many were
/// delivered of all that could be, and `busy`: microseconds of the server's processor a delivery.
pub(crate) fn told(options: &Watch) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(deliveries(options))
}

async fn deliveries(options: &Watch) -> Result<()> {
    let server = &options.server;
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let (over, is_over) = watch::channel(false);
    let mut watchers = Vec::new();
    for _ in 0..server.watchers {
        let stream = server.watch("").await?;
        watchers.push(tokio::spawn(follow(stream, sender.clone(), is_over.clone())));
    }
    drop(sender);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut connection = Connection::open(server.to).await?;
    let before = busy(server.pid)?;
    let begun = Instant::now();
    let mut commits = Vec::new();
    for turn in 0..options.commits {
        commits.push(rename(&mut connection, server, turn).await?);
        tokio::time::sleep(Duration::from_millis(options.pause_ms)).await;
    }
    let took = begun.elapsed();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = busy(server.pid)?.saturating_sub(before);
    over.send_replace(true);
    for watcher in watchers {
        watcher.await.context("a watcher panicked")?;
    }
    let (mut answered, mut sent, mut count) = (Figures::default(), Figures::default(), 0_usize);
    while let Some((revision, at)) = receiver.recv().await {
        let Some((_, before, after)) = commits.iter().find(|(of, ..)| *of == revision) else { continue };
        answered.note(at.saturating_duration_since(*after));
        sent.note(at.saturating_duration_since(*before));
        count += 1;
    }
    ensure!(count > 0, "nothing was told");
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let (each, all) = (count as f64, (options.commits * server.watchers) as f64);
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let rate = options.commits as f64 / took.as_secs_f64();
    println!(
        "{}",
        json!({"rate": rate, "delivered": count, "part": each / all, "answered": answered.tell(took), "sent": sent.tell(took),
               "busy": used.as_secs_f64() * 1e6 / each})
    );
    Ok(())
}

/// Gives the volume another name. Its revision then, when that was sent, and when it was answered.
async fn rename(connection: &mut Connection, server: &Server, turn: usize) -> Result<(u64, Instant, Instant)> {
    let path = format!("{}/volumes/{}", server.path, server.volume);
    let before = Instant::now();
    let (status, body) = connection.ask("PUT", &path, &format!("{{\"name\":\"name {turn}\"}}")).await?;
    let after = Instant::now();
    ensure!(status == 200, "a new name was answered {status}");
    let body: Value = serde_json::from_slice(body)?;
    Ok((body["revision"].as_u64().context("a revision")?, before, after))
}

impl Server {
    async fn watch(&self, query: &str) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.to).await?;
        let request = format!("GET {}/events{query} HTTP/1.1\r\nhost: {}\r\n\r\n", self.path, self.to);
        stream.write_all(request.as_bytes()).await?;
        Ok(stream)
    }
}

/// When a revision was seen.
type Seen = (u64, Instant);

/// Notes each revision that a change tells, at the moment that its bytes are there.
async fn follow(mut stream: TcpStream, seen: mpsc::UnboundedSender<Seen>, mut is_over: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = tokio::select! {
            Ok(length @ 1..) = stream.read(&mut buffer) => length,
            _ = is_over.changed() => return,
            else => return,
        };
        let at = Instant::now();
        let text = String::from_utf8_lossy(&buffer[..length]);
        for id in text.split("event: change\nid: ").skip(1) {
            let place = id.lines().next().and_then(|id| id.rsplit('-').next()).and_then(|place| place.split('.').next());
            if let Some(revision) = place.and_then(|revision| revision.parse().ok()) {
                let _ = seen.send((revision, at));
            }
        }
    }
}

/// Prints the memory that they cost the server: `more` bytes of it, `each`.
pub(crate) fn idle(options: &Idle) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(rest(&options.server))
}

async fn rest(server: &Server) -> Result<()> {
    let before = resident(server.pid)?;
    let mut streams = Vec::with_capacity(server.watchers);
    for _ in 0..server.watchers {
        streams.push(server.watch(&format!("?id={}", server.volume)).await?);
    }
    for (synced, stream) in streams.iter_mut().enumerate() {
        let mut buffer = vec![0; 16 << 10];
        let mut text = String::new();
        while !text.contains("event: synced") {
            let read = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut buffer));
            let length = read.await.context("a stream is silent")??;
            ensure!(length > 0, "a stream ended after {synced}: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }
    let more = resident(server.pid)?.saturating_sub(before);
    println!("{}", json!({"more": more, "each": more / server.watchers.max(1) as u64}));
    Ok(())
}
