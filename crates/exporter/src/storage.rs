//! The bytes behind an export: one open file or block device, read and written by position.
//!
//! Not here: who may ask (`exports`), and the wire (`protocol`).
//!
//! Invariants:
//! - every connection of an export shares one [`Storage`], so a flush on one covers the writes of all (multi-conn);
//! - a flush that failed once fails for ever: the kernel may have dropped the pages and would call the next one a success;
//! - no call here holds a lock, and any call may block as long as the backing does.
//!
//! Source: NBD protocol document, "Request types"; reliability page, "EIO on fsync: stop, never retry the fsync".

use crate::points::{FLUSH, WRITE};
use crate::protocol::request::{Errno, Extent};
use crate::seldom::Seldom;
use folder_lock::Former;
use rustix::fs::{Advice, FallocateFlags, SeekFrom};
use rustix::io::ReadWriteFlags;
use std::fs::{File, Metadata};
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How many zeroes are written at a time where the file system cannot make them itself: large enough that the calls do not
/// count, small enough that a fence is seen soon.
const ZEROES_LENGTH: usize = 1 << 20;
/// How many extents one answer tells: 8 KiB of reply. The client asks again for the rest.
const EXTENTS_MAX: usize = 1024;
/// The smallest page of the architectures that we know: a write of whole ones needs nothing read first.
pub(crate) const PAGE: u64 = 4096;

/// An open backing.
#[derive(Debug)]
pub(crate) struct Storage {
    file: File,
    identity: Identity,
    read_only: bool,
    /// A flush has failed: see the module's invariants.
    is_broken: AtomicBool,
}

/// What makes a backing the same one, whatever its name. A file's number is not given to another while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    File { device: u64, inode: u64 },
    Device(u64),
}

impl Identity {
    /// Nothing if it can be no backing.
    fn of(facts: &Metadata) -> Option<Self> {
        let kind = facts.file_type();
        if kind.is_block_device() {
            return Some(Self::Device(facts.rdev()));
        }
        kind.is_file().then(|| Self::File { device: facts.dev(), inode: facts.ino() })
    }
}

impl Storage {
    /// Opens the backing. Neither follows it through a FIFO that nobody writes (it would hang) nor makes it.
    pub(crate) fn open(path: &Path, read_only: bool) -> io::Result<Self> {
        let unfit = || io::Error::new(io::ErrorKind::InvalidInput, "it is neither a regular file nor a block device");
        Identity::of(&std::fs::metadata(path)?).ok_or_else(unfit)?;
        let file = File::options().read(true).write(!read_only).open(path)?;
        let identity = Identity::of(&file.metadata()?).ok_or_else(unfit)?;
        Ok(Self { file, identity, read_only, is_broken: AtomicBool::new(false) })
    }

