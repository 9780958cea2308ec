//! What every worker and every request shares: ports, pools, and what is known in memory.
//!
//! Nothing here is the truth about a record: the store is. Losing all of it costs a restart's worth of looking.

use crate::admission::WhenDown;
use crate::calls::Message;
use crate::change::{Cause, Step};
use crate::deadlines::Deadlines;
use crate::exporters::Exporters;
use crate::memo::Memo;
use crate::news::News;
use crate::patience::within;
use crate::places::Places;
use crate::points::{INTENT, OUTCOME};
use crate::ports::{Capacity, Clock, Driver};
use crate::probes::Watched;
use crate::records::{Key, Record, VolumeRecord};
use crate::requests::{Live, Refusal, VolumeNow};
use crate::settings::Settings;
use crate::store::{Change, Child, Commit, CommitError, Store, StoreError, Touched, Versioned};
use crate::survey::Survey;
use crate::turns::Turns;
use lifecycle::{AttachmentId, Capabilities, Context, Input, PoolId, ProfileId, Subject, Timestamp, Token, VolumeId, Work};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// A pool as the configuration tells it.
pub struct PoolSetup {
    /// Its name, unique: the record is found by it.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its availability zone.
    pub zone: String,
    /// How often its total capacity may be promised.
    pub overcommit: f64,
    /// Whether it is marked retired: nothing new is made in it, and its volumes may be forgotten.
    pub retired: bool,
    /// How long its operations may go without progress, where that differs from the engine's settings.
    pub deadlines: Deadlines,
    /// What is done with new work while its backend is down.
    pub when_down: WhenDown,
    /// Its driver.
    pub driver: Arc<dyn Driver>,
}

impl PoolSetup {
    /// A pool in the default zone, of which no more is promised than there is, and of which nothing else was said.
    #[must_use]
    pub fn new(name: impl Into<String>, driver: Arc<dyn Driver>) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            zone: crate::DEFAULT_ZONE.to_owned(),
            overcommit: 1.0,
            retired: false,
            deadlines: Deadlines::default(),
            when_down: WhenDown::default(),
            driver,
        }
    }
}

pub(crate) struct Pool {
    pub(crate) id: PoolId,
    pub(crate) created_at: Timestamp,
    pub(crate) setup: PoolSetup,
    pub(crate) places: Places,
    pub(crate) capabilities: Mutex<Capabilities>,
    /// Whether its backend answers.
    pub(crate) watched: Watched,
    /// When it was last asked for, and what was last told.
    pub(crate) capacity: Mutex<(Option<Instant>, Option<Capacity>)>,
    /// What the looks at everything have shown.
    pub(crate) survey: Survey,
}

/// One worker's bell, and what its calls have told it that it has not heard yet.
#[derive(Default)]
pub(crate) struct Bell {
    pub(crate) rung: AtomicBool,
    /// What waits for its next try is to be tried now: what stood in its way may be gone.
    pub(crate) hurry: AtomicBool,
    pub(crate) notify: Notify,
    messages: Mutex<Vec<Message>>,
}

impl Bell {
    /// Leaves a message for the worker, and wakes it if it is the first.
    pub(crate) fn tell(&self, message: Message) {
        let mut messages = lock(&self.messages);
        let last = messages.iter_mut().rev().find(|earlier| earlier.token == message.token);
        if last.is_some_and(|last| last.takes_in(&message)) {
            return;
        }
        messages.push(message);
        if messages.len() == 1 {
            self.notify.notify_one();
        }
    }

    /// What was told since the last time, in that order.
    pub(crate) fn take_messages(&self) -> Vec<Message> {
        std::mem::take(&mut *lock(&self.messages))
    }
}

pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) exporters: Exporters,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
    pub(crate) pools: BTreeMap<PoolId, Pool>,
    pub(crate) incarnation: u64,
    pub(crate) counter: AtomicU64,
    pub(crate) workers: Mutex<BTreeMap<VolumeId, Arc<Bell>>>,
    pub(crate) live: Mutex<BTreeMap<Subject, Live>>,
    pub(crate) watchers: Mutex<HashMap<VolumeId, watch::Sender<u64>>>,
    pub(crate) news: News,
    /// Places for commands on their way to the store.
    pub(crate) commands: Places,
    /// Places for lists that are begun.
    pub(crate) lists: Places,
    /// Turns at the processors.
    pub(crate) turns: Turns,
    /// The profile of volumes that ask for none.
    pub(crate) default_profile: Memo<ProfileId>,
    pub(crate) recovering: AtomicBool,
    /// When the engine started.
    pub(crate) begun: Timestamp,
    /// Pools that have a record and are not in the configuration, by name.
    pub(crate) unconfigured: BTreeMap<PoolId, String>,
    /// Whether every record was compared with what the exporters serve since the start.
    pub(crate) compared: watch::Sender<bool>,
    /// Exports that no record names and that could not be ended, each with why.
    pub(crate) strays: Mutex<BTreeMap<AttachmentId, String>>,
}

