//! What stands beside the figures: the least that HTTP costs, and the least that being durable costs.

use crate::figures::Figures;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// A server that looks at nothing.
#[derive(clap::Args)]
pub(crate) struct Trivial {
    /// What it answers.
    #[arg(long)]
    body: String,
}

/// A log that is only appended to.
#[derive(clap::Args)]
pub(crate) struct Log {
    /// The file, which is made.
    #[arg(long)]
    file: PathBuf,
    /// How many bytes each of those who wait appends.
    #[arg(long)]
    bytes: usize,
    /// How many wait at once.
    #[arg(long)]
    clients: usize,
    /// How many appends, one after the other, each measurement of a client holds.
    #[arg(long, default_value_t = 1)]
    each: u32,
    /// How long.
    #[arg(long)]
    seconds: f64,
}

/// Serves, on a runtime as large as the controller's. Prints its address.
pub(crate) fn trivial(options: Trivial) -> Result<()> {
    let json = [("content-type", "application/json; charset=utf-8")];
    let router = axum::Router::new().fallback(move || async move { (json, options.body) });
    runtime()?.block_on(serve(router))
}

/// As many threads as the controller has.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")
}

/// Prints the address, and serves until it is killed.
pub(crate) async fn serve(router: axum::Router) -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("no free port")?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, router).await.context("it does not serve")
}

type Waiting = oneshot::Sender<()>;

/// Appends and prints the figures: whatever waits is written and synced at once.
pub(crate) fn log(options: &Log) -> Result<()> {
    let (sender, queue) = mpsc::channel(4096);
    let file = File::create(&options.file).context("cannot make the file")?;
    let bytes = options.bytes;
    let writer = std::thread::spawn(move || append(&file, bytes, queue));
    let runtime = runtime()?;
    let begun = Instant::now();
    let until = begun + Duration::from_secs_f64(options.seconds);
    let figures = runtime.block_on(async {
        let clients: Vec<_> = (0..options.clients).map(|_| tokio::spawn(waits(sender.clone(), options.each, until))).collect();
        drop(sender);
        let mut all = Figures::default();
        for client in clients {
            all.join(client.await.context("a client panicked")??);
        }
        anyhow::Ok(all)
    })?;
    let told = figures.tell(begun.elapsed());
    writer.join().expect("the writer does not panic")?;
    println!("{told}");
    Ok(())
}

async fn waits(log: mpsc::Sender<Waiting>, each: u32, until: Instant) -> Result<Figures> {
    let mut figures = Figures::default();
    while Instant::now() < until {
        let begun = Instant::now();
        for _ in 0..each {
            let (sender, done) = oneshot::channel();
            log.send(sender).await.context("the writer is gone")?;
            done.await.context("the writer is gone")?;
        }
        figures.note(begun.elapsed());
    }
    Ok(figures)
}

fn append(mut file: &File, bytes: usize, mut queue: mpsc::Receiver<Waiting>) -> Result<()> {
    let mut block = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        let mut group = vec![first];
        while let Ok(next) = queue.try_recv() {
            group.push(next);
        }
        block.resize(bytes * group.len(), 0x5a);
        file.write_all(&block)?;
        file.sync_data()?;
        for done in group {
            let _ = done.send(());
        }
    }
    Ok(())
}