    /// Whether the path leads to this backing. True when in doubt: where nothing is that can be served, nothing has replaced it.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        let there = std::fs::metadata(path).ok().and_then(|facts| Identity::of(&facts));
        there.is_none_or(|there| there == self.identity)
    }

    /// Which dead process has a system call on it under way: a write may come from it still.
    pub(crate) fn at_work(&self, former: &Former) -> Option<u32> {
        former.at_work_on(&self.file)
    }

    /// The number of the device that it is on, or is.
    pub(crate) const fn device(&self) -> u64 {
        match self.identity {
            Identity::File { device, .. } | Identity::Device(device) => device,
        }
    }

    /// Whether it was opened for reading only.
    pub(crate) const fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Its present size in bytes. Seeking to the end works for files and block devices alike.
    pub(crate) fn size(&self) -> io::Result<u64> {
        Ok(rustix::fs::seek(&self.file, SeekFrom::End(0))?)
    }

    /// Fills `buffer` if all of it is in the page cache; false if reading it would block, or cannot be done without.
    pub(crate) fn read_cached(&self, offset: u64, buffer: &mut [u8]) -> bool {
        let length = buffer.len();
        rustix::io::preadv2(&self.file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) == Ok(length)
    }

    /// Fills `buffer`.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        self.file.read_exact_at(buffer, offset).map_err(|error| wire(&error))
    }

    /// Writes all of `data`; with `durable` it is on stable storage before this returns.
    pub(crate) fn write(&self, offset: u64, data: &[u8], durable: bool) -> Result<(), Errno> {
        WRITE.before.try_pass().map_err(|error| wire(&error))?;
        self.put(offset, data, durable)?;
        WRITE.after.try_pass().map_err(|error| wire(&error))
    }

    fn put(&self, offset: u64, data: &[u8], durable: bool) -> Result<(), Errno> {
        if !durable {
            return self.file.write_all_at(data, offset).map_err(|error| wire(&error));
        }
        // One call does both for the usual case; what a short write leaves goes the long way.
        let written = rustix::io::pwritev2(&self.file, &[IoSlice::new(data)], offset, ReadWriteFlags::DSYNC);
        match written {
            Ok(length) if length == data.len() && !self.is_broken.load(Ordering::SeqCst) => Ok(()),
            Err(rustix::io::Errno::IO) => Err(self.broken()),
            _ => {
                self.file.write_all_at(data, offset).map_err(|error| wire(&error))?;
                self.flush()
            }
        }
    }

    /// Makes everything written so far durable.
    pub(crate) fn flush(&self) -> Result<(), Errno> {
        if self.read_only {
            return Ok(());
        }
        if self.is_broken.load(Ordering::SeqCst) {
            return Err(Errno::Io);
        }
        let synced = FLUSH.take(|| rustix::fs::fdatasync(&self.file).map_err(std::io::Error::from));
        synced.map_err(|_| self.broken())
    }

    fn broken(&self) -> Errno {
        if !self.is_broken.swap(true, Ordering::SeqCst) {
            tracing::error!("the backing of an export could not be flushed; every further flush of it is refused");
        }
        Errno::Io
    }

    /// Gives the range back to the file system where that can be done; a hint, so "cannot" is fine.
    pub(crate) fn trim(&self, offset: u64, length: u32) -> Result<(), Errno> {
        match self.allocate(FallocateFlags::PUNCH_HOLE, offset, length) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(wire(&error.into())),
        }
    }

    /// Makes the range read as zeroes. `no_hole`: it stays allocated. `fast`: [`Errno::NotSupported`] rather than write them.
    /// `go_on` is asked between the pieces of a slow one.
    pub(crate) fn zero(&self, offset: u64, length: u32, how: Zeroing, go_on: impl Fn() -> bool) -> Result<(), Errno> {
        let punch = !how.no_hole && self.allocate(FallocateFlags::PUNCH_HOLE, offset, length).is_ok();
        if punch || self.allocate(FallocateFlags::ZERO_RANGE, offset, length).is_ok() {
            return Ok(());
        }
        if how.fast {
            return Err(Errno::NotSupported);
        }
        let zeroes = vec![0; ZEROES_LENGTH.min(usize::try_from(length).expect("64-bit"))];
        let end = offset + u64::from(length);
        let mut at = offset;
        while at < end {
            if !go_on() {
                return Err(Errno::Shutdown);
            }
            let piece = usize::try_from(end - at).expect("64-bit").min(zeroes.len());
            self.write(at, &zeroes[..piece], false)?;
            at += u64::try_from(piece).expect("64-bit");
        }
        Ok(())
    }

    fn allocate(&self, how: FallocateFlags, offset: u64, length: u32) -> rustix::io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        rustix::fs::fallocate(&self.file, how | FallocateFlags::KEEP_SIZE, offset, u64::from(length))
    }

    /// Asks the kernel to have the range in the page cache; a hint.
    pub(crate) fn cache(&self, offset: u64, length: u32) -> Result<(), Errno> {
        let Some(length) = NonZeroU64::new(u64::from(length)) else { return Ok(()) };
        rustix::fs::fadvise(&self.file, offset, Some(length), Advice::WillNeed).map_err(|error| wire(&error.into()))
    }

    /// Whether nothing at all is allocated in the range, so that it reads as zeroes. False when in doubt.
    pub(crate) fn is_hole(&self, offset: u64, length: u32) -> bool {
        let end = offset + u64::from(length);
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => data >= end,
            // No data from here to the end of the file, provided that the file reaches that far: one that shrank does not.
            Err(rustix::io::Errno::NXIO) => self.size().is_ok_and(|size| size >= end),
            Err(_) => false,
        }
    }

    /// What is allocated in the range, from its start: at least one extent, at most [`EXTENTS_MAX`], or one with `one`.
    pub(crate) fn extents(&self, offset: u64, length: u32, one: bool) -> Vec<Extent> {
        let end = offset + u64::from(length);
        let limit = if one { 1 } else { EXTENTS_MAX };
        let mut extents: Vec<Extent> = Vec::new();
        let mut at = offset;
        while at < end && extents.len() < limit {
            let (next, hole) = self.extent_at(at, end);
            extents.push(Extent { length: u32::try_from(next - at).expect("inside the range"), hole });
            at = next;
        }
        extents
    }

    /// Where the extent at `at` ends (no later than `end`, and after `at`), and whether it is a hole. In doubt: data.
    fn extent_at(&self, at: u64, end: u64) -> (u64, bool) {
        match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
            Ok(data) if data > at => (data.min(end), true),
            Ok(_) => {
                let hole = rustix::fs::seek(&self.file, SeekFrom::Hole(at)).unwrap_or(end);
                (if hole > at { hole.min(end) } else { end }, false)
            }
            Err(rustix::io::Errno::NXIO) => (end, true),
            Err(_) => (end, false),
        }
    }
}

