//! What a file driver can be told when it is opened, and why it may refuse to open.

use lifecycle::Bytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Told the name of a step's point before and after it is taken; see [`FAIL_POINTS`](crate::FAIL_POINTS).
pub type FailPoints = Arc<dyn Fn(&str) + Send + Sync>;

/// What a file driver can be told. The default is what a user wants.
#[derive(Clone, Default)]
pub struct Options {
    /// How many bytes of the file system are kept free. `None`: the larger of 1 GiB and 5% of the file system. Nothing is made
    /// while less is free, and a copy that would leave less is refused.
    pub reserved: Option<Bytes>,
    /// How long to wait before each visible step (a name made, moved or removed; a size changed). For tests that kill the
    /// process in the middle; zero otherwise.
    pub step_delay: Duration,
    /// How long to wait between two chunks of a copy. For tests; zero otherwise.
    pub copy_chunk_delay: Duration,
    /// Called with a step's name before and after it is taken, on the thread that takes it. For tests: it may block, or panic
    /// or abort to crash there.
    pub fail_points: Option<FailPoints>,
}

/// Why a folder cannot be a pool.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not exist and could not be made, or is no folder, or is not readable.
    #[error("cannot open pool folder {}: it must be one that this user may read and write", folder.display())]
    Unusable {
        /// The folder asked for.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another driver works in it.
    #[error("cannot open pool folder {}: another process works in it; stop that one first", folder.display())]
    InUse {
        /// The folder asked for.
        folder: PathBuf,
    },
    /// Files cannot be made in it.
    #[error("cannot write to pool folder {}: make it writable for this user, or configure another folder", folder.display())]
    NotWritable {
        /// The folder asked for.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
