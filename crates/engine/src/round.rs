//! One round of the slow look over one pool: what the backend has, and what is exported, against the records.
//!
//! - It lists what the backend has, and goes through the pool's records, a page at a time. A record that cannot be read is told by
//!   itself and hides no other.
//! - A list alone proves nothing, as it ages while it is compared. What it seems to show is looked at once more, and committed
//!   only if the record is still the one that was looked at: then nobody was at work who knows better.
//! - What could not be seen, or was seen and could not be noted, is told as not looked at: no time of a look vouches for it.
//! - What a look means is decided by the rules; nothing on a backend is ever removed here.
//!
//! Of the list only fingerprints of names are kept (`inventory`), as there may be millions. So the names that no record has claimed, and that
//! are not known from the last round, are heard from a second list, which is asked for if there are any. Nothing that comes between can
//! make this commit or tell what is not so:
//! - an object that is made between the lists is not in the first, and one that is removed is not in the second: neither is told of. One
//!   that is removed and whose record went with it before this came by is unclaimed, and asks for a second list in vain;
//! - what is in both is told only if a look confirms it and there is no record then;
//! - names that meet in one fingerprint can hide something (an object that is gone behind one that is there, one that is nobody's behind one
//!   that is somebody's), or seem to differ. What seems to differ is looked at; what is hidden is seen in the next round, under other
//!   keys. The same holds for what is listed twice.

use crate::change::Cause;
use crate::drift::{Pace, asked_within};
use crate::exporters::Served;
use crate::inventory::{Gathered, Inventory};
use crate::listing::Hearing;
use crate::patience::{Unheard, within};
use crate::ports::Listed;
use crate::reach::Reach;
use crate::records::VolumeRecord;
use crate::recovery::{export_again, note};
use crate::shared::{Pool, STALE_RETRIES, Shared};
use crate::store::{CommitError, Field, Filter, Item, Kind, ListQuery, StoreError};
use crate::survey::{KEPT_MAX, Name, Shown};
use crate::worker;
use lifecycle::{Content, Input, Look, PoolId, ReasonCode, Seen, SnapshotId, SnapshotPhase, Subject, VolumeId, Work};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How many records are compared between two pauses: few enough that nobody waits behind them.
const PAGE: usize = 200;
/// How many objects are listed in the time of one record: a quarter of a processor for the file driver's, at the usual rate.
const LISTED_A_RECORD: u32 = 5;
/// How often in a row the store may fail before the round ends: it begins anew after the usual rest.
const STORE_TRIES: u32 = 3;
/// How many looks in a row may stay unanswered: then the backend hangs, and asking for all others would take days.
const SILENCE_MAX: u32 = 3;
/// How many objects without a record are looked at in one round; those beyond are counted. More than are kept by name, as a look may find
/// that one is gone, or not be answered.
const ASKED_MAX: usize = 10 * KEPT_MAX;
/// How long exporters may take to tell what they serve. No answer is no news, and keeps nobody from looking at the backend.
const EXPORTERS_PATIENCE: Duration = Duration::from_secs(5);

/// Looks at everything that a pool has. Returns what that shows, and the pace at its end: somebody may have begun to wait.
///
/// # Errors
/// Why what is there cannot be known.
pub(crate) async fn see(shared: Arc<Shared>, id: PoolId, mut pace: Pace) -> (Result<Shown, String>, Pace) {
    let shown = match shared.pools.get(&id) {
        Some(pool) => look(&shared, pool, &mut pace).await,
        None => Err("there is no such pool".into()),
    };
    (shown, pace)
}

