//! The records that the promises are tried with, and short ways to commit and read them.

use engine::records::{
    About, AttachmentAbout, HostRecord, Initiator, Key, PoolRecord, ProfileRecord, Record, SnapshotAbout, VolumeRecord,
};
use engine::store::{Change, Child, Commit, CommitError, Counter, Ended, Ending, Expected, JournalEntry, Mark, Store, Touched};
use lifecycle::{
    AttachmentId, Bytes, Capabilities, Command, Content, Context, Facts, HostId, Input, Mode, OperationKind, Outcome, PoolId,
    ProfileId, Seen, SnapshotId, Subject, Timestamp, Volume, VolumeId, Work,
};
use std::collections::BTreeMap;
use uuid::Uuid;

pub(super) const POOL: PoolId = PoolId(Uuid::from_u128(0x900));
pub(super) const HOST: HostId = HostId(Uuid::from_u128(0x901));
pub(super) const PROFILE: ProfileId = ProfileId(Uuid::from_u128(0x902));
/// Words that a store may stumble over.
const AWKWARD: &str = "it's \"quoted\", ünïcode \u{1F980}, a tab\t, a nul\0 and % _ ; --";

pub(super) const fn volume_id(number: u128) -> VolumeId {
    VolumeId(Uuid::from_u128(number))
}

pub(super) const fn key(number: u128) -> Key {
    Key::Volume(volume_id(number))
}

pub(super) const fn snapshot_id(number: u128) -> SnapshotId {
    SnapshotId(Uuid::from_u128(number))
}

pub(super) const fn attachment_id(number: u128) -> AttachmentId {
    AttachmentId(Uuid::from_u128(number))
}

fn about(name: &str) -> About {
    About {
        name: name.into(),
        description: AWKWARD.into(),
        metadata: BTreeMap::from([(AWKWARD.to_owned(), String::new()), (String::new(), AWKWARD.to_owned())]),
        created_at: Timestamp(1_700_000_000_000),
        updated_at: Some(Timestamp(-1)),
        revision: 0,
    }
}

/// A volume of `gib` GiB of the tenant `t`, which is being created and so owes work.
pub(super) fn volume(number: u128, name: &str, gib: u64) -> VolumeRecord {
    VolumeRecord {
        state: Volume::create(volume_id(number), Bytes(gib * Bytes::GIB), false, None, Timestamp(5)),
        tenant: "t".into(),
        about: about(name),
        zone: "default".into(),
        profile: PROFILE,
        pool: POOL,
        snapshots: BTreeMap::new(),
        attachments: BTreeMap::new(),
    }
}

/// The volume after this, as the rules decide it.
pub(super) fn step(mut record: VolumeRecord, input: &Input) -> VolumeRecord {
    let capabilities = Capabilities { attached_snapshot: true, online_extend: true };
    let context = Context { now: Timestamp(1_700_000_002_000), capabilities, retired: false };
    let transitions = record.state.decide(input, &context).expect("it is allowed");
    record.state = record.state.apply(&transitions, context.now);
    for id in record.state.snapshots().keys() {
        record.snapshots.entry(*id).or_insert(SnapshotAbout { about: about("a snapshot"), profile: PROFILE });
    }
    for id in record.state.attachments().keys() {
        let held = AttachmentAbout { about: about(""), mountpoint: AWKWARD.into(), protocol: "nbd".into() };
        record.attachments.entry(*id).or_insert(held);
    }
    record
}

/// That the work was done, and the object is there with this many GiB.
pub(super) fn done(work: Work, gib: u64) -> Input {
    let seen = Seen::Present { size: Bytes(gib * Bytes::GIB), content: Content::Whole };
    Input::Report { work, outcome: Outcome::Done(Facts::Object(seen)) }
}

/// An available volume, which owes nothing.
pub(super) fn ready(number: u128, name: &str, gib: u64) -> VolumeRecord {
    step(volume(number, name, gib), &done(Work::Create, gib))
}

/// An available volume of 1 GiB with a snapshot and an attachment, both under way.
pub(super) fn busy(number: u128) -> VolumeRecord {
    let snapped = step(ready(number, "busy", 1), &Input::Command(Command::Snapshot { id: snapshot_id(number + 0x10_000) }));
    let snapped = step(snapped, &done(Work::Snapshot(snapshot_id(number + 0x10_000)), 1));
    let attach = Command::Attach { id: attachment_id(number + 0x20_000), host: HOST, mode: Mode::ReadWrite };
    step(snapped, &Input::Command(attach))
}

