//! The driver, the exporter and the clock of a simulated world: thin, as the truth and the errands do the work.

use super::errand::{Errand, run};
use super::faults::{Fault, Place};
use super::truth::Deed;
use super::world::{State, World};
use async_trait::async_trait;
use engine::ports::{Backing, Batches, Call, Capacity, Client, Clock, Driver, ExportSpec, Exporter, Listed, Progress, Unanswered};
use lifecycle::{
    AttachmentId, Bytes, Capabilities, Connection, Content, ExportSeen, Look, Outcome, Seen, SnapshotId, Source, Timestamp, Token,
    VolumeId,
};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use uuid::Uuid;

/// The driver of one pool.
pub(crate) struct SimDriver {
    pub(crate) world: Arc<World>,
    pub(crate) pool: usize,
}

/// The one exporter.
pub(crate) struct SimExporter(pub(crate) Arc<World>);

/// The wall clock.
pub(crate) struct SimClock(pub(crate) Arc<World>);

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.lock().wall())
    }
}

/// What a pool could hold: little enough that it is full now and then.
const TOTAL: Bytes = Bytes(24 * Bytes::GIB);
/// How many objects are listed at a time: half of what there is mostly.
const LISTED_PAGE: usize = 8;

type Answer<T> = Result<T, Unanswered>;

