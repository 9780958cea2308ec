//! What outlives the process: whatever was acknowledged. A lost commit is a status that was told and is no longer true.

use super::records::{
    HOST, POOL, PROFILE, busy, count, entry, fresh, host, key, key_of, made, one, pool, profile, put, read, ready, refused, remove,
    snapshot_id, volume, volume_id,
};
use crate::cuts::Plan;
use engine::records::{Key, Record};
use engine::store::{
    Child, Commit, CommitError, Expected, Idempotent, JournalQuery, Kind, ListQuery, Mark, Sort, Store, Versioned,
};
use lifecycle::Subject;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Waker};

/// A commit of more steps than this never comes to its end.
const STEPS_MAX: usize = 200;

fn used(number: u128) -> Idempotent {
    Idempotent { request: [u8::try_from(number % 256).expect("less than 256"); 32], made: Subject::Volume(volume_id(number)) }
}

/// Everything that a store was given is the same after the process is gone, and so is where the store was.
pub(super) async fn what_was_acknowledged_is_there_after_reopening(subject: &dyn super::Subject) {
    let store = subject.open().await;
    let records: [Record; 6] = [
        host(HOST, "h"),
        profile(PROFILE, "p"),
        pool(POOL, "p"),
        Record::Volume(Box::new(busy(1))),
        Record::Volume(Box::new(ready(2, "", 1))),
        Record::Volume(Box::new(volume(3, &"long ".repeat(51), (1 << 33) - 1))),
    ];
    for record in &records {
        fresh(&*store, record.clone()).await;
    }
    let gone = fresh(&*store, volume(4, "removed", 1)).await;
    made(&*store, remove(key(4), gone)).await;
    let last = Commit {
        counters: vec![count(Key::Pool(POOL), 77, None)],
        journal: vec![entry(1, "told")],
        idempotent: Some(("t".into(), "key".into(), used(1))),
        ..Commit::default()
    };
    store.commit(last).await.expect("nothing stands in its way");
    let before = everything(&*store, &records).await;
    for (given, held) in records.iter().zip(&before.0) {
        assert_eq!(&unstamped(&held.record), given, "it is as it was given");
    }
    drop(store);
    for _ in 0..2 {
        let store = subject.open().await;
        let now = everything(&*store, &records).await;
        assert_eq!(now, before);
        assert_eq!(read(&*store, 4).await, None, "what was removed stays gone");
        drop(store);
    }
    let store = subject.open().await;
    let next = fresh(&*store, volume(5, "next", 1)).await;
    assert!(next > before.1.revision, "revisions go on where they were");
}

type Everything = (Vec<Versioned<Record>>, engine::store::Head, Vec<engine::store::JournalEntry>, u64, Option<Idempotent>, String);

async fn everything(store: &dyn Store, records: &[Record]) -> Everything {
    let mut held = Vec::new();
    for record in records {
        held.push(store.read(key_of(record)).await.expect("it can be read").expect("it is there"));
    }
    let all = JournalQuery { since: Mark::behind(0), subject: None, tenant: None, limit: usize::MAX };
    let found = format!("{:?} {:?}", store.find(Child::Snapshot(snapshot_id(0x10_001))).await, store.owes_work(None, 9).await);
    let head = store.head().await.expect("it answers");
    let journal = store.journal(all).await.expect("it answers");
    let counted = store.counted(Key::Pool(POOL)).await.expect("it answers");
    (held, head, journal, counted, store.idempotent("t", "key").await.expect("it answers"), found)
}

/// The record without the revisions that the store set.
fn unstamped(record: &Record) -> Record {
    let mut record = record.clone();
    match &mut record {
        Record::Volume(volume) => {
            volume.about.revision = 0;
            volume.snapshots.values_mut().for_each(|held| held.about.revision = 0);
            volume.attachments.values_mut().for_each(|held| held.about.revision = 0);
        }
        Record::Host(host) => host.about.revision = 0,
        Record::Profile(profile) => profile.about.revision = 0,
        Record::Pool(pool) => pool.about.revision = 0,
    }
    record
}