pub(super) fn host(id: HostId, name: &str) -> Record {
    Record::Host(HostRecord {
        id,
        tenant: "t".into(),
        about: about(name),
        ip: "10.0.0.7".into(),
        port: Some(65_535),
        access_mode: "agentless".into(),
        os_type: "linux".into(),
        username: AWKWARD.into(),
        zones: Some(vec!["default".into()]),
        initiators: Some(vec![Initiator { port_name: AWKWARD.into(), protocol: "nbd".into() }]),
    })
}

pub(super) fn profile(id: ProfileId, name: &str) -> Record {
    let properties = BTreeMap::from([("provisioningProperties".to_owned(), "{\"a\":[1]}".to_owned())]);
    Record::Profile(ProfileRecord {
        id,
        about: about(name),
        storage_type: "block".into(),
        properties,
        custom: BTreeMap::from([("word".to_owned(), "[null]".to_owned())]),
    })
}

pub(super) fn pool(id: PoolId, name: &str) -> Record {
    Record::Pool(PoolRecord { id, about: about(name) })
}

/// What names the record.
pub(super) fn key_of(record: &Record) -> Key {
    match record {
        Record::Volume(volume) => Key::Volume(volume.state.id()),
        Record::Host(host) => Key::Host(host.id),
        Record::Profile(profile) => Key::Profile(profile.id),
        Record::Pool(pool) => Key::Pool(pool.id),
    }
}

/// A change that writes the record with all its parts.
pub(super) fn put(record: impl Into<Written>, expected: Expected) -> Change {
    let Written(record) = record.into();
    let touched = match &record {
        Record::Volume(volume) => Touched {
            volume: true,
            snapshots: volume.snapshots.keys().copied().collect(),
            attachments: volume.attachments.keys().copied().collect(),
        },
        Record::Host(_) | Record::Profile(_) | Record::Pool(_) => Touched::default(),
    };
    Change { key: key_of(&record), expected, record: Some(record), touched, unused: false }
}

/// A change that removes the record.
pub(super) fn remove(key: Key, version: u64) -> Change {
    Change { key, expected: Expected::Version(version), record: None, touched: Touched::default(), unused: false }
}

/// What [`put`] takes.
pub(super) struct Written(Record);

impl From<VolumeRecord> for Written {
    fn from(record: VolumeRecord) -> Self {
        Self(Record::Volume(Box::new(record)))
    }
}

impl From<Record> for Written {
    fn from(record: Record) -> Self {
        Self(record)
    }
}

pub(super) fn one(change: Change) -> Commit {
    Commit { changes: vec![change], ..Commit::default() }
}

pub(super) fn count(key: Key, by: i64, at_most: Option<u64>) -> Counter {
    Counter { key, by, at_most }
}

/// An entry about the volume, told apart by its cause.
pub(super) fn entry(number: u128, cause: &str) -> JournalEntry {
    JournalEntry {
        mark: Mark::behind(0),
        at: Timestamp(7),
        tenant: "t".into(),
        volume: volume_id(number),
        subject: Subject::Volume(volume_id(number)),
        from: Some("creating".into()),
        to: "available".into(),
        cause: cause.into(),
        actor: AWKWARD.into(),
        request_id: String::new(),
        ended: Some(Ended { operation: OperationKind::Create, how: Ending::Done, took_ms: Some(u64::from(u32::MAX) + 7) }),
        reason: None,
    }
}

/// Commits the change, and tells its revision.
pub(super) async fn made(store: &dyn Store, change: Change) -> u64 {
    store.commit(one(change)).await.expect("nothing stands in its way").revision
}

/// Commits a new volume, a pool and whatever else is in the way of nothing.
pub(super) async fn fresh(store: &dyn Store, record: impl Into<Written>) -> u64 {
    made(store, put(record, Expected::Absent)).await
}

/// Commits what must be refused, and tells why it was.
pub(super) async fn refused(store: &dyn Store, commit: Commit) -> CommitError {
    store.commit(commit).await.expect_err("something stands in its way")
}

/// Whose volume is found for a part.
pub(super) async fn found(store: &dyn Store, child: Child) -> Option<VolumeId> {
    store.find(child).await.expect("it can be read").map(|excerpt| excerpt.state.id())
}

/// The volume as it is stored, with its version.
pub(super) async fn read(store: &dyn Store, number: u128) -> Option<(VolumeRecord, u64)> {
    let found = store.read(key(number)).await.expect("it can be read")?;
    match found.record {
        Record::Volume(record) => Some((*record, found.version)),
        other => panic!("asked for a volume, told {other:?}"),
    }
}
