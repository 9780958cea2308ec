//! The file driver on real file systems: XFS with reflinks and ext4 without, each mounted from a file of its own.
//!
//! Mounting needs root and the `mkfs` tools; without them a test says that it is skipped, and fails if `CI=true`.

mod contract;
mod copying;
mod crash;
mod fencing;
mod pools;
mod room;
mod trouble;
