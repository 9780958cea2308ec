//! As many volumes as are asked for, with snapshots, in the store and in the pool's folder: what years of use would leave.

use crate::records::{self, Home, created, put_volume, snapped};
use anyhow::{Context, Result};
use engine::records::Key;
use engine::store::{Commit, Counter, Expected, Store};
use lifecycle::{SnapshotId, Subject, VolumeId};
use serde_json::json;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;
use store_sqlite::SqliteStore;
use uuid::Uuid;

/// How many volumes one commit makes.
const GROUP: u64 = 500;
/// Bytes of a volume and a snapshot: sparse, they take none.
const SIZE: u64 = 1 << 30;

/// What is written.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The data folder of a controller that ran once, and runs no more.
    #[arg(long)]
    data: PathBuf,
    /// The folder of its pool.
    #[arg(long)]
    pool: PathBuf,
    /// How many volumes.
    #[arg(long)]
    volumes: u64,
    /// How many snapshots each has.
    #[arg(long, default_value_t = 2)]
    snapshots: u32,
    /// A file for the ids of all volumes, one a line; those that are in it already stay.
    #[arg(long)]
    ids: PathBuf,
}

/// Writes it all and prints how many and how long it took.
pub(crate) fn run(options: &Options) -> Result<()> {
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(fill(options))?;
    println!("{}", json!({"volumes": options.volumes, "seconds": begun.elapsed().as_secs_f64()}));
    Ok(())
}

async fn fill(options: &Options) -> Result<()> {
    let store = SqliteStore::open(&options.data, store_sqlite::Options::default())?;
    let home = Home::find(&store).await?;
    let mut ids =
        std::io::BufWriter::new(File::options().append(true).create(true).open(&options.ids).context("cannot keep the ids")?);
    let mut left = options.volumes;
    while left > 0 {
        let many = left.min(GROUP);
        let mut commit = Commit::default();
        for number in left - many..left {
            let id = VolumeId(Uuid::now_v7());
            let mut record = created(home.creating(id, format!("volume {number}")))?;
            commit.journal.push(records::entry(&record, Subject::Volume(id), None, None));
            make(&options.pool, id, None)?;
            for _ in 0..options.snapshots {
                let snapshot = SnapshotId(Uuid::now_v7());
                record = snapped(record, snapshot)?;
                make(&options.pool, id, Some(snapshot))?;
            }
            writeln!(ids, "{id}")?;
            let by = i64::try_from(record.state.reserved().0)?;
            commit.counters.push(Counter { key: Key::Pool(home.pool), by, at_most: None });
            commit.counters.push(Counter { key: Key::Profile(home.profile), by: 1, at_most: None });
            commit.changes.push(put_volume(Expected::Absent, record));
        }
        store.commit(commit).await?;
        left -= many;
    }
    ids.flush().context("cannot keep the ids")
}

/// Makes the file of a volume or a snapshot. Source: the layout in the file driver's own page.
fn make(pool: &Path, volume: VolumeId, snapshot: Option<SnapshotId>) -> Result<()> {
    let volume = volume.to_string();
    let folder = pool.join(&volume[33..36]);
    let name = snapshot.map_or_else(|| format!("{volume}.raw"), |snapshot| format!("{volume}@{snapshot}.raw"));
    let file = match File::create_new(folder.join(&name)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(&folder)?;
            File::create_new(folder.join(&name))
        }
        made => made,
    };
    file.and_then(|file| file.set_len(SIZE)).with_context(|| format!("cannot make {name}"))
}
