//! A store in memory: the same answers as a real one, nothing durable beyond the value itself.

use async_trait::async_trait;
use engine::records::{Key, Record, VolumeRecord};
use engine::store::{
    Change, Child, Commit, CommitError, Committed, Expected, Field, Filter, Head, Idempotent, Item, JournalEntry, JournalQuery,
    Kind, ListQuery, Mark, Sort, Store, StoreError, Versioned,
};
use lifecycle::{AttachmentStatus, Mode, SnapshotStatus, VolumeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use uuid::Uuid;

/// A store in memory. Share it (in an `Arc`) between two engines to play a crash and a restart.
#[derive(Debug, Default)]
pub struct MemStore(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<Key, Versioned<Record>>,
    counters: BTreeMap<Key, u64>,
    journal: Vec<JournalEntry>,
    idempotent: BTreeMap<(String, String), Idempotent>,
    revision: u64,
    incarnation: u64,
    refusals: Vec<CommitError>,
    loses_answer: bool,
    reads: Reads,
}

/// What comes of reading a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// The record.
    #[default]
    Work,
    /// An error.
    Fail,
    /// Nothing, ever.
    Hang,
}

impl MemStore {
    /// The next commit fails like this, and nothing of it happens.
    pub fn refuse_next(&self, error: CommitError) {
        self.lock().refusals.push(error);
    }

    /// The next commit is made, and nobody knows.
    pub fn lose_next_answer(&self) {
        self.lock().loses_answer = true;
    }

    /// What comes of reading a record from now on.
    pub fn let_reads(&self, reads: Reads) {
        self.lock().reads = reads;
    }

    async fn to_read(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let reads = self.lock().reads;
        match reads {
            Reads::Work => Ok(self.lock()),
            Reads::Fail => Err(StoreError::Unavailable("it cannot be read now".into())),
            Reads::Hang => std::future::pending().await,
        }
    }

    /// Where a counter stands.
    pub(crate) fn counter(&self, key: Key) -> u64 {
        self.lock().counters.get(&key).copied().unwrap_or_default()
    }

    /// Every volume's record.
    pub(crate) fn volumes_now(&self) -> Vec<VolumeRecord> {
        self.lock().volumes().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self, commit: &Commit) -> Result<(), CommitError> {
        if let Some((tenant, key, _)) = &commit.idempotent
            && let Some(used) = self.idempotent.get(&(tenant.clone(), key.clone()))
        {
            return Err(CommitError::Repeated(used.clone()));
        }
        commit.changes.iter().try_for_each(|change| self.check_change(change))?;
        (0..commit.counters.len()).try_for_each(|at| self.check_counter(at, commit))
    }

    fn check_change(&self, change: &Change) -> Result<(), CommitError> {
        let version = self.records.get(&change.key).map(|held| held.version);
        let expected = match change.expected {
            Expected::Absent => None,
            Expected::Version(version) => Some(version),
        };
        if version != expected {
            return Err(CommitError::Stale(change.key));
        }
        let counted = self.counters.get(&change.key).copied().unwrap_or_default();
        if change.unused && counted > 0 {
            return Err(CommitError::InUse { key: change.key, counted });
        }
        let Some(wanted) = change.record.as_ref().and_then(unique_name) else { return Ok(()) };
        let holder = self.records.iter().find(|(key, held)| **key != change.key && unique_name(&held.record) == Some(wanted));
        holder.map_or(Ok(()), |(key, _)| Err(CommitError::NameTaken(*key)))
    }

