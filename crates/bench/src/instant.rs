//! A controller whose driver does nothing: what creating a volume costs besides the driver's own work, and what that work costs alone.

use crate::figures::Figures;
use crate::limits::{self, told};
use anyhow::{Context, Result};
use driver_file::FileDriver;
use engine::ports::{Call, Driver as _, Progress};
use engine::{Engine, PoolSetup, Settings};
use lifecycle::{Bytes, Outcome, Token, VolumeId};
use sim::{MemDriver, MemExporter, SteppedClock};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use store_sqlite::SqliteStore;
use uuid::Uuid;

/// A controller with a driver in memory.
#[derive(clap::Args)]
pub(crate) struct Instantly {
    /// The folder of its store, which is made.
    #[arg(long)]
    folder: PathBuf,
}

/// The file driver alone.
#[derive(clap::Args)]
pub(crate) struct Files {
    /// The folder of its pool.
    #[arg(long)]
    pool: PathBuf,
    /// How many clients.
    #[arg(long)]
    clients: usize,
    /// How long.
    #[arg(long)]
    seconds: f64,
}

/// The rules, the engine and the routes as they are, on this store, with a driver and an exporter in memory.
pub(crate) async fn router(store: SqliteStore) -> Result<axum::Router> {
    let pool = PoolSetup { overcommit: 1e6, ..PoolSetup::new("default", Arc::new(MemDriver::able())) };
    let (exporter, clock) = (Arc::new(MemExporter::default()), Arc::new(SteppedClock::default()));
    let engine = Engine::start(Arc::new(store), exporter, clock, vec![pool], Settings::default()).await?;
    Ok(api_opensds::router(Arc::new(engine), api_opensds::Settings::default()))
}

/// Serves, on a runtime as large as the controller's. Prints its address.
pub(crate) fn serve(options: &Instantly) -> Result<()> {
    std::fs::create_dir_all(&options.folder).context("cannot make a folder")?;
    let store = SqliteStore::open(&options.folder, store_sqlite::Options::default())?;
    limits::runtime()?.block_on(async { limits::serve(router(store).await?).await })
}

/// Each client has the driver make one volume of 1 GiB after the other. Prints the figures, with `busy`: microseconds of processor a volume.
pub(crate) fn files(options: &Files) -> Result<()> {
    let driver = Arc::new(FileDriver::open(&options.pool, driver_file::Options::default())?);
    let counter = Arc::new(AtomicU64::new(0));
    limits::runtime()?.block_on(async {
        let before = crate::figures::busy(std::process::id())?;
        let begun = Instant::now();
        let until = begun + Duration::from_secs_f64(options.seconds);
        let clients: Vec<_> = (0..options.clients).map(|_| tokio::spawn(makes(driver.clone(), counter.clone(), until))).collect();
        let mut all = Figures::default();
        for client in clients {
            all.join(client.await.context("a client panicked")??);
        }
        println!("{}", told(all, begun.elapsed(), before)?);
        Ok(())
    })
}

async fn makes(driver: Arc<FileDriver>, counter: Arc<AtomicU64>, until: Instant) -> Result<Figures> {
    let mut figures = Figures::default();
    while Instant::now() < until {
        let (begun, id) = (Instant::now(), VolumeId(Uuid::now_v7()));
        let token = Token { incarnation: 1, counter: counter.fetch_add(1, Ordering::Relaxed) };
        match driver.create(Call { token, progress: Progress::ignored() }, id, Bytes(Bytes::GIB), None).await {
            Outcome::Done(_) => figures.note(begun.elapsed()),
            other => anyhow::bail!("the driver does not make a volume: {other:?}"),
        }
    }
    Ok(figures)
}
