//! The file behind a device.

use crate::trouble::Trouble;
use rustix::fs::{FileType, Mode, OFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// An open backing.
#[derive(Debug)]
pub(crate) struct Backing {
    pub(crate) file: OwnedFd,
    pub(crate) identity: Identity,
}

/// What makes a file the same file, whatever its name: its device and inode. The kernel tells it of each loop device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl Backing {
    /// Opens it. May block as long as its file system does, but not for a FIFO that nobody writes.
    pub(crate) fn open(path: &Path, read_only: bool) -> Result<Self, Trouble> {
        let trouble = |source| Trouble::Backing { path: path.to_owned(), source };
        let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
        let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| trouble(errno.into()))?;
        let facts = rustix::fs::fstat(&file).map_err(|errno| trouble(errno.into()))?;
        if !matches!(FileType::from_raw_mode(facts.st_mode), FileType::RegularFile | FileType::BlockDevice) {
            let kind = io::Error::new(io::ErrorKind::InvalidInput, "it is neither a regular file nor a block device");
            return Err(trouble(kind));
        }
        // The device's own I/O is to wait as on any other file.
        rustix::fs::fcntl_setfl(&file, OFlags::empty()).map_err(|errno| trouble(errno.into()))?;
        Ok(Self { file, identity: Identity { device: facts.st_dev, inode: facts.st_ino } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_not_opened_and_nothing_is_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let absent = folder.path().join("absent");
        assert!(Backing::open(folder.path(), true).is_err());
        assert!(Backing::open(&absent, false).is_err() && !absent.exists());
    }

    #[test]
    fn a_file_is_the_same_under_each_of_its_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        std::fs::write(&one, "x").expect("room");
        std::fs::hard_link(&one, &other).expect("the same folder");
        let opened = |path| Backing::open(path, true).expect("it is there").identity;
        assert_eq!(opened(&one), opened(&other));
    }
}
