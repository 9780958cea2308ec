//! The lock of a folder: of all processes that would work in it, one does.
//!
//! Who holds it is known by the kernel, not by the file's content: a lock file left by a process that ended locks nobody out. One
//! case the kernel gets wrong for us: a process that was killed while one of its threads hangs in a file system keeps its files, and
//! with them its lock, until that file system answers. None of its own code runs again, so the lock is taken from it: a fresh file,
//! locked already, is renamed into the place of the one that it holds.
//!
//! What the dead one may still do is to complete the one system call that each of its threads is in. What such a call does was asked
//! for before, and its asker was never answered. Whom it matters to that none comes any more asks [`Former`].
//!
//! Invariants:
//! - a lock is taken, named and taken over behind a lock on the folder itself, so that a name in the file is always its holder's, and
//!   of two who would take over one does;
//! - only a process whose every thread was seen to be beyond its own code is dead: see `holder`.

#![forbid(unsafe_code)]

mod holder;

use holder::Holder;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How soon a lock that is held is looked at again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// A lock, held until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    former: Former,
}

/// Former holders of a lock that may not have left the kernel yet.
#[derive(Clone, Debug, Default)]
pub struct Former(Vec<Holder>);

/// Why a lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it, and lives; its number, if that is known.
    #[error("it is held by {}", .0.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")))]
    Held(Option<u32>),
    /// It cannot be opened or locked.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Takes the lock that is the file at `path`, which is made if need be; one that is held is waited for as long as `patience`. `title`
/// tells people what the file is.
///
/// # Errors
/// [`LockError`].
pub fn take(path: &Path, title: &str, patience: Duration) -> Result<Lock, LockError> {
    let begun = Instant::now();
    loop {
        match attempt(path, title)? {
            Ok(lock) => return Ok(lock),
            Err(holder) if begun.elapsed() >= patience => return Err(LockError::Held(holder)),
            Err(_) => std::thread::sleep(LOOK_AGAIN_AFTER),
        }
    }
}

/// Whether it is proven that nobody holds the lock who can still do anything of its own. False when in doubt.
#[must_use]
pub fn is_free(path: &Path) -> bool {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return error.kind() == io::ErrorKind::NotFound,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        // Between the opening and the locking another may have come in its place.
        Ok(()) => is_same(&file, path).unwrap_or(false),
        Err(Errno::WOULDBLOCK) => Holder::named_in(&file).is_some_and(Holder::is_dead) && is_same(&file, path).unwrap_or(false),
        Err(_) => false,
    }
}

/// One try. Errors: who holds it.
fn attempt(path: &Path, title: &str) -> io::Result<Result<Lock, Option<u32>>> {
    let Some(guard) = Guard::take(path)? else { return Ok(Err(None)) };
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            let former = Holder::all_named_in(&file);
            Ok(Ok(Lock::named(file, path, title, former)))
        }
        Err(Errno::WOULDBLOCK) => {
            let holder = Holder::named_in(&file);
            match holder.filter(|holder| guard.excludes_others && holder.is_dead()) {
                Some(dead) => take_over(path, title, dead, Holder::all_named_in(&file)).map(Ok),
                None => Ok(Err(holder.map(|holder| holder.pid))),
            }
        }
        Err(errno) => Err(errno.into()),
    }
}

fn take_over(path: &Path, title: &str, dead: Holder, former: Vec<Holder>) -> io::Result<Lock> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    // Left by one that died just here.
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&fresh)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let lock = Lock::named(file, path, title, former);
    std::fs::rename(&fresh, path)?;
    tracing::warn!(
        process = dead.pid,
        lock = %path.display(),
        "the lock is taken from a process that is dead, but for threads that wait in the kernel for a file system that hangs"
    );
    dead.let_go();
    Ok(lock)
}

/// The lock on the folder, behind which its locks change hands.
struct Guard {
    /// Not where folders cannot be locked, as over NFS: nothing is taken over there.
    excludes_others: bool,
    _folder: File,
}

