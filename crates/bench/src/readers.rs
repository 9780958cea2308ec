//! Readers of the stream of events in one process: what does an event cost when as many read, and one is interested?
//!
//! No pool is configured, so that no backend is looked at meanwhile. The runtime has one thread, in which everything but the store happens.

use crate::records::{self, Home, created, put_volume};
use anyhow::{Context, Result, bail, ensure};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use engine::store::{Commit, Expected, Store};
use engine::{Engine, Settings};
use http_body_util::BodyExt as _;
use lifecycle::{Subject, VolumeId};
use sim::{MemExporter, SteppedClock};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store_sqlite::SqliteStore;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tower::ServiceExt as _;
use uuid::Uuid;

/// How many volumes one commit makes.
const GROUP: usize = 500;
/// How long an event may take before it is taken to be lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// What each reader names. Only with ids are there events for each; of the others the first names its volume.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// The id of its volume.
    Id,
    /// A host of its own, which nothing is attached to: no event here is of interest.
    Host,
    /// Snapshots, of which there are none.
    Kind,
}

/// Readers, and what they are told by.
pub struct Readers {
    router: Router,
    by: By,
    volumes: Vec<VolumeId>,
    told: mpsc::UnboundedReceiver<usize>,
    _following: JoinSet<()>,
    turn: u64,
}

impl Readers {
    /// So many, of a new store in `folder`. They have seen what is, and wait.
    ///
    /// # Errors
    /// The store cannot be made; a stream is refused.
    pub async fn open(folder: &Path, many: usize, by: By) -> Result<Self> {
        let store = Arc::new(SqliteStore::open(folder, store_sqlite::Options::default())?);
        let home = Home::make(&*store).await?;
        let volumes = fill(&*store, &home, many).await?;
        let (exporter, clock) = (Arc::new(MemExporter::default()), Arc::new(SteppedClock::default()));
        let engine = Engine::start(store, exporter, clock, Vec::new(), Settings::default()).await?;
        let settings = api_opensds::Settings { streams: many, ..api_opensds::Settings::default() };
        let router = api_opensds::router(Arc::new(engine), settings);
        let (sender, told) = mpsc::unbounded_channel();
        let mut following = JoinSet::new();
        for (number, volume) in volumes.iter().enumerate() {
            let named = match by {
                By::Host if number > 0 => format!("host={volume}"),
                By::Kind if number > 0 => "kind=snapshot".to_owned(),
                By::Id | By::Host | By::Kind => format!("id={volume}"),
            };
            let request = Request::get(format!("/v1beta/{}/block/events?since=now&{named}", crate::TENANT)).body(Body::empty())?;
            let answer = router.clone().oneshot(request).await?;
            ensure!(answer.status().is_success(), "a stream was answered {}", answer.status());
            let mut stream = answer.into_body();
            until(&mut stream, "event: synced").await?;
            let sender = sender.clone();
            following
                .spawn(async move { while until(&mut stream, "event: change").await.is_ok() && sender.send(number).is_ok() {} });
        }
        Ok(Self { router, by, volumes, told, _following: following, turn: 0 })
    }

    /// Gives the volume of a reader who names it another name, and waits until that one has been told. Nobody else may have been.
    ///
    /// # Errors
    /// The name is refused; another one was told, or nobody.
    pub async fn tell(&mut self) -> Result<()> {
        self.turn += 1;
        let number = match self.by {
            By::Id => usize::try_from(self.turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20)? % self.volumes.len(),
            By::Host | By::Kind => 0,
        };
        let path = format!("/v1beta/{}/block/volumes/{}", crate::TENANT, self.volumes[number]);
        let body = Body::from(format!("{{\"name\":\"name {}\"}}", self.turn));
        let answer = self.router.clone().oneshot(Request::put(path).body(body)?).await?;
        ensure!(answer.status().is_success(), "a new name was answered {}", answer.status());
        let told = tokio::time::timeout(PATIENCE, self.told.recv()).await.context("nobody was told")?;
        ensure!(told == Some(number), "{told:?} was told instead of {number}");
        if let Ok(other) = self.told.try_recv() {
            bail!("{other} was told as well as {number}");
        }
        Ok(())
    }
}

async fn fill(store: &dyn Store, home: &Home, many: usize) -> Result<Vec<VolumeId>> {
    let volumes: Vec<_> = (0..many).map(|_| VolumeId(Uuid::now_v7())).collect();
    for group in volumes.chunks(GROUP) {
        let mut commit = Commit::default();
        for id in group {
            let record = created(home.creating(*id, "volume".into()))?;
            commit.journal.push(records::entry(&record, Subject::Volume(*id), None, None));
            commit.changes.push(put_volume(Expected::Absent, record));
        }
        store.commit(commit).await?;
    }
    Ok(volumes)
}

/// Reads until a chunk holds this.
async fn until(stream: &mut Body, text: &str) -> Result<()> {
    loop {
        let frame = stream.frame().await.context("the stream ended")??;
        let is_it = frame.data_ref().is_some_and(|data| data.windows(text.len()).any(|part| part == text.as_bytes()));
        if is_it {
            return Ok(());
        }
    }
}
