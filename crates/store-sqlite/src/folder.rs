//! The data folder's other files: the lock that keeps a second process out, and the ballast that is let go of when the disk is full.
//!
//! Not here: the database itself. Invariants:
//! - the lock is nobody's who is dead, also of one killed while its threads hang in a file system: see the crate `folder-lock`;
//! - the ballast has real blocks or does not exist: a sparse one would free nothing.

use crate::OpenError;
use folder_lock::{Lock, LockError};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

const LOCK_NAME: &str = "lock";
const BALLAST_NAME: &str = "ballast";

/// How long a lock is waited for: a process that was killed while it started another leaves it to that one, until that runs its own
/// program, which is a moment even on a busy machine.
const INHERITED_FOR: Duration = Duration::from_secs(1);

/// The ballast is made again when this many times its size is free, so that it does not itself fill the disk, be let go of, and so on.
const ROOM_FOR_BALLAST: u64 = 2;

/// The piece in which a ballast is written where the file system cannot preallocate.
const BALLAST_PIECE: usize = 1 << 20;

/// Locks `folder`. Errors: [`OpenError::Locked`] naming the holder, [`OpenError::ReadOnly`], or what the system said.
pub(crate) fn lock(folder: &Path) -> Result<Lock, OpenError> {
    let path = folder.join(LOCK_NAME);
    folder_lock::take(&path, "berth store: held by the process of this number", INHERITED_FOR).map_err(|error| match error {
        LockError::Held(holder) => OpenError::Locked { folder: folder.to_owned(), holder },
        LockError::Io(error) => OpenError::from_io("lock", &path, error),
    })
}

/// The preallocated file that is let go of when the disk is full, so that work which frees space can still be recorded.
#[derive(Clone, Debug)]
pub(crate) struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    /// The ballast of `folder`, of `bytes`; whether it is there is for [`Ballast::make`] to see to.
    pub(crate) fn of(folder: &Path, bytes: u64) -> Self {
        Self { path: folder.join(BALLAST_NAME), bytes }
    }

    /// Makes the ballast if it is not there, whole, already. Returns whether it is there now: not if the disk has no room for it.
    ///
    /// `cautious` leaves as much room again: how it is made after the disk was full. Leaves nothing behind if it fails.
    pub(crate) fn make(&self, cautious: bool) -> io::Result<bool> {
        if self.is_whole() {
            return Ok(true);
        }
        if cautious && !self.has_room()? {
            return Ok(false);
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&self.path)?;
        match self.fill(&file).and_then(|()| file.sync_all()) {
            Ok(()) => Ok(true),
            Err(error) => {
                let full = error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded;
                self.release()?;
                if full { Ok(false) } else { Err(error) }
            }
        }
    }

    /// Lets go of it. Returns whether there was one.
    pub(crate) fn release(&self) -> io::Result<bool> {
        match std::fs::remove_file(&self.path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether it is there with all its blocks. A crash while it is made leaves fewer.
    fn is_whole(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        const BLOCK: u64 = 512;
        std::fs::metadata(&self.path).is_ok_and(|file| file.len() == self.bytes && file.blocks() * BLOCK >= self.bytes)
    }

    fn has_room(&self) -> io::Result<bool> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let disk = statvfs(folder)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize) >= self.bytes.saturating_mul(ROOM_FOR_BALLAST))
    }

    fn fill(&self, mut file: &File) -> io::Result<()> {
        match fallocate(file, FallocateFlags::empty(), 0, self.bytes) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let piece = vec![0; BALLAST_PIECE];
        let mut left = self.bytes;
        while left > 0 {
            let now = usize::try_from(left).map_or(BALLAST_PIECE, |left| left.min(BALLAST_PIECE));
            file.write_all(&piece[..now])?;
            left -= now as u64;
        }
        Ok(())
    }
}

impl OpenError {
    /// The error that a failure of the system at `path` amounts to.
    pub(crate) fn from_io(what: &'static str, path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { what, path, error },
        }
    }
}
