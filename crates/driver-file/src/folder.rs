//! A pool's folder: the system calls on its files, relative to the folder as it was opened.
//!
//! - The folder stays open and locked; every path is taken relative to it, never from the root, so that a file system mounted
//!   over it or moved away cannot make volumes seem gone.
//! - Symbolic links are never followed, and only regular files count as volumes.
//! - After a directory could not be synced nothing here works any more: what the disk holds is not known, and a repeated sync
//!   would say "fine" without having written what the first one lost.
//!
//! Deliberately not here: which step is taken when, and whether it may be.

use crate::names::{FileName, is_shard, shard};
use crate::options::OpenError;
use crate::stop::is_full;
use lifecycle::VolumeId;
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::fs::{flock, fsync, ioctl_ficlone, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Volumes hold other people's data: nobody but the owner reads them.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const FOLDER_MODE: Mode = Mode::RWXU;
/// The two files that reflinks are tried with. They carry no id, so they are never taken for a volume.
const PROBES: [&str; 2] = ["reflink-probe-from.tmp", "reflink-probe-to.tmp"];
/// The file that is written to find out whether the file system works. It carries no id either.
const WORKS: &str = "works-probe.tmp";
/// How often, and how far apart, opening a file is tried while it is leased: a thousand times what that takes.
const LEASE_WAITS: usize = 100;
const LEASE_PAUSE: Duration = Duration::from_millis(1);
/// How much the probe clones: one block of any file system.
static PROBE_BYTES: [u8; 65_536] = [0x5a; 65_536];

/// A pool's folder, open and locked.
pub(crate) struct Folder {
    root: File,
    path: PathBuf,
    /// The directories known to be on the disk.
    shards: Mutex<BTreeSet<String>>,
    /// Why nothing works any more.
    stopped: OnceLock<String>,
}

/// What a look at one file told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileFacts {
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Whether it is a regular file.
    pub(crate) is_regular: bool,
}