/// How often a decision is made anew because somebody else committed in between, before giving up as overloaded.
pub(crate) const STALE_RETRIES: usize = 64;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn token(&self) -> Token {
        Token { incarnation: self.incarnation, counter: self.counter.fetch_add(1, Ordering::Relaxed) + 1 }
    }

    pub(crate) fn context(&self, pool: PoolId) -> Context {
        let known = self.pools.get(&pool);
        let capabilities = known.map(|pool| *lock(&pool.capabilities)).unwrap_or_default();
        // A pool that the configuration no longer names cannot be asked anything: its volumes may be forgotten.
        Context { now: self.clock.now(), capabilities, retired: known.is_none_or(|pool| pool.setup.retired) }
    }

    /// How long `work` in `pool` may go without progress.
    pub(crate) fn deadline(&self, pool: PoolId, work: Work) -> Duration {
        let own = self.pools.get(&pool).map(|pool| pool.setup.deadlines).unwrap_or_default();
        self.settings.deadline(work, &own)
    }

    pub(crate) async fn read_volume(&self, id: VolumeId) -> Result<Option<VolumeNow>, StoreError> {
        let found = self.store.read(Key::Volume(id)).await?;
        Ok(found.and_then(|Versioned { record, version }| match record {
            Record::Volume(record) => Some(Versioned { record: *record, version }),
            Record::Host(_) | Record::Profile(_) | Record::Pool(_) => None,
        }))
    }

    /// What tells of a resource: a volume, or of a part an excerpt of its volume, from which nothing can be decided.
    pub(crate) async fn told(&self, subject: Subject) -> Result<Option<VolumeRecord>, StoreError> {
        match subject {
            Subject::Volume(id) => Ok(self.read_volume(id).await?.map(|now| now.record)),
            Subject::Snapshot(id) => self.store.find(Child::Snapshot(id)).await,
            Subject::Attachment(id) => self.store.find(Child::Attachment(id)).await,
        }
    }

    /// How much the pool may promise, in bytes; nothing if its backend cannot tell and nothing was heard from it yet.
    pub(crate) async fn reservable(&self, pool: &Pool) -> Option<u64> {
        let capacity = self.capacity(pool).await?;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a limit, saturating"
        )]
        let limit = (capacity.total.0 as f64 * pool.setup.overcommit) as u64;
        Some(limit.min(i64::MAX as u64))
    }

    /// What the pool's backend last told of its capacity, asked anew once it is old.
    ///
    /// One caller asks at a time and not for long; the others go on with what was known, so that a backend that hangs delays one
    /// request a [`Settings::capacity_life`] and not all of them; and one that is known to be down is not asked at all.
    pub(crate) async fn capacity(&self, pool: &Pool) -> Option<Capacity> {
        {
            let mut held = lock(&pool.capacity);
            if pool.watched.is_down() || held.0.is_some_and(|asked| asked.elapsed() < self.settings.capacity_life) {
                return held.1;
            }
            held.0 = Some(Instant::now());
        }
        let asked = within(self.settings.capacity_timeout, pool.setup.driver.capacity()).await;
        let mut held = lock(&pool.capacity);
        held.0 = Some(Instant::now());
        match asked {
            Ok(Ok(capacity)) => held.1 = Some(capacity),
            Ok(Err(_)) | Err(_) => pool.watched.stumbled(),
        }
        held.1
    }

    /// What steps of one or several volumes together are as a commit. Nothing is committed yet.
    pub(crate) async fn assemble(&self, steps: Vec<Step<'_>>, extra: Commit, cause: &Cause<'_>) -> Result<Commit, CommitError> {
        let now = self.clock.now();
        let mut commit = extra;
        // Most steps are a change and an entry each.
        commit.changes.reserve_exact(steps.len());
        commit.journal.reserve_exact(steps.len());
        for step in steps {
            let reservable = match self.pools.get(&step.after.pool) {
                Some(pool) if cause.is_command && step.grows() => Some(self.reservable(pool).await.ok_or_else(|| {
                    CommitError::Unavailable(format!("pool {} does not tell its capacity; see to its backend", pool.setup.name))
                })?),
                Some(_) | None => None,
            };
            step.add_to(&mut commit, cause, reservable, now);
        }
        Ok(commit)
    }

    /// Commits steps of one or several volumes together and wakes whoever they concern.
    pub(crate) async fn commit(&self, steps: Vec<Step<'_>>, extra: Commit, cause: &Cause<'_>) -> Result<u64, CommitError> {
        let touched: Vec<_> = steps.iter().map(|step| step.after.state.id()).collect();
        let tenant = steps.first().filter(|_| cause.is_command).map(|step| step.after.tenant.clone());
        let commit = self.assemble(steps, extra, cause).await?;
        let _place = match tenant {
            Some(tenant) => Some(self.commands.take(&tenant).await),
            None => None,
        };
        let written = if self.news.is_followed() { written(&commit) } else { Vec::new() };
        let point = if cause.is_command { INTENT } else { OUTCOME };
        point.before.pass();
        let committed = self.store.commit(commit).await;
        point.after.pass();
        // What may have been committed is told too: who reads finds out, and no later commit might tell.
        if matches!(committed, Ok(_) | Err(CommitError::Unknown(_))) {
            if let Ok(committed) = &committed {
                self.news.keep(committed.revision, written);
            }
            self.news.committed();
            touched.into_iter().for_each(|id| self.tell(id));
        }
        committed.map(|committed| committed.revision)
    }

    fn tell(&self, id: VolumeId) {
        let mut watchers = lock(&self.watchers);
        let Some(sender) = watchers.get(&id) else { return };
        sender.send_modify(|told| *told += 1);
        if sender.receiver_count() == 0 {
            watchers.remove(&id);
        }
    }

    /// Decides `input` on the volume and commits what follows, as often as it takes against others' commits.
    ///
    /// An error leaves everything as it was, or unknown: then the next read tells.
    pub(crate) async fn drive(&self, id: VolumeId, input: &Input, cause: &Cause<'_>) -> Result<(), Refusal> {
        for _ in 0..STALE_RETRIES {
            let Some(VolumeNow { record, version }) = self.read_volume(id).await.map_err(unavailable)? else { return Ok(()) };
            let context = self.context(record.pool);
            let transitions = record.state.decide(input, &context).map_err(Refusal::NotAllowed)?;
            if transitions.is_empty() {
                return Ok(());
            }
            let after = successor(&record, &transitions, context.now);
            let source = self.unpinned(&record, &after, context.now).await.map_err(unavailable)?;
            let mut steps = vec![Step { before: Some((&record, version)), after }];
            if let Some((source, freed)) = &source {
                steps.push(Step { before: Some((&source.record, source.version)), after: freed.clone() });
            }
            match self.commit(steps, Commit::default(), cause).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Stale(_)) => {}
                Err(error) => return Err(refusal(error)),
            }
        }
        Err(Refusal::Unavailable(format!("volume {id} is changed too often by others; try again")))
    }

    /// The source volume with its pin let go of, if this step is the end of the creation that pinned it.
    async fn unpinned(
        &self,
        before: &VolumeRecord,
        after: &VolumeRecord,
        now: Timestamp,
    ) -> Result<Option<(VolumeNow, VolumeRecord)>, StoreError> {
        let ended = is_creating(before) && after.state.phase() == &lifecycle::VolumePhase::Ready;
        let Some(pinned) = after.state.source().filter(|_| ended) else { return Ok(None) };
        let Some(source) = self.read_volume(pinned.volume).await? else { return Ok(None) };
        let input = Input::Unpin { snapshot: pinned.snapshot, clone: after.state.id() };
        let transitions = source.record.state.decide(&input, &self.context(source.record.pool)).unwrap_or_default();
        let freed = (!transitions.is_empty()).then(|| successor(&source.record, &transitions, now));
        Ok(freed.map(|freed| (source, freed)))
    }

    /// Where the sound of the workers' bells goes: a worker is rung, or `None` means that a new one must be started with this bell.
    pub(crate) fn ring(&self, id: VolumeId) -> Option<Arc<Bell>> {
        let mut workers = lock(&self.workers);
        if let Some(bell) = workers.get(&id) {
            bell.rung.store(true, Ordering::Release);
            bell.notify.notify_one();
            return None;
        }
        let bell = Arc::new(Bell::default());
        workers.insert(id, bell.clone());
        Some(bell)
    }
}