async fn look(shared: &Arc<Shared>, pool: &Pool, pace: &mut Pace) -> Result<Shown, String> {
    answers(pool)?;
    let mut gathered = Gathered::new();
    let listing = list(shared, pool, pace, |listed| gathered.add(&listed));
    let (listed, served) = tokio::join!(listing, shared.exporters.served(EXPORTERS_PATIENCE));
    listed?;
    let mut objects = gathered.sort().await;
    let mut round = Round { shared, pool, served, silence: 0, shown: Shown::default() };
    round.walk(&mut objects, pace).await?;
    round.unknown_objects(objects, pace).await?;
    // More silence than can be kept by name is no look at the pool.
    if round.shown.silent.len() >= KEPT_MAX {
        return Err("the backend does not tell of many of its volumes".into());
    }
    Ok(round.shown)
}

/// Has the backend list what it has. It may take long, as long as it goes on.
async fn list(shared: &Shared, pool: &Pool, pace: &mut Pace, mut each: impl FnMut(Listed)) -> Result<(), String> {
    let rate = shared.settings.look_rate.saturating_mul(LISTED_A_RECORD);
    let mut hearing = Hearing::begin(shared.settings.shape_deadline, |batches| pool.setup.driver.list(batches));
    while let Some(batch) = hearing.next().await? {
        let many = batch.len();
        batch.into_iter().for_each(&mut each);
        rest(pool, pace, many, rate).await;
    }
    Ok(())
}

/// Rests for as long as so many may take at this rate, unless it goes as fast as it can: from when somebody asks for a look.
async fn rest(pool: &Pool, pace: &mut Pace, many: usize, rate: u32) {
    match *pace {
        Pace::Slow => {
            let pause = Duration::from_secs(1) * u32::try_from(many).unwrap_or(u32::MAX) / rate.max(1);
            if asked_within(pool, pause).await {
                *pace = Pace::Full;
            }
        }
        Pace::Full => tokio::task::yield_now().await,
    }
}

/// # Errors
/// What a backend that is down would tell may be what somebody remembers of it. It is looked at as soon as it answers.
fn answers(pool: &Pool) -> Result<(), String> {
    match pool.watched.reach() {
        Reach::Down { because, .. } => Err(because),
        _ => Ok(()),
    }
}

struct Round<'a> {
    shared: &'a Arc<Shared>,
    pool: &'a Pool,
    served: Served,
    /// How many looks in a row were not answered.
    silence: u32,
    shown: Shown,
}

/// Where a round is in the records.
struct Cursor {
    after: Option<Uuid>,
    /// How many behind that one cannot be read.
    passed: usize,
    limit: usize,
}

