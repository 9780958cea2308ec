//! The commits that creating a volume makes, as the engine makes them.

use anyhow::{Context as _, Result, bail};
use engine::records::Key;
use engine::records::{About, HostRecord, PoolRecord, ProfileRecord, Record, SnapshotAbout, TenantId, VolumeRecord};
use engine::store::{Change, Commit, Counter, Ended, Ending, Expected, Item, JournalEntry, Kind, ListQuery, Mark, Store, Touched};
use lifecycle::{
    Bytes, Capabilities, Command, Content, Context, Facts, Input, OperationKind, Outcome, PoolId, ProfileId, Seen, SnapshotId,
    Subject, Timestamp, Volume, VolumeId, Work,
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Bigger than any pool that is measured.
const RESERVABLE: u64 = 1 << 62;

/// Where volumes are made.
#[derive(Clone)]
pub struct Home {
    /// Whose they are.
    pub tenant: TenantId,
    /// Their pool.
    pub pool: PoolId,
    /// Their profile.
    pub profile: ProfileId,
}

fn about(name: String) -> About {
    About { name, created_at: Timestamp(1_700_000_000_000), ..About::default() }
}

impl Home {
    /// A new pool and a new profile.
    ///
    /// # Errors
    /// The store does not commit.
    pub async fn make(store: &dyn Store) -> Result<Self> {
        let (pool, profile) = (PoolId(Uuid::new_v4()), ProfileId(Uuid::new_v4()));
        let properties = BTreeMap::new();
        let custom = BTreeMap::new();
        let records = [
            Record::Pool(PoolRecord { id: pool, about: about("default".into()) }),
            Record::Profile(ProfileRecord {
                id: profile,
                about: about("default".into()),
                storage_type: "block".into(),
                properties,
                custom,
            }),
        ];
        let changes =
            records.into_iter().map(|record| put(key_of(&record), Expected::Absent, record, Touched::default())).collect();
        store.commit(Commit { changes, ..Commit::default() }).await?;
        Ok(Self { tenant: crate::TENANT.into(), pool, profile })
    }

    /// The pool and the profile that a controller has made.
    ///
    /// # Errors
    /// There are none, or the store cannot be read.
    pub async fn find(store: &dyn Store) -> Result<Self> {
        let (mut pool, mut profile) = (None, None);
        for kind in [Kind::Pool, Kind::Profile] {
            let mut batches = store.list(ListQuery::all(kind)).await?;
            while let Some(batch) = batches.recv().await {
                for item in batch? {
                    match item {
                        Item::Other(record) => match *record {
                            Record::Pool(found) => pool = Some(found.id),
                            Record::Profile(found) => profile = Some(found.id),
                            Record::Volume(_) | Record::Host(_) => {}
                        },
                        Item::Volume(_) | Item::Snapshot(..) | Item::Attachment(..) => {}
                    }
                }
            }
        }
        let (Some(pool), Some(profile)) = (pool, profile) else {
            bail!("the store has no pool or no profile: start a controller on it once")
        };
        Ok(Self { tenant: crate::TENANT.into(), pool, profile })
    }

    /// A volume of 1 GiB that is being created.
    pub fn creating(&self, id: VolumeId, name: String) -> VolumeRecord {
        VolumeRecord {
            state: Volume::create(id, Bytes(Bytes::GIB), false, None, Timestamp(1_700_000_000_000)),
            tenant: self.tenant.clone(),
            about: about(name),
            zone: "default".into(),
            profile: self.profile,
            pool: self.pool,
            snapshots: BTreeMap::new(),
            attachments: BTreeMap::new(),
        }
    }

    /// The commit that accepts a creation.
    pub fn accept(&self, record: VolumeRecord) -> Commit {
        let by = i64::try_from(record.state.reserved().0).unwrap_or(i64::MAX);
        Commit {
            journal: vec![entry(&record, Subject::Volume(record.state.id()), None, None)],
            changes: vec![put_volume(Expected::Absent, record)],
            counters: vec![
                Counter { key: Key::Pool(self.pool), by, at_most: Some(RESERVABLE) },
                Counter { key: Key::Profile(self.profile), by: 1, at_most: None },
            ],
            idempotent: None,
        }
    }

    /// The commit that ends a creation which was accepted at this version.
    ///
    /// # Errors
    /// The volume is not being created.
    pub fn end(record: VolumeRecord, version: u64) -> Result<Commit> {
        let available = created(record)?;
        let ended = Ended { operation: OperationKind::Create, how: Ending::Done, took_ms: Some(3) };
        Ok(Commit {
            journal: vec![entry(&available, Subject::Volume(available.state.id()), Some("creating"), Some(ended))],
            changes: vec![put_volume(Expected::Version(version), available)],
            ..Commit::default()
        })
    }
}

/// The volume once its creation is done.
///
/// # Errors
/// It is not being created.
pub fn created(record: VolumeRecord) -> Result<VolumeRecord> {
    step(record, &done(Work::Create))
}

/// The volume with one more snapshot.
///
/// # Errors
/// It takes none now.
pub fn snapped(record: VolumeRecord, id: SnapshotId) -> Result<VolumeRecord> {
    step(step(record, &Input::Command(Command::Snapshot { id }))?, &done(Work::Snapshot(id)))
}

fn done(work: Work) -> Input {
    let seen = Seen::Present { size: Bytes(Bytes::GIB), content: Content::Whole };
    Input::Report { work, outcome: Outcome::Done(Facts::Object(seen)) }
}

fn step(mut record: VolumeRecord, input: &Input) -> Result<VolumeRecord> {
    let capabilities = Capabilities { attached_snapshot: true, online_extend: true };
    let context = Context { now: Timestamp(1_700_000_002_000), capabilities, retired: false };
    let transitions = record.state.decide(input, &context).ok().context("it is refused")?;
    record.state = record.state.apply(&transitions, context.now);
    for id in record.state.snapshots().keys() {
        let profile = record.profile;
        record
            .snapshots
            .entry(*id)
            .or_insert_with(|| SnapshotAbout { about: about(format!("snapshot of {}", record.about.name)), profile });
    }
    Ok(record)
}

/// A change that writes the volume with all its parts.
pub fn put_volume(expected: Expected, record: VolumeRecord) -> Change {
    let touched = Touched {
        volume: true,
        snapshots: record.snapshots.keys().copied().collect(),
        attachments: record.attachments.keys().copied().collect(),
    };
    put(Key::Volume(record.state.id()), expected, Record::Volume(Box::new(record)), touched)
}

fn put(key: Key, expected: Expected, record: Record, touched: Touched) -> Change {
    Change { key, expected, record: Some(record), touched, unused: false }
}

fn key_of(record: &Record) -> Key {
    match record {
        Record::Volume(volume) => Key::Volume(volume.state.id()),
        Record::Host(HostRecord { id, .. }) => Key::Host(*id),
        Record::Profile(profile) => Key::Profile(profile.id),
        Record::Pool(pool) => Key::Pool(pool.id),
    }
}

/// The entry of the journal for a step.
pub fn entry(record: &VolumeRecord, subject: Subject, from: Option<&str>, ended: Option<Ended>) -> JournalEntry {
    JournalEntry {
        mark: Mark::behind(0),
        at: Timestamp(1_700_000_000_000),
        tenant: record.tenant.clone(),
        volume: record.state.id(),
        subject,
        from: from.map(str::to_owned),
        to: record.state.word(subject).to_owned(),
        cause: "create".into(),
        actor: record.tenant.clone(),
        request_id: Uuid::nil().to_string(),
        ended,
        reason: None,
    }
}
