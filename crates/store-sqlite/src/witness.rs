//! The witness: a file whose length changes after each sync, so that a sync is not believed of a file system that has given up.
//!
//! A file system that gives up (ext4 that finds itself damaged and goes read-only) can answer 0 to a sync in that very moment and keep
//! nothing of it. It gives up before such an answer, not after: a change that needs its journal, asked for once the sync has answered,
//! then fails. A change of times will not do, as its failure is not told. Source: docs/decisions, "A sync is believed when the journal
//! lives".
//!
//! Not here: what is done about a sync that is not believed.

use crate::OpenError;
use crate::points::WITNESS;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const NAME: &str = "witness";

/// The file, open. Who syncs share it: its length must be known, as setting it to what it is would ask nothing.
pub(crate) struct Witness {
    file: File,
    is_long: Mutex<bool>,
    /// How often it confirms before it refuses.
    #[cfg(test)]
    patience: std::sync::atomic::AtomicU32,
}

impl Witness {
    /// Opens the witness of `folder`, or makes one.
    pub(crate) fn of(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join(NAME);
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(|error| OpenError::from_io("open", &path, error))?;
        let is_long = file.metadata().map_err(|error| OpenError::from_io("look at", &path, error))?.len() > 0;
        Ok(Self {
            file,
            is_long: Mutex::new(is_long),
            #[cfg(test)]
            patience: u32::MAX.into(),
        })
    }

    /// One that confirms so many times, and then no more.
    #[cfg(test)]
    pub(crate) fn refusing_after(folder: &Path, times: u32) -> Self {
        Self { patience: times.into(), ..Self::of(folder).unwrap() }
    }

    /// Asks whether the file system still keeps what is written, after a sync of it has answered.
    ///
    /// # Errors
    /// The one with which it refuses: then what was synced a moment ago may be on the disk or not. A full disk is none: it was able
    /// to look.
    pub(crate) fn confirm(&self) -> io::Result<()> {
        let mut is_long = self.is_long.lock().unwrap_or_else(PoisonError::into_inner);
        #[cfg(test)]
        if self.patience.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        match WITNESS.take(|| self.file.set_len(u64::from(!*is_long))) {
            Ok(()) => {
                *is_long = !*is_long;
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_confirmation_changes_the_length() {
        let folder = tempfile::tempdir().unwrap();
        let witness = Witness::of(folder.path()).unwrap();
        let length = || std::fs::metadata(folder.path().join(NAME)).unwrap().len();
        for _ in 0..3 {
            let before = length();
            witness.confirm().unwrap();
            assert_ne!(length(), before);
        }
        let next = Witness::of(folder.path()).unwrap();
        let before = length();
        next.confirm().unwrap();
        assert_ne!(length(), before, "also by one that finds it as another left it");
    }

    #[test]
    fn a_file_system_that_gave_up_confirms_nothing() {
        let Some(ground) = ground::Ground::new(ground::Kind::Ext4, 16) else { return };
        let witness = Witness::of(ground.root()).unwrap();
        witness.confirm().unwrap();
        ground.abort();
        witness.confirm().unwrap_err();
        drop(witness);
    }
}
