//! The slow look at everything: compares each backend, and what is exported, with the records, for as long as the engine lives.
//!
//! - One round lists what the backend has and goes through the pool's records, a page at a time and at a bounded rate, so that a
//!   hundred thousand volumes cost a few percent of a processor. A round that the store interrupts goes on where it was.
//! - A list alone proves nothing, as it ages while it is compared. What it seems to show is looked at once more, and committed
//!   only if the record is still the one that was looked at: then nobody was at work who knows better.
//! - What a look means is decided by the rules; nothing on a backend is ever removed here.
//!
//! Source: lifecycle page, "Volume", drift.

use crate::change::Cause;
use crate::exporters::Served;
use crate::reach::Reach;
use crate::records::VolumeRecord;
use crate::recovery::{end_strays, export_again, note};
use crate::shared::{Pool, Shared};
use crate::store::{Field, Filter, Item, Kind, ListQuery, Sort, StoreError};
use crate::survey::{KEPT_MAX, Name, Shown};
use crate::worker;
use lifecycle::{Input, Look, PoolId, ReasonCode, Seen, SnapshotId, SnapshotPhase, Subject, VolumeId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// How many records are compared between two pauses: few enough that nobody waits behind them.
const PAGE: u32 = 200;

/// Begins to look, at each pool by itself: one that hangs delays no other.
pub(crate) fn start(shared: &Arc<Shared>) {
    for pool in shared.pools.keys() {
        tokio::spawn(watch(shared.clone(), *pool));
    }
    tokio::spawn(watch_exports(shared.clone()));
}

/// How fast a round goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// As fast as it can: after a start, or as somebody waits for it.
    Full,
    /// At [`crate::Settings::look_rate`].
    Slow,
}

async fn watch(shared: Arc<Shared>, id: PoolId) {
    let Some(pool) = shared.pools.get(&id) else { return };
    let mut pace = Pace::Full;
    loop {
        let begun = Instant::now();
        pool.survey.begin();
        let was = pace;
        round(&shared, pool, &mut pace).await;
        pool.survey.end();
        let rest = shared.settings.look_interval.max(begun.elapsed());
        // Asked for in the middle of a round is asked for another one: what this one has passed may have changed since.
        let is_asked = pace != was;
        pace = if is_asked || asked_within(pool, rest).await { Pace::Full } else { Pace::Slow };
    }
}

/// Waits this long, or until a look is asked for. Returns whether one was.
async fn asked_within(pool: &Pool, rest: Duration) -> bool {
    tokio::select! {
        biased;
        () = pool.survey.asked() => true,
        () = tokio::time::sleep(rest) => false,
    }
}

/// Ends what is exported for nobody, again and again.
async fn watch_exports(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(shared.settings.look_interval).await;
        let served = shared.exporters.served(shared.settings.look_timeout).await;
        end_strays(&shared, &served).await;
    }
}

/// One round over one pool, which keeps what it shows. Its pace may have become a faster one at its end.
async fn round(shared: &Arc<Shared>, pool: &Pool, pace: &mut Pace) {
    let at = shared.clock.now();
    match see(shared, pool, pace).await {
        Ok(shown) => pool.survey.keep(at, shown),
        Err(message) => {
            tracing::warn!(pool = pool.setup.name, message, "what is on the backend is not known");
            pool.survey.fail(at, message);
        }
    }
}

/// # Errors
/// Why what is on the backend cannot be known.
async fn see(shared: &Arc<Shared>, pool: &Pool, pace: &mut Pace) -> Result<Shown, String> {
    // What a backend that is down would list may be what somebody remembers of it. It is looked at as soon as it answers.
    if let Reach::Down { because, .. } = pool.watched.reach() {
        return Err(because);
    }
    let listed = tokio::time::timeout(shared.settings.shape_deadline, pool.setup.driver.list()).await;
    let listed =
        listed.map_err(|_| "the backend did not list what it has in time".to_owned())?.map_err(|error| error.to_string())?;
    let served = shared.exporters.served(shared.settings.look_timeout).await;
    let used = listed.iter().filter(|of| of.is_used && of.snapshot.is_none()).map(|of| of.volume).collect();
    let objects = listed.iter().map(|of| ((of.volume, of.snapshot), of.seen)).collect();
    let mut round = Round { shared, pool, served, objects, used, shown: Shown::default() };
    round.walk(pace).await;
    round.unknown_objects().await;
    // More silence than can be kept by name is no look at the pool.
    if round.shown.silent.len() >= KEPT_MAX {
        return Err("the backend does not tell of many of its volumes".into());
    }
    Ok(round.shown)
}

struct Round<'a> {
    shared: &'a Arc<Shared>,
    pool: &'a Pool,
    served: Served,
    /// What the backend listed and no record has claimed yet.
    objects: BTreeMap<Name, Seen>,
    /// The volumes that somebody seems to use.
    used: BTreeSet<VolumeId>,
    shown: Shown,
}