/// A client that hangs up drops its commit at any moment. That is an unknown outcome, and a read tells which it was.
pub(super) async fn a_commit_that_nobody_waits_for_is_all_or_nothing(subject: &dyn super::Subject) {
    let mut store = subject.open().await;
    let mut there = 0;
    for round in 0..20_u128 {
        drop_after(round, store.commit(pair(round))).await;
        if round % 4 == 3 {
            drop(store);
            store = subject.open().await;
        }
        // An ordinary commit is answered after all before it, so that what is read now stays so.
        fresh(&*store, volume(1000 + round, "later", 1)).await;
        let parts = parts(&*store, round).await;
        assert!(parts == [true; 4] || parts == [false; 4], "half a commit: {parts:?}");
        there += usize::from(parts[0]);
    }
    assert!(there > 0, "this test dropped all commits before they began, so it says nothing");
}

/// A crash in a commit is an unknown outcome: all of it or nothing is there afterwards, and the same request can be made again.
pub(super) async fn a_commit_cut_off_at_any_step_is_all_or_nothing(subject: &dyn super::Subject) {
    // A store that tells no steps has tests of its own that kill it: nothing is left out for want of something on this machine.
    let Some(cuts) = subject.cuts() else { return };
    for at in 0..STEPS_MAX {
        let round = at as u128;
        let store = subject.open().await;
        let plan = cuts.plan(Plan::Crash(at));
        let writer = Arc::clone(&store);
        let told = tokio::spawn(async move { writer.commit(pair(round)).await }).await;
        let step = plan.met();
        drop(plan);
        drop(store);
        let store = subject.open().await;
        let parts = parts(&*store, round).await;
        let about = format!("cut off {step:?}, told {told:?}: {parts:?}");
        assert!(parts == [true; 4] || parts == [false; 4], "half a commit, {about}");
        match told {
            Ok(Ok(_)) => assert!(parts[0], "acknowledged and lost, {about}"),
            Ok(Err(CommitError::Unknown(_))) | Err(_) => {}
            Ok(Err(_)) => assert!(!parts[0], "refused and there, {about}"),
        }
        match store.commit(pair(round)).await {
            Ok(_) => assert!(!parts[0], "made twice, {about}"),
            Err(error) => assert_eq!((error, parts[0]), (CommitError::Repeated(used(2 * round)), true), "{about}"),
        }
        if step.is_none() {
            assert!(at > 0 && parts[0], "without an interruption, {about}");
            return;
        }
    }
    panic!("more than {STEPS_MAX} steps");
}

/// Two volumes, an entry and a key that commit together.
fn pair(round: u128) -> Commit {
    Commit {
        changes: vec![put(volume(2 * round, "a", 1), Expected::Absent), put(volume(2 * round + 1, "b", 1), Expected::Absent)],
        journal: vec![entry(2 * round, "made")],
        idempotent: Some(("t".into(), round.to_string(), used(2 * round))),
        ..Commit::default()
    }
}

/// Which parts of such a commit are there.
async fn parts(store: &dyn Store, round: u128) -> [bool; 4] {
    let about = Some(Subject::Volume(volume_id(2 * round)));
    let told =
        store.journal(JournalQuery { since: Mark::behind(0), subject: about, tenant: None, limit: 9 }).await.expect("it answers");
    let key = store.idempotent("t", &round.to_string()).await.expect("it answers");
    let pair = (read(store, 2 * round).await, read(store, 2 * round + 1).await);
    [pair.0.is_some(), pair.1.is_some(), told.len() == 1, key.is_some()]
}

