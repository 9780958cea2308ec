//! What snapshots and clones contain, and copies that end early.

use crate::pools::{
    Ground, Kind, MIB, Pool, Pools, assert_done, assert_refused, files, is_partial, on, on_both, snap, token, volume, wait_until,
    whole,
};
use driver_file::Options;
use engine::ports::{Call, Driver, Progress};
use lifecycle::{Bytes, Outcome, Seen, Source};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

fn read(file: &std::fs::File, at: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at).unwrap();
    bytes
}

#[test]
fn a_clone_is_the_source_at_the_time_of_the_snapshot() {
    on_both(async |ground| {
        let pool = ground.pool();
        let (one, clone) = (volume(1), volume(2));
        let size = 20 * MIB + 4097;
        assert_done(pool.create(one, size).await, whole(size));
        let source = pool.file(one).await;
        source.write_all_at(&vec![1; 9 << 20], 3 * MIB).unwrap();
        source.write_all_at(b"the last bytes", size - 14).unwrap();
        assert_done(pool.snapshot(one, snap(1)).await, whole(size));
        source.write_all_at(&vec![2; 20 << 20], 0).unwrap();
        assert_done(pool.extend(one, 2 * size).await, whole(2 * size));
        assert_done(pool.clone_of(clone, size + 10_000, one, snap(1)).await, whole(size + 10_000));
        source.write_all_at(&vec![3; 20 << 20], 0).unwrap();
        // Who may still write to it would bar its deletion.
        drop(source);
        for seconds_owner in 0..2 {
            let copy = pool.file(clone).await;
            assert_eq!(read(&copy, 0, 3 << 20), vec![0; 3 << 20]);
            assert_eq!(read(&copy, 3 * MIB, 9 << 20), vec![1; 9 << 20]);
            assert_eq!(read(&copy, 12 * MIB, 4097), vec![0; 4097]);
            assert_eq!(read(&copy, size - 14, 14), b"the last bytes");
            assert_eq!(read(&copy, size, 10_000), vec![0; 10_000], "zeroes beyond the source");
            if seconds_owner == 0 {
                // Copies are independent: they outlive what they were made from.
                assert_done(pool.delete_snapshot(one, snap(1)).await, Seen::Absent);
                assert_done(pool.delete(one).await, Seen::Absent);
            }
        }
    });
}

#[test]
fn holes_stay_holes() {
    on_both(async |ground| {
        let pool = ground.pool();
        assert_done(pool.create(volume(1), 10 << 30).await, whole(10 << 30));
        let source = pool.file(volume(1)).await;
        for at in [0, 1 << 30, (10 << 30) - MIB] {
            source.write_all_at(&vec![1; 1 << 20], at).unwrap();
        }
        source.sync_all().unwrap();
        assert_done(pool.snapshot(volume(1), snap(1)).await, whole(10 << 30));
        assert_done(pool.clone_of(volume(2), 20 << 30, volume(1), snap(1)).await, whole(20 << 30));
        let taken = pool.file(volume(2)).await.metadata().unwrap().blocks() * 512;
        assert!((3 * MIB..4 * MIB).contains(&taken), "{taken} bytes");
        assert_eq!(read(&pool.file(volume(2)).await, (10 << 30) - MIB, 1 << 20), vec![1; 1 << 20]);
    });
}

/// Where a copy waits after its first chunk until it is let go.
#[derive(Default)]
struct Gate {
    chunks: AtomicUsize,
    open: AtomicBool,
}

impl Gate {
    /// A gate, the driver's options with it, and a way to count chunks.
    fn new() -> (Arc<Self>, Options) {
        let gate = Arc::new(Self::default());
        let hook = Arc::clone(&gate);
        let fail_points = move |name: &str| {
            if name == "before copy: chunk" {
                hook.chunks.fetch_add(1, Ordering::SeqCst);
                wait_until("the gate is opened", || hook.open.load(Ordering::SeqCst));
            }
        };
        (gate, Options { fail_points: Some(Arc::new(fail_points)), ..Options::default() })
    }

