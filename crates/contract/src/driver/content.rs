//! What volumes and snapshots contain. A volume that is called whole and has other bytes than it should is the worst of lies.

use super::Subject;
use super::acts::{Act, MIB, snap, volume, whole};
use super::bench::Bench;
use lifecycle::{Outcome, Seen, Source};

const PAGE: usize = 4096;
const ZEROES: [u8; PAGE] = [0; PAGE];

/// Nobody reads what somebody else deleted.
pub(super) async fn a_new_volume_reads_as_zeroes(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    for number in [1, 2, 1] {
        bench.done(Act::Create(volume(number), 3 * MIB), whole(3 * MIB)).await;
        for at in [0, MIB, 3 * MIB - PAGE as u64] {
            assert!(bench.read(volume(number), at, PAGE).await == ZEROES, "volume {number} at {at}");
            bench.write(volume(number), at, &[0xaa; PAGE]).await;
        }
        bench.done(Act::Delete(volume(number)), Seen::Absent).await;
    }
}

/// A snapshot keeps what was there when it was taken, whatever is written to its volume then.
pub(super) async fn a_snapshot_is_one_point_in_time(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.done(Act::Create(volume(1), 2 * MIB), whole(2 * MIB)).await;
    for taken in 1..=3 {
        bench.mark(volume(1), taken).await;
        bench.write(volume(1), MIB, &[taken as u8; PAGE]).await;
        bench.done(Act::Snapshot(volume(1), snap(taken.into())), whole(2 * MIB)).await;
    }
    bench.mark(volume(1), 99).await;
    bench.done(Act::Extend(volume(1), 4 * MIB), whole(4 * MIB)).await;
    bench.done(Act::Snapshot(volume(1), snap(2)), whole(2 * MIB)).await;
    for taken in [2, 3, 1] {
        let (clone, source) = (volume(10 + u128::from(taken)), Source { volume: volume(1), snapshot: snap(taken.into()) });
        bench.done(Act::Clone(clone, 2 * MIB, source), whole(2 * MIB)).await;
        assert_eq!(bench.marked(clone).await, taken);
        assert!(bench.read(clone, MIB, PAGE).await == [taken as u8; PAGE], "snapshot {taken}");
    }
    assert_eq!(bench.marked(volume(1)).await, 99, "the volume is as it was");
}

/// To the byte, zeroes beyond it, and a thing of its own from then on.
pub(super) async fn a_clone_has_the_content_of_its_source(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let (origin, clone, source) = (volume(1), volume(2), Source { volume: volume(1), snapshot: snap(1) });
    bench.done(Act::Create(origin, 9 * MIB), whole(9 * MIB)).await;
    let last = 9 * MIB - PAGE as u64;
    for at in [0, 5 * MIB + 8, last] {
        bench.write(origin, at, &[1; PAGE]).await;
    }
    bench.done(Act::Snapshot(origin, snap(1)), whole(9 * MIB)).await;
    bench.done(Act::Clone(clone, 11 * MIB, source), whole(11 * MIB)).await;
    bench.write(origin, 0, &[2; PAGE]).await;
    bench.write(clone, last, &[3; PAGE]).await;
    assert!(bench.read(clone, 0, PAGE).await == [1; PAGE], "what is written to the origin now is not in the clone");
    assert!(bench.read(origin, last, PAGE).await == [1; PAGE], "what is written to the clone is not in the origin");
    let deleted = bench.perform(Act::DeleteSnapshot(origin, snap(1))).await;
    if matches!(deleted, Outcome::Done(_)) {
        bench.done(Act::Delete(origin), Seen::Absent).await;
    } else {
        assert!(matches!(deleted, Outcome::Refused(_)), "a clone lives on, or its source stays: {deleted:?}");
    }
    let expected = [(0, 1), (MIB, 0), (5 * MIB + 8, 1), (5 * MIB + 8 + PAGE as u64, 0), (last, 3), (9 * MIB, 0), (10 * MIB, 0)];
    for (at, byte) in expected {
        assert!(bench.read(clone, at, PAGE).await == [byte; PAGE], "{byte} at {at}");
    }
}

/// The new bytes are zeroes, the old ones as they were.
pub(super) async fn growing_keeps_what_was_written(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.done(Act::Create(volume(1), MIB), whole(MIB)).await;
    bench.write(volume(1), MIB - PAGE as u64, &[7; PAGE]).await;
    for size in [2 * MIB, MIB, 5 * MIB] {
        bench.done(Act::Extend(volume(1), size), whole(size.max(2 * MIB))).await;
        assert!(bench.read(volume(1), MIB - PAGE as u64, PAGE).await == [7; PAGE]);
        assert!(bench.read(volume(1), MIB, PAGE).await == ZEROES);
    }
    assert!(bench.read(volume(1), 5 * MIB - PAGE as u64, PAGE).await == ZEROES);
}
