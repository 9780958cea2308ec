//! The store alone: each client makes one volume after the other, with the two commits of a creation.

use crate::figures::Figures;
use crate::records::Home;
use anyhow::{Context, Result};
use engine::store::Store;
use lifecycle::VolumeId;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store_sqlite::SqliteStore;
use uuid::Uuid;

/// A store of its own.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Its folder; a new store is made there if there is none.
    #[arg(long)]
    folder: PathBuf,
    /// How many clients.
    #[arg(long)]
    clients: usize,
    /// How long.
    #[arg(long)]
    seconds: f64,
}

/// Runs it and prints the figures of creations, with `busy`: microseconds of processor a creation, the clients' own among them.
pub(crate) fn run(options: &Options) -> Result<()> {
    std::fs::create_dir_all(&options.folder).context("cannot make a folder")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&options.folder, store_sqlite::Options::default())?);
        let home = match Home::find(&*store).await {
            Ok(home) => home,
            Err(_) => Home::make(&*store).await?,
        };
        let before = crate::figures::busy(std::process::id())?;
        let begun = Instant::now();
        let until = begun + Duration::from_secs_f64(options.seconds);
        let clients: Vec<_> = (0..options.clients).map(|_| tokio::spawn(client(store.clone(), home.clone(), until))).collect();
        let mut all = Figures::default();
        for client in clients {
            all.join(client.await.context("a client panicked")??);
        }
        let mut told = all.tell(begun.elapsed());
        let used = crate::figures::busy(std::process::id())?.saturating_sub(before).as_secs_f64() * 1e6;
        told["busy"] = json!(used / told["count"].as_f64().unwrap_or(1.0).max(1.0));
        println!("{told}");
        Ok(())
    })
}

async fn client(store: Arc<dyn Store>, home: Home, until: Instant) -> Result<Figures> {
    let mut figures = Figures::default();
    while Instant::now() < until {
        let (begun, id) = (Instant::now(), Uuid::now_v7());
        let record = home.creating(VolumeId(id), format!("v{}", id.as_u128() >> 64));
        let version = store.commit(home.accept(record.clone())).await?.revision;
        store.commit(Home::end(record, version)?).await?;
        figures.note(begun.elapsed());
    }
    Ok(figures)
}
