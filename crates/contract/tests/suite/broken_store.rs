//! The simulated store with flaws on demand.

use async_trait::async_trait;
use contract::Cuts;
use contract::store::Subject;
use engine::records::{Key, Record, VolumeRecord};
use engine::store::{
    Change, Child, Commit, CommitError, Committed, Expected, Field, Filter, Head, Idempotent, Item, JournalEntry, JournalQuery,
    Kind, ListQuery, Store, StoreError, Versioned,
};
use lifecycle::{Volume, VolumeId};
use sim::MemStore;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// A promise that a store breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    LosesACommit,
    ComparesNoVersions,
    SplitsCommits,
    SkipsJournalEntries,
    ForgetsCounters,
    IgnoresLimits,
    ForgetsWhenOpenedAgain,
    AcceptsUsedKeys,
    ListsEveryTenant,
    ForgetsOffsets,
    RepeatsIncarnations,
    OwesNothing,
    TouchesEverything,
    ListsTheDead,
    ListsNoSnapshots,
    ListsPartsAlone,
    FindsAnything,
    FindsTheWhole,
}

impl Flaw {
    /// Every flaw.
    pub(crate) const ALL: [Self; 18] = [
        Self::LosesACommit,
        Self::ComparesNoVersions,
        Self::SplitsCommits,
        Self::SkipsJournalEntries,
        Self::ForgetsCounters,
        Self::IgnoresLimits,
        Self::ForgetsWhenOpenedAgain,
        Self::AcceptsUsedKeys,
        Self::ListsEveryTenant,
        Self::ForgetsOffsets,
        Self::RepeatsIncarnations,
        Self::OwesNothing,
        Self::TouchesEverything,
        Self::ListsTheDead,
        Self::ListsNoSnapshots,
        Self::ListsPartsAlone,
        Self::FindsAnything,
        Self::FindsTheWhole,
    ];
}

/// A store in memory, and what is wrong with it. Opened again it is the same.
#[derive(Default)]
pub(crate) struct Memory {
    flaw: Option<Flaw>,
    store: Mutex<Arc<MemStore>>,
    cuts: Arc<Cuts>,
}

impl Memory {
    pub(crate) fn with(flaw: Flaw) -> Self {
        Self { flaw: Some(flaw), ..Self::default() }
    }
}

#[async_trait]
impl Subject for Memory {
    async fn open(&self) -> Arc<dyn Store> {
        let mut store = self.store.lock().unwrap();
        if self.flaw == Some(Flaw::ForgetsWhenOpenedAgain) {
            *store = Arc::default();
        }
        Arc::new(Flawed { inner: store.clone(), flaw: self.flaw, cuts: self.cuts.clone() })
    }

    fn cuts(&self) -> Option<&Cuts> {
        Some(&self.cuts)
    }
}

/// The simulated store, which breaks one promise.
struct Flawed {
    inner: Arc<MemStore>,
    flaw: Option<Flaw>,
    cuts: Arc<Cuts>,
}

impl Flawed {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    async fn whole(&self, id: VolumeId) -> Option<VolumeRecord> {
        let found = self.inner.read(Key::Volume(id)).await.unwrap();
        found.and_then(|held| if let Record::Volume(record) = held.record { Some(*record) } else { None })
    }
}

#[async_trait]
impl Store for Flawed {
    async fn commit(&self, mut commit: Commit) -> Result<Committed, CommitError> {
        let revision = self.inner.head().await.unwrap().revision;
        if self.has(Flaw::LosesACommit) && revision == 3 {
            return Ok(Committed { revision: 4 });
        }
        if self.has(Flaw::ComparesNoVersions) {
            for change in &mut commit.changes {
                let held = self.inner.read(change.key).await.unwrap();
                change.expected = held.map_or(Expected::Absent, |held| Expected::Version(held.version));
            }
        }
        if self.has(Flaw::SplitsCommits) && commit.changes.len() > 1 {
            let first = Commit { changes: vec![commit.changes.remove(0)], ..Commit::default() };
            self.inner.commit(first).await?;
            self.cuts.pass("between");
        }
        if self.has(Flaw::SkipsJournalEntries) {
            commit.journal.truncate(1);
        }
        if self.has(Flaw::ForgetsCounters) {
            commit.counters.retain(|counter| counter.by >= 0);
        }
        if self.has(Flaw::IgnoresLimits) {
            commit.counters.iter_mut().for_each(|counter| counter.at_most = None);
        }
        if self.has(Flaw::AcceptsUsedKeys) {
            commit.idempotent = None;
        }
        if self.has(Flaw::TouchesEverything) {
            commit.changes.iter_mut().for_each(touch_everything);
        }
        self.cuts.pass("before");
        let committed = self.inner.commit(commit).await;
        self.cuts.pass("after");
        committed
    }

