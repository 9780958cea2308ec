//! The file driver on real file systems: XFS with reflinks and ext4 without, each mounted from a file of its own.
//!
//! Mounting needs root and the `mkfs` tools; without them a test says that it is skipped, and fails if `CI=true`.

mod copying;
mod crash;
mod fencing;
mod folder;
mod pools;
mod promises;
mod room;
mod trouble;
