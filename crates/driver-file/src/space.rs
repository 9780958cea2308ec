//! How much room a pool has: what is free, what is kept free, and what running copies were promised.
//!
//! - What a copy still has to write is pledged before it starts, so that two copies are never promised the same bytes.
//! - Reserved and pledged bytes count as not free, here and in what the engine is told.
//!
//! Source: architecture page, "The store port" (why bytes are kept free).

use crate::stop::{Shortage, Stop};
use engine::ports::Capacity;
use lifecycle::Bytes;
use rustix::fs::fstatvfs;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// At least this much is kept free unless the options say otherwise. Store and pool share a disk by default, and the store must
/// still be able to write when the pool is full.
const RESERVED_MIN: u64 = 1 << 30;
/// One in this many bytes is kept free unless the options say otherwise: 5%.
const RESERVED_SHARE: u64 = 20;

/// The room of one pool.
pub(crate) struct Space {
    reserved: u64,
    pledged: AtomicU64,
}

impl Space {
    /// The room of the file system that `root` is on.
    pub(crate) fn new(root: &File, reserved: Option<Bytes>) -> io::Result<Self> {
        let (total, _) = figures(root)?;
        let reserved = reserved.map_or_else(|| RESERVED_MIN.max(total / RESERVED_SHARE), |bytes| bytes.0);
        Ok(Self { reserved, pledged: AtomicU64::new(0) })
    }

    /// What the pool could hold and what can still be written, reserved and pledged bytes taken off.
    pub(crate) fn capacity(&self, root: &File) -> io::Result<Capacity> {
        let (total, free) = figures(root)?;
        let held = self.reserved.saturating_add(self.pledged.load(Ordering::Relaxed));
        Ok(Capacity { total: Bytes(total.saturating_sub(self.reserved)), free: Bytes(free.saturating_sub(held)) })
    }

    /// Stops if nothing can be written any more.
    pub(crate) fn admit(&self, root: &File) -> Result<(), Stop> {
        let free = self.capacity(root).map_err(ask_failed)?.free;
        if free == Bytes::ZERO { Err(self.shortage(root, None)) } else { Ok(()) }
    }

    /// Promises `needed` bytes to a copy, or stops if they are not there.
    pub(crate) fn pledge(&self, root: &File, needed: u64) -> Result<Pledge<'_>, Stop> {
        let before = self.pledged.fetch_add(needed, Ordering::Relaxed);
        let pledge = Pledge { space: self, left: needed };
        let (_, free) = figures(root).map_err(ask_failed)?;
        let available = free.saturating_sub(self.reserved.saturating_add(before));
        if needed > available {
            drop(pledge);
            return Err(self.shortage(root, Some(Bytes(needed))));
        }
        Ok(pledge)
    }

    /// Stops if a running copy has begun to eat the bytes that are kept free, because somebody else wrote meanwhile.
    pub(crate) fn check_reserve(&self, root: &File, left: u64) -> Result<(), Stop> {
        let (_, free) = figures(root).map_err(ask_failed)?;
        if free < self.reserved { Err(self.shortage(root, Some(Bytes(left)))) } else { Ok(()) }
    }

    /// The stop for a pool that is too full, with the figures as they are now.
    pub(crate) fn shortage(&self, root: &File, needed: Option<Bytes>) -> Stop {
        let free = self.capacity(root).map_or(Bytes::ZERO, |capacity| capacity.free);
        Stop::Full(Shortage { needed, free, reserved: Bytes(self.reserved) })
    }
}

/// Bytes promised to a copy. What was not written is given back when it is dropped.
pub(crate) struct Pledge<'a> {
    space: &'a Space,
    left: u64,
}

impl Pledge<'_> {
    /// Tells that `bytes` were written: from now on the file system counts them.
    pub(crate) fn written(&mut self, bytes: u64) {
        let bytes = bytes.min(self.left);
        self.left -= bytes;
        self.space.pledged.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What is left to be written.
    pub(crate) const fn left(&self) -> u64 {
        self.left
    }
}

impl Drop for Pledge<'_> {
    fn drop(&mut self) {
        self.written(self.left);
    }
}

/// All bytes of the file system, and those that this user can still write.
fn figures(root: &File) -> io::Result<(u64, u64)> {
    let facts = fstatvfs(root)?;
    Ok((facts.f_blocks.saturating_mul(facts.f_frsize), facts.f_bavail.saturating_mul(facts.f_frsize)))
}

fn ask_failed(error: io::Error) -> Stop {
    Stop::Failed(format!("how full the pool is could not be asked: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(reserved: u64) -> (Space, File) {
        let root = File::open(std::env::temp_dir()).unwrap();
        (Space::new(&root, Some(Bytes(reserved))).unwrap(), root)
    }

    #[test]
    fn the_default_reserve_is_at_least_a_gib_and_a_twentieth() {
        let root = File::open(std::env::temp_dir()).unwrap();
        let (total, _) = figures(&root).unwrap();
        let space = Space::new(&root, None).unwrap();
        assert!(space.reserved >= 1 << 30 && space.reserved >= total / 20);
    }

    #[test]
    fn two_copies_are_never_promised_the_same_bytes() {
        let (space, root) = room(0);
        let (_, free) = figures(&root).unwrap();
        // Four fifths each: one fits, two cannot, however much other programs write meanwhile.
        let first = space.pledge(&root, free / 5 * 4).expect("an idle disk has four fifths of its free bytes");
        assert!(matches!(space.pledge(&root, free / 5 * 4), Err(Stop::Full(_))));
        drop(first);
        assert_eq!(space.pledged.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn written_bytes_are_not_pledged_any_more() {
        let (space, root) = room(0);
        let mut pledge = space.pledge(&root, 100).unwrap();
        pledge.written(60);
        assert_eq!((pledge.left(), space.pledged.load(Ordering::Relaxed)), (40, 40));
        pledge.written(60);
        assert_eq!((pledge.left(), space.pledged.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn a_pool_whose_reserve_is_touched_takes_nothing_more() {
        let (space, root) = room(u64::MAX);
        assert!(matches!(space.admit(&root), Err(Stop::Full(_))));
        assert!(matches!(space.check_reserve(&root, 1), Err(Stop::Full(_))));
        assert_eq!(space.capacity(&root).unwrap(), Capacity::default());
    }
}
