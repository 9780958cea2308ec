//! Pools on mounted file systems, with their tokens, and short ways to ask them.

use driver_file::{FileDriver, OpenError, Options};
use engine::ports::{Backing, Call, Driver, Listed, Progress};
pub(crate) use ground::{Ground, Kind, MIB, retry, wait_until};
use lifecycle::{Bytes, Content, Facts, Look, Outcome, Seen, SnapshotId, Source, Token, VolumeId};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// Pools on a ground.
pub(crate) trait Pools {
    /// The pool's folder on it.
    fn folder(&self) -> PathBuf;

    /// A driver with these options.
    fn pool_with(&self, options: Options) -> Pool;

    /// A driver that keeps nothing free, as these file systems are small.
    fn pool(&self) -> Pool {
        self.pool_with(Options::default())
    }
}

impl Pools for Ground {
    fn folder(&self) -> PathBuf {
        self.root().join("pool")
    }

    fn pool_with(&self, options: Options) -> Pool {
        Pool::open(&self.folder(), options)
    }
}

/// Runs the test on both file systems, each of 320 MiB: XFS takes no less.
pub(crate) fn on_both(test: impl AsyncFn(&Ground)) {
    on(Kind::Xfs, &test);
    on(Kind::Ext4, &test);
}

/// Runs the test on one file system of 320 MiB.
pub(crate) fn on(kind: Kind, test: impl AsyncFn(&Ground)) {
    let Some(ground) = Ground::new(kind, 320) else { return };
    // Dropped before the ground is: that waits for whatever still blocks.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test(&ground));
    drop(runtime);
}

/// A driver, and the newest token given to it.
pub(crate) struct Pool {
    pub(crate) driver: FileDriver,
    counter: AtomicU64,
}

impl Pool {
    pub(crate) fn open(folder: &Path, mut options: Options) -> Self {
        options.reserved = options.reserved.or(Some(Bytes::ZERO));
        // Another test may just start a process, which shares every open file for a moment, and with them a dropped pool's lock.
        let driver = retry(|| match FileDriver::open(folder, options.clone()) {
            Err(OpenError::InUse { .. }) => Err("the folder is in use".to_owned()),
            opened => Ok(opened.unwrap()),
        });
        Self { driver: driver.unwrap(), counter: AtomicU64::new(1) }
    }

    pub(crate) fn token(&self) -> Token {
        token(self.counter.fetch_add(1, Ordering::Relaxed))
    }

    /// A call newer than all before.
    pub(crate) fn call(&self) -> Call {
        Call { token: self.token(), progress: Progress::ignored() }
    }

    pub(crate) async fn create(&self, id: VolumeId, size: u64) -> Outcome {
        self.driver.create(self.call(), id, Bytes(size), None).await
    }

    pub(crate) async fn clone_of(&self, id: VolumeId, size: u64, volume: VolumeId, snapshot: SnapshotId) -> Outcome {
        self.driver.create(self.call(), id, Bytes(size), Some(Source { volume, snapshot })).await
    }

    pub(crate) async fn snapshot(&self, id: VolumeId, snapshot: SnapshotId) -> Outcome {
        self.driver.snapshot(self.call(), id, snapshot).await
    }

    pub(crate) async fn extend(&self, id: VolumeId, size: u64) -> Outcome {
        self.driver.extend(self.call(), id, Bytes(size)).await
    }

    pub(crate) async fn delete(&self, id: VolumeId) -> Outcome {
        self.driver.delete(self.call(), id).await
    }

    pub(crate) async fn delete_snapshot(&self, id: VolumeId, snapshot: SnapshotId) -> Outcome {
        self.driver.delete_snapshot(self.call(), id, snapshot).await
    }

    pub(crate) async fn look(&self, id: VolumeId) -> Look {
        self.driver.inspect(id, None).await.unwrap()
    }

    pub(crate) async fn list(&self) -> Vec<Listed> {
        contract::driver::list(&self.driver).await.unwrap()
    }

    /// The volume's file, as an exporter would open it.
    pub(crate) async fn file(&self, id: VolumeId) -> File {
        let Backing::File(path) = self.driver.backing(id).await.unwrap();
        OpenOptions::new().read(true).write(true).open(path).unwrap()
    }
}

pub(crate) fn token(counter: u64) -> Token {
    Token { incarnation: 1, counter }
}

pub(crate) fn volume(number: u128) -> VolumeId {
    VolumeId(Uuid::from_u128(number << 64 | 1))
}

pub(crate) fn snap(number: u128) -> SnapshotId {
    SnapshotId(Uuid::from_u128(number << 64 | 2))
}

pub(crate) fn whole(size: u64) -> Seen {
    Seen::Present { size: Bytes(size), content: Content::Whole }
}

pub(crate) fn is_partial(seen: Seen) -> bool {
    matches!(seen, Seen::Present { content: Content::Partial, .. })
}

#[track_caller]
pub(crate) fn assert_done(outcome: Outcome, seen: Seen) {
    assert_eq!(outcome, Outcome::Done(Facts::Object(seen)));
}

/// The text of a refusal, which must hold all of `words`.
#[track_caller]
pub(crate) fn assert_refused(outcome: Outcome, words: &[&str]) {
    let Outcome::Refused(text) = outcome else { panic!("not refused: {outcome:?}") };
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text:?}");
    }
}

/// Every file below the pool's folder.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            names.extend(files(&entry.path()));
        } else {
            names.push(entry.file_name().into_string().unwrap());
        }
    }
    names.sort();
    names
}
