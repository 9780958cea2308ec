//! Fixed workloads, whose instructions are counted: what a change costs shows there even on a machine that is noisy and shared.

use crate::records::{Home, created, snapped};
use anyhow::{Context, Result, ensure};
use axum::body::Body;
use axum::http::Request;
use engine::store::Store;
use lifecycle::{SnapshotId, VolumeId};
use sim::SteppedClock;
use std::path::PathBuf;
use store_sqlite::SqliteStore;
use tower::ServiceExt as _;
use uuid::Uuid;

/// Which work.
#[derive(clap::Args)]
pub(crate) struct Options {
    work: Work,
    /// A folder for its store, which is made.
    #[arg(long)]
    folder: PathBuf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Work {
    /// The rules alone: 2,000 volumes are created and snapped.
    Decide,
    /// 300 creations, of two commits each, one after the other.
    Commit,
    /// As many requests as a short day has: 100 creations, 1,000 looks at one volume, 50 lists of 50.
    Request,
}

/// Does it.
pub(crate) fn run(options: &Options) -> Result<()> {
    std::fs::create_dir_all(&options.folder).context("cannot make a folder")?;
    // One thread besides the store's own, so that the count says little of the machine.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match options.work {
            Work::Decide => decide(),
            Work::Commit => commit(SqliteStore::open(&options.folder, store_sqlite::Options::default())?).await,
            Work::Request => request(SqliteStore::open(&options.folder, store_sqlite::Options::default())?).await,
        }
    })
}

fn decide() -> Result<()> {
    let home =
        Home { tenant: crate::TENANT.into(), pool: lifecycle::PoolId(Uuid::nil()), profile: lifecycle::ProfileId(Uuid::nil()) };
    for number in 0..2000 {
        let record = home.creating(VolumeId(Uuid::from_u128(number)), "v".into());
        let record = snapped(created(record)?, SnapshotId(Uuid::from_u128(number + 10_000)))?;
        ensure!(record.snapshots.len() == 1, "it has no snapshot");
    }
    Ok(())
}

async fn commit(store: SqliteStore) -> Result<()> {
    let home = Home::make(&store).await?;
    for number in 1..=300 {
        let record = home.creating(VolumeId(Uuid::from_u128(number)), format!("v{number}"));
        let version = store.commit(home.accept(record.clone())).await?.revision;
        store.commit(Home::end(record, version)?).await?;
    }
    Ok(())
}

async fn request(store: SqliteStore) -> Result<()> {
    let router = crate::instant::router(store, SteppedClock::default()).await?;
    let path = format!("/v1beta/{}/block/volumes", crate::TENANT);
    let ask = async |method: &str, path: &str, body: &str| -> Result<String> {
        let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned()))?;
        let answer = router.clone().oneshot(request).await?;
        ensure!(answer.status().is_success(), "{method} {path} was answered {}", answer.status());
        Ok(String::from_utf8(axum::body::to_bytes(answer.into_body(), usize::MAX).await?.into())?)
    };
    let mut last = String::new();
    for number in 0..100 {
        let waits = format!("{path}?waitFor=available&timeout=600");
        let made = ask("POST", &waits, &format!("{{\"name\":\"v{number}\",\"size\":1}}")).await?;
        let made: serde_json::Value = serde_json::from_str(&made)?;
        ensure!(made["status"] == "available", "it is {made}");
        last = format!("{path}/{}", made["id"].as_str().context("an id")?);
    }
    for _ in 0..1000 {
        ask("GET", &last, "").await?;
    }
    for _ in 0..50 {
        ask("GET", &format!("{path}?limit=50&sortKey=name"), "").await?;
    }
    Ok(())
}
