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
        file.persist(&path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    keep().with_context(|| format!("cannot keep {}", path.display()))?;
    Ok(made)
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