impl Round<'_> {
    /// Goes through the pool's records in the order of their ids; as fast as it can from when somebody asks for a look.
    async fn walk(&mut self, pace: &mut Pace) {
        let mut after = None;
        loop {
            let page = match self.page(after).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(pool = self.pool.setup.name, %error, "cannot read the records to compare; trying again");
                    tokio::time::sleep(self.shared.settings.retry_max).await;
                    continue;
                }
            };
            let Some(last) = page.last() else { return };
            after = Some(last.state.id().0);
            for record in &page {
                self.compare(record).await;
            }
            self.shown.volumes += page.len() as u64;
            match *pace {
                Pace::Slow => {
                    let pause = Duration::from_secs(1) * PAGE / self.shared.settings.look_rate.max(1);
                    if asked_within(self.pool, pause).await {
                        *pace = Pace::Full;
                    }
                }
                Pace::Full => tokio::task::yield_now().await,
            }
        }
    }

    async fn page(&self, after: Option<Uuid>) -> Result<Vec<VolumeRecord>, StoreError> {
        let query = ListQuery {
            kind: Kind::Volume,
            tenant: None,
            filters: vec![Filter { field: Field::PoolId, values: vec![self.pool.id.to_string()] }],
            sort: Sort::Id,
            descending: false,
            marker: after,
            offset: 0,
            limit: PAGE as usize,
        };
        let mut batches = self.shared.store.list(query).await?;
        let mut page = Vec::new();
        while let Some(batch) = batches.recv().await {
            let volume = |item| match item {
                Item::Volume(record) => Some(*record),
                Item::Snapshot(..) | Item::Attachment(..) | Item::Other(_) => None,
            };
            page.extend(batch?.into_iter().filter_map(volume));
        }
        Ok(page)
    }

    async fn compare(&mut self, record: &VolumeRecord) {
        let (id, state) = (record.state.id(), &record.state);
        let context = self.shared.context(record.pool);
        let look = self.take(record);
        let means = |input: &Input| state.decide(input, &context).is_ok_and(|transitions| !transitions.is_empty());
        if means(&Input::Drift(look)) {
            self.look_at(id).await;
        }
        let exports = self.shared.exporters.of_volume(record, &self.served, self.shared.settings.look_timeout).await;
        if means(&Input::Exports(exports)) && export_again(self.shared, id, &self.served).await {
            worker::hurry(self.shared, id);
        }
        let is_strayed = state.reason(Subject::Volume(id)).is_some_and(|reason| reason.code == ReasonCode::StrayClient);
        if is_strayed && self.shown.strangers.len() < KEPT_MAX {
            self.shown.strangers.insert(id);
        }
    }

    /// What the list says of a volume. Snapshots that its record does not have are left in the list.
    fn take(&mut self, record: &VolumeRecord) -> Look {
        let id = record.state.id();
        let own = self.objects.remove(&(id, None)).unwrap_or(Seen::Absent);
        let all = (id, Some(SnapshotId(Uuid::nil())))..=(id, Some(SnapshotId(Uuid::max())));
        let listed: Vec<(Name, Seen)> = self.objects.range(all).map(|(name, seen)| (*name, *seen)).collect();
        // Who it is, a look tells.
        let stranger = self.used.contains(&id).then(String::new);
        let mut look = Look { volume: own, stranger, ..Look::default() };
        for ((_, snapshot), seen) in listed {
            let Some(snapshot) = snapshot else { continue };
            let held = record.state.snapshots().get(&snapshot);
            if held.is_some_and(|held| held.phase != SnapshotPhase::Deleted) {
                self.objects.remove(&(id, Some(snapshot)));
                look.snapshots.insert(snapshot, seen);
            }
        }
        look
    }

    /// Looks at one volume and commits what that shows.
    async fn look_at(&mut self, id: VolumeId) {
        let Ok(Some(now)) = self.shared.read_volume(id).await else { return };
        let asked = self.pool.setup.driver.inspect(id, None);
        let look = match tokio::time::timeout(self.shared.settings.look_timeout, asked).await {
            Ok(Ok(look)) => look,
            Ok(Err(error)) => return self.silent(id, error.to_string()),
            Err(_) => return self.silent(id, "looking at it was not answered in time".into()),
        };
        let cause = Cause { what: "look".into(), ..Cause::default() };
        if let Err(error) = note(self.shared, &now, &Input::Drift(look), &cause).await {
            tracing::info!(volume = %id, %error, "what the backend showed was not noted");
        }
    }

    fn silent(&mut self, id: VolumeId, message: String) {
        if self.shown.silent.len() < KEPT_MAX {
            self.shown.silent.insert(id, message);
        }
    }

    /// What no record has claimed, as far as a look confirms it: what was listed may be gone by now, and its record with it.
    async fn unknown_objects(&mut self) {
        for name in std::mem::take(&mut self.objects).into_keys() {
            if self.shown.orphans.len() >= KEPT_MAX {
                self.shown.more_orphans += 1;
                continue;
            }
            if let Some(seen) = self.orphan(name).await {
                tracing::warn!(volume = %name.0, snapshot = ?name.1, pool = self.pool.setup.name, "the backend has an object without a record; it is left alone");
                self.shown.orphans.insert(name, seen);
            }
        }
    }

    /// Looks first and reads then: a record comes before its object and goes after it, so that what is seen and has no record
    /// then belongs to nobody.
    async fn orphan(&self, (volume, snapshot): Name) -> Option<Seen> {
        let asked = self.pool.setup.driver.inspect(volume, None);
        let look = tokio::time::timeout(self.shared.settings.look_timeout, asked).await.ok()?.ok()?;
        let seen = snapshot.map_or(look.volume, |snapshot| look.snapshots.get(&snapshot).copied().unwrap_or(Seen::Absent));
        let Seen::Present { .. } = seen else { return None };
        let record = self.shared.read_volume(volume).await.ok()?;
        (!names(record.as_ref().map(|now| &now.record), snapshot)).then_some(seen)
    }
}

/// Whether a record has the volume, or the snapshot of it, and not as a tombstone.
pub(crate) fn names(record: Option<&VolumeRecord>, snapshot: Option<SnapshotId>) -> bool {
    let Some(record) = record else { return false };
    snapshot.is_none_or(|id| record.state.snapshots().get(&id).is_some_and(|held| held.phase != SnapshotPhase::Deleted))
}