/// The volumes that a commit writes, with what of each it touches.
fn written(commit: &Commit) -> Vec<(VolumeRecord, Touched)> {
    let volume = |change: &Change| match &change.record {
        Some(Record::Volume(record)) => Some(((**record).clone(), change.touched.clone())),
        Some(Record::Host(_) | Record::Profile(_) | Record::Pool(_)) | None => None,
    };
    commit.changes.iter().filter_map(volume).collect()
}

/// The record after `transitions`; what is called by the names of parts that are gone goes with them.
pub(crate) fn successor(record: &VolumeRecord, transitions: &[lifecycle::Transition], now: Timestamp) -> VolumeRecord {
    let VolumeRecord { state, tenant, about, zone, profile, pool, snapshots, attachments } = record;
    let state = state.apply(transitions, now);
    let (mut snapshots, mut attachments) = (snapshots.clone(), attachments.clone());
    snapshots.retain(|id, _| state.snapshots().contains_key(id));
    attachments.retain(|id, _| state.attachments().contains_key(id));
    VolumeRecord {
        state,
        tenant: tenant.clone(),
        about: about.clone(),
        zone: zone.clone(),
        profile: *profile,
        pool: *pool,
        snapshots,
        attachments,
    }
}

pub(crate) fn is_creating(record: &VolumeRecord) -> bool {
    matches!(record.state.phase(), lifecycle::VolumePhase::Creating(_))
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
pub(crate) fn unavailable(error: StoreError) -> Refusal {
    match error {
        StoreError::TooBroad(_) | StoreError::TooMuchToSort(_) => Refusal::TooBroad(error.to_string()),
        StoreError::Unavailable(_) | StoreError::Corrupt(..) | StoreError::Slow => Refusal::Unavailable(error.to_string()),
    }
}

pub(crate) fn refusal(error: CommitError) -> Refusal {
    match error {
        CommitError::Full { key: Key::Pool(id), counted, by, limit } => Refusal::Conflict(format!(
            "pool {id} is full: {} promised, {} more asked for, {} may be promised; delete something or ask for less",
            lifecycle::Bytes(counted),
            lifecycle::Bytes(by.unsigned_abs()),
            // Sizes are asked for in whole GiB; the bytes beyond say nothing to a reader.
            lifecycle::Bytes(if limit < lifecycle::Bytes::GIB { limit } else { limit - limit % lifecycle::Bytes::GIB })
        )),
        CommitError::NoSuch(key) => Refusal::BadReference(format!("{key} does not exist")),
        CommitError::InUse { key, counted } => Refusal::Conflict(format!("{key} is in use {counted} times; end those uses first")),
        // Not by whom: names are unique across tenants, and another tenant's ids are not told.
        CommitError::NameTaken(_) => Refusal::Conflict("the name is taken; use another name".into()),
        CommitError::Repeated(made) => Refusal::Repeated(made),
        CommitError::DiskFull => Refusal::Unavailable(
            "the disk of the store is full: only delete and detach are done now; free space on it, then try again".into(),
        ),
        CommitError::Full { .. } | CommitError::Stale(_) | CommitError::Unavailable(_) | CommitError::Unknown(_) => {
            Refusal::Unavailable(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pool_is_told_in_sizes_that_can_be_asked_for() {
        let id = PoolId(uuid::Uuid::nil());
        let full = |limit| refusal(CommitError::Full { key: Key::Pool(id), counted: 37 << 30, by: 1 << 40, limit }).to_string();
        let told = full((4787 << 30) + 494_928);
        assert!(told.contains("37 GiB promised, 1 TiB more asked for, 4787 GiB may be promised"), "{told}");
        assert!(full(17).contains("17 B may be promised"));
    }
}
