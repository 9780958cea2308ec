//! Small things that a data folder keeps from its first start on: made once, the same ever after.

use anyhow::{Context, Result};
use std::io::Write;
use std::path::Path;

/// What the file `name` holds; at the first start, what `make` makes. Only the owner may read it.
///
/// # Errors
/// It can be neither read nor made.
pub(crate) fn kept(folder: &Path, name: &str, make: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>> {
    let path = folder.join(name);
    match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        held => return held.with_context(|| format!("cannot read {}", path.display())),
    }
    let made = make();
    let keep = || -> std::io::Result<()> {
        // There whole or not at all: half of it would be another thing for ever.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&made)?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(&path) {
            Ok(_) => std::fs::File::open(folder)?.sync_all(),
            // Another process was first, and what it made stays.
            Err(taken) if taken.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(failed) => Err(failed.error),
        }
    };
    keep().with_context(|| format!("cannot keep {}", path.display()))?;
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_first_stays() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(kept(folder.path(), "word", || b"first".into()).unwrap(), b"first");
        assert_eq!(kept(folder.path(), "word", || b"second".into()).unwrap(), b"first");
        assert!(kept(&folder.path().join("absent"), "word", || b"x".into()).is_err());
    }
}