impl Folder {
    /// Opens the folder, made if missing, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Unusable { folder: path.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE.bits()).create(path).map_err(unusable)?;
        let absolute = path.canonicalize().map_err(unusable)?;
        let directory = i32::try_from(OFlags::DIRECTORY.bits()).expect("O_DIRECTORY is a small number");
        let root = std::fs::OpenOptions::new().read(true).custom_flags(directory).open(&absolute).map_err(unusable)?;
        match flock(&root, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { root, path: absolute, shards: Mutex::default(), stopped: OnceLock::new() }),
            Err(Errno::WOULDBLOCK) => Err(OpenError::InUse { folder: path.to_owned() }),
            Err(error) => Err(unusable(error.into())),
        }
    }

    /// The folder itself, for asking how full its file system is.
    pub(crate) const fn root(&self) -> &File {
        &self.root
    }

    /// Tries with real files whether they can be made, and whether a file can share another's blocks.
    ///
    /// A full disk is no reason not to open (deleting is what helps then): without room to try, reflinks count as absent.
    pub(crate) fn probe_reflink(&self) -> io::Result<bool> {
        let tried = self.try_reflink();
        for probe in PROBES {
            match unlinkat(&self.root, probe, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match tried.as_ref().map_err(Errno::from_io_error) {
            Ok(()) => Ok(true),
            Err(Some(
                Errno::OPNOTSUPP | Errno::NOTTY | Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::NOSPC | Errno::DQUOT,
            )) => Ok(false),
            Err(_) => tried.map(|()| true),
        }
    }

    fn try_reflink(&self) -> io::Result<()> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let [from, to] = PROBES.map(|name| openat(&self.root, name, flags, FILE_MODE).map(File::from));
        let (from, to) = (from?, to?);
        from.write_all_at(&PROBE_BYTES, 0)?;
        ioctl_ficlone(&to, &from)?;
        let mut read = [0; PROBE_BYTES.len()];
        to.read_exact_at(&mut read, 0)?;
        if read == PROBE_BYTES { Ok(()) } else { Err(Errno::OPNOTSUPP.into()) }
    }

    /// Writes one small file and puts it on the disk: what every change of a volume needs, so that a file system that hangs, or no
    /// longer takes writes, shows here too. A full one works.
    pub(crate) fn try_writing(&self) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = openat(&self.root, WORKS, flags, FILE_MODE).map(File::from).map_err(io::Error::from);
        match opened.and_then(|file| file.write_all_at(b"!", 0).and_then(|()| file.sync_data())) {
            Err(error) if is_full(&error) => Ok(()),
            tried => tried,
        }
    }

    /// Why nothing works any more, if so.
    pub(crate) fn stopped(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }

    /// Where others find the file.
    pub(crate) fn path_of(&self, name: FileName) -> PathBuf {
        self.path.join(name.path())
    }

    /// Makes a new, empty file, and the directory it is in. An existing file is an error.
    pub(crate) fn create(&self, name: FileName) -> io::Result<File> {
        self.ensure_shard(shard(name.object.volume))?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.root, name.path(), flags, FILE_MODE)?.into())
    }

    /// Makes a volume's directory and puts its name on the disk. The lock is held over that, so that nobody relies on a directory
    /// that a power cut could still take.
    fn ensure_shard(&self, shard: String) -> io::Result<()> {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        match mkdirat(&self.root, shard.as_str(), FOLDER_MODE) {
            Err(Errno::EXIST) if shards.contains(&shard) => return Ok(()),
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        self.sync_directory_at(&self.root)?;
        shards.insert(shard);
        Ok(())
    }

    /// Opens a regular file, for reading or for both; nothing if it is not there.
    pub(crate) fn open_file(&self, name: FileName, access: OFlags) -> io::Result<Option<File>> {
        // Without NONBLOCK, opening a pipe that somebody put there would wait for ever. Regular files do not care.
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut opened = openat(&self.root, name.path(), flags, Mode::empty());
        // Another thread may be asking who uses it (`lease`), for some microseconds.
        for _ in 0..LEASE_WAITS {
            if opened.as_ref().err() != Some(&Errno::AGAIN) {
                break;
            }
            std::thread::sleep(LEASE_PAUSE);
            opened = openat(&self.root, name.path(), flags, Mode::empty());
        }
        let Some(file) = absent(opened)?.map(File::from) else { return Ok(None) };
        if file.metadata()?.is_file() { Ok(Some(file)) } else { Err(io::Error::other("it is no regular file")) }
    }

    /// Looks at a file; nothing if it is not there.
    pub(crate) fn look(&self, name: FileName) -> io::Result<Option<FileFacts>> {
        let Some(facts) = absent(statat(&self.root, name.path(), AtFlags::SYMLINK_NOFOLLOW))? else { return Ok(None) };
        let size = u64::try_from(facts.st_size).map_err(|_| io::Error::from(Errno::OVERFLOW))?;
        Ok(Some(FileFacts { size, is_regular: FileType::from_raw_mode(facts.st_mode).is_file() }))
    }

    /// Renames a file, replacing what has the new name.
    pub(crate) fn rename(&self, from: FileName, to: FileName) -> io::Result<()> {
        Ok(renameat(&self.root, from.path(), &self.root, to.path())?)
    }

    /// Removes a file; tells whether it was there.
    pub(crate) fn unlink(&self, name: FileName) -> io::Result<bool> {
        absent(unlinkat(&self.root, name.path(), AtFlags::empty())).map(|was| was.is_some())
    }

    /// Puts on the disk which names a volume's directory holds.
    pub(crate) fn sync(&self, volume: VolumeId) -> io::Result<()> {
        match self.open_shard(&shard(volume))? {
            Some(directory) => self.sync_directory_at(&directory),
            None => self.sync_directory_at(&self.root),
        }
    }

    fn sync_directory_at(&self, directory: &File) -> io::Result<()> {
        fsync(directory).map_err(|error| {
            let error = io::Error::from(error);
            self.stop(&format!("a directory could not be put on the disk ({error})"));
            error
        })
    }

    /// From now on nothing works, for this reason.
    pub(crate) fn stop(&self, why: &str) {
        if self.stopped.set(format!("{why}; check the disk, then restart")).is_ok() {
            tracing::error!(folder = %self.path.display(), why, "the pool stops");
        }
    }

    /// Every file of the volume and its snapshots. Its lock must be held, or files that are renamed meanwhile may be missed.
    pub(crate) fn files_of(&self, volume: VolumeId) -> io::Result<BTreeSet<FileName>> {
        let mut names = self.read_shard(&shard(volume))?;
        names.retain(|name| name.object.volume == volume);
        Ok(names)
    }

    /// The directories that volumes can be in, those that exist.
    pub(crate) fn shards(&self) -> io::Result<Vec<String>> {
        let mut shards = Vec::new();
        for entry in Dir::read_from(&self.root)? {
            let entry = entry?;
            shards.extend(entry.file_name().to_str().ok().filter(|name| is_shard(name)).map(str::to_owned));
        }
        Ok(shards)
    }

    /// Every file of ours in one directory.
    pub(crate) fn read_shard(&self, shard_name: &str) -> io::Result<BTreeSet<FileName>> {
        let mut names = BTreeSet::new();
        let Some(directory) = self.open_shard(shard_name)? else { return Ok(names) };
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_str().ok().and_then(FileName::parse);
            names.extend(name.filter(|name| shard(name.object.volume) == shard_name));
        }
        Ok(names)
    }

    fn open_shard(&self, shard: &str) -> io::Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        absent(openat(&self.root, shard, flags, Mode::empty())).map(|directory| directory.map(File::from))
    }
}

/// Takes "not there" for an answer.
fn absent<T>(answer: Result<T, Errno>) -> io::Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
