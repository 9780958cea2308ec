//! A controller whose driver does nothing: what creating a volume costs besides the driver's own work, and what that work costs alone.

use crate::figures::Figures;
use crate::limits;
use anyhow::{Context, Result};
use driver_file::FileDriver;
use engine::ports::{Call, Driver as _, Progress};
use engine::{Engine, PoolSetup, Settings};
use lifecycle::{Bytes, Outcome, Token, VolumeId};
use sim::{MemDriver, MemExporter, SteppedClock};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use store_sqlite::SqliteStore;
use uuid::Uuid;

/// Longer than anything is measured.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// As in the controller.
const POLLS_BEFORE_EVENTS: u32 = 5;

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

/// The rules, the engine and the routes as they are, on this store, with a driver and an exporter in memory. The backend is not looked at
/// meanwhile: the one in memory is not made for a look at a hundred thousand volumes.
pub(crate) async fn router(store: SqliteStore, clock: SteppedClock) -> Result<axum::Router> {
    let pool = PoolSetup { overcommit: 1e6, ..PoolSetup::new("default", Arc::new(MemDriver::able())) };
    let settings = Settings { look_interval: NEVER, ..Settings::default() };
    let engine = Engine::start(Arc::new(store), Arc::new(MemExporter::default()), Arc::new(clock), vec![pool], settings).await?;
    Ok(api_opensds::router(Arc::new(engine), api_opensds::Settings::default()))
}

/// Serves, on a runtime as the controller's. Prints its address.
pub(crate) fn serve(options: &Instantly) -> Result<()> {
    std::fs::create_dir_all(&options.folder).context("cannot make a folder")?;
    let store = SqliteStore::open(&options.folder, store_sqlite::Options::default())?;
    let clock = SteppedClock::default();
    // It stands still, at a time of which the store keeps everything.
    clock.step(i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().event_interval(POLLS_BEFORE_EVENTS).build().context("no runtime")?;
    runtime.block_on(async { limits::serve(router(store, clock).await?).await })
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
        println!("{}", all.tell_busy(begun.elapsed(), before)?);
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
