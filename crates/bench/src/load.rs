//! Clients of an HTTP server that cost little: one connection each, requests written as they are sent, answers read as far as needed.
//!
//! *Closed loop*: each client sends when it has its answer. *Open loop*: requests are due at fixed moments, whether or not the server is
//! ready for them, and each is timed from when it was due: what a queue costs is then seen (no coordinated omission). A thread of its own
//! tells when, as the runtime's timers would be late by up to two milliseconds, and in bursts.

use crate::figures::{Figures, busy};
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// What is asked of whom.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The server's address.
    #[arg(long)]
    to: SocketAddr,
    /// The server's process, whose processor time is told.
    #[arg(long)]
    pid: Option<u32>,
    /// What each request is.
    #[arg(long)]
    ask: Ask,
    /// The path: of what is got (`{id}` is replaced by ids in turn), or of the collection that is added to.
    #[arg(long)]
    path: String,
    /// A file of ids, one a line, of which each request takes one at random; without it each makes one up.
    #[arg(long)]
    ids: Option<PathBuf>,
    /// How many clients.
    #[arg(long)]
    clients: usize,
    /// How many requests a second are due; without it each client sends when it has its answer.
    #[arg(long)]
    rate: Option<f64>,
    /// How long.
    #[arg(long)]
    seconds: f64,
    /// How long before it is measured.
    #[arg(long, default_value_t = 0.5)]
    warm: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Ask {
    /// GET, answered 200.
    Get,
    /// GET, answered 404.
    Miss,
    /// Create a volume, to be answered once it is available.
    Create,
    /// Create a volume, and wait for no more than that it is accepted.
    Accept,
    /// Give a volume another name.
    Rename,
}

/// Tells the requests of warming from those that are measured.
const WARM: u64 = 1 << 50;

/// What all clients share.
struct Load {
    options: Options,
    ids: Vec<String>,
    /// So that what was warmed, or asked before in another way, is not asked for again in the same order.
    salt: u64,
    begun: Instant,
    turn: AtomicU64,
    /// In the open loop: as many as are due and were not taken.
    due: Semaphore,
}

/// Runs it and prints the figures, with `busy`: microseconds of the server's processor a request.
pub(crate) fn run(options: &Options) -> Result<()> {
    let ids = match &options.ids {
        Some(file) => std::fs::read_to_string(file).context("cannot read the ids")?.lines().map(str::to_owned).collect(),
        None => Vec::new(),
    };
    // One thread: the other processor is the server's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let warm = options.again(options.warm);
    runtime.block_on(drive(warm, ids.clone(), WARM))?;
    let before = options.pid.map(busy).transpose()?;
    let (figures, took) = runtime.block_on(drive(options.again(options.seconds), ids, 0))?;
    let mut told = figures.tell(took);
    if let (Some(pid), Some(before)) = (options.pid, before) {
        let used = busy(pid)?.saturating_sub(before).as_secs_f64() * 1e6;
        told["busy"] = json!(used / told["count"].as_f64().unwrap_or(1.0).max(1.0));
    }
    println!("{told}");
    Ok(())
}

impl Options {
    fn again(&self, seconds: f64) -> Self {
        let (path, ids) = (self.path.clone(), self.ids.clone());
        Self { path, ids, seconds, ..*self }
    }
}

impl Load {
    fn new(options: Options, ids: Vec<String>, salt: u64) -> Arc<Self> {
        let salt = salt ^ (options.ask as u64) << 40;
        Arc::new(Self { options, ids, salt, begun: Instant::now(), turn: AtomicU64::new(0), due: Semaphore::new(0) })
    }

