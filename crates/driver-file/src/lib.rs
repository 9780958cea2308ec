//! The reference driver: a pool is a folder, a volume is a raw sparse file.
//!
//! [`FileDriver`] implements the engine's [`Driver`](engine::ports::Driver) port. Where the file system has reflinks (XFS,
//! btrfs) a snapshot or a clone is one; elsewhere it is a copy that reports its progress.
//!
//! # What a pool's folder looks like
//!
//! ```text
//! <folder>/<last three digits of the volume id>/<volume>.raw                           a volume
//!                                               /<volume>@<snapshot>.raw               a snapshot of it
//!                                               /<object>.<token>-<sequence>.tmp       being made, or a leftover of that
//!                                               /<object>.trash                        being removed, or a leftover of that
//! ```
//!
//! (Of an id that does not begin with the time, as UUIDs of version 7 do, it is the first three digits.)
//!
//! Beside them `works-probe.tmp`, which is written every few seconds to find out whether the file system works.
//!
//! The names alone say what is there: there is no database, and whatever carries no id of ours is left alone.
//!
//! # Invariants
//!
//! - A file gets its `.raw` name only when its content is whole, of the exact size, and on the disk: write to a temporary name,
//!   `fdatasync`, rename, `fsync` the directory. It loses that name before any of it goes: rename to trash, `fsync` the
//!   directory, unlink, `fsync` the directory. So a crash at any point leaves a state whose name tells the truth.
//! - Nothing is removed unasked. A leftover is reported as partial and removed by the next create or delete of its id.
//! - Every visible step (a name made, moved or removed; a size changed) happens under the volume's own lock, right after the
//!   check that no newer call was seen for the volume. Long work (a copy) runs outside that lock, on a temporary file of its own.
//! - `Done` and a fenced look are told only after the directory was synced, so they survive a power cut too, even where the step
//!   itself was taken by an earlier call that never came to its sync.
//! - The folder is held open and locked (`flock`) as long as the driver lives: no second process can work in it, and it cannot be
//!   unmounted unnoticed. That is why the newest token of each volume needs to be remembered in memory only.
//! - After a directory could not be synced nobody knows what the disk holds: every later call is refused for now, until a restart.
//!
//! # Limits
//!
//! - A volume does not record what it was made from: a repeated create is recognised by id and size.
//! - Of those who have a volume open, those are known who may write to it on this machine, on file systems with leases (ext4, XFS and
//!   btrfs have them): they are told by looks, and a delete is refused while there is one.
//! - A file system that is not mounted at start looks like an empty folder: mount it before.
//! - The newest token is remembered for the volumes of the last 65,536 calls, and for those whose calls still run.
//! - On a disk too full to try them at start, reflinks count as absent until the next start.
//! - Progress is told in whole percent, after each 4 MiB: one percent of a very large copy takes long.
//! - A copy is repeated from its beginning after a crash.
//!
//! Deliberately not here: exporting the bytes (the exporter), deciding what may be done when (lifecycle), retrying (engine).
//!
//! Source: architecture page, "The driver port"; data plane page, section 1.

#![deny(unsafe_code)]

mod copy;
mod driver;
mod folder;
mod lanes;
mod lease;
mod names;
mod options;
mod points;
mod space;
mod steps;
mod stop;
mod users;

pub use driver::{FileDriver, THREADS_MAX};
pub use options::{FailPoints, OpenError, Options};
pub use points::FAIL_POINTS;
