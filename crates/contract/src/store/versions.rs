//! Commits: all or nothing, each on the version it was decided on. A status is derived from a record; a record that is half of
//! one commit and half of another is a lie that nobody told.

use super::records::{
    HOST, POOL, PROFILE, attachment_id, busy, count, entry, found, fresh, host, key, made, one, pool, profile, put, read, ready,
    refused, remove, snapshot_id, volume, volume_id,
};
use engine::records::{Key, Record};
use engine::store::{Change, Child, Commit, CommitError, Counter, Expected, Idempotent, JournalQuery, Mark, Store, Touched};
use lifecycle::{HostId, PoolId, ProfileId, Subject};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

const ALL: JournalQuery = JournalQuery { since: Mark::behind(0), subject: None, tenant: None, limit: usize::MAX };

/// A commit of which one part is refused leaves no other part.
pub(super) async fn a_commit_is_all_or_nothing(subject: &dyn super::Subject) {
    let store = subject.open().await;
    fresh(&*store, pool(POOL, "pool")).await;
    let used = Idempotent { request: [1; 32], made: Subject::Volume(volume_id(1)) };
    let first = Commit {
        counters: vec![count(Key::Pool(POOL), 10, None)],
        idempotent: Some(("t".into(), "used".into(), used.clone())),
        ..one(put(volume(1, "first", 1), Expected::Absent))
    };
    store.commit(first).await.expect("nothing stands in its way");
    let head = store.head().await.expect("it answers");
    let rows: Vec<(&str, Commit)> = vec![
        ("a stale version", one(put(volume(1, "x", 1), Expected::Version(999)))),
        ("a full counter", Commit { counters: vec![count(Key::Pool(POOL), 1, Some(10))], ..Commit::default() }),
        ("a counter of nobody", Commit { counters: vec![count(Key::Host(HOST), 1, None)], ..Commit::default() }),
        ("a record in use", one(Change { unused: true, ..remove(Key::Pool(POOL), 1) })),
        ("a name that is taken", one(put(pool(PoolId(Uuid::from_u128(5)), "pool"), Expected::Absent))),
        ("a used key", Commit { idempotent: Some(("t".into(), "used".into(), used.clone())), ..Commit::default() }),
    ];
    for (why, bad) in rows {
        let mut commit = Commit {
            changes: vec![put(volume(2, "second", 1), Expected::Absent)],
            counters: vec![count(Key::Pool(POOL), 5, None)],
            journal: vec![entry(2, "lost")],
            idempotent: Some(("t".into(), "new".into(), used.clone())),
        };
        commit.changes.extend(bad.changes);
        commit.counters.extend(bad.counters);
        commit.idempotent = bad.idempotent.or(commit.idempotent);
        refused(&*store, commit).await;
        assert_eq!(read(&*store, 2).await, None, "{why}: the volume");
        assert_eq!(store.counted(Key::Pool(POOL)).await, Ok(10), "{why}: the counter");
        assert_eq!(store.journal(ALL).await, Ok(vec![]), "{why}: the journal");
        assert_eq!(store.idempotent("t", "new").await, Ok(None), "{why}: the idempotency key");
        assert_eq!(store.head().await, Ok(head.clone()), "{why}: the revision");
    }
}

/// Whoever decided on what is no longer so decides anew.
pub(super) async fn a_commit_on_a_stale_version_is_refused(subject: &dyn super::Subject) {
    let store = subject.open().await;
    let stale = Err(CommitError::Stale(key(1)));
    let write = |name: &str, expected| store.commit(one(put(volume(1, name, 1), expected)));
    assert_eq!(write("of nothing", Expected::Version(1)).await, stale);
    assert_eq!(store.commit(one(remove(key(1), 1))).await, stale);
    let first = write("first", Expected::Absent).await.expect("it is absent").revision;
    assert_eq!(write("again", Expected::Absent).await, stale);
    let second = write("second", Expected::Version(first)).await.expect("it is at that version").revision;
    for version in [first, second + 1, 0, u64::MAX] {
        assert_eq!(write("stale", Expected::Version(version)).await, stale, "{version}, not {second}");
        assert_eq!(store.commit(one(remove(key(1), version))).await, stale, "{version}, not {second}");
    }
    let (record, version) = read(&*store, 1).await.expect("it is there");
    assert_eq!((record.about.name.as_str(), version), ("second", second));
    store.commit(one(remove(key(1), second))).await.expect("it is at that version");
    assert_eq!(write("of what is gone", Expected::Version(second)).await, stale);
    let third = write("third", Expected::Absent).await.expect("it is absent again").revision;
    assert!(third > second, "a version is never used again, or a late commit would pass for one of today");
}

