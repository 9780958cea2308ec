//! A unix socket's file: made for its owner alone, and taken away by whoever made it only.
//!
//! Invariant: a file that another process has put in its place meanwhile (a folder made anew, a second data plane) is left alone.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The file of a socket that this process listens on.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    made: (u64, u64),
}

impl SocketFile {
    /// Listens on a socket for its owner (and root) alone. A file there that nobody listens on any more is in the way of binding it
    /// again: the caller knows that nobody does.
    pub(crate) fn bind(path: &Path) -> io::Result<(UnixListener, Self)> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let made = identity(path)?;
        Ok((listener, Self { path: path.to_owned(), made }))
    }

    /// Wakes whoever accepts on it, and takes the file away, if it is there still.
    pub(crate) fn remove(&self) {
        if identity(&self.path).is_ok_and(|there| there == self.made) {
            // Neither is more than tidiness: a file that stays is replaced by the next start.
            let _ = UnixStream::connect(&self.path);
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = std::fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_another_put_in_its_place_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (_former, ours) = SocketFile::bind(&path).unwrap();
        let (_latter, theirs) = SocketFile::bind(&path).unwrap();
        ours.remove();
        assert!(UnixStream::connect(&path).is_ok(), "the other's socket is there still");
        theirs.remove();
        assert!(!path.exists());
    }
}
