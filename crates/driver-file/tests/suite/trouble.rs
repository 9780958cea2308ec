//! Broken and read-only disks, and the settings that slow a driver down.

use crate::pools::{Kind, MIB, Pools, assert_done, files, on, on_both, snap, token, volume, whole};
use driver_file::{FileDriver, OpenError, Options};
use engine::ports::Driver;
use lifecycle::Outcome;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn on_a_broken_disk_nothing_is_claimed() {
    on_both(async |ground| {
        let pool = ground.pool();
        assert_done(pool.create(volume(1), MIB).await, whole(MIB));
        assert_done(pool.snapshot(volume(1), snap(1)).await, whole(MIB));
        ground.breaker()();
        for outcome in [
            pool.create(volume(2), MIB).await,
            pool.extend(volume(1), 2 * MIB).await,
            pool.snapshot(volume(1), snap(2)).await,
            pool.delete_snapshot(volume(1), snap(1)).await,
            pool.delete(volume(3)).await,
        ] {
            let (Outcome::Unknown(text) | Outcome::Failed(text)) = outcome else { panic!("claimed: {outcome:?}") };
            assert!(!text.contains(ground.folder().to_str().unwrap()), "folders are nobody's business: {text}");
        }
        let fenced = pool.driver.inspect(volume(1), Some(token(100))).await;
        assert!(fenced.is_err(), "what may not be on the disk is not told for good: {fenced:?}");
    });
}

#[test]
fn after_a_sync_failed_no_other_is_believed_until_a_restart() {
    on_both(async |ground| {
        let breaks = ground.breaker();
        let fail_points = move |name: &str| {
            if name == "before extend: sync file" {
                breaks();
            }
        };
        let pool = ground.pool_with(Options { fail_points: Some(Arc::new(fail_points)), ..Options::default() });
        assert_done(pool.create(volume(1), MIB).await, whole(MIB));
        let outcome = pool.extend(volume(1), 2 * MIB).await;
        assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
        for outcome in [pool.extend(volume(1), 2 * MIB).await, pool.delete(volume(1)).await, pool.create(volume(2), MIB).await] {
            let Outcome::Failed(text) = outcome else { panic!("claimed: {outcome:?}") };
            assert!(text.contains("check the disk, then restart"), "{text}");
        }
        assert!(pool.driver.inspect(volume(1), None).await.is_err());
        assert!(contract::driver::list(&pool.driver).await.is_err() && pool.driver.capacity().await.is_err());
    });
}

#[test]
fn a_probe_tells_whether_the_disk_takes_writes() {
    on_both(async |ground| {
        let pool = ground.pool();
        for _ in 0..2 {
            pool.driver.probe().await.expect("it works");
        }
        assert!(pool.list().await.is_empty(), "a probe is no volume");
        ground.fill("filler", 0);
        pool.driver.probe().await.expect("a full disk works");
        ground.unfill("filler");
        ground.breaker()();
        let told = pool.driver.probe().await.expect_err("a broken disk does not").to_string();
        assert!(told.starts_with("cannot try the pool: writing to its file system failed: "), "{told}");
        assert!(!told.contains(ground.folder().to_str().unwrap()), "folders are nobody's business: {told}");
    });
}

#[test]
fn on_a_frozen_disk_probes_hang_on_one_thread_and_what_reads_goes_on() {
    on_both(async |ground| {
        let pool = ground.pool();
        assert_done(pool.create(volume(1), MIB).await, whole(MIB));
        let frozen = ground.freeze();
        let short = Duration::from_millis(20);
        for _ in 0..1000 / 20 {
            assert!(tokio::time::timeout(short, pool.driver.probe()).await.is_err(), "nothing can be written");
        }
        // Other tests of this process wait for disks too, but not so many.
        assert!(threads_that_wait_for_disks() < 25, "each of 50 probes has a thread of its own");
        assert_eq!((pool.list().await.len(), pool.look(volume(1)).await.volume), (1, whole(MIB)));
        pool.driver.capacity().await.expect("it can be read");
        let deleting = pool.delete(volume(1));
        let mut deleting = std::pin::pin!(deleting);
        assert!(tokio::time::timeout(short, &mut deleting).await.is_err());
        drop(frozen);
        assert_done(deleting.await, lifecycle::Seen::Absent);
        pool.driver.probe().await.expect("it works again");
    });
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_at_once() {
    on_both(async |ground| {
        drop(ground.pool());
        ground.forbid_writing();
        let Err(error) = FileDriver::open(&ground.folder(), Options::default()) else { panic!("a read-only folder is no pool") };
        assert!(matches!(error, OpenError::NotWritable { .. }), "{error}");
    });
}

#[test]
fn delays_are_kept_before_visible_steps_and_between_chunks() {
    on(Kind::Ext4, async |ground| {
        let delay = Duration::from_millis(30);
        let pool = ground.pool_with(Options { step_delay: delay, copy_chunk_delay: delay, ..Options::default() });
        let start = Instant::now();
        assert_done(pool.create(volume(1), 12 * MIB).await, whole(12 * MIB));
        assert!(start.elapsed() >= 2 * delay, "making and renaming the temporary file are visible");
        pool.file(volume(1)).await.write_all_at(&vec![1; 12 << 20], 0).unwrap();
        let start = Instant::now();
        assert_done(pool.snapshot(volume(1), snap(1)).await, whole(12 * MIB));
        assert!(start.elapsed() >= 5 * delay, "two visible steps and three chunks");
        assert_eq!(files(&ground.folder()).len(), 2);
    });
}

/// How many threads of this process are where no signal reaches them.
fn threads_that_wait_for_disks() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let states = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    states.filter(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('D'))).count()
}