impl Guard {
    /// Nothing if another has it just now.
    fn take(path: &Path) -> io::Result<Option<Self>> {
        let folder = File::open(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { excludes_others: true, _folder: folder })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(_) => Ok(Some(Self { excludes_others: false, _folder: folder })),
        }
    }
}

impl Lock {
    /// A file that is locked, with its holder's name in it, and those of former ones that are in the kernel still.
    fn named(mut file: File, path: &Path, title: &str, mut former: Vec<Holder>) -> Self {
        former.retain(|holder| holder.is_there() && holder.pid != std::process::id());
        let name = format!("{} {title}\n", Holder::this());
        let text = former.iter().fold(name, |text, holder| format!("{text}{holder}\n"));
        let named = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes()));
        // The lock holds without its name; on a full disk nobody can tell by whom.
        if let Err(error) = named {
            tracing::debug!(%error, path = %path.display(), "the lock is held, but its file does not say by whom");
        }
        Self { file, path: path.to_owned(), former: Former(former) }
    }

    /// Who held it before, and may be in the kernel still.
    #[must_use]
    pub fn former(&self) -> Former {
        self.former.clone()
    }

    /// Whether the folder is still there with this lock in it: if not, nobody will ever find its holder again.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        // A folder that cannot be looked at now is not one that is gone.
        is_same(&self.file, &self.path).unwrap_or_else(|error| error.kind() != io::ErrorKind::NotFound)
    }
}

impl Former {
    /// The process of them that is in a system call on this file: what that does to the file may come at any time.
    #[must_use]
    pub fn at_work_on(&self, file: &File) -> Option<u32> {
        self.0.iter().find(|holder| holder.is_at_work_on(file)).map(|holder| holder.pid)
    }
}

fn is_same(file: &File, path: &Path) -> io::Result<bool> {
    let (held, there) = (file.metadata()?, std::fs::metadata(path)?);
    Ok((held.dev(), held.ino()) == (there.dev(), there.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_who_is_named_and_is_free_after() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(is_free(&path), "there never was one");
        let lock = take(&path, "test", Duration::ZERO).unwrap();
        assert!(!is_free(&path));
        let told = take(&path, "test", Duration::ZERO).unwrap_err();
        assert!(matches!(told, LockError::Held(Some(pid)) if pid == std::process::id()), "{told}");
        assert!(lock.is_in_place());
        drop(lock);
        assert!(is_free(&path));
        take(&path, "test", Duration::ZERO).unwrap();
    }

    #[test]
    fn what_is_written_in_a_lock_takes_it_from_nobody_alive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let _lock = take(&path, "test", Duration::ZERO).unwrap();
        // A process that is not there, one that lives, none at all.
        for named in ["4194304 1 test", "1 1 test", "1 test", "", "rubbish"] {
            std::fs::write(&path, named).unwrap();
            assert!(!is_free(&path) && take(&path, "test", Duration::ZERO).is_err(), "{named:?}");
        }
    }

    #[test]
    fn a_lock_is_taken_over_from_a_dead_one_by_one_of_many() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        // A zombie, whose lock another holds for it, as its hanging threads would.
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let zombie = loop {
            match Holder::of(child.id()) {
                Some(holder) if holder.is_dead() => break holder,
                Some(_) | None => std::thread::yield_now(),
            }
        };
        let file = File::create(&path).unwrap();
        flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        writeln!(&file, "{zombie} test").unwrap();
        assert!(is_free(&path));
        let taking: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || take(&path, "test", Duration::from_millis(200)))
            })
            .collect();
        let taken: Vec<_> = taking.into_iter().map(|taking| taking.join().unwrap()).filter_map(Result::ok).collect();
        assert_eq!(taken.len(), 1);
        assert!(taken[0].is_in_place() && !is_free(&path));
        child.wait().unwrap();
    }
}
