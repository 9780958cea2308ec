//! What the port promises: each call once, twice, with wrong sizes, and beside strangers' files.

use crate::pools::{MIB, Pool, Pools, assert_done, assert_refused, files, on_both, snap, token, volume, whole};
use driver_file::{FileDriver, OpenError, Options};
use engine::ports::{Backing, Call, Driver, Progress};
use lifecycle::{Bytes, Look, Outcome, Seen};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;
use std::sync::{Arc, Mutex};

#[test]
fn each_call_twice_is_the_call_once() {
    on_both(async |ground| {
        let pool = ground.pool();
        let (one, clone, shot) = (volume(1), volume(2), snap(1));
        for _ in 0..2 {
            assert_done(pool.create(one, 3 * MIB).await, whole(3 * MIB));
        }
        pool.file(one).await.write_all_at(b"written between", 100).unwrap();
        for _ in 0..2 {
            assert_done(pool.extend(one, 5 * MIB + 1).await, whole(5 * MIB + 1));
            assert_done(pool.snapshot(one, shot).await, whole(5 * MIB + 1));
            assert_done(pool.clone_of(clone, 6 * MIB, one, shot).await, whole(6 * MIB));
        }
        let look = pool.look(one).await;
        assert_eq!(look, Look { volume: whole(5 * MIB + 1), snapshots: [(shot, whole(5 * MIB + 1))].into(), stranger: None });
        assert_eq!(pool.list().await.len(), 3);
        assert_refused(pool.delete(one).await, &["has snapshots", &shot.to_string()]);
        for _ in 0..2 {
            assert_done(pool.delete_snapshot(one, shot).await, Seen::Absent);
        }
        for id in [one, clone, one, clone] {
            assert_done(pool.delete(id).await, Seen::Absent);
            assert_eq!(pool.look(id).await, Look { volume: Seen::Absent, ..Look::default() });
        }
        assert_eq!(pool.list().await, []);
        assert_eq!(files(&ground.folder()), [""; 0]);
    });
}

