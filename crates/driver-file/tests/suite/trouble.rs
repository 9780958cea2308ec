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
        assert!(pool.driver.list().await.is_err() && pool.driver.capacity().await.is_err());
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
