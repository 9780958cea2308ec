//! What tests stand on: mounted file systems of their own, waiting for a condition, kept inputs. A dev-dependency, never part of the binary.
//!
//! - A [`Ground`] is made from a sparse file, mounted by loop, and unmounted when dropped; nothing stays behind.
//! - Where mounting is not permitted the test says `skipped:`; in CI that is a failure.
//! - Nothing here sleeps for a time: [`retry`] and [`wait_until`] wait for a condition with a deadline.

#![forbid(unsafe_code)]

pub mod corpus;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// 1,048,576 bytes.
pub const MIB: u64 = 1 << 20;
/// How long a condition may take to come true before the test gives up.
const DEADLINE: Duration = Duration::from_secs(20);

/// Which file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// XFS with reflinks. At least 320 MiB: it takes no less.
    Xfs,
    /// ext4, which has no reflinks.
    Ext4,
}

/// A file system of a test's own, mounted from a sparse file; unmounted when dropped.
pub struct Ground {
    /// Which file system it is.
    pub kind: Kind,
    image: PathBuf,
    mountpoint: PathBuf,
    _folder: TempDir,
}

impl Ground {
    /// Makes and mounts one of `mib` MiB; nothing, after saying so, if that is not permitted here.
    ///
    /// # Panics
    /// In CI (`CI=true`) if it is not permitted: there nothing is skipped.
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    #[must_use]
    pub fn new(kind: Kind, mib: u64) -> Option<Self> {
        match Self::mounted(kind, mib) {
            Ok(ground) => Some(ground),
            Err(why) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("cannot mount {kind:?}: {why}"),
            Err(why) => {
                eprintln!("skipped: cannot mount {kind:?}: {why}");
                None
            }
        }
    }

    fn mounted(kind: Kind, mib: u64) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (image, mountpoint) = (folder.path().join("image"), folder.path().join("mounted"));
        File::create(&image).and_then(|file| file.set_len(mib * MIB)).map_err(|error| error.to_string())?;
        std::fs::create_dir(&mountpoint).map_err(|error| error.to_string())?;
        let (program, options): (_, &[&str]) = match kind {
            Kind::Xfs => ("mkfs.xfs", &["-q", "-m", "reflink=1"]),
            Kind::Ext4 => ("mkfs.ext4", &["-q", "-b", "1024", "-m", "0"]),
        };
        run(Command::new(program).args(options).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mountpoint))?;
        Ok(Self { kind, image, mountpoint, _folder: folder })
    }

    /// Its root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.mountpoint
    }

    /// How many bytes are free on it.
    ///
    /// # Panics
    /// If it cannot be asked.
    #[must_use]
    pub fn free(&self) -> u64 {
        let facts = rustix::fs::statvfs(&self.mountpoint).expect("a mounted file system tells its facts");
        facts.f_bavail * facts.f_frsize
    }

    /// Writes a file that leaves `left` bytes free, or as near as it gets.
    ///
    /// # Panics
    /// If it cannot be written for another reason than a full disk.
    pub fn fill(&self, name: &str, left: u64) {
        let file = File::create(self.mountpoint.join(name)).expect("an empty file needs no room");
        let (mut at, mut step) = (0, MIB);
        while step >= 512 {
            let block = vec![7; usize::try_from(step).expect("a MiB fits")];
            if self.free() >= left + step && file.write_all_at(&block, at).is_ok() {
                at += step;
            } else {
                step /= 2;
            }
        }
        // What no longer fits was refused by the last writes; a sync turns promises of room into blocks.
        file.sync_all().expect("what was written has its blocks");
    }

    /// Takes such a file away again.
    ///
    /// # Panics
    /// If there is none.
    pub fn unfill(&self, name: &str) {
        std::fs::remove_file(self.mountpoint.join(name)).expect("it was filled with it");
    }

    /// What makes every write and sync on it fail from then on, as a broken disk does. Comes with `mkfs.xfs`.
    pub fn breaker(&self) -> impl Fn() + Send + Sync + use<> {
        let (kind, mountpoint) = (self.kind, self.mountpoint.clone());
        move || {
            let foreign = (kind == Kind::Ext4).then_some("-F");
            run(Command::new("xfs_io").args(foreign).args(["-x", "-c", "shutdown"]).arg(&mountpoint)).expect("it can be broken");
        }
    }

    /// Freezes it: whoever writes to it hangs, beyond any signal, until what is returned is dropped.
    ///
    /// # Panics
    /// If it cannot be frozen.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        run(Command::new("fsfreeze").arg("-f").arg(&self.mountpoint)).expect("a mounted file system can be frozen");
        Frozen(self.mountpoint.clone())
    }

    /// Makes it read-only under those who write, as ext4 does when it finds itself damaged; what was written before can be read.
    ///
    /// # Panics
    /// If it is not ext4.
    pub fn abort(&self) {
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.mountpoint)).expect("ext4 can be aborted");
    }

    /// Unmounts and mounts it again, as whoever mends a disk does.
    ///
    /// # Panics
    /// If a file on it stays open.
    pub fn mount_again(&self) {
        // What was ended a moment ago may still be closing its files.
        retry(|| run(Command::new("umount").arg(&self.mountpoint))).expect("nobody uses it");
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mountpoint)).expect("it was mounted before");
    }

    /// Makes it read-only.
    ///
    /// # Panics
    /// If a file on it stays open for writing.
    pub fn forbid_writing(&self) {
        // What was dropped a moment ago may still be closing its files.
        retry(|| run(Command::new("mount").args(["-o", "remount,ro"]).arg(&self.mountpoint))).expect("nobody writes");
    }
}

/// A frozen file system; it thaws when this is dropped.
pub struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        // Also while a test fails: or it could not be unmounted, and whoever writes to it not be killed.
        run(Command::new("fsfreeze").arg("-u").arg(&self.0)).expect("what was frozen can be thawed");
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
            unmounted.expect("nothing keeps it open once what stood on it is dropped");
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))) }
}

/// Tries until it works, or the deadline has passed.
///
/// # Errors
/// Those of the last try.
pub fn retry<T>(mut attempt: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(_) if start.elapsed() < DEADLINE => std::thread::yield_now(),
            result => return result,
        }
    }
}

/// Waits until the condition holds.
///
/// # Panics
/// If it does not within 20 s.
#[track_caller]
pub fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}