impl Round<'_> {
    /// Goes through the pool's records in the order of their ids; as fast as it can from when somebody asks for a look.
    async fn walk(&mut self, objects: &mut Inventory, pace: &mut Pace) -> Result<(), String> {
        let mut cursor = Cursor { after: None, passed: 0, limit: PAGE };
        loop {
            let page = self.next(&mut cursor).await?;
            if page.is_empty() {
                return Ok(());
            }
            for record in &page {
                self.compare(record, take(objects, record)).await;
                self.goes_on()?;
            }
            self.shown.volumes += page.len() as u64;
            rest(self.pool, pace, page.len(), self.shared.settings.look_rate).await;
        }
    }

    fn goes_on(&self) -> Result<(), String> {
        if self.silence >= SILENCE_MAX {
            return Err("the backend does not answer when it is asked about single volumes".into());
        }
        answers(self.pool)
    }

    /// The next records; none at the end. One that cannot be read is told, and passed over.
    async fn next(&mut self, cursor: &mut Cursor) -> Result<Vec<Arc<VolumeRecord>>, String> {
        let mut failures = 0;
        loop {
            match self.page(cursor).await {
                Ok(page) => {
                    if let Some(last) = page.last() {
                        *cursor = Cursor { after: Some(last.state.id().0), passed: 0, limit: PAGE.min(cursor.limit * 2) };
                    }
                    return Ok(page);
                }
                // Which of them it is, is found one by one.
                Err(StoreError::Corrupt(..)) if cursor.limit > 1 => cursor.limit = 1,
                Err(error @ StoreError::Corrupt(..)) => {
                    if self.shown.unreadable.len() < KEPT_MAX {
                        self.shown.unreadable.push(error.to_string());
                    }
                    cursor.passed += 1;
                }
                Err(error) if failures < STORE_TRIES => {
                    tracing::warn!(pool = self.pool.setup.name, %error, "cannot read the records to compare; trying again");
                    failures += 1;
                    tokio::time::sleep(self.shared.settings.retry_max).await;
                }
                Err(error) => return Err(format!("the records cannot be read: {error}")),
            }
        }
    }

    async fn page(&self, cursor: &Cursor) -> Result<Vec<Arc<VolumeRecord>>, StoreError> {
        let query = ListQuery {
            filters: vec![Filter { field: Field::PoolId, values: vec![self.pool.id.to_string()] }],
            marker: cursor.after,
            offset: cursor.passed,
            limit: cursor.limit,
            ..ListQuery::all(Kind::Volume)
        };
        let mut batches = self.shared.store.list(query).await?;
        let mut page = Vec::new();
        while let Some(batch) = batches.recv().await {
            let volume = |item| match item {
                Item::Volume(record) => Some(record),
                Item::Snapshot(..) | Item::Attachment(..) | Item::Other(_) => None,
            };
            page.extend(batch?.into_iter().filter_map(volume));
        }
        Ok(page)
    }

    /// Compares a record with what the list says of it.
    async fn compare(&mut self, record: &VolumeRecord, look: Look) {
        let (id, state) = (record.state.id(), &record.state);
        let context = self.shared.context(record.pool);
        let is_used = look.stranger.is_some();
        let means = |input: &Input| state.decide(input, &context).is_ok_and(|transitions| !transitions.is_empty());
        if is_untold(&look) || means(&Input::Drift(look)) {
            self.look_at(id).await;
        }
        let exports = self.shared.exporters.of_volume(record, &self.served, self.patience()).await;
        if means(&Input::Exports(exports)) {
            match export_again(self.shared, id, &self.served).await {
                true => worker::hurry(self.shared, id),
                false => self.silent(id, "which of its exports are served could not be noted".into()),
            }
        }
        // As of the look just taken, which may be the first to see somebody.
        let now = if is_used { self.shared.read_volume(id).await.ok().flatten() } else { None };
        let state = now.as_ref().map_or(state, |now| &now.record.state);
        let is_strayed = state.reason(Subject::Volume(id)).is_some_and(|reason| reason.code == ReasonCode::StrayClient);
        if is_strayed && self.shown.strangers.len() < KEPT_MAX {
            self.shown.strangers.insert(id);
        } else if is_strayed {
            self.shown.more_strangers += 1;
        }
    }

    /// How long one look may take.
    fn patience(&self) -> Duration {
        self.shared.deadline(self.pool.id, Work::Look)
    }

    /// Looks at one volume and commits what that shows; anew if it was changed meanwhile.
    async fn look_at(&mut self, id: VolumeId) {
        for _ in 0..STALE_RETRIES {
            let now = match self.shared.read_volume(id).await {
                Ok(Some(now)) => now,
                Ok(None) => return,
                Err(error) => return self.silent(id, error.to_string()),
            };
            let look = match self.inspect(id).await {
                Ok(look) => look,
                Err(message) => return self.silent(id, message),
            };
            if is_untold(&look) {
                self.silent(id, "the backend has something in its place that it cannot tell of".into());
            }
            let cause = Cause { what: "look", ..Cause::default() };
            match note(self.shared, &now, &Input::Drift(look), &cause).await {
                Ok(()) => return,
                Err(CommitError::Stale(_)) => {}
                Err(error) => return self.silent(id, format!("what was seen could not be noted: {error}")),
            }
        }
        self.silent(id, "it was changed each time it was looked at".into());
    }

    async fn inspect(&mut self, id: VolumeId) -> Result<Look, String> {
        match within(self.patience(), self.pool.setup.driver.inspect(id, None)).await {
            Ok(answer) => {
                self.silence = 0;
                answer.map_err(|error| error.to_string())
            }
            Err(unheard) => {
                self.silence += u32::from(unheard == Unheard::Late);
                Err(format!("looking at it {unheard}"))
            }
        }
    }

    fn silent(&mut self, id: VolumeId, message: String) {
        if self.shown.silent.len() < KEPT_MAX {
            self.shown.silent.insert(id, message);
        }
    }

    /// What no record has claimed, as far as a look confirms it: what was listed may be gone by now, and its record with it.
    async fn unknown_objects(&mut self, mut objects: Inventory, pace: &mut Pace) -> Result<(), String> {
        let is_unclaimed = |objects: &mut Inventory, name| objects.claim(name).is_some_and(|claimed| claimed.is_first);
        let mut names = self.pool.survey.orphans();
        names.retain(|name| is_unclaimed(&mut objects, *name));
        if objects.unclaimed() > 0 {
            let add = |listed: Listed| match (listed.volume, listed.snapshot) {
                name if !is_unclaimed(&mut objects, name) => {}
                name if names.len() < ASKED_MAX => names.push(name),
                _ => self.shown.more_orphans += 1,
            };
            list(self.shared, self.pool, pace, add).await?;
        }
        // It may be large, and is not needed any more.
        drop(objects);
        names.sort_unstable();
        for name in names {
            if self.shown.orphans.len() >= KEPT_MAX {
                self.shown.more_orphans += 1;
                continue;
            }
            if let Some(seen) = self.orphan(name).await {
                if !self.pool.survey.knows(name) {
                    tracing::warn!(volume = %name.0, snapshot = ?name.1, pool = self.pool.setup.name, "the backend has an object that no record names; it is left alone");
                }
                self.shown.orphans.insert(name, seen);
            }
            self.goes_on()?;
        }
        Ok(())
    }

    /// Looks first and reads then: a record comes before its object and goes after it, so that what is seen and has no record
    /// then belongs to nobody.
    async fn orphan(&mut self, (volume, snapshot): Name) -> Option<Seen> {
        let look = self.inspect(volume).await.ok()?;
        let seen = snapshot.map_or(look.volume, |snapshot| look.snapshots.get(&snapshot).copied().unwrap_or(Seen::Absent));
        let record = self.shared.read_volume(volume).await.ok()?;
        let is_nobodys = seen != Seen::Absent && !names(record.as_ref().map(|now| &now.record), self.pool.id, snapshot);
        is_nobodys.then_some(seen)
    }
}