#[test]
fn who_may_write_to_a_file_is_told_and_bars_its_deletion() {
    on_both(async |ground| {
        let pool = ground.pool();
        let one = volume(1);
        assert_done(pool.create(one, MIB).await, whole(MIB));
        let listed = async || pool.list().await.into_iter().map(|listed| listed.is_used).collect::<Vec<_>>();
        let Backing::File(path) = pool.driver.backing(one).await.unwrap();
        let reader = std::fs::File::open(&path).unwrap();
        assert_eq!((pool.look(one).await.stranger, listed().await), (None, vec![false]), "who only reads harms nobody");
        drop(reader);

        let writer = std::fs::File::options().write(true).open(&path).unwrap();
        let told = pool.look(one).await.stranger.expect("somebody");
        assert!(told.contains(&format!("process {}", std::process::id())), "{told}");
        assert_eq!(listed().await, [true]);
        assert_refused(pool.delete(one).await, &["open for writing by process", "end that"]);
        // Growing a volume that is used is what an extend online is.
        assert_done(pool.extend(one, 2 * MIB).await, whole(2 * MIB));
        drop(writer);

        let losetup = |args: &[&str]| {
            let output = Command::new("losetup").args(args).output().unwrap();
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        let device = losetup(&["--find", "--show", path.to_str().unwrap()]);
        let told = pool.look(one).await.stranger;
        losetup(&["--detach", &device]);
        assert_eq!(told, Some(format!("open for writing by {device}")));
        assert_eq!(pool.look(one).await.stranger, None);
        assert_done(pool.delete(one).await, Seen::Absent);
    });
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing() {
    on_both(async |ground| {
        let pool = ground.pool();
        let (one, other, shot) = (volume(1), volume(2), snap(1));
        assert_refused(pool.extend(one, MIB).await, &["not in this pool"]);
        assert_refused(pool.snapshot(one, shot).await, &["not in this pool"]);
        assert_refused(pool.clone_of(other, MIB, one, shot).await, &["not in this pool", &shot.to_string()]);
        for size in [u64::MAX, 1 << 63] {
            assert_refused(pool.create(one, size).await, &["no file of"]);
        }
        assert_eq!(files(&ground.folder()), [""; 0]);
        assert_done(pool.create(one, 2 * MIB).await, whole(2 * MIB));
        assert_refused(pool.create(one, 3 * MIB).await, &["2 MiB", "3 MiB", "delete it first"]);
        assert_refused(pool.extend(one, u64::MAX).await, &["no file of"]);
        assert_done(pool.extend(one, MIB).await, whole(2 * MIB));
        assert_done(pool.snapshot(one, shot).await, whole(2 * MIB));
        assert_refused(pool.clone_of(other, MIB, one, shot).await, &["2 MiB", "1 MiB"]);
        assert_eq!(pool.look(one).await.volume, whole(2 * MIB));
        assert!(pool.driver.backing(other).await.is_err());
    });
}

#[test]
fn sizes_are_exact_to_the_byte() {
    on_both(async |ground| {
        let pool = ground.pool();
        for (number, size) in (1..).zip([0, 1, 511, 4095, 4097, (1 << 30) + 1]) {
            let (id, clone) = (volume(number), volume(number + 100));
            assert_done(pool.create(id, size).await, whole(size));
            assert_eq!(pool.file(id).await.metadata().unwrap().len(), size);
            assert_done(pool.snapshot(id, snap(number)).await, whole(size));
            assert_done(pool.clone_of(clone, size + 1, id, snap(number)).await, whole(size + 1));
            assert_done(pool.extend(id, size + 3).await, whole(size + 3));
            assert_eq!(pool.look(id).await.snapshots[&snap(number)], whole(size));
        }
    });
}

#[test]
fn a_tebibyte_costs_nothing_until_it_is_written() {
    on_both(async |ground| {
        let pool = ground.pool();
        let before = ground.free();
        assert_done(pool.create(volume(1), 1 << 40).await, whole(1 << 40));
        assert_done(pool.snapshot(volume(1), snap(1)).await, whole(1 << 40));
        let taken = before.saturating_sub(ground.free());
        assert!(taken < MIB, "{taken} bytes taken");
        assert!(pool.file(volume(1)).await.metadata().unwrap().blocks() * 512 < MIB);
    });
}

#[test]
fn twenty_creates_at_once_all_succeed() {
    on_both(async |ground| {
        let pool = Arc::new(ground.pool());
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..20 {
            let pool = Arc::clone(&pool);
            calls.spawn(async move { pool.create(volume(number), MIB).await });
        }
        while let Some(outcome) = calls.join_next().await {
            assert_done(outcome.unwrap(), whole(MIB));
        }
        assert_eq!(pool.list().await.len(), 20);
        assert_eq!(files(&ground.folder()).len(), 20);
    });
}

#[test]
fn the_same_create_delivered_twenty_times_at_once_is_one_create() {
    on_both(async |ground| {
        let pool = Arc::new(ground.pool());
        assert_done(pool.create(volume(1), MIB).await, whole(MIB));
        pool.file(volume(1)).await.write_all_at(&vec![9; 1 << 20], 0).unwrap();
        assert_done(pool.snapshot(volume(1), snap(1)).await, whole(MIB));
        let source = Some(lifecycle::Source { volume: volume(1), snapshot: snap(1) });
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let pool = Arc::clone(&pool);
            let call = Call { token: token(7), progress: Progress::ignored() };
            calls.spawn(async move { pool.driver.create(call, volume(2), Bytes(2 * MIB), source).await });
        }
        while let Some(outcome) = calls.join_next().await {
            assert_done(outcome.unwrap(), whole(2 * MIB));
        }
        assert_eq!(files(&ground.folder()).len(), 3);
    });
}

#[test]
fn what_carries_no_id_of_ours_is_ignored_and_left_alone() {
    on_both(async |ground| {
        let pool = ground.pool();
        assert_done(pool.create(volume(1), MIB).await, whole(MIB));
        let shard = ground.folder().join("000");
        let strangers = ["notes.txt", "7f3a.raw", "00000000-0000-0001-0000-000000000001.raw.bak"];
        let misplaced = "7f3a0000-0000-4000-8000-000000000001.raw";
        for name in strangers.iter().chain([&misplaced]) {
            std::fs::write(shard.join(name), b"not ours").unwrap();
            std::fs::write(ground.folder().join(name), b"not ours").unwrap();
        }
        assert_eq!(pool.list().await.len(), 1);
        assert_eq!(pool.look(misplaced.trim_end_matches(".raw").parse().unwrap()).await.volume, Seen::Absent);
        assert_done(pool.delete(volume(1)).await, Seen::Absent);
        assert_eq!(files(&ground.folder()).len(), 8);
    });
}

#[test]
fn what_is_no_regular_file_is_never_called_whole() {
    on_both(async |ground| {
        let pool = ground.pool();
        assert_done(pool.create(volume(1), MIB).await, whole(MIB));
        let path = ground.folder().join("000").join(format!("{}.raw", volume(1)));
        let aside = ground.folder().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        assert_eq!(pool.look(volume(1)).await.volume, Seen::Absent, "a file taken away by hand is seen to be gone");
        std::os::unix::fs::symlink(&aside, &path).unwrap();
        assert_eq!(pool.look(volume(1)).await.volume, Seen::Unknown);
        assert_refused(pool.create(volume(1), MIB).await, &["no regular file"]);
        assert!(matches!(pool.extend(volume(1), 2 * MIB).await, Outcome::Unknown(_)));
        assert!(pool.driver.backing(volume(1)).await.is_err());
        assert_done(pool.delete(volume(1)).await, Seen::Absent);
        assert_eq!(std::fs::metadata(aside).unwrap().len(), MIB, "only the link was removed");
    });
}

#[test]
fn a_pool_is_open_once_and_is_the_same_when_opened_again() {
    on_both(async |ground| {
        let pool = ground.pool();
        assert_done(pool.create(volume(1), MIB).await, whole(MIB));
        let again = FileDriver::open(&ground.folder(), Options::default());
        assert!(matches!(again, Err(OpenError::InUse { .. })));
        let listed = pool.list().await;
        drop(pool);
        assert_eq!(ground.pool().list().await, listed);
    });
}

#[test]
fn what_cannot_be_a_pool_is_told_clearly() {
    on_both(async |ground| {
        let file = ground.folder();
        std::fs::write(&file, b"a file").unwrap();
        let Err(error) = FileDriver::open(&file, Options::default()) else { panic!("a file is no folder") };
        let text = error.to_string();
        assert!(matches!(error, OpenError::Unusable { .. }));
        assert!(text.contains("cannot open pool folder") && text.contains("pool"), "{text}");
    });
}

#[test]
fn capabilities_are_those_of_the_file_system() {
    on_both(async |ground| {
        let able = ground.pool().driver.capabilities().await.unwrap();
        assert_eq!(able.attached_snapshot, ground.kind == crate::pools::Kind::Xfs);
        assert!(able.online_extend);
        assert_eq!(files(&ground.folder()), [""; 0], "probing leaves nothing behind");
    });
}

#[test]
fn progress_only_grows_and_ends_at_a_hundred() {
    on_both(async |ground| {
        let pool: Pool = ground.pool();
        assert_done(pool.create(volume(1), 64 * MIB).await, whole(64 * MIB));
        pool.file(volume(1)).await.write_all_at(&vec![5; 40 << 20], 10 * MIB).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&told);
        let progress = Progress::new(move |percent| sink.lock().unwrap().push(percent));
        let call = Call { token: pool.token(), progress };
        assert_done(pool.driver.snapshot(call, volume(1), snap(1)).await, whole(64 * MIB));
        let told = told.lock().unwrap().clone();
        assert!(told.is_sorted(), "{told:?}");
        assert_eq!(told.last(), Some(&100));
        assert_eq!(told.iter().filter(|percent| **percent == 100).count(), 1);
        let copies = !pool.driver.capabilities().await.unwrap().attached_snapshot;
        assert!(!copies || told.len() == 11, "ten chunks of 4 MiB and the end: {told:?}");
    });
}
