//! A mark in each pool's folder, so that an empty mount point is not taken for a pool that lost everything.
//!
//! The first start with a pool writes the same random word into the pool's folder and into the data folder. Later starts compare: if
//! the folder lacks it, its file system is most likely not mounted, and serving it would call every volume missing and make new ones
//! on the wrong disk.

use anyhow::{Context, Result, bail};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The mark's name in the pool's folder.
const MARK: &str = ".berth-pool";

/// Where the data folder remembers the mark of a pool.
fn remembered(data: &Path, pool: &str) -> PathBuf {
    data.join(format!("pool-{pool}"))
}

/// Compares the mark of `folder` with the one remembered for `pool`, or makes both if this is the first start with it.
///
/// # Errors
/// The folder is not the one that the pool had; or a mark cannot be read or written.
pub(crate) fn check(data: &Path, pool: &str, folder: &Path) -> Result<()> {
    let (here, kept) = (folder.join(MARK), remembered(data, pool));
    let read = |path: &Path| match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    match (read(&kept)?, read(&here)?) {
        (Some(kept), Some(here)) if kept == here => Ok(()),
        (Some(_), found) => bail!(
            "{} is not the folder that pool {pool} had: {}. Mount its file system and start again; if the old folder is lost for good, \
             remove {} to go on with this one, and its volumes will be told missing",
            folder.display(),
            if found.is_some() { "it is marked as another pool's" } else { "it lacks the mark, as an empty mount point does" },
            kept.display()
        ),
        (None, here_already) => {
            let word = here_already.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
            // The pool's own first: a crash in between is made good by the next start.
            write(&here, &word)?;
            write(&kept, &word)
        }
    }
}

fn write(path: &Path, word: &str) -> Result<()> {
    let folder = path.parent().context("a mark lies in a folder")?;
    // A pool's folder holds other people's data: nobody but the owner reads it.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(|| format!("cannot write in {}", folder.display()))?;
    std::io::Write::write_all(&mut file, word.as_bytes())
        .and_then(|()| file.as_file().sync_all())
        .context("cannot write a mark")?;
    file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| format!("cannot sync {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_lost_its_mark_is_refused_until_the_memory_is_removed() {
        let all = tempfile::tempdir().unwrap();
        let (data, pool) = (all.path().join("data"), all.path().join("pool"));
        check(&data, "p", &pool).unwrap();
        check(&data, "p", &pool).unwrap();
        std::fs::remove_file(pool.join(MARK)).unwrap();
        let told = check(&data, "p", &pool).unwrap_err().to_string();
        assert!(told.contains("mount point") && told.contains("pool-p"), "{told}");
        std::fs::remove_file(data.join("pool-p")).unwrap();
        check(&data, "p", &pool).unwrap();
    }

    #[test]
    fn folders_that_changed_places_are_told_apart() {
        let all = tempfile::tempdir().unwrap();
        let at = |name: &str| all.path().join(name);
        check(&at("data"), "a", &at("one")).unwrap();
        check(&at("data"), "b", &at("two")).unwrap();
        let told = check(&at("data"), "a", &at("two")).unwrap_err().to_string();
        assert!(told.contains("another pool"), "{told}");
    }
}