    /// The next id: as if at random, and the same in every run.
    fn id(&self, turn: u64) -> String {
        let mixed = (turn ^ self.salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        match u64::try_from(self.ids.len()) {
            Ok(0) | Err(_) => uuid::Uuid::from_u64_pair(mixed, mixed.rotate_left(32) | 0x8000_0000_0000_0000).to_string(),
            Ok(many) => self.ids[usize::try_from((mixed >> 20) % many).unwrap_or(0)].clone(),
        }
    }

    async fn once(&self, connection: &mut Connection, turn: u64) -> Result<()> {
        let path = &self.options.path;
        match self.options.ask {
            Ask::Get => {
                let (status, _) = connection.ask("GET", &path.replace("{id}", &self.id(turn)), "").await?;
                ensure!(status == 200, "GET was answered {status}");
            }
            Ask::Miss => {
                let (status, _) = connection.ask("GET", &path.replace("{id}", &self.id(turn)), "").await?;
                ensure!(status == 404, "what is missing was answered {status}");
            }
            Ask::Rename => {
                let body = format!("{{\"name\":\"name {turn}\"}}");
                let (status, body) = connection.ask("PUT", &path.replace("{id}", &self.id(turn)), &body).await?;
                ensure!(status == 200, "a new name was answered {status}: {}", String::from_utf8_lossy(body));
            }
            Ask::Accept => {
                let (status, body) = connection.ask("POST", path, &format!("{{\"name\":\"v{turn}\",\"size\":1}}")).await?;
                ensure!(status == 202, "a creation was answered {status}: {}", String::from_utf8_lossy(body));
            }
            Ask::Create => {
                let wait = "?waitFor=available,error&timeout=30";
                let sent = format!("{{\"name\":\"v{turn}\",\"size\":1}}");
                let (status, body) = connection.ask("POST", &format!("{path}{wait}"), &sent).await?;
                let text = std::str::from_utf8(body)?;
                ensure!(status == 202, "a creation was answered {status}: {text}");
                if is_available(text) {
                    return Ok(());
                }
                // One of before a creation could be waited for answers at once.
                let id = text.split("\"id\":\"").nth(1).and_then(|rest| rest.get(..36)).context("no id")?.to_owned();
                let (status, body) = connection.ask("GET", &format!("{path}/{id}{wait}"), "").await?;
                let text = std::str::from_utf8(body)?;
                ensure!(status == 200 && is_available(text), "it did not become available: {status} {text}");
            }
        }
        Ok(())
    }

    /// When the request of this turn is due.
    fn due(&self, turn: u64, rate: f64) -> Instant {
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let behind = turn as f64 / rate;
        self.begun + Duration::from_secs_f64(behind)
    }

    fn until(&self) -> Instant {
        self.begun + Duration::from_secs_f64(self.options.seconds)
    }

    /// Lets clients take each turn at its time, and at the end one more each, by which they see that it is over.
    fn pace(&self, rate: f64) {
        let mut turn = 0;
        loop {
            let due = self.due(turn, rate);
            if due >= self.until() {
                return self.due.add_permits(self.options.clients);
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.due.add_permits(1);
            turn += 1;
        }
    }

    /// The next turn, and the moment that it is timed from: in the open loop when it is due, once it is.
    async fn next(&self) -> Result<(u64, Instant)> {
        let Some(rate) = self.options.rate else { return Ok((self.turn.fetch_add(1, Ordering::Relaxed), Instant::now())) };
        self.due.acquire().await?.forget();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        Ok((turn, self.due(turn, rate)))
    }
}

fn is_available(volume: &str) -> bool {
    volume.contains("\"status\":\"available\"")
}

/// What was measured, and for how long.
async fn drive(options: Options, ids: Vec<String>, salt: u64) -> Result<(Figures, Duration)> {
    let mut connections = Vec::new();
    for _ in 0..options.clients {
        connections.push(Connection::open(options.to).await?);
    }
    // The clock begins when all are connected: what is due at once does not wait for that.
    let load = Load::new(options, ids, salt);
    let clients: Vec<_> = connections.into_iter().map(|connection| tokio::spawn(client(load.clone(), connection))).collect();
    if let Some(rate) = load.options.rate {
        let load = load.clone();
        std::thread::spawn(move || load.pace(rate));
    }
    let mut all = Figures::default();
    for client in clients {
        all.join(client.await.context("a client panicked")??);
    }
    Ok((all, load.begun.elapsed()))
}

async fn client(load: Arc<Load>, mut connection: Connection) -> Result<Figures> {
    let mut figures = Figures::default();
    let until = load.until();
    loop {
        let (turn, from) = load.next().await?;
        if from >= until {
            return Ok(figures);
        }
        load.once(&mut connection, turn).await?;
        figures.note(from.elapsed());
    }
}

/// A connection that is kept open.
pub(crate) struct Connection {
    stream: TcpStream,
    host: SocketAddr,
    read: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(host: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(host).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host, read: Vec::with_capacity(64 << 10) })
    }

