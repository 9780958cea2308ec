//! What is peculiar to a folder of files: its words, the limits of the file system, and strangers' files beside ours. What every
//! driver promises is in `promises`.

use crate::pools::{MIB, Pool, Pools, assert_done, assert_refused, files, on_both, snap, volume, whole};
use driver_file::{FileDriver, OpenError, Options};
use engine::ports::{Backing, Call, Driver, Listed, Progress};
use lifecycle::{Outcome, Seen, VolumeId};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use uuid::Uuid;

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
fn a_list_is_told_a_directory_at_a_time() {
    on_both(async |ground| {
        let pool = ground.pool();
        // The first digits of these ids name the directory.
        let id = |directory: u128, number: u128| VolumeId(Uuid::from_u128(directory << 116 | number));
        let all: Vec<_> = (0..5).flat_map(|directory| (1..=3).map(move |number| id(directory, number))).collect();
        for volume in &all {
            assert_done(pool.create(*volume, MIB).await, whole(MIB));
        }
        for number in 1..=3 {
            assert_done(pool.delete(id(4, number)).await, Seen::Absent);
        }
        let (teller, mut batches) = mpsc::channel::<Vec<Listed>>(1);
        let hear = async {
            let mut heard = Vec::new();
            while let Some(batch) = batches.recv().await {
                heard.push(batch.into_iter().map(|listed| listed.volume).collect::<Vec<_>>());
            }
            heard.sort();
            heard
        };
        let (told, heard) = tokio::join!(pool.driver.list(teller), hear);
        assert_eq!(told, Ok(()));
        // The empty directory is a sign of life.
        let wanted: Vec<_> = std::iter::once(&[][..]).chain(all[..12].chunks(3)).collect();
        assert_eq!(heard, wanted);
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
        // Not whether it is used: a child that another test starts has each file that is open here for a moment.
        let seen = async |pool: &Pool| {
            let all = pool.list().await;
            all.into_iter().map(|listed| (listed.volume, listed.snapshot, listed.seen)).collect::<Vec<_>>()
        };
        let listed = seen(&pool).await;
        drop(pool);
        assert_eq!((seen(&ground.pool()).await, listed.len()), (listed, 1));
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
