//! [`FileDriver`]: the port, and where blocking work meets it.
//!
//! - A call is admitted (its token raised) before it waits for anything.
//! - Work blocks on threads of the runtime's pool. How many a pool of ours may take is bounded, so that a hanging disk starves
//!   neither another pool nor the calls that would end its own.
//! - A dropped future marks its call as abandoned; the call stops at its next check.

use crate::folder::Folder;
use crate::lanes::{Held, Lanes, Ticket};
use crate::names::{Form, Object};
use crate::options::{OpenError, Options};
use crate::points::{CREATE, DELETE, DELETE_SNAPSHOT, Pace, SNAPSHOT};
use crate::space::Space;
use crate::steps::{Files, Plan};
use crate::stop::Stop;
use async_trait::async_trait;
use engine::ports::{Backing, Batches, Call, Capacity, Driver, Unanswered};
use lifecycle::{Bytes, Capabilities, Facts, Look, Outcome, Seen, SnapshotId, Source, Token, VolumeId};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// How many creates and snapshots work at once, those abandoned on a hanging disk included: twice what an engine asks for.
const MAKES_MAX: usize = 64;
/// How many other calls work at once: a place of their own, so that a delete never waits for copies to end.
const STEPS_MAX: usize = 64;
/// How many probes work at once.
const PROBES_MAX: usize = 1;
/// How many of the runtime's threads for blocking work one pool may take, as all of them while its disk hangs. A runtime of several
/// pools should have as many for each.
pub const THREADS_MAX: usize = MAKES_MAX + STEPS_MAX + PROBES_MAX;

/// A pool of raw sparse files in a folder. See the crate's documentation.
pub struct FileDriver {
    files: Arc<Files>,
    lanes: Lanes,
    makes: Arc<Semaphore>,
    steps: Arc<Semaphore>,
    probes: Arc<Semaphore>,
}

impl FileDriver {
    /// Opens `folder` as a pool: made if missing, locked against other processes, tried for reflinks with real files.
    ///
    /// Blocks for a few file operations. Changes nothing of what is there: leftovers of a crash stay until their ids are worked
    /// on again.
    ///
    /// Errors: [`OpenError`], each telling what to do.
    pub fn open(folder: &Path, options: Options) -> Result<Self, OpenError> {
        let Options { reserved, step_delay, copy_chunk_delay, fail_points } = options;
        let opened = Folder::open(folder)?;
        let not_writable = |source| OpenError::NotWritable { folder: folder.to_owned(), source };
        let reflink = opened.probe_reflink().map_err(not_writable)?;
        let space =
            Space::new(opened.root(), reserved).map_err(|source| OpenError::Unusable { folder: folder.to_owned(), source })?;
        let pace = Pace { step_delay, copy_chunk_delay, hook: fail_points };
        tracing::info!(folder = %folder.display(), reflink, "pool folder open");
        Ok(Self {
            files: Arc::new(Files { folder: opened, space, pace, reflink }),
            lanes: Lanes::new(),
            makes: Arc::new(Semaphore::new(MAKES_MAX)),
            steps: Arc::new(Semaphore::new(STEPS_MAX)),
            probes: Arc::new(Semaphore::new(PROBES_MAX)),
        })
    }

    /// Admits a changing call, waits for the volume's lock, and does its work on a thread that may block.
    async fn change(
        &self,
        token: Token,
        object: Object,
        verb: &'static str,
        places: &Arc<Semaphore>,
        work: impl FnOnce(&Files, &Ticket, Held) -> Result<Seen, Stop> + Send + 'static,
    ) -> Outcome {
        let asked = format!("{verb} {object}");
        let (ticket, _waiting) = self.lanes.admit(object.volume, Some(token));
        let done = self.work(places, ticket, work).await;
        match done {
            Ok(seen) => Outcome::Done(Facts::Object(seen)),
            Err(stop) => stop.into_outcome(&asked),
        }
    }

    /// Does work under a volume's lock on a thread that may block. The place comes before the lock: whoever waits for a place
    /// must not keep others from the volume.
    async fn work<T: Send + 'static>(
        &self,
        places: &Arc<Semaphore>,
        ticket: Ticket,
        work: impl FnOnce(&Files, &Ticket, Held) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, Stop> {
        let place = take_place(places).await;
        let held = ticket.hold().await;
        self.block(place, move |files| work(files, &ticket, held)).await
    }

    /// Does work on a thread that may block.
    async fn block<T: Send + 'static>(
        &self,
        place: OwnedSemaphorePermit,
        work: impl FnOnce(&Files) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, Stop> {
        let files = Arc::clone(&self.files);
        let worker = tokio::task::spawn_blocking(move || {
            let _place = place;
            match files.folder.stopped() {
                Some(why) => Err(Stop::Failed(why.to_owned())),
                None => work(&files),
            }
        });
        worker.await.unwrap_or_else(|error| {
            Err(Stop::Broken { doing: "working on", file: "the pool".into(), error: std::io::Error::other(error) })
        })
    }

