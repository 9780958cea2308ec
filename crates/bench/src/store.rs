//! The store alone: each client makes one volume after the other, with the two commits of a creation.
//!
//! Meanwhile the store's keeper moves the log into the database. What commits wait beside that shows in the slowest of a thousand; the log is
//! looked at from outside, as anybody can.

use crate::figures::Figures;
use crate::records::Home;
use anyhow::{Context, Result};
use engine::store::Store;
use lifecycle::VolumeId;
use serde_json::json;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use store_sqlite::SqliteStore;
use uuid::Uuid;

/// How often the log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

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

/// Runs it and prints the figures of creations, with `busy`: microseconds of processor a creation, the clients' own among them; `commit`: the
/// figures of single commits; `log`: the greatest size of the store's log, and how often it was begun anew.
pub(crate) fn run(options: &Options) -> Result<()> {
    std::fs::create_dir_all(&options.folder).context("cannot make a folder")?;
    crate::limits::runtime()?.block_on(async {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&options.folder, store_sqlite::Options::default())?);
        let home = match Home::find(&*store).await {
            Ok(home) => home,
            Err(_) => Home::make(&*store).await?,
        };
        let before = crate::figures::busy(std::process::id())?;
        let log = Log::watch(options.folder.join("berth.db-wal"));
        let begun = Instant::now();
        let until = begun + Duration::from_secs_f64(options.seconds);
        let clients: Vec<_> = (0..options.clients).map(|_| tokio::spawn(client(store.clone(), home.clone(), until))).collect();
        let (mut all, mut commits) = (Figures::default(), Figures::default());
        for client in clients {
            let (creations, each) = client.await.context("a client panicked")??;
            all.join(creations);
            commits.join(each);
        }
        let took = begun.elapsed();
        let mut told = all.tell_busy(took, before)?;
        told["commit"] = commits.tell(took);
        told["log"] = log.tell();
        println!("{told}");
        Ok(())
    })
}

/// Makes volumes. How long each took, and how long each commit.
async fn client(store: Arc<dyn Store>, home: Home, until: Instant) -> Result<(Figures, Figures)> {
    let (mut figures, mut commits) = (Figures::default(), Figures::default());
    while Instant::now() < until {
        let (begun, id) = (Instant::now(), Uuid::now_v7());
        let record = home.creating(VolumeId(id), format!("v{}", id.as_u128() >> 64));
        let version = store.commit(home.accept(record.clone())).await?.revision;
        let between = Instant::now();
        store.commit(Home::end(record, version)?).await?;
        commits.note(between - begun);
        commits.note(between.elapsed());
        figures.note(begun.elapsed());
    }
    Ok((figures, commits))
}

/// Looks at a store's log while it grows.
struct Log {
    is_over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(u64, u32)>,
}

impl Log {
    fn watch(file: PathBuf) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = std::thread::spawn(move || {
            let (mut most, mut begun, mut last) = (0, 0, beginning(&file));
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK_EVERY);
                most = most.max(std::fs::metadata(&file).map_or(0, |log| log.len()));
                let now = beginning(&file);
                if now.is_some() && now != last {
                    begun += u32::from(last.is_some());
                    last = now;
                }
            }
            (most, begun)
        });
        Self { is_over, thread }
    }

    /// `most` bytes, and how often it was `begun` anew.
    fn tell(self) -> serde_json::Value {
        self.is_over.store(true, Ordering::Relaxed);
        let (most, begun) = self.thread.join().expect("it does not panic");
        json!({ "most": most, "begun": begun })
    }
}

/// What tells one beginning of a log from another: its salts. Source: the file format of SQLite, section 4.1.
///
/// SQLite locks other files of the store, so that opening and closing this one beside it takes no lock away.
fn beginning(log: &Path) -> Option<[u8; 8]> {
    let mut head = [0; 24];
    File::open(log).ok()?.read_exact(&mut head).ok()?;
    head[16..].try_into().ok()
}