    /// Checks the commit's counter at this place, with what those before it move already counted.
    fn check_counter(&self, at: usize, commit: &Commit) -> Result<(), CommitError> {
        let counter = &commit.counters[at];
        let made_here = commit.changes.iter().any(|change| change.key == counter.key && change.record.is_some());
        if counter.by > 0 && !made_here && !self.records.contains_key(&counter.key) {
            return Err(CommitError::NoSuch(counter.key));
        }
        let before = commit.counters[..at].iter().filter(|other| other.key == counter.key);
        let stored = self.counters.get(&counter.key).copied().unwrap_or_default();
        let counted = before.fold(stored, |counted, other| counted.saturating_add_signed(other.by));
        match counter.at_most {
            Some(limit) if counter.by > 0 && counted.saturating_add_signed(counter.by) > limit => {
                Err(CommitError::Full { key: counter.key, counted, by: counter.by, limit })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn write(&mut self, commit: Commit) -> u64 {
        self.revision += 1;
        let revision = self.revision;
        for change in commit.changes {
            match change.record.clone() {
                Some(mut record) => {
                    stamp(&mut record, &change, revision);
                    self.records.insert(change.key, Versioned { record, version: revision });
                }
                None => {
                    self.records.remove(&change.key);
                    self.counters.remove(&change.key);
                }
            }
        }
        for counter in commit.counters {
            let counted = self.counters.entry(counter.key).or_default();
            *counted = counted.saturating_add_signed(counter.by);
        }
        let marked = |(seq, entry)| JournalEntry { mark: Mark { revision, seq }, ..entry };
        self.journal.extend((0..).zip(commit.journal).map(marked));
        if let Some((tenant, key, used)) = commit.idempotent {
            self.idempotent.insert((tenant, key), used);
        }
        revision
    }

    fn volumes(&self) -> impl Iterator<Item = &VolumeRecord> {
        self.records.values().filter_map(|held| match &held.record {
            Record::Volume(record) => Some(&**record),
            Record::Host(_) | Record::Profile(_) | Record::Pool(_) => None,
        })
    }

    fn items(&self, kind: Kind) -> Vec<Item> {
        let volumes = self.volumes();
        match kind {
            Kind::Volume => volumes.map(|record| Item::Volume(Arc::new(record.clone()))).collect(),
            Kind::Snapshot => {
                let item = |v: &VolumeRecord, id| Item::Snapshot(id, Arc::new(v.excerpt(Some(id))));
                volumes.flat_map(|v| v.snapshots.keys().map(move |id| item(v, *id))).collect()
            }
            Kind::Attachment => {
                let item = |v: &VolumeRecord, id| Item::Attachment(id, Arc::new(v.excerpt(None)));
                volumes.flat_map(|v| v.attachments.keys().map(move |id| item(v, *id))).collect()
            }
            Kind::Host | Kind::Profile | Kind::Pool => {
                let wanted = |record: &&Versioned<Record>| {
                    matches!(
                        (&record.record, kind),
                        (Record::Host(_), Kind::Host) | (Record::Profile(_), Kind::Profile) | (Record::Pool(_), Kind::Pool)
                    )
                };
                self.records.values().filter(wanted).map(|held| Item::Other(Box::new(held.record.clone()))).collect()
            }
        }
    }
}

/// The name that must be unique among records of its kind.
fn unique_name(record: &Record) -> Option<(Kind, &str)> {
    match record {
        Record::Volume(_) => None,
        Record::Host(host) => Some((Kind::Host, &host.about.name)),
        Record::Profile(profile) => Some((Kind::Profile, &profile.about.name)),
        Record::Pool(pool) => Some((Kind::Pool, &pool.about.name)),
    }
}

fn stamp(record: &mut Record, change: &Change, revision: u64) {
    match record {
        Record::Volume(volume) => change.touched.stamp(volume, revision),
        Record::Host(host) => host.about.revision = revision,
        Record::Profile(profile) => profile.about.revision = revision,
        Record::Pool(pool) => pool.about.revision = revision,
    }
}

fn item_id(item: &Item) -> Uuid {
    match item {
        Item::Volume(record) => record.state.id().0,
        Item::Snapshot(id, _) => id.0,
        Item::Attachment(id, _) => id.0,
        Item::Other(record) => match &**record {
            Record::Volume(record) => record.state.id().0,
            Record::Host(host) => host.id.0,
            Record::Profile(profile) => profile.id.0,
            Record::Pool(pool) => pool.id.0,
        },
    }
}

fn item_tenant(item: &Item) -> Option<&str> {
    match item {
        Item::Volume(record) | Item::Snapshot(_, record) | Item::Attachment(_, record) => Some(&record.tenant),
        Item::Other(record) => match &**record {
            Record::Host(host) => Some(&host.tenant),
            Record::Volume(_) | Record::Profile(_) | Record::Pool(_) => None,
        },
    }
}

/// A field's text, as [`Filter`] compares it; empty where the kind has no such field.
fn text(item: &Item, field: Field) -> String {
    if field == Field::Id {
        return item_id(item).to_string();
    }
    match item {
        Item::Volume(v) => match field {
            Field::Name => v.about.name.clone(),
            Field::Description => v.about.description.clone(),
            Field::Status => v.state.status().map(|status| status.word().to_owned()).unwrap_or_default(),
            Field::PoolId => v.pool.to_string(),
            Field::ProfileId => v.profile.to_string(),
            Field::SnapshotId => v.state.source().map(|source| source.snapshot.to_string()).unwrap_or_default(),
            Field::AvailabilityZone => v.zone.clone(),
            Field::Size => v.state.size().gib().to_string(),
            Field::MultiAttach => v.state.multi_attach().to_string(),
            Field::TenantId => v.tenant.clone(),
            _ => String::new(),
        },
        Item::Snapshot(id, v) => match (field, v.snapshots.get(id), v.state.snapshots().get(id)) {
            (Field::Name, Some(about), _) => about.about.name.clone(),
            (Field::Description, Some(about), _) => about.about.description.clone(),
            (Field::ProfileId, Some(about), _) => about.profile.to_string(),
            (Field::Status, _, Some(state)) => state.status().word().to_owned(),
            (Field::Size, _, Some(state)) => state.size.gib().to_string(),
            (Field::VolumeId, ..) => v.state.id().to_string(),
            (Field::TenantId, ..) => v.tenant.clone(),
            _ => String::new(),
        },
        Item::Attachment(id, v) => match (field, v.attachments.get(id), v.state.attachments().get(id)) {
            (Field::Mountpoint, Some(about), _) => about.mountpoint.clone(),
            (Field::Status, _, Some(state)) => state.status().word().to_owned(),
            (Field::HostId, _, Some(state)) => state.host.to_string(),
            (Field::AttachMode, _, Some(state)) => if state.mode == Mode::ReadOnly { "ro" } else { "rw" }.to_owned(),
            (Field::VolumeId, ..) => v.state.id().to_string(),
            (Field::TenantId, ..) => v.tenant.clone(),
            _ => String::new(),
        },
        Item::Other(record) => match (&**record, field) {
            (Record::Host(host), Field::Name) => host.about.name.clone(),
            (Record::Host(host), Field::Ip) => host.ip.clone(),
            (Record::Host(host), Field::OsType) => host.os_type.clone(),
            (Record::Host(host), Field::AccessMode) => host.access_mode.clone(),
            (Record::Profile(profile), Field::Name) => profile.about.name.clone(),
            (Record::Profile(profile), Field::StorageType) => profile.storage_type.clone(),
            (Record::Pool(pool), Field::Name) => pool.about.name.clone(),
            _ => String::new(),
        },
    }
}

fn is_tombstone(item: &Item) -> bool {
    match item {
        Item::Snapshot(id, v) => v.state.snapshots().get(id).is_some_and(|held| held.status() == SnapshotStatus::Deleted),
        Item::Attachment(id, v) => v.state.attachments().get(id).is_some_and(|held| held.status() == AttachmentStatus::Detached),
        Item::Volume(_) | Item::Other(_) => false,
    }
}

fn sort_text(item: &Item, sort: Sort) -> (String, Uuid) {
    let created = |item: &Item| match item {
        Item::Volume(v) => v.about.created_at.0,
        Item::Snapshot(id, v) => v.snapshots.get(id).map_or(0, |held| held.about.created_at.0),
        Item::Attachment(id, v) => v.attachments.get(id).map_or(0, |held| held.about.created_at.0),
        Item::Other(_) => 0,
    };
    let key = match sort {
        Sort::Id => String::new(),
        Sort::Name => text(item, Field::Name),
        Sort::CreatedAt => format!("{:020}", created(item)),
        Sort::By(Field::Size) => format!("{:0>20}", text(item, Field::Size)),
        Sort::By(field) => text(item, field),
    };
    (key, item_id(item))
}

/// Leaves the items behind the one with this id; if it is gone, those whose ids are beyond it.
fn go_on_after(items: &mut Vec<Item>, marker: Uuid, descending: bool) {
    match items.iter().position(|item| item_id(item) == marker) {
        Some(at) => drop(items.drain(..=at)),
        None => items.retain(|item| if descending { item_id(item) < marker } else { item_id(item) > marker }),
    }
}

#[async_trait]
impl Store for MemStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        let mut state = self.lock();
        if let Some(error) = state.refusals.pop() {
            return Err(error);
        }
        state.check(&commit)?;
        let revision = state.write(commit);
        if std::mem::take(&mut state.loses_answer) {
            return Err(CommitError::Unknown("its answer was lost".into()));
        }
        Ok(Committed { revision })
    }

    async fn read(&self, key: Key) -> Result<Option<Versioned<Record>>, StoreError> {
        Ok(self.to_read().await?.records.get(&key).cloned())
    }

    async fn find(&self, child: Child) -> Result<Option<VolumeRecord>, StoreError> {
        Ok(self.to_read().await?.volumes().find_map(|record| record.part(child)))
    }

    async fn counted(&self, key: Key) -> Result<u64, StoreError> {
        Ok(self.lock().counters.get(&key).copied().unwrap_or_default())
    }

    async fn list(&self, query: ListQuery) -> Result<mpsc::Receiver<Result<Vec<Item>, StoreError>>, StoreError> {
        let mut items = self.lock().items(query.kind);
        let with_status = query.filters.iter().any(|filter| filter.field == Field::Status);
        items.retain(|item| with_status || !is_tombstone(item));
        items.retain(|item| query.tenant.as_deref().is_none_or(|tenant| item_tenant(item).is_none_or(|owner| owner == tenant)));
        items.retain(|item| query.filters.iter().all(|Filter { field, values }| values.contains(&text(item, *field))));
        items.sort_by_key(|item| sort_text(item, query.sort));
        if query.descending {
            items.reverse();
        }
        if let Some(marker) = query.marker {
            go_on_after(&mut items, marker, query.descending);
        }
        let page: Vec<_> = items.into_iter().skip(query.offset).take(query.limit).collect();
        let (sender, receiver) = mpsc::channel(1);
        sender.try_send(Ok(page)).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(receiver)
    }

    async fn owes_work(&self, after: Option<VolumeId>, limit: usize) -> Result<Vec<VolumeId>, StoreError> {
        let state = self.lock();
        let owing = state.volumes().filter(|record| record.state.owes_work()).map(|record| record.state.id());
        Ok(owing.filter(|id| after.is_none_or(|after| *id > after)).take(limit).collect())
    }

    async fn journal(&self, query: JournalQuery) -> Result<Vec<JournalEntry>, StoreError> {
        let wanted = |entry: &&JournalEntry| {
            entry.mark > query.since
                && query.subject.is_none_or(|subject| subject == entry.subject)
                && query.tenant.as_ref().is_none_or(|tenant| *tenant == entry.tenant)
        };
        Ok(self.lock().journal.iter().filter(wanted).take(query.limit).cloned().collect())
    }

    async fn idempotent(&self, tenant: &str, key: &str) -> Result<Option<Idempotent>, StoreError> {
        Ok(self.lock().idempotent.get(&(tenant.to_owned(), key.to_owned())).cloned())
    }

    async fn head(&self) -> Result<Head, StoreError> {
        Ok(Head { epoch: "memory".into(), revision: self.lock().revision, compacted: 0 })
    }

    async fn begin_incarnation(&self) -> Result<u64, CommitError> {
        let mut state = self.lock();
        state.incarnation += 1;
        Ok(state.incarnation)
    }
}