    /// Sends a request and reads its answer: the status and the body.
    pub(crate) async fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, &[u8])> {
        let host = self.host;
        let about = if body.is_empty() {
            String::new()
        } else {
            format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
        };
        let request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{about}\r\n{body}");
        self.stream.write_all(request.as_bytes()).await?;
        self.read.clear();
        let head = loop {
            ensure!(self.stream.read_buf(&mut self.read).await? > 0, "the connection was closed");
            if let Some(head) = find(&self.read, b"\r\n\r\n") {
                break head + 4;
            }
        };
        let text = std::str::from_utf8(&self.read[..head])?;
        let status = text.get(9..12).and_then(|status| status.parse().ok()).context("no status")?;
        let length = Length::of(text)?;
        while !length.is_reached(&self.read[head..]) {
            ensure!(self.stream.read_buf(&mut self.read).await? > 0, "the connection was closed");
        }
        Ok((status, &self.read[head..]))
    }
}

/// How an answer tells where it ends.
enum Length {
    Bytes(usize),
    Chunks,
}

impl Length {
    fn of(head: &str) -> Result<Self> {
        for line in head.lines() {
            let line = line.to_ascii_lowercase();
            if let Some(length) = line.strip_prefix("content-length: ") {
                return Ok(Self::Bytes(length.parse()?));
            }
            if line == "transfer-encoding: chunked" {
                return Ok(Self::Chunks);
            }
        }
        bail!("an answer that does not say where it ends: {head}")
    }

    /// No list holds the end of one in the middle of it: line ends are escaped in JSON.
    fn is_reached(&self, body: &[u8]) -> bool {
        match self {
            Self::Bytes(length) => body.len() >= *length,
            Self::Chunks => body.ends_with(b"0\r\n\r\n"),
        }
    }
}

fn find(all: &[u8], part: &[u8]) -> Option<usize> {
    all.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::RwLock;

    /// A server that answers nobody for so long, from this moment on.
    async fn stalling(after: Duration, length: Duration) -> SocketAddr {
        let gate = Arc::new(RwLock::new(()));
        let closed = gate.clone();
        let router = axum::Router::new().fallback(move || async move { drop(gate.read().await) });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let _closed = closed.write().await;
            tokio::time::sleep(length).await;
        });
        address
    }

    #[tokio::test]
    async fn the_open_loop_charges_a_stall_to_all_that_were_due_in_it() {
        let to = stalling(Duration::from_millis(300), Duration::from_millis(400)).await;
        let (pid, ask, path, ids) = (None, Ask::Get, "/".into(), None);
        let options = Options { to, pid, ask, path, ids, clients: 1, rate: Some(200.0), seconds: 1.0, warm: 0.0 };
        let (figures, took) = drive(options, Vec::new(), 0).await.unwrap();
        let told = figures.tell(took);
        assert_eq!(told["count"], 200, "what was due in the stall is asked all the same");
        // Eighty of them: with the one client's own clock a single one would have been slow.
        assert!(told["p90"].as_f64().unwrap() > 100_000.0, "{told}");
    }
}