/// Of two requests at once one decides anew; nothing of the loser is there.
pub(super) async fn of_concurrent_commits_on_one_version_one_wins(subject: &dyn super::Subject) {
    let store = subject.open().await;
    fresh(&*store, pool(POOL, "pool")).await;
    let mut version = fresh(&*store, volume(1, "v", 1)).await;
    for round in 1..=8 {
        let calls: Vec<_> = (0..16_u64).map(|racer| tokio::spawn(race(Arc::clone(&store), version, racer))).collect();
        let mut winners = Vec::new();
        for call in calls {
            match call.await.expect("it answers") {
                Ok(won) => winners.push(won),
                Err(error) => assert_eq!(error, CommitError::Stale(key(1))),
            }
        }
        let [(racer, revision)] = winners[..] else { panic!("{} of 16 won", winners.len()) };
        let (record, now) = read(&*store, 1).await.expect("it is there");
        assert_eq!((record.about.name, now), (racer.to_string(), revision));
        assert_eq!(store.counted(Key::Pool(POOL)).await, Ok(round));
        let told = store.journal(ALL).await.expect("it answers");
        assert_eq!((told.len() as u64, &told[told.len() - 1].cause), (round, &racer.to_string()));
        version = revision;
    }
}

async fn race(store: Arc<dyn Store>, version: u64, racer: u64) -> Result<(u64, u64), CommitError> {
    let commit = Commit {
        counters: vec![Counter { key: Key::Pool(POOL), by: 1, at_most: None }],
        journal: vec![entry(1, &racer.to_string())],
        ..one(put(volume(1, &racer.to_string(), 1), Expected::Version(version)))
    };
    store.commit(commit).await.map(|made| (racer, made.revision))
}

/// Volumes do not wait for one another, nor stand in each other's way.
pub(super) async fn commits_of_different_records_all_go_through(subject: &dyn super::Subject) {
    let store = subject.open().await;
    let calls: Vec<_> = (0..100)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { fresh(&*store, volume(number, "v", 1)).await })
        })
        .collect();
    let mut revisions = BTreeSet::new();
    for (number, call) in calls.into_iter().enumerate() {
        let revision = call.await.expect("it answers");
        let found = read(&*store, number as u128).await.expect("it is there");
        assert_eq!(found.1, revision, "what was acknowledged can be read at once");
        revisions.insert(revision);
    }
    assert_eq!(revisions.len(), 100, "no two commits have one revision");
    assert_eq!(store.head().await.expect("it answers").revision, revisions.last().copied().expect("a hundred"));
}

/// Clients order what they saw by revisions, so these only grow.
pub(super) async fn the_version_is_the_revision_and_revisions_grow(subject: &dyn super::Subject) {
    let store = subject.open().await;
    let mut last = store.head().await.expect("it answers").revision;
    for number in 0..5 {
        let both = vec![put(volume(2 * number, "a", 1), Expected::Absent), put(volume(2 * number + 1, "b", 1), Expected::Absent)];
        let revision = store.commit(Commit { changes: both, ..Commit::default() }).await.expect("both are new").revision;
        assert!(revision > last);
        last = revision;
        for number in [2 * number, 2 * number + 1] {
            let (record, version) = read(&*store, number).await.expect("it is there");
            assert_eq!((version, record.about.revision), (revision, revision));
        }
        assert_eq!(store.head().await.expect("it answers").revision, revision);
    }
    for record in [host(HOST, "h"), profile(PROFILE, "p"), pool(POOL, "p")] {
        let key = super::records::key_of(&record);
        let revision = fresh(&*store, record).await;
        let found = store.read(key).await.expect("it answers").expect("it is there");
        assert_eq!((found.version, stamped(&found.record)), (revision, revision), "{key}");
    }
}

