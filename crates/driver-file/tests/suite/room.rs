//! Full disks.

use crate::pools::{Kind, MIB, Pools, assert_done, assert_refused, files, on, on_both, volume, whole};
use driver_file::Options;
use engine::ports::Driver;
use lifecycle::{Bytes, Seen};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn capacity_is_what_the_file_system_has_less_the_reserve() {
    on_both(async |ground| {
        let free = ground.free();
        let pool = ground.pool_with(Options { reserved: Some(Bytes(100 * MIB)), ..Options::default() });
        let capacity = pool.driver.capacity().await.unwrap();
        assert!(capacity.free.0.abs_diff(free - 100 * MIB) < MIB, "{capacity:?}");
        assert!(capacity.total.0 >= capacity.free.0 && capacity.total.0 <= 220 * MIB, "{capacity:?}");
        drop(pool);
        let pool = driver_file::FileDriver::open(&ground.folder().join("other"), Options::default()).unwrap();
        assert_eq!(pool.capacity().await.unwrap().free, Bytes::ZERO, "by default a GiB is kept free, which this disk has not");
    });
}

#[test]
fn a_full_disk_refuses_what_takes_room_and_still_deletes() {
    on_both(async |ground| {
        let pool = ground.pool();
        for number in 0..3 {
            assert_done(pool.create(volume(number), MIB).await, whole(MIB));
        }
        ground.fill("filler", 0);
        assert_refused(pool.create(volume(7), MIB).await, &["the pool is full", "delete something"]);
        for number in 0..3 {
            assert_done(pool.delete(volume(number)).await, Seen::Absent);
        }
        assert_eq!(files(&ground.folder()), [""; 0]);
    });
}

#[test]
fn a_delete_needs_no_room_in_the_directory() {
    on(Kind::Ext4, async |ground| {
        let renames = Arc::new(AtomicUsize::new(0));
        let hook = Arc::clone(&renames);
        let fail_points = move |name: &str| {
            hook.fetch_add(usize::from(name == "after delete: sync trash"), Ordering::SeqCst);
        };
        let pool = ground.pool_with(Options { fail_points: Some(Arc::new(fail_points)), ..Options::default() });
        assert_done(pool.create(volume(0), MIB).await, whole(MIB));
        // Nineteen more names of 40 bytes fill the directory's block of 1 KiB: the longer name in trash needs another block.
        for number in 0..19 {
            std::fs::write(ground.folder().join("000").join(format!("{number:040}")), b"").unwrap();
        }
        ground.fill("filler", 0);
        assert_done(pool.delete(volume(0)).await, Seen::Absent);
        assert_eq!(renames.load(Ordering::SeqCst), 0, "there was room after all, so this test says nothing");
        assert_eq!(files(&ground.folder()).len(), 19);
    });
}
