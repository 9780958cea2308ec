//! The steps of the writer that can be made to fail from outside.

use failpoint::{Fails, Step, step};
use rusqlite::ffi;
use std::io;

pub(crate) const BEGIN: Step = step!("store: begin", Fails::IoOrFull);
pub(crate) const COMMIT: Step = step!("store: commit", Fails::IoOrFull);
pub(crate) const ANSWER: Step = step!("store: answer", Fails::Never);
pub(crate) const INCARNATION: Step = step!("store: begin incarnation", Fails::IoOrFull);
pub(crate) const CHECKPOINT: Step = step!("store: checkpoint", Fails::Io);
pub(crate) const WITNESS: Step = step!("store: witness", Fails::Io);

/// Every step of the store that can be made to fail.
pub const FAIL_POINTS: [Step; 6] = [BEGIN, COMMIT, ANSWER, INCARNATION, CHECKPOINT, WITNESS];

/// An injected error as the database tells the system's own.
pub(crate) fn injected(error: &io::Error) -> rusqlite::Error {
    let is_full = error.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error());
    let code = if is_full { ffi::SQLITE_FULL } else { ffi::SQLITE_IOERR };
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}
