//! An older call after a newer one does nothing.

use crate::ground::{MIB, Pool, assert_done, assert_refused, files, on_both, snap, token, volume, whole};
use engine::ports::{Call, Driver, Progress};
use lifecycle::{Bytes, Outcome, Seen, Token};

fn call(token: Token) -> Call {
    Call { token, progress: Progress::ignored() }
}

/// Every changing call, each with this token, on a volume that is there with a snapshot.
async fn every_call(pool: &Pool, with: Token) -> Vec<Outcome> {
    let source = Some(lifecycle::Source { volume: volume(9), snapshot: snap(9) });
    vec![
        pool.driver.create(call(with), volume(1), Bytes(MIB), None).await,
        pool.driver.create(call(with), volume(1), Bytes(MIB), source).await,
        pool.driver.extend(call(with), volume(1), Bytes(9 * MIB)).await,
        pool.driver.snapshot(call(with), volume(1), snap(2)).await,
        pool.driver.delete_snapshot(call(with), volume(1), snap(1)).await,
        pool.driver.delete(call(with), volume(1)).await,
    ]
}

#[test]
fn an_older_call_after_a_newer_one_does_nothing() {
    on_both(async |ground| {
        let pool = ground.pool();
        assert_done(pool.driver.create(call(token(5)), volume(1), Bytes(MIB), None).await, whole(MIB));
        assert_done(pool.driver.snapshot(call(token(6)), volume(1), snap(1)).await, whole(MIB));
        let before = files(&ground.folder());
        for older in [token(5), Token { incarnation: 0, counter: 99 }] {
            for outcome in every_call(&pool, older).await {
                assert_refused(outcome, &["superseded by a newer call"]);
            }
        }
        assert_eq!(files(&ground.folder()), before);
        assert_eq!(pool.look(volume(1)).await.volume, whole(MIB));
    });
}

#[test]
fn a_fenced_look_ends_every_older_call_for_good() {
    on_both(async |ground| {
        let pool = ground.pool();
        let look = pool.driver.inspect(volume(1), Some(token(7))).await.unwrap();
        assert_eq!(look.volume, Seen::Absent);
        for outcome in every_call(&pool, token(6)).await {
            assert_refused(outcome, &["superseded by a newer call"]);
        }
        assert_eq!(files(&ground.folder()), [""; 0]);
        // The same token is no older one, and a look without a fence ends nothing.
        pool.look(volume(1)).await;
        assert_done(pool.driver.create(call(token(7)), volume(1), Bytes(MIB), None).await, whole(MIB));
        let next = Token { incarnation: 2, counter: 1 };
        assert_done(pool.driver.delete(call(next), volume(1)).await, Seen::Absent);
    });
}