/// How zeroes are to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zeroing {
    /// The range stays allocated.
    pub(crate) no_hole: bool,
    /// Fail rather than write them one by one.
    pub(crate) fast: bool,
}

/// The wire's error for a system's. Source: protocol document, "Error values" (EDQUOT and EFBIG become ENOSPC).
fn wire(error: &io::Error) -> Errno {
    use rustix::io::Errno as System;
    match error.raw_os_error().map(System::from_raw_os_error) {
        Some(System::NOSPC | System::DQUOT | System::FBIG) => Errno::NoSpace,
        Some(System::NOMEM) => Errno::NoMemory,
        Some(System::PERM | System::ACCESS | System::ROFS) => Errno::Perm,
        _ => {
            static FAILURES: Seldom = Seldom::new();
            if let Some(requests) = FAILURES.due(Instant::now()) {
                tracing::warn!(%error, requests, "the backing of an export failed requests");
            }
            Errno::Io
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(length: u64) -> (tempfile::NamedTempFile, Storage) {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.as_file().set_len(length).expect("it can be sized");
        let storage = Storage::open(file.path(), false).expect("it opens");
        (file, storage)
    }

    #[test]
    fn extents_cover_the_range_from_its_start_in_order() {
        let (_file, storage) = storage(1 << 20);
        storage.write(256 << 10, &[1; 64 << 10], true).expect("room");
        let extents = storage.extents(128 << 10, 512 << 10, false);
        let expected = [(128 << 10, true), (64 << 10, false), (320 << 10, true)];
        assert_eq!(extents.iter().map(|e| (e.length, e.hole)).collect::<Vec<_>>(), expected);
        assert_eq!(storage.extents(0, 1 << 20, true).len(), 1);
        assert!(storage.is_hole(0, 256 << 10) && !storage.is_hole(0, 257 << 10));
    }

    #[test]
    fn a_range_beyond_a_file_that_shrank_is_no_hole() {
        let (file, storage) = storage(1 << 20);
        file.as_file().set_len(4096).expect("it shrinks");
        assert!(!storage.is_hole(512 << 10, 4096));
        assert_eq!(storage.read(512 << 10, &mut [0; 16]), Err(Errno::Io));
    }

    #[test]
    fn zeroes_replace_what_was_there() {
        let (_file, storage) = storage(1 << 20);
        for no_hole in [false, true] {
            storage.write(0, &[7; 8192], false).expect("room");
            storage.zero(1000, 3000, Zeroing { no_hole, fast: false }, || true).expect("it can");
            let mut read = [9; 8192];
            storage.read(0, &mut read).expect("it reads");
            assert!(read[..1000].iter().all(|byte| *byte == 7) && read[1000..4000].iter().all(|byte| *byte == 0));
            assert!(read[4000..].iter().all(|byte| *byte == 7));
        }
    }

    #[test]
    fn a_flush_that_failed_once_fails_for_ever() {
        let (_file, storage) = storage(4096);
        assert_eq!(storage.flush(), Ok(()));
        storage.broken();
        assert_eq!(storage.flush(), Err(Errno::Io));
        assert_eq!(storage.write(0, &[1], true), Err(Errno::Io));
    }

    #[test]
    fn a_file_that_another_was_put_in_the_place_of_is_known() {
        let (file, storage) = storage(4096);
        let aside = file.path().with_extension("aside");
        assert!(storage.is_at(file.path()));
        std::fs::rename(file.path(), &aside).expect("the same folder");
        assert!(storage.is_at(&aside) && storage.is_at(file.path()), "nothing has taken its place");
        std::fs::copy(&aside, file.path()).expect("room");
        assert!(storage.is_at(&aside) && !storage.is_at(file.path()));
        std::fs::rename(&aside, file.path()).expect("the same folder");
        assert!(storage.is_at(file.path()), "it is back");
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Storage::open(folder.path(), true).is_err());
        assert!(Storage::open(&folder.path().join("absent"), true).is_err());
    }
}
