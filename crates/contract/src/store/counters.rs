//! Counters: a pool's promised bytes, a host's attachments. They commute, so that creates in one pool do not wait for each other,
//! and still never promise more than there is.

use super::records::{HOST, POOL, count, fresh, host, key, made, one, pool, put, read, refused, remove, volume};
use engine::records::Key;
use engine::store::{Change, Commit, CommitError, Expected, Store};
use std::sync::Arc;

const KEY: Key = Key::Pool(POOL);

/// Of many creates at once as many go through as fit, to the byte.
pub(super) async fn counters_never_pass_their_limit(subject: &dyn super::Subject) {
    let store = subject.open().await;
    fresh(&*store, pool(POOL, "pool")).await;
    let calls: Vec<_> = (0..60).map(|number| tokio::spawn(reserve(Arc::clone(&store), number))).collect();
    let mut won = 0;
    for (number, call) in calls.into_iter().enumerate() {
        let told = call.await.expect("it answers");
        assert_eq!(
            read(&*store, number as u128).await.is_some(),
            told.is_ok(),
            "a volume is there exactly if its bytes were counted"
        );
        match told {
            Ok(()) => won += 1,
            Err(error) => assert_eq!(error, CommitError::Full { key: KEY, counted: 98, by: 7, limit: 100 }),
        }
    }
    assert_eq!((won, store.counted(KEY).await), (14, Ok(98)));
    let smaller = Commit { counters: vec![count(KEY, 2, Some(100))], ..Commit::default() };
    store.commit(smaller).await.expect("it fits to the byte");
    let down = Commit { counters: vec![count(KEY, -50, Some(10))], ..Commit::default() };
    store.commit(down).await.expect("who gives back is never refused, be it above the limit still");
    assert_eq!(store.counted(KEY).await, Ok(50));
}

async fn reserve(store: Arc<dyn Store>, number: u128) -> Result<(), CommitError> {
    let counters = vec![count(KEY, 7, Some(100))];
    store.commit(Commit { counters, ..one(put(volume(number, "v", 1), Expected::Absent)) }).await.map(drop)
}

/// Nothing is counted for whom there is not, and who is counted is not removed as unused.
pub(super) async fn counters_belong_to_records_that_exist(subject: &dyn super::Subject) {
    let store = subject.open().await;
    let up = Commit { counters: vec![count(Key::Host(HOST), 1, None)], ..Commit::default() };
    assert_eq!(refused(&*store, up.clone()).await, CommitError::NoSuch(Key::Host(HOST)));
    let with_it = Commit { counters: up.counters.clone(), ..one(put(host(HOST, "h"), Expected::Absent)) };
    let first = store.commit(with_it).await.expect("made in the same commit").revision;
    let unused = |version| one(Change { unused: true, ..remove(Key::Host(HOST), version) });
    assert_eq!(refused(&*store, unused(first)).await, CommitError::InUse { key: Key::Host(HOST), counted: 1 });
    let down = Commit { counters: vec![count(Key::Host(HOST), -1, None)], ..Commit::default() };
    store.commit(down).await.expect("it goes down");
    store.commit(unused(first)).await.expect("nobody uses it");
    assert_eq!(refused(&*store, up).await, CommitError::NoSuch(Key::Host(HOST)), "it is gone");

    let second = fresh(&*store, pool(POOL, "pool")).await;
    store.commit(Commit { counters: vec![count(KEY, 5, None)], ..Commit::default() }).await.expect("it exists");
    made(&*store, remove(KEY, second)).await;
    fresh(&*store, pool(POOL, "pool")).await;
    assert_eq!(store.counted(KEY).await, Ok(0), "who is made anew is counted anew");
}

/// A release that comes twice must not turn into room for the next.
pub(super) async fn a_counter_never_goes_below_nothing(subject: &dyn super::Subject) {
    let store = subject.open().await;
    fresh(&*store, pool(POOL, "pool")).await;
    for by in [3, -5, i64::MIN, 2] {
        store.commit(Commit { counters: vec![count(KEY, by, None)], ..Commit::default() }).await.expect("it moves");
    }
    assert_eq!(store.counted(KEY).await, Ok(2));
    let twice = Commit { counters: vec![count(KEY, 4, Some(8)), count(KEY, 4, Some(8))], ..Commit::default() };
    let told = refused(&*store, twice).await;
    assert!(matches!(told, CommitError::Full { limit: 8, .. }), "2 and 4 and 4 pass 8, be they in one commit: {told:?}");
    assert_eq!((store.counted(KEY).await, store.counted(key(1)).await), (Ok(2), Ok(0)));
}
