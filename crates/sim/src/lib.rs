//! The ports, in memory: for tests of the engine and of whoever sits on it.
//!
//! - [`MemStore`] keeps records in maps, with the same versions, counters and journal as a real store;
//! - [`MemDriver`] and [`MemExporter`] keep what a backend would, refuse old tokens, and do as a test's [`Script`] says: fail
//!   before acting, after acting, hang, or lose the answer;
//! - [`simulation`] plays the engine against all that can go wrong, from one seed;
//! - [`SteppedClock`] tells the time that it was given.
//!
//! Fakes live here and nowhere else. What they hold is the truth that a test compares statuses with.

#![forbid(unsafe_code)]

mod backend;
pub mod simulation;
mod store;

pub use backend::{Fault, MemDriver, MemExporter, Object, Script};
pub use store::{MemStore, Reads};

use engine::ports::Clock;
use lifecycle::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};

/// A clock that moves when it is told to.
#[derive(Debug, Default)]
pub struct SteppedClock(AtomicI64);

impl SteppedClock {
    /// Moves the clock by this many milliseconds, also backwards.
    pub fn step(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}