    /// Asks something of the folder that needs no volume's lock.
    async fn ask<T: Send + 'static>(
        &self,
        asked: &str,
        work: impl FnOnce(&Files) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, Unanswered> {
        let place = take_place(&self.steps).await;
        self.block(place, work).await.map_err(|stop| Unanswered(stop.into_text(asked)))
    }
}

async fn take_place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed")
}

#[async_trait]
impl Driver for FileDriver {
    fn name(&self) -> &'static str {
        "file"
    }

    async fn capabilities(&self) -> Result<Capabilities, Unanswered> {
        Ok(Capabilities { attached_snapshot: self.files.reflink, online_extend: true })
    }

    async fn create(&self, call: Call, volume: VolumeId, size: Bytes, source: Option<Source>) -> Outcome {
        let source = source.map(|source| Object::snapshot(source.volume, source.snapshot));
        let plan = Plan { target: Object::volume(volume), size: Some(size), source, steps: &CREATE };
        let work = move |files: &Files, ticket: &Ticket, held| files.make(ticket, held, &plan, &call.progress);
        self.change(call.token, Object::volume(volume), "create", &self.makes, work).await
    }

    async fn delete(&self, call: Call, volume: VolumeId) -> Outcome {
        let work = move |files: &Files, ticket: &Ticket, held| files.remove_volume(ticket, &held, volume, &DELETE);
        self.change(call.token, Object::volume(volume), "delete", &self.steps, work).await
    }

    async fn extend(&self, call: Call, volume: VolumeId, size: Bytes) -> Outcome {
        let work = move |files: &Files, ticket: &Ticket, held| files.extend(ticket, &held, volume, size);
        self.change(call.token, Object::volume(volume), "extend", &self.steps, work).await
    }

    async fn snapshot(&self, call: Call, volume: VolumeId, snapshot: SnapshotId) -> Outcome {
        let target = Object::snapshot(volume, snapshot);
        let plan = Plan { target, size: None, source: Some(Object::volume(volume)), steps: &SNAPSHOT };
        let work = move |files: &Files, ticket: &Ticket, held| files.make(ticket, held, &plan, &call.progress);
        self.change(call.token, target, "create", &self.makes, work).await
    }

    async fn delete_snapshot(&self, call: Call, volume: VolumeId, snapshot: SnapshotId) -> Outcome {
        let object = Object::snapshot(volume, snapshot);
        let work = move |files: &Files, ticket: &Ticket, held| files.remove(ticket, &held, object, &DELETE_SNAPSHOT);
        self.change(call.token, object, "delete", &self.steps, work).await
    }

    async fn backing(&self, volume: VolumeId) -> Result<Backing, Unanswered> {
        let live = Object::volume(volume).form(Form::Live);
        let look = move |files: &Files| {
            let facts = files.folder.look(live).map_err(crate::stop::broken("looking at", live))?;
            match facts {
                Some(facts) if facts.is_regular => Ok(Backing::File(files.folder.path_of(live))),
                Some(_) => Err(Stop::Refused(format!("{live} is no regular file"))),
                None => Err(Stop::Refused("it is not in this pool".into())),
            }
        };
        self.ask(&format!("find volume {volume}"), look).await
    }

    async fn inspect(&self, volume: VolumeId, fence: Option<Token>) -> Result<Look, Unanswered> {
        let (ticket, _waiting) = self.lanes.admit(volume, fence);
        let look = move |files: &Files, _: &Ticket, _held: Held| files.look(volume, fence.is_some());
        let looked = self.work(&self.steps, ticket, look).await;
        looked.map_err(|stop| Unanswered(stop.into_text(&format!("inspect volume {volume}"))))
    }

    async fn list(&self, batches: Batches) -> Result<(), Unanswered> {
        // The thread tells this future, not whoever hears: it never waits longer than somebody waits for it.
        let (told, mut read) = mpsc::channel(1);
        let list = move |files: &Files| {
            let listed = files.list(|batch| told.blocking_send(batch).is_ok());
            listed.map_err(|error| Stop::Failed(format!("reading the folder failed: {error}")))
        };
        let pass_on = async move {
            while let Some(batch) = read.recv().await {
                if batches.send(batch).await.is_err() {
                    break;
                }
            }
        };
        tokio::join!(self.ask("list the pool", list), pass_on).0
    }

    async fn capacity(&self) -> Result<Capacity, Unanswered> {
        let ask = |files: &Files| {
            let figures = files.space.capacity(files.folder.root());
            figures.map_err(|error| Stop::Failed(format!("asking the file system failed: {error}")))
        };
        self.ask("tell how full the pool is", ask).await
    }

    async fn probe(&self) -> Result<(), Unanswered> {
        let place = take_place(&self.probes).await;
        let write = |files: &Files| {
            files.folder.try_writing().map_err(|error| Stop::Failed(format!("writing to its file system failed: {error}")))
        };
        self.block(place, write).await.map_err(|stop| Unanswered(stop.into_text("try the pool")))
    }
}
