//! Where a data plane lives in its data folder: its lock, its control socket, its log.
//!
//! Invariants:
//! - a data plane holds the lock from before its first export to its end, and the kernel lets go of it when the process ends, however
//!   it ends. So a lock that can be taken proves that no data plane of this folder serves anything;
//! - whoever only wants to know takes the lock shared and for no longer than the question.

use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a starting data plane waits for the lock: somebody may be asking whether it is held, or the former process is just ending.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The data folder as a data plane and its controller see it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    folder: PathBuf,
}

/// The lock of a data plane, held until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Place {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("data-plane.sock")
    }

    /// What a data plane that was started by its controller writes its log to.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("data-plane.log")
    }

    fn lock_path(&self) -> PathBuf {
        self.folder.join("data-plane.lock")
    }

    /// Takes the lock. Errors with [`io::ErrorKind::WouldBlock`] if another process holds it; its message names that process.
    pub(crate) fn lock(&self) -> io::Result<Lock> {
        let path = self.lock_path();
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let begun = Instant::now();
        while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK || begun.elapsed() > LOCK_PATIENCE {
                let holder = holder(&mut file).unwrap_or_else(|| "another process".into());
                let words = format!("{holder} is the data plane of {} already", self.folder.display());
                return Err(io::Error::new(io::Error::from(error).kind(), words));
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        file.set_len(0)?;
        writeln!(file, "{} berth data plane", std::process::id())?;
        Ok(Lock { file, path })
    }

    /// Whether it is proven that no data plane of this folder runs. False when in doubt.
    pub(crate) fn is_vacant(&self) -> bool {
        match File::open(self.lock_path()) {
            Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared).is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

impl Lock {
    /// Whether the folder is still there with this lock in it: if not, nobody will ever find this data plane again.
    pub(crate) fn is_in_place(&self) -> bool {
        let held = self.file.metadata().map(|held| (held.dev(), held.ino()));
        let there = std::fs::metadata(&self.path).map(|there| (there.dev(), there.ino()));
        match (held, there) {
            (Ok(held), Ok(there)) => held == there,
            (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => false,
            // A folder that cannot be looked at now is not one that is gone.
            (Err(_), _) | (_, Err(_)) => true,
        }
    }
}

fn holder(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.take(256).read_to_string(&mut text).ok()?;
    let pid: u32 = text.split_whitespace().next()?.parse().ok()?;
    Some(format!("process {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_told_and_a_free_one_proves_that_nobody_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path());
        assert!(place.is_vacant(), "there never was one");
        let lock = place.lock().unwrap();
        assert!(!place.is_vacant());
        let told = place.lock().unwrap_err();
        assert_eq!(told.kind(), io::ErrorKind::WouldBlock);
        assert!(told.to_string().contains(&format!("process {}", std::process::id())), "{told}");
        assert!(lock.is_in_place());
        drop(lock);
        assert!(place.is_vacant());
    }

    #[test]
    fn a_lock_whose_folder_was_removed_is_out_of_place() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("data");
        std::fs::create_dir(&inner).unwrap();
        let lock = Place::new(&inner).lock().unwrap();
        std::fs::remove_dir_all(&inner).unwrap();
        assert!(!lock.is_in_place());
        std::fs::create_dir(&inner).unwrap();
        let _newer = Place::new(&inner).lock().unwrap();
        assert!(!lock.is_in_place(), "another's lock is there now");
    }
}