fn stamped(record: &Record) -> u64 {
    match record {
        Record::Volume(volume) => volume.about.revision,
        Record::Host(host) => host.about.revision,
        Record::Profile(profile) => profile.about.revision,
        Record::Pool(pool) => pool.about.revision,
    }
}

/// Whoever waits for a change of one snapshot is not woken by another's.
pub(super) async fn only_what_was_touched_gets_the_new_revision(subject: &dyn super::Subject) {
    let store = subject.open().await;
    let first = fresh(&*store, busy(1)).await;
    let (record, _) = read(&*store, 1).await.expect("it is there");
    let (snapshot, attachment) = (snapshot_id(0x10_001), attachment_id(0x20_001));
    let touched = Touched { snapshots: [snapshot].into(), ..Touched::default() };
    let second = made(&*store, Change { touched, ..put(record, Expected::Version(first)) }).await;
    let (record, version) = read(&*store, 1).await.expect("it is there");
    let revisions =
        (record.about.revision, record.snapshots[&snapshot].about.revision, record.attachments[&attachment].about.revision);
    assert_eq!((version, revisions), (second, (first, second, first)), "the version of the aggregate, and those of its parts");
}

/// A volume takes its snapshots and attachments along, and a part that is no longer in its record goes alone.
pub(super) async fn what_is_removed_is_gone_with_its_parts(subject: &dyn super::Subject) {
    let store = subject.open().await;
    let first = fresh(&*store, busy(1)).await;
    fresh(&*store, busy(2)).await;
    let children =
        |number: u128| (Child::Snapshot(snapshot_id(number + 0x10_000)), Child::Attachment(attachment_id(number + 0x20_000)));
    let (snapshot, attachment) = children(1);
    assert_eq!(found(&*store, snapshot).await, Some(volume_id(1)));
    assert_eq!(found(&*store, attachment).await, Some(volume_id(1)));
    let second = made(&*store, put(ready(1, "without parts", 1), Expected::Version(first))).await;
    assert_eq!((store.find(snapshot).await, store.find(attachment).await), (Ok(None), Ok(None)));
    let third = made(&*store, put(busy(1), Expected::Version(second))).await;
    made(&*store, remove(key(1), third)).await;
    assert_eq!((store.find(snapshot).await, store.find(attachment).await), (Ok(None), Ok(None)));
    assert_eq!(read(&*store, 1).await, None);
    assert_eq!(found(&*store, children(2).0).await, Some(volume_id(2)), "another's stays");
    fresh(&*store, ready(1, "made anew", 1)).await;
    assert_eq!(store.find(snapshot).await, Ok(None), "nothing of the old one comes back");
}

/// People name hosts, profiles and pools in the place of ids; volumes may share a name.
pub(super) async fn names_are_unique_within_a_kind(subject: &dyn super::Subject) {
    let store = subject.open().await;
    let (one_id, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let kinds: [fn(Uuid, &str) -> Record; 3] =
        [|id, name| host(HostId(id), name), |id, name| profile(ProfileId(id), name), |id, name| pool(PoolId(id), name)];
    for make in kinds {
        let key = super::records::key_of(&make(one_id, "name"));
        let version = fresh(&*store, make(one_id, "name")).await;
        let twice = one(put(make(other, "name"), Expected::Absent));
        assert_eq!(refused(&*store, twice.clone()).await, CommitError::NameTaken(key));
        let version = made(&*store, put(make(one_id, "name"), Expected::Version(version))).await;
        fresh(&*store, make(other, "Name")).await;
        assert_eq!(
            refused(&*store, one(put(make(other, "name"), Expected::Version(version + 1)))).await,
            CommitError::NameTaken(key)
        );
        made(&*store, put(make(one_id, "another"), Expected::Version(version))).await;
        made(&*store, put(make(other, "name"), Expected::Version(version + 1))).await;
    }
    fresh(&*store, volume(1, "name", 1)).await;
    fresh(&*store, volume(2, "name", 1)).await;
}