    fn wait_for_copy(&self) {
        wait_until("the copy is at its first chunk", || self.chunks.load(Ordering::SeqCst) > 0);
    }

    fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

/// A pool whose copies stop at the gate, with a snapshot of 20 MiB to copy (taken while the gate was open).
async fn pool_with_copy(ground: &Ground) -> (Arc<Pool>, Arc<Gate>) {
    let (gate, options) = Gate::new();
    let pool = Arc::new(ground.pool_with(options));
    assert_done(pool.create(volume(1), 20 * MIB).await, whole(20 * MIB));
    pool.file(volume(1)).await.write_all_at(&vec![1; 20 << 20], 0).unwrap();
    gate.open();
    assert_done(pool.snapshot(volume(1), snap(1)).await, whole(20 * MIB));
    gate.open.store(false, Ordering::SeqCst);
    gate.chunks.store(0, Ordering::SeqCst);
    (pool, gate)
}

const SOURCE: fn() -> Option<Source> = || Some(Source { volume: volume(1), snapshot: snap(1) });

#[test]
fn a_delete_does_not_wait_for_a_copy_that_hangs() {
    on(Kind::Ext4, async |ground| {
        let (pool, gate) = pool_with_copy(ground).await;
        let creator = Arc::clone(&pool);
        let create = tokio::spawn(async move { creator.clone_of(volume(2), 20 * MIB, volume(1), snap(1)).await });
        gate.wait_for_copy();
        assert!(is_partial(pool.look(volume(2)).await.volume), "what is being made is partly there");
        assert_done(pool.delete(volume(2)).await, Seen::Absent);
        assert_eq!(pool.look(volume(2)).await.volume, Seen::Absent);
        gate.open();
        assert_refused(create.await.unwrap(), &["superseded by a newer call"]);
        assert_eq!(gate.chunks.load(Ordering::SeqCst), 1, "the copy ended at its next check");
        assert_eq!(pool.look(volume(2)).await.volume, Seen::Absent);
        assert_eq!(files(&ground.folder()).len(), 2);
    });
}

#[test]
fn a_retry_overtakes_a_copy_that_hangs() {
    on(Kind::Ext4, async |ground| {
        let (pool, gate) = pool_with_copy(ground).await;
        let first = Arc::clone(&pool);
        let first = tokio::spawn(async move { first.clone_of(volume(2), 20 * MIB, volume(1), snap(1)).await });
        gate.wait_for_copy();
        let second = Arc::clone(&pool);
        let second = tokio::spawn(async move { second.clone_of(volume(2), 20 * MIB, volume(1), snap(1)).await });
        wait_until("the retry copies too", || gate.chunks.load(Ordering::SeqCst) == 2);
        gate.open();
        assert_refused(first.await.unwrap(), &["superseded by a newer call"]);
        assert_done(second.await.unwrap(), whole(20 * MIB));
        assert_eq!(read(&pool.file(volume(2)).await, 0, 20 << 20), vec![1; 20 << 20]);
        assert_eq!(files(&ground.folder()).len(), 3);
    });
}

#[test]
fn a_copy_that_nobody_waits_for_ends_at_its_next_chunk() {
    on(Kind::Ext4, async |ground| {
        let (pool, gate) = pool_with_copy(ground).await;
        let dropped = Arc::clone(&pool);
        let create = tokio::spawn(async move { dropped.clone_of(volume(2), 20 * MIB, volume(1), snap(1)).await });
        gate.wait_for_copy();
        create.abort();
        assert!(create.await.unwrap_err().is_cancelled());
        gate.open();
        wait_until("the copy tidied up after itself", || files(&ground.folder()).len() == 2);
        assert_eq!(gate.chunks.load(Ordering::SeqCst), 1);
        assert_done(pool.clone_of(volume(2), 20 * MIB, volume(1), snap(1)).await, whole(20 * MIB));
    });
}

#[test]
fn a_copy_that_cannot_fit_is_refused_before_it_starts() {
    on(Kind::Ext4, async |ground| {
        let (pool, gate) = pool_with_copy(ground).await;
        gate.open();
        ground.fill("filler", 15 * MIB);
        assert_refused(pool.clone_of(volume(2), 20 * MIB, volume(1), snap(1)).await, &["20 MiB must be written", "kept free"]);
        assert_eq!(gate.chunks.load(Ordering::SeqCst), 0, "nothing was copied");
        assert_eq!(files(&ground.folder()).len(), 2);
        ground.unfill("filler");
        assert_done(pool.clone_of(volume(2), 20 * MIB, volume(1), snap(1)).await, whole(20 * MIB));
    });
}

#[test]
fn a_disk_that_fills_up_during_a_copy_leaves_nothing_of_it() {
    on(Kind::Ext4, async |ground| {
        let (pool, gate) = pool_with_copy(ground).await;
        let told = Arc::new(Mutex::new(0));
        let sink = Arc::clone(&told);
        let progress = Progress::new(move |percent| *sink.lock().unwrap() = percent);
        let call = Call { token: pool.token(), progress };
        let creator = Arc::clone(&pool);
        let create = tokio::spawn(async move { creator.driver.create(call, volume(2), Bytes(20 * MIB), SOURCE()).await });
        gate.wait_for_copy();
        ground.fill("filler", 2 * MIB);
        gate.open();
        assert_refused(create.await.unwrap(), &["must be written", "kept free", &volume(2).to_string()]);
        assert!((20..99).contains(&*told.lock().unwrap()), "it stopped in the middle");
        assert_eq!(files(&ground.folder()).len(), 2);
        assert_eq!(pool.look(volume(2)).await.volume, Seen::Absent);
        ground.unfill("filler");
        assert_done(pool.clone_of(volume(2), 20 * MIB, volume(1), snap(1)).await, whole(20 * MIB));
    });
}

#[test]
fn a_copy_in_the_way_of_the_reserve_stops() {
    on(Kind::Ext4, async |ground| {
        let (gate, mut options) = Gate::new();
        options.reserved = Some(Bytes(50 * MIB));
        let pool = Arc::new(ground.pool_with(options));
        assert_done(pool.create(volume(1), 20 * MIB).await, whole(20 * MIB));
        pool.file(volume(1)).await.write_all_at(&vec![1; 20 << 20], 0).unwrap();
        let taker = Arc::clone(&pool);
        let taken = tokio::spawn(async move { taker.snapshot(volume(1), snap(1)).await });
        gate.wait_for_copy();
        ground.fill("filler", 40 * MIB);
        gate.open();
        assert_refused(taken.await.unwrap(), &["50 MiB are kept free"]);
        assert_refused(pool.create(volume(2), MIB).await, &["0 B can still be written", "50 MiB are kept free"]);
        assert_eq!(files(&ground.folder()).len(), 1);
    });
}

#[test]
fn a_panic_in_the_middle_is_an_unknown_outcome_and_the_driver_goes_on() {
    on_both(async |ground| {
        let armed = Arc::new(AtomicBool::new(true));
        let hook = Arc::clone(&armed);
        let fail_points = move |name: &str| {
            assert!(name != "after create: rename" || !hook.swap(false, Ordering::SeqCst), "crash asked for");
        };
        let pool = ground.pool_with(Options { fail_points: Some(Arc::new(fail_points)), ..Options::default() });
        assert!(matches!(pool.create(volume(1), MIB).await, Outcome::Unknown(_)));
        assert_eq!(pool.driver.inspect(volume(1), Some(token(50))).await.unwrap().volume, whole(MIB));
        assert_refused(pool.create(volume(1), MIB).await, &["superseded"]);
        let call = Call { token: token(51), progress: Progress::ignored() };
        assert_done(pool.driver.create(call, volume(1), Bytes(MIB), None).await, whole(MIB));
    });
}
