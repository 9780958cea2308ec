//! Full backends. Most disks that fail do it by being full, and what helps then is a delete.

use super::Subject;
use super::acts::{Act, MIB, snap, volume, whole};
use super::bench::Bench;
use lifecycle::{Facts, Outcome, Seen, Source};

const FULL: &str = "the backend cannot be filled up";

/// Either it goes through all the same, as it takes no room, or nothing of it is there and it says why.
pub(super) async fn a_full_backend_does_it_or_leaves_nothing(subject: &dyn Subject) {
    let Some(room) = subject.room() else { return super::skipped(FULL) };
    let bench = Bench::open(subject).await;
    let source = Source { volume: volume(1), snapshot: snap(1) };
    bench.done(Act::Create(volume(1), 8 * MIB), whole(8 * MIB)).await;
    for at in 0..8 {
        bench.write(volume(1), at * MIB, &vec![9; 1 << 20]).await;
    }
    bench.done(Act::Snapshot(volume(1), snap(1)), whole(8 * MIB)).await;
    let acts = [
        (Act::Create(volume(2), 8 * MIB), whole(8 * MIB)),
        (Act::Clone(volume(3), 8 * MIB, source), whole(8 * MIB)),
        (Act::Extend(volume(1), 9 * MIB), whole(9 * MIB)),
        (Act::Snapshot(volume(1), snap(2)), whole(9 * MIB)),
    ];
    room.fill();
    for (act, _) in acts {
        let before = bench.seen(act.object()).await;
        let after = match bench.perform(act).await {
            Outcome::Done(Facts::Object(seen)) => seen,
            Outcome::Refused(_) | Outcome::Failed(_) => before,
            other => panic!("{act:?} on a full backend: {other:?}"),
        };
        assert_eq!(bench.seen(act.object()).await, after, "{act:?} on a full backend");
    }
    room.empty();
    for (act, facts) in acts {
        match act {
            // Taken while the volume could not be grown, it has the size of then.
            Act::Snapshot(..) => assert!(matches!(bench.perform(act).await, Outcome::Done(_)), "{act:?} with room again"),
            _ => bench.done(act, facts).await,
        }
    }
    assert!(bench.read(volume(3), 7 * MIB, 4096).await == [9; 4096]);
}

/// A pool that is full is not broken: it answers, and what frees room goes through.
pub(super) async fn a_full_backend_still_works_and_deletes(subject: &dyn Subject) {
    let Some(room) = subject.room() else { return super::skipped(FULL) };
    let bench = Bench::open(subject).await;
    bench.done(Act::Create(volume(1), MIB), whole(MIB)).await;
    bench.write(volume(1), 0, &vec![9; 1 << 20]).await;
    bench.done(Act::Snapshot(volume(1), snap(1)), whole(MIB)).await;
    let before = bench.driver.capacity().await.expect("it answers");
    room.fill();
    bench.driver.probe().await.expect("a full backend works");
    let full = bench.driver.capacity().await.expect("it answers");
    assert!(full.free < before.free && full.free.0 < 8 * MIB, "{full:?} after {before:?}");
    assert_eq!(bench.listed().await.len(), 2);
    bench.done(Act::DeleteSnapshot(volume(1), snap(1)), Seen::Absent).await;
    bench.done(Act::Delete(volume(1)), Seen::Absent).await;
    room.empty();
    bench.done(Act::Create(volume(1), MIB), whole(MIB)).await;
}
