//! Where a data plane lives in its data folder: its lock, its control socket, its log.
//!
//! Invariants:
//! - a data plane holds the lock from before its first export to its end, and the kernel lets go of it when the process ends, however
//!   it ends. So a lock that can be taken proves that no data plane of this folder serves anything;
//! - so does a lock whose holder is dead but for threads that wait in the kernel for a file system that hangs: nothing of it is
//!   accepted or answered any more. Each of those threads may still complete the one write that it is in. Its client was not told
//!   that it is done, and so may find it done or not, as after any lost connection; but nothing that the client writes later may be
//!   overtaken by it, so the volume that it is on is not exported before it is through ([`folder_lock::Former`]);
//! - whoever only wants to know takes the lock shared and for no longer than the question.

use folder_lock::{Lock, LockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a starting data plane waits for the lock: somebody may be asking whether it is held, or the former process is just ending.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The data folder as a data plane and its controller see it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    folder: PathBuf,
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
        folder_lock::take(&self.lock_path(), "berth data plane", LOCK_PATIENCE).map_err(|error| match error {
            LockError::Io(error) => error,
            LockError::Held(holder) => {
                let holder = holder.map_or_else(|| "another process".into(), |pid| format!("process {pid}"));
                let words = format!("{holder} is the data plane of {} already", self.folder.display());
                io::Error::new(io::ErrorKind::WouldBlock, words)
            }
        })
    }

    /// Whether it is proven that no data plane of this folder serves. False when in doubt.
    pub(crate) fn is_vacant(&self) -> bool {
        folder_lock::is_free(&self.lock_path())
    }
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