    async fn read(&self, key: Key) -> Result<Option<Versioned<Record>>, StoreError> {
        self.inner.read(key).await
    }

    async fn find(&self, child: Child) -> Result<Option<VolumeRecord>, StoreError> {
        if self.has(Flaw::FindsAnything) {
            let Some(any) = self.inner.owes_work(None, 1).await?.pop() else { return Ok(None) };
            return Ok(self.whole(any).await);
        }
        let found = self.inner.find(child).await?;
        match found {
            Some(excerpt) if self.has(Flaw::FindsTheWhole) => Ok(self.whole(excerpt.state.id()).await),
            found => Ok(found),
        }
    }

    async fn counted(&self, key: Key) -> Result<u64, StoreError> {
        self.inner.counted(key).await
    }

    async fn list(&self, mut query: ListQuery) -> Result<mpsc::Receiver<Result<Vec<Item>, StoreError>>, StoreError> {
        if self.has(Flaw::ListsEveryTenant) {
            query.tenant = None;
        }
        if self.has(Flaw::ListsTheDead) && matches!(query.kind, Kind::Snapshot | Kind::Attachment) {
            let any = ["available", "deleted", "attaching", "detached"].map(str::to_owned).into();
            query.filters.push(Filter { field: Field::Status, values: any });
        }
        if self.has(Flaw::ForgetsOffsets) && query.marker.is_some() {
            query.offset = 0;
        }
        let mut batches = self.inner.list(query).await?;
        if !self.has(Flaw::ListsNoSnapshots) && !self.has(Flaw::ListsPartsAlone) {
            return Ok(batches);
        }
        let (sender, changed) = mpsc::channel(100);
        let without = |item| match item {
            Item::Volume(record) if self.has(Flaw::ListsNoSnapshots) => {
                let mut parts = record.state.clone().into_parts();
                parts.snapshots.clear();
                Item::Volume(Arc::new(VolumeRecord { state: Volume::restore(parts), ..(*record).clone() }))
            }
            Item::Snapshot(id, record) if self.has(Flaw::ListsPartsAlone) => {
                let mut parts = record.state.clone().into_parts();
                parts.attachments.clear();
                Item::Snapshot(id, Arc::new(VolumeRecord { state: Volume::restore(parts), ..(*record).clone() }))
            }
            other => other,
        };
        while let Some(batch) = batches.recv().await {
            let _ = sender.send(batch.map(|items| items.into_iter().map(without).collect())).await;
        }
        Ok(changed)
    }

    async fn owes_work(&self, after: Option<VolumeId>, limit: usize) -> Result<Vec<VolumeId>, StoreError> {
        if self.has(Flaw::OwesNothing) { Ok(vec![]) } else { self.inner.owes_work(after, limit).await }
    }

    async fn journal(&self, query: JournalQuery) -> Result<Vec<JournalEntry>, StoreError> {
        self.inner.journal(query).await
    }

    async fn idempotent(&self, tenant: &str, key: &str) -> Result<Option<Idempotent>, StoreError> {
        self.inner.idempotent(tenant, key).await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.inner.head().await
    }

    async fn begin_incarnation(&self) -> Result<u64, CommitError> {
        if self.has(Flaw::RepeatsIncarnations) { Ok(1) } else { self.inner.begin_incarnation().await }
    }
}

fn touch_everything(change: &mut Change) {
    if let Some(Record::Volume(volume)) = &change.record {
        change.touched.volume = true;
        change.touched.snapshots.extend(volume.snapshots.keys());
        change.touched.attachments.extend(volume.attachments.keys());
    }
}
