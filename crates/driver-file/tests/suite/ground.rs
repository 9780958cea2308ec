//! What the tests stand on: mounted file systems, drivers with their tokens, and short ways to ask them.

use driver_file::{FileDriver, OpenError, Options};
use engine::ports::{Backing, Call, Driver, Listed, Progress};
use lifecycle::{Bytes, Content, Facts, Look, Outcome, Seen, SnapshotId, Source, Token, VolumeId};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use uuid::Uuid;

pub(crate) const MIB: u64 = 1 << 20;
/// How long a condition may take to come true before the test gives up.
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Xfs,
    Ext4,
}

/// A file system of our own, mounted from a sparse file; unmounted when dropped.
pub(crate) struct Ground {
    pub(crate) kind: Kind,
    mountpoint: PathBuf,
    _folder: TempDir,
}

impl Ground {
    /// Makes and mounts one of `mib` MiB; nothing if that is not permitted here.
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    pub(crate) fn new(kind: Kind, mib: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (image, mountpoint) = (folder.path().join("image"), folder.path().join("mounted"));
        File::create(&image).unwrap().set_len(mib * MIB).unwrap();
        std::fs::create_dir(&mountpoint).unwrap();
        let mut make = match kind {
            Kind::Xfs => Command::new("mkfs.xfs"),
            Kind::Ext4 => Command::new("mkfs.ext4"),
        };
        match kind {
            Kind::Xfs => make.args(["-q", "-m", "reflink=1"]),
            Kind::Ext4 => make.args(["-q", "-b", "1024", "-m", "0"]),
        };
        let made =
            run(make.arg(&image)).and_then(|()| run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mountpoint)));
        match made {
            Ok(()) => Some(Self { kind, mountpoint, _folder: folder }),
            Err(why) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("cannot mount {kind:?}: {why}"),
            Err(why) => {
                eprintln!("skipped: cannot mount {kind:?}: {why}");
                None
            }
        }
    }

    /// The pool's folder on it.
    pub(crate) fn folder(&self) -> PathBuf {
        self.mountpoint.join("pool")
    }

    /// A driver that keeps nothing free, as these file systems are small.
    pub(crate) fn pool(&self) -> Pool {
        self.pool_with(Options::default())
    }

    pub(crate) fn pool_with(&self, options: Options) -> Pool {
        Pool::open(&self.folder(), options)
    }

    /// How many bytes are free on it.
    pub(crate) fn free(&self) -> u64 {
        let facts = rustix::fs::statvfs(&self.mountpoint).unwrap();
        facts.f_bavail * facts.f_frsize
    }

    /// Writes a file that leaves `left` bytes free, or as near as it gets.
    pub(crate) fn fill(&self, name: &str, left: u64) {
        let file = File::create(self.mountpoint.join(name)).unwrap();
        let mut at = 0;
        let mut step = MIB;
        while step >= 512 {
            let fits = self.free() >= left + step;
            if fits && file.write_all_at(&vec![7; usize::try_from(step).unwrap()], at).is_ok() {
                at += step;
            } else {
                step /= 2;
            }
        }
        // What no longer fits was refused by the last writes; a sync turns promises of room into blocks.
        file.sync_all().unwrap();
    }

    /// What makes every write and sync on it fail from then on, as a broken disk does. Comes with `mkfs.xfs`.
    pub(crate) fn breaker(&self) -> impl Fn() + Send + Sync + use<> {
        let (kind, mountpoint) = (self.kind, self.mountpoint.clone());
        move || {
            let foreign = (kind == Kind::Ext4).then_some("-F");
            run(Command::new("xfs_io").args(foreign).args(["-x", "-c", "shutdown"]).arg(&mountpoint)).unwrap();
        }
    }

    /// Makes it read-only.
    pub(crate) fn forbid_writing(&self) {
        run(Command::new("mount").args(["-o", "remount,ro"]).arg(&self.mountpoint)).unwrap();
    }

    pub(crate) fn unfill(&self, name: &str) {
        std::fs::remove_file(self.mountpoint.join(name)).unwrap();
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let unmounted = retry(|| run(Command::new("umount").arg(&self.mountpoint)));
        if unmounted.is_err() {
            // A failed test may have left something open. Lazily, so that no loop device stays behind.
            let _ = run(Command::new("umount").arg("-l").arg(&self.mountpoint));
        }
        if !std::thread::panicking() {
            unmounted.expect("nothing keeps the pool open once its driver is dropped");
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))) }
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
        self.driver.list().await.unwrap()
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

/// Tries until it works, or the deadline has passed.
fn retry<T>(mut attempt: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(_) if start.elapsed() < DEADLINE => std::thread::yield_now(),
            result => return result,
        }
    }
}

/// Waits until the condition holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}