/// What the list says of a volume. Snapshots that its record does not have are left unclaimed.
fn take(objects: &mut Inventory, record: &VolumeRecord) -> Look {
    let id = record.state.id();
    let own = objects.claim((id, None));
    let held = record.state.snapshots().iter().filter(|(_, held)| held.phase != SnapshotPhase::Deleted);
    Look {
        volume: own.map_or(Seen::Absent, |own| own.seen),
        snapshots: held.filter_map(|(held, _)| Some((*held, objects.claim((id, Some(*held)))?.seen))).collect(),
        // Who it is, a look tells.
        stranger: own.filter(|own| own.is_used).map(|_| String::new()),
    }
}

/// Whether there is something of which the backend does not tell what it is.
fn is_untold(look: &Look) -> bool {
    let untold = |seen: &Seen| matches!(seen, Seen::Unknown | Seen::Present { content: Content::Unknown, .. });
    untold(&look.volume) || look.snapshots.values().any(untold)
}

/// Whether a record has the volume, or the snapshot of it, in this pool, and not as a tombstone.
pub(crate) fn names(record: Option<&VolumeRecord>, pool: PoolId, snapshot: Option<SnapshotId>) -> bool {
    let Some(record) = record.filter(|record| record.pool == pool) else { return false };
    snapshot.is_none_or(|id| record.state.snapshots().get(&id).is_some_and(|held| held.phase != SnapshotPhase::Deleted))
}