/// Asks a question, which may go unanswered, hang, take long, or be answered oddly (then the answer gets true).
async fn ask<T>(world: &World, place: Place, pool: Option<usize>, answer: impl FnOnce(&mut State, bool) -> Answer<T>) -> Answer<T> {
    world.arrive().await;
    if let Some(pool) = pool
        && !world.reach(pool).await
    {
        return Err(Unanswered("the backend cannot be reached".into()));
    }
    let fault = world.lock().strike(place);
    let pause = match fault {
        Some(Fault::Unanswered) => return Err(Unanswered("no answer".into())),
        Some(Fault::HangsBefore) => std::future::pending().await,
        // Without the hook that prints: it is expected.
        Some(Fault::Panics) => std::panic::resume_unwind(Box::new("a question that panics")),
        Some(Fault::Slow) => 1000 * world.lock().dice.between(1, 60),
        Some(_) | None if world.lock().dice.chance(300) => world.lock().dice.between(1, 200),
        Some(_) | None => 0,
    };
    if pause > 0 {
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    let answered = answer(&mut world.lock(), fault == Some(Fault::TellsOddFacts));
    world.leave().await;
    answered
}

impl SimDriver {
    async fn call(&self, call: Call, volume: VolumeId, deed: Deed) -> Outcome {
        let errand = Errand { place: Place::Driver, pool: self.pool, volume, attachment: None, token: call.token, deed };
        run(&self.world, errand, &call.progress).await
    }
}

#[async_trait]
impl Driver for SimDriver {
    fn name(&self) -> &'static str {
        "simulated"
    }

    async fn capabilities(&self) -> Result<Capabilities, Unanswered> {
        ask(&self.world, Place::Look, Some(self.pool), |state, _| Ok(state.truth.capabilities[self.pool])).await
    }

    async fn create(&self, call: Call, volume: VolumeId, size: Bytes, source: Option<Source>) -> Outcome {
        self.call(call, volume, Deed::Create { size, source }).await
    }

    async fn delete(&self, call: Call, volume: VolumeId) -> Outcome {
        self.call(call, volume, Deed::Delete).await
    }

    async fn extend(&self, call: Call, volume: VolumeId, size: Bytes) -> Outcome {
        self.call(call, volume, Deed::Extend { size }).await
    }

    async fn snapshot(&self, call: Call, volume: VolumeId, snapshot: SnapshotId) -> Outcome {
        self.call(call, volume, Deed::Snapshot(snapshot)).await
    }

    async fn delete_snapshot(&self, call: Call, volume: VolumeId, snapshot: SnapshotId) -> Outcome {
        self.call(call, volume, Deed::DeleteSnapshot(snapshot)).await
    }

    async fn backing(&self, volume: VolumeId) -> Result<Backing, Unanswered> {
        ask(&self.world, Place::Look, Some(self.pool), |_, _| Ok(Backing::File(volume.to_string().into()))).await
    }

    async fn inspect(&self, volume: VolumeId, fence: Option<Token>) -> Result<Look, Unanswered> {
        let look = |state: &mut State, is_odd: bool| {
            if let Some(token) = fence.filter(|_| !state.truth.flaws.looks_do_not_fence)
                && !state.truth.admits(volume, token)
            {
                return Err(Unanswered("superseded by a newer call".into()));
            }
            state.note("look", volume.0.as_u128(), u64::from(fence.is_some()));
            let mut look = state.truth.look(volume);
            if is_odd {
                look.volume = unsure(look.volume);
                // Of somebody else's snapshot, too.
                look.snapshots.insert(SnapshotId(Uuid::nil()), Seen::Absent);
            }
            Ok(look)
        };
        ask(&self.world, Place::Look, Some(self.pool), look).await
    }

    async fn list(&self, batches: Batches) -> Result<(), Unanswered> {
        let mut behind = Bound::Unbounded;
        loop {
            // The backend may change, or go, between two pages.
            let page = |state: &mut State, is_odd: bool| {
                state.note("list", 0, self.pool as u64);
                let own = state.truth.objects.range((behind, Bound::Unbounded)).filter(|(_, object)| object.pool == self.pool);
                let listed = own.take(LISTED_PAGE).map(|((volume, snapshot), object)| {
                    let seen = if is_odd { unsure(object.seen()) } else { object.seen() };
                    let is_used = state.truth.strangers.contains_key(volume);
                    Listed { volume: *volume, snapshot: *snapshot, seen, is_used }
                });
                Ok(listed.collect::<Vec<_>>())
            };
            let page = ask(&self.world, Place::Look, Some(self.pool), page).await?;
            let Some(last) = page.last() else { return Ok(()) };
            behind = Bound::Excluded((last.volume, last.snapshot));
            if batches.send(page).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn capacity(&self) -> Result<Capacity, Unanswered> {
        ask(&self.world, Place::Look, Some(self.pool), |_, _| Ok(Capacity { total: TOTAL, free: TOTAL })).await
    }

    async fn probe(&self) -> Result<(), Unanswered> {
        ask(&self.world, Place::Probe, Some(self.pool), |_, _| Ok(())).await
    }
}

/// The same, from a backend that cannot tell.
const fn unsure(seen: Seen) -> Seen {
    match seen {
        Seen::Present { size, .. } => Seen::Present { size, content: Content::Unknown },
        Seen::Absent | Seen::Unknown => Seen::Unknown,
    }
}

impl SimExporter {
    async fn call(&self, token: Token, volume: VolumeId, attachment: AttachmentId, deed: Deed) -> Outcome {
        let errand = Errand { place: Place::Exporter, pool: 0, volume, attachment: Some(attachment), token, deed };
        run(&self.0, errand, &Progress::ignored()).await
    }
}

#[async_trait]
impl Exporter for SimExporter {
    fn protocols(&self) -> &'static [&'static str] {
        &["nbd"]
    }

    async fn export(&self, token: Token, spec: ExportSpec) -> Outcome {
        self.call(token, spec.volume, spec.attachment, Deed::Export(Box::new(spec))).await
    }

    async fn unexport(&self, token: Token, attachment: AttachmentId, force: bool) -> Outcome {
        let volume = self.0.lock().ledger.holder(attachment).unwrap_or(VolumeId(Uuid::nil()));
        self.call(token, volume, attachment, Deed::Unexport { force }).await
    }

    async fn inspect(&self, attachment: AttachmentId, fence: Option<Token>) -> Result<ExportSeen, Unanswered> {
        let look = |state: &mut State, is_odd: bool| {
            if let Some(token) = fence.filter(|_| !state.truth.flaws.looks_do_not_fence)
                && !state.truth.admits_export(attachment, token)
            {
                return Err(Unanswered("superseded by a newer call".into()));
            }
            let served = state.truth.exports.get(&attachment).map(|export| export.connection.clone());
            Ok(if is_odd { ExportSeen::Unknown } else { served.map_or(ExportSeen::Absent, ExportSeen::Serving) })
        };
        ask(&self.0, Place::ExportLook, None, look).await
    }

    async fn list(&self) -> Result<BTreeMap<AttachmentId, Connection>, Unanswered> {
        let list =
            |state: &mut State, _| Ok(state.truth.exports.iter().map(|(id, export)| (*id, export.connection.clone())).collect());
        ask(&self.0, Place::ExportLook, None, list).await
    }

    async fn clients(&self, _attachment: AttachmentId) -> Result<Vec<Client>, Unanswered> {
        ask(&self.0, Place::ExportLook, None, |_, _| Ok(Vec::new())).await
    }

    async fn refresh(&self, _attachment: AttachmentId) -> Result<(), Unanswered> {
        ask(&self.0, Place::ExportLook, None, |_, _| Ok(())).await
    }

    fn losses(&self) -> Option<watch::Receiver<u64>> {
        Some(self.0.lock().losses.subscribe())
    }
}