/// Polls the call up to so many times, and drops it.
async fn drop_after(polls: u128, call: impl Future) {
    let mut call = Box::pin(call);
    for _ in 0..polls {
        if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// A request that is sent again, as its answer was lost, is answered with what it made the first time.
pub(super) async fn an_idempotency_key_is_used_once(subject: &dyn super::Subject) {
    let store = subject.open().await;
    let keyed = |tenant: &str, key: &str, number| Commit {
        idempotent: Some((tenant.into(), key.into(), used(number))),
        ..one(put(volume(number, "v", 1), Expected::Absent))
    };
    store.commit(keyed("t", "key", 1)).await.expect("the key is new");
    assert_eq!(refused(&*store, keyed("t", "key", 2)).await, CommitError::Repeated(used(1)));
    assert_eq!(refused(&*store, keyed("t", "key", 1)).await, CommitError::Repeated(used(1)), "told before that it is stale");
    store.commit(keyed("other", "key", 3)).await.expect("keys are a tenant's own");
    store.commit(keyed("t", "Key", 4)).await.expect("another key");
    assert_eq!(refused(&*store, keyed("t", "unused", 1)).await, CommitError::Stale(key(1)));
    assert_eq!(store.idempotent("t", "unused").await, Ok(None), "what did not happen used nothing");
    assert_eq!(store.idempotent("other", "key").await, Ok(Some(used(3))));
    let calls: Vec<_> = (10..30)
        .map(|number| {
            let (store, commit) = (Arc::clone(&store), keyed("t", "raced", number));
            tokio::spawn(async move { store.commit(commit).await })
        })
        .collect();
    let mut won = 0;
    for call in calls {
        won += usize::from(call.await.expect("it answers").is_ok());
    }
    assert_eq!(won, 1, "of a request delivered twenty times at once one acts");
    drop(store);
    assert_eq!(subject.open().await.idempotent("t", "key").await, Ok(Some(used(1))), "after reopening");
}

/// Tokens of an older start are void, which holds only if no two starts have one number.
pub(super) async fn every_start_is_another_incarnation(subject: &dyn super::Subject) {
    let (mut seen, mut newest) = (BTreeSet::new(), 0);
    for _ in 0..3 {
        let store = subject.open().await;
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.begin_incarnation().await.expect("it begins") })
            })
            .collect();
        let before = newest;
        for call in calls {
            let incarnation = call.await.expect("it answers");
            assert!(incarnation > before && seen.insert(incarnation), "{incarnation} after {seen:?}");
            newest = newest.max(incarnation);
        }
    }
}

/// An id that is nobody's is no error, nor somebody else's.
pub(super) async fn what_is_unknown_is_told_as_nothing(subject: &dyn super::Subject) {
    let store = subject.open().await;
    assert_eq!(store.head().await.expect("it answers").revision, 0);
    fresh(&*store, busy(1)).await;
    for key in [key(2), key(0x10_001), Key::Host(HOST), Key::Profile(PROFILE), Key::Pool(POOL)] {
        assert_eq!((store.read(key).await, store.counted(key).await), (Ok(None), Ok(0)), "{key}");
    }
    assert_eq!(store.find(Child::Snapshot(snapshot_id(1))).await, Ok(None), "the id of a volume, asked for as a snapshot's");
    assert_eq!(store.find(Child::Attachment(super::records::attachment_id(0x10_001))).await, Ok(None));
    assert_eq!((store.idempotent("", "").await, store.idempotent("t", "'; --").await), (Ok(None), Ok(None)));
    for kind in [Kind::Host, Kind::Profile, Kind::Pool] {
        let query = ListQuery {
            kind,
            tenant: None,
            filters: vec![],
            sort: Sort::Name,
            descending: true,
            marker: Some(uuid::Uuid::nil()),
            offset: 7,
            limit: 7,
        };
        let mut batches = store.list(query).await.expect("it begins");
        while let Some(batch) = batches.recv().await {
            assert_eq!(batch, Ok(vec![]));
        }
    }
}
